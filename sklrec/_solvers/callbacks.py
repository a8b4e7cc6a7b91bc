"""Callbacks of skorch that the solvers set, and notification of scikit-learn's callbacks."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from copy import deepcopy
from typing import Any

from skorch.callbacks import Callback
from torch import nn

from sklrec.modules._svdpp import SVDPlusPlus

# scikit-learn sets these in fit and removes them at its end.
ATTRIBUTES_OF_A_RUNNING_FIT = {"_callback_fit_ctx", "_skl_callbacks_to_teardown"}


class LinearDecay(Callback):
    """Decrease all learning rates with every batch, linearly to 0 at the end of a training."""

    # LinearLR of torch does the same at ten times the cost of a step.

    def __init__(self, n_steps):
        self.n_steps = n_steps  # number of batches in the training

    def on_train_begin(self, net, **kwargs):
        self.n_done_ = 0
        self.rates_ = [group["lr"] for group in net.optimizer_.param_groups]

    def on_batch_end(self, net, training, **kwargs):
        if not training:
            return
        groups = net.optimizer_.param_groups
        net.history.record_batch("event_lr", groups[0]["lr"])
        self.n_done_ += 1
        share = max(0.0, 1 - self.n_done_ / self.n_steps)
        for group, rate in zip(groups, self.rates_, strict=True):
            group["lr"] = rate * share


class StopAtBest(Callback):
    """Stop when the validation loss no longer falls, and restore the epoch with the lowest."""

    # EarlyStopping of skorch restores the last epoch that was better by the tolerance. That need
    # not be the best epoch.

    def __init__(self, patience, tol):
        self.patience = patience  # number of epochs in a row without a lower loss
        self.tol = tol  # a loss is lower if it falls by more than this

    def on_train_begin(self, net, **kwargs):
        self.best_loss_ = float("inf")
        self.best_weights_ = None
        self.n_misses_ = 0

    def on_epoch_end(self, net, **kwargs):
        loss = net.history[-1, "valid_loss"]
        self.n_misses_ = 0 if loss < self.best_loss_ - self.tol else self.n_misses_ + 1
        if loss < self.best_loss_:
            self.best_loss_ = loss
            weights = net.module_.state_dict()
            self.best_weights_ = {name: values.clone() for name, values in weights.items()}
        if self.n_misses_ >= self.patience:
            raise KeyboardInterrupt  # skorch stops a training when a callback raises this

    def on_train_end(self, net, **kwargs):
        if self.best_weights_ is not None:
            net.module_.load_state_dict(self.best_weights_)
        del self.best_weights_


class EpochBar(Callback):
    """Show a progress bar over the epochs."""

    def on_train_begin(self, net, **kwargs):
        from tqdm.auto import tqdm  # the import is slow, and few fits show a bar

        self.bar_ = tqdm(total=net.max_epochs, desc="fit", unit="epoch")

    def on_epoch_end(self, net, **kwargs):
        epoch = net.history[-1]
        names = {"train RMSE": "train_loss", "valid RMSE": "valid_loss"}
        errors = {k: f"{epoch[v] ** 0.5:.4f}" for k, v in names.items() if v in epoch}
        self.bar_.set_postfix(errors, refresh=False)
        self.bar_.update()

    def on_train_end(self, net, **kwargs):
        self.bar_.close()
        del self.bar_  # the stream that it holds cannot be pickled


class FitSteps:
    """The epochs or sweeps of a fit, as tasks of scikit-learn's callbacks."""

    def __init__(self, estimator: Any, context: Any, **data: Any):
        self.estimator, self.context, self.data = estimator, context, data
        self.model = estimator  # with the attributes of the fit that runs
        self.must_stop = False

    def begin(self, name: str) -> None:
        """Notify the callbacks that a step of this name begins."""
        self._step = self.context.subcontext(task_name=name)
        self._step.call_on_fit_task_begin(estimator=self.estimator, **self.data)

    def end(self, module: Callable[[], nn.Module]) -> None:
        """Notify the callbacks that the step ended, and set `must_stop` if one asks for it."""
        self.must_stop |= self._step.call_on_fit_task_end(
            estimator=self.estimator,
            # called only if a callback predicts
            reconstruction_attributes=lambda: self._fitted_attributes() | {"module_": module()},
            **self.data,
        )

    def _fitted_attributes(self) -> dict[str, Any]:
        return {name: v for name, v in vars(self.model).items() if name.endswith("_")}


_STEPS: ContextVar[FitSteps | None] = ContextVar("steps of the fit", default=None)


@contextmanager
def notify_sklearn_callbacks(estimator: Any, X: Any, y: Any, sample_weight: Any) -> Iterator[None]:
    """Notify the callbacks of ``estimator.set_callbacks`` of the fit that runs in this context."""
    weights = {} if sample_weight is None else {"sample_weight": sample_weight}
    data = {"X": X, "y": y, "metadata": weights}
    context = estimator._init_callback_context(max_subtasks=_n_steps(estimator))
    context.call_on_fit_task_begin(estimator=estimator, **data)
    has_callbacks = hasattr(estimator, "_skl_callbacks")
    token = _STEPS.set(FitSteps(estimator, context, **data) if has_callbacks else None)
    try:
        yield
    finally:
        _STEPS.reset(token)
    context.call_on_fit_task_end(estimator=estimator, reconstruction_attributes=dict, **data)


def notify_of_model(model: Any) -> None:
    """Set the estimator from which callbacks take fitted attributes."""
    if (fit := _STEPS.get()) is not None:
        fit.model = model


def _n_steps(estimator: Any) -> int:
    """Maximum number of epochs or sweeps of a fit."""
    return getattr(estimator, "max_epochs", getattr(estimator, "n_iter", 1))


def notified_steps(
    steps: Iterable[int], name: str, module: Callable[[], nn.Module]
) -> Iterator[int]:
    """Yield steps, notify scikit-learn's callbacks of each, and stop if one asks for it."""
    fit = _STEPS.get()
    if fit is None:
        yield from steps
        return
    for number in steps:
        fit.begin(name)
        try:
            yield number
        finally:
            fit.end(module)
        if fit.must_stop:
            return


class EpochNotifier(Callback):
    """Notify scikit-learn's callbacks of the epochs of a skorch net."""

    def on_epoch_begin(self, net: Any, **kwargs: Any) -> None:
        if (fit := _STEPS.get()) is not None:
            if fit.must_stop:
                raise KeyboardInterrupt  # skorch stops a training when a callback raises this
            fit.begin("epoch")

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        if (fit := _STEPS.get()) is not None:
            fit.end(lambda: trained_module(net.module_))


def trained_module(module: nn.Module) -> nn.Module:
    """Copy of a module in training, as the training would leave it."""
    if isinstance(module, SVDPlusPlus):
        return module.merge_terms(deepcopy(module.own)).eval()
    return deepcopy(module).eval()
