"""Predictions of a fitted model, in blocks of rows."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Callable
from copy import copy
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from sklrec._core.readers import count_unknown
from sklrec._core.rows import check_X
from sklrec._data.checks import check_booleans
from sklrec._utils.runtime import own_settings, threads_for

# Rows that are computed at once: many enough to keep torch busy, and few enough that the gathered
# factors fit into the processor's cache.
ROWS_AT_ONCE = 16_384
# Rows whose IDs are looked up at once. Smaller blocks of IDs took up to twice as long, because
# tables of factors and hash tables then displace each other from the cache more often.
READ_AT_ONCE = 16 * ROWS_AT_ONCE


def fitted_copy(estimator: Any) -> Any:
    """Copy a fitted estimator, so that a fit in another thread does not change what is read."""
    model = copy(estimator)
    check_is_fitted(model)
    return model


@own_settings()
def predicted(estimator: Any, X: Any, history: Any = None) -> np.ndarray:
    """Predict ratings."""
    model = fitted_copy(estimator)
    if hasattr(model._reader, "predicted"):  # from histories
        return model._reader.predicted(model, X, history)
    if history is not None:
        raise ValueError(
            f"The network of this {type(model).__name__} reads no histories, got one. Set "
            "history=None, or give forward the argument histories."
        )
    ratings = by_blocks(
        model, X, on_module(model, lambda **inputs: model.module_(**inputs).cpu().numpy())
    )
    return clipped(model, ratings)


def predicted_with_std(estimator: Any, X: Any, return_std: bool) -> Any:
    """Predict ratings, and their standard deviations if they are wanted."""
    check_booleans(return_std=return_std)
    if not return_std:
        return predicted(estimator, X)
    model = fitted_copy(estimator)
    found = by_blocks(
        model,
        X,
        on_module(
            model, lambda **inputs: torch.stack(model.module_.moments(**inputs), 1).cpu().numpy()
        ),
    )
    return clipped(model, found[:, 0].copy()), found[:, 1]


@own_settings()
def by_blocks(model: Any, X: Any, compute: Callable[..., np.ndarray]) -> np.ndarray:
    """Compute values for rows in float64, from what the reader makes of X, block by block."""
    X, reader = check_X(model, X, reset=False), model._reader
    n_unknown = np.zeros(2, dtype=int)
    found = np.empty(0)
    for first in range(0, max(1, X.shape[0]), ROWS_AT_ONCE):
        start = first % READ_AT_ONCE
        if start == 0:
            inputs = reader.inputs(model, X, slice(first, first + READ_AT_ONCE))
            n_unknown += count_unknown(inputs)
        part = compute(**{k: v[start : start + ROWS_AT_ONCE] for k, v in inputs.items()})
        if first == 0:
            found = np.empty((X.shape[0], *part.shape[1:]))
        found[first : first + len(part)] = part
    reader.warn_of_kind(model, X, n_unknown)
    return found


def clipped(model: Any, ratings: np.ndarray) -> np.ndarray:
    """Clip ratings, in place, to the rating scale."""
    if model.rating_scale_ is not None:
        ratings.clip(*model.rating_scale_, out=ratings)
    return ratings


def on_module(model: Any, compute: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    """Make a function of arrays from one of tensors on the device of the module."""
    device = model.module_.global_mean.device

    def of_arrays(**inputs: np.ndarray) -> np.ndarray:
        with torch.inference_mode(), threads_for(len(inputs["users"]), model.module_.width):
            return compute(**{name: torch.from_numpy(v).to(device) for name, v in inputs.items()})

    return of_arrays
