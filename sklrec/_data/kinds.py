"""Kinds of the values in a column."""
# SPDX-License-Identifier: BSD-3-Clause

from datetime import date
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import infer_dtype, is_list_like

# The names appear in messages.
INTEGERS, FLOATS, DECIMALS, BOOLEANS = "integers", "floats", "decimals", "booleans"
STRINGS, BYTES = "strings", "bytes"
DATES, DATETIMES, DURATIONS = "dates", "datetimes", "time differences"
OBJECTS = "objects of other or of mixed types"
# Kinds of IDs. Others count as mixed objects.
ID_KINDS = {INTEGERS, FLOATS, BOOLEANS, STRINGS, BYTES, DATETIMES, DURATIONS}
# Kinds of columns of side features, and of timestamps.
NUMBERS, LISTS = "numbers", "lists"
ZONED = "datetimes with a time zone"
COLUMN_KINDS = (NUMBERS, DATETIMES, DURATIONS, BOOLEANS, STRINGS, BYTES, LISTS, OBJECTS)
TIMESTAMP_KINDS = (NUMBERS, DATETIMES, ZONED)
_MERGED = {**dict.fromkeys((INTEGERS, FLOATS, DECIMALS), NUMBERS), DATES: DATETIMES}
# Kinds whose values are compared as numbers, since True equals 1.
COMPARED = {INTEGERS, FLOATS, NUMBERS, BOOLEANS}

_OF_DTYPE = {
    **dict.fromkeys("iu", INTEGERS),
    **{"f": FLOATS, "b": BOOLEANS, "U": STRINGS, "S": BYTES, "M": DATETIMES, "m": DURATIONS},
}
# Keys are the results of `infer_dtype`.
_OF_INFERRED = {
    **{"integer": INTEGERS, "floating": FLOATS, "mixed-integer-float": FLOATS},
    **{"decimal": DECIMALS, "boolean": BOOLEANS, "string": STRINGS, "bytes": BYTES},
    **{"date": DATES, "datetime": DATETIMES, "datetime64": DATETIMES},
    **{"timedelta": DURATIONS, "timedelta64": DURATIONS},
}


def kind_of(values: Any, *, skipna: bool = False) -> str:
    """Kind of the values: from their dtype or, for objects, from the values themselves."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        values = values.categories
    if kind := _OF_DTYPE.get(values.dtype.kind):
        return kind
    return _OF_INFERRED.get(infer_dtype(values, skipna=skipna), OBJECTS)


def id_kind(values: Any) -> str:
    """Kind of IDs, one of ID_KINDS or OBJECTS."""
    kind = kind_of(values)
    return kind if kind in ID_KINDS else OBJECTS


def can_equal(kind: str, other: str) -> bool:
    """Whether values of two kinds can be equal; objects can equal objects only."""
    return kind == other or {kind, other} <= COMPARED


def column_kind(values: Any) -> str | None:
    """Kind of a column of side features, one of COLUMN_KINDS, or None if all are missing."""
    if pd.isna(values).all():
        return None
    kind = kind_of(values, skipna=True)
    if kind == OBJECTS and all(is_list_like(v) or pd.isna(v) for v in values):
        return LISTS
    return _MERGED.get(kind, kind)


def timestamp_kinds(values: Any) -> list[str | None]:
    """Kind of all timestamps, or of each if they are objects: one of TIMESTAMP_KINDS, or None."""
    if kind_of(values) in (INTEGERS, FLOATS):
        return [NUMBERS]
    if values.dtype.kind == "M":
        return [DATETIMES if getattr(values.dtype, "tz", None) is None else ZONED]
    return [_kind_of_timestamp(value) for value in values]


def _kind_of_timestamp(value: Any) -> str | None:
    # np.timedelta64 is a subclass of np.signedinteger.
    if isinstance(value, Real) and not isinstance(value, bool | np.bool_ | np.timedelta64):
        return NUMBERS
    if isinstance(value, date | np.datetime64):
        return DATETIMES if getattr(value, "tzinfo", None) is None else ZONED
    return None


def plain_scalar(value: Any) -> Any:
    """Python equivalent of a NumPy scalar, which is shorter in messages, except for times."""
    is_plain = not isinstance(value, np.generic) or value.dtype.kind in "mM"
    return value if is_plain else value.item()
