"""Choice of the number of epochs on held-out ratings."""
# SPDX-License-Identifier: BSD-3-Clause

from copy import copy, deepcopy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from sklrec._solvers.base import FitResult, WarmStart
from sklrec._solvers.minibatch import MinibatchSolver
from sklrec._solvers.steps import without_sklearn_callbacks
from sklrec._solvers.tensors import InteractionTensors
from sklrec.modules._rating_module import RatingModule

# Share of the ratings that the choice holds out.
HELD_OUT = 0.1


@dataclass(frozen=True)
class EpochChooser:
    """Solver that first trains on nine tenths of the ratings, to find the number of epochs."""

    solver: MinibatchSolver  # its number of epochs is the largest one

    def train(
        self,
        module: RatingModule,
        data: InteractionTensors,
        valid: InteractionTensors | None,
        generator: torch.Generator,
        previous: WarmStart | None = None,
    ) -> FitResult:
        """Train a copy, and then the module on all ratings for the epochs that were best."""
        held_out = torch.rand(len(data), generator=generator) < HELD_OUT
        n_epochs = self.solver.max_epochs
        if 0 < int(held_out.sum()) < len(data):
            held_out = held_out.to(data.y.device)
            trial = replace(
                self.solver, callbacks=None, verbose=0, early_stopping=True, snapshot=None
            )
            with without_sklearn_callbacks():
                parts = _weighted(data, ~held_out), _weighted(data, held_out)
                found = trial.train(deepcopy(module), *parts, generator, previous)
            if found.interrupted:
                raise KeyboardInterrupt
            n_epochs = 1 + int(np.argmin(found.validation_curve))
        solver = replace(self.solver, max_epochs=n_epochs, n_scheduled=self.solver.max_epochs)
        return solver.train(module, data, valid, generator, previous)


def _weighted(data: InteractionTensors, is_used: torch.Tensor) -> Any:
    """Copy data with the weight 0 for the rows that are not used."""
    copied = copy(data)
    copied.X = {**data.X, "sample_weight": data.weights.float() * is_used}
    return copied
