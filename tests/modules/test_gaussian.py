"""GaussianMatrixFactorization: its moments against simulated rows, and new rows."""
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import pytest
import torch

from sklrec.modules import GaussianMatrixFactorization


def random_module(svdpp=False):
    generator = torch.Generator().manual_seed(0)
    module = GaussianMatrixFactorization(3, 4, 2, svdpp=svdpp, global_mean=3.5, scale=2.0)
    rows, columns = torch.triu_indices(3, 3)
    for side, n in (("user", 4), ("item", 5)):
        module.set_means(side, torch.randn(n, 3, generator=generator).double())
        roots = torch.randn(n, 3, 3, generator=generator)
        getattr(module, f"{side}_covariances").copy_((roots @ roots.mT)[:, rows, columns])
    module.noise_variance.fill_(0.7)
    module.user_noise.copy_(torch.tensor([1.0, 0.5, 2.0, 1.5]))
    return module


def draws(module, side, code, n, rng):
    covariance = np.zeros((3, 3))
    covariance[np.triu_indices(3)] = getattr(module, f"{side}_covariances")[code]
    covariance += np.triu(covariance, 1).T
    return rng.multivariate_normal(module.means(side)[code].tolist(), covariance, n)


@pytest.mark.parametrize(("user", "item"), [(1, 2), (0, 3), (3, 0), (0, 0)])
def test_moments_are_those_of_simulated_ratings(user, item):
    module, rng, n = random_module(), np.random.default_rng(0), 400_000
    u, i = draws(module, "user", user, n, rng), draws(module, "item", item, n, rng)
    noise = rng.normal(0, (0.7 * module.user_noise[user].item()) ** 0.5, n)
    ratings = 3.5 + 2 * (u[:, 0] + i[:, 0] + (u[:, 1:] * i[:, 1:]).sum(1) + noise)
    mean, std = module.moments(torch.tensor([user]), torch.tensor([item]))
    assert mean.item() == pytest.approx(ratings.mean(), abs=5 * ratings.std() / n**0.5)
    assert std.item() == pytest.approx(ratings.std(), rel=0.01)


def test_all_pairs_agree_with_forward():
    module = random_module()
    users, items = torch.arange(4), torch.arange(5)
    pairs = module.all_pairs(users, items)
    expected = module(users.repeat_interleave(5), items.repeat(4)).view(4, 5)
    assert torch.allclose(pairs, expected)
    assert pairs.dtype == torch.float64


@pytest.mark.parametrize("svdpp", [False, True])
def test_new_rows_have_the_distribution_of_an_unknown_row(svdpp):
    module = random_module(svdpp)
    before = module.moments(torch.tensor([0, 2, 0]), torch.tensor([1, 0, 0]))
    module.grow(6, 7)
    after = module.moments(torch.tensor([6, 2, 5]), torch.tensor([1, 6, 7]))
    for old, new in zip(before, after, strict=True):
        assert torch.equal(old, new)
    assert (module.n_users, module.n_items) == (6, 7)
