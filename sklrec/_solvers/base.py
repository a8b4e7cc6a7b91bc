"""What an estimator asks of a solver, and what it gets."""
# SPDX-License-Identifier: BSD-3-Clause

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch

from sklrec._solvers.net import InteractionTensors, RatingNet
from sklrec.modules._rating_module import RatingModule


@dataclass(frozen=True)
class Previous:
    """What a training goes on from.

    Parameters
    ----------
    net : RatingNet or None
        The net that trained the module so far, if one did. It stays as it is.
    n_ratings : dict of str to ndarray
        How many ratings each row of the module's tables has had, by side, where known.
    """

    net: RatingNet | None = None
    n_ratings: dict[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """How a training went.

    Parameters
    ----------
    loss_curve : list of float
        Mean squared error of each pass over the ratings, in units of the ratings.
    validation_curve : list of float
        The same on the validation data.
    interrupted : bool, default=False
        Whether Ctrl-C ended it; the module is what it had become by then.
    net : RatingNet, default=None
        The skorch net, if the solver has one.
    """

    loss_curve: list[float]
    validation_curve: list[float]
    interrupted: bool = False
    net: RatingNet | None = None


class Solver(Protocol):
    """An object that trains a module in place."""

    def train(
        self,
        module: RatingModule,
        data: InteractionTensors,
        valid: InteractionTensors | None,
        generator: torch.Generator,
        previous: Previous | None = None,
    ) -> Outcome:
        """Train a module.

        Parameters
        ----------
        module : RatingModule
            The module, on the device of the training.
        data : InteractionTensors
            What to train on, on the same device.
        valid : InteractionTensors or None
            What to measure the validation loss on, on the same device.
        generator : torch.Generator
            Source of all that is random.
        previous : Previous, default=None
            What the training goes on from, if it does.

        Returns
        -------
        Outcome
            How it went.
        """
