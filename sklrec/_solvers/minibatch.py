"""Minibatch gradient descent through skorch."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import torch
from skorch.callbacks import Callback, EarlyStopping, LRScheduler
from skorch.helper import predefined_split
from torch import Tensor

from sklrec._solvers.base import FitResult, WarmStart
from sklrec._solvers.distributed import DistributedRatingNet, start_together
from sklrec._solvers.fitted_loss import fit_loss
from sklrec._solvers.further import KeepEarlier, update_biases
from sklrec._solvers.net import (
    EpochNotifier,
    LinearDecay,
    RatingNet,
    StopAtBest,
    trained_module,
)
from sklrec._solvers.penalties import (
    DENSE_POWER,
    POWER,
    POWER_OF_OTHERS,
    Diverged,
    EpochSettings,
    LearnedPenalties,
    RowLoads,
    RowPenalties,
    learn_penalties,
    of_embeddings,
    of_factors,
)
from sklrec._solvers.rowwise import RowwiseSGD
from sklrec._solvers.steps import warn_of_interruption
from sklrec._solvers.tensors import (
    BatchIterator,
    InteractionTensors,
    PairBatches,
    padded,
    sum_of_weights,
)
from sklrec._utils.runtime import (
    keep_freed_memory,
    no_denormals,
    own_random_state,
    threads_for,
)
from sklrec.modules import MatrixFactorization
from sklrec.modules._losses import Loss
from sklrec.modules._pairs import PairModule
from sklrec.modules._rating_module import INPUTS_OF_TABLES, RatingModule
from sklrec.modules._svdpp import SVDPlusPlus

# Steps of the SVD++ terms in an epoch. Each step costs as much as a pass over all ratings.
TERM_STEPS = 8
# Early stopping: number of epochs without a lower validation loss, and the smallest decrease that
# counts, as a share of the loss of an error of a standard deviation.
PATIENCE = 5
TOL = 1e-4
# Approximate number of ratings of a user in a batch, if the table has more users than a batch has
# ratings. MovieLens 100K has about as many in a batch of the default size. More would be faster,
# but less accurate.
RATINGS_PER_USER = 4


class Optimization(NamedTuple):
    """Default optimisation of a model."""

    optimizer: type  # subclass of torch.optim.Optimizer
    reduction: str  # "mean" or "sum" of the losses in a batch is minimised
    auto_lr: Callable[[int], float]  # learning rate of lr="auto" for a number of epochs
    params: dict[str, Any] = {}  # further parameters of the optimiser
    partial_fit_factor: float = 1.0  # on the learning rate of `partial_fit` of a fitted model


@dataclass(frozen=True)
class MinibatchSolver:
    """Minibatch gradient descent through skorch."""

    # As in `Optimization`:
    optimizer: type
    reduction: str
    optimizer_params: dict[str, Any]
    lr_factor: float  # on the learning rates of all parameters
    loss: Loss
    # As in the estimators:
    lr: float
    max_epochs: int
    batch_size: int
    alpha: float | None  # None learns it
    callbacks: list[Any] | None
    verbose: int
    early_stopping: bool = False  # stop by the validation loss, and restore the best epoch
    constant_lr: bool = False  # otherwise the learning rate falls linearly to 0
    svdpp: bool = False  # whether the rows of a `MatrixFactorization` have SVD++ terms
    snapshot: Any = None  # function of a module and a `FitResult` that makes a fitted estimator
    is_shared: bool = False  # whether several launched processes train together

    def train(
        self,
        module: RatingModule,
        data: InteractionTensors,
        valid: InteractionTensors | None,
        generator: torch.Generator,
        previous: WarmStart | None = None,
    ) -> FitResult:
        """Train a module on data that are on its device.

        The history of a previous net continues, and so does its optimiser's state for each table
        of the same size.
        """
        penalties = None
        if self.alpha is None or module.has_fixed_biases:
            # Earlier penalties stay if they are from at least as many ratings.
            penalties = None if previous is None else previous.penalties
            if penalties is None or penalties.n_ratings < len(data):
                start = previous is None and module.has_biases
                penalties = learn_penalties(module, data, start=start)
        loss, penalties = fit_loss(self.loss, module, data, penalties, previous)
        if self.constant_lr and previous is not None and module.has_biases:
            update_biases(module, data, previous.n_ratings, penalties, loss)
        if self.is_shared:  # after the start was learned, so that all have the same
            start_together(module, data, valid, generator, self)
        trained: Any = module
        if self.svdpp:
            batches_per_step = max(1, data.n_batches(self.batch_size) // TERM_STEPS)
            X = data.X["users"], data.X["items"], data.X.get("sample_weight")
            trained = SVDPlusPlus(trained, *X, batches_per_step=batches_per_step)
        solver = replace(self, loss=loss)
        learned = penalties if self.alpha is None else None
        net = solver._new_net(trained, data, valid, generator, previous, learned)
        n_before = self._continue_from(previous, net)
        # With SVD++ terms, whole tables are allocated and freed.
        n_rows = max(len(p) for p in module.parameters()) if self.svdpp else 0
        keep_freed_memory(max(self.batch_size, n_rows), module.width)
        attributes: dict[str, Any] = {}
        if module.learns_penalties:
            attributes["penalties_"] = penalties
        net.snapshot_ = lambda: self.snapshot(
            trained_module(net.module_), _outcome(net, n_before, attributes)
        )
        with (
            threads_for(self.batch_size, module.width),
            own_random_state(generator, net.device),
            no_denormals(),
        ):
            net.partial_fit(data, None, epochs=self.max_epochs)
        del net.snapshot_
        trained.eval()
        net.set_params(train_split=None)  # release the validation data
        if net.history and "train_loss" not in net.history[-1]:  # of an interrupted epoch
            net.history.pop()
        if net.interrupted_:
            warn_of_interruption(len(net.history) - n_before, self.max_epochs, "epochs")
        self._check_finite(net.module_)
        if isinstance(trained, SVDPlusPlus):
            net.forget_tables([trained.user_terms, trained.item_terms])
            net.module_ = net.module = trained.merge_terms()
        return _outcome(net, n_before, attributes | {"net_": net}, net.interrupted_)

    def _new_net(
        self,
        module: RatingModule,
        data: InteractionTensors,
        valid: InteractionTensors | None,
        generator: torch.Generator,
        previous: WarmStart | None,
        penalties: LearnedPenalties | None,
    ) -> RatingNet:
        """Make the skorch net that trains a module."""
        iterator: dict[str, Any] = {"iterator_train": BatchIterator}
        n_cohorts = 1
        if isinstance(module, PairModule) and PairBatches.suits(data, self.batch_size):
            n_cohorts = self._n_cohorts(module)
            iterator = {"iterator_train": PairBatches, "iterator_train__n_cohorts": n_cohorts}
        optimizer_params = dict(self.optimizer_params)
        if self._is_rowwise():
            names = [name for name, _ in module.named_parameters()]
            optimizer_params["param_groups"] = [(name, {"name": name}) for name in names]
        settings = self._epoch_settings(module, data, previous, penalties, n_cohorts)
        net_class = DistributedRatingNet if self.is_shared else RatingNet
        return net_class(
            module,
            loss=self.loss,
            alpha=0.0 if self.alpha is None else self.alpha,
            reduction=self.reduction,
            optimizer=self.optimizer,
            lr=self.lr,
            max_epochs=self.max_epochs,
            batch_size=self.batch_size,
            dataset=InteractionTensors,
            **iterator,
            iterator_train__generator=generator,
            iterator_valid=BatchIterator,
            train_split=None if valid is None else predefined_split(valid),
            callbacks=self._all_callbacks(module, data, settings, valid is not None, previous),
            device=str(next(module.parameters()).device),
            verbose=self.verbose,
            **{f"optimizer__{name}": value for name, value in optimizer_params.items()},
        ).initialize()

    def _continue_from(self, previous: WarmStart | None, net: RatingNet) -> int:
        """Copy the history and optimiser of an earlier net, and return its number of epochs."""
        n_before = 0
        if previous is not None and previous.net is not None:
            net.history = copy(previous.net.history)
            n_before = len(net.history)
            if self.lr_factor == 1:
                net.copy_state(previous.net)
        for group in net.optimizer_.param_groups:
            group["lr"] *= self.lr_factor
            group["initial_lr"] = group["lr"]  # schedules that continue read it
        return n_before

    def _n_cohorts(self, module: RatingModule) -> int:
        """Number of groups of users whose ratings come in separate batches."""
        # Adam moves a row as far for one rating as for four. All users share the
        # SVD++ terms, so that batches of few users do not suit them.
        if not self._is_rowwise() or not isinstance(module, MatrixFactorization):
            return 1
        return max(1, module.n_users // (self.batch_size // RATINGS_PER_USER))

    def _is_rowwise(self) -> bool:
        return self.optimizer is RowwiseSGD

    def _epoch_settings(
        self,
        module: Any,
        data: InteractionTensors,
        previous: WarmStart | None,
        learned: LearnedPenalties | None,
        n_cohorts: int,
    ) -> tuple[str, EpochSettings]:
        """Make the callback that sets penalties and limits of steps."""
        own = module.own if isinstance(module, SVDPlusPlus) else module
        mean_square, scale = data.mean_square(module.zero), module.scale.item()
        penalties = loads = None
        if learned is not None or self._is_rowwise():
            counts = _count_ratings(own, data)
            if learned is not None:
                every = {} if previous is None else previous.n_all_ratings
                of_all = {k: torch.maximum(n, padded(every.get(k), n)) for k, n in counts.items()}
                power, of_tables = DENSE_POWER, of_embeddings
                if isinstance(own, MatrixFactorization):
                    power = POWER if self._is_rowwise() else POWER_OF_OTHERS
                    of_tables = partial(of_factors, has_terms=self.svdpp)
                penalties = RowPenalties(learned, of_all, scale, power, of_tables)
            if self._is_rowwise():
                # Earlier ratings of a row count too, so that the new ones do not replace what it
                # learned from them.
                earlier = {} if previous is None else previous.n_ratings
                counts = {k: n + padded(earlier.get(k), n) for k, n in counts.items()}
                share = self.batch_size / len(data)
                shares = {"user": min(1.0, share * n_cohorts), "item": min(1.0, share)}
                term_share = min(1.0, getattr(module, "batches_per_step", 1) * share)
                size = max(1.0, mean_square**0.5 / scale)
                loads = RowLoads(data, counts, shares, term_share, size)
        losses = [] if previous is None else previous.loss_curve
        typical_loss = self.loss.of_error(max(mean_square**0.5, scale))
        return "epoch_settings", EpochSettings(penalties, loads, typical_loss, losses)

    def _all_callbacks(
        self,
        module: RatingModule,
        data: InteractionTensors,
        settings: tuple[str, EpochSettings],
        has_validation: bool,
        previous: WarmStart | None,
    ) -> list[Any]:
        """Callbacks of the solver and of the user."""
        # As in skorch, the name of a callback stays when None replaces the callback.
        callbacks = [
            c for c in self.callbacks or [] if not (isinstance(c, tuple) and c[1] is None)
        ]
        for callback in callbacks:
            # `set_params(callbacks__name=None)` puts None in its place, which skorch leaves out.
            is_removed = isinstance(callback, tuple) and callback[1:] == (None,)
            if not (is_removed or _is_callback(callback, Callback)):
                raise TypeError(
                    "callbacks must hold callbacks of skorch, or pairs of a name and a callback, "
                    f"got {callback!r:.100}."
                )
        stopping = [c for c in callbacks if _is_callback(c, EarlyStopping)]
        if stopping and not has_validation:
            if not self.constant_lr:
                raise ValueError(
                    "EarlyStopping in callbacks watches the validation loss, but there are no "
                    "validation data. Pass X_val and y_val to fit, or set early_stopping=True."
                )
            # partial_fit trains for one epoch and has no validation data
            callbacks = [c for c in callbacks if c not in stopping]
        has_schedule = any(_is_callback(c, LRScheduler) for c in callbacks)
        if self.constant_lr and previous is not None:
            kept = KeepEarlier(data, previous, self._is_rowwise())
            callbacks.insert(0, ("keep_earlier", kept))
        elif not (self.constant_lr or has_schedule):
            n_steps = self.max_epochs * data.n_batches(self.batch_size)
            callbacks.insert(0, ("lr_schedule", LinearDecay(n_steps)))
        # Last, because they raise: the other callbacks see that epoch too.
        callbacks += [("epoch_notifier", EpochNotifier()), settings]
        if self.early_stopping and not stopping:
            tol = TOL * self.loss.of_error(module.scale.item())
            callbacks.append(("early_stopping", StopAtBest(PATIENCE, tol)))
        return callbacks

    def _check_finite(self, module: torch.nn.Module) -> None:
        """Raise `Diverged` if a weight of the module is not finite."""
        # Extremes are finite if all values are, and need no copy of the table.
        tables = [p.detach() for p in module.parameters() if p.numel() > 0]
        extremes = [torch.stack(torch.aminmax(table)) for table in tables]
        if not all(bool(found.isfinite().all()) for found in extremes):
            raise Diverged


def _is_callback(callback: Any, kind: type) -> bool:
    """Whether an entry of `callbacks` is of a kind: an object, a class, or (name, object)."""
    if isinstance(callback, tuple) and len(callback) == 2:
        callback = callback[1]
    is_class = isinstance(callback, type) and issubclass(callback, kind)
    return is_class or isinstance(callback, kind)


def _count_ratings(module: Any, data: InteractionTensors) -> dict[str, Tensor]:
    """Sum the weights of the ratings of the rows of the tables, by side."""
    counts = {
        "user": data.row_weights("users", module.n_users + 1),
        "item": data.row_weights("items", module.n_items + 1),
    }
    given = getattr(data, "X", {})  # ratings in files have no side features
    if names := [name for name in INPUTS_OF_TABLES["value"][1] if name in given]:
        counts["value"] = sum_of_weights(data, names, module.n_values + 1)
    return counts


def _outcome(
    net: RatingNet, n_before: int, attributes: dict[str, Any], interrupted: bool = False
) -> FitResult:
    """Make the result of this training, with the losses of its whole epochs."""
    epochs = [epoch for epoch in net.history[n_before:] if "train_loss" in epoch]
    return FitResult(
        [float(epoch["train_loss"]) for epoch in epochs],
        [float(epoch["valid_loss"]) for epoch in epochs if "valid_loss" in epoch],
        interrupted,
        attributes,
    )


# Default optimisations. The factors start near 0 and move by the sum of all steps. So gradient
# descent needs a higher learning rate for fewer epochs. benchmarks/choose.py chose the rates.
SGD = Optimization(RowwiseSGD, "sum", lambda max_epochs: min(0.2, 1.2 / max_epochs))
# For an optimiser that the user sets, such as Adam.
DENSE_GRADIENTS = Optimization(
    torch.optim.Adam, "mean", lambda max_epochs: 0.02, partial_fit_factor=0.3
)
