"""What estimators learn of interactions beside factors: who has seen what, and histories."""
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
from scipy.sparse import csr_array

from sklrec._data.histories import Histories
from sklrec._persistence.parts import ANY, PartReader, PartWriter

INDICES = ("int32", "int64")


def write_seen(part: PartWriter, seen: csr_array) -> None:
    """Write which items users have interacted with.

    Parameters
    ----------
    part : PartWriter
        Where to.
    seen : csr_array of shape (n_users + 1, n_items + 1)
        True where there is an interaction.
    """
    if not (seen.has_canonical_format and seen.data.all()):
        seen = seen.copy()
        seen.sum_duplicates()
        seen.eliminate_zeros()
    part.array("items", seen.indices)
    part.array("starts", seen.indptr)


def read_seen(part: PartReader, n_users: int, n_items: int) -> csr_array:
    """Read what `write_seen` wrote.

    Parameters
    ----------
    part : PartReader
        Where from.
    n_users : int
        Number of users' codes, 0 included.
    n_items : int
        Number of items' codes, 0 included.

    Returns
    -------
    csr_array of shape (n_users, n_items)
        True where there is an interaction.
    """
    items = part.array("items", INDICES, (ANY,))
    starts = part.array("starts", items.dtype.name, (n_users + 1,))
    _check_starts(part, starts, len(items))
    if len(items) and not (items.min() >= 0 and items.max() < n_items):
        part.refuse("items", f"should hold integers from 0 to {n_items - 1}")
    rising = np.diff(items) > 0
    rising[_firsts(starts, len(items))] = True
    if not rising.all():
        part.refuse("items", "should hold each user's items in increasing order")
    seen = csr_array((np.ones(len(items), bool), items, starts), (n_users, n_items))
    return seen


def write_histories(part: PartWriter, histories: Histories) -> None:
    """Write histories.

    Parameters
    ----------
    part : PartWriter
        Where to.
    histories : Histories
        The histories.
    """
    part.put("timed", histories.timed)
    for name in ("items", "ratings", "starts"):
        part.array(name, getattr(histories, name))
    if histories.timed:  # otherwise they are the places
        part.array("times", histories.times)


def read_histories(part: PartReader, n_sequences: int, n_items: int) -> Histories:
    """Read what `write_histories` wrote.

    Parameters
    ----------
    part : PartReader
        Where from.
    n_sequences : int
        Number of sequences.
    n_items : int
        Number of items' codes, 0 included.

    Returns
    -------
    Histories
        The histories.
    """
    timed = part.value("timed", bool)
    items = part.codes("items", (ANY,), n_items)
    n = len(items)
    ratings = part.array("ratings", "float64", (n,))
    starts = part.array("starts", "int64", (n_sequences + 1,))
    _check_starts(part, starts, n)
    if np.isinf(ratings).any():
        part.refuse("ratings", "should be finite, or NaN where none is known")
    sequences = np.repeat(np.arange(n_sequences), np.diff(starts))
    times = None
    if timed:
        times = part.array("times", ("int64", "float64"), (n,))
        if not np.isfinite(times).all():
            part.refuse("times", "should be finite")
        later = (times[1:] > times[:-1]) | ((times[1:] == times[:-1]) & (items[1:] >= items[:-1]))
        later[_firsts(starts, n)] = True
        if not later.all():
            part.refuse("times", "should rise within each history, with items where they tie")
    return Histories(sequences, items, ratings, times, n_sequences)


def _check_starts(part: PartReader, starts: np.ndarray, n: int) -> None:
    if starts[0] != 0 or starts[-1] != n or (starts[1:] < starts[:-1]).any():
        part.refuse("starts", f"should rise from 0 to {n}")


def _firsts(starts: np.ndarray, n: int) -> np.ndarray:
    """Where in the differences of neighbours another row begins."""
    first = starts[1:-1]
    return first[(first > 0) & (first < n)] - 1
