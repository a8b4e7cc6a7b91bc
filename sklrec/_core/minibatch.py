"""Base class of the rating estimators that train in minibatches and can continue a model."""
# SPDX-License-Identifier: BSD-3-Clause

from abc import abstractmethod
from copy import copy, deepcopy
from dataclasses import replace
from functools import partial
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
import torch

from sklrec._core.base import BaseRatingRegressor, unchanged_on_failure
from sklrec._data.checks import Interval, RealNotInt, StrOptions, fit_context
from sklrec._data.statistics import STATISTICS, RatingStatistics
from sklrec._solvers.base import Solver, WarmStart
from sklrec._solvers.distributed import common_random_state, is_shared
from sklrec._solvers.epochs import Diverged
from sklrec._solvers.minibatch import MinibatchSolver, Optimization
from sklrec._solvers.penalties import LearnedPenalties
from sklrec._utils.rng import new_generator
from sklrec._utils.state.kinds import Optional, Part

# Starts of a training with lr="auto", each with half the learning rate of the one before.
N_STARTS = 8


class MinibatchRatingRegressor(BaseRatingRegressor):
    """Base of the estimators that a skorch net trains, and that can continue a model."""

    _state = {
        **BaseRatingRegressor._state,
        "rating_statistics_": STATISTICS,
        "penalties_": Optional(Part(LearnedPenalties)),
    }

    _parameter_constraints = {
        **BaseRatingRegressor._parameter_constraints,
        "max_epochs": [Interval(Integral, 1, None, closed="left")],
        # float32 cannot hold larger steps
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
        """Add rows to `module_` for the new IDs of the encoder."""

    @abstractmethod
    def _optimization(self) -> Optimization:
        """Choose the optimiser and its settings."""

    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y, sample_weight=None):
        """Train for one epoch on further interactions.

        The first call starts a model, and later calls continue it. New users and items get
        rows of their own. Mean and scale become those of all ratings so far, and what was learned
        is converted to them. With ``biased=True``, least squares compute the global mean and the
        biases, in which earlier ratings keep their weight. Then an epoch trains the rest. The
        learning rate is constant. Adam takes 0.3 of the rate and starts its moments anew. A row
        moves by the square root of the share that the new ratings have among all its ratings, so
        that a few ratings change little but the rows of new users and items. An automatic rating
        scale widens with the new ratings.

        Parameters
        ----------
        X : {DataFrame, array-like} of shape (n_samples, n_features)
            The interactions, columns as at the first call.
        y : array-like of shape (n_samples,)
            The ratings.
        sample_weight : array-like of shape (n_samples,), default=None
            Weight of each rating, not negative. Only the proportions of the weights matter.

        Returns
        -------
        object
            The estimator.

        Warns
        -----
        UserWarning
            If a rating far outside an automatic rating scale widens it.
        """
        with unchanged_on_failure(self):
            previous = copy(self) if hasattr(self, "module_") else None
            if previous is not None:
                self._validate_params()  # fit_context skips this for a fitted estimator
            X, y, weight = self._check_rated(X, y, sample_weight, reset=previous is None)
            generator = new_generator(self._new_rng())
            inputs = self._learn(X, y, weight, previous)
            changes: dict[str, Any] = {"max_epochs": 1, "constant_lr": True}
            if previous is not None:
                changes["lr_factor"] = self._optimization().partial_fit_factor
            statistics = RatingStatistics.of(y, weight)
            data = partial(self._training_data, inputs, y, weight, previous)
            interrupted = self._train(statistics, data, None, generator, previous, **changes)
        return self._raise_if_interrupted(interrupted)

    def _train(self, statistics, training_data, validation_data, generator, previous, **changes):
        self.rating_statistics_ = statistics
        if previous is not None:
            self.rating_statistics_ = previous.rating_statistics_.pooled(statistics)
        # A training with lr="auto" that diverges starts again with half the learning rate.
        state = generator.get_state()
        lr_factor = changes.pop("lr_factor", 1.0)
        for k in range(N_STARTS if self.lr == "auto" else 1):
            generator.set_state(state)
            data = training_data, validation_data
            changes["lr_factor"] = lr_factor * 0.5**k
            try:
                return super()._train(statistics, *data, generator, previous, **changes)
            except Diverged:
                continue
        raise ValueError(
            f"The training diverged with lr={self.lr!r}: the loss is far above that of the mean "
            "rating, or not finite. Use a lower lr, or a larger alpha."
        )

    def _continue_from(self, previous: Self, generator: torch.Generator) -> WarmStart:
        self.module_ = deepcopy(previous.module_)
        self._convert(previous.rating_statistics_)
        self._grow_module(generator)
        return WarmStart(
            net=getattr(previous, "net_", None),
            n_ratings=previous._rating_counts(),
            n_all_ratings=self._rating_counts(),
            weight=previous.rating_statistics_.weight,
            penalties=getattr(previous, "penalties_", None),
            loss_curve=previous.loss_curve_,
        )

    @torch.no_grad()
    def _convert(self, before: RatingStatistics) -> None:
        """Convert the module to the mean and scale of all ratings so far."""
        module, now = self.module_, self.rating_statistics_
        if before.variance > 0:  # otherwise the tables hold only their start
            module._multiply_scores(module.scale.item() / now.scale)
        module.scale.fill_(now.scale)
        if not module.has_biases:  # otherwise they change together with the mean
            module.global_mean += now.mean - before.mean

    def _record(self, outcome, previous, *, with_validation):
        super()._record(outcome, previous, with_validation=with_validation)
        self.penalties_ = outcome.penalties

    def _refuse_change(self, name: str) -> None:
        """Raise if a parameter differs from that of the model that the training continues."""
        wanted, current = getattr(self, name), getattr(self.module_, name)
        if wanted != current:
            raise ValueError(
                f"{name}={wanted!r} was asked for, but the training continues a model of "
                f"{name}={current!r}. Set it back to {current!r}, or fit with warm_start=False."
            )

    def _new_rng(self) -> np.random.RandomState:
        rng = super()._new_rng()
        if self.device == "accelerate" and self.random_state is None:
            self._check_device()
            return common_random_state(rng)
        return rng

    def _alpha(self) -> float | None:
        """L2 penalty, or None to learn it."""
        return self.alpha

    def _rating_counts(self) -> dict[str, np.ndarray]:
        """Numbers of ratings of users and items so far, if known."""
        return {}

    def _new_solver(self, **changes: Any) -> Solver:
        optimizer, reduction, auto_lr, params, _ = self._optimization()
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
