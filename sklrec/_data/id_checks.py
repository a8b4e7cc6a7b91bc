"""Checks of the types of IDs, and of IDs that are the same for people but not for Python."""
# SPDX-License-Identifier: BSD-3-Clause

import re
from datetime import date, timedelta
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd

from sklrec._utils.warnings import warn

WANTED = "IDs and categories are strings, numbers, bytes, dates, times, or tuples of these."
# The types that objects may have as IDs. Integers include booleans, and dates include datetimes.
_TYPES = (str, bytes, int, float, np.number, np.bool_, date, timedelta)
# Scalars of NumPy that files cannot hold.
_NOT_STORED = (np.longdouble, np.complexfloating, np.datetime64, np.timedelta64)
_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?")


def warn_of_mixed_types(ids: Any, values: np.ndarray, name: int | str) -> None:
    """Warn if a column holds numbers, and strings that read as numbers."""
    texts = [v for v in ids if isinstance(v, str) and _NUMBER.fullmatch(v)]
    numbers = [v for v in ids if isinstance(v, Real) and not isinstance(v, np.timedelta64)]
    if texts and numbers:
        share = pd.Series(values, dtype=object).isin(texts).mean()
        warn(
            f"Column {name!r} holds numbers such as {numbers[0]!r} and strings that read as "
            f"numbers such as {texts[0]!r} ({share:.1%} of {len(values)} rows), which are "
            "different IDs. Convert the column to one type, for example with .astype(str), or "
            "read the file with a dtype for it."
        )


def warn_of_mixed_forms(ids: Any, values: Any, name: int | str) -> None:
    """Warn if a column holds a whole number as a string in two forms, such as '7' and '7.0'."""
    known = set(ids)
    twins = [v for v in ids if v.endswith(".0") and v[:-2] in known]
    if twins:
        both = [*twins, *(v[:-2] for v in twins)]
        share = np.mean(pd.Series(values, dtype=object).isin(both))
        warn(
            f"Column {name!r} holds {twins[0]!r} and {twins[0][:-2]!r}, which are different IDs. "
            f"{len(twins)} numbers have both forms, in {share:.1%} of {len(values)} rows. "
            "Convert them to one form before they become strings, for example with .astype(int)."
        )


def warn_of_another_form(vocabulary: Any, values: Any, name: int | str) -> None:
    """Warn if unknown strings, such as '7.0', are known in another form, such as '7'."""
    unknown = np.asarray(values[vocabulary.codes(values) == 0], dtype=object)
    forms = np.array([v[:-2] if v.endswith(".0") else f"{v}.0" for v in unknown], dtype=object)
    is_known = vocabulary.codes(forms) > 0
    if is_known.any():
        first = np.argmax(is_known)
        warn(
            f"Column {name!r} holds {unknown[first]!r}, which is unknown, while "
            f"{forms[first]!r} is known. {is_known.mean():.1%} of {len(unknown)} unknown IDs "
            "differ in this way. Convert the column to the form that fit saw."
        )


def has_decimal_form(values: Any) -> bool:
    """Whether one of some strings ends in '.0'."""
    if isinstance(values, np.ndarray):  # a loop is faster than pandas
        return any(value.endswith(".0") for value in values.tolist())
    return bool(pd.Series(values, dtype=values.dtype).str.endswith(".0").any())


def check_types(ids: np.ndarray, name: int | str) -> None:
    """Raise if an ID has a type that IDs cannot have."""
    for value in ids:
        if not _is_valid(value):
            raise TypeError(
                f"Column {name!r} holds {value!r} of type {type(value).__name__}, which is no "
                f"valid type. {WANTED} Convert it, for example with .astype(str)."
            )


def _is_valid(value: Any) -> bool:
    """Whether the type of a value is one that IDs can have."""
    if isinstance(value, tuple):
        return all(v is None or _is_valid(v) for v in value)
    return isinstance(value, _TYPES) and not isinstance(value, _NOT_STORED)


def unhashable(values: Any, name: int | str, error: Exception) -> Exception:
    """Error that names the ID that cannot be hashed, else the error itself."""
    for value in values:
        try:
            hash(value)
        except TypeError:
            return TypeError(
                f"Column {name!r} holds {value!r}, which cannot be an ID ({error}): the argument "
                f"must be a string, a number or another valid ID. {WANTED}"
            )
    return error
