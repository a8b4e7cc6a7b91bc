"""The matrix of which users and items were seen together, as an attribute of estimators."""
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
from scipy.sparse import csr_array

from sklrec._utils.state.kinds import (
    Array,
    Kind,
    check_starts,
    pack_fields,
    unpack_fields,
)

INDICES = ("int32", "int64")


class SeenPairs(Kind):
    """A boolean matrix, whose rows are user codes and whose columns are item codes."""

    fields = {
        "items": Array(INDICES, (None,), "n_items+1"),
        "starts": Array(INDICES, ("n_users+2",)),
    }

    def pack(self, value, raw):
        if not (value.has_canonical_format and value.data.all()):
            value = value.copy()
            value.sum_duplicates()
            value.eliminate_zeros()
        return pack_fields(self.fields, {"items": value.indices, "starts": value.indptr}, raw)

    def unpack(self, packed, place):
        items, starts = unpack_fields(self.fields, packed, place).values()
        check_starts(starts, len(items))
        shape = place.size("n_users+1"), place.size("n_items+1")
        return csr_array((np.ones(len(items), bool), items, starts), shape)
