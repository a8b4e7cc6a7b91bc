"""What scikit-learn's callbacks hear of a fit: its beginning and end, and those of its steps."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from copy import deepcopy
from functools import partial
from typing import Any

from skorch.callbacks import Callback
from torch import nn

from sklrec.modules._svdpp import SVDPlusPlus

# scikit-learn sets these in fit and removes them at its end.
ATTRIBUTES_OF_A_RUNNING_FIT = {"_callback_fit_ctx", "_skl_callbacks_to_teardown"}
# Makes the module that the training would end with if it ended here.
ModuleSoFar = Callable[[], nn.Module]


class FitSteps:
    """The epochs or sweeps of a fit, as tasks of scikit-learn's callbacks.

    Parameters
    ----------
    estimator : estimator instance
        The estimator that is being fitted.
    context : sklearn.callback.CallbackContext
        The task of the whole fit.
    **data : dict
        X, y and metadata of the fit, as the callbacks want to know them.
    """

    def __init__(self, estimator: Any, context: Any, **data: Any):
        self.estimator, self.context, self.data = estimator, context, data
        self.must_stop = False
        self._step: Any = None

    def begin(self, name: str) -> None:
        """Tell that a step begins.

        Parameters
        ----------
        name : str
            What it is called.
        """
        self._step = self.context.subcontext(task_name=name)
        self._step.call_on_fit_task_begin(estimator=self.estimator, **self.data)

    def end(self, module: ModuleSoFar) -> None:
        """Tell that it ended; learn whether the training must stop.

        Parameters
        ----------
        module : callable
            Makes the module as it is now; it is asked only if a callback wants to predict.
        """
        self.must_stop |= self._step.call_on_fit_task_end(
            estimator=self.estimator,
            reconstruction_attributes=lambda: {"module_": module()},
            **self.data,
        )


_STEPS: ContextVar[FitSteps | None] = ContextVar("steps of the fit", default=None)


@contextmanager
def heard_by_callbacks(estimator: Any, X: Any, y: Any, sample_weight: Any) -> Iterator[None]:
    """Let the callbacks of ``set_callbacks`` hear of a fit that runs inside.

    Parameters
    ----------
    estimator : estimator instance
        A ``CallbackSupportMixin`` that has `_n_steps`. Its ``fit`` runs inside scikit-learn's
        ``_fit_context``, which ends what is begun here.
    X, y, sample_weight : object
        What ``fit`` was given.
    """
    weights = {} if sample_weight is None else {"sample_weight": sample_weight}
    data = {"X": X, "y": y, "metadata": weights}
    context = estimator._init_callback_context(max_subtasks=estimator._n_steps())
    context.call_on_fit_task_begin(estimator=estimator, **data)
    is_asked = hasattr(estimator, "_skl_callbacks")
    token = _STEPS.set(FitSteps(estimator, context, **data) if is_asked else None)
    try:
        yield
    finally:
        _STEPS.reset(token)
    context.call_on_fit_task_end(estimator=estimator, reconstruction_attributes=dict, **data)


def heard_steps(steps: Iterable[int], name: str, module: ModuleSoFar) -> Iterator[int]:
    """Let the callbacks hear of steps that are counted, and stop if they say so.

    Parameters
    ----------
    steps : iterable of int
        The count.
    name : str
        What a step is called.
    module : callable
        Makes the module as it is after a step.

    Yields
    ------
    int
        The numbers of `steps`.
    """
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


class HeardEpochs(Callback):
    """Let scikit-learn's callbacks hear of the epochs of a skorch net."""

    def on_epoch_begin(self, net: Any, **kwargs: Any) -> None:
        if (fit := _STEPS.get()) is not None:
            if fit.must_stop:
                raise KeyboardInterrupt  # how a callback tells skorch to stop
            fit.begin("epoch")

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        if (fit := _STEPS.get()) is not None:
            fit.end(partial(as_trained, net.module_))


def as_trained(module: nn.Module) -> nn.Module:
    if isinstance(module, SVDPlusPlus):
        return module.collapse(deepcopy(module.own)).eval()
    return deepcopy(module).eval()


def is_heard() -> bool:
    """Tell whether there are callbacks that hear of the fit.

    Returns
    -------
    bool
        Whether there are.
    """
    return _STEPS.get() is not None
