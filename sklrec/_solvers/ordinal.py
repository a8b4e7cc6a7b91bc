"""Stars as a latent Gaussian between thresholds: ordered probit."""
# SPDX-License-Identifier: BSD-3-Clause
#
# A rating with the latent mean f ~ N(m, v) is star k with the probability
#   P = Phi(b) - Phi(a),  a = (c_k - f) / sigma,  b = (c_k+1 - f) / sigma,
# for thresholds c. Expectations over f are sums over the nodes of Gauss and Hermite.

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy.linalg import solveh_banded
from scipy.special import ndtr

NODES, NODE_WEIGHTS = np.polynomial.hermite_e.hermegauss(7)
# Lower limit of a probability, and upper limit of a density divided by it.
TINY, STEEP = 1e-300, 1e6
# Smallest precision of a rating, as a share of that of a Gaussian one.
LEAST_PRECISION = 1e-3
# Precision of the thresholds' prior, in units of ratings.
PRIOR_PRECISION = 0.01
N_STEPS = 20
AT_ONCE = 2**16


class Latent(NamedTuple):
    """Distribution of the latent values of ratings, without and with their noise."""

    mean: np.ndarray  # (n,)
    variance: np.ndarray  # (n,)
    noise: np.ndarray  # (n,), variance


class _Derivatives(NamedTuple):
    a: np.ndarray  # (n_nodes, n), 0 where it is infinite
    b: np.ndarray
    of_a: np.ndarray  # density at a, divided by P
    of_b: np.ndarray
    sigma: np.ndarray  # (n,)


class Stars:
    """Thresholds between the stars of some ratings."""

    def __init__(
        self,
        stars: np.ndarray,  # (n_stars,), in increasing order, in the unit of the latent values
        ratings: np.ndarray,  # (n,)
        weights: np.ndarray,  # (n,)
    ):
        self.stars, self.weights = stars, weights
        self.thresholds = (stars[1:] + stars[:-1]) / 2
        self.levels = np.searchsorted(self.thresholds, ratings)  # (n,)

    def learn(self, latent: Latent) -> None:
        """Set the thresholds to those of the greatest expected log-likelihood."""
        if len(self.thresholds) == 0:  # a single star
            return
        start = self.thresholds
        for _ in range(N_STEPS):
            slope, banded = self._newton_equations(latent)
            slope -= PRIOR_PRECISION * (self.thresholds - start)
            banded[-1] += PRIOR_PRECISION
            step = solveh_banded(banded, slope)
            # The order of the thresholds must not change.
            shrinking = -np.diff(step) / np.diff(self.thresholds)
            step /= max(1.0, 2 * shrinking.max(initial=0.0))
            self.thresholds = self.thresholds + step
            if np.abs(step).max() < 1e-6 * np.ptp(self.stars):
                break

    def gaussian(self, latent: Latent) -> tuple[np.ndarray, np.ndarray]:
        """Compute Gaussian ratings, and their precisions, that have the same effect on the latent
        means as the stars."""
        targets, precisions = latent.mean.copy(), 1 / latent.noise
        for rows, d in self._derivatives(latent):
            slope = (d.of_a - d.of_b) / d.sigma
            curvature = (d.of_b * d.b - d.of_a * d.a) / d.sigma**2 + slope**2
            precision = np.maximum(_mean(curvature), LEAST_PRECISION * precisions[rows])
            precisions[rows] = precision
            targets[rows] += _mean(slope) / precision
        return targets, precisions

    def mean_square(self, latent: Latent) -> float:
        """Compute the mean squared error of the mean star."""
        spread = np.sqrt(latent.noise + latent.variance)
        mean = np.full(len(spread), self.stars[-1])
        for threshold, step in zip(self.thresholds, np.diff(self.stars), strict=True):
            mean -= step * ndtr((threshold - latent.mean) / spread)
        return float(np.average((self.stars[self.levels] - mean) ** 2, weights=self.weights))

    def _derivatives(self, latent: Latent) -> Iterator[tuple[slice, _Derivatives]]:
        padded = np.concatenate([[-np.inf], self.thresholds, [np.inf]])
        for first in range(0, len(self.levels), AT_ONCE):
            rows = slice(first, first + AT_ONCE)
            mean, variance, noise = (values[rows] for values in latent)
            f = mean + np.sqrt(variance) * NODES[:, np.newaxis]
            sigma = np.sqrt(noise)
            levels = self.levels[rows]
            a, b = (padded[levels] - f) / sigma, (padded[levels + 1] - f) / sigma
            flip = a > -b  # to where ndtr is exact
            chance = ndtr(np.where(flip, -a, b)) - ndtr(np.where(flip, -b, a))
            chance = chance.clip(TINY, None) * np.sqrt(2 * np.pi)
            of_a, of_b = (np.minimum(np.exp(-(x**2) / 2) / chance, STEEP) for x in (a, b))
            a, b = (np.where(np.isinf(x), 0, x) for x in (a, b))
            yield rows, _Derivatives(a, b, of_a, of_b, sigma)

    def _newton_equations(self, latent: Latent) -> tuple[np.ndarray, np.ndarray]:
        """Compute the slope of the expected log-likelihood, and minus its banded curvature."""
        n = len(self.stars)
        slope, own, mixed = np.zeros(n - 1), np.zeros(n - 1), np.zeros(n - 1)
        for rows, d in self._derivatives(latent):

            def by_level(values: np.ndarray, rows: slice = rows) -> np.ndarray:
                return np.bincount(self.levels[rows], self.weights[rows] * values, n)

            variance = d.sigma**2
            slope += by_level(_mean(d.of_b) / d.sigma)[:-1] - by_level(_mean(d.of_a) / d.sigma)[1:]
            own += by_level(_mean(d.of_b * (d.of_b + d.b)) / variance)[:-1]
            own += by_level(_mean(d.of_a * (d.of_a - d.a)) / variance)[1:]
            mixed[1:] += by_level(_mean(d.of_a * d.of_b) / variance)[1:-1]
        # Rounding must not make the matrix indefinite where predictions are far off.
        own = np.maximum(own, mixed + np.append(mixed[1:], 0))
        return slope, np.stack([-mixed, own]) if n > 2 else own[np.newaxis]


def _mean(values: np.ndarray) -> np.ndarray:  # (n_nodes, n) to (n,)
    """Compute expectations."""
    return NODE_WEIGHTS @ values / NODE_WEIGHTS.sum()
