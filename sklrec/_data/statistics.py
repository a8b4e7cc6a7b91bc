"""Weighted mean and variance of ratings that come in parts."""
# SPDX-License-Identifier: BSD-3-Clause

from typing import NamedTuple, Self

import numpy as np

from sklrec._utils.state.kinds import NUMBER, Plain, Record


class RatingStatistics(NamedTuple):
    """Sum of the weights of ratings, and their weighted mean and variance."""

    weight: float = 0.0
    mean: float = 0.0
    variance: float = 0.0

    @classmethod
    def of(cls, y: np.ndarray, weight: np.ndarray) -> Self:
        """Compute the statistics of ratings; a matrix has NaN for missing ratings."""
        if y.ndim == 2:
            is_rated = ~np.isnan(y)
            y, weight = y[is_rated], np.repeat(weight, is_rated.sum(axis=1))
        mean = np.average(y, weights=weight)
        variance = np.average((y - mean) ** 2, weights=weight)
        return cls(float(weight.sum(dtype=np.float64)), float(mean), float(variance))

    @property
    def scale(self) -> float:
        """Standard deviation, with 1 in place of 0."""
        std = self.variance**0.5
        return std if std >= np.finfo(np.float32).tiny else 1.0  # modules divide in float32

    def pooled(self, other: Self) -> Self:
        """Return the statistics of the ratings of both."""
        weight = self.weight + other.weight
        share = other.weight / weight
        step = other.mean - self.mean
        variance = (1 - share) * self.variance + share * (other.variance + (1 - share) * step**2)
        return self._replace(weight=weight, mean=self.mean + share * step, variance=variance)


STATISTICS = Record(
    {
        "weight": Plain(float, low=np.nextafter(0, 1)),
        "mean": NUMBER,
        "variance": Plain(float, low=0),
    },
    RatingStatistics,
)
