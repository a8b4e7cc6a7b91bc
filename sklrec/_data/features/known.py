"""What was last seen of users' and of items' side features."""
# SPDX-License-Identifier: BSD-3-Clause

from typing import Any

import numpy as np
import pandas as pd

from sklrec._data.features.blocks import OWNERS, assign_sides
from sklrec._data.features.groups import SideFeatures

# What stands for nothing in the arrays of each kind of columns.
_MISSING = {"numeric": np.nan, "categorical": 0, "multi_valued": 0}


class KnownFeatures:
    """Immutable tables of side features, a row for each code of users and of items.

    Parameters
    ----------
    side_of : dict of str to str, default=None
        For each column, by its name: ``'user'``, ``'item'`` or ``'context'``.
    of_users : ndarray of shape (n_columns,), default=None
        Which columns are users', numeric ones first and multi-valued ones last.
    tables : dict of str to dict of str to ndarray, default=None
        For users and for items, what `SideFeatures.arrays` gives; row 0 is all missing, and so
        are the columns of the other side.
    """

    def __init__(
        self,
        side_of: dict[Any, str] | None = None,
        of_users: np.ndarray | None = None,
        tables: dict[str, dict[str, np.ndarray]] | None = None,
    ):
        self.side_of = side_of
        self.of_users = np.zeros(0, bool) if of_users is None else of_users
        self.tables = tables or {side: {} for side in OWNERS}

    def __repr__(self) -> str:
        return f"<KnownFeatures {self.side_of or {}}>"

    def rows(self, side: str, codes: np.ndarray) -> dict[str, np.ndarray]:
        """Look up the side features of some users or items.

        Parameters
        ----------
        side : {'user', 'item'}
            Which side.
        codes : ndarray of shape (n,)
            Their codes.

        Returns
        -------
        dict of str to ndarray
            What a network takes, the columns of the other side as missing.
        """
        return {name: table[codes] for name, table in self.tables[side].items()}

    def extend(
        self,
        side_features: SideFeatures,
        X: pd.DataFrame | np.ndarray,
        codes: dict[str, np.ndarray],
    ) -> "KnownFeatures":
        """Learn, or replace, what is known of the users and items of some interactions.

        Parameters
        ----------
        side_features : SideFeatures
            The columns.
        X : DataFrame or ndarray of shape (n_samples, n_features)
            The checked interactions.
        codes : dict of str to ndarray of shape (n_samples,)
            Their codes of users and of items.

        Returns
        -------
        KnownFeatures
            What is known afterwards. Whose a column is stays as it was learned first.
        """
        side_of = self.side_of
        if side_of is None:
            blocks = assign_sides(side_features, X, codes["user"], codes["item"])
            side_of = {name: side for side, block in blocks.items() for name in block.names}
        groups = {name: getattr(side_features, name) for name in _MISSING}
        tables: dict[str, dict[str, np.ndarray]] = {}
        for side in OWNERS:
            # the last row of each code
            there, last = np.unique(codes[side][::-1], return_index=True)
            found = side_features.arrays(X, len(codes[side]) - 1 - last)
            tables[side] = {}
            for name, values in found.items():
                foreign = [side_of[column.name] != side for column in groups[name]]
                values[:, foreign] = _MISSING[name]
                before = self.tables[side].get(name)
                tables[side][name] = _updated(before, there, values, _MISSING[name])
        columns = [column for group in groups.values() for column in group]
        of_users = np.array([side_of[column.name] == "user" for column in columns], dtype=bool)
        return KnownFeatures(side_of, of_users, tables)


def _updated(
    table: np.ndarray | None, codes: np.ndarray, rows: np.ndarray, missing: float
) -> np.ndarray:
    """A copy of a table with some rows replaced, grown where it has to be."""
    before = np.full((0, *rows.shape[1:]), missing, rows.dtype) if table is None else table
    if rows.ndim > 2:  # multi-valued cells can be wider than before, or less wide
        width = max(before.shape[2], rows.shape[2])
        before, rows = (
            np.pad(values, [(0, 0), (0, 0), (width - values.shape[2], 0)])
            for values in (before, rows)
        )
    n_rows = max(len(before), codes.max(initial=0) + 1)  # row 0 is of the unknown
    grown = np.full((n_rows, *rows.shape[1:]), missing, rows.dtype)
    grown[: len(before)] = before
    grown[codes] = rows
    return grown
