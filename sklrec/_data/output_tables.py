"""Tables that transformers return, of the kind that they were given."""
# SPDX-License-Identifier: BSD-3-Clause

from typing import Any

import narwhals.stable.v2 as nw
import numpy as np
import pandas as pd

from sklrec._data.tables import Frame, Table, as_column, column_values


def with_columns(X: Table, replaced: dict[int, Any], kind: str) -> Any:
    """Copy of a table with other columns: of its own kind, or of "pandas" or "polars"."""
    native = X.native if isinstance(X, Frame) else X
    if isinstance(native, pd.DataFrame):
        native = native.copy(deep=False)
        for position, values in replaced.items():
            # Without a dtype, pandas would convert objects.
            column = pd.Series(values, index=native.index, dtype=values.dtype, copy=False)
            native.isetitem(position, column)
        return native
    table = nw.from_native(native, pass_through=True)
    if isinstance(table, nw.DataFrame) and kind in ("default", table.implementation.value):
        changed = [
            nw.new_series(table.columns[k], _without_nan(values), backend=table.implementation)
            for k, values in replaced.items()
        ]
        return table.with_columns(*changed).to_native()
    if kind == "default" and not isinstance(X, Frame):
        untouched = [X[:0]] if len(replaced) < X.shape[1] else []
        out = np.empty(X.shape, dtype=_common_dtype([*replaced.values(), *untouched]))
        for position in range(X.shape[1]):
            out[:, position] = replaced.get(position, X[:, position])
        return out
    columns = {str(k): column_values(X, k) for k in range(X.shape[1]) if k not in replaced}
    columns = {name: pd.Series(values).infer_objects() for name, values in columns.items()}
    columns = {str(k): columns.get(str(k), replaced.get(k)) for k in range(X.shape[1])}
    if kind == "pandas":
        return pd.DataFrame(columns)
    lists = {name: _without_nan(as_column(values)) for name, values in columns.items()}
    return nw.from_dict(lists, backend="polars").to_native()


def _without_nan(values: Any) -> Any:
    """Numbers of a column as an array, and other values as a list with None for missing ones."""
    if isinstance(values, np.ndarray) and values.dtype.kind in "biuf":
        return values
    objects = pd.Series(values, dtype=values.dtype).astype(object)
    return objects.where(objects.notna(), None).tolist()


def _common_dtype(columns: list[Any]) -> np.dtype:
    """Dtype that keeps the values of all columns."""
    dtypes = [column.dtype for column in columns]
    kinds = {dtype.kind for dtype in dtypes}
    is_common = len(kinds) == 1 or kinds <= set("bif")
    if is_common and all(isinstance(dtype, np.dtype) for dtype in dtypes):
        return np.result_type(*dtypes)
    return np.dtype(object)
