"""The ratings of a log as one entry for each pair of a user and an item."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self, TypeAlias

import numpy as np
import torch
from scipy.linalg import norm
from scipy.sparse import csr_array
from torch import Tensor

from sklrec._utils.forks import cached_property
from sklrec.modules._pairs import silence_beta_warning

Solution: TypeAlias = tuple[float, np.ndarray, np.ndarray]  # mean, biases of users and of items

# Pairs that are in memory at once, besides the matrix.
PAIRS_AT_ONCE = 2**18
# Columns of a table that are multiplied by a matrix of pairs at once.
COLUMNS_AT_ONCE = 64


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
        is_constant = len(y) == 0 or np.ptp(y) == 0
        centre = float(y[:1].sum() if is_constant else np.average(y, weights=weights))
        values = y - centre
        weighted = np.sqrt(weights) * values if is_weighted else values
        scale = float(norm(weighted) / max(np.sqrt(weights.sum()), 1e-300)) or 1.0
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
            del values, weighted  # frees memory before the weights are made
            matrix.data = np.ones(len(means))
        if has_repeats:
            squares = csr_array((weighted * values, (users, items)), shape).data
            spreads = np.maximum(squares - matrix.data * means**2, 0)
        return cls(matrix, means, spreads, centre, scale)

    def with_values(self, values: np.ndarray) -> csr_array:
        """Make the matrix of values of the pairs."""
        parts = self.by_user.indices, self.by_user.indptr
        return csr_array((values, *parts), self.by_user.shape)

    def ratings(self) -> np.ndarray:  # (n_pairs,)
        """Compute the weighted mean rating of each pair."""
        return self.scale * self.means + self.centre

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
            bound = int(starts[first]) + PAIRS_AT_ONCE  # beyond the integers of `starts`, perhaps
            last = max(first + 1, int(np.searchsorted(starts, bound, "right")) - 1)
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
        mean, user, item = solution
        scale = self.scale
        deviations = (mean - self.centre) / scale, user / scale, item / scale
        total = sum(part.squares(deviations).sum() for part in self.parts())
        return float(self.scale**2 * total / self.by_user.data.sum())

    def ranks_of_users(self) -> np.ndarray:  # (n_users,)
        """Rank users by their ratings, whatever the order of rows and the IDs are."""
        # Each round sums a nonlinear function of the partners' values. Only users whose ratings
        # look the same, up to the IDs of the items, end with equal values. These get the same
        # rank.
        shape = self.by_user.shape
        values = [np.zeros(n) for n in shape]
        for _ in range(3):
            for k in (1, 0):
                sums = np.zeros(shape[k])
                for part in self.parts():
                    codes = part.users, part.items
                    ratings = self.scale * part.means + self.centre
                    terms = ratings + np.cos(1 + values[1 - k][codes[1 - k]])
                    sums += np.bincount(codes[k], part.weights * terms, shape[k])
                values[k] = 2 * sums / max(np.abs(sums).max(), 1e-300)
        return np.unique(values[0].round(10), return_inverse=True)[1]


def sums_of_sides(matrix: csr_array) -> tuple[np.ndarray, np.ndarray]:
    """Sum over the items of each user, and over the users of each item."""
    n_users, n_items = matrix.shape
    return matrix @ np.ones(n_items), matrix.T @ np.ones(n_users)


def to_torch(matrix: csr_array, device: torch.device) -> Tensor:
    """Copy a sparse matrix to torch."""
    starts, columns, values = (
        torch.from_numpy(v) for v in (matrix.indptr, matrix.indices, matrix.data)
    )
    silence_beta_warning()
    found = torch.sparse_csr_tensor(starts, columns, values, matrix.shape, check_invariants=False)
    return found.to(device)


class SideMatrices:
    """Ratings of one side's rows, in blocks of rows."""

    blocks: list[tuple[slice, Tensor, Tensor]]  # rows, their weights, their weighted ratings
    squares: Tensor  # (n_rows,), sums of w z²
    weights: Tensor  # (n_rows,), sums of w

    def __init__(self, pattern: csr_array, device: torch.device, rows_at_once: int):
        n_rows, self._n_columns = pattern.shape
        self.starts = pattern.indptr
        self._columns = torch.from_numpy(pattern.indices).to(device)
        self.rows = [
            slice(first, min(first + rows_at_once, n_rows))
            for first in range(0, n_rows, rows_at_once)
        ]

    def matrices(self, values: Tensor) -> list[Tensor]:
        """Make the matrices of values of the pairs; all share the tensor of their columns."""
        silence_beta_warning()
        found = []
        for rows in self.rows:
            starts = self.starts[rows.start : rows.stop + 1]
            pairs = slice(starts[0], starts[-1])
            pattern = torch.from_numpy(starts - starts[0]).to(values.device), self._columns[pairs]
            size = rows.stop - rows.start, self._n_columns
            found.append(
                torch.sparse_csr_tensor(*pattern, values[pairs], size, check_invariants=False)
            )
        return found

    def fill(self, weights: Tensor, ratings: Tensor) -> None:
        """Set the weights and the weighted ratings of the pairs."""
        matrices = self.matrices(weights), self.matrices(ratings)
        self.blocks = list(zip(self.rows, *matrices, strict=True))


