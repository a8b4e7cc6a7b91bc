"""Columns of timestamps: which one it is, and its values as numbers that compare exactly."""
# SPDX-License-Identifier: BSD-3-Clause

from datetime import date
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import infer_dtype

from sklrec._data.checks import resolve_columns

__all__ = ["read_timestamps", "resolve_timestamp", "timestamp_kind"]

NUMBERS, DATETIMES, ZONED = "numbers", "datetimes", "datetimes with a time zone"

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
    DATETIMES: "datetimes without a time zone, for example with pandas.to_datetime",
    ZONED: "datetimes with a time zone, for example with .dt.tz_localize",
}
_TOO_FINE = {"ps", "fs", "as"}  # finer than nanoseconds
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


def timestamp_kind(values: Any, name: int | str, *, first_row: int = 0) -> str:
    """Tell whether timestamps are numbers or datetimes.

    Parameters
    ----------
    values : ndarray or ExtensionArray of shape (n_samples,)
        The column's values.
    name : int or str
        The column's name or position, for messages.
    first_row : int, default=0
        The row number of the first value, for messages about a part of a column.

    Returns
    -------
    {"numbers", "datetimes", "datetimes with a time zone"}
        What they are. They do not compare, so that `predict` needs what `fit` had.

    Raises
    ------
    ValueError
        If timestamps are missing.
    TypeError
        If they are neither numbers nor datetimes, or some of each.
    """
    missing = "drop these rows, or fill in when they were"
    _refuse(pd.isna(values), "NaN", missing, values, name, first_row)
    if isinstance(values.dtype, pd.CategoricalDtype):
        values = values.categories.take(values.codes)
    kind = _KIND_OF_DTYPE.get(values.dtype.kind)
    if kind is None and values.dtype.kind == "O":
        kind = _KIND_OF_INFERRED.get(infer_dtype(values, skipna=False))
    if kind == DATETIMES and values.dtype.kind == "M":
        return ZONED if getattr(values.dtype, "tz", None) is not None else DATETIMES
    return kind if kind == NUMBERS else _kind_by_looking(values, name, first_row)


def read_timestamps(
    values: Any, name: int | str, kind: str | None = None, *, first_row: int = 0
) -> np.ndarray:
    """Read timestamps as numbers whose order and equality are those of the timestamps.

    Parameters
    ----------
    values : ndarray or ExtensionArray of shape (n_samples,)
        The column's values: numbers or datetimes, of any dtype that holds them. Datetimes
        without a time zone are read as UTC.
    name : int or str
        The column's name or position, for messages.
    kind : {"numbers", "datetimes", "datetimes with a time zone"}, default=None
        What the timestamps have to be since those of `fit` were; None takes all.
    first_row : int, default=0
        The row number of the first value, for messages about a part of a column.

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
    if len(values) == 0:  # no dtype says what is not there
        return np.zeros(0, dtype=np.int64)
    found = timestamp_kind(values, name, first_row=first_row)
    if kind is not None and found != kind:
        raise ValueError(
            f"Column {name!r} was fitted on {kind} but got {found} (such as "
            f"{_plain(values[0])!r}), which do not compare. Convert it to {_CONVERSIONS[kind]}."
        )
    if isinstance(values.dtype, pd.CategoricalDtype):
        values = values.categories.take(values.codes)
    read = _numbers if found == NUMBERS else _nanoseconds
    return read(values, name, first_row)


def _numbers(values: Any, name: int | str, first_row: int) -> np.ndarray:
    values = np.asarray(values)
    if values.dtype == object:
        whole = infer_dtype(values, skipna=False) == "integer"
        values = np.array(values.tolist(), dtype=None if whole else np.float64)
    if values.dtype.kind == "f":
        remedy = "give these rows the number of a time"
        _refuse(np.isinf(values), "infinity", remedy, values, name, first_row)
        return values.astype(np.float64, copy=False)
    if values.dtype.kind != "i":  # uint64, or Python's integers if they are huge
        limits = np.iinfo(np.int64)
        outside = (values > limits.max) | (values < limits.min)
        remedy = "count from a later start, or in a coarser unit"
        _refuse(outside, "a number beyond int64", remedy, values, name, first_row)
    return values.astype(np.int64, copy=False)


def _nanoseconds(values: Any, name: int | str, first_row: int) -> np.ndarray:
    if values.dtype.kind == "M":
        if isinstance(values, np.ndarray) and np.datetime_data(values.dtype)[0] in _TOO_FINE:
            raise TypeError(
                f"Column {name!r} is of {values.dtype}, and times finer than nanoseconds cannot "
                "be compared with others. Convert it first, with .astype('datetime64[ns]')."
            )
        times = pd.DatetimeIndex(values)
    else:
        times = pd.to_datetime(np.asarray(values, dtype=object), utc=True)
    outside = (times.year < _FIRST_YEAR) | (times.year > _LAST_YEAR)
    remedy = f"mend or drop these rows, for times lie in the years {_FIRST_YEAR} to {_LAST_YEAR}"
    _refuse(outside, "a time out of range", remedy, values, name, first_row)
    return times.as_unit("ns").asi8


def _kind_by_looking(values: Any, name: int | str, first_row: int) -> str:
    """The kind of objects of several types, if it is but one; else say which row is odd."""
    kinds = [_kind_of_object(value) for value in values]
    odd = next((k for k, kind in enumerate(kinds) if kind is None or kind != kinds[0]), None)
    if odd is None:
        return str(kinds[0])
    value = _plain(values[odd])
    as_first = f", and {_plain(values[0])!r} in row {first_row}" if kinds[odd] else ""
    raise TypeError(
        f"Column {name!r} holds {value!r} of type {type(value).__name__} in row {first_row + odd}"
        f"{as_first}. Timestamps are all numbers or all datetimes, with a time zone or without: "
        "convert the column first, for example with pandas.to_numeric or pandas.to_datetime."
    )


def _kind_of_object(value: Any) -> str | None:
    # numpy counts time differences among the integers
    if isinstance(value, Real) and not isinstance(value, bool | np.bool_ | np.timedelta64):
        return NUMBERS
    if isinstance(value, date | np.datetime64):
        return DATETIMES if getattr(value, "tzinfo", None) is None else ZONED
    return None


def _refuse(
    wrong: Any, problem: str, remedy: str, values: Any, name: int | str, first_row: int
) -> None:
    """Raise if any value is wrong."""
    rows = np.flatnonzero(wrong)
    if len(rows):
        raise ValueError(
            f"Input X contains {problem}.\nColumn {name!r} holds {_plain(values[rows[0]])!r} in "
            f"row {first_row + rows[0]}, and so {len(rows)} of the rows {first_row} to "
            f"{first_row + len(values) - 1} lack a timestamp: {remedy}."
        )


def _plain(value: Any) -> Any:
    """A scalar of numpy as Python's own, which reads better; those of time only lose by it."""
    is_plain = not isinstance(value, np.generic) or value.dtype.kind in "mM"
    return value if is_plain else value.item()
