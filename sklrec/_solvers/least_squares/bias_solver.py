"""Fit of the biases of a module, new or continued."""
# SPDX-License-Identifier: BSD-3-Clause

from dataclasses import dataclass

import torch
from torch import Tensor

from sklrec._solvers.base import FitResult, WarmStart
from sklrec._solvers.least_squares.biases import Log, Solution, fit_biases, further_biases
from sklrec._solvers.steps import notified_steps, squared_error
from sklrec._solvers.tensors import InteractionTensors
from sklrec.modules import BiasModel

SIDES = ("user", "item")


@dataclass(frozen=True)
class BiasSolver:
    """A solver that computes the mean and the biases in closed form."""

    user_penalty: float | None  # None chooses it from the data
    item_penalty: float | None

    @torch.no_grad()
    def train(
        self,
        module: BiasModel,
        data: InteractionTensors,
        valid: InteractionTensors | None,
        generator: torch.Generator,
        previous: WarmStart | None = None,
    ) -> FitResult:
        """Fit a module in place; see `Solver.train`."""
        for _ in notified_steps(range(1), "fit", lambda: module):
            if previous is None:
                solution = self._fit(module, data)
            else:
                solution = _continue(module, data)
            _add(module, data, solution)
        rated = [data] if valid is None else [data, valid]
        losses = [squared_error(module, rows) for rows in rated]
        return FitResult(losses[:1], losses[1:])

    def _fit(self, module: BiasModel, data: InteractionTensors) -> Solution:
        """Choose penalties, and compute the mean and the biases."""
        n_users, n_items = len(module.user_biases) - 1, len(module.item_biases) - 1
        solution, learned = fit_biases(
            _log(data, data.y), n_users, n_items, self.user_penalty, self.item_penalty
        )
        for name, value in vars(learned).items():
            getattr(module, name).fill_(value)
        return solution


def _continue(module: BiasModel, data: InteractionTensors) -> Solution:
    """Compute the changes of mean and biases by further ratings."""
    return further_biases(
        _log(data, data.y - module(data.X["users"], data.X["items"])),
        (module.user_weights[1:].numpy(), module.item_weights[1:].numpy()),
        (module.user_penalty.item(), module.item_penalty.item()),
    )


def _add(module: BiasModel, data: InteractionTensors, solution: Solution) -> None:
    """Add values to the mean and the biases, and the weights of the ratings to the weights."""
    module.global_mean += solution[0]
    for side, values in zip(SIDES, solution[1:], strict=True):
        getattr(module, f"{side}_biases")[1:] += torch.from_numpy(values)
        table = getattr(module, f"{side}_weights")
        table += torch.bincount(data.X[f"{side}s"], data.weights, minlength=len(table))


def _log(data: InteractionTensors, y: Tensor) -> Log:
    columns = data.X["users"] - 1, data.X["items"] - 1, y, data.weights
    return Log(*(values.numpy() for values in columns))
