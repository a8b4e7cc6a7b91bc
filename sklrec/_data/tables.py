"""Tables of every kind: their columns as arrays, and the roles of the columns."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import Any, TypeAlias

import narwhals.stable.v2 as nw
import numpy as np
import pandas as pd
from pandas.api.extensions import ExtensionArray
from scipy.sparse import issparse
from sklearn.utils.validation import check_array, validate_data

N_NAMES_SHOWN = 20
LARGEST_FLOAT_CODE = 2.0**53  # floats represent all integers up to here
# Positions of users and items in tables without columns of these names.
POSITIONS = {"user": 0, "item": 1}
# Methods that turn lazy tables into tables with rows.
_COLLECT = {nw.Implementation.DUCKDB: ".pl() or .df()", nw.Implementation.DASK: ".compute()"}
_WIDE = (
    "If X has a row for each user and a column for each item, call sklrec.datasets."
    "{function}(X) first, which returns X with a row for each rating, and y."
)


class Frame:
    """A table with named columns of different types, each converted when it is first read."""

    def __init__(
        self,
        native: Any,  # the table, of any library
        names: Sequence[Any],
        n_rows: int,
        get: Callable[[int], Any],  # gives the column at a position
        rows: np.ndarray | None = None,  # positions of the rows to keep, all if None
    ):
        self.native, self.names, self.shape = native, list(names), (n_rows, len(names))
        self._get, self._rows = get, rows
        self._columns: dict[int, Any] = {}

    def __len__(self) -> int:
        return self.shape[0]

    def column(self, position: int) -> Any:
        """Values of a column, as an array of NumPy or pandas."""
        if position not in self._columns:
            values = as_column(self._get(position))
            self._columns[position] = values if self._rows is None else values[self._rows]
        return self._columns[position]

    def take(self, rows: Any) -> "Frame":
        """Frame of some rows, given as a slice, a mask or positions."""
        rows = np.arange(len(self))[rows] if self._rows is None else self._rows[rows]
        return Frame(self.native, self.names, len(rows), self._get, rows)


Table: TypeAlias = Frame | np.ndarray  # checked interactions, (n_samples, n_features)
Rows: TypeAlias = slice | np.ndarray  # some rows of a table


def read_table(X: Any) -> Any:
    """Frame of a table with columns, and anything else as it is; raise for what has no rows."""
    _check_not_path(X)
    native = unmasked(nw.to_native(X, pass_through=True))
    if isinstance(native, np.ndarray | list | tuple | Frame):
        return native
    if isinstance(native, pd.DataFrame):
        return Frame(native, native.columns, len(native), lambda k: native.iloc[:, k])
    if issparse(native):
        raise TypeError(
            "Sparse data was passed, but a table was expected that has a row for each rating. "
            + _WIDE.format(function="interactions_from_matrix")
        )
    given = nw.from_native(native, pass_through=True)
    if given is native and hasattr(native, "__arrow_c_array__") and hasattr(native, "schema"):
        from pyarrow import table

        native = table(native)  # narwhals does not read a RecordBatch
        given = nw.from_native(native)
    if isinstance(given, nw.LazyFrame):
        collect = _COLLECT.get(given.implementation, ".collect()")
        raise TypeError(
            f"A table with rows was expected, got a {type(native).__name__}, which is a query "
            f"that has not run. Call {collect} first, and pass the result."
        )
    if isinstance(given, nw.DataFrame):
        names = given.columns
        return Frame(native, names, len(given), lambda k: given.get_column(names[k]))
    return native


def as_column(values: Any) -> Any:
    """Array of NumPy or pandas of a column or a list, in which no value is changed."""
    if isinstance(values, Sequence) and not isinstance(values, str | bytes):
        values = _index_of(values)
    if isinstance(values, pd.Series | pd.Index):
        is_numpy = isinstance(values.dtype, np.dtype)
        values = values.to_numpy() if is_numpy else values.array
    values = unmasked(values)
    if isinstance(values, np.ndarray):
        dtype = values.dtype
        if dtype.kind == "T":  # strings of any length, which other libraries do not read
            return values.astype(object)
        return values if dtype.isnative else values.astype(dtype.newbyteorder("="))
    if isinstance(values, ExtensionArray):
        if isinstance(values.dtype, pd.SparseDtype):
            return np.asarray(values)
        if type(values) is pd.arrays.NumpyExtensionArray:  # a base class of strings in pandas 2
            return values.to_numpy()
        if not isinstance(values.dtype, pd.ArrowDtype):
            return values
        values = pd.Series(values)
    values = nw.to_native(values, pass_through=True)
    series = nw.from_native(values, series_only=True, pass_through=True)
    if not isinstance(series, nw.Series) and hasattr(values, "__arrow_c_array__"):
        from pyarrow import chunked_array  # narwhals does not read an Array

        series = nw.from_native(chunked_array([values]), series_only=True)
    return _typed(series) if isinstance(series, nw.Series) else values


def _index_of(values: Any) -> pd.Index:
    """Index of a list, in which no value is changed."""
    try:
        index = pd.Index(values, tupleize_cols=False)
    except UnicodeEncodeError:  # pandas' strings cannot hold half of a surrogate pair
        return pd.Index(values, dtype=object, tupleize_cols=False)
    if _is_rounded(index):
        return pd.Index(values, dtype=object, tupleize_cols=False)
    return index


def _is_rounded(floats: Any) -> bool:
    """Whether floats may have been integers that they cannot represent."""
    return floats.dtype.kind == "f" and bool((np.abs(floats) >= LARGEST_FLOAT_CODE).any())


def _typed(series: nw.Series[Any]) -> Any:
    """Array of a column that is not of pandas, or is stored by pyarrow."""
    dtype = series.dtype
    if isinstance(dtype, nw.Boolean | nw.dtypes.IntegerType) and not isinstance(
        dtype, nw.Int128 | nw.UInt128
    ):
        missing = series.is_null().to_numpy()
        if not missing.any():
            return series.to_numpy()
        if isinstance(dtype, nw.Boolean):
            return pd.arrays.BooleanArray(series.fill_null(False).to_numpy().astype(bool), missing)
        numbers = series.fill_null(0).to_numpy()
        return pd.arrays.IntegerArray(numbers.copy(), missing)
    if dtype.is_float() or isinstance(dtype, nw.Duration):
        return series.to_numpy()
    if isinstance(dtype, nw.String | nw.Categorical | nw.Enum):
        return _texts(series)
    if isinstance(dtype, nw.Date):
        return series.to_numpy().astype("datetime64[s]")  # the coarsest unit of pandas
    if isinstance(dtype, nw.Datetime):
        if dtype.time_zone is None:
            return series.to_numpy()
        utc = series.dt.convert_time_zone("UTC").dt.replace_time_zone(None).to_numpy()
        return pd.DatetimeIndex(utc, tz="UTC").tz_convert(dtype.time_zone).array
    return np.fromiter(series.to_list(), object, len(series))


def _texts(series: nw.Series[Any]) -> Any:
    """Strings or categories as an array of pandas, which pyarrow makes faster."""
    try:
        arrow = series.to_arrow()
    except ImportError:
        return as_column(series.cast(nw.String()).to_list())
    if isinstance(series.dtype, nw.String):
        return as_column(arrow.to_pandas())
    from pyarrow import dictionary, int64  # pyarrow 20 does not convert unsigned codes

    return as_column(arrow.cast(dictionary(int64(), arrow.type.value_type)).to_pandas())


def unmasked(values: Any) -> Any:
    """Values with None in place of those that a masked array of NumPy hides."""
    if not isinstance(values, np.ma.MaskedArray):
        return values
    if not np.ma.is_masked(values):
        return values.data
    objects = values.data.astype(object)
    objects[np.ma.getmaskarray(values)] = None
    return objects


def _check_not_path(X: Any) -> None:
    """Raise if X is the path of a file."""
    if isinstance(X, str | PathLike):
        raise TypeError(
            f"Expected 2D array, got a path instead: {str(X)!r}. Read the file first, for example "
            "with pandas.read_csv or pandas.read_parquet. To fit an MFRegressor to Parquet files "
            "that do not fit into memory, pass sklrec.datasets.ParquetRatings(path, rating=...)."
        )


def check_interactions(estimator: Any, X: Any, *, reset: bool, min_features: int = 2) -> Table:
    """Check the shape of X, and set or compare the number and names of its columns."""
    checked = read_table(X)
    # When `reset` is false, `validate_data` reports a wrong number of columns.
    min_features = min_features if reset else 0
    if isinstance(checked, Frame):
        _check_frame_shape(estimator, checked, min_features)
    else:
        checked = _as_array(estimator, checked, min_features)
    native = checked.native if isinstance(checked, Frame) else checked
    validate_data(estimator, native, reset=reset, skip_check_array=True)
    return checked


def _check_frame_shape(estimator: Any, X: Frame, min_features: int) -> None:
    for n, minimum, unit in zip(X.shape, (1, min_features), ("sample", "feature"), strict=True):
        if n < minimum:
            raise ValueError(
                f"Found array with {n} {unit}(s) (shape={X.shape}) while a minimum of "
                f"{minimum} is required by {type(estimator).__name__}."
            )
    repeated = pd.Index(X.names, dtype=object, tupleize_cols=False).duplicated()
    if repeated.any():
        raise ValueError(
            f"X has several columns named {X.names[repeated.argmax()]!r}. Rename or drop them, so "
            "that each name stands for one column."
        )


def check_two_dimensional(X: Any) -> None:
    """Raise if X is a Series or a dict."""
    if isinstance(X, pd.Series):
        raise ValueError(
            "Expected 2D array, got a Series, which is one column or one row. Pass a DataFrame: "
            "several columns such as X[['user', 'item']], or one row such as X.iloc[[0]]."
        )
    if isinstance(X, Mapping):
        raise TypeError(
            f"Expected 2D array, got a {type(X).__name__}. Pass pandas.DataFrame(X) if it "
            "has a list for each column, and pandas.DataFrame([X]) if it has one value for each."
        )


def _as_array(estimator: Any, X: Any, min_features: int) -> np.ndarray:
    check_two_dimensional(X)
    options = {
        "ensure_all_finite": False,
        "ensure_min_features": min_features,
        "estimator": estimator,
    }
    array = check_array(X, dtype=None, **options)
    # NumPy turns the numbers in a list of rows such as ["a", 1] into text, and large integers
    # beside floats into floats.
    if not hasattr(X, "dtype") and (array.dtype.kind in "US" or _is_rounded(array)):
        array = check_array(X, dtype=object, **options)
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def hint_about_wide_tables() -> str:
    """Advice for those who pass a table with a column for each item."""
    return _WIDE.format(function="interactions_from_wide")


def as_pandas(table: Any) -> pd.DataFrame:
    """DataFrame of a table with columns, in which no value is changed."""
    frame = read_table(table)
    # The index of pandas, which files may store, is a column like any other.
    columns = {name: frame.column(k) for k, name in enumerate(frame.names)}
    return pd.DataFrame(columns, copy=False)


def take_rows(X: Table, rows: Rows) -> Table:
    """Some rows of checked interactions."""
    return X.take(rows) if isinstance(X, Frame) else X[rows]


def column_values(X: Table, position: int) -> Any:
    """Values of one column, not copied if possible."""
    return X.column(position) if isinstance(X, Frame) else X[:, position]


def named_column(estimator: Any, X: Table, position: int) -> tuple[Any, int | str]:
    """Values and name of one column."""
    names = getattr(estimator, "feature_names_in_", range(X.shape[1]))
    return column_values(X, position), names[position]


def resolve_sides(estimator: Any, X: Table, **sides: int | str) -> tuple[int, ...]:
    """Positions of the columns of users and items (or one of them); "auto" looks for names."""
    names = list(getattr(estimator, "feature_names_in_", ()))
    present = [side for side in POSITIONS if side in names]
    columns: list[int | str] = []
    for side, column in sides.items():
        if isinstance(column, str) and column == "auto":
            if present and side not in present:
                raise ValueError(
                    f"{side}='auto' looks for the columns 'user' and 'item', and X has only "
                    f"{present[0]!r}: its columns are {listed(names)}. Give {side}= the name of "
                    f"the column of {side}s."
                )
            column = side if present else POSITIONS[side]
        columns.append(column)
    return resolve_columns(estimator, columns, X)


def resolve_columns(estimator: Any, columns: Sequence[int | str], X: Table) -> tuple[int, ...]:
    """Positions of columns that are given by position or by name."""
    names = getattr(estimator, "feature_names_in_", None)
    positions = tuple(_resolve_column(column, names, X.shape[1]) for column in columns)
    for k, position in enumerate(positions):
        first = positions.index(position)
        if first < k:
            raise ValueError(
                f"Columns {columns[first]!r} and {columns[k]!r} are one and the same, at "
                f"position {position} of X. Give different columns."
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
            raise ValueError(
                f"Column {column!r} was asked for, but X has no column of that name: its columns "
                f"are {listed(names)}. Give one of these names, or {by_position}."
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


def listed(names: Sequence[str] | np.ndarray) -> str:
    """Names of columns, for messages."""
    more = ", ..." if len(names) > N_NAMES_SHOWN else ""
    return ", ".join(map(repr, names[:N_NAMES_SHOWN])) + more
