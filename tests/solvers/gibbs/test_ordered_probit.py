"""Ordered probit likelihood: thresholds and latent values have their posterior distribution."""
# SPDX-License-Identifier: BSD-3-Clause

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.special import ndtr
from scipy.stats import truncnorm

from sklrec._solvers.gibbs.ordered_probit import OrderedProbit


def probit(values, weights=None):
    """Make the likelihood of some ratings, which reads only their values and weights."""
    values = torch.as_tensor(np.asarray(values, dtype=np.float32))
    if weights is not None:
        weights = torch.as_tensor(np.asarray(weights, dtype=np.float32))
    return OrderedProbit(SimpleNamespace(values=values, weights=weights), values.unique())


def simulated(thresholds=(-0.7, 0.9), n=300):
    """Make predictions, and stars of latent values around them."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=n).astype(np.float32)
    return centres, np.searchsorted(thresholds, centres + rng.normal(size=n)) + 1.0


def draw_thresholds(likelihood, centres, n=2500, seed=0):
    rng, centres, draws = np.random.default_rng(seed), torch.from_numpy(centres), []
    for _ in range(n):
        likelihood.draw(centres, rng)
        draws.append(likelihood.thresholds)
    return np.array(draws[50:])


def check_draws(likelihood, centres, n):
    """Draw n times, and check that everything is finite and in order."""
    rng = np.random.default_rng(0)
    for _ in range(n):
        loss = likelihood.draw(torch.as_tensor(centres), rng)
        assert torch.isfinite(likelihood.targets).all()
        assert np.isfinite([loss, *likelihood.thresholds]).all()
        assert (np.diff(likelihood.thresholds) > 0).all()


def moments_on_a_grid(centres, stars, weights):
    """Compute means and standard deviations of the posterior of two thresholds."""
    axes = [np.linspace(*ends, 90) for ends in ((-1.7, 0.2), (0.1, 2.0))]
    of_first, of_last = (
        np.where(stars == star, weights, 0) @ np.log(ndtr(sign * (axis - centres[:, None])))
        for star, sign, axis in ((1, 1, axes[0]), (3, -1, axes[1]))
    )
    own = stars == 2
    below, above = (ndtr(axis - centres[own, None]) for axis in axes)
    between = np.log((above[:, None, :] - below[:, :, None]).clip(1e-300))
    log = of_first[:, None] + of_last + np.tensordot(weights[own], between, 1)
    mass = np.exp(log - log.max()) * (axes[0][:, None] < axes[1])
    mass /= mass.sum()
    means, stds = [], []
    for axis, share in zip(axes, (mass.sum(1), mass.sum(0)), strict=True):
        means.append(axis @ share)
        stds.append(np.sqrt((axis - means[-1]) ** 2 @ share))
    return np.array(means), np.array(stds)


@pytest.mark.parametrize("weighted", [False, True])
def test_thresholds_have_their_posterior_distribution(weighted):
    centres, stars = simulated()
    weights = np.ones(len(stars))
    if weighted:
        weights = np.random.default_rng(1).uniform(0, 2, len(stars)).astype(np.float32)
    draws = draw_thresholds(probit(stars, weights if weighted else None), centres)
    means, stds = moments_on_a_grid(centres, stars, weights)
    assert draws.mean(0) == pytest.approx(means, abs=0.12 * stds.max())
    assert draws.std(0) == pytest.approx(stds, rel=0.1)
    assert len(np.unique(draws[:, 0])) > 0.8 * len(draws)  # most proposals are accepted


@pytest.mark.parametrize("n_first", [60, 1])
def test_the_threshold_of_two_stars_has_its_posterior_distribution(n_first):
    # With three ratings the posterior is far from the Gaussian that proposes the draws.
    stars = np.array([1.0] * n_first + [2.0] * 2 * n_first)
    centres = np.random.default_rng(0).normal(size=len(stars)).astype(np.float32)
    draws = draw_thresholds(probit(stars), centres, n=4000)
    grid = np.linspace(-8, 8, 2000)
    signs = np.where(stars == 1, 1, -1)[:, None]
    log = np.log(ndtr(signs * (grid - centres[:, None]))).sum(0)
    share = np.exp(log - log.max()) / np.exp(log - log.max()).sum()
    mean = grid @ share
    std = np.sqrt((grid - mean) ** 2 @ share)
    assert draws.mean() == pytest.approx(mean, abs=0.1 * std)
    assert draws.std() == pytest.approx(std, rel=0.05)


@pytest.mark.parametrize("weight", [None, 2.0, 0.5])
def test_latent_values_are_truncated_gaussians(weight):
    n = 30_000
    centres = np.tile([-1.0, 0.3, 2.5], n // 3).astype(np.float32)
    stars = np.repeat([1.0, 2.0, 3.0], n // 3)
    likelihood = probit(stars, None if weight is None else np.full(n, weight))
    likelihood.draw(torch.from_numpy(centres), np.random.default_rng(0))
    targets = likelihood.targets.double().numpy()
    padded = np.concatenate([[-np.inf], likelihood.thresholds, [np.inf]])
    for star in (1, 2, 3):
        for centre in np.unique(centres):
            own = targets[(stars == star) & (centres == centre)]
            low, high = padded[star - 1 : star + 1]
            exact = truncnorm(low - centre, high - centre, centre)
            if weight is None:
                assert ((own >= low - 1e-5) & (own <= high + 1e-5)).all()
            std = exact.std() / (weight or 1) ** 0.5  # of the mean of `weight` values
            assert own.mean() == pytest.approx(exact.mean(), abs=5 * std / len(own) ** 0.5)
            assert own.std() == pytest.approx(std, rel=0.07)


def test_the_loss_is_that_of_the_mean_star():
    centres, stars = simulated()
    values = np.array([1.0, 2.0, 5.0])  # not evenly spaced
    weights = np.random.default_rng(1).uniform(0, 2, len(stars)).astype(np.float32)
    ratings = values[stars.astype(int) - 1]
    likelihood = probit(ratings, weights)
    loss = likelihood.draw(torch.from_numpy(centres), np.random.default_rng(0))
    below = ndtr(likelihood.thresholds - centres[:, None].astype(float))
    mean = np.diff(np.pad(below, [(0, 0), (1, 1)], constant_values=(0, 1))) @ values
    assert loss == pytest.approx(np.average((ratings - mean) ** 2, weights=weights), rel=1e-4)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("share", [0.05, 1.0])
@pytest.mark.parametrize("size", [5, 50, 1e4])
def test_draws_stay_finite_with_extreme_predictions(sign, share, size):
    centres, stars = simulated([-1, 0, 1], n=200)
    rng = np.random.default_rng(0)
    is_extreme = rng.random(200) < share
    centres[is_extreme] = sign * size * rng.choice([-1, 1], is_extreme.sum())
    check_draws(probit(stars), centres, 10)


def test_draws_stay_finite_with_extreme_weights_and_few_ratings():
    centres, stars = simulated()
    for weight in (1e-12, 1e6):
        check_draws(probit(stars, np.where(stars == 1, weight, 1)), centres, 20)
    check_draws(probit([1.0, 2.0, 3.0, 4.0, 5.0]), [-2.0, 1.0, 0.0, 3.0, -1.0], 300)


def test_latent_values_far_from_their_star_are_at_the_threshold():
    stars = np.array([1.0, 2.0, 3.0] * 100 + [1.0, 3.0])
    centres = np.array([-1.0, 0.0, 1.0] * 100 + [50.0, -50.0], dtype=np.float32)
    likelihood = probit(stars)
    likelihood.draw(torch.from_numpy(centres), np.random.default_rng(0))
    assert likelihood.targets[-2:].numpy() == pytest.approx(likelihood.thresholds, abs=0.5)


def test_a_single_star_has_no_threshold():
    likelihood = probit([3.0] * 5000)
    assert likelihood.draw(torch.full((5000,), 0.4), np.random.default_rng(0)) == 0
    assert likelihood.thresholds.shape == (0,)
    assert likelihood.targets.mean().item() == pytest.approx(0.4, abs=0.06)
    assert likelihood.targets.std().item() == pytest.approx(1, abs=0.06)
    assert likelihood.state()["thresholds"].shape == (0,)
