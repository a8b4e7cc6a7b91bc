"""Rows to train on: rows in memory, and the checks that all sources of rows share."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from sklearn.model_selection import train_test_split
from sklearn.utils import check_consistent_length, check_random_state

from sklrec._core.readers import Rated, Start, count_unknown
from sklrec._data.checks import RatingStatistics, check_weights
from sklrec._data.tables import take_rows
from sklrec._utils.runtime import (
    accelerate_device,
    common_random_state,
    is_there,
    new_generator,
    with_float64,
)
from sklrec.datasets._chunks import ChunkedRatings


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
class Table:
    """Source of rows in memory."""

    X: Any
    y: Any
    sample_weight: Any
    X_val: Any = None
    y_val: Any = None
    sample_weight_val: Any = None
    is_partial: bool = False  # whether the rows are further ones, for `partial_fit`

    def read(self, model: Any, previous: Any) -> Rows:
        """Read all rows, and let the model learn what needs no training."""
        reader = model._reader
        X, y, weight = read_rated(
            model, self.X, self.y, self.sample_weight, reset=previous is None
        )
        if not self.is_partial:
            check_enough_ratings(model, int(np.count_nonzero(~np.isnan(y))))
        rng = new_random_state(model)
        generator = new_generator(rng)
        inputs, start = reader.learn(model, X, y, weight, previous)
        rated = Rated(inputs, y, weight)
        valid, stops = self._validation(model), False
        if not self.is_partial:
            stops = stops_early(model, self.X_val)
            if stops and valid is None:
                parts = train_test_split(
                    np.arange(len(y)), test_size=held_out_share(model), random_state=rng
                )
                rated, valid = map(rated.take, parts)
        return Rows(
            RatingStatistics.of(rated.y, rated.weight),
            generator,
            partial(reader.training_data, model, rated, previous),
            None if valid is None else partial(reader.validation_data, model, valid),
            start,
            stops,
        )

    def _validation(self, model: Any) -> Rated | None:
        """Read the validation data, if there are any."""
        if not has_validation(self.X_val, self.y_val, self.sample_weight_val):
            return None
        X, y, weight = read_rated(
            model, self.X_val, self.y_val, self.sample_weight_val, reset=False, y_name="y_val"
        )
        inputs = model._reader.inputs(model, X)
        model._reader.warn_of_kind(model, X, count_unknown(inputs))
        return Rated(inputs, y, weight)


def check_X(model: Any, X: Any, *, reset: bool) -> Any:
    """Check X; with `reset`, store its number and names of columns."""
    if isinstance(X, ChunkedRatings):
        raise ValueError(
            f"Only X of fit may be a whole {type(X).__name__}, and X_val if X is one too. "
            "Pass one chunk at a time: for X, y, sample_weight in ratings."
        )
    return model._reader.check_X(model, X, reset=reset)


def read_rated(model: Any, X: Any, y: Any, sample_weight: Any, *, reset: bool, y_name: str = "y"):
    """Check rows, drop rows without rating or weight, and scale the weights to a mean of 1,
    unless their size matters."""
    X, y, weight = read_rows(
        model, X, y, sample_weight, reset=reset, y_name=y_name, allow_all_zero_weights=False
    )
    if model._sum_of_weights is None:
        if sample_weight is not None and len(weight):
            weight = weight / weight.max()  # so that their sum does not overflow
            weight = (weight / weight.mean()).astype(np.float32)
        return X, y, weight
    if len(weight):
        check_sum_of_weights(weight, model._sum_of_weights)
    return X, y, weight


def check_sum_of_weights(weight: np.ndarray, bounds: tuple[float, float]) -> None:
    """Raise if the sum of weights whose size matters is too small or too large."""
    with np.errstate(over="ignore"):
        total = weight.sum()
    least, largest = bounds
    if not least <= total <= largest:
        raise ValueError(
            f"The sum of the sample weights must lie between {least:g} and {largest:g}, got "
            f"{total:g}. Scale them to a mean of 1."
        )


def read_rows(
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
    weight = np.broadcast_to(1.0, len(y))  # takes no memory
    if sample_weight is not None:
        weight = check_weights(sample_weight, X, allow_all_zero_weights=allow_all_zero_weights)
    is_kept = ~np.isnan(y).reshape(len(y), -1).all(axis=1)
    if sample_weight is not None:
        # The training uses float32, where a weight far below the largest one becomes 0.
        is_kept &= (weight / (weight.max(initial=0.0) or 1.0)).astype(np.float32) > 0
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
