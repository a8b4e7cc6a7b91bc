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


def sided_module(stars=None):
    """Make a random module with two columns of users, and one of items and of ratings."""
    generator = torch.Generator().manual_seed(1)
    plain = random_module()
    sizes = {"n_user_values": [2, 3], "n_item_values": [3], "n_context_values": [4]}
    module = GaussianMatrixFactorization(
        3, 4, 2, **sizes, stars=stars, global_mean=3.5, scale=2.0
    ).continue_from(plain)
    module.user_value_terms.copy_(torch.randn(5, 3, generator=generator))
    module.item_value_terms.copy_(torch.randn(3, 3, generator=generator))
    for side in ("user", "item"):
        table = getattr(module, f"{side}_value_covariances")
        table.copy_(0.1 * torch.eye(3)[torch.triu_indices(3, 3).unbind()].expand(len(table), 6))
    module.context_biases.copy_(torch.randn(4, generator=generator))
    module.context_variances.copy_(torch.rand(4, generator=generator))
    of_users = torch.tensor([[0, 3], [1, 4], [1, 2]]), torch.ones(3, 2)
    module.set_features("user", torch.tensor([1, 2, 3]), *of_users)
    of_items = torch.tensor([[0], [1], [2], [2]]), torch.full((4, 1), 0.5)
    module.set_features("item", torch.tensor([4, 1, 2, 3]), *of_items)
    if stars is not None:
        module.thresholds.copy_(torch.tensor([-0.5, 0.8]))
    return module


FEATURES = {
    "user_values": torch.tensor([[1, 4], [1, 2], [0, 3]]),
    "user_weights": torch.ones(3, 2),
    "item_values": torch.tensor([[1], [1], [0]]),
    "item_weights": torch.full((3, 1), 0.5),
    "context_values": torch.tensor([[3], [1], [0]]),
    "context_weights": torch.ones(3, 1),
}


def test_side_features_replace_those_of_the_rows():
    module, plain = sided_module(), random_module()
    users, items = torch.tensor([2, 2, 0]), torch.tensor([1, 1, 0])
    for side, codes in (("user", users), ("item", items)):
        terms, of_row = getattr(module, f"{side}_value_terms"), plain.means(side)
        means = plain.means(side).clone()
        values, weights = (FEATURES[f"{side}_{name}"] for name in ("values", "weights"))
        known, shares = (getattr(module, f"{side}_{name}") for name in ("values", "weights"))
        for k, code in enumerate(codes[1:], 1):
            given = (terms[values[k]] * weights[k][:, None]).sum(0)
            means[code] = (
                of_row[code] + given - (terms[known[code]] * shares[code][:, None]).sum(0)
            )
        plain.set_means(side, means)
    expected = plain(users[1:], items[1:]) + 2 * module.context_biases[[1, 0]]
    assert torch.allclose(module(users, items, **FEATURES)[1:], expected)
    moments, of_plain = module.moments(users, items, **FEATURES), plain.moments(users, items)
    variances = 4 * module.context_variances[[1, 0]]
    # The unknown user and item have the covariances of their side features too.
    of_rows = (moments[1].square() - of_plain[1].square())[1:]
    assert of_rows[0].item() == pytest.approx(variances[0].item())
    assert of_rows[1] > variances[1]


def test_probabilities_of_stars_are_those_of_simulated_ratings():
    module, rng, n = sided_module(torch.tensor([1.0, 2.0, 5.0])), np.random.default_rng(0), 200_000
    code = torch.tensor([2])
    u, i = draws(module, "user", 2, n, rng), draws(module, "item", 2, n, rng)
    context = rng.normal(
        module.context_biases[0].item(), module.context_variances[0].item() ** 0.5, n
    )
    noise = rng.normal(0, (0.7 * module.user_noise[2].item()) ** 0.5, n)
    latent = u[:, 0] + i[:, 0] + (u[:, 1:] * i[:, 1:]).sum(1) + context + noise
    found = module.star_probabilities(code, code)[0]
    levels = np.searchsorted(module.thresholds.numpy(), latent)
    # Products of factors are not Gaussian, so that the probabilities are approximate.
    assert found.numpy() == pytest.approx(np.bincount(levels) / n, abs=0.05)
    mean, std = module.moments(code, code)
    assert mean.item() == pytest.approx((found @ module.stars).item())
    off = module.stars - mean
    assert std.item() == pytest.approx((found @ off.square()).sqrt().item())


@pytest.mark.parametrize("svdpp", [False, True])
def test_new_rows_have_the_distribution_of_an_unknown_row(svdpp):
    module = random_module(svdpp)
    before = module.moments(torch.tensor([0, 2, 0]), torch.tensor([1, 0, 0]))
    module.grow(6, 7)
    after = module.moments(torch.tensor([6, 2, 5]), torch.tensor([1, 6, 7]))
    for old, new in zip(before, after, strict=True):
        assert torch.equal(old, new)
    assert (module.n_users, module.n_items) == (6, 7)
