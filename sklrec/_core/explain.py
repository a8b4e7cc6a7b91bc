"""Explanations of scores by the interactions of a user."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from sklrec._core.choices import read_ids
from sklrec._core.recommend import as_frame, names_of_ids

COLUMNS = ["kind", "rating", "contribution"]


class Contributions(NamedTuple):
    """Parts of the scores of one user for some items, in units of the scores."""

    constants: dict[str, np.ndarray]  # (n_items,) of each kind that is no interaction
    interactions: np.ndarray  # (n_interactions,), codes of the items that the user had
    values: np.ndarray  # (n_interactions, n_items)
    ratings: np.ndarray | None = None  # (n_interactions,)


def explained(
    model: Any,
    users: Any,
    items: Any,
    contributions: Callable[[Any, int, np.ndarray], Contributions],  # of a user, by codes
) -> pd.DataFrame:
    """Make the table of the contributions to the scores of pairs of a user and an item."""
    users, items = read_ids(users, "users"), read_ids(items, "items")
    if len(users) != len(items):
        raise ValueError(
            f"explain takes pairs: users and items must have the same length, got {len(users)} "
            f"and {len(items)}. For one user, pass [user] * len(items)."
        )
    vocabularies, codes = model.encoder_.vocabularies_, []
    for vocabulary, ids in zip(vocabularies, (users, items), strict=True):
        codes.append(vocabulary.codes(ids))
        vocabulary.warn_of_kind(ids, np.count_nonzero(codes[-1] == 0))
    parts: list[Any] = [None] * len(users)
    for user in np.unique(codes[0]).tolist():
        pairs = np.flatnonzero(codes[0] == user)
        found = contributions(model, user, codes[1][pairs])
        for k, pair in enumerate(pairs.tolist()):
            parts[pair] = _of_pair(found, k)
    of_rows = np.repeat(np.arange(len(parts)), [len(part[0]) for part in parts])
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    user_name, item_name = names_of_ids(model, *COLUMNS)
    ids = vocabularies[1].ids_of(columns.pop(0))
    table = {user_name: users[of_rows], item_name: items[of_rows], f"from_{item_name}": ids}
    names = COLUMNS if len(columns) == len(COLUMNS) else [COLUMNS[0], COLUMNS[-1]]
    return as_frame(table | dict(zip(names, columns, strict=True)))


def _of_pair(found: Contributions, k: int) -> list[np.ndarray]:
    """Make codes, kinds, perhaps ratings, and contributions: constants, then interactions from
    the strongest one."""
    n = len(found.constants)
    order = np.argsort(-np.abs(found.values[:, k]), kind="stable")
    kinds = np.array([*found.constants, *["interaction"] * len(order)], dtype=object)
    columns = [np.concatenate([np.zeros(n, np.int64), found.interactions[order]]), kinds]
    if found.ratings is not None:
        columns.append(np.concatenate([np.full(n, np.nan), found.ratings[order]]))
    constants = [part[k] for part in found.constants.values()]
    return [*columns, np.concatenate([constants, found.values[order, k]])]
