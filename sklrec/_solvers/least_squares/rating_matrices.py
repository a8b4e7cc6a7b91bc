"""Sparse matrices of weights and weighted ratings, by users and by items."""
# SPDX-License-Identifier: BSD-3-Clause

import warnings
from dataclasses import dataclass
from functools import cached_property
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


class RatingMatrices:
    """Matrices of both sides, whose ratings and weights can be replaced."""

    def __init__(
        self,
        log: Log,
        shape: tuple[int, int],
        dtype: Any,
        device: torch.device,
        rows_at_once: int,
    ):
        self.codes, self.shape, self.dtype, self.device = log[:2], shape, dtype, device
        self.by_user = csr_array((log.weights, log[:2]), shape)  # repeated pairs are one entry
        of_ratings = csr_array((log.weights * log.y, log[:2]), shape)
        self.sides = []
        for k in (0, 1):
            pair = self.by_user, of_ratings
            weights, ratings = ((m if k == 0 else m.T.tocsr()).astype(dtype) for m in pair)
            blocks = [
                (
                    rows := slice(first, min(first + rows_at_once, shape[k])),
                    to_torch(weights[rows], device),
                    to_torch(ratings[rows], device),
                )
                for first in range(0, shape[k], rows_at_once)
            ]
            self.sides.append(SideMatrices(blocks, *self._totals(k, log, 0.0)))

    def replace(self, log: Log, variances: np.ndarray) -> None:
        """Replace the ratings, the weights and the variances of the ratings."""
        places, order = self._places
        for k, side in enumerate(self.sides):
            side.squares, side.weights = self._totals(k, log, variances)
            of_pairs = [
                np.bincount(places, values)[order if k else ...].astype(self.dtype)
                for values in (log.weights, log.weights * log.y)
            ]
            first = 0
            for _, *matrices in side.blocks:
                last = first + len(matrices[0].values())
                for matrix, values in zip(matrices, of_pairs, strict=True):
                    matrix.values().copy_(torch.from_numpy(values[first:last]))
                first = last

    def partner_shares(self, k: int) -> csr_array:
        """Make the matrix of one over the root of the number of partners of a row."""
        pattern = self.by_user if k == 0 else self.by_user.T.tocsr()
        n_partners = np.diff(pattern.indptr)
        shares = pattern.copy()
        shares.data = np.repeat(1 / np.sqrt(np.maximum(n_partners, 1)), n_partners)
        return shares

    def _totals(self, k: int, log: Log, variances: np.ndarray | float) -> list[Tensor]:
        squares = log.weights * (log.y**2 + variances)
        sums = (np.bincount(self.codes[k], v, self.shape[k]) for v in (squares, log.weights))
        return [torch.from_numpy(v.astype(self.dtype)).to(self.device) for v in sums]

    @cached_property
    def _places(self) -> tuple[np.ndarray, np.ndarray]:
        """Places of the ratings in the matrix of users, and the order of these by item."""
        users, items = self.codes
        keys = users * np.int64(self.shape[1]) + items
        pairs, places = np.unique(keys, return_inverse=True)
        return places, np.argsort(pairs % self.shape[1], kind="stable")


@dataclass
class Incidence:
    """Matrix of the weights of shared terms in a row, and its forms that products need."""

    weights: Tensor  # (n_rows, n_terms)
    squared: Tensor
    transposed: Tensor
    transposed_squared: Tensor

    @classmethod
    def of(cls, weights: csr_array, dtype: Any, device: Any) -> "Incidence":
        """Make all forms."""
        weights = weights.astype(dtype)
        squared = weights.power(2)
        every = weights, squared, weights.T.tocsr(), squared.T.tocsr()
        return cls(*(to_torch(matrix, device) for matrix in every))


def sparse_features(values: Tensor, weights: Tensor, n_values: int) -> csr_array:
    """Make the matrix (n_rows, n_values) of the weights of side features."""
    columns, shares = values.cpu().numpy(), weights.double().cpu().numpy()
    rows, places = np.nonzero(shares)
    cells = shares[rows, places], (rows, columns[rows, places])
    return csr_array(cells, (len(columns), n_values))


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
