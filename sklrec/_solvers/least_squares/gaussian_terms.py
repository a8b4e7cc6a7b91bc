"""Gaussian terms that rows share, biases of contexts, and the sparse matrices of both."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor

from sklrec._solvers.least_squares.pairs import Log
from sklrec._utils.forks import cached_property
from sklrec._utils.packed import (
    blocks,
    inner,
    inverse,
    multiply,
    outer,
    pack,
    rows_at_once,
    times,
    unpack,
)
from sklrec.modules._pairs import silence_beta_warning

# Variance of the biases at the start, in units of the ratings' variance.
START_VARIANCE = 0.05
# Steps of conjugate gradients. Each sweep starts from the terms of the last one.
N_STEPS = 5
# Scale of the Wishart priors of precisions.
WISHART = 0.1


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
    silence_beta_warning()
    values = torch.from_numpy(matrix.data)
    found = torch.sparse_csr_tensor(starts, columns, values, matrix.shape, check_invariants=False)
    return found.to(device)


def conjugate_gradients(
    apply: Callable[[Tensor], Tensor],  # a symmetric positive definite matrix
    right: Tensor,
    start: Tensor,
    precondition: Callable[[Tensor], Tensor],
) -> Tensor:
    """Solve a linear system approximately."""
    found = start
    residual = right - apply(found)
    step = pushed = precondition(residual)
    size = (residual * pushed).sum()
    for _ in range(N_STEPS):
        image = apply(step)
        # At the solution both parts of the fraction are 0. Rounding must not turn the step around.
        curvature = (step * image).sum()
        rate = torch.where(curvature > 0, size / curvature.clamp(min=1e-30), 0)
        found = found + rate * step
        residual = residual - rate * image
        pushed = precondition(residual)
        before, size = size, (residual * pushed).sum()
        step = pushed + size / before.clamp(min=1e-30) * step
    return found


@dataclass
class TermPrior:
    """Prior of a group of terms: the SVD++ terms, or the values of a side feature."""

    group: slice
    mean: Tensor  # (d,), float64
    precision: Tensor  # (d, d), float64


@dataclass
class GaussianTerms:
    """Terms of one side's rows."""

    B: Incidence  # weights of the terms in the rows
    mean: Tensor  # (n_terms, d)
    covariance: Tensor  # (n_terms, d(d+1)/2)
    priors: list[TermPrior]

    def update(
        self,
        grams: Tensor,  # (n, d(d+1)/2), times the precision of ratings
        targets: Tensor,  # (n, d), too
        precision: Tensor,  # (d, d), of own rows
        centre: Tensor,  # (n, d), prior means of own rows
        covariance: Tensor,  # (n, d(d+1)/2), of rows; its values are replaced
    ) -> tuple[Tensor, Tensor]:
        """Update the terms; return their sums of all rows, and covariances of these."""
        # A row is own + h with h = B t. With the own part integrated out, the terms t solve
        #   (L_t + B'A B) t = B'r + L_t m_t,  A = L - L S L,  r = L S tau y - A m.
        # S, the inverse of (tau G + L), is the new covariance.
        B, (d, device, dtype) = self.B, (targets.shape[1], targets.device, targets.dtype)
        reduced, pulls = torch.empty_like(grams), torch.empty_like(targets)
        for part in blocks(len(grams), d, device):
            S = inverse(unpack(grams[part], d) + precision)
            covariance[part] = pack(S)
            weighted = precision @ S
            A = precision - weighted @ precision
            reduced[part] = pack(A)
            pulls[part] = times(weighted, targets[part]) - times(A, centre[part])
        right = B.transposed @ pulls
        self.covariance = B.transposed_squared @ reduced  # precisions, without the priors
        precisions = [(prior.group, prior.precision.to(dtype)) for prior in self.priors]
        for prior, (group, of_terms) in zip(self.priors, precisions, strict=True):
            right[group] += of_terms @ prior.mean.to(dtype)
            curvatures = self.covariance[group]
            for part in blocks(len(curvatures), d, device):
                curvatures[part] = pack(inverse(unpack(curvatures[part], d) + of_terms))

        def product(t: Tensor) -> Tensor:
            image = B.transposed @ multiply(reduced, B.weights @ t)
            for group, of_terms in precisions:
                image[group] += t[group] @ of_terms
            return image

        self.mean = conjugate_gradients(
            product, right, self.mean, lambda t: multiply(self.covariance, t)
        )
        self.set_priors()
        return B.weights @ self.mean, B.squared @ self.covariance

    def set_priors(self) -> None:
        """Set mean and precision of each prior in the same way as those of the rows."""
        for prior in self.priors:
            t = self.mean[prior.group].double()
            n, d = t.shape
            prior.mean = t.sum(0) / (n + 1)
            squares = unpack(self.covariance[prior.group].sum(0, dtype=torch.float64), d)
            squares = squares + t.T @ t - torch.outer(t.sum(0), prior.mean)
            squares += WISHART * torch.eye(d).to(squares)
            prior.precision = (n + d) * torch.linalg.inv(squares)

    def sums(self, *priors: TermPrior, columns: slice = slice(None)) -> Tensor:
        """Compute the sums of some groups of terms for all rows."""
        some = torch.zeros_like(self.mean[:, columns])
        for prior in priors:
            some[prior.group] = self.mean[prior.group, columns]
        return self.B.weights @ some


