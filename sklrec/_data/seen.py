"""Matrices of pairs of users and items, as attributes of estimators."""
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
from scipy.sparse import csr_array

from sklrec._utils.state.kinds import Array, Record

INDICES = ("int32", "int64")
FLOATS = ("float32", "float64")


class SeenPairs(Record):
    """A boolean matrix, whose rows are user codes and whose columns are item codes."""

    def __init__(self):
        items = Array(INDICES, (None,), "n_items+1")
        super().__init__({"items": items, "starts": Array(INDICES, ("n_users+2",))})

    def pack(self, value, raw):
        if not isinstance(value, csr_array):
            raise TypeError(f"{value!r:.100} in place of a csr_array")
        if not (value.has_canonical_format and value.data.all()):
            value = value.copy()
            value.sum_duplicates()
            value.eliminate_zeros()
        return super().pack({"items": value.indices, "starts": value.indptr}, raw)

    def unpack(self, packed, place):
        items, starts = super().unpack(packed, place).values()
        check_starts(starts, len(items))
        shape = place.size("n_users+1"), place.size("n_items+1")
        return csr_array((np.ones(len(items), bool), items, starts), shape)


class WeightedPairs(Record):
    """A matrix of positive weights, whose rows are user codes and whose columns are item codes."""

    def __init__(self):
        pairs = {"items": Array(INDICES, (None,), "n_items+1"), "weights": Array(FLOATS, (None,))}
        super().__init__({**pairs, "starts": Array(INDICES, ("n_users+2",))})

    def pack(self, value, raw):
        if not isinstance(value, csr_array):
            raise TypeError(f"{value!r:.100} in place of a csr_array")
        parts = {"items": value.indices, "weights": value.data, "starts": value.indptr}
        return super().pack(parts, raw)

    def unpack(self, packed, place):
        items, weights, starts = super().unpack(packed, place).values()
        check_starts(starts, len(items))
        if len(weights) != len(items):
            raise ValueError(f"weights should be {len(items)}, got {len(weights)}")
        shape = place.size("n_users+1"), place.size("n_items+1")
        return csr_array((weights, items, starts), shape)


def check_starts(starts: np.ndarray, n: int) -> None:
    """Check the starts of parts of n rows."""
    if starts[0] != 0 or starts[-1] != n or (starts[1:] < starts[:-1]).any():
        raise ValueError(f"starts should rise from 0 to {n}")
