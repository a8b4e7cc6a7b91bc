"""Normal equations of rows whose partners are Gaussian."""
# SPDX-License-Identifier: BSD-3-Clause
#
# A partner has the bias b, the factors q, and a covariance C of both. With x = (1, q), with
# M = x x' plus C without the row and column of the bias, and with c = b x + (0, C_bq), a row w has
#
#   E sum (z - w'x - b)^2 = w'G w - 2 w'y + r,  with
#   G = sum M,  y = sum (z x - c),  r = sum (z^2 - 2 z b + b^2 + C_bb).

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor

from sklrec._solvers.least_squares.biases import Log
from sklrec._utils.packed import inner, n_packed, outer, pack, rows_at_once

# Weight of ratings from which the noise is estimated, and steps of this.
MIN_WEIGHT = 50.0
N_RATIO_STEPS = 10
# Share of the product of two rows' covariances in the leverage of a rating. On validation parts of
# four logs the squared standardised errors are above 1 on average with 0, and below it with 1.
PRODUCT_SHARE = 0.5


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


@dataclass
class Rows:
    """Distribution of the rows of one side, in units of the ratings' standard deviation."""

    mean: Tensor  # (n, d), bias first
    covariance: Tensor  # (n, d(d+1)/2), packed
    prior_mean: Tensor  # (3, d), float64, of own rows: coefficients of their `activity`
    prior_covariance: Tensor  # (d, d), float64


def activity(weights: Tensor) -> Tensor:  # (n,) to (n, 3)
    """Compute what the prior mean of a row depends on, from the weight of its ratings."""
    # Items that few people rate are rated lower, and users with few ratings differ from others.
    counts = weights.double().clamp(min=1).log()
    return torch.stack([torch.ones_like(counts), counts, counts.square()], 1)


