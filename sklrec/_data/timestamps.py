"""The column of timestamps: its position, and its values as numbers."""
# SPDX-License-Identifier: BSD-3-Clause

from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import infer_dtype

from sklrec._data.checks import (
    DATETIMES,
    NUMBERS,
    ZONED,
    check_rows,
    plain_scalar,
    timestamp_kinds,
)
from sklrec._data.tables import Table, named_column, resolve_columns
from sklrec._utils.versions import to_datetimes
from sklrec._utils.warnings import warn

_CONVERSIONS = {
    NUMBERS: "numbers in the unit that fit saw",
    DATETIMES: "datetimes without a time zone, for example with pandas.to_datetime",
    ZONED: "datetimes with a time zone, for example with .dt.tz_localize",
}
_TOO_FINE = {"ps", "fs", "as"}  # finer than nanoseconds
_FIRST_YEAR, _LAST_YEAR = 1678, 2261  # whole years that int64 nanoseconds hold


def resolve_timestamp(estimator: Any, timestamp: int | str | None, X: Table) -> int | None:
    """Position of the column of timestamps, or None."""
    if timestamp is None:
        return None
    if isinstance(timestamp, str) and timestamp == "auto":
        if "timestamp" not in getattr(estimator, "feature_names_in_", ()):
            return None
        timestamp = "timestamp"
    return resolve_columns(estimator, (timestamp,), X)[0]


def need_timestamp(estimator: Any, timestamp: int | str, X: Table) -> int:
    """Position of the column of timestamps, or raise if there is none."""
    position = resolve_timestamp(estimator, timestamp, X)
    if position is None:
        raise ValueError(
            f"{type(estimator).__name__} sorts interactions by time, but X has no column named "
            "'timestamp'. Give timestamp= the position or the name of a column of X."
        )
    return position


def learn_timestamp(estimator: Any, X: Table, consequence: str) -> tuple[int | None, str | None]:
    """Position and kind of the column of timestamps, None if the rows are in time order."""
    index = resolve_timestamp(estimator, estimator.timestamp, X)
    if index is not None:
        return index, timestamp_kind(*named_column(estimator, X, index))
    if estimator.timestamp == "auto" and X.shape[1] > 2:
        warn(
            "timestamp='auto' found no column named 'timestamp'. The order of the rows is "
            f"taken as time order, and {consequence}. Set timestamp to the position or name of "
            "a column, or to None if there is none."
        )
    return None, None


def timestamp_kind(values: Any, name: int | str, *, first_row: int = 0) -> str:
    """Kind of timestamps: numbers, or datetimes with or without a time zone."""
    lack = "a timestamp: drop these rows, or fill in when they were"
    check_rows(pd.isna(values), "NaN", lack, values, name, first_row)
    if isinstance(values.dtype, pd.CategoricalDtype):
        values = values.categories.take(values.codes)
    kinds = timestamp_kinds(values)
    odd = next((k for k, kind in enumerate(kinds) if kind is None or kind != kinds[0]), None)
    if odd is None:
        return str(kinds[0])
    value = plain_scalar(values[odd])
    first = f", and {plain_scalar(values[0])!r} in row {first_row}" if kinds[odd] else ""
    raise TypeError(
        f"Column {name!r} holds {value!r} of type {type(value).__name__} in row {first_row + odd}"
        f"{first}. Timestamps are all numbers or all datetimes, with a time zone or without: "
        "convert the column first, for example with pandas.to_numeric or pandas.to_datetime."
    )


def read_timestamps(
    values: Any, name: int | str, kind: str | None = None, *, first_row: int = 0
) -> np.ndarray:
    """Numbers as int64 or float64, and datetimes as int64 nanoseconds since 1970 in UTC."""
    if len(values) == 0:  # of any dtype
        return np.zeros(0, dtype=np.int64)
    found = timestamp_kind(values, name, first_row=first_row)
    if kind is not None and found != kind:
        raise ValueError(
            f"Column {name!r} was fitted on {kind} but got {found} (such as "
            f"{plain_scalar(values[0])!r}), which do not compare. "
            f"Convert it to {_CONVERSIONS[kind]}."
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
        lack = "a timestamp: give these rows the number of a time"
        check_rows(np.isinf(values), "infinity", lack, values, name, first_row)
        return values.astype(np.float64, copy=False)
    if values.dtype.kind != "i":  # uint64, or Python's integers if they are huge
        limits = np.iinfo(np.int64)
        outside = (values > limits.max) | (values < limits.min)
        lack = "a timestamp: count from a later start, or in a coarser unit"
        check_rows(outside, "a number beyond int64", lack, values, name, first_row)
    return values.astype(np.int64, copy=False)


def _nanoseconds(values: Any, name: int | str, first_row: int) -> np.ndarray:
    if values.dtype.kind == "M":
        if isinstance(values, np.ndarray) and np.datetime_data(values.dtype)[0] in _TOO_FINE:
            raise TypeError(
                f"Column {name!r} is of {values.dtype}, and times finer than nanoseconds cannot "
                "be compared with others. Convert it first, with .astype('datetime64[ns]')."
            )
        times = pd.DatetimeIndex(values)
        years = times.year
    else:
        times, years = to_datetimes(np.asarray(values, dtype=object))
    outside = (years < _FIRST_YEAR) | (years > _LAST_YEAR)
    lack = (
        "a timestamp: correct or drop these rows, since times lie in the years "
        f"{_FIRST_YEAR} to {_LAST_YEAR}"
    )
    check_rows(outside, "a time out of range", lack, values, name, first_row)
    return times.as_unit("ns").asi8
