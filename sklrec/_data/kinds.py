"""Kinds of the values in a column."""
# SPDX-License-Identifier: BSD-3-Clause

from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import infer_dtype

# The names appear in messages.
INTEGERS, FLOATS, DECIMALS, BOOLEANS = "integers", "floats", "decimals", "booleans"
STRINGS, BYTES = "strings", "bytes"
DATES, DATETIMES, DURATIONS = "dates", "datetimes", "time differences"
OBJECTS = "objects of other or of mixed types"
# Columns of side features have fewer kinds.
NUMBERS, LISTS = "numbers", "lists"
COLUMN_KINDS = (NUMBERS, DATETIMES, DURATIONS, BOOLEANS, STRINGS, BYTES, LISTS, OBJECTS)
MERGED = {**dict.fromkeys((INTEGERS, FLOATS, DECIMALS), NUMBERS), DATES: DATETIMES}

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


def plain_scalar(value: Any) -> Any:
    """Python equivalent of a NumPy scalar, which is shorter in messages, except for times."""
    is_plain = not isinstance(value, np.generic) or value.dtype.kind in "mM"
    return value if is_plain else value.item()
