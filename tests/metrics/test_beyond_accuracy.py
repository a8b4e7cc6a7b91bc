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


def test_coverage():
    assert coverage_at_k(PRED, ["a", "b", "c", "d"], k=1) == 1 / 4
    assert coverage_at_k(PRED, ["a", "b", "c", "d"], k=2) == 3 / 4
    assert coverage_at_k(PRED, TRAIN["item"]) == 1
    # without ranks: by score, and among equal ones by row
    assert coverage_at_k(PRED.drop(columns="rank"), ["a", "b", "c", "d"], k=1) == 1 / 4


def test_novelty():
    assert novelty_at_k(PRED, TRAIN, k=1) == 0
    own = novelty_at_k(PRED, TRAIN, k=2, average=None)
    assert_allclose(own, [(0 + 1) / 2, (0 + 2) / 2], rtol=1e-15)
    assert own.index.to_list() == [1, 2]
    assert own.name == "novelty@2"
    assert novelty_at_k(PRED, TRAIN) == own.mean()


def test_ten_of_a_list_count_unless_told_otherwise():
    pred = pd.DataFrame({"user": 1, "item": range(12), "rank": range(1, 13)})
    train = pd.DataFrame({"user": [1, 2, *[1] * 11], "item": [0, 0, *range(1, 12)]})
    assert coverage_at_k(pred, range(12)) == 10 / 12
    assert novelty_at_k(pred, train) == 9 / 10


def test_ids_of_a_catalogue_may_be_tuples():
    pred = PRED.assign(item=pd.Series([("a", 1), ("b", 1), ("a", 1), ("c", 1)], dtype=object))
    assert coverage_at_k(pred, [("a", 1), ("b", 1), ("c", 1), ("d", 2)]) == 3 / 4
    with pytest.raises(ValueError, match="Column 'catalog' holds"):
        coverage_at_k(PRED, ["a", "b", "c", None])


def test_novelty_counts_users_not_rows():
    twice = pd.concat([TRAIN, TRAIN[TRAIN["item"] == "c"]])
    assert novelty_at_k(PRED, twice) == novelty_at_k(PRED, TRAIN)


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


def test_items_that_nobody_knows():
    message = "y_pred recommends items that {} has not, 'c' and 0 more"
    with pytest.raises(ValueError, match=message.format("catalog")):
        coverage_at_k(PRED, ["a", "b"])
    with pytest.raises(ValueError, match=message.format("X_train")):
        novelty_at_k(PRED, TRAIN[TRAIN["item"] != "c"])


def test_bad_input():
    with pytest.raises(ValueError, match="k must be an integer of at least 1, got 0"):
        coverage_at_k(PRED, ["a", "b", "c"], k=0)
    with pytest.raises(ValueError, match="k must be an integer of at least 1, got 0"):
        novelty_at_k(PRED, TRAIN, k=0)
    with pytest.raises(ValueError, match="average must be 'macro'"):
        novelty_at_k(PRED, TRAIN, average="mean")
    with pytest.raises(ValueError, match="X_train must have one column 'user'"):
        novelty_at_k(PRED, TRAIN[["item"]])
    with pytest.raises(ValueError, match="y_pred is empty"):
        coverage_at_k(PRED[:0], ["a"])
