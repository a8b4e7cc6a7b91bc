"""The fit procedure of all estimators and of all sources of rows."""
# SPDX-License-Identifier: BSD-3-Clause

from copy import copy, deepcopy
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch

from sklrec._core.readers import n_ids
from sklrec._core.rows import Rows, device_of
from sklrec._data.checks import RatingStatistics
from sklrec._solvers.base import FitResult, WarmStart
from sklrec._solvers.minibatch import MinibatchSolver, Optimization
from sklrec._solvers.penalties import Diverged
from sklrec._solvers.steps import ATTRIBUTES_OF_A_RUNNING_FIT, set_model_of_callbacks
from sklrec._solvers.tensors import sum_of_weights
from sklrec._utils.runtime import is_shared, own_settings
from sklrec._utils.warnings import warn
from sklrec.modules._losses import loss_of
from sklrec.modules._rating_module import RatingModule

# Starts of a training with lr="auto", each with half the learning rate of the one before.
N_STARTS = 8
# Largest batch, beyond the memory of any machine.
LARGEST_BATCH = 2**31


@dataclass(frozen=True)
class Plan:
    """How to train: what `fit` and `partial_fit` differ in."""

    is_partial: bool  # one epoch with a constant learning rate
    previous: Any = None  # the fitted estimator that the training continues
    stops_early: bool = False
    lr_factor: float = 1.0
    snapshot: Any = None  # function of a module and a `FitResult` that makes a fitted estimator


@own_settings()
def fit_model(estimator: Any, source: Any) -> Any:
    """Fit an estimator to the rows of a source, and return it."""
    # All work is done on a copy. The estimator gets its attributes in one step, so that a failed
    # fit changes nothing, and other threads see the old model or the new one. What else was set
    # meanwhile, such as parameters by a callback, stays.
    is_partial = source.is_partial
    continues = (is_partial or estimator.warm_start) and hasattr(estimator, "module_")
    previous = copy(estimator) if continues else None
    model, before = copy(estimator), dict(vars(estimator))
    if previous is None:  # forget the earlier fit, but nothing that a user has set
        for name in _fitted_names(model):
            vars(model).pop(name, None)
    elif is_partial:
        model._validate_params()  # fit_context skips this for a fitted estimator
    set_model_of_callbacks(model)
    rows = source.read(model, previous)
    if not is_partial and previous is None:
        _warn_of_constant_ratings(rows.statistics)
    model.rating_statistics_ = rows.statistics
    if previous is not None:
        model.rating_statistics_ = previous.rating_statistics_.pooled(rows.statistics)
    interrupted = _train(model, rows, Plan(is_partial, previous, rows.stops_early))
    fitted = _fitted_names(model)
    changed = {
        name: value
        for name, value in vars(estimator).items()
        if name not in fitted and before.get(name, before) is not value
    }
    estimator.__dict__ = vars(model) | changed
    if interrupted:
        raise KeyboardInterrupt
    return estimator


def _warn_of_constant_ratings(statistics: RatingStatistics) -> None:
    """Warn if all ratings are equal, as those of a log of events are."""
    if statistics.variance**0.5 <= 1e-12 * abs(statistics.mean):  # the rest is rounding
        rating = f"{statistics.mean:g}"
        warn(
            f"All ratings are {rating}, so that the model predicts {rating} for every user and "
            "item. If X holds events without ratings, such as purchases, fit an "
            "ImplicitMFRecommender, which ranks items."
        )


def _fitted_names(model: Any) -> set[str]:
    """Names of the attributes that a fit sets."""
    return {*model._state, *model._not_kept}


def _train(model: Any, rows: Rows, plan: Plan) -> bool:
    """Train a module, new or continued, and return whether Ctrl-C ended the training."""
    # A training with lr="auto" that diverges starts again with half the learning rate.
    state = rows.generator.get_state()
    lr = getattr(model, "lr", None)
    for k in range(N_STARTS if lr == "auto" else 1):
        rows.generator.set_state(state)
        try:
            return _train_once(model, rows, replace(plan, lr_factor=0.5**k))
        except Diverged:
            continue
    network = getattr(model.module_, "network", None)  # that a user wrote
    of_network, advice = "", ""
    if network is not None:
        of_network = f" of {type(network).__name__}"
        advice = (
            " If the loss is not finite, look for log or sqrt of numbers that are not positive, "
            "for exp of large numbers and for divisions by 0 in forward; "
            "torch.autograd.set_detect_anomaly(True) finds them."
        )
    raise ValueError(
        f"The training{of_network} diverged with lr={lr!r}: the loss is far above that of the "
        f"mean rating, or not finite. Use a lower lr, or a larger alpha.{advice}"
    )


def _train_once(model: Any, rows: Rows, plan: Plan) -> bool:
    device, previous, warm_start = device_of(model), plan.previous, None
    if previous is None:
        model.module_ = model._new_module(rows)
    else:
        model.module_ = model._continued_module(previous, rows)
        warm_start = WarmStart(
            net=getattr(previous, "net_", None),
            n_ratings=previous._reader.row_counts(previous),
            n_all_ratings=model._reader.row_counts(model),
            weight=previous.rating_statistics_.weight,
            penalties=getattr(previous, "penalties_", None),
            loss_curve=previous.loss_curve_,
        )
    model.module_.to(device)
    data = rows.training_data().to(device)
    _clear_absent_rows(model.module_, data, previous)
    if hasattr(model.module_, "_set_chances"):
        sides = zip(("users", "items"), n_ids(model), strict=True)
        model.module_._set_chances(**{name: data.row_weights(name, n + 1) for name, n in sides})
    valid = None if rows.validation_data is None else rows.validation_data(data).to(device)
    snapshot = partial(_snapshot, model, previous, valid is not None)
    solver = model._new_solver(replace(plan, snapshot=snapshot))
    outcome = solver.train(model.module_, data, valid, rows.generator, warm_start)
    _record(model, outcome, previous, valid is not None)
    return outcome.interrupted