class RatingMatrices:
    """Matrices of both sides, whose ratings and weights can be replaced."""

    def __init__(self, pairs: RatedPairs, dtype: Any, device: torch.device, rows_at_once: int):
        self.shape, self.n_pairs = pairs.by_user.shape, len(pairs.means)
        self.dtype, self.device = dtype, device
        self._places: tuple[np.ndarray, np.ndarray] | None = None
        weights, ratings = pairs.by_user.data, pairs.ratings()
        is_weighted = bool((weights != 1).any())
        values = weights * ratings
        ratings *= values  # the squares now, in the same memory
        if pairs.spreads is not None:
            ratings += pairs.scale**2 * pairs.spreads
        totals = [sums_of_sides(pairs.with_values(v)) for v in (ratings, weights)]
        del ratings
        values = values.astype(dtype)
        matrix = pairs.with_values(values)
        self.sides = []
        for k in (0, 1):
            if k == 1:
                matrix = matrix.T.tocsr()
                if is_weighted:
                    weights = pairs.by_user.T.tocsr().data
            side = SideMatrices(matrix, device, rows_at_once)
            side.squares, side.weights = (self._tensor(total[k]) for total in totals)
            of_pairs = self._tensor(weights) if is_weighted else self.ones
            side.fill(of_pairs, self._tensor(matrix.data))
            self.sides.append(side)

    @cached_property
    def ones(self) -> Tensor:
        """A one for each pair."""
        return self._tensor(np.ones(self.n_pairs, self.dtype))

    def replace(self, log: Log, variances: np.ndarray) -> None:
        """Replace the ratings, the weights and the variances of the ratings of the rows."""
        if self._places is None:
            # Places of the ratings in the matrix of users, and the order of these by item.
            n_items = self.shape[1]
            pairs, places = np.unique(
                log.users * np.int64(n_items) + log.items, return_inverse=True
            )
            self._places = places, np.argsort(pairs % n_items, kind="stable")
        places, order = self._places
        weighted = log.weights * log.y
        of_pairs = [np.bincount(places, values) for values in (log.weights, weighted)]
        squares = log.weights * (log.y**2 + variances)
        for k, side in enumerate(self.sides):
            side.squares, side.weights = (
                self._tensor(np.bincount(log[k], v, self.shape[k])) for v in (squares, log.weights)
            )
            side.fill(*(self._tensor(values[order] if k else values) for values in of_pairs))

    def _tensor(self, values: np.ndarray) -> Tensor:
        return torch.from_numpy(values.astype(self.dtype, copy=False)).to(self.device)


class PartnerShares:
    """Matrix of one over the root of the number of partners of a row, for each pair."""

    def __init__(self, matrices: RatingMatrices, k: int):
        sides = matrices.sides[k], matrices.sides[1 - k]
        self.n_partners = matrices.shape[1 - k]
        # The matrix is the product of the roots and a matrix of ones.
        self.blocks = [
            list(zip(side.rows, side.matrices(matrices.ones), strict=True)) for side in sides
        ]
        n_partners = torch.from_numpy(np.maximum(np.diff(sides[0].starts), 1))
        self.shares = n_partners.to(matrices.ones).rsqrt().unsqueeze(1)  # (n_rows, 1)

    def of_rows(self, terms: Tensor, power: int = 1, out: Tensor | None = None) -> Tensor:
        """Sum the terms of the partners in each row, times a power of their weights."""
        found = terms.new_empty(len(self.shares), terms.shape[1]) if out is None else out
        for rows, ones in self.blocks[0]:
            torch.mul(ones @ terms, self.shares[rows] ** power, out=found[rows])
        return found

    def of_terms(self, of_rows: Tensor, power: int = 1) -> Tensor:
        """Sum the values of the rows for each partner, times a power of its weights."""
        found = of_rows.new_empty(self.n_partners, of_rows.shape[1])
        # Some columns at a time, because the scaled rows are a copy.
        for first in range(0, of_rows.shape[1], COLUMNS_AT_ONCE):
            part = slice(first, first + COLUMNS_AT_ONCE)
            values = of_rows[:, part] * self.shares**power
            for rows, ones in self.blocks[1]:
                found[rows, part] = ones @ values
        return found
