"""BayesianMatrixFactorization: means and spreads of its draws, written out."""
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import pytest
import torch

from sklrec.modules import BayesianMatrixFactorization

N_USERS, N_ITEMS, K, N_DRAWS = 3, 4, 2, 5


def module(biased=True, seed=0):
    generator = torch.Generator().manual_seed(seed)
    made = BayesianMatrixFactorization(
        N_USERS, N_ITEMS, K, biased=biased, global_mean=3.0 if biased else 0.0, scale=1.5
    )
    d = K + biased
    tables = [torch.randn(N_DRAWS, n + 1, d, generator=generator) for n in (N_USERS, N_ITEMS)]
    roots = [torch.randn(N_DRAWS, d, d, generator=generator) for _ in range(2)]
    covariances = [root @ root.transpose(1, 2) for root in roots]
    return made.set_draws(*tables, torch.rand(N_DRAWS, generator=generator), *covariances)


@pytest.mark.parametrize("biased", [True, False])
def test_it_predicts_the_mean_of_what_its_draws_predict(biased):
    made = module(biased)
    users, items = torch.tensor([1, 3, 2, 0]), torch.tensor([4, 1, 0, 2])
    p, q = made.user_draws[:, users].numpy(), made.item_draws[:, items].numpy()
    each = (p[..., :K] * q[..., :K]).sum(2)
    if biased:
        each = each + p[..., K] + q[..., K]
    expected = made.global_mean.item() + 1.5 * each.mean(0)
    assert np.allclose(made(users, items), expected, atol=1e-5)
    pairs = made.all_pairs(torch.arange(N_USERS + 1), torch.arange(N_ITEMS + 1))
    assert np.allclose(pairs[users, items], expected, atol=1e-5)
    assert np.allclose(made.user_factors.weight, made.user_draws.mean(0)[:, :K])


def test_the_spread_is_that_of_simulated_ratings():
    made = module()
    rng = np.random.default_rng(0)
    n = 400_000
    for user, item in [(1, 2), (0, 2), (1, 0), (0, 0)]:
        k = rng.integers(N_DRAWS, size=n)
        rows = []
        for code, table, covariances in (
            (user, made.user_draws, made.user_covariances),
            (item, made.item_draws, made.item_covariances),
        ):
            row = table[:, code].numpy()[k]
            if code == 0:
                roots = np.linalg.cholesky(covariances.numpy())
                row = row + (roots[k] @ rng.standard_normal((n, K + 1, 1)))[..., 0]
            rows.append(row)
        p, q = rows
        ratings = (p[:, :K] * q[:, :K]).sum(1) + p[:, K] + q[:, K]
        ratings = ratings + rng.standard_normal(n) * np.sqrt(made.noise.numpy()[k])
        mean, std = made.moments(torch.tensor([user]), torch.tensor([item]))
        assert mean.item() == pytest.approx(3 + 1.5 * ratings.mean(), abs=0.05)
        assert std.item() == pytest.approx(1.5 * ratings.std(), rel=0.02)


def test_growing_drops_the_draws_and_appending_keeps_them():
    made = module()
    before = made(torch.tensor([1, 0]), torch.tensor([2, 2]))
    made.append_unknown(N_USERS + 2, N_ITEMS)
    assert torch.allclose(made(torch.tensor([1, N_USERS + 2]), torch.tensor([2, 2])), before)
    made.set_rows("user", made.user_draws[:, 1:3].clone())
    assert torch.allclose(made(torch.tensor([N_USERS + 1]), torch.tensor([2])), before[:1])
    assert made.grow(N_USERS + 3, N_ITEMS).n_draws == 0
