"""Interface between estimators and solvers."""
# SPDX-License-Identifier: BSD-3-Clause

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from skorch import NeuralNetRegressor

from sklrec._solvers.penalties import LearnedPenalties
from sklrec._solvers.tensors import InteractionTensors
from sklrec.modules._rating_module import RatingModule


@dataclass(frozen=True)
class WarmStart:
    """State of a previous fit, for warm starts."""

    net: NeuralNetRegressor | None = None  # the net that trained the module; it is not changed
    # Number of ratings of each row of the module's tables before this fit, and with its ratings,
    # where known: by side, or "value" for values of side features. Users and items count pairs
    # that were rated again once.
    n_ratings: dict[str, np.ndarray] = field(default_factory=dict)
    n_all_ratings: dict[str, np.ndarray] = field(default_factory=dict)
    penalties: LearnedPenalties | None = None
    loss_curve: list[float] = field(default_factory=list)
    weight: float = 0.0  # sum of the weights of the ratings so far


@dataclass(frozen=True)
class FitResult:
    """Losses of a training, whether Ctrl-C ended it, and further fitted attributes."""

    loss_curve: list[float]  # mean loss of each epoch, in units of the ratings
    validation_curve: list[float]  # the same for the validation data
    interrupted: bool = False
    attributes: dict[str, Any] = field(default_factory=dict)  # by their names in the estimator


class Solver(Protocol):
    """An object that trains a module in place."""

    def train(
        self,
        module: RatingModule,
        data: InteractionTensors,
        valid: InteractionTensors | None,
        generator: torch.Generator,
        previous: WarmStart | None = None,
    ) -> FitResult:
        """Train a module on data that are on its device."""
