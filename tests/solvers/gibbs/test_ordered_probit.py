"""The ordered probit likelihood: thresholds and latent values against their posteriors."""
# SPDX-License-Identifier: BSD-3-Clause

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.special import ndtr
from scipy.stats import truncnorm

from sklrec._solvers.gibbs.ordered_probit import OrderedProbit


def probit(values, weights=None, stars=None):
    """The likelihood of ratings of which it reads the values and the weights."""
    values = torch.as_tensor(np.asarray(values, dtype=np.float32))
    if weights is not None:
        weights = torch.as_tensor(np.asarray(weights, dtype=np.float32))
    stars = values.unique() if stars is None else torch.as_tensor(stars)
    return OrderedProbit(SimpleNamespace(values=values, weights=weights), stars)


def made(thresholds, n=300, seed=0):
    """Predictions, and stars of latent values around them."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=n).astype(np.float32)
    return centres, np.searchsorted(thresholds, centres + rng.normal(size=n)) + 1.0


def drawn(likelihood, predictions, rng):
    loss = likelihood.draw(predictions, rng)
    return likelihood.targets, loss


def chain_of_thresholds(likelihood, centres, n=2500, seed=0):
    rng, centres = np.random.default_rng(seed), torch.from_numpy(centres)
    found = []
    for _ in range(n):
        drawn(likelihood, centres, rng)
        found.append(likelihood.thresholds)
    return np.array(found[50:])


def on_a_grid(centres, stars, weights):
    """Means and standard deviations of two thresholds' posterior, summed up on a grid."""
    axes = [np.linspace(*ends, 90) for ends in ((-1.7, 0.2), (0.1, 2.0))]
    of_first, of_last = (
        np.where(stars == star, weights, 0) @ np.log(ndtr(sign * (axis - centres[:, None])))
        for star, sign, axis in ((1, 1, axes[0]), (3, -1, axes[1]))
    )
    own = stars == 2
    c = centres[own, None]
    below, above = ndtr(axes[0] - c), ndtr(axes[1] - c)
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
    truth = [-0.7, 0.9]
    centres, stars = made(truth)
    weights = np.ones(len(stars))
    if weighted:
        weights = np.random.default_rng(1).uniform(0, 2, len(stars)).astype(np.float32)
    likelihood = probit(stars, weights if weighted else None)
    draws = chain_of_thresholds(likelihood, centres)
    means, stds = on_a_grid(centres, stars, weights)
    assert draws.mean(0) == pytest.approx(means, abs=0.12 * stds.max())
    assert draws.std(0) == pytest.approx(stds, rel=0.1)
    assert (np.abs(means - truth) < 3.5 * stds).all()
    # a chain that hardly moves would be as good as none
    assert len(np.unique(draws[:, 0])) > 0.8 * len(draws)


@pytest.mark.parametrize("n_first", [60, 1])
def test_two_stars_have_one_threshold(n_first):
    """Few ratings are far from a Gaussian posterior, which the draws are proposed from."""
    stars = np.array([1.0] * n_first + [2.0] * 2 * n_first)
    centres = np.random.default_rng(0).normal(size=len(stars)).astype(np.float32)
    draws = chain_of_thresholds(probit(stars), centres, n=4000)
    grid = np.linspace(-8, 8, 2000)
    signs = np.where(stars == 1, 1, -1)[:, None]
    log = np.log(ndtr(signs * (grid - centres[:, None]))).sum(0)
    share = np.exp(log - log.max()) / np.exp(log - log.max()).sum()
    mean = grid @ share
    std = np.sqrt((grid - mean) ** 2 @ share)
    assert draws.mean() == pytest.approx(mean, abs=0.1 * std)
    assert draws.std() == pytest.approx(std, rel=0.05)


