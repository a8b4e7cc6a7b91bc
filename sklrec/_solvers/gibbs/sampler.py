"""Gibbs sampling of Bayesian matrix factorisation."""
# SPDX-License-Identifier: BSD-3-Clause

from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sklrec._solvers.base import FitResult, WarmStart
from sklrec._solvers.callbacks import notified_steps
from sklrec._solvers.gibbs.chain import Chain
from sklrec._solvers.gibbs.likelihoods import GaussianNoise, Likelihood
from sklrec._solvers.gibbs.ordered_probit import OrderedProbit
from sklrec._solvers.gibbs.side_values import contexts_of, features_of
from sklrec._solvers.gibbs.tables import Ratings, Tables, mean_square, progress
from sklrec._solvers.tensors import InteractionTensors
from sklrec._utils.threads import threads_for_sweeps
from sklrec._utils.warnings import warn
from sklrec.modules import BayesianFactorizationMachine


@dataclass(frozen=True)
class GibbsSampler:
    """A solver that draws all rows, the terms that they share, their priors and the noise in
    turns."""

    n_iter: int  # number of sweeps, burn-in included
    n_burn_in: int
    n_draws: int  # highest number of sweeps to keep, evenly spaced
    svdpp: bool
    verbose: int

    def __post_init__(self) -> None:
        if self.n_burn_in >= self.n_iter:
            raise ValueError(
                f"n_burn_in={self.n_burn_in} leaves nothing of n_iter={self.n_iter} sweeps. Set a "
                "smaller n_burn_in, or a larger n_iter."
            )

    @torch.no_grad()
    def train(
        self,
        module: BayesianFactorizationMachine,
        data: InteractionTensors,
        valid: InteractionTensors | None,
        generator: torch.Generator,
        previous: WarmStart | None = None,
    ) -> FitResult:
        """Train a module in place; see `Solver.train`."""
        chain = self._start(module, data, generator)
        keeps = set(np.linspace(self.n_iter - 1, self.n_burn_in, self.n_kept).round().astype(int))
        scale = module.scale.item() ** 2
        losses, valid_losses, interrupted = [], [], False
        total: Tensor | None = None
        draws: list[dict[str, Tensor]] = []

        def so_far() -> BayesianFactorizationMachine:
            copied = deepcopy(module)
            copied.set_draws(**_stack([dict(draw) for draw in draws] or [chain.state()]))
            return copied

        try:
            with threads_for_sweeps(len(data), module.width):
                sweeps = progress(self.n_iter, self.verbose, "sweep")
                for sweep in notified_steps(sweeps, "sweep", so_far):
                    losses.append(scale * chain.sweep())
                    if sweep in keeps:
                        draws.append(chain.state())
                    if valid is not None:
                        # During the burn-in, the loss of the latest draw alone.
                        n = max(1, sweep - self.n_burn_in + 1)
                        module.set_draws(**_stack([chain.state()]))
                        predicted = module(
                            **{k: v for k, v in valid.X.items() if k != "sample_weight"}
                        )
                        total = predicted if n == 1 or total is None else total + predicted
                        errors = valid.y - total / n
                        valid_losses.append(mean_square(errors, valid.X.get("sample_weight")))
        except KeyboardInterrupt:
            interrupted = True
            warn(
                f"Sampling was interrupted after {len(losses)} whole sweeps of {self.n_iter}; the "
                f"model is that of the {len(draws) or 1} draws so far.",
            )
        module.set_draws(**_stack(draws or [chain.state()]))
        return FitResult(losses, valid_losses, interrupted)

    @property
    def n_kept(self) -> int:
        """Number of sweeps that are kept."""
        return min(self.n_draws, self.n_iter - self.n_burn_in)

    def _start(
        self,
        module: BayesianFactorizationMachine,
        data: InteractionTensors,
        generator: torch.Generator,
    ) -> Chain:
        others, of_contexts = contexts_of(module, data)
        features, stars = features_of(module) | of_contexts, module.stars
        ratings, tables = Ratings(module, data, others), Tables.of_module(module)
        likelihood: Likelihood = GaussianNoise(ratings)
        if stars is not None:
            likelihood = OrderedProbit(ratings, module._from_ratings(stars, module.scale))
        return Chain(
            ratings,
            tables,
            likelihood,
            generator,
            self.svdpp,
            features,
        )


def _stack(draws: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    # Popping one name after the other keeps only one part of the draws twice in memory.
    return {name: torch.stack([draw.pop(name) for draw in draws]) for name in list(draws[0])}
