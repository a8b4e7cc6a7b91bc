"""Sparse matrices of weights and weighted ratings, by users and by items."""
# SPDX-License-Identifier: BSD-3-Clause

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor

from sklrec._solvers.least_squares.biases import Log


@dataclass
class SideMatrices:
    """Ratings of one side's rows, in blocks of rows."""

    blocks: list[tuple[slice, Tensor, Tensor]]  # rows, their weights, their weighted ratings
    squares: Tensor  # (n_rows,), sums of w z²
    weights: Tensor  # (n_rows,), sums of w


@dataclass
class Incidence:
    """Matrix of the shares of partners in a row, and its forms that products need."""

    shares: Tensor  # (n_rows, n_partners), one over the root of the number of partners
    squared: Tensor
    transposed: Tensor
    transposed_squared: Tensor

    @classmethod
    def of(cls, weights: csr_array, dtype: Any, device: Any) -> "Incidence":
        """Make the matrices for the pairs that a matrix holds, whatever their weights."""
        n_partners = np.diff(weights.indptr)
        shares = weights.copy()
        shares.data = np.repeat(1 / np.sqrt(np.maximum(n_partners, 1)), n_partners).astype(dtype)
        every = shares, shares.power(2), shares.T.tocsr(), shares.power(2).T.tocsr()
        return cls(*(to_torch(matrix, device) for matrix in every))


def rating_matrices(
    log: Log,
    shape: tuple[int, int],
    dtype: Any,
    device: torch.device,
    rows_at_once: int,
    svdpp: bool,
) -> tuple[list[SideMatrices], list[Incidence]]:
    """Make the matrices of both sides; repeated pairs become one entry."""
    users, items, ratings, weights = log
    by_user, of_ratings = (
        csr_array((values, (users, items)), shape) for values in (weights, weights * ratings)
    )
    sides, incidences = [], []
    for k, codes in enumerate((users, items)):
        pair = (by_user, of_ratings) if k == 0 else (by_user.T.tocsr(), of_ratings.T.tocsr())
        totals = [
            torch.from_numpy(np.bincount(codes, values, shape[k]).astype(dtype)).to(device)
            for values in (weights * ratings**2, weights)
        ]
        sides.append(SideMatrices(list(_blocks(pair, dtype, device, rows_at_once)), *totals))
        if svdpp:
            incidences.append(Incidence.of(pair[0], dtype, device))
    return sides, incidences


def ranks_of_users(log: Log, shape: tuple[int, int]) -> np.ndarray:  # (n_users,)
    """Rank users by their ratings, whatever the order of rows and the IDs are."""
    # Each round sums a nonlinear function of the partners' values. Only users whose ratings look
    # the same, up to the IDs of the items, end with equal values. These get the same rank.
    users, items, ratings, weights = log
    values = [np.zeros(n) for n in shape]
    for _ in range(3):
        for k, codes, partners in ((1, items, users), (0, users, items)):
            terms = weights * (ratings + np.cos(1 + values[1 - k][partners]))
            sums = np.bincount(codes, terms, shape[k])
            values[k] = 2 * sums / max(np.abs(sums).max(), 1e-300)
    return np.unique(values[0].round(10), return_inverse=True)[1]


def _blocks(
    pair: tuple[csr_array, csr_array], dtype: Any, device: torch.device, at_once: int
) -> Iterator[tuple[slice, Tensor, Tensor]]:
    weights, ratings = (matrix.astype(dtype) for matrix in pair)
    n_rows = weights.shape[0]
    for first in range(0, n_rows, at_once):
        rows = slice(first, min(first + at_once, n_rows))
        yield rows, to_torch(weights[rows], device), to_torch(ratings[rows], device)


def to_torch(matrix: csr_array, device: torch.device) -> Tensor:
    """Copy a sparse matrix to torch."""
    starts, columns = (
        torch.from_numpy(part.astype(np.int64)) for part in (matrix.indptr, matrix.indices)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # sparse CSR tensors are in beta
        found = torch.sparse_csr_tensor(
            starts, columns, torch.from_numpy(matrix.data), matrix.shape, check_invariants=False
        )
        return found.to(device)
