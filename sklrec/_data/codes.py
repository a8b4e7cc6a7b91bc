"""Reading item codes: whole numbers that are not negative."""
# SPDX-License-Identifier: BSD-3-Clause

from numbers import Real
from typing import Any

import numpy as np
from pandas.api.types import infer_dtype

_LIMIT = 2.0**53  # floats tell whole numbers apart up to here
_INFERRED_NUMBERS = {"integer", "floating", "mixed-integer-float"}


def as_codes(values: Any) -> tuple[np.ndarray, np.ndarray]:
    """Turn values into codes, and tell which of them are none.

    Parameters
    ----------
    values : ndarray or ExtensionArray of shape (n_values,)
        What should be codes, in any dtype.

    Returns
    -------
    codes : ndarray of shape (n_values,)
        The codes as int64; where a value is no code, any number.
    valid : ndarray of shape (n_values,)
        Where a value is a whole number from 0 upwards.
    """
    values = np.asarray(values)
    if values.dtype == object:
        values = _floats(values)
    if values.dtype.kind not in "iuf":
        return np.zeros(len(values), dtype=np.int64), np.zeros(len(values), dtype=bool)
    with np.errstate(invalid="ignore"):
        codes = values.astype(np.int64, copy=False)
    valid = codes >= 0
    if values.dtype.kind == "f":
        valid &= (codes == values) & (values < _LIMIT)
    return codes, valid


def _floats(values: np.ndarray) -> np.ndarray:
    """Objects as floats, NaN for those that are no numbers."""
    if infer_dtype(values, skipna=False) not in _INFERRED_NUMBERS:
        numbers = [isinstance(x, Real) and not isinstance(x, bool) for x in values]
        values = np.where(numbers, values, np.nan)
    return values.astype(np.float64)
