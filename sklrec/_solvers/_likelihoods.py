"""How ratings come from what the tables predict."""
# SPDX-License-Identifier: BSD-3-Clause

from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from sklrec._solvers._sweeps import Ratings


class Likelihood(Protocol):
    """What a chain asks of a likelihood.

    Attributes
    ----------
    precision : float
        The precision of the targets around the predictions.
    targets : Tensor of shape (n_ratings,) or None
        What the tables are to predict at first; ``None`` if it is the ratings.
    """

    precision: float
    targets: Tensor | None

    def draw(self, predictions: Tensor, rng: np.random.Generator) -> tuple[Tensor | None, float]:
        """Draw what the likelihood does not know.

        Parameters
        ----------
        predictions : Tensor of shape (n_ratings,)
            What the tables predict.
        rng : numpy.random.Generator
            Source of the draws.

        Returns
        -------
        targets : Tensor of shape (n_ratings,) or None
            What the tables are to predict from now on; ``None`` if that did not change.
        loss : float
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
    """Ratings are predictions and Gaussian noise of unknown precision.

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
    """

    def __init__(self, ratings: Ratings):
        self.ratings = ratings
        self.precision = 1.0
        self.targets: Tensor | None = None

    def draw(self, predictions: Tensor, rng: np.random.Generator) -> tuple[Tensor | None, float]:
        """Draw the precision.

        Parameters
        ----------
        predictions : Tensor of shape (n_ratings,)
            What the tables predict.
        rng : numpy.random.Generator
            Source of the draws.

        Returns
        -------
        targets : None
            The targets stay the ratings.
        loss : float
            Mean squared error of the ratings around the predictions.
        """
        loss = self.ratings.mean_squared_error(predictions)
        # As if one rating had been seen with an error of the ratings' own scale.
        n = len(predictions)
        self.precision = rng.gamma((1 + n) / 2) / ((1 + n * loss) / 2)
        return None, loss

    def state(self) -> dict[str, Tensor]:
        """Copy the draw.

        Returns
        -------
        dict of str to Tensor
            The variance of the noise.
        """
        return {"noise": torch.tensor(1 / self.precision)}
