"""What those rating estimators share that train in minibatches and can go on with a model."""
# SPDX-License-Identifier: BSD-3-Clause

from abc import abstractmethod
from copy import copy, deepcopy
from dataclasses import replace
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
import torch

from sklrec._core.base import BaseRatingRegressor, unchanged_on_failure
from sklrec._data.checks import Interval, RealNotInt, StrOptions, fit_context
from sklrec._solvers.base import Solver, WarmStart
from sklrec._solvers.distributed import common_random_state, is_shared
from sklrec._solvers.minibatch import MinibatchSolver, Optimization
from sklrec._utils.rng import new_generator


class MinibatchRatingRegressor(BaseRatingRegressor):
    """Base of the estimators that a skorch net trains, and that can go on with a model.

    A subclass brings its parameters, `_new_module`, `_grow_module` and `_optimization`; also
    `_learn` and `_inputs` if it reads more than users and items.
    """

    _parameter_constraints = {
        **BaseRatingRegressor._parameter_constraints,
        "max_epochs": [Interval(Integral, 1, None, closed="left")],
        # a step of more cannot be told in float32
        "lr": [StrOptions({"auto"}), Interval(Real, 0, 1e30, closed="right")],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "optimizer": [type, None],
        "early_stopping": [
            "boolean",
            StrOptions({"auto"}),
            Interval(RealNotInt, 0, 1, closed="neither"),
        ],
        "warm_start": ["boolean"],
        "callbacks": [list, None],
    }

    @abstractmethod
    def _grow_module(self, generator: torch.Generator) -> None:
        """Give `module_` rows for the IDs that are new in the encoder."""

    @abstractmethod
    def _optimization(self) -> Optimization:
        """How the model is optimised, by `optimizer` if that is given."""

    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y, sample_weight=None):
        """Train for one epoch on further interactions.

        The first call starts a model; later ones go on with it. Users and items that were
        not there before get rows of their own. The learning rate is constant. A model trained by
        Adam takes 0.3 of it and starts its moments anew, so that a few ratings move little but
        what they are of; a few passes teach new users. The global mean stays that of the first
        call. An automatic rating scale widens with what comes.

        Parameters
        ----------
        X : {DataFrame, array-like} of shape (n_samples, n_features)
            The interactions, columns as at the first call.
        y : array-like of shape (n_samples,)
            The ratings.
        sample_weight : array-like of shape (n_samples,), default=None
            Weight of each rating, not negative; only their proportions matter.

        Returns
        -------
        object
            The estimator.
        """
        with unchanged_on_failure(self):
            previous = copy(self) if hasattr(self, "module_") else None
            if previous is not None:
                self._validate_params()  # which fit_context leaves out once there is a model
            X, y, weight = self._check_rated(X, y, sample_weight, reset=previous is None)
            generator = new_generator(self._new_rng())
            rated = self._learn(X, y, weight, previous), y, weight
            changes: dict[str, Any] = {"max_epochs": 1, "constant_lr": True}
            if previous is not None:
                changes["lr_factor"] = Optimization(*self._optimization()).further
            interrupted = self._train(rated, None, generator, previous, **changes)
        return self._or_interrupt(interrupted)

    def _start_module(
        self,
        y: np.ndarray,
        weight: np.ndarray,
        generator: torch.Generator,
        previous: Self | None,
    ) -> WarmStart | None:
        if previous is None:
            return super()._start_module(y, weight, generator, previous)
        return self._go_on_from(previous, generator)

    def _go_on_from(self, previous: Self, generator: torch.Generator) -> WarmStart:
        """Make the module from the one before, with rows for what is new in the encoder."""
        self.module_ = deepcopy(previous.module_)
        self._grow_module(generator)
        return WarmStart(getattr(previous, "net_", None), previous._rating_counts())

    def _refuse_change(self, name: str) -> None:
        """Raise if a parameter is not what `module_`, with which the training goes on, has."""
        wanted, there = getattr(self, name), getattr(self.module_, name)
        if wanted != there:
            raise ValueError(
                f"{name}={wanted!r} was asked for, but the training goes on with a model of "
                f"{name}={there!r}. Set it back to {there!r}, or fit with warm_start=False."
            )

    def _new_rng(self) -> np.random.RandomState:
        rng = super()._new_rng()
        if self.device == "accelerate" and self.random_state is None:
            self._check_device()
            return common_random_state(rng)
        return rng

    def _alpha(self) -> float:
        """The L2 penalty."""
        return self.alpha

    def _rating_counts(self) -> dict[str, np.ndarray]:
        """How many ratings the rows of tables have had, where the optimiser wants to know."""
        return {}

    def _new_solver(self, **changes: Any) -> Solver:
        optimizer, reduction, auto_lr, params, _ = Optimization(*self._optimization())
        if not issubclass(optimizer, torch.optim.Optimizer):
            raise TypeError(
                "optimizer must be None or a subclass of torch.optim.Optimizer, such as "
                f"torch.optim.AdamW, got {optimizer!r}."
            )
        solver = MinibatchSolver(
            optimizer=optimizer,
            reduction=reduction,
            optimizer_params=params,
            lr_factor=1.0,
            lr=auto_lr(self.max_epochs) if self.lr == "auto" else self.lr,
            max_epochs=int(self.max_epochs),
            batch_size=int(self.batch_size),
            alpha=self._alpha(),
            callbacks=self.callbacks,
            verbose=int(self.verbose),
            is_shared=is_shared(self.device),
        )
        return replace(solver, **changes)
