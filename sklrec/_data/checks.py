"""Checks of ratings and item codes, and kinds of values."""
# SPDX-License-Identifier: BSD-3-Clause

from datetime import date
from math import isfinite
from numbers import Integral, Number, Real
from typing import Any, NamedTuple, Self

import numpy as np
import pandas as pd
from pandas.api.types import infer_dtype, is_list_like
from sklearn.utils.validation import check_array

from sklrec._data.numbers import numbers_of
from sklrec._data.tables import LARGEST_FLOAT_CODE, hint_about_wide_tables, unmasked
from sklrec._utils.state.kinds import NUMBER, Plain, Record
from sklrec._utils.versions import check_sample_weight, column_or_1d, get_output_config

LARGEST_INTEGER = 2**63 - 1
LARGEST_RATING = 1e18  # its square is still finite in float32

# Kinds of values. The names appear in messages.
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


def check_rows(
    wrong: Any, problem: str, lack: str, values: Any, name: int | str, first_row: int
) -> None:
    """Raise if a row of a column of X is wrong."""
    rows = np.flatnonzero(wrong)
    if len(rows):
        raise ValueError(
            f"Input X contains {problem}.\nColumn {name!r} holds "
            f"{plain_scalar(values[rows[0]])!r} in row {first_row + rows[0]}. In all, "
            f"{len(rows)} of the rows {first_row} to {first_row + len(values) - 1} lack {lack}."
        )


def check_ratings(estimator: Any, y: Any, *, input_name: str = "y") -> np.ndarray:
    """Check one column of ratings, and return it as float64."""
    name = type(estimator).__name__
    if y is None:
        raise ValueError(
            f"This {name} estimator requires y to be passed, but the target y is None. "
            f"{hint_about_wide_tables()}"
        )
    try:
        y = column_or_1d(unmasked(y), warn=True, input_name=input_name)
    except ValueError as error:
        if "should be a 1d array" not in str(error):
            raise
        raise ValueError(f"{error} {hint_about_wide_tables()}") from error
    y = numbers_of(y, f"{input_name} holds the ratings for {name} and")
    try:
        ratings = check_array(
            y, ensure_2d=False, dtype=np.float64, input_name=input_name, estimator=name
        )
    except ValueError as error:
        bad = np.flatnonzero(~np.isfinite(y))
        if len(bad) == 0:
            raise
        raise ValueError(
            f"{error}\nRatings must be finite numbers, and {len(bad)} of {len(y)} are not, the "
            f"first in row {bad[0]}: drop these rows of X and {input_name}."
        ) from error
    check_rating_size(ratings, input_name)
    return ratings


def check_rating_size(ratings: np.ndarray, input_name: str) -> None:
    """Raise if the square of a rating overflows in float32."""
    large = ratings[np.abs(ratings) > LARGEST_RATING]
    if len(large):
        raise ValueError(
            f"{input_name} must hold ratings of at most {LARGEST_RATING:g} in size, got "
            f"{large[0]:g}. Divide all ratings by the same large number."
        )


def check_weights(weight: Any, X: Any, *, allow_all_zero_weights: bool = False) -> np.ndarray:
    """Check that there is one weight of at least 0 for each row, and return float64."""
    if not (weight is None or isinstance(weight, Number)):
        weight = numbers_of(weight, "sample_weight")
    return check_sample_weight(weight, X, allow_all_zero_weights=allow_all_zero_weights)


def check_positive(value: Any, name: str) -> int:
    """Return a value as an int, or raise if it is not an integer of at least 1."""
    if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} must be an integer of at least 1, got {value!r}.")
    if int(value) > LARGEST_INTEGER:
        raise ValueError(f"{name} must be at most {LARGEST_INTEGER}, got {value!r}.")
    return int(value)


def check_number(value: Any, name: str) -> float:
    """Return a value as a float, or raise if it is not a finite number."""
    if not isinstance(value, Real) or isinstance(value, bool | np.bool_) or not isfinite(value):
        raise ValueError(f"{name} must be a finite number, got {value!r:.100}.")
    return float(value)


def check_booleans(**values: Any) -> None:
    """Raise if one of the arguments, given by their names, is not a boolean."""
    for name, value in values.items():
        if not isinstance(value, bool | np.bool_):
            raise ValueError(f"{name} must be True or False, got {value!r}.")


def check_choice(name: str, value: Any, choices: tuple[str | None, ...]) -> None:
    """Check that a parameter is one of some words."""
    if not (value is None or isinstance(value, str)) or value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}.")


def as_codes(values: Any) -> tuple[np.ndarray, np.ndarray]:
    """Values as int64 codes, and where a value is a code: a whole number from 0 upwards."""
    values = np.asarray(values)
    if values.dtype == object:
        if infer_dtype(values, skipna=False) not in ("integer", "floating", "mixed-integer-float"):
            is_number = [isinstance(x, Real) and not isinstance(x, bool) for x in values]
            values = np.where(is_number, values, np.nan)
        values = values.astype(np.float64)
    codes, valid = whole_numbers(values)
    valid &= codes >= 0
    if values.dtype.kind == "f":
        valid &= values < LARGEST_FLOAT_CODE
    return codes, valid


def whole_numbers(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values as int64, and where this is exact; it never is for what are not numbers."""
    if values.dtype.kind == "i":
        return values.astype(np.int64, copy=False), np.ones(len(values), dtype=bool)
    if values.dtype.kind not in "uf":
        return np.zeros(len(values), dtype=np.int64), np.zeros(len(values), dtype=bool)
    with np.errstate(invalid="ignore"):
        integers = values.astype(np.int64)
    return integers, (integers == values) & (values >= -(2.0**63)) & (values < 2.0**63)


def kind_of_output(transformer: Any) -> str:
    """Kind of table that `set_output` asked for: "default", "pandas" or "polars"."""
    return str(get_output_config("transform", transformer)["dense"])


class RatingStatistics(NamedTuple):
    """Sum of the weights of ratings, and their weighted mean and variance."""

    weight: float = 0.0
    mean: float = 0.0
    variance: float = 0.0

    @classmethod
    def of(cls, y: np.ndarray, weight: np.ndarray) -> Self:
        """Compute the statistics of ratings; a matrix has NaN for missing ratings."""
        if y.ndim == 2:
            is_rated = ~np.isnan(y)
            y, weight = y[is_rated], np.repeat(weight, is_rated.sum(axis=1))
        mean = np.average(y, weights=weight)
        variance = np.average((y - mean) ** 2, weights=weight)
        return cls(float(weight.sum(dtype=np.float64)), float(mean), float(variance))

    @property
    def scale(self) -> float:
        """Standard deviation, with 1 in place of 0."""
        std = self.variance**0.5
        return std if std >= np.finfo(np.float32).tiny else 1.0  # modules divide in float32

    def pooled(self, other: Self) -> Self:
        """Return the statistics of the ratings of both."""
        weight = self.weight + other.weight
        share = other.weight / weight
        step = other.mean - self.mean
        variance = (1 - share) * self.variance + share * (other.variance + (1 - share) * step**2)
        return self._replace(weight=weight, mean=self.mean + share * step, variance=variance)


STATISTICS = Record(
    {
        "weight": Plain(float, low=np.nextafter(0, 1)),
        "mean": NUMBER,
        "variance": Plain(float, low=0),
    },
    RatingStatistics,
)


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
