"""Ordered probit likelihood: stars as a latent Gaussian between thresholds."""
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import torch
from scipy.linalg import cholesky_banded, solve_banded, solveh_banded
from scipy.special import ndtr, ndtri
from torch import Tensor

from sklrec._solvers.gibbs.tables import Ratings

# Lower limit of a probability, so that its logarithm is finite, and upper limit of a density
# divided by it.
TINY, STEEP = 1e-300, 1e6
# Precision of the thresholds' prior, a Gaussian around 0.
PRIOR_PRECISION = 0.01


class OrderedProbit:
    """Likelihood of stars as a latent Gaussian between thresholds (Albert and Chib 1993,
    doi:10.1080/01621459.1993.10476321)."""

    # Thresholds are drawn with the latent values integrated out. A Metropolis-Hastings step
    # proposes them from the Gaussian approximation at the latest thresholds (Cowles 1996,
    # doi:10.1007/BF00162520). The latent values are the targets.
    precision = 1.0
    weights: Tensor | None = None

    def __init__(self, ratings: Ratings, stars: Tensor):
        self.stars = stars.double().cpu().numpy()
        self.values = ratings.values.double().cpu().numpy()
        middles = (self.stars[1:] + self.stars[:-1]) / 2
        self.level = np.searchsorted(middles, self.values)
        self._own = None if ratings.weights is None else ratings.weights.double().cpu().numpy()
        self.device = ratings.values.device
        count = np.bincount(self.level, self._own, minlength=len(self.stars))
        # Thresholds of stars of almost no weight must be finite and different.
        count = count.clip(min=1e-10 * count.sum())
        share = np.cumsum(count) / count.sum()
        self.thresholds = ndtri(share[:-1])
        # At first the latent values are the normal scores of the stars.
        self.targets: Tensor | None = self._to_tensor(ndtri(share - count / count.sum() / 2))

    def draw(self, predictions: Tensor, rng: np.random.Generator) -> float:
        """Draw thresholds and latent values, and return the mean squared error of the mean
        star."""
        centres = predictions.double().cpu().numpy()
        self._draw_thresholds(centres, rng)
        self.targets = torch.from_numpy(self._draw_latent(centres, rng)).float().to(self.device)
        mean = np.full(len(centres), self.stars[-1])
        for threshold, step in zip(self.thresholds, np.diff(self.stars), strict=True):
            mean -= step * ndtr(threshold - centres)
        return float(np.average((self.values - mean) ** 2, weights=self._own))

    def state(self) -> dict[str, Tensor]:
        """Copy the variance of the latent values and the thresholds."""
        return {"noise": torch.tensor(1.0), "thresholds": torch.from_numpy(self.thresholds)}

    def _draw_thresholds(self, centres: np.ndarray, rng: np.random.Generator) -> None:
        if len(self.thresholds) == 0:  # a single star
            return
        current = self._approximation(self.thresholds, centres)
        noise = rng.standard_normal(len(self.thresholds))
        proposed = current.mean + current.spread(noise)
        if (np.diff(proposed) <= 0).any():
            return
        candidate = self._approximation(proposed, centres)
        forward, back = current.log_density(proposed), candidate.log_density(self.thresholds)
        log_ratio = candidate.log_likelihood - current.log_likelihood + back - forward
        if np.log(rng.random()) < log_ratio:
            self.thresholds = proposed

    def _draw_latent(self, centres: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        low, high, flip = self._bounds(self.thresholds, centres)
        below = ndtr(low)
        share = below + rng.random(len(centres)) * (ndtr(high) - below)
        latent = ndtri(share.clip(TINY, None)).clip(low, high)
        if self._own is not None:
            # A rating of weight w has w latent values; their mean has this mean and variance.
            density = [np.where(np.isinf(x), 0, np.exp(-(x**2) / 2)) for x in (low, high)]
            chance = (ndtr(high) - below).clip(TINY, None) * np.sqrt(2 * np.pi)
            mean = ((density[0] - density[1]) / chance).clip(low, high)
            latent = mean + (latent - mean) / np.sqrt(self._own)
        return centres + np.where(flip, -latent, latent)

    def _bounds(
        self, thresholds: np.ndarray, centres: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Compute the bounds of the latent values around their centres, mirrored to where ndtr is
        exact."""
        padded = np.concatenate([[-np.inf], thresholds, [np.inf]])
        low, high = padded[self.level] - centres, padded[self.level + 1] - centres
        # A single star has no bounds.
        flip = low > -high if len(thresholds) else np.zeros(len(centres), bool)
        return np.where(flip, -high, low), np.where(flip, -low, high), flip

    def _approximation(self, thresholds: np.ndarray, centres: np.ndarray) -> "_Gaussian":
        """Fit a Gaussian to the slope and the curvature of the likelihood at some thresholds."""
        low, high, flip = self._bounds(thresholds, centres)
        chance = (ndtr(high) - ndtr(low)).clip(TINY, None)
        weights = 1.0 if self._own is None else self._own
        ratios = []  # densities at the lower and the upper threshold, divided by the probability
        for at in (np.where(flip, -high, low), np.where(flip, -low, high)):
            finite = np.where(np.isinf(at), 0, at)
            density = np.where(np.isinf(at), 0, np.exp(-(finite**2) / 2) / np.sqrt(2 * np.pi))
            ratios.append(((density / chance).clip(max=STEEP), finite))
        (lower, at_lower), (upper, at_upper) = ratios
        n = len(self.stars)

        def by_level(values: np.ndarray) -> np.ndarray:
            return np.bincount(self.level, weights * values, minlength=n)

        slope = by_level(upper)[:-1] - by_level(lower)[1:] - PRIOR_PRECISION * thresholds
        own = by_level(upper * (upper + at_upper))[:-1] + by_level(lower * (lower - at_lower))[1:]
        mixed = by_level(lower * upper)[1:-1]
        # Rounding must not make the matrix indefinite where predictions are far off.
        own = np.maximum(own, np.append(mixed, 0) + np.append(0, mixed)) + PRIOR_PRECISION
        banded = np.stack([np.append(0, -mixed), own])[-len(own) :]
        log_prior = -PRIOR_PRECISION / 2 * thresholds @ thresholds
        log_likelihood = float(np.sum(weights * np.log(chance)) + log_prior)
        return _Gaussian(thresholds, slope, banded, log_likelihood)

    def _to_tensor(self, of_level: np.ndarray) -> Tensor:
        return torch.from_numpy(of_level[self.level]).float().to(self.device)


class _Gaussian:
    """A Gaussian of tridiagonal precision, one Newton step from a point."""

    def __init__(
        self, point: np.ndarray, slope: np.ndarray, banded: np.ndarray, log_likelihood: float
    ):
        self.log_likelihood = log_likelihood
        self.mean = point + solveh_banded(banded, slope)
        self._root = cholesky_banded(banded)  # upper: precision = rootᵀ root
        self._banded = banded

    def spread(self, noise: np.ndarray) -> np.ndarray:
        return solve_banded((0, len(self._root) - 1), self._root, noise)

    def log_density(self, at: np.ndarray) -> float:
        off = at - self.mean
        product = self._banded[-1] * off
        product[:-1] += self._banded[0, 1:] * off[1:]
        product[1:] += self._banded[0, 1:] * off[:-1]
        return float(np.log(self._root[-1]).sum() - off @ product / 2)