@pytest.mark.parametrize("weight", [None, 2.0, 0.5])
def test_latent_values_are_gaussians_cut_at_the_thresholds(weight):
    n = 30_000
    centres = np.tile([-1.0, 0.3, 2.5], n // 3).astype(np.float32)
    stars = np.repeat([1.0, 2.0, 3.0], n // 3)
    likelihood = probit(stars, None if weight is None else np.full(n, weight))
    targets, _ = drawn(likelihood, torch.from_numpy(centres), np.random.default_rng(0))
    targets = targets.double().numpy()
    padded = np.concatenate([[-np.inf], likelihood.thresholds, [np.inf]])
    for star in (1, 2, 3):
        for centre in np.unique(centres):
            own = targets[(stars == star) & (centres == centre)]
            low, high = padded[star - 1 : star + 1]
            exact = truncnorm(low - centre, high - centre, centre)
            if weight is None:
                assert ((own >= low - 1e-5) & (own <= high + 1e-5)).all()
            # w of them have this mean, and their mean has this variance
            std = exact.std() / (weight or 1) ** 0.5
            assert own.mean() == pytest.approx(exact.mean(), abs=5 * std / len(own) ** 0.5)
            assert own.std() == pytest.approx(std, rel=0.07)


def test_rows_of_weight_two_are_two_rows():
    centres, stars = made([-0.7, 0.9], n=80)
    weighted = chain_of_thresholds(probit(stars, np.full(80, 2.0)), centres, seed=1)
    repeated = chain_of_thresholds(probit(np.tile(stars, 2)), np.tile(centres, 2), seed=2)
    assert weighted.mean(0) == pytest.approx(repeated.mean(0), abs=0.15 * repeated.std(0).max())
    assert weighted.std(0) == pytest.approx(repeated.std(0), rel=0.12)


def test_the_loss_is_that_of_the_mean_star():
    centres, stars = made([-0.7, 0.9])
    weights = np.random.default_rng(1).uniform(0, 2, len(stars)).astype(np.float32)
    likelihood = probit(stars, weights)
    loss = drawn(likelihood, torch.from_numpy(centres), np.random.default_rng(0))[1]
    below = ndtr(likelihood.thresholds - centres[:, None].astype(float))
    mean = np.diff(np.pad(below, [(0, 0), (1, 1)], constant_values=(0, 1))) @ [1, 2, 3]
    assert loss == pytest.approx(np.average((stars - mean) ** 2, weights=weights), rel=1e-4)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("share", [0.05, 1.0])
@pytest.mark.parametrize("size", [5, 50, 1e4])
def test_extreme_predictions_stay_finite(sign, share, size):
    """Even if all ratings are predicted so badly that no star had any chance."""
    centres, stars = made([-1, 0, 1], n=200)
    rng = np.random.default_rng(0)
    odd = rng.random(200) < share
    centres[odd] = sign * size * rng.choice([-1, 1], odd.sum())
    likelihood = probit(stars)
    for _ in range(10):
        targets, loss = drawn(likelihood, torch.from_numpy(centres), rng)
        assert torch.isfinite(targets).all()
        assert np.isfinite(loss)
        assert np.isfinite(likelihood.thresholds).all()
        assert (np.diff(likelihood.thresholds) > 0).all()


def test_far_from_its_star_a_latent_value_is_at_the_threshold():
    stars = np.array([1.0, 2.0, 3.0] * 100 + [1.0, 3.0])
    centres = np.array([-1.0, 0.0, 1.0] * 100 + [50.0, -50.0], dtype=np.float32)
    likelihood = probit(stars)
    targets, _ = drawn(likelihood, torch.from_numpy(centres), np.random.default_rng(0))
    assert targets[-2:].numpy() == pytest.approx(likelihood.thresholds, abs=0.5)


@pytest.mark.parametrize("weight", [1e-12, 1e6])
def test_a_star_that_hardly_counts_and_one_that_counts_much(weight):
    centres, stars = made([-0.7, 0.9])
    likelihood = probit(stars, np.where(stars == 1, weight, 1))
    rng = np.random.default_rng(0)
    for _ in range(20):
        targets, loss = drawn(likelihood, torch.from_numpy(centres), rng)
        assert torch.isfinite(targets).all()
        assert np.isfinite([loss, *likelihood.thresholds]).all()


def test_few_ratings_of_many_stars_are_no_trouble():
    likelihood, rng = probit([1.0, 2.0, 3.0, 4.0, 5.0]), np.random.default_rng(0)
    centres = torch.tensor([-2.0, 1.0, 0.0, 3.0, -1.0])
    for _ in range(300):
        targets, _ = drawn(likelihood, centres, rng)
        assert torch.isfinite(targets).all()
        assert (np.diff(likelihood.thresholds) > 0).all()


def test_one_star_alone_has_no_threshold():
    likelihood = probit([3.0] * 5000)
    centres = torch.full((5000,), 0.4)
    targets, loss = drawn(likelihood, centres, np.random.default_rng(0))
    assert loss == 0
    assert likelihood.thresholds.shape == (0,)
    assert targets.mean().item() == pytest.approx(0.4, abs=0.06)
    assert targets.std().item() == pytest.approx(1, abs=0.06)
    assert likelihood.state()["thresholds"].shape == (0,)


def test_stars_need_not_be_evenly_spaced():
    centres, stars = made([-0.7, 0.9])
    uneven = np.array([1.0, 2.0, 5.0])[stars.astype(int) - 1]
    likelihood, even = probit(uneven), probit(stars)
    assert np.array_equal(likelihood.level, even.level)
    draws = [
        drawn(one, torch.from_numpy(centres), np.random.default_rng(0))
        for one in (likelihood, even)
    ]
    assert torch.equal(draws[0][0], draws[1][0])
    assert draws[0][1] > draws[1][1]


def test_the_start_is_at_normal_scores():
    likelihood = probit([1, 2, 2, 3], weights=[2, 1, 1, 4])
    assert ndtr(likelihood.thresholds) == pytest.approx([0.25, 0.5])
    assert ndtr(likelihood.targets.numpy()) == pytest.approx([0.125, 0.375, 0.375, 0.75], abs=1e-6)


def test_draws_are_those_of_their_generator():
    centres, stars = made([-0.7, 0.9])
    found = []
    for seed in (0, 0, 1):
        likelihood = probit(stars)
        found.append(drawn(likelihood, torch.from_numpy(centres), np.random.default_rng(seed))[0])
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
