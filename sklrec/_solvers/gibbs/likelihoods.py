"""Likelihoods: distributions of the ratings around the predictions."""
# SPDX-License-Identifier: BSD-3-Clause

from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from sklrec._solvers.gibbs.tables import Ratings

# Degrees of freedom of the prior of the users' factors. Errors of unknown users follow Student's t
# distribution with as many.
FREEDOM = 4


class Likelihood(Protocol):
    """Interface between a chain and a likelihood."""

    precision: float  # of the targets around the predictions
    targets: Tensor | None  # (n_ratings,); None means the ratings
    weights: Tensor | None  # (n_ratings,), factors of `precision`; None means the ratings' weights

    def draw(self, predictions: Tensor, rng: np.random.Generator) -> float:
        """Draw the parameters, and return the mean squared error of the predictions."""

    def state(self) -> dict[str, Tensor]:
        """Copy the arguments of a module's `set_draws` for the current draw."""


class GaussianNoise:
    """Gaussian noise whose precision differs per user by a Gamma distributed factor."""

    def __init__(self, ratings: Ratings):
        self.ratings = ratings
        self.precision = 1.0
        self.targets: Tensor | None = None
        self.weights: Tensor | None = None
        self._users = ratings.numpy_codes("user")
        self._own = None if ratings.weights is None else ratings.weights.double().cpu().numpy()
        self.shares = np.ones(ratings.n_rows["user"])
        self._counts = np.bincount(self._users, minlength=len(self.shares))

    def draw(self, predictions: Tensor, rng: np.random.Generator) -> float:
        """Draw the common precision and the users' factors, and return the mean squared error."""
        errors = (self.ratings.values - predictions).double().square_().cpu().numpy()
        loss = np.average(errors, weights=self._own)
        if self._own is not None:
            errors *= self._own
        of_users = np.bincount(self._users, errors, minlength=len(self.shares))
        shared = of_users @ self.shares
        # The prior is worth one rating with an error of the ratings' own scale.
        self.precision = float(rng.gamma((1 + len(errors)) / 2) / ((1 + shared) / 2))
        self.shares = draw_shares(self._counts, self.precision * of_users, rng)
        self._weigh()
        return float(loss)

    def state(self) -> dict[str, Tensor]:
        """Copy the noise variance and the users' multiples of it."""
        shares = 1 / self.shares
        shares[0] = FREEDOM / (FREEDOM - 2)
        return {"noise": torch.tensor(1 / self.precision), "user_noise": torch.from_numpy(shares)}

    def _weigh(self) -> None:
        """Multiply the weights of the ratings by their users' factors."""
        weights = self.shares.astype(np.float32)[self._users]
        if self._own is not None:
            weights = (weights * self._own).astype(np.float32)
        self.weights = torch.from_numpy(weights).to(self.ratings.values.device)


def draw_shares(counts: np.ndarray, squares: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw the users' factors of the common precision."""
    return rng.gamma((FREEDOM + counts) / 2) / ((FREEDOM + squares) / 2)
