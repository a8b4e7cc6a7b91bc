"""The fit procedure of all estimators, for rows in memory and in chunks."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Callable
from copy import copy, deepcopy
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from sklearn.model_selection import train_test_split
from sklearn.utils import check_consistent_length, check_random_state

from sklrec._core.readers import Inputs, Start, count_unknown
from sklrec._data.checks import check_sample_weight, take_rows
from sklrec._data.statistics import RatingStatistics
from sklrec._solvers.base import FitResult, WarmStart
from sklrec._solvers.callbacks import ATTRIBUTES_OF_A_RUNNING_FIT, notify_of_model
from sklrec._solvers.distributed import accelerate_device, common_random_state, is_shared
from sklrec._solvers.epochs import Diverged
from sklrec._solvers.minibatch import MinibatchSolver, Optimization
from sklrec._solvers.tensors import sum_of_weights
from sklrec._utils.devices import is_there, with_float64
from sklrec._utils.rng import new_generator
from sklrec.datasets._chunks import ChunkedRatings
from sklrec.modules._rating_module import INPUTS_OF_TABLES, RatingModule

# Starts of a training with lr="auto", each with half the learning rate of the one before.
N_STARTS = 8


@dataclass(frozen=True)
class Rows:
    """Rows to train on, which a source has read."""

    statistics: RatingStatistics
    generator: torch.Generator  # of all random numbers of the training
    training_data: Callable[[], Any]  # makes the tensors, once there is a module
    validation_data: Callable[[Any], Any] | None = None  # called with the training data
    start: Start = field(default_factory=dict)
    stops_early: bool = False  # whether the validation loss can stop the training


@dataclass(frozen=True)
class Plan:
    """How to train: what `fit` and `partial_fit` differ in."""

    is_partial: bool  # one epoch with a constant learning rate
    previous: Any = None  # the fitted estimator that the training continues
    stops_early: bool = False
    lr_factor: float = 1.0
    snapshot: Any = None  # function of a module and a `FitResult` that makes a fitted estimator


@dataclass(frozen=True)
class Table:
    """Source of rows in memory."""

    X: Any
    y: Any
    sample_weight: Any
    X_val: Any = None
    y_val: Any = None
    sample_weight_val: Any = None
    is_partial: bool = False

    def read(self, model: Any, previous: Any) -> Rows:
        """Read all rows, and let the model learn what needs no training."""
        reader = model._reader
        X, y, weight = check_rated(
            model, self.X, self.y, self.sample_weight, reset=previous is None
        )
        if not self.is_partial:
            check_enough_ratings(model, int(np.count_nonzero(~np.isnan(y))))
        rng = new_random_state(model)
        generator = new_generator(rng)
        inputs, start = reader.learn(model, X, y, weight, previous)
        valid, stops = self._validation(model), False
        if not self.is_partial:
            stops = stops_early(model, self.X_val)
            if stops and valid is None:
                parts = train_test_split(
                    np.arange(len(y)), test_size=held_out_share(model), random_state=rng
                )
                (inputs, y, weight), valid = (
                    ({name: v[part] for name, v in inputs.items()}, y[part], weight[part])
                    for part in parts
                )
        return Rows(
            RatingStatistics.of(y, weight),
            generator,
            partial(reader.training_data, model, inputs, y, weight, previous),
            None if valid is None else partial(reader.validation_data, model, *valid),
            start,
            stops,
        )

    def _validation(self, model: Any) -> tuple[Inputs, np.ndarray, np.ndarray] | None:
        """Read the validation data, if there are any."""
        if not has_validation(self.X_val, self.y_val, self.sample_weight_val):
            return None
        X, y, weight = check_rated(
            model, self.X_val, self.y_val, self.sample_weight_val, reset=False, y_name="y_val"
        )
        inputs = model._reader.inputs(model, X)
        model._reader.warn_of_kind(model, X, count_unknown(inputs))
        return inputs, y, weight


def fit_model(estimator: Any, source: Any, *, is_partial: bool = False) -> Any:
    """Fit an estimator to the rows of a source, and return it."""
    # All work is done on a copy. Its attributes replace those of the estimator in one step, so
    # that a failed fit changes nothing, and other threads see the old model or the new one.
    continues = (is_partial or estimator.warm_start) and hasattr(estimator, "module_")
    previous = copy(estimator) if continues else None
    model = copy(estimator)
    if previous is None:
        _forget(model)
    elif is_partial:
        model._validate_params()  # fit_context skips this for a fitted estimator
    notify_of_model(model)
    rows = source.read(model, previous)
    model.rating_statistics_ = rows.statistics
    if previous is not None:
        model.rating_statistics_ = previous.rating_statistics_.pooled(rows.statistics)
    interrupted = _train(model, rows, Plan(is_partial, previous, rows.stops_early))
    estimator.__dict__ = vars(model)
    if interrupted:
        raise KeyboardInterrupt
    return estimator


def _forget(model: Any) -> None:
    """Remove the attributes of an earlier fit."""
    for name in [name for name in vars(model) if name.endswith("_") and name[0] != "_"]:
        delattr(model, name)


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
    raise ValueError(
        f"The training diverged with lr={lr!r}: the loss is far above that of the mean rating, "
        "or not finite. Use a lower lr, or a larger alpha."
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
    valid = None if rows.validation_data is None else rows.validation_data(data).to(device)
    snapshot = partial(_snapshot, model, previous, valid is not None)
    solver = model._new_solver(replace(plan, snapshot=snapshot))
    outcome = solver.train(model.module_, data, valid, rows.generator, warm_start)
    _record(model, outcome, previous, valid is not None)
    return outcome.interrupted


@torch.no_grad()
def _clear_absent_rows(module: RatingModule, data: Any, previous: Any) -> None:
    """Set the new rows that no training row reads to 0, like the row of unknown codes."""
    before = {} if previous is None else dict(previous.module_.named_parameters())
    weights: dict[tuple[str, ...], torch.Tensor] = {}
    for name, table in module.named_parameters():
        _, inputs = INPUTS_OF_TABLES.get(name.partition("_")[0], ("", ()))
        if not inputs:
            continue
        if inputs not in weights:
            weights[inputs] = sum_of_weights(data, inputs, len(table))
        n_before = len(before.get(name, ()))
        table[n_before:][weights[inputs][n_before:] == 0] = 0


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
    if outcome.net is not None:
        model.net_ = outcome.net
        model.penalties_ = outcome.penalties
    model.loss_curve_ = getattr(previous, "loss_curve_", []) + outcome.loss_curve
    model.n_iter_ = len(model.loss_curve_)
    if has_validation:
        earlier = getattr(previous, "validation_curve_", [])
        model.validation_curve_ = earlier + outcome.validation_curve


# --- checks of rows and parameters, which all sources share


def check_X(model: Any, X: Any, *, reset: bool) -> Any:
    """Check X; with `reset`, store its number and names of columns."""
    if isinstance(X, ChunkedRatings):
        raise ValueError(
            f"Only X of fit may be a whole {type(X).__name__}, and X_val if X is one too. "
            "Pass one chunk at a time: for X, y, sample_weight in ratings."
        )
    return model._reader.check_X(model, X, reset=reset)


def check_rated(model: Any, X: Any, y: Any, sample_weight: Any, *, reset: bool, y_name: str = "y"):
    """Check rows, drop rows without rating or weight, and scale the weights to a mean of 1,
    unless their size matters."""
    X, y, weight = check_rows(
        model, X, y, sample_weight, reset=reset, y_name=y_name, allow_all_zero_weights=False
    )
    if model._sum_of_weights is None:
        if sample_weight is not None and len(weight):
            weight = weight / weight.max()  # so that their sum does not overflow
            weight /= weight.mean()
        return X, y, weight.astype(np.float32)
    with np.errstate(over="ignore"):
        total = weight.sum()
    least, largest = model._sum_of_weights
    if len(weight) and not least <= total <= largest:
        raise ValueError(
            f"The sum of the sample weights must lie between {least:g} and {largest:g}, got "
            f"{total:g}. Scale them to a mean of 1."
        )
    return X, y, weight


def check_rows(
    model: Any,
    X: Any,
    y: Any,
    sample_weight: Any,
    *,
    reset: bool,
    y_name: str = "y",
    allow_all_zero_weights: bool = True,
):
    """Check rows, drop rows without rating or weight, and keep the weights as they are."""
    X = check_X(model, X, reset=reset)
    y = model._reader.check_y(model, y, input_name=y_name)
    check_consistent_length(X, y)
    weight = np.ones(len(y))
    if sample_weight is not None:
        weight = check_sample_weight(
            sample_weight,
            X,
            dtype=np.float64,
            ensure_non_negative=True,
            allow_all_zero_weights=allow_all_zero_weights,
        )
    # The training uses float32, where a weight far below the largest one becomes 0.
    is_kept = (weight / (weight.max(initial=0.0) or 1.0)).astype(np.float32) > 0
    is_kept &= ~np.isnan(y).reshape(len(y), -1).all(axis=1)
    if not is_kept.all():
        X, y, weight = take_rows(X, is_kept), y[is_kept], weight[is_kept]
    return X, y, weight


def has_validation(X_val: Any, y_val: Any, sample_weight_val: Any) -> bool:
    """Whether validation data were passed; raise if X_val or y_val is missing."""
    given = {"X_val": X_val, "y_val": y_val, "sample_weight_val": sample_weight_val}
    missing = [name for name in ("X_val", "y_val") if given[name] is None]
    present = [name for name in given if given[name] is not None]
    if present and missing:
        raise ValueError(f"{present[0]} is provided, but {missing[0]} was not provided.")
    return bool(present)


def check_enough_ratings(model: Any, n_ratings: int) -> None:
    """Raise if there are too few ratings to learn from."""
    if n_ratings < 2:
        raise ValueError(
            f"Found array with {n_ratings} sample(s) while a minimum of 2 is required by "
            f"{type(model).__name__}. Pass more rated interactions."
        )


def stops_early(model: Any, X_val: Any) -> bool:
    """Whether the validation loss can stop the training."""
    if model.early_stopping == "auto":
        return X_val is not None
    return bool(model.early_stopping)


def held_out_share(model: Any) -> float:
    """Share of the rows that early stopping holds out."""
    return 0.1 if model.early_stopping in (True, "auto") else float(model.early_stopping)


def new_random_state(model: Any) -> np.random.RandomState:
    """Make the random state from which a fit draws all random numbers."""
    rng = check_random_state(model.random_state)
    if model.device == "accelerate" and model.random_state is None:
        device_of(model)
        return common_random_state(rng)
    return rng


def device_of(model: Any) -> torch.device:
    """Return the device to train on, or raise if there is none of that name."""
    if model.device == "accelerate":
        if model._takes_accelerate:
            return accelerate_device()
        raise ValueError(
            f"{type(model).__name__} trains in one process, on a device of torch such as 'cpu' "
            "or 'cuda', got device='accelerate'. Set one of those; DenseRecRegressor and "
            "SequenceRatingRegressor train in several processes."
        )
    if not is_there(model.device):
        available = ["cpu"]
        if torch.cuda.is_available():
            available += [f"cuda:{k}" for k in range(torch.cuda.device_count())]
        if torch.backends.mps.is_available():
            available.append("mps")
        raise ValueError(
            f"device={str(model.device)!r} is not available on this machine. Set one of: "
            f"{', '.join(available)}."
        )
    device = torch.device(model.device)
    return with_float64(device) if model._needs_float64 else device


# --- parts of the hooks of estimators


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
    if not module.has_biases:  # otherwise they change together with the mean
        module.global_mean += now.mean - before.mean
    return module


def minibatch_solver(
    model: Any, optimization: Optimization, alpha: float | None, plan: Plan
) -> MinibatchSolver:
    """Make the solver of an estimator that is trained through skorch; `alpha` None is learned."""
    optimizer, reduction, auto_lr, params, partial_fit_factor = optimization
    if not issubclass(optimizer, torch.optim.Optimizer):
        raise TypeError(
            "optimizer must be None or a subclass of torch.optim.Optimizer, such as "
            f"torch.optim.AdamW, got {optimizer!r}."
        )
    is_update = plan.is_partial and plan.previous is not None
    return MinibatchSolver(
        optimizer=optimizer,
        reduction=reduction,
        optimizer_params=params,
        lr_factor=plan.lr_factor * (partial_fit_factor if is_update else 1.0),
        lr=auto_lr(model.max_epochs) if model.lr == "auto" else model.lr,
        max_epochs=1 if plan.is_partial else int(model.max_epochs),
        batch_size=int(model.batch_size),
        alpha=alpha,
        callbacks=model.callbacks,
        verbose=int(model.verbose),
        early_stopping=plan.stops_early,
        constant_lr=plan.is_partial,
        snapshot=plan.snapshot,
        is_shared=is_shared(model.device),
    )
