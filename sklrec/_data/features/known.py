"""The latest side features of each user and of each item."""
# SPDX-License-Identifier: BSD-3-Clause

from typing import Any

import numpy as np

from sklrec._data.checks import Table
from sklrec._data.features.blocks import OWNERS, assign_sides
from sklrec._data.features.groups import GROUPS, SideFeatures, pad_left


class KnownFeatures:
    """Immutable tables of side features, with a row for each code of users and of items."""

    def __init__(
        self,
        side_of: dict[Any, str] | None = None,  # 'user', 'item' or 'context' by column name
        of_users: np.ndarray | None = None,  # (n_columns,) of bool, columns by group
        tables: dict[str, dict[str, np.ndarray]] | None = None,  # for each owner; row 0 is missing
    ):
        self.side_of = side_of
        self.of_users = np.zeros(0, bool) if of_users is None else of_users
        self.tables = tables or {side: {} for side in OWNERS}

    def __repr__(self) -> str:
        return f"<KnownFeatures {self.side_of or {}}>"

    def rows(self, side: str, codes: np.ndarray) -> dict[str, np.ndarray]:
        """Side features of users or items, as arrays for a network."""
        return {name: table[codes] for name, table in self.tables[side].items()}

    def extend(
        self, side_features: SideFeatures, X: Table, codes: dict[str, np.ndarray]
    ) -> "KnownFeatures":
        """Learn or replace the side features of users and items; columns keep their side."""
        side_of = self.side_of
        if side_of is None:
            blocks = assign_sides(side_features, X, codes["user"], codes["item"])
            side_of = {name: side for side, block in blocks.items() for name in block.names}
        columns = {name: getattr(side_features, name) for name in GROUPS}
        tables: dict[str, dict[str, np.ndarray]] = {owner: {} for owner in OWNERS}
        for owner, known in self.tables.items():
            of_rows = codes[owner]
            last_codes, from_end = np.unique(of_rows[::-1], return_index=True)
            latest = side_features.arrays(X, len(of_rows) - 1 - from_end)
            for name, values in latest.items():
                is_foreign = [side_of[column.name] != owner for column in columns[name]]
                values[:, is_foreign] = GROUPS[name]
                tables[owner][name] = _updated(known.get(name), last_codes, values, GROUPS[name])
        of_users = [side_of[c.name] == "user" for group in columns.values() for c in group]
        return KnownFeatures(side_of, np.array(of_users, dtype=bool), tables)


def _updated(
    table: np.ndarray | None, codes: np.ndarray, rows: np.ndarray, missing: float
) -> np.ndarray:
    """Copy of a table with the rows of some codes replaced or added."""
    before = np.full((0, *rows.shape[1:]), missing, rows.dtype) if table is None else table
    if rows.ndim > 2:  # multi-valued
        width = max(before.shape[2], rows.shape[2])
        before, rows = pad_left(before, width), pad_left(rows, width)
    n_rows = max(len(before), codes.max(initial=0) + 1)  # row 0 is for unknown IDs
    grown = np.full((n_rows, *rows.shape[1:]), missing, rows.dtype)
    grown[: len(before)] = before
    grown[codes] = rows
    return grown
