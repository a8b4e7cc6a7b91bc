"""Side features: what an estimator learns of the columns of X that hold no IDs."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from sklrec._data.checks import column_values, resolve_columns
from sklrec._data.features.columns import (
    LISTS,
    NumericColumn,
    ValuesColumn,
    is_numeric,
    kind_of,
    plain_array,
)


class SideFeatures:
    """Immutable map of X's further columns to the arrays that a network takes.

    Parameters
    ----------
    numeric : sequence of NumericColumn
        Columns of numbers.
    categorical : sequence of ValuesColumn
        Columns of one value in each row.
    multi_valued : sequence of ValuesColumn
        Columns of any number of values in each row.
    """

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
        named = {name: [column.name for column in getattr(self, name)] for name in _GROUPS}
        return f"<SideFeatures {', '.join(f'{k}={v}' for k, v in named.items())}>"

    @property
    def n_values(self) -> int:
        """Number of values of all categorical and multi-valued columns."""
        return sum(len(c.vocabulary) for c in (*self.categorical, *self.multi_valued))

    @classmethod
    def learn(
        cls,
        estimator: Any,
        X: pd.DataFrame | np.ndarray,
        id_positions: Sequence[int],
        *,
        categorical_features: Any = "from_dtype",
        columns: Any = "all",
    ) -> "SideFeatures":
        """Learn all columns but those of IDs.

        Parameters
        ----------
        estimator : estimator instance
            The estimator, after `check_interactions`: it knows the names of X's columns.
        X : DataFrame or ndarray of shape (n_samples, n_features)
            The checked interactions.
        id_positions : sequence of int
            Positions of the columns of IDs.
        categorical_features : "from_dtype" or array-like, default="from_dtype"
            Columns to take as categorical whatever they hold: positions, names or a mask.
        columns : None, "all" or array-like of int or str, default="all"
            Positions or names of the columns to learn.

        Returns
        -------
        SideFeatures
            What was learned.

        Raises
        ------
        ValueError
            If a parameter does not fit X, or a column cannot be used.
        """
        categorical = _resolve_categorical(estimator, categorical_features, X)
        wanted = _resolve_columns(estimator, columns, X, id_positions)
        names = getattr(estimator, "feature_names_in_", range(X.shape[1]))
        groups: dict[str, list[Any]] = {name: [] for name in _GROUPS}
        n_values = 0
        for position in wanted:
            name, values = names[position], column_values(X, position)
            kind = kind_of(plain_array(values, name))
            several = kind == LISTS
            if not several and position not in categorical and is_numeric(values, kind):
                groups["numeric"].append(NumericColumn.learn(name, position, kind, values))
                continue
            column = ValuesColumn.learn(
                name, position, kind, values, n_values, is_multi_valued=several
            )
            n_values += len(column.vocabulary)
            groups["multi_valued" if several else "categorical"].append(column)
        return cls(**groups)

    def extend(self, X: pd.DataFrame | np.ndarray) -> "SideFeatures":
        """Add the values of categorical and multi-valued columns that are new.

        Parameters
        ----------
        X : DataFrame or ndarray of shape (n_samples, n_features)
            More interactions.

        Returns
        -------
        SideFeatures
            One that has them; all else is as it is here.
        """
        n_values = self.n_values
        groups: dict[str, list[Any]] = {"categorical": [], "multi_valued": []}
        for name, columns in groups.items():
            for column in getattr(self, name):
                grown = column.extend(column_values(X, column.position), n_values)
                n_values += len(grown.vocabulary) - len(column.vocabulary)
                columns.append(grown)
        return SideFeatures(self.numeric, **groups)

    def arrays(
        self, X: pd.DataFrame | np.ndarray, rows: slice | np.ndarray = slice(None)
    ) -> dict[str, np.ndarray]:
        """Turn side features into what a network takes.

        Parameters
        ----------
        X : DataFrame or ndarray of shape (n_samples, n_features)
            The checked interactions.
        rows : slice or ndarray of int, default=slice(None)
            Which of their rows.

        Returns
        -------
        dict of str to ndarray
            ``numeric`` of shape (n_rows, n_columns) in float32, ``categorical`` of the same
            shape and ``multi_valued`` of shape (n_rows, n_columns, max_values) in int64; each
            only if there are such columns.
        """
        first_row = (rows.start or 0) if isinstance(rows, slice) else 0
        arrays = {}
        if self.numeric:
            places = [
                c.places(column_values(X, c.position)[rows], first_row) for c in self.numeric
            ]
            arrays["numeric"] = np.stack(places, axis=1).astype(np.float32)
        if self.categorical:
            codes = [
                c.encode(column_values(X, c.position)[rows], first_row) for c in self.categorical
            ]
            arrays["categorical"] = np.stack(codes, axis=1)
        if self.multi_valued:
            codes = [
                c.encode(column_values(X, c.position)[rows], first_row) for c in self.multi_valued
            ]
            width = max(c.shape[1] for c in codes)
            codes = [np.pad(c, [(0, 0), (width - c.shape[1], 0)]) for c in codes]
            arrays["multi_valued"] = np.stack(codes, axis=1)
        return arrays


_GROUPS = ("numeric", "categorical", "multi_valued")


def _resolve_categorical(estimator: Any, features: Any, X: Any) -> set[int]:
    """Positions of the columns that are categorical on demand."""
    if isinstance(features, str):  # "from_dtype"
        return set()
    if np.ndim(features) != 1:
        raise ValueError(
            "categorical_features must be 'from_dtype' or a list of positions, of names or of "
            f"one boolean for each column of X, got {features!r}."
        )
    features = list(features)  # an array of positions and names would be one of names
    if all(isinstance(feature, bool | np.bool_) for feature in features):
        if len(features) != X.shape[1]:
            raise ValueError(
                f"categorical_features, as a mask, must have {X.shape[1]} booleans, one for each "
                f"column of X, got {len(features)}."
            )
        features = np.flatnonzero(features).tolist()
    return set(resolve_columns(estimator, features, X))


def _resolve_columns(
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
