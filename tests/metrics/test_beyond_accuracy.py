"""Coverage of the catalogue and novelty."""
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from sklrec.metrics import coverage_at_k, novelty_at_k

PRED = pd.DataFrame(
    {"user": [1, 1, 2, 2], "item": ["a", "b", "a", "c"], "rank": [1, 2, 1, 2], "score": 0.0}
)
TRAIN = pd.DataFrame({"user": [1, 2, 3, 4, 1, 2, 1], "item": ["a", "a", "a", "a", "b", "b", "c"]})


def test_coverage_is_the_share_of_recommended_items():
    assert coverage_at_k(PRED, ["a", "b", "c", "d"], k=1) == 1 / 4
    assert coverage_at_k(PRED, ["a", "b", "c", "d"], k=2) == 3 / 4
    assert coverage_at_k(PRED, TRAIN["item"]) == 1
    longer = pd.DataFrame({"user": 1, "item": range(12), "rank": range(1, 13)})
    assert coverage_at_k(longer, range(12)) == 10 / 12  # k is 10 by default
    # without ranks: by score, and equal scores by row
    assert coverage_at_k(PRED.drop(columns="rank"), ["a", "b", "c", "d"], k=1) == 1 / 4


def test_novelty_is_the_mean_self_information():
    assert novelty_at_k(PRED, TRAIN, k=1) == 0
    own = novelty_at_k(PRED, TRAIN, k=2, average=None)
    assert_allclose(own, [(0 + 1) / 2, (0 + 2) / 2], rtol=1e-15)
    assert own.index.to_list() == [1, 2]
    assert own.name == "novelty@2"
    assert novelty_at_k(PRED, TRAIN) == own.mean()
    twice = pd.concat([TRAIN, TRAIN[TRAIN["item"] == "c"]])
    assert novelty_at_k(PRED, twice) == novelty_at_k(PRED, TRAIN)  # counts users and not rows


def test_ids_of_a_catalogue_may_be_tuples():
    pred = PRED.assign(item=pd.Series([("a", 1), ("b", 1), ("a", 1), ("c", 1)], dtype=object))
    assert coverage_at_k(pred, [("a", 1), ("b", 1), ("c", 1), ("d", 2)]) == 3 / 4


def test_novelty_equals_its_formula():
    rng = np.random.default_rng(0)
    train = pd.DataFrame(rng.integers(0, 30, (600, 2)), columns=["user", "item"])
    items = np.concatenate([rng.permutation(train["item"].unique())[:8] for _ in range(20)])
    pred = pd.DataFrame({"user": np.repeat(np.arange(20), 8), "item": items})
    pred["rank"] = np.tile(np.arange(1, 9), 20)
    share = train.groupby("item")["user"].nunique() / train["user"].nunique()
    near = pred[pred["rank"] <= 5]
    expected = (-np.log2(near["item"].map(share))).groupby(near["user"]).mean().mean()
    assert novelty_at_k(pred, train, k=5) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: coverage_at_k(PRED, ["a"]),
            "y_pred recommends 2 items that catalog does not have, such as 'b'. Add them to c",
        ),
        (
            lambda: novelty_at_k(PRED, TRAIN[TRAIN["item"] != "c"]),
            "y_pred recommends 1 items that X_train does not have, such as 'c'. Add them",
        ),
        (lambda: coverage_at_k(PRED, ["a"], k=0), "k must be an integer of at least 1, got 0"),
        (lambda: novelty_at_k(PRED, TRAIN, k=0), "k must be an integer of at least 1, got 0"),
        (lambda: novelty_at_k(PRED, TRAIN, average="mean"), "average must be one of 'macro'"),
        (lambda: novelty_at_k(PRED, TRAIN[["item"]]), "X_train must have one column 'user'"),
        (lambda: coverage_at_k(PRED[:0], ["a"]), "y_pred is empty"),
        (lambda: coverage_at_k(PRED, ["a", "b", "c", None]), "Column 'catalog' holds"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