class ContextBiases:
    """Distribution of the biases of all values of side features of ratings."""

    # A rating has the bias h = sum of x_k b_k over the values k of its side features, with
    # b_k ~ N(0, variance of the feature). The biases are solved jointly with the users' rows: a
    # user who rated on one day only has the same ratings, whatever the shares of the day and the
    # user are.

    def __init__(
        self,
        X: csr_array,  # (n_ratings, n_values)
        groups: Sequence[slice],  # values of each side feature
        log: Log,
        n_users: int,
        n_items: int,
        dtype: torch.dtype,
        device: torch.device,
    ):
        np_dtype = np.float64 if dtype == torch.float64 else np.float32
        n_values = X.shape[1]
        self.groups, self.n_users = groups, n_users
        self.mean = torch.zeros(n_values, dtype=dtype, device=device)
        self.variance = torch.zeros_like(self.mean)
        self.prior_variances = [START_VARIANCE] * len(groups)
        self.B = Incidence.of(X, np_dtype, device)
        self._entries = X.astype(np_dtype).tocoo()
        rows, values = self._entries.coords
        pairs, self._places = np.unique(
            log.users[rows] * np.int64(n_values) + values, return_inverse=True
        )
        self.pair_users, self.pair_values = (
            torch.from_numpy(codes).to(device) for codes in np.divmod(pairs, n_values)
        )
        self.users = torch.from_numpy(log.users).to(device)
        self.n_items = n_items
        self.set_weights(log)
        self.count = self.B.transposed_squared @ self.weights  # (n_values,)

    def set_weights(self, log: Log) -> None:
        """Replace the weights of the ratings."""
        self.weights = torch.from_numpy(log.weights).to(self.mean)
        # Weights of the items in each pair of a user and a value.
        rows = self._entries.coords[0]
        weights = (log.weights[rows] * self._entries.data).astype(self._entries.dtype)
        shape = len(self.pair_users), self.n_items
        by_pair = csr_array((weights, (self._places, log.items[rows])), shape)
        self.by_pair = to_torch(by_pair, self.mean.device)

    def of_ratings(self) -> tuple[Tensor, Tensor]:
        """Compute the biases of all ratings, and their variances."""
        return self.B.weights @ self.mean, self.B.squared @ self.variance

    def update(
        self,
        errors: Tensor,  # (n_ratings,), around the present means
        x: Tensor,  # (n_items, d + 1): 1, factors, bias
        covariances: Tensor,  # (n_users, d(d+1)/2), of users whose terms are fixed
        precisions: Tensor,  # (n_users,), of a rating
    ) -> Tensor:
        """Update the biases; return the change of the users' targets, and of the sums of rating
        times bias of the item."""
        # With D the precisions of ratings and Q the users' rows in them, the equations are
        #   (prior + X'DX - X'DQ S Q'DX) b = X'D (errors with the solution of the users for b = 0).
        d = x.shape[1] - 1
        of_ratings = precisions[self.users] * self.weights
        g = (self.by_pair @ x) * precisions[self.pair_users].unsqueeze(1)  # X'DQ
        prior = torch.cat(
            [
                self.mean.new_full((group.stop - group.start,), 1 / variance)
                for group, variance in zip(self.groups, self.prior_variances, strict=True)
            ]
        )
        taken = torch.zeros_like(prior)
        for part in torch.arange(len(g), device=g.device).split(rows_at_once(d, g.device)):
            of_pairs = inner(covariances[self.pair_users[part]], outer(g[part, :d]), d)
            taken.index_add_(0, self.pair_values[part], of_pairs)
        diagonal = prior + (self.B.transposed_squared @ of_ratings - taken).clamp(min=0)

        def shift(change: Tensor) -> Tensor:
            moved = g * change[self.pair_values].unsqueeze(1)
            return x.new_zeros(self.n_users, d + 1).index_add_(0, self.pair_users, moved)

        def product(change: Tensor) -> Tensor:
            of_users = multiply(covariances, shift(change)[:, :d])
            back = (g[:, :d] * of_users[self.pair_users]).sum(1)
            image = prior * change + self.B.transposed @ (of_ratings * (self.B.weights @ change))
            return image.index_add_(0, self.pair_values, -back)

        right = self.B.transposed @ (of_ratings * errors) - prior * self.mean
        change = conjugate_gradients(
            product, right, torch.zeros_like(right), lambda v: v / diagonal
        )
        self.mean = self.mean + change
        self.variance = 1 / diagonal
        self._set_priors()
        return shift(change)

    def _set_priors(self) -> None:
        """Set the variance of each side feature from the values that occur."""
        squares = (self.mean.square() + self.variance).double() * (self.count > 0)
        for k, group in enumerate(self.groups):
            n = int((self.count[group] > 0).sum())
            self.prior_variances[k] = (squares[group].sum().item() + WISHART) / (n + 1)
