"""Epochs and sweeps: what callbacks are told, and the loop of the solvers that sweep."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from copy import deepcopy
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from sklrec._solvers.base import FitResult
from sklrec._solvers.tensors import InteractionTensors
from sklrec._utils.warnings import warn
from sklrec.modules._rating_module import RatingModule

# scikit-learn sets these in fit and removes them at its end.
ATTRIBUTES_OF_A_RUNNING_FIT = {"_callback_fit_ctx", "_skl_callbacks_to_teardown"}
# Number of errors to square and add at once.
SQUARED_AT_ONCE = 2**16


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
            reconstruction_attributes=lambda: {
                **{name: v for name, v in vars(self.model).items() if name.endswith("_")},
                "module_": module(),
            },
            **self.data,
        )


_STEPS: ContextVar[FitSteps | None] = ContextVar("steps of the fit", default=None)


@contextmanager
def notify_sklearn_callbacks(estimator: Any, X: Any, y: Any, sample_weight: Any) -> Iterator[None]:
    """Notify the callbacks of ``estimator.set_callbacks`` of the fit that runs in this context."""
    weights = {} if sample_weight is None else {"sample_weight": sample_weight}
    data = {"X": X, "y": y, "metadata": weights}
    n_steps = getattr(estimator, "max_epochs", getattr(estimator, "n_iter", 1))
    n_steps = None if n_steps == "auto" else n_steps  # None is not known
    context = estimator._init_callback_context(max_subtasks=n_steps)
    context.call_on_fit_task_begin(estimator=estimator, **data)
    has_callbacks = hasattr(estimator, "_skl_callbacks")
    token = _STEPS.set(FitSteps(estimator, context, **data) if has_callbacks else None)
    try:
        yield
    finally:
        _STEPS.reset(token)
    context.call_on_fit_task_end(estimator=estimator, reconstruction_attributes=dict, **data)


@contextmanager
def without_sklearn_callbacks() -> Iterator[None]:
    """Train without notifying scikit-learn's callbacks."""
    token = _STEPS.set(None)
    try:
        yield
    finally:
        _STEPS.reset(token)


def set_model_of_callbacks(model: Any) -> None:
    """Set the estimator from which callbacks take fitted attributes."""
    if (fit := running_fit()) is not None:
        fit.model = model


def running_fit() -> FitSteps | None:
    """Give the fit that runs in this context, if it has callbacks of scikit-learn."""
    return _STEPS.get()


def notified_steps(
    steps: Iterable[int], name: str, module: Callable[[], nn.Module]
) -> Iterator[int]:
    """Yield steps, notify scikit-learn's callbacks of each, and stop if one asks for it."""
    fit = running_fit()
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


class Sweeper(Protocol):
    """The mathematics of a solver."""

    change: float  # of the parameters in the last sweep

    def sweep(self) -> float:
        """Update all parameters once; return the mean squared error, over the squared scale."""

    def write(self, module: Any) -> None:
        """Write all that was learned into a module."""


def sweep_module(
    sweeper: Sweeper,
    module: RatingModule,
    valid: InteractionTensors | None,
    *,
    n_sweeps: int,
    tol: float,
    verbose: int,
    last: Callable[[], float] | None = None,  # a further sweep, of another kind
) -> FitResult:
    """Sweep until the change is below the tolerance, and write the result into the module."""
    # Ctrl-C keeps what was learned so far.
    losses: list[float] = []
    valid_losses: list[float] = []
    interrupted = False

    def so_far() -> RatingModule:
        copied = deepcopy(module)
        sweeper.write(copied)
        return copied

    def record(loss: float) -> None:
        losses.append(loss * module.scale.item() ** 2)
        if valid is not None:
            valid_losses.append(squared_error(so_far(), valid))

    try:
        numbers = notified_steps(_progress(n_sweeps, verbose), "sweep", so_far)
        for loss in sweeps(sweeper, numbers, tol):
            record(loss)
        if last is not None:
            record(last())
    except KeyboardInterrupt:
        interrupted = True
        warn_of_interruption(len(losses), n_sweeps, "sweeps")
    sweeper.write(module)
    return FitResult(losses, valid_losses, interrupted)


def sweeps(sweeper: Sweeper, numbers: Iterable[int], tol: float) -> Iterator[float]:
    """Sweep once for each number, until the change is below the tolerance; yield the errors."""
    for _ in numbers:
        yield sweeper.sweep()
        if sweeper.change < tol:
            return


def warn_of_interruption(n_done: int, n_planned: int, unit: str) -> None:
    """Warn that Ctrl-C has ended a training."""
    warn(
        f"Training was interrupted after {n_done} whole {unit} of {n_planned}. The model keeps "
        "what it learned so far."
    )


def squared_error(module: RatingModule, data: InteractionTensors) -> float:
    """Compute the weighted mean squared error of a module."""
    inputs = dict(data.X)
    weights = inputs.pop("sample_weight", None)
    errors = data.y - module(**inputs)
    total = len(errors) if weights is None else weights.sum().item()
    factors = errors if weights is None else errors * weights
    # In parts, because the products take float64.
    parts = zip(errors.split(SQUARED_AT_ONCE), factors.split(SQUARED_AT_ONCE), strict=True)
    squares: list[Tensor] = [a.double().dot(b.double()) for a, b in parts]
    return torch.stack(squares).sum().item() / total


def _progress(n_sweeps: int, verbose: int) -> Iterator[int]:
    """Count the sweeps, with a progress bar if `verbose`."""
    if not verbose:
        yield from range(n_sweeps)
        return
    from tqdm.auto import trange  # a slow import that few need

    yield from trange(n_sweeps, desc="fit", unit="sweep")
