"""Fit of the biases of a module, new or continued."""
# SPDX-License-Identifier: BSD-3-Clause

from dataclasses import dataclass

import torch

from sklrec._solvers.base import FitResult, WarmStart
from sklrec._solvers.least_squares.biases import fit_biases, further_biases
from sklrec._solvers.least_squares.pairs import RatedPairs
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
                pairs = RatedPairs.of(data.log(), (module.n_users, module.n_items))
                given = self.user_penalty, self.item_penalty
                (mean, *biases), learned = fit_biases(pairs, *given)
                for name, value in vars(learned).items():
                    getattr(module, name).fill_(value)
            else:
                errors = data.y - module(data.X["users"], data.X["items"])
                weights = module.user_weights[1:].numpy(), module.item_weights[1:].numpy()
                penalties = module.user_penalty.item(), module.item_penalty.item()
                mean, *biases = further_biases(data.log(errors), weights, penalties)
            module.global_mean += mean
            for side, values in zip(SIDES, biases, strict=True):
                getattr(module, f"{side}_biases")[1:] += torch.from_numpy(values)
                table = getattr(module, f"{side}_weights")
                table += torch.bincount(data.X[f"{side}s"], data.weights, minlength=len(table))
        rated = [data] if valid is None else [data, valid]
        losses = [squared_error(module, rows) for rows in rated]
        return FitResult(losses[:1], losses[1:])
