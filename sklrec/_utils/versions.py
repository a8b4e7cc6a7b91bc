"""Differences between the supported versions of scikit-learn and torch, and private names."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Callable
from inspect import signature
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import torch
from narwhals.exceptions import DuplicateError
from pandas.api.types import infer_dtype
from sklearn.base import _fit_context
from sklearn.utils import _safe_indexing as take_rows
from sklearn.utils import column_or_1d as _column_or_1d
from sklearn.utils._param_validation import Interval, RealNotInt, StrOptions
from sklearn.utils._set_output import _get_output_config as get_output_config
from sklearn.utils.validation import _check_feature_names_in as check_feature_names_in
from sklearn.utils.validation import _check_sample_weight

# Only this module imports scikit-learn's private names.
__all__ = [
    "CallbackSupportMixin",
    "Interval",
    "RealNotInt",
    "StrOptions",
    "accelerator_types",
    "check_feature_names_in",
    "check_onnx_operators",
    "check_sample_weight",
    "column_or_1d",
    "factorize",
    "fit_context",
    "get_output_config",
    "is_exporting",
    "string_dtype",
    "take_rows",
    "to_datetimes",
]

Method = TypeVar("Method", bound=Callable[..., Any])


def fit_context(*, prefer_skip_nested_validation: bool) -> Callable[[Method], Method]:
    """Decorate a method that fits, with its type, which scikit-learn's decorator hides."""
    return _fit_context(prefer_skip_nested_validation=prefer_skip_nested_validation)


# torch 2.6 cannot tell an export from a compilation, in which the same operations are correct.
# Remove this when the floor of torch is 2.7.
is_exporting = getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)


try:
    from sklearn.callback import CallbackSupportMixin
except ModuleNotFoundError:
    # scikit-learn 1.7 and 1.8 have no callbacks. Remove this when the floor is 1.9.
    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Replacement whose estimators have no `set_callbacks`."""

        def _init_callback_context(self, **kwargs: Any) -> Any:
            return _NoCallbacks()

    class _NoCallbacks:
        def call_on_fit_task_begin(self, **kwargs: Any) -> None: ...

        def call_on_fit_task_end(self, **kwargs: Any) -> None: ...


def accelerator_types() -> set[str]:
    """Types of the devices besides the CPU that torch can use, at most one."""
    try:
        accelerator = torch.accelerator.current_accelerator()
    except RuntimeError:
        # torch 2.6 raises this where others return None. Remove it when the floor is 2.7.
        return set()
    return set() if accelerator is None else {accelerator.type}


def check_onnx_operators(caller: str) -> None:
    """Raise if torch cannot write operators of ONNX, such as LSTM, into a graph."""
    # Remove this when the floor of torch is 2.8.
    if not hasattr(torch.onnx, "ops"):
        raise ImportError(
            f"{caller} requires torch 2.8 or newer, but torch {torch.__version__} is installed. "
            "Update it with: pip install 'sklrec[onnx]'"
        )


def _known(function: Callable[..., Any], **options: Any) -> dict[str, Any]:
    """Select the options that a function has in the installed version."""
    return {name: v for name, v in options.items() if name in signature(function).parameters}


def string_dtype(storage: str, na_value: Any) -> pd.StringDtype:
    """Dtype of strings; pandas 2.2 has only one with `pandas.NA` for missing ones."""
    # Remove this when the floor of pandas is 2.3.
    return pd.StringDtype(storage, **_known(pd.StringDtype, na_value=na_value))


def check_sample_weight(
    sample_weight: Any, X: Any, *, allow_all_zero_weights: bool = False
) -> np.ndarray:
    """Check that there is one weight of at least 0 for each row, and return float64."""
    # scikit-learn 1.7 and 1.8 accept weights that are all 0, without an option. Remove the option
    # and the error here when the floor is 1.9.
    options = _known(_check_sample_weight, allow_all_zero_weights=allow_all_zero_weights)
    weight = _check_sample_weight(
        sample_weight, X, dtype=np.float64, ensure_non_negative=True, **options
    )
    if not allow_all_zero_weights and not weight.any():
        raise ValueError("Sample weights must contain at least one non-zero number.")
    return weight


def column_or_1d(y: Any, *, input_name: str, warn: bool = False) -> np.ndarray:
    """Check a column and make it one-dimensional."""
    # scikit-learn 1.7 calls each column y in its errors. Remove this when the floor is 1.8.
    try:
        return _column_or_1d(y, warn=warn, **_known(_column_or_1d, input_name=input_name))
    except DuplicateError as error:  # from a table, and no ValueError
        raise ValueError(f"{input_name} should be a 1d array, got a table. {error}") from error


def factorize(values: Any) -> tuple[np.ndarray, Any]:
    """Positions in the distinct values, -1 if missing, and these in order of appearance."""
    places, distinct = pd.factorize(values)
    # pandas 2 compares strings up to the first null character only, but compares whole strings
    # if there is another object. Remove this when the floor is 3.0.
    if pd.__version__ < "3" and infer_dtype(distinct, skipna=False) == "string":
        objects, found = np.asarray(values, dtype=object), np.asarray(distinct, dtype=object)
        known = places >= 0
        if (found[places[known]] != objects[known]).any():
            places, found = pd.factorize(np.append(objects, 0))
            places, found = places[:-1], found[:-1]
            distinct = found if distinct.dtype == object else pd.array(found, distinct.dtype)
    return places, distinct


def to_datetimes(values: np.ndarray) -> tuple[pd.DatetimeIndex, Any]:
    """Make times of objects, in UTC, and give their years."""
    try:
        times = pd.to_datetime(values, utc=True)
    except pd.errors.OutOfBoundsDatetime:
        # pandas 2 has objects in nanoseconds only. Remove this when the floor is 3.0.
        years = np.array([pd.Timestamp(value).year for value in values])
        return pd.DatetimeIndex([]), years
    return times, times.year
