"""Side features of users, of items and of single ratings, as rows of a table with weights."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Iterable
from itertools import accumulate

import numpy as np

from sklrec._data.checks import Rows, Table, column_values
from sklrec._data.features.columns import NumericColumn, ValuesColumn
from sklrec._data.features.groups import SideFeatures

Column = NumericColumn | ValuesColumn
OWNERS = ("user", "item")
SIDES = (*OWNERS, "context")


class SideBlock:
    """Immutable map of columns to rows of a table, with weights.

    The first row of each column stands for missing and unknown values. A category has one row,
    the values of a multi-valued cell share a weight, and a number lies between the rows of two
    quantiles.
    """

    def __init__(self, columns: Iterable[Column] = ()):
        self.columns = tuple(columns)
        self.names = [column.name for column in self.columns]
        self.sizes = [
            1 + len(c.edges if isinstance(c, NumericColumn) else c.vocabulary)
            for c in self.columns
        ]
        self._starts = list(accumulate(self.sizes, initial=0))

    def __repr__(self) -> str:
        return f"<SideBlock {self.names}>"

    def arrays(self, X: Table, rows: Rows = slice(None)) -> tuple[np.ndarray, np.ndarray]:
        """Rows of the table for each row of X, and their weights, both (n_rows, n)."""
        found = [
            encode(column, X, rows, start)
            for column, start in zip(self.columns, self._starts[:-1], strict=True)
        ]
        n_rows = len(column_values(X, 0)[rows])
        values = [np.zeros((n_rows, 0), np.int64), *(values for values, _ in found)]
        weights = [np.zeros((n_rows, 0), np.float32), *(weights for _, weights in found)]
        return np.concatenate(values, axis=1), np.concatenate(weights, axis=1)


def encode(column: Column, X: Table, rows: Rows, start: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the table for the cells of a column, and their float32 weights, both (n_rows, n)."""
    cells = column_values(X, column.position)[rows]
    first_row = (rows.start or 0) if isinstance(rows, slice) else 0
    if isinstance(column, NumericColumn):
        positions = column.encode(cells, first_row) + (len(column.edges) - 1) / 2
        # A column that was empty in `fit` has no scale for later numbers.
        missing = np.isnan(positions) | (column.kind is None)
        low = np.where(missing, 0, np.floor(positions)).clip(0, max(0, len(column.edges) - 2))
        share = np.where(missing, 0, positions - low)
        values = np.stack([low + 1, (low + 2).clip(max=len(column.edges))], axis=1)
        values[missing] = 0
        weights = np.stack([1 - share, share], axis=1)
        return start + values.astype(np.int64), weights.astype(np.float32)
    codes = column.encode(cells, first_row)
    before = int(column.codes[1]) - 1 if len(column.codes) > 1 else 0
    values = np.where(codes > 0, codes - before, 0)
    if not column.is_multi_valued:
        return start + values[:, np.newaxis], np.ones((len(values), 1), np.float32)
    is_first = values > 0
    is_first[:, 1:] &= values[:, 1:] != values[:, :-1]  # rows are sorted; a repetition counts once
    n_values = is_first.sum(1, keepdims=True)
    is_first[:, -1] |= n_values[:, 0] == 0  # an empty row has one missing value
    weights = is_first / np.sqrt(n_values.clip(min=1))
    return start + values, weights.astype(np.float32)


def assign_sides(
    side_features: SideFeatures, X: Table, users: np.ndarray, items: np.ndarray
) -> dict[str, SideBlock]:
    """Assign columns to users or items if constant in all rows of each, else to the context."""
    columns = side_features.numeric + side_features.categorical + side_features.multi_valued
    first = {"user": first_rows(users), "item": first_rows(items)}
    found: dict[str, list[Column]] = {side: [] for side in SIDES}
    for column in sorted(columns, key=lambda column: column.position):
        encoded = encode(column, X, slice(None))
        sides = [s for s, row in first.items() if all((a[row] == a).all() for a in encoded)]
        found[[*sides, "context"][0]].append(column)
    return {side: SideBlock(columns) for side, columns in found.items()}


def first_rows(codes: np.ndarray) -> np.ndarray:
    """First row with the same code, for each row."""
    first, inverse = np.unique(codes, return_index=True, return_inverse=True)[1:]
    return first[inverse]
