"""Gaussian terms that rows share, and biases of contexts."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor

from sklrec._solvers.least_squares.pairs import Log, PartnerShares, to_torch
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

# Variance of the biases at the start, in units of the ratings' variance.
START_VARIANCE = 0.05
# Steps of conjugate gradients. Each sweep starts from the terms of the last one.
N_STEPS = 5
# Scale of the Wishart priors of precisions.
WISHART = 0.1


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


@dataclass
class TermSums:
    """Sums in the rows of the terms of their partners, and of the values of side features."""

    partners: PartnerShares | None  # of SVD++ terms, which come first
    features: Incidence | None

    def of_rows(self, terms: Tensor, power: int = 1, out: Tensor | None = None) -> Tensor:
        """Sum the terms in each row, times a power of their weights."""
        found, of_values = None, terms
        if self.partners is not None:
            n = self.partners.n_partners
            found, of_values = self.partners.of_rows(terms[:n], power, out), terms[n:]
        if self.features is not None:
            matrix = self.features.weights if power == 1 else self.features.squared
            sums = matrix @ of_values
            found = sums if found is None else found.add_(sums)
        assert found is not None
        return found

    def of_terms(self, of_rows: Tensor, power: int = 1) -> Tensor:
        """Sum the values of the rows for each term, times a power of its weights."""
        found = [] if self.partners is None else [self.partners.of_terms(of_rows, power)]
        if (B := self.features) is not None:
            found.append((B.transposed if power == 1 else B.transposed_squared) @ of_rows)
        return found[0] if len(found) == 1 else torch.cat(found)


def sparse_features(values: Tensor, weights: Tensor, n_values: int) -> csr_array:
    """Make the matrix (n_rows, n_values) of the weights of side features."""
    columns, shares = values.cpu().numpy(), weights.double().cpu().numpy()
    rows, places = np.nonzero(shares)
    cells = shares[rows, places], (rows, columns[rows, places])
    return csr_array(cells, (len(columns), n_values))


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

    B: TermSums
    mean: Tensor  # (n_terms, d)
    covariance: Tensor  # (n_terms, d(d+1)/2)
    priors: list[TermPrior]

    def update(
        self,
        grams: Tensor,  # (n, d(d+1)/2)
        targets: Tensor,  # (n, d)
        scales: Tensor,  # (n, 1), precisions of the rows' ratings
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
            S = inverse(unpack(grams[part] * scales[part], d) + precision)
            covariance[part] = pack(S)
            weighted = precision @ S
            A = precision - weighted @ precision
            reduced[part] = pack(A)
            pulls[part] = times(weighted, targets[part] * scales[part]) - times(A, centre[part])
        right = B.of_terms(pulls)
        self.covariance = B.of_terms(reduced, 2)  # precisions, without the priors
        precisions = [(prior.group, prior.precision.to(dtype)) for prior in self.priors]
        for prior, (group, of_terms) in zip(self.priors, precisions, strict=True):
            right[group] += of_terms @ prior.mean.to(dtype)
            curvatures = self.covariance[group]
            for part in blocks(len(curvatures), d, device):
                curvatures[part] = pack(inverse(unpack(curvatures[part], d) + of_terms))

        def product(t: Tensor) -> Tensor:
            image = B.of_terms(multiply(reduced, B.of_rows(t)))
            for group, of_terms in precisions:
                image[group] += t[group] @ of_terms
            return image

        self.mean = conjugate_gradients(
            product, right, self.mean, lambda t: multiply(self.covariance, t)
        )
        self.set_priors()
        return B.of_rows(self.mean), B.of_rows(self.covariance, 2, out=reduced)

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
        return self.B.of_rows(some)


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
