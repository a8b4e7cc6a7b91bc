"""Columns of users and items in tables that no estimator was fitted to."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Sequence
from typing import Any

from sklrec._data.tables import POSITIONS


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
