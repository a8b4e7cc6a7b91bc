"""The strict reader of numbers: ratings, weights and scores."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Sequence
from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.extensions import ExtensionArray
from pandas.api.types import infer_dtype

from sklrec._data.tables import as_column

# Results of `infer_dtype` for objects that are numbers.
NUMBERS_OF_OBJECTS = {"integer", "floating", "mixed-integer-float", "boolean", "decimal", "empty"}


def numbers_of(values: Any, subject: str) -> np.ndarray:
    """Values as float64, NaN if missing; raises for all that are not real numbers."""
    # NumPy would convert strings and times, too.
    is_list = isinstance(values, Sequence)
    values = np.array(values, dtype=object) if is_list else as_column(values)
    if isinstance(values, ExtensionArray) and values.dtype.kind in "biuf":
        return pd.Series(values).to_numpy(np.float64, na_value=np.nan)
    array = np.asarray(values)
    if array.dtype.kind in "biuf":
        return array.astype(np.float64, copy=False)
    if array.dtype.kind in "mMcV":
        raise ValueError(
            f"{subject} must be numeric, got {array.dtype}. Pass a column of numbers."
        )
    objects = array.astype(object)
    missing = pd.isna(objects)
    if infer_dtype(objects.ravel(), skipna=True) not in NUMBERS_OF_OBJECTS:
        for place in np.argwhere(~missing).tolist():
            value = objects[tuple(place)]
            if not isinstance(value, Real | Decimal | np.bool_) or isinstance(
                value, np.timedelta64
            ):
                raise ValueError(
                    f"{subject} must be numeric, got {value!r:.100} of type "
                    f"{type(value).__name__} in row {place[0] if place else 0}. Convert it "
                    "first, for example with pandas.to_numeric."
                )
    try:
        return np.where(missing, np.nan, objects).astype(np.float64)
    except (OverflowError, ValueError) as error:
        raise ValueError(f"{subject} must hold numbers of float64: {error}.") from error
