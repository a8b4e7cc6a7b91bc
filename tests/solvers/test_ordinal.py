"""Stars between thresholds: the thresholds, and Gaussian ratings of equal effect."""
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.optimize import minimize
from scipy.special import ndtr
from scipy.stats import norm

from sklrec._solvers import ordinal
from sklrec._solvers.ordinal import Latent, Stars

STARS = np.array([-1.0, 0.0, 2.0])  # not evenly spaced


def simulated(n=400, spread=0.5):
    rng = np.random.default_rng(0)
    latent = Latent(rng.normal(size=n), np.full(n, spread**2), rng.uniform(0.3, 2, n))
    values = latent.mean + rng.normal(size=n) * np.sqrt(latent.variance + latent.noise)
    ratings = STARS[np.searchsorted([-0.7, 0.9], values)]
    return Stars(STARS, ratings, rng.uniform(0, 2, n)), latent, ratings


def log_chance(latent, thresholds, row, level, f):
    padded = np.concatenate([[-np.inf], thresholds, [np.inf]])
    a, b = (padded[level : level + 2] - f) / np.sqrt(latent.noise[row])
    return np.log(ndtr(b) - ndtr(a))


def expected(latent, row, values):
    """Integrate a function over the distribution of one latent value."""
    density = norm(latent.mean[row], np.sqrt(latent.variance[row]))
    return quad(lambda f: values(f) * density.pdf(f), *density.interval(1 - 1e-12))[0]


def test_thresholds_have_the_greatest_expected_likelihood(monkeypatch):
    monkeypatch.setattr(ordinal, "PRIOR_PRECISION", 0)
    monkeypatch.setattr(ordinal, "AT_ONCE", 70)
    stars, latent, _ = simulated()
    f = latent.mean + np.sqrt(latent.variance) * ordinal.NODES[:, None]

    def loss(thresholds):
        padded = np.concatenate([[-np.inf], thresholds, [np.inf]])
        ends = [ndtr((padded[stars.levels + k] - f) / np.sqrt(latent.noise)) for k in (0, 1)]
        mean = ordinal.NODE_WEIGHTS @ np.log(ends[1] - ends[0])
        return -(stars.weights * mean).sum()

    best = minimize(loss, [-0.5, 1.0], method="Nelder-Mead", options={"xatol": 1e-8})
    stars.learn(latent)
    assert stars.thresholds == pytest.approx(best.x, abs=1e-5)


@pytest.mark.parametrize("row", [0, 1, 5])
def test_gaussian_ratings_have_the_slope_and_curvature_of_the_expected_likelihood(row):
    stars, latent, _ = simulated(spread=0.3)
    ratings, precisions = stars.gaussian(latent)
    level, step = stars.levels[row], 1e-3

    def chance(f):
        return log_chance(latent, stars.thresholds, row, level, f)

    slope = expected(latent, row, lambda f: (chance(f + step) - chance(f - step)) / 2 / step)
    curvature = expected(
        latent, row, lambda f: (chance(f + step) - 2 * chance(f) + chance(f - step)) / step**2
    )
    assert precisions[row] == pytest.approx(-curvature, rel=1e-3)
    assert ratings[row] == pytest.approx(latent.mean[row] - slope / curvature, rel=1e-3)


def test_the_mean_squared_error_is_that_of_the_mean_star():
    stars, latent, ratings = simulated()
    below = ndtr(
        (stars.thresholds - latent.mean[:, None])
        / np.sqrt(latent.noise + latent.variance)[:, None]
    )
    mean = np.diff(np.pad(below, [(0, 0), (1, 1)], constant_values=(0, 1))) @ STARS
    error = np.average((ratings - mean) ** 2, weights=stars.weights)
    assert stars.mean_square(latent) == pytest.approx(error)


@pytest.mark.parametrize("size", [5, 50, 1e4])
@pytest.mark.parametrize("share", [0.05, 1.0])
def test_extreme_predictions_give_finite_numbers(size, share):
    stars, latent, _ = simulated()
    rng = np.random.default_rng(0)
    is_extreme = rng.random(len(latent.mean)) < share
    latent.mean[is_extreme] = size * rng.choice([-1, 1], is_extreme.sum())
    for weights in (stars.weights, np.where(stars.levels == 0, 1e-12, 1e6)):
        stars.weights = weights
        stars.learn(latent)
        ratings, precisions = stars.gaussian(latent)
        assert np.isfinite([ratings, precisions]).all()
        assert (precisions > 0).all()
        assert (np.diff(stars.thresholds) > 0).all()