def row_equations(
    matrices: SideMatrices,
    mean: Tensor,  # (n_partners, d), bias first
    covariance: Tensor,  # (n_partners, d(d+1)/2)
    shares: Tensor | None,  # (n_partners,), weights of the partners' ratings
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute G, y and r of all rows."""
    d = mean.shape[1]
    bias = mean[:, :1].clone()  # (n_partners, 1)
    x = mean.clone()
    x[:, 0] = 1
    counted = mean.new_zeros(len(x), n_packed(d) + d + 1)
    grams, c, squares = counted[:, : -d - 1], counted[:, -d - 1 : -1], counted[:, -1]
    grams.copy_(outer(x))
    grams[:, d:] += covariance[:, d:]
    c.copy_(x * bias)
    c[:, 1:] += covariance[:, 1:d]
    squares.copy_(bias[:, 0] ** 2 + covariance[:, 0])
    rated = torch.cat([x, bias], 1)
    if shares is not None:
        counted *= shares.unsqueeze(1)
        rated *= shares.unsqueeze(1)
    n = len(matrices.weights)
    G, y, r = mean.new_empty(n, n_packed(d)), mean.new_empty(n, d), mean.new_empty(n)
    for part, weights, ratings in matrices.blocks:
        sums, products = weights @ counted, ratings @ rated
        G[part] = sums[:, : -d - 1]
        y[part] = products[:, :d] - sums[:, -d - 1 : -1]
        r[part] = matrices.squares[part] + sums[:, -1] - 2 * products[:, d]
    return G, y, r


def expected_errors(
    rows: Rows,
    G: Tensor,
    y: Tensor,
    r: Tensor,
    shares: Tensor,  # (n,), weights of the rows' ratings
) -> tuple[Tensor, float]:
    """Compute the expected squared errors of all rows, and the multiple of the factors with the
    smallest total."""
    d = rows.mean.shape[1]
    second = outer(rows.mean) + rows.covariance
    squares = inner(G[:, d:], second[:, d:], d - 1)  # of the products of factors
    covered = (rows.mean * y)[:, 1:].sum(1) - (G * second)[:, 1:d].sum(1)
    gain = (shares @ covered) / (shares @ squares)
    errors = r - 2 * (rows.mean * y).sum(1) + inner(G, second, d)
    return errors, min(max(float(gain), 0.0), 1.0)


def shrunken(rows: Rows, gain: float) -> Rows:
    """Multiply the covariances of factors by a number."""
    factors = torch.ones_like(rows.prior_covariance[0])
    factors[1:] = gain**0.5
    whole = torch.outer(factors, factors)
    return replace(
        rows,
        covariance=rows.covariance * pack(whole).to(rows.covariance),
        prior_covariance=rows.prior_covariance * whole,
    )


def with_first(covariance: Tensor, variance: float) -> Tensor:
    """Scale the first variable of a covariance matrix to a given variance."""
    factors = torch.ones_like(covariance[0])
    factors[0] = (variance / covariance[0, 0]) ** 0.5
    return covariance * torch.outer(factors, factors)


def errors_of_means(log: Sequence[Tensor], rows: list[Rows]) -> Tensor:  # (n,)
    """Compute the errors of the ratings of a log around the means of the rows."""
    users, items, z = log[:3]
    (p, q), d = [side.mean for side in rows], rows[0].mean.shape[1]
    errors = z - p[:, 0][users] - q[:, 0][items]
    for part in torch.arange(len(z), device=z.device).split(rows_at_once(d, z.device)):
        products = p.index_select(0, users[part]) * q.index_select(0, items[part])
        errors[part] -= products[:, 1:].sum(1)
    return errors


@dataclass
class Predictions:
    """Predictions of ratings from the rows of both sides."""

    errors: Tensor  # (n,), around the means
    variances: Sequence[Tensor]  # (n,) for each side: of x'w for the other side's mean x
    both: Tensor  # (n,), sum over factors of the products of both covariances

    @classmethod
    def of(cls, log: Sequence[Tensor], rows: list[Rows]) -> "Predictions":
        """Predict the ratings of a log."""
        users, items, z = log[:3]
        d = rows[0].mean.shape[1]
        variances, both = [torch.empty_like(z) for _ in rows], torch.empty_like(z)
        for part in torch.arange(len(z), device=z.device).split(rows_at_once(d, z.device)):
            codes = users[part], items[part]
            means = [side.mean[k] for side, k in zip(rows, codes, strict=True)]
            S = [side.covariance[k] for side, k in zip(rows, codes, strict=True)]
            both[part] = inner(S[0][:, d:], S[1][:, d:], d - 1)
            for k in (0, 1):
                x = means[1 - k]
                x[:, 0] = 1
                variances[k][part] = inner(S[k], outer(x), d)
        return cls(errors_of_means(log, rows), variances, both)


def left_out_noise(
    log: Sequence[Tensor],  # (n,) each: users, items, ratings, weights
    of_context: Tensor | None,  # (n,), variances of the biases of the context
    rows: list[Rows],
    precisions: Tensor,  # (n_users,), of a rating
    totals: list[Tensor],  # weights of the ratings of each user, and of each item
) -> float:
    """Estimate the ratio of the noise variance of left-out ratings to 1 / precision."""
    # With v_u = x_i' S_u x_i, with the sum v of S_u S_i over factors, and with the leverage
    # h_u = precision (v_u + v / 2), the error of a prediction without the rating is about
    # e / ((1 - h_u) (1 - h_i)). Its variance is the noise plus
    # v_u / (1 - h_u) + v_i / (1 - h_i) + v / ((1 - h_u) (1 - h_i)). The context is a third side.
    users, items, _, weights = log
    found = Predictions.of(log, rows)
    precision = precisions[users]
    variance, keep_both = torch.zeros_like(precision), torch.ones_like(precision)
    for v in found.variances:
        keep = 1 - (precision * (v + PRODUCT_SHARE * found.both)).clamp(max=0.99)
        keep_both *= keep
        variance += v / keep
    variance += found.both / keep_both
    if of_context is not None:
        keep = 1 - (precision * of_context).clamp(max=0.99)
        keep_both *= keep
        variance += of_context / keep
    square, noise = (found.errors / keep_both).square(), 1 / precision
    count = weights * (torch.minimum(totals[0][users], totals[1][items]) > 1)
    if count.sum() < MIN_WEIGHT:
        return 1.0
    ratio = 1.0
    for _ in range(N_RATIO_STEPS):  # the mean squared standardised error becomes 1
        standardised = (square / (ratio * noise + variance)).double()
        excess = (count * standardised).sum() / count.sum()
        ratio = min(max(ratio * float(excess), 0.1), 10.0)
    return ratio
