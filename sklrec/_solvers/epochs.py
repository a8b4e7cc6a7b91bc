"""Choice of the number of epochs and of the output of a network, on held-out ratings."""
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

# Share of the ratings that the choice holds out.
HELD_OUT = 0.1


@dataclass(frozen=True)
class Chooser:
    """Solver that first trains copies on nine tenths of the ratings, to choose what is better."""

    solver: MinibatchSolver  # its number of epochs is the largest one
    chooses_epochs: bool
    chooses_output: bool  # whether the network predicts what fixed biases leave, or more

    def train(
        self,
        module: Any,
        data: InteractionTensors,
        valid: InteractionTensors | None,
        generator: torch.Generator,
        previous: WarmStart | None = None,
    ) -> FitResult:
        """Train a copy for each output, and then the module on all ratings."""
        solver = self.solver
        parts = (data, valid) if valid is not None else _held_out(data, generator)
        if parts is not None:
            trial = replace(solver, callbacks=None, verbose=0, early_stopping=True, snapshot=None)
            state, found = generator.get_state(), []
            train, test = parts
            copies: list[Any] = [deepcopy, _without_biases]
            for module_of in copies[: 1 + self.chooses_output]:
                generator.set_state(state)
                with without_sklearn_callbacks():
                    result = trial.train(module_of(module), train, test, generator, previous)
                if result.interrupted:
                    raise KeyboardInterrupt
                found.append(result.validation_curve)
            best = min(found, key=min)
            if best is not found[0]:
                module.drop_biases()
            if self.chooses_epochs:
                n_epochs = 1 + int(np.argmin(best))
                solver = replace(solver, max_epochs=n_epochs)
        return solver.train(module, data, valid, generator, previous)


def _held_out(data: InteractionTensors, generator: torch.Generator) -> tuple[Any, Any] | None:
    """Give weight 0 to a tenth of the rows, and to the others; None if there are too few rows."""
    is_held_out = torch.rand(len(data), generator=generator) < HELD_OUT
    if not 0 < int(is_held_out.sum()) < len(data):
        return None
    is_held_out = is_held_out.to(data.y.device)
    return _weighted(data, ~is_held_out), _weighted(data, is_held_out)


def _weighted(data: InteractionTensors, is_used: torch.Tensor) -> Any:
    """Copy data with the weight 0 for the rows that are not used."""
    copied = copy(data)
    copied.X = {**data.X, "sample_weight": data.weights.float() * is_used}
    return copied


def _without_biases(module: Any) -> Any:
    copied = deepcopy(module)
    copied.drop_biases()
    return copied
