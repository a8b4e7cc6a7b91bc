"""Checks of X that all estimators share; the one door to scikit-learn's private names."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Sequence
from numbers import Real
from os import PathLike
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import _fit_context as fit_context
from sklearn.utils import _safe_indexing as take_rows
from sklearn.utils._param_validation import Interval, RealNotInt, StrOptions
from sklearn.utils.validation import (
    _check_feature_names_in as check_feature_names_in,
)
from sklearn.utils.validation import (
    _check_sample_weight as check_sample_weight,
)
from sklearn.utils.validation import check_array, column_or_1d, validate_data

__all__ = [
    "Interval",
    "RealNotInt",
    "StrOptions",
    "check_feature_names_in",
    "check_interactions",
    "check_ratings",
    "check_sample_weight",
    "column_values",
    "fit_context",
    "refuse_too_large",
    "resolve_columns",
    "take_rows",
]

N_NAMES_SHOWN = 20
LARGEST_RATING = 1e18  # its square is still a number in float32


def check_interactions(estimator: Any, X: Any, *, reset: bool, min_features: int = 2) -> Any:
    """Check the shape of X, and set or compare the number and names of its columns.

    The values are not looked at: only the columns in use are, later and one by one.

    Parameters
    ----------
    estimator : estimator instance
        The estimator that was given X; learns or knows `n_features_in_` and
        `feature_names_in_`.
    X : {DataFrame, array-like} of shape (n_samples, n_features)
        The interactions, a row each.
    reset : bool
        True in `fit`, False where X must look as it did in `fit`.
    min_features : int, default=2
        How many columns `fit` needs at least.

    Returns
    -------
    DataFrame or ndarray of shape (n_samples, n_features)
        A DataFrame itself, anything else as an array, not copied where that can be avoided.

    Raises
    ------
    ValueError
        If X is no table, an empty one, or does not look as it did in `fit`.
    TypeError
        If X is sparse, or the path of a file.
    """
    refuse_path(X)
    given = X
    if not reset:
        min_features = 0  # a wrong number of columns has a message of its own below
    if isinstance(X, pd.DataFrame):
        _check_frame_shape(estimator, X, min_features)
    else:
        X = _check_array_shape(estimator, X, min_features)
    validate_data(estimator, given, reset=reset, skip_check_array=True)
    return X


def refuse_path(X: Any) -> None:
    """Raise if X is the path of a file.

    Parameters
    ----------
    X : object
        What was given for a table.

    Raises
    ------
    TypeError
        If it is a path.
    """
    if isinstance(X, str | PathLike):
        raise TypeError(
            f"Expected 2D array, got a path instead: {str(X)!r}. Read the file first, for example "
            "with pandas.read_csv or pandas.read_parquet. To fit an MFRegressor to Parquet files "
            "that do not fit into memory, pass sklrec.datasets.ParquetRatings(path, rating=...)."
        )


def _check_frame_shape(estimator: Any, X: pd.DataFrame, min_features: int) -> None:
    for found, minimum, of_what in (
        (X.shape[0], 1, "sample(s)"),
        (X.shape[1], min_features, "feature(s)"),
    ):
        if found < minimum:
            raise ValueError(
                f"Found array with {found} {of_what} (shape={X.shape}) while a minimum of "
                f"{minimum} is required by {type(estimator).__name__}."
            )


def _check_array_shape(estimator: Any, X: Any, min_features: int) -> np.ndarray:
    options = {
        "ensure_all_finite": False,
        "ensure_min_features": min_features,
        "estimator": estimator,
    }
    array = check_array(X, dtype=None, **options)
    if array.dtype.kind in "US" and not hasattr(X, "dtype"):
        # A list of rows such as ["a", 1]: numpy has turned the numbers into text.
        array = check_array(X, dtype=object, **options)
    return array


def resolve_columns(
    estimator: Any, columns: Sequence[int | str], X: pd.DataFrame | np.ndarray
) -> tuple[int, ...]:
    """Find the positions of columns that are given by position or by name.

    Parameters
    ----------
    estimator : estimator instance
        The estimator, after `check_interactions`: it knows the names of X's columns.
    columns : sequence of int or str
        The wanted columns: positions that count from 0, or names.
    X : DataFrame or ndarray of shape (n_samples, n_features)
        The checked interactions.

    Returns
    -------
    tuple of int
        The positions, in the order of `columns`.

    Raises
    ------
    ValueError
        If X lacks a column, or if two of `columns` are the same one.
    TypeError
        If one of `columns` is neither a position nor a name.
    """
    names = getattr(estimator, "feature_names_in_", None)
    positions = tuple(_resolve_column(column, names, X.shape[1]) for column in columns)
    for k, position in enumerate(positions):
        first = positions.index(position)
        if first < k:
            raise ValueError(
                f"Columns {columns[first]!r} and {columns[k]!r} are one and the same, that at "
                f"position {position} of X. Each must be a column of its own."
            )
    return positions


def _resolve_column(column: Any, names: np.ndarray | None, n_features: int) -> int:
    by_position = f"a position from 0 to {n_features - 1}"
    if isinstance(column, str):
        if names is None:
            raise ValueError(
                f"Column {column!r} was asked for by name, but X has no column names. "
                f"Pass X as a DataFrame whose column names are strings, or give {by_position}."
            )
        found = np.flatnonzero(names == column)
        if len(found) == 0:
            shown = ", ".join(repr(name) for name in names[:N_NAMES_SHOWN])
            more = ", ..." if len(names) > N_NAMES_SHOWN else ""
            raise ValueError(
                f"Column {column!r} was asked for, but X has no column of that name: its columns "
                f"are {shown}{more}. Give one of these names, or {by_position}."
            )
        return int(found[0])
    if isinstance(column, int | np.integer) and not isinstance(column, bool):
        if not 0 <= column < n_features:
            raise ValueError(
                f"Column {column} was asked for, but X has {n_features} columns: give "
                f"{by_position}, or the name of a DataFrame's column."
            )
        return int(column)
    raise TypeError(
        "A column is given by its position (an integer) or by its name (a string), got "
        f"{column!r} of type {type(column).__name__}."
    )


def column_values(X: pd.DataFrame | np.ndarray, position: int) -> Any:
    """Give the values of one column without copying them.

    Parameters
    ----------
    X : DataFrame or ndarray of shape (n_samples, n_features)
        The checked interactions.
    position : int
        The column's position.

    Returns
    -------
    ndarray or ExtensionArray of shape (n_samples,)
        A view where X's memory allows one; an array of pandas for its own dtypes.
    """
    if not isinstance(X, pd.DataFrame):
        return X[:, position]
    column = X.iloc[:, position]
    # numpy dtypes as plain arrays: pandas wraps them otherwise
    return column.to_numpy() if isinstance(column.dtype, np.dtype) else column.array


def check_ratings(estimator: Any, y: Any, *, input_name: str = "y") -> np.ndarray:
    """Check ratings and give them as floats.

    Parameters
    ----------
    estimator : estimator instance
        The estimator, for messages.
    y : array-like of shape (n_samples,)
        The ratings.
    input_name : str, default="y"
        What the caller's user called them.

    Returns
    -------
    ndarray of shape (n_samples,)
        The ratings as float64.

    Raises
    ------
    ValueError
        If there are none, or if they are not finite numbers, and not beyond 1e18, in one column.
    """
    name = type(estimator).__name__
    if y is None:
        raise ValueError(
            f"This {name} estimator requires y to be passed, but the target y is None."
        )
    y = column_or_1d(y, warn=True, input_name=input_name)
    if y.dtype.kind in "mM":
        raise ValueError(
            f"{input_name} holds the ratings for {name} and must be numeric, got {y.dtype}. "
            "Pass the column of ratings."
        )
    if y.dtype.kind not in "biuf":
        y = np.where(pd.isna(y), np.nan, y.astype(object))
        for row, rating in enumerate(y.tolist()):
            if not isinstance(rating, Real):
                raise ValueError(
                    f"{input_name} holds the ratings for {name} and must be numeric, got "
                    f"{rating!r} of type {type(rating).__name__} in row {row}. Convert it first, "
                    "for example with pandas.to_numeric."
                )
    try:
        ratings = check_array(
            y, ensure_2d=False, dtype=np.float64, input_name=input_name, estimator=name
        )
    except ValueError as error:
        bad = np.flatnonzero(~np.isfinite(y.astype(np.float64)))
        if len(bad) == 0:
            raise
        raise ValueError(
            f"{error}\nRatings must be finite numbers, and {len(bad)} of {len(y)} are not, the "
            f"first in row {bad[0]}: drop these rows of X and {input_name}."
        ) from error
    refuse_too_large(ratings, input_name)
    return ratings


def refuse_too_large(ratings: np.ndarray, input_name: str) -> None:
    """Raise if ratings are so large that their errors cannot be told in float32.

    Parameters
    ----------
    ratings : ndarray of shape (n_samples,) or (n_samples, n_outputs)
        The ratings; NaN is none.
    input_name : str
        What the caller's user called them.

    Raises
    ------
    ValueError
        If one is.
    """
    large = ratings[np.abs(ratings) > LARGEST_RATING]
    if len(large):
        raise ValueError(
            f"{input_name} holds ratings of up to {LARGEST_RATING:g} in size, got {large[0]:g}. "
            "Divide them by what makes them small numbers."
        )
