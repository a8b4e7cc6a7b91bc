"""How ratings come from what the tables predict."""
# SPDX-License-Identifier: BSD-3-Clause

from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from sklrec._solvers.gibbs.tables import Ratings

# Degrees of freedom of the prior of users' shares: errors of unknown users have tails as of
# Student's t with as many.
FREEDOM = 4


class Likelihood(Protocol):
    """What a chain asks of a likelihood.

    Attributes
    ----------
    precision : float
        The precision of the targets around the predictions.
    targets : Tensor of shape (n_ratings,) or None
        What the tables are to predict; ``None`` if it is the ratings.
    weights : Tensor of shape (n_ratings,) or None
        What `precision` is multiplied by; ``None`` if it is the ratings' weights.
    """

    precision: float
    targets: Tensor | None
    weights: Tensor | None

    def draw(self, predictions: Tensor, rng: np.random.Generator) -> float:
        """Draw what the likelihood does not know.

        Parameters
        ----------
        predictions : Tensor of shape (n_ratings,)
            What the tables predict.
        rng : numpy.random.Generator
            Source of the draws.

        Returns
        -------
        float
            Mean squared error of the ratings around what is predicted, in units of ``scale``.
        """

    def state(self) -> dict[str, Tensor]:
        """Copy what a module's `set_draws` takes of a draw.

        Returns
        -------
        dict of str to Tensor
            The draw.
        """


class GaussianNoise:
    """Ratings are predictions and Gaussian noise, of unknown precision for each user.

    Some users are moodier than others. A user's precision is that of all, times a share that
    comes from a Gamma distribution around 1.

    Parameters
    ----------
    ratings : Ratings
        The ratings.

    Attributes
    ----------
    precision : float
        The precision of the noise.
    targets : None
        The ratings are the targets.
    weights : Tensor of shape (n_ratings,) or None
        The ratings' weights times their users' shares; ``None`` at first.
    shares : ndarray of shape (n_users + 1,)
        The users' shares.
    """

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
        """Draw the precision, and then the users' shares.

        Parameters
        ----------
        predictions : Tensor of shape (n_ratings,)
            What the tables predict.
        rng : numpy.random.Generator
            Source of the draws.

        Returns
        -------
        float
            Mean squared error of the ratings around the predictions.
        """
        errors = (self.ratings.values - predictions).double().square_().cpu().numpy()
        loss = np.average(errors, weights=self._own)
        if self._own is not None:
            errors *= self._own
        of_users = np.bincount(self._users, errors, minlength=len(self.shares))
        shared = of_users @ self.shares
        # As if one rating had been seen with an error of the ratings' own scale.
        self.precision = float(rng.gamma((1 + len(errors)) / 2) / ((1 + shared) / 2))
        self.shares = draw_shares(self._counts, self.precision * of_users, rng)
        self._weigh()
        return float(loss)

    def state(self) -> dict[str, Tensor]:
        """Copy the draw.

        Returns
        -------
        dict of str to Tensor
            The variance of the noise, and what it is multiplied by for each user; for an unknown
            one what is expected by the prior.
        """
        shares = 1 / self.shares
        shares[0] = FREEDOM / (FREEDOM - 2)
        return {"noise": torch.tensor(1 / self.precision), "user_noise": torch.from_numpy(shares)}

    def _weigh(self) -> None:
        """Let the weights have the users' shares in them."""
        weights = self.shares.astype(np.float32)[self._users]
        if self._own is not None:
            weights = (weights * self._own).astype(np.float32)
        self.weights = torch.from_numpy(weights).to(self.ratings.values.device)


def draw_shares(counts: np.ndarray, squares: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw how precise each user is, as a share of how precise all are.

    Parameters
    ----------
    counts : ndarray of shape (n_users,)
        Numbers of the users' ratings.
    squares : ndarray of shape (n_users,)
        Sums of their squared errors, in units of the common variance.
    rng : numpy.random.Generator
        Source of the draws.

    Returns
    -------
    ndarray of shape (n_users,)
        The shares.
    """
    return rng.gamma((FREEDOM + counts) / 2) / ((FREEDOM + squares) / 2)
