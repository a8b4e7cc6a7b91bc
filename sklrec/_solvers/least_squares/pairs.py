"""The ratings of a log as one entry for each pair of a user and an item."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple, Self, TypeAlias

import numpy as np
from scipy.linalg import norm
from scipy.sparse import csr_array

Solution: TypeAlias = tuple[float, np.ndarray, np.ndarray]  # mean, biases of users and of items

# Pairs that are in memory at once, besides the matrix.
PAIRS_AT_ONCE = 2**18


class Log(NamedTuple):
    """Ratings, with codes from 0 and weights in units of ratings."""

    users: np.ndarray  # (n,)
    items: np.ndarray  # (n,)
    y: np.ndarray  # (n,)
    weights: np.ndarray  # (n,)


class Part(NamedTuple):
    """Some of the pairs, in the order of the matrix."""

    users: np.ndarray  # (n,), codes from 0
    items: np.ndarray  # (n,)
    weights: np.ndarray  # (n,)
    means: np.ndarray  # (n,)
    spreads: np.ndarray | float  # (n,)

    def squares(self, solution: Solution) -> np.ndarray:
        """Compute the weighted sum of the squared errors of each pair."""
        mean, user, item = solution
        errors = self.means - (mean + user)[self.users] - item[self.items]
        return self.weights * errors**2 + self.spreads


@dataclass(frozen=True)
class RatedPairs:
    """Ratings by user and item, as deviations from the mean in units of a standard deviation."""

    by_user: csr_array  # (n_users, n_items), sums of the weights
    means: np.ndarray  # (n_pairs,), weighted means of the deviations
    spreads: np.ndarray | None  # (n_pairs,), sums of w (deviation - mean)^2; None: all are 0
    centre: float
    scale: float

    @classmethod
    def of(cls, log: Log, shape: tuple[int, int]) -> Self:
        """Sum over the rows of each pair."""
        users, items, y, weights = log
        is_weighted = bool((weights != 1).any())
        centre = float(y[0] if np.ptp(y) == 0 else np.average(y, weights=weights))
        values = y - centre
        weighted = np.sqrt(weights) * values if is_weighted else values
        scale = float(norm(weighted) / np.sqrt(weights.sum())) or 1.0
        values /= scale
        if is_weighted:
            weighted = weights * values
        matrix = csr_array((weighted, (users, items)), shape)  # repeated pairs are one entry
        means, spreads = matrix.data, None
        has_repeats = len(means) < len(y)
        if is_weighted or has_repeats:
            matrix = csr_array((weights, (users, items)), shape)
            np.divide(means, matrix.data, out=means, where=matrix.data > 0)
        else:
            matrix.data = np.ones(len(means))
        if has_repeats:
            squares = csr_array((weighted * values, (users, items)), shape).data
            spreads = np.maximum(squares - matrix.data * means**2, 0)
        return cls(matrix, means, spreads, centre, scale)

    def of_users(self, chosen: np.ndarray) -> Self:
        """Select the pairs of some users."""
        n_pairs = np.diff(self.by_user.indptr)
        is_chosen = np.zeros(len(n_pairs), bool)
        is_chosen[chosen] = True
        pairs = np.repeat(is_chosen, n_pairs)
        starts = np.append(0, np.cumsum(n_pairs[is_chosen]))
        matrix = csr_array(
            (self.by_user.data[pairs], self.by_user.indices[pairs], starts),
            (len(starts) - 1, self.by_user.shape[1]),
        )
        spreads = None if self.spreads is None else self.spreads[pairs]
        return replace(self, by_user=matrix, means=self.means[pairs], spreads=spreads)

    def parts(self) -> Iterator[Part]:
        """Yield all pairs, those of some whole users at a time."""
        starts, first = self.by_user.indptr, 0
        while first < len(starts) - 1:
            last = np.searchsorted(starts, starts[first] + PAIRS_AT_ONCE, "right") - 1
            last = max(first + 1, int(last))
            pairs = slice(starts[first], starts[last])
            yield Part(
                np.repeat(np.arange(first, last), np.diff(starts[first : last + 1])),
                self.by_user.indices[pairs].astype(np.intp),
                self.by_user.data[pairs],
                self.means[pairs],
                0.0 if self.spreads is None else self.spreads[pairs],
            )
            first = last

    def mean_square(self, solution: Solution) -> float:
        """Compute the weighted mean of the squared errors, in squared units of the ratings."""
        mean, *biases = solution
        deviations = (mean - self.centre) / self.scale, *(b / self.scale for b in biases)
        total = sum(part.squares(deviations).sum() for part in self.parts())
        return float(self.scale**2 * total / self.by_user.data.sum())
