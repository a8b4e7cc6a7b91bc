"""Biases of the context of a rating, such as its day."""
# SPDX-License-Identifier: BSD-3-Clause
#
# A rating has the bias h = sum of x_k b_k over the values k of its side features, with
# b_k ~ N(0, variance of the feature). The biases are solved jointly with the users' rows: a user
# who rated on one day only has the same ratings, whatever the shares of the day and the user are.

from collections.abc import Sequence

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor

from sklrec._solvers.least_squares.biases import Log
from sklrec._solvers.least_squares.conjugate_gradients import conjugate_gradients
from sklrec._solvers.least_squares.gaussian_terms import WISHART
from sklrec._solvers.least_squares.rating_matrices import to_torch
from sklrec._utils.packed import inner, multiply, outer, rows_at_once

# Variance of the biases at the start, in units of the ratings' variance.
START_VARIANCE = 0.05
N_STEPS = 5


class ContextBiases:
    """Distribution of the biases of all values of side features of ratings."""

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
        X = X.astype(np_dtype)
        self.X, self.XT = to_torch(X, device), to_torch(X.T.tocsr(), device)
        squared = X.power(2)
        self.squared, self.squaredT = (
            to_torch(squared, device),
            to_torch(squared.T.tocsr(), device),
        )
        self._entries = X.tocoo()
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
        self.count = self.squaredT @ self.weights  # (n_values,)

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
        return self.X @ self.mean, self.squared @ self.variance

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
        diagonal = prior + (self.squaredT @ of_ratings - taken).clamp(min=0)

        def shift(change: Tensor) -> Tensor:
            moved = g * change[self.pair_values].unsqueeze(1)
            return x.new_zeros(self.n_users, d + 1).index_add_(0, self.pair_users, moved)

        def product(change: Tensor) -> Tensor:
            of_users = multiply(covariances, shift(change)[:, :d])
            back = (g[:, :d] * of_users[self.pair_users]).sum(1)
            image = prior * change + self.XT @ (of_ratings * (self.X @ change))
            return image.index_add_(0, self.pair_values, -back)

        right = self.XT @ (of_ratings * errors) - prior * self.mean
        change = conjugate_gradients(
            product, right, torch.zeros_like(right), lambda v: v / diagonal, N_STEPS
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
