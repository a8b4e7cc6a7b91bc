"""Seen items and histories in a model file."""
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
from scipy.sparse import csr_array

from sklrec._data.histories import Histories
from sklrec._persistence.parts import ANY, PartReader, PartWriter

INDICES = ("int32", "int64")


def write_seen(part: PartWriter, seen: csr_array) -> None:
    """Write the items that each user has interacted with."""
    if not (seen.has_canonical_format and seen.data.all()):
        seen = seen.copy()
        seen.sum_duplicates()
        seen.eliminate_zeros()
    part.array("items", seen.indices)
    part.array("starts", seen.indptr)


def read_seen(part: PartReader, n_users: int, n_items: int) -> csr_array:
    """Read the items that each user has interacted with."""
    items = part.codes("items", (ANY,), n_items, INDICES)
    starts = _read_starts(part, n_users, len(items))
    return csr_array((np.ones(len(items), bool), items, starts), (n_users, n_items))


def write_histories(part: PartWriter, histories: Histories) -> None:
    """Write the histories of all users."""
    for name in ("items", "ratings", "starts"):
        part.array(name, getattr(histories, name))
    if histories.timed:  # otherwise the times are positions
        part.array("times", histories.times)


def read_histories(part: PartReader, n_sequences: int, n_items: int) -> Histories:
    """Read the histories of all users."""
    items = part.codes("items", (ANY,), n_items)
    ratings = part.array("ratings", "float64", items.shape)
    starts = _read_starts(part, n_sequences, len(items))
    is_timed = part.has_array("times")
    times = part.array("times", ("int64", "float64"), items.shape) if is_timed else None
    sequences = np.repeat(np.arange(n_sequences), np.diff(starts))
    return Histories(sequences, items, ratings, times, n_sequences)


def _read_starts(part: PartReader, n_rows: int, n: int) -> np.ndarray:
    starts = part.array("starts", INDICES, (n_rows + 1,))
    if starts[0] != 0 or starts[-1] != n or (starts[1:] < starts[:-1]).any():
        part.refuse("starts", f"should rise from 0 to {n}")
    return starts
