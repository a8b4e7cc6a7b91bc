"""Columns of users and items that no parameter names."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Sequence
from typing import Any

import pandas as pd

from sklrec._data.tables import POSITIONS, Table, column_values, hint_about_wide_tables
from sklrec._utils.warnings import warn

# Share of zeros in both columns of IDs from which a table seems to have a column for each item.
SHARE_OF_ZEROS = 1 / 3


def pair_positions(
    names: Sequence[Any], table: str, wanted: Sequence[Any] = ()
) -> tuple[int, int]:
    """Positions of users and items in a table of pairs, which messages call `table`.

    The columns have the names `wanted`, or the names user and item, or are the first two.
    """
    names = list(names)
    for pair in (list(wanted), list(POSITIONS)):
        present = [name for name in pair if isinstance(name, str) and name in names]
        if not present:
            continue
        wrong = [name for name in pair if names.count(name) != 1]
        if wrong:
            raise ValueError(
                f"{table} must have one column {wrong[0]!r}, but its columns are {names}. "
                "Rename or add it."
            )
        return names.index(pair[0]), names.index(pair[1])
    if len(names) < 2 or {"rank", "score"} & set(names[:2]):
        user, item = wanted or POSITIONS
        raise ValueError(
            f"{table} must have a column of users and a column of items, named {user!r} and "
            f"{item!r} or in the first two places, but its columns are {names}. Rename or reorder "
            "them."
        )
    return 0, 1


def warn_of_wide_table(X: Table) -> None:
    """Warn if the first two columns, read as IDs, seem to hold counts or ratings of two items."""
    if X.shape[1] < 3:
        return
    values = [column_values(X, k) for k in POSITIONS.values()]
    columns = [pd.Series(found, dtype=found.dtype) for found in values]
    if all(v.dtype.kind in "biuf" and v.eq(0).sum() > SHARE_OF_ZEROS * len(v) for v in columns):
        warn(
            "The first two columns of X were read as the IDs of users and items, and both are 0 "
            f"in more than a third of the rows. {hint_about_wide_tables()} If they do hold IDs, "
            "give their positions or names as user= and item=."
        )
