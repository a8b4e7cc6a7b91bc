"""EASERecommender."""
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import pandas as pd
import pytest

from sklrec import EASERecommender
from sklrec.datasets import make_ratings

X, Y = make_ratings(60, 40, 900, random_state=0)
COUNTS = Y.round()


def weights_by_definition(model):
    """Solve one regression for each item, on all other items."""
    positives = model.positives_.toarray()[1:, 1:].astype(np.float64)
    n = positives.shape[1]
    found = np.zeros((n, n))
    for k in range(n):
        others = np.arange(n) != k
        A, b = positives[:, others], positives[:, k]
        gram = A.T @ A + model.alpha_ * np.eye(n - 1)
        found[others, k] = np.linalg.solve(gram, A.T @ b)
    return found


@pytest.mark.parametrize("alpha", [1e-6, 0.1, 10, 1e6])  # small ones need float64
@pytest.mark.parametrize("confidence", [None, "log"])
def test_weights_are_those_of_a_regression_for_each_item(alpha, confidence):
    model = EASERecommender(alpha, confidence=confidence).fit(X, COUNTS)
    assert model.item_weights_.dtype == np.float32
    wanted = weights_by_definition(model)
    assert np.allclose(model.item_weights_, wanted, rtol=1e-3, atol=1e-5 * np.abs(wanted).max())


def test_more_items_than_one_block_are_inverted():
    rng = np.random.default_rng(0)
    rows = pd.DataFrame({"user": rng.integers(0, 30, 3000), "item": rng.integers(0, 1100, 3000)})
    model = EASERecommender(5.0).fit(rows)
    positives = model.positives_.toarray()[1:, 1:].astype(np.float64)
    P = np.linalg.inv(positives.T @ positives + 5 * np.eye(model.n_items_))
    wanted = -P / P.diagonal()
    np.fill_diagonal(wanted, 0)
    assert np.allclose(model.item_weights_, wanted, atol=1e-5)


def test_the_automatic_penalty_grows_with_the_squares_of_the_weights():
    model = EASERecommender().fit(X)
    assert model.alpha_ == 200
    heavy = EASERecommender().fit(X, sample_weight=np.full(len(X), 3.0))
    assert heavy.alpha_ == 1800
    assert np.allclose(heavy.item_weights_, model.item_weights_, rtol=1e-4)


def test_a_catalogue_that_does_not_fit_in_memory_is_refused():
    n = 3_000_000
    rows = np.stack([np.arange(n) % 1000, np.arange(n)], axis=1)
    with pytest.raises(
        ValueError,
        match=r"pair of 3000000 items: 3.35e\+04 GiB of memory, and .* GiB are available. Drop r",
    ):
        EASERecommender().fit(rows)


def test_a_penalty_that_leaves_no_inverse_is_refused():
    with pytest.raises(ValueError, match="have no inverse in float64 with this alpha"):
        EASERecommender(1e-300).fit([[1, 1], [1, 2]])


def test_similar_items_have_the_same_predictors():
    pairs = [(user, item) for user in range(20) for item in "abc"]
    pairs += [(user, item) for user in range(20, 40) for item in "xyz"]
    model = EASERecommender(1.0).fit(np.array(pairs, dtype=object))
    found = model.similar_items(["a", "y"], 2)
    assert [set(found["similar_item"][:2]), set(found["similar_item"][2:])] == [
        {"b", "c"},
        {"x", "z"},
    ]
    with pytest.raises(AttributeError, match="EASERecommender has no similar_users"):
        model.similar_users([1])
