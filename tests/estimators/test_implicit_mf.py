"""ImplicitMFRecommender."""
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import pandas as pd
import pytest
import torch

from sklrec import ImplicitMFRecommender
from sklrec.datasets import make_ratings

X, Y = make_ratings(80, 40, 900, random_state=0)


@pytest.mark.parametrize("n_factors", [1, 3, 50])  # fewer and more than a row has positives
@pytest.mark.parametrize("confidence", [None, "log"])
def test_user_factors_solve_their_normal_equations(n_factors, confidence):
    model = ImplicitMFRecommender(
        n_factors, alpha=0.02, unobserved_weight=0.3, confidence=confidence, random_state=0
    ).fit(X, Y)
    P, Q = (table.astype(np.float64) for table in (model.user_factors_, model.item_factors_))
    weights = model.positives_.toarray()[1:, 1:].astype(np.float64)
    for c, p in zip(weights, P, strict=True):
        penalty = 0.02 * (c.sum() + 0.3 * len(Q))
        A = 0.3 * Q.T @ Q + (Q.T * c) @ Q + penalty * np.eye(n_factors)
        assert np.allclose(p, np.linalg.solve(A, Q.T @ c), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("confidence", [None, "log"])
def test_item_factors_come_near_to_the_solution_of_their_equations(confidence):
    model = ImplicitMFRecommender(
        3, alpha=0.02, unobserved_weight=0.3, confidence=confidence, n_iter=200, random_state=0
    ).fit(X, Y)
    P, Q = (table.astype(np.float64) for table in (model.user_factors_, model.item_factors_))
    weights = model.positives_.toarray()[1:, 1:].astype(np.float64)
    for c, q in zip(weights.T, Q, strict=True):
        penalty = 0.02 * (c.sum() + 0.3 * len(P))
        A = 0.3 * P.T @ P + (P.T * c) @ P + penalty * np.eye(3)
        assert np.allclose(q, np.linalg.solve(A, P.T @ c), rtol=1e-3, atol=1e-3)


def test_the_size_of_the_blocks_changes_nothing(monkeypatch):
    model = ImplicitMFRecommender(4, threshold=4, random_state=0)  # some rows have no positives
    wanted = model.fit(X, Y).item_factors_
    assert 0 < np.count_nonzero(~wanted.any(axis=1)) < len(wanted) / 2
    monkeypatch.setattr("sklrec._solvers.implicit_als.BLOCK_SIZE", 7)
    assert np.allclose(model.fit(X, Y).item_factors_, wanted, rtol=1e-4, atol=1e-5)


def loss_of(model):
    scores = model.user_factors_.astype(np.float64) @ model.item_factors_.T
    c = model.positives_.toarray()[1:, 1:]
    w, squares = model.unobserved_weight_, []
    for factors, axis in ((model.user_factors_, 1), (model.item_factors_, 0)):
        penalty = c.sum(axis) + w * c.shape[axis]
        squares.append(penalty @ (factors.astype(np.float64) ** 2).sum(1))
    return (c * (1 - scores) ** 2).sum() + w * (scores**2).sum() + model.alpha_ * sum(squares)


def test_the_loss_falls_with_each_sweep():
    losses = [
        loss_of(ImplicitMFRecommender(4, n_iter=n, random_state=0).fit(X)) for n in (1, 2, 4, 8)
    ]
    assert losses == sorted(losses, reverse=True)
    assert losses[0] > 1.003 * losses[3]


def test_automatic_weight_of_unobserved_pairs_is_a_multiple_of_the_positives():
    model = ImplicitMFRecommender(2, random_state=0).fit(X)
    n_pairs = model.n_users_ * model.n_items_
    assert model.unobserved_weight_ * n_pairs == pytest.approx(20 * model.positives_.sum())
    assert model.alpha_ == 0.01


def test_users_get_the_items_of_users_like_them():
    pairs = [(user, item) for user in range(30) for item in range(10) if (user + item) % 4]
    pairs += [(user + 100, item + 10) for user, item in pairs]
    rows = pd.DataFrame(pairs, columns=["user", "item"])
    model = ImplicitMFRecommender(4, random_state=0).fit(rows)
    found = model.recommend(rows["user"].unique(), 1)
    assert ((found["item"] >= 10) == (found["user"] >= 100)).all()
    similar = model.similar_items(range(20), 5)
    assert ((similar["item"] >= 10) == (similar["similar_item"] >= 10)).all()
    similar = model.similar_users([0, 100], 5)
    assert ((similar["user"] >= 100) == (similar["similar_user"] >= 100)).all()


def test_the_seed_decides():
    scores = [
        ImplicitMFRecommender(4, random_state=seed).fit(X).decision_function(X)
        for seed in (0, 0, 1)
    ]
    assert np.array_equal(scores[0], scores[1])
    assert not np.array_equal(scores[0], scores[2])


def test_the_number_of_threads_changes_nothing():
    wanted = ImplicitMFRecommender(4, random_state=0).fit(X).user_factors_
    torch.set_num_threads(3)
    try:
        found = ImplicitMFRecommender(4, random_state=0).fit(X).user_factors_
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(1)
    assert np.array_equal(found, wanted)


@pytest.mark.parametrize("alpha", [1e-10, 1e-3, 1e10])
@pytest.mark.parametrize("unobserved_weight", [1e-10, 1e10])
@pytest.mark.parametrize("weight", [1e-12, 1e15])
def test_extreme_parameters_and_weights_give_finite_scores_or_an_error(
    alpha, unobserved_weight, weight
):
    model = ImplicitMFRecommender(
        20, alpha=alpha, unobserved_weight=unobserved_weight, random_state=0
    )
    try:
        model.fit(X, sample_weight=np.full(len(X), weight))
    except ValueError as error:
        assert "Give a larger alpha" in str(error)
    else:
        assert np.isfinite(model.decision_function(X)).all()


def test_a_device_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="device='cuda:99' is not available"):
        ImplicitMFRecommender(device="cuda:99").fit(X)
    with pytest.raises(ValueError, match="trains in one process"):
        ImplicitMFRecommender(device="accelerate").fit(X)
