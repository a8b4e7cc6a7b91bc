"""Side features: the columns of X that hold no IDs, as arrays for a network."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from sklrec._data.checks import Rows, Table, column_values, resolve_columns
from sklrec._data.features.columns import (
    NumericColumn,
    ValuesColumn,
    as_plain_array,
    column_kind,
    is_numeric,
)

# Arrays of a network and their fill value for missing values.
GROUPS = {"numeric": np.nan, "categorical": 0, "multi_valued": 0}


class SideFeatures:
    """Immutable map of columns of X to the arrays that a network takes."""

    def __init__(
        self,
        numeric: Iterable[NumericColumn] = (),
        categorical: Iterable[ValuesColumn] = (),
        multi_valued: Iterable[ValuesColumn] = (),
    ):
        self.numeric = tuple(numeric)
        self.categorical = tuple(categorical)
        self.multi_valued = tuple(multi_valued)

    def __repr__(self) -> str:
        named = {name: [column.name for column in getattr(self, name)] for name in GROUPS}
        return f"<SideFeatures {', '.join(f'{k}={v}' for k, v in named.items())}>"

    @property
    def n_values(self) -> int:
        """Number of values of all categorical and multi-valued columns."""
        return sum(len(c.vocabulary) for c in (*self.categorical, *self.multi_valued))

    @classmethod
    def learn(
        cls,
        estimator: Any,
        X: Table,
        id_positions: Sequence[int],
        *,
        categorical_features: Any = "from_dtype",
        columns: Any = "all",
        weight: np.ndarray | None = None,  # (n_rows,), 1 if None
    ) -> "SideFeatures":
        """Learn the given columns, or all columns that hold no IDs."""
        categorical = _categorical_positions(estimator, categorical_features, X)
        names = getattr(estimator, "feature_names_in_", range(X.shape[1]))
        groups: dict[str, list[Any]] = {name: [] for name in GROUPS}
        n_values = 0
        for position in _feature_positions(estimator, columns, X, id_positions):
            name, values = names[position], column_values(X, position)
            kind = column_kind(as_plain_array(values, name))
            if position not in categorical and is_numeric(values, kind):
                groups["numeric"].append(NumericColumn.learn(name, position, kind, values, weight))
                continue
            column = ValuesColumn.learn(name, position, kind, values, n_values)
            n_values += len(column.vocabulary)
            groups["multi_valued" if column.is_multi_valued else "categorical"].append(column)
        return cls(**groups)

    def extend(self, X: Table) -> "SideFeatures":
        """Add new values of categorical and multi-valued columns; quantiles stay."""
        n_values = self.n_values
        groups: dict[str, list[Any]] = {"categorical": [], "multi_valued": []}
        for name, columns in groups.items():
            for column in getattr(self, name):
                grown = column.extend(column_values(X, column.position), n_values)
                n_values += len(grown.vocabulary) - len(column.vocabulary)
                columns.append(grown)
        return SideFeatures(self.numeric, **groups)

    def arrays(self, X: Table, rows: Rows = slice(None)) -> dict[str, np.ndarray]:
        """Arrays (n_rows, n_columns[, max_values]) of the groups that have columns."""
        first_row = (rows.start or 0) if isinstance(rows, slice) else 0
        arrays = {}
        for name in GROUPS:
            encoded = [
                column.encode(column_values(X, column.position)[rows], first_row)
                for column in getattr(self, name)
            ]
            if name == "multi_valued" and encoded:
                width = max(codes.shape[1] for codes in encoded)
                encoded = [pad_left(codes, width) for codes in encoded]
            if encoded:
                dtype = np.float32 if name == "numeric" else np.int64
                arrays[name] = np.stack(encoded, axis=1).astype(dtype, copy=False)
        return arrays


def pad_left(codes: np.ndarray, width: int) -> np.ndarray:
    """Codes with zeros before those of the last axis."""
    padding = [(0, 0)] * (codes.ndim - 1)
    return np.pad(codes, [*padding, (width - codes.shape[-1], 0)])


def _categorical_positions(estimator: Any, features: Any, X: Any) -> set[int]:
    """Positions of the columns to read as categorical, whatever they hold."""
    if isinstance(features, str):  # "from_dtype"
        return set()
    if np.ndim(features) != 1:
        raise ValueError(
            "categorical_features must be 'from_dtype' or a list of positions, of names or of "
            f"one boolean for each column of X, got {features!r}."
        )
    features = list(features)  # np.asarray would turn positions beside names into names
    if all(isinstance(feature, bool | np.bool_) for feature in features):
        if len(features) != X.shape[1]:
            raise ValueError(
                f"categorical_features, as a mask, must have {X.shape[1]} booleans, one for each "
                f"column of X, got {len(features)}."
            )
        features = np.flatnonzero(features).tolist()
    return set(resolve_columns(estimator, features, X))


def _feature_positions(
    estimator: Any, columns: Any, X: Any, id_positions: Sequence[int]
) -> list[int]:
    """Positions of the columns of side features, in increasing order."""
    if columns is None:
        return []
    if isinstance(columns, str):  # "all"
        return [position for position in range(X.shape[1]) if position not in id_positions]
    positions = resolve_columns(estimator, list(columns), X)
    for column, position in zip(columns, positions, strict=True):
        if position in id_positions:
            raise ValueError(
                f"side_features names column {column!r}, which holds the IDs of users or items. "
                "Name other columns."
            )
    return sorted(set(positions))