def _clear_absent_rows(module: RatingModule, data: Any, previous: Any) -> None:
    """Set the new rows that no training row reads to the row of unknown codes."""
    before = {} if previous is None else dict(previous.module_.named_parameters())
    weights: dict[tuple[str, ...], torch.Tensor] = {}
    for name, (_, inputs) in module._tables_of_codes().items():
        n_rows, n_before = len(module.get_parameter(name)), len(before.get(name, ()))
        if inputs not in weights:
            weights[inputs] = sum_of_weights(data, inputs, n_rows)
        is_absent = weights[inputs] == 0
        is_absent[:n_before] = False
        module._clear_rows(name, is_absent.nonzero().squeeze(1))


def _snapshot(
    model: Any, previous: Any, has_validation: bool, module: RatingModule, outcome: FitResult
) -> Any:
    """Make a fitted copy of an estimator with a module in the middle of its training."""
    fitted = copy(model)
    for name in ATTRIBUTES_OF_A_RUNNING_FIT & set(vars(fitted)):
        delattr(fitted, name)
    fitted.module_ = module
    _record(fitted, outcome, previous, has_validation)
    return fitted


def _record(model: Any, outcome: FitResult, previous: Any, has_validation: bool) -> None:
    """Set the fitted attributes that describe the training."""
    for name in {"net_", "validation_curve_"} & set(vars(model)):  # of the fit that it continues
        delattr(model, name)
    vars(model).update(outcome.attributes)
    model.loss_curve_ = getattr(previous, "loss_curve_", []) + outcome.loss_curve
    model.n_iter_ = len(model.loss_curve_)
    if has_validation:
        earlier = getattr(previous, "validation_curve_", [])
        model.validation_curve_ = earlier + outcome.validation_curve


# --- functions for `_new_module`, `_continued_module` and `_new_solver` of estimators

# Number of factors of a Gaussian model with n_factors="auto": with few ratings for each user and
# item on average, and with more ratings. Sparse logs have nothing for more factors to learn.
FEW_FACTORS, MANY_FACTORS = 8, 16
MANY_RATINGS = 5


def auto_n_factors(model: Any, n_ratings: float) -> int:
    """Choose the number of factors of a Gaussian model by the number of ratings."""
    return FEW_FACTORS if n_ratings < MANY_RATINGS * sum(n_ids(model)) else MANY_FACTORS


def check_unchanged(module: RatingModule, **wanted: Any) -> None:
    """Raise if a parameter differs from that of the module that the training continues."""
    for name, value in wanted.items():
        current = getattr(module, name)
        if value != current:
            raise ValueError(
                f"{name}={value!r} was asked for, but the training continues a model of "
                f"{name}={current!r}. Set it back to {current!r}, or fit with warm_start=False."
            )


@torch.no_grad()
def converted_module(model: Any, previous: Any) -> Any:
    """Copy a module, and convert it to the mean and scale of all ratings so far."""
    module = deepcopy(previous.module_)
    before, now = previous.rating_statistics_, model.rating_statistics_
    if before.variance > 0:  # otherwise the tables hold only their start
        module._multiply_scores(module.scale.item() / now.scale)
    module.scale.fill_(now.scale)
    # Otherwise it changes together with the biases, or another loss moves it.
    is_mean = model.loss == "squared_error" or module.constant != "global_mean"
    if not module.has_biases and is_mean:
        module.global_mean += now.mean - before.mean
    return module


def minibatch_solver(
    model: Any,
    optimization: Optimization,
    alpha: float | None,
    plan: Plan,
    *,
    batch_size: float | None = None,  # None is the parameter, here and below
    max_epochs: int | None = None,
) -> MinibatchSolver:
    """Make the solver of an estimator that is trained through skorch; `alpha` None is learned."""
    optimizer, reduction, auto_lr, params, partial_fit_factor = optimization
    if not issubclass(optimizer, torch.optim.Optimizer):
        raise TypeError(
            "optimizer must be None or a subclass of torch.optim.Optimizer, such as "
            f"torch.optim.AdamW, got {optimizer!r}."
        )
    max_epochs = model.max_epochs if max_epochs is None else max_epochs
    is_update = plan.is_partial and plan.previous is not None
    return MinibatchSolver(
        optimizer=optimizer,
        reduction=reduction,
        optimizer_params=params,
        lr_factor=plan.lr_factor * (partial_fit_factor if is_update else 1.0),
        loss=loss_of(model.loss, model.quantile),
        lr=auto_lr(max_epochs) if model.lr == "auto" else model.lr,
        max_epochs=1 if plan.is_partial else int(max_epochs),
        # torch takes no larger slices.
        batch_size=min(int(batch_size or model.batch_size), LARGEST_BATCH),
        alpha=None if alpha is None else float(alpha),
        callbacks=model.callbacks,
        verbose=int(model.verbose),
        early_stopping=plan.stops_early,
        constant_lr=plan.is_partial,
        snapshot=plan.snapshot,
        is_shared=is_shared(model.device),
    )
