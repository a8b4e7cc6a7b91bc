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
from sklrec._solvers.stored import StoredInteractions
from sklrec._solvers.tensors import InteractionTensors

# Share of the ratings that the choice holds out.
HELD_OUT = 0.1
# Share of the learning rate in a slow epoch.
SLOW = 0.1


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
        is_given = valid is not None and solver.early_stopping
        parts = (data, valid) if is_given else _held_out(data, generator)
        if parts is not None:
            options = [(False, solver)]
            if self.chooses_epochs:
                # On a log of noise, no epoch at the full rate is better than none.
                slow = replace(solver, lr_factor=SLOW * solver.lr_factor, max_epochs=1)
                options.append((False, slow))
            if self.chooses_output:
                options += [(True, tried) for _, tried in options]
            state = generator.get_state()
            curves = []
            for drops_biases, tried in options:
                generator.set_state(state)
                copied = deepcopy(module)
                if drops_biases:
                    copied._drop_biases()
                curves.append(_validation_curve(tried, copied, parts, generator, previous))
            best = min(range(len(curves)), key=lambda k: min(curves[k]))
            drops_biases, solver = options[best]
            if drops_biases:
                module._drop_biases()
            if self.chooses_epochs:
                solver = replace(solver, max_epochs=1 + int(np.argmin(curves[best])))
        return solver.train(module, data, valid, generator, previous)


def _validation_curve(
    solver: MinibatchSolver,
    module: Any,
    parts: tuple[Any, Any],
    generator: torch.Generator,
    previous: WarmStart | None,
) -> list[float]:
    """Train a module with early stopping, and return its validation losses."""
    trial = replace(solver, callbacks=None, verbose=0, early_stopping=True, snapshot=None)
    with without_sklearn_callbacks():
        found = trial.train(module, parts[0], parts[1], generator, previous)
    if found.interrupted:
        raise KeyboardInterrupt
    return found.validation_curve


def _held_out(data: Any, generator: torch.Generator) -> tuple[Any, Any] | None:
    """Give weight 0 to a tenth of the rows, and to the others; None if there are too few rows."""
    if isinstance(data, StoredInteractions):  # files hold random rows
        parts = data.split(HELD_OUT, generator)
        return parts if all(map(len, parts)) else None
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
