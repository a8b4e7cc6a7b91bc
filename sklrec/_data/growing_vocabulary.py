"""A vocabulary that grows with each chunk of a table."""
# SPDX-License-Identifier: BSD-3-Clause

from typing import Any

import numpy as np

from sklrec._data.vocabulary import Vocabulary, as_array


class GrowingVocabulary:
    """A vocabulary that is learned chunk by chunk, in linear time."""

    # New IDs get their own hash table. Two tables are joined when the newer one is at least half
    # as long as the older one. So each ID is hashed only a few times.

    def __init__(self, known: Vocabulary):
        self._parts = [known]

    def encode(self, values: Any) -> np.ndarray:
        """Codes of IDs; new IDs get the next codes, in order of appearance."""
        oldest = self._parts[0]
        values = as_array(values, oldest.name)
        codes = oldest.codes(values)
        n_known = len(oldest)
        unknown = np.flatnonzero(codes == 0)
        for part in self._parts[1:]:
            found = part.codes(values[unknown])
            codes[unknown] = np.where(found > 0, found + n_known, 0)
            unknown = unknown[found == 0]
            n_known += len(part)
        if len(unknown):
            new, found = Vocabulary.build(values[unknown], oldest.name)
            oldest.check_same_kind(new._ids, "here", "in earlier chunks")
            codes[unknown] = found + n_known
            self._parts.append(new)
            while len(self._parts) > 1 and 2 * len(self._parts[-1]) >= len(self._parts[-2]):
                self._join_last()
        return codes

    def finish(self) -> Vocabulary:
        """Vocabulary of all IDs so far."""
        while len(self._parts) > 1:
            self._join_last()
        return self._parts[0]

    def _join_last(self) -> None:
        """Join the two newest parts."""
        newer, older = self._parts.pop(), self._parts.pop()
        self._parts.append(older.joined(newer))
