"""Side features by what they belong to: the user, the item or the rating."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Iterable
from itertools import accumulate
from typing import Any

import numpy as np
import pandas as pd

from sklrec._data.checks import column_values
from sklrec._data.features.columns import NumericColumn, ValuesColumn
from sklrec._data.features.groups import SideFeatures

Column = NumericColumn | ValuesColumn
OWNERS = ("user", "item")
SIDES = (*OWNERS, "context")
# How many different numbers there are between two quantiles: rows that are alike need to be
# sampled but once.
STEPS = 8


class SideBlock:
    """Immutable map of some columns to rows of a table of values, with weights.

    A category has a row of its own, several values in one cell share out a weight, and a number
    is between the rows of two quantiles. The first row of each column is for what is missing
    and for what `fit` did not see.

    Parameters
    ----------
    columns : iterable of NumericColumn or ValuesColumn
        The columns.

    Attributes
    ----------
    names : list of int or str
        What the columns are called.
    sizes : list of int
        How many rows of the table each column has.
    """

    def __init__(self, columns: Iterable[Column] = ()):
        self.columns = tuple(columns)
        self.names = [column.name for column in self.columns]
        self.sizes = [_size(column) for column in self.columns]
        self._starts = list(accumulate(self.sizes, initial=0))

    def __repr__(self) -> str:
        return f"<SideBlock {self.names}>"

    def arrays(
        self, X: pd.DataFrame | np.ndarray, rows: slice | np.ndarray = slice(None)
    ) -> tuple[np.ndarray, np.ndarray]:
        """Look up the rows of the table that rows of X have, and their weights.

        Parameters
        ----------
        X : DataFrame or ndarray of shape (n_samples, n_features)
            The checked interactions.
        rows : slice or ndarray of int, default=slice(None)
            Which of their rows.

        Returns
        -------
        values : ndarray of shape (n_rows, n)
            Rows of the table.
        weights : ndarray of shape (n_rows, n)
            What they are multiplied by in float32, 0 for padding.
        """
        found = [
            encode(column, X, rows, start)
            for column, start in zip(self.columns, self._starts, strict=False)
        ]
        n_rows = len(column_values(X, 0)[rows])
        values = [np.zeros((n_rows, 0), np.int64), *(values for values, _ in found)]
        weights = [np.zeros((n_rows, 0), np.float32), *(weights for _, weights in found)]
        return np.concatenate(values, axis=1), np.concatenate(weights, axis=1)


def encode(
    column: Column, X: Any, rows: slice | np.ndarray, start: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Look up the rows of a table that a column's cells have, and their weights.

    Parameters
    ----------
    column : NumericColumn or ValuesColumn
        The column.
    X : DataFrame or ndarray of shape (n_samples, n_features)
        The checked interactions.
    rows : slice or ndarray of int
        Which of their rows.
    start : int, default=0
        Where the column's rows of the table start.

    Returns
    -------
    values : ndarray of shape (n_rows, n)
        Rows of the table.
    weights : ndarray of shape (n_rows, n)
        Their weights, in float32.
    """
    cells = column_values(X, column.position)[rows]
    first_row = (rows.start or 0) if isinstance(rows, slice) else 0
    if isinstance(column, NumericColumn):
        places = column.places(cells, first_row) + (len(column.edges) - 1) / 2
        # Of a column that `fit` saw nothing of, no number means anything.
        missing = np.isnan(places) | (column.kind is None)
        low = np.where(missing, 0, np.floor(places)).clip(0, max(0, len(column.edges) - 2))
        share = np.where(missing, 0, np.round((places - low) * STEPS) / STEPS)
        values = np.stack([low + 1, (low + 2).clip(max=len(column.edges))], axis=1).astype(
            np.int64
        )
        values[missing] = 0
        weights = np.stack([1 - share, share], axis=1)
        return start + values, weights.astype(np.float32)
    codes = column.encode(cells, first_row)
    before = int(column.codes[1]) - 1 if len(column.codes) > 1 else 0
    values = np.where(codes > 0, codes - before, 0)
    if not column.is_multi_valued:
        return start + values[:, np.newaxis], np.ones((len(values), 1), np.float32)
    there = values > 0
    there[:, 1:] &= values[:, 1:] != values[:, :-1]  # they are sorted; each counts once
    n_there = there.sum(1, keepdims=True)
    # Where there is none, one cell stands for that.
    there[:, -1] |= n_there[:, 0] == 0
    weights = there / np.sqrt(n_there.clip(min=1))
    return start + values, weights.astype(np.float32)


def assign_sides(
    side_features: SideFeatures,
    X: pd.DataFrame | np.ndarray,
    users: np.ndarray,
    items: np.ndarray,
) -> dict[str, SideBlock]:
    """Find out whether columns belong to users, to items or to ratings.

    Parameters
    ----------
    side_features : SideFeatures
        The columns.
    X : DataFrame or ndarray of shape (n_samples, n_features)
        The checked interactions of the training.
    users : ndarray of shape (n_samples,)
        Codes of their users.
    items : ndarray of shape (n_samples,)
        Codes of their items.

    Returns
    -------
    dict of str to SideBlock
        The columns that are the same in all rows of a user, of the others those that are the
        same in all rows of an item, and the rest as ``'context'``.
    """
    columns = side_features.numeric + side_features.categorical + side_features.multi_valued
    first = {side: first_rows(codes) for side, codes in (("user", users), ("item", items))}
    found: dict[str, list[Column]] = {side: [] for side in SIDES}
    for column in sorted(columns, key=lambda column: column.position):
        values, weights = encode(column, X, slice(None))
        side = next(
            (
                side
                for side, of_row in first.items()
                if (values[of_row] == values).all() and (weights[of_row] == weights).all()
            ),
            "context",
        )
        found[side].append(column)
    return {side: SideBlock(columns) for side, columns in found.items()}


def first_rows(codes: np.ndarray) -> np.ndarray:
    """Find the first row that has the same code.

    Parameters
    ----------
    codes : ndarray of shape (n_samples,)
        The codes.

    Returns
    -------
    ndarray of shape (n_samples,)
        The row, for each row.
    """
    first, inverse = np.unique(codes, return_index=True, return_inverse=True)[1:]
    return first[inverse]


def _size(column: Column) -> int:
    if isinstance(column, NumericColumn):
        return 1 + len(column.edges)
    return 1 + len(column.vocabulary)
