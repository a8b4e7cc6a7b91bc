"""Columns of timestamps: which one it is, and its values as numbers that compare exactly."""
# SPDX-License-Identifier: BSD-3-Clause

from datetime import date
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import infer_dtype

from sklrec._validation import resolve_columns

__all__ = ["read_timestamps", "resolve_timestamp", "timestamp_kind"]

NUMBERS, DATETIMES = "numbers", "datetimes"

_KIND_OF_DTYPE = {"i": NUMBERS, "u": NUMBERS, "f": NUMBERS, "M": DATETIMES}
_KIND_OF_INFERRED = {
    "integer": NUMBERS,
    "floating": NUMBERS,
    "mixed-integer-float": NUMBERS,
    "datetime": DATETIMES,
    "datetime64": DATETIMES,
    "date": DATETIMES,
}
_CONVERSIONS = {
    NUMBERS: "numbers in the unit that fit saw",
    DATETIMES: "datetimes, for example with pandas.to_datetime and the right unit",
}
_FINER_THAN_NANOSECONDS = {"ps", "fs", "as"}
_FIRST_YEAR, _LAST_YEAR = 1678, 2261  # whole years that int64 nanoseconds hold


def resolve_timestamp(
    estimator: Any, timestamp: int | str | None, X: pd.DataFrame | np.ndarray
) -> int | None:
    """Find the position of the column of timestamps.

    Parameters
    ----------
    estimator : estimator instance
        The estimator, after `check_interactions`: it knows the names of X's columns.
    timestamp : int, str or None
        A position that counts from 0, a name, "auto" for the column named `timestamp` of a
        DataFrame that has one, or None for no column at all.
    X : DataFrame or ndarray of shape (n_samples, n_features)
        The checked interactions.

    Returns
    -------
    int or None
        The position; None without a column of timestamps.

    Raises
    ------
    ValueError
        If X lacks the column that was asked for.
    """
    if timestamp is None:
        return None
    if isinstance(timestamp, str) and timestamp == "auto":
        if "timestamp" not in getattr(estimator, "feature_names_in_", ()):
            return None
        timestamp = "timestamp"
    return resolve_columns(estimator, (timestamp,), X)[0]


def timestamp_kind(values: Any, name: int | str) -> str:
    """Tell whether timestamps are numbers or datetimes.

    Parameters
    ----------
    values : ndarray or ExtensionArray of shape (n_samples,)
        The column's values, none of them missing.
    name : int or str
        The column's name or position, for messages.

    Returns
    -------
    {"numbers", "datetimes"}
        What they are. The two do not compare, so that `predict` needs what `fit` had.

    Raises
    ------
    TypeError
        If they are neither, or some of each.
    """
    if isinstance(values.dtype, pd.CategoricalDtype):
        values = values.categories.array
    kind = _KIND_OF_DTYPE.get(values.dtype.kind)
    if kind is None and values.dtype.kind == "O":
        kind = _KIND_OF_INFERRED.get(infer_dtype(values, skipna=False))
    return kind or _kind_by_looking(values, name)


def read_timestamps(values: Any, name: int | str, kind: str | None = None) -> np.ndarray:
    """Read timestamps as numbers whose order and equality are those of the timestamps.

    Parameters
    ----------
    values : ndarray or ExtensionArray of shape (n_samples,)
        The column's values: numbers or datetimes, of any dtype that holds them. Datetimes
        without a time zone are read as UTC.
    name : int or str
        The column's name or position, for messages.
    kind : {"numbers", "datetimes"}, default=None
        What the timestamps have to be since those of `fit` were; None takes both.

    Returns
    -------
    ndarray of shape (n_samples,)
        Numbers as they are, in int64 or float64; datetimes as int64 nanoseconds since 1970 in
        UTC.

    Raises
    ------
    ValueError
        If timestamps are missing, infinite or out of range, or not of the wanted kind.
    TypeError
        If they are neither numbers nor datetimes, or some of each.
    """
    _refuse(pd.isna(values), values, name, "NaN", "drop these rows, or fill in when they were")
    found = timestamp_kind(values, name)
    if kind is not None and found != kind:
        raise ValueError(
            f"Column {name!r} was fitted on {kind} but got {found} (such as {values[0]!r}), which "
            f"do not compare. Convert it to {_CONVERSIONS[kind]}."
        )
    if isinstance(values.dtype, pd.CategoricalDtype):
        values = values.categories.array.take(values.codes)
    return _numbers(values, name) if found == NUMBERS else _nanoseconds(values, name)


def _numbers(values: Any, name: int | str) -> np.ndarray:
    values = np.asarray(values)
    if values.dtype == object:
        values = np.array(values.tolist())  # int64 or float64, or uint64 or object if they are huge
    if values.dtype.kind == "f":
        infinite = "give these rows the number of a time"
        _refuse(np.isinf(values), values, name, "infinity", infinite)
        return values.astype(np.float64, copy=False)
    if values.dtype.kind != "i":
        limit = np.iinfo(np.int64).max
        _refuse(values > limit, values, name, "a number beyond int64", "use a coarser unit")
    return values.astype(np.int64, copy=False)


def _nanoseconds(values: Any, name: int | str) -> np.ndarray:
    if isinstance(values, np.ndarray) and values.dtype.kind == "M":
        unit = np.datetime_data(values.dtype)[0]
        if unit in _FINER_THAN_NANOSECONDS:
            raise TypeError(
                f"Column {name!r} is of {values.dtype}, and times finer than nanoseconds cannot "
                "be compared with others. Convert it first, with .astype('datetime64[ns]')."
            )
    if values.dtype.kind == "M":
        times = pd.DatetimeIndex(values)
    else:
        times = pd.to_datetime(np.asarray(values, dtype=object), utc=True)
    outside = (times.year < _FIRST_YEAR) | (times.year > _LAST_YEAR)
    years = f"times lie in the years {_FIRST_YEAR} to {_LAST_YEAR}: mend these rows, or drop them"
    _refuse(outside, values, name, "a time out of range", years)
    return times.as_unit("ns").asi8


def _kind_by_looking(values: Any, name: int | str) -> str:
    """The kind of objects of several types, if it is but one; else say which row is odd."""
    kinds = [_kind_of_object(value) for value in values]
    odd = next((k for k, kind in enumerate(kinds) if kind is None or kind != kinds[0]), None)
    if odd is None:
        return str(kinds[0])
    as_first = f", and {values[0]!r} in row 0" if kinds[odd] else ""
    raise TypeError(
        f"Column {name!r} holds {values[odd]!r} of type {type(values[odd]).__name__} in row {odd}"
        f"{as_first}. Timestamps are all numbers or all datetimes: convert the column first, for "
        "example with pandas.to_numeric or pandas.to_datetime."
    )


def _kind_of_object(value: Any) -> str | None:
    if isinstance(value, Real) and not isinstance(value, bool | np.bool_):
        return NUMBERS
    # numpy counts time differences among its integers, but not among the real numbers
    return DATETIMES if isinstance(value, date | np.datetime64) else None


def _refuse(wrong: Any, values: Any, name: int | str, problem: str, remedy: str) -> None:
    """Raise if any value is wrong."""
    rows = np.flatnonzero(wrong)
    if len(rows):
        value = values[rows[0]]
        value = value.item() if isinstance(value, np.number) else value
        raise ValueError(
            f"Input X contains {problem}.\nColumn {name!r} holds {value!r} in row {rows[0]}, and "
            f"so {len(rows)} of {len(values)} rows lack a timestamp: {remedy}."
        )
