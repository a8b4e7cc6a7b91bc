"""Minibatch gradient descent through skorch."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Callable
from copy import copy, deepcopy
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from skorch.callbacks import EarlyStopping, LRScheduler
from skorch.helper import predefined_split
from torch import nn

from sklrec._solvers.base import Outcome, Previous
from sklrec._solvers.callbacks import LinearFall, StopAtBest
from sklrec._solvers.distributed import DistributedRatingNet, start_together
from sklrec._solvers.net import RatingNet
from sklrec._solvers.tensors import BatchIterator, InteractionTensors
from sklrec._solvers.pair_batches import PairBatches
from sklrec._solvers.rowwise_sgd import RowwiseSGD
from sklrec._solvers.callbacks import HeardEpochs, as_trained, is_heard
from sklrec._solvers.terms_sgd import TermsSGD
from sklrec._utils.memory import keep_freed_memory
from sklrec._utils.rng import own_random_state
from sklrec._utils.threads import threads_for
from sklrec._utils.warnings import warn
from sklrec.modules import MatrixFactorization
from sklrec.modules._pair_module import PairModule
from sklrec.modules._rating_module import RatingModule
from sklrec.modules._svdpp import SVDPlusPlus

# Steps of the SVD++ terms in an epoch. Each costs as much as a pass over all ratings.
TERM_STEPS = 8
# What all loads are multiplied by then: own rows and terms of either side move at once, each to
# make up for the same errors.
TERMS_CAUTION = 2.5
# Early stopping: epochs without a lower validation loss, and the least fall that counts, as a
# share of the variance of the ratings.
PATIENCE = 5
TOL = 1e-4
# How many ratings a user has in a batch, about, of tables with more users than a batch has room
# for: as in MovieLens 100K at the usual batch size. More would be faster, but learned less well.
RATINGS_A_USER = 4


class Optimization(NamedTuple):
    """How a model is optimised by default.

    Parameters
    ----------
    optimizer : type
        The ``torch.optim.Optimizer`` subclass.
    reduction : {'mean', 'sum'}
        What of a batch's squared errors the optimiser minimises.
    auto_lr : callable
        Gives the learning rate that ``lr="auto"`` means for a number of epochs.
    params : dict, default={}
        Further parameters of the optimiser.
    further : float, default=1.0
        What the learning rate is multiplied by when a fitted model goes on with a few ratings.
    """

    optimizer: type
    reduction: str
    auto_lr: Callable[[int], float]
    params: dict[str, Any] = {}
    further: float = 1.0


@dataclass(frozen=True)
class MinibatchSolver:
    """Minibatch gradient descent through skorch.

    Parameters
    ----------
    optimizer : type
        The ``torch.optim.Optimizer`` subclass.
    reduction : {'mean', 'sum'}
        What of a batch's squared errors the optimiser minimises.
    optimizer_params : dict
        Further parameters of the optimiser.
    lr_factor : float
        What the learning rates of all parameters are multiplied by.
    lr, max_epochs, batch_size, alpha, callbacks, verbose : object
        As in the estimators.
    early_stopping : bool
        Whether to stop by the validation loss and to restore the best epoch.
    constant_lr : bool, default=False
        Whether the learning rate stays as it is. Otherwise it falls linearly to 0.
    svdpp : bool, default=False
        Whether the rows of the `MatrixFactorization` have SVD++ terms.
    snapshot : callable, default=None
        Makes a fitted estimator of the module and the outcome so far.
    is_shared : bool, default=False
        Whether the processes that a launcher started train together.
    """

    optimizer: type
    reduction: str
    optimizer_params: dict[str, Any]
    lr_factor: float
    lr: float
    max_epochs: int
    batch_size: int
    alpha: float
    callbacks: list[Any] | None
    verbose: int
    early_stopping: bool = False
    constant_lr: bool = False
    svdpp: bool = False
    snapshot: Callable[[nn.Module, Outcome], Any] | None = None
    is_shared: bool = False

    def train(
        self,
        module: RatingModule,
        data: InteractionTensors,
        valid: InteractionTensors | None,
        generator: torch.Generator,
        previous: Previous | None = None,
    ) -> Outcome:
        """Train a module in place.

        Parameters
        ----------
        module : RatingModule
            The module, on the device of the training.
        data : InteractionTensors
            What to train on, on the same device.
        valid : InteractionTensors or None
            What to measure the validation loss on, on the same device.
        generator : torch.Generator
            Source of each epoch's order.
        previous : Previous, default=None
            What the training goes on from. The history of its net goes on, and so does the
            optimiser's state of every table that kept its size.

        Returns
        -------
        Outcome
            How it went.

        Raises
        ------
        ValueError
            If the weights are not finite after the training.
        """
        kind = RatingNet
        if self.is_shared:
            kind = DistributedRatingNet
            start_together(module, data, valid, generator, self)
        trained = self._with_terms(module, data) if self.svdpp else module
        iterator = self._iterator(trained, data)
        n_cohorts = iterator.get("iterator_train__n_cohorts", 1)
        net = kind(
            trained,
            alpha=self.alpha,
            reduction=self.reduction,
            optimizer=TermsSGD if self._is_rowwise() and self.svdpp else self.optimizer,
            lr=self.lr,
            max_epochs=self.max_epochs,
            batch_size=self.batch_size,
            dataset=InteractionTensors,
            **iterator,
            iterator_train__generator=generator,
            iterator_valid=BatchIterator,
            train_split=None if valid is None else predefined_split(valid),
            # Stopping comes last: it raises, and the others should see that epoch too.
            callbacks=[
                *self._schedule(data),
                *(self.callbacks or []),
                *([("heard_epochs", HeardEpochs())] if is_heard() else []),
                *self._stopping(module),
            ],
            device=str(next(module.parameters()).device),
            verbose=self.verbose,
            **self._groups(trained, data, previous.n_ratings if previous else {}, n_cohorts),
            **{f"optimizer__{name}": value for name, value in self.optimizer_params.items()},
        ).initialize()
        n_before = 0
        if previous is not None and previous.net is not None:
            net.history = copy(previous.net.history)
            n_before = len(net.history)
            if self.lr_factor == 1:
                _hand_on_state(previous.net, net)
        for group in net.optimizer_.param_groups:
            group["lr"] *= self.lr_factor
            group["initial_lr"] = group["lr"]  # schedules that go on want to know it
        # Where there are terms, whole tables come and go.
        n_rows = max(len(p) for p in module.parameters()) if self.svdpp else 0
        keep_freed_memory(max(self.batch_size, n_rows), module.width)
        if self.snapshot is not None:
            net.snapshot_ = partial(self._snapshot, net, n_before)
        with threads_for(self.batch_size, module.width), own_random_state(generator, net.device):
            net.partial_fit(data, None, epochs=self.max_epochs)
        vars(net).pop("snapshot_", None)
        trained.eval()
        net.set_params(train_split=None)  # it held the validation data
        self._check_outcome(net, n_before)
        if isinstance(trained, SVDPlusPlus):
            _forget(net.optimizer_, [trained.user_terms, trained.item_terms])
            net.module_ = net.module = trained.collapse()
        return replace(_outcome(net, n_before), interrupted=net.interrupted_, net=net)

    def _snapshot(self, net: RatingNet, n_before: int) -> Any:
        """Fitted estimator with the weights and losses of the epochs so far."""
        assert self.snapshot is not None
        return self.snapshot(as_trained(net.module_), _outcome(net, n_before))

    def _iterator(self, module: RatingModule, data: InteractionTensors) -> dict[str, Any]:
        if isinstance(module, PairModule) and PairBatches.suits(data, self.batch_size):
            n_cohorts = self._n_cohorts(module)
            return {"iterator_train": PairBatches, "iterator_train__n_cohorts": n_cohorts}
        return {"iterator_train": BatchIterator}

    def _n_cohorts(self, module: RatingModule) -> int:
        """Into how many cohorts users are divided, each with its own batches."""
        # Adam moves a row by as much for one rating as for four, and terms are those of all users.
        if not self._is_rowwise() or not isinstance(module, MatrixFactorization):
            return 1
        return max(1, module.n_users // (self.batch_size // RATINGS_A_USER))

    def _is_rowwise(self) -> bool:
        return self.optimizer is RowwiseSGD

    def _with_terms(self, module: RatingModule, data: InteractionTensors) -> SVDPlusPlus:
        assert isinstance(module, MatrixFactorization)
        n_between = max(1, data.n_batches(self.batch_size) // TERM_STEPS)
        codes = data.X["users"], data.X["items"]
        return SVDPlusPlus(module, *codes, data.X.get("sample_weight"), n_between=n_between)

    def _groups(
        self,
        module: RatingModule,
        data: InteractionTensors,
        n_ratings: dict[str, np.ndarray],
        n_cohorts: int,
    ) -> dict[str, Any]:
        if not self._is_rowwise():
            return {}
        # How fast a rating's gradient changes as a row moves: by its partner's squared norm, which
        # tends to the size of the targets (1, or more where there is no mean), and by the penalty.
        size = data.mean_square(module.global_mean) ** 0.5 / module.scale.item()
        curvature = max(1.0, size) + self.alpha
        groups = []
        own, path = module, ""
        if isinstance(module, SVDPlusPlus):
            own, path = module.own, "own."
            share = min(1.0, module.n_between * self.batch_size / len(data))
            curvature *= TERMS_CAUTION
            for side, load in module.loads().items():
                groups.append((f"{side}_terms", {"load": curvature * share * load}))
        assert isinstance(own, MatrixFactorization)
        of_all = self.batch_size / len(data)
        shares = {"user": of_all * n_cohorts, "item": of_all}
        for side, n_rows in (("user", own.n_users + 1), ("item", own.n_items + 1)):
            load = data.row_weights(f"{side}s", n_rows) * min(1.0, shares[side])
            if side in n_ratings:
                # What a row has learned from its ratings so far weighs as much as they did.
                earlier = torch.from_numpy(n_ratings[side]).to(load)
                load[: len(earlier)] += earlier
            groups.append((f"{path}{side}_*", {"load": curvature * load}))
        return {"optimizer__param_groups": groups}

    def _schedule(self, data: InteractionTensors) -> list[Any]:
        if self.constant_lr or self._has_callback(LRScheduler):
            return []
        n_steps = self.max_epochs * data.n_batches(self.batch_size)
        falling = LinearFall(n_steps)
        return [("lr_schedule", falling)]

    def _stopping(self, module: RatingModule) -> list[Any]:
        if not self.early_stopping or self._has_callback(EarlyStopping):
            return []
        tol = TOL * module.scale.item() ** 2  # losses are in units of the ratings
        return [("early_stopping", StopAtBest(PATIENCE, tol))]

    def _has_callback(self, kind: type) -> bool:
        callbacks = self.callbacks or []
        return any(isinstance(c[1] if isinstance(c, tuple) else c, kind) for c in callbacks)

    def _check_outcome(self, net: RatingNet, n_before: int) -> None:
        if net.history and "train_loss" not in net.history[-1]:
            net.history.pop()  # the epoch that was cut short
        if net.interrupted_:
            warn(
                f"Training was interrupted after {len(net.history) - n_before} whole epochs of "
                f"{self.max_epochs}; the model is what it had become by then.",
            )
        # The extremes tell it without a copy of the table.
        tables = [p.detach() for p in net.module_.parameters() if p.numel() > 0]
        extremes = [torch.stack(torch.aminmax(table)) for table in tables]
        if not all(bool(found.isfinite().all()) for found in extremes):
            raise ValueError(
                f"The training diverged with lr={self.lr}: the factors are no longer finite. "
                "Use a lower lr, or a larger alpha."
            )


def _outcome(net: RatingNet, n_before: int) -> Outcome:
    """Losses of the epochs that this training has completed."""
    epochs = [epoch for epoch in net.history[n_before:] if "train_loss" in epoch]
    return Outcome(
        [float(epoch["train_loss"]) for epoch in epochs],
        [float(epoch["valid_loss"]) for epoch in epochs if "valid_loss" in epoch],
    )


def _hand_on_state(previous: RatingNet, net: RatingNet) -> None:
    """Copy an optimiser's state, such as Adam's moments, to the same kind of optimiser."""
    if type(previous.optimizer_) is not type(net.optimizer_):
        return
    old_tables = dict(previous.module_.named_parameters())
    for name, table in net.module_.named_parameters():
        old = old_tables.get(name)
        if old is None or old.shape != table.shape or old.device != table.device:
            continue
        if old in previous.optimizer_.state:
            net.optimizer_.state[table] = deepcopy(previous.optimizer_.state[old])


def _forget(optimizer: torch.optim.Optimizer, tables: list[torch.nn.Parameter]) -> None:
    """Take tables out of an optimiser, which would otherwise be pickled with them."""
    gone = {id(table) for table in tables}
    for group in optimizer.param_groups:
        group["params"] = [table for table in group["params"] if id(table) not in gone]
    optimizer.param_groups[:] = [group for group in optimizer.param_groups if group["params"]]
    for table in tables:
        optimizer.state.pop(table, None)


# The estimators' solvers: optimiser, reduction, and the learning rate that lr="auto" means for a
# number of epochs. How far gradient descent gets from its small start depends on the sum of all
# its steps, so that fewer epochs call for larger ones. benchmarks/choose_defaults.py chose both.
SGD = Optimization(RowwiseSGD, "sum", lambda max_epochs: min(0.2, 1.2 / max_epochs))
# For an optimiser that the user names, such as Adam.
DENSE_GRADIENTS = Optimization(torch.optim.Adam, "mean", lambda max_epochs: 0.02, further=0.3)
