"""Histories of many users in a few flat arrays."""
# SPDX-License-Identifier: BSD-3-Clause

from functools import cached_property

import numpy as np
import pandas as pd


class Histories:
    """The interactions of sequences 0 to n - 1, each in the order of time, then of item."""

    def __init__(
        self,
        sequences: np.ndarray,  # sequence of each interaction, (n_interactions,) as all others
        items: np.ndarray,  # codes, 0 for unknown
        ratings: np.ndarray,  # NaN if not known
        times: np.ndarray | None,  # None for the order of the rows
        n_sequences: int,
    ):
        self.timed = times is not None
        if times is None:
            order = np.argsort(sequences, kind="stable")
        else:
            order = np.lexsort((items, times, sequences))
        self.items, self.ratings = items[order], ratings[order]
        self.starts = np.zeros(n_sequences + 1, dtype=np.int64)  # and the end of the last one
        np.cumsum(np.bincount(sequences, minlength=n_sequences), out=self.starts[1:])
        places = np.arange(len(order)) - np.repeat(self.starts[:-1], self.lengths)
        self.times = places if times is None else times[order]

    @property
    def lengths(self) -> np.ndarray:
        """Number of interactions of each sequence."""
        return np.diff(self.starts)

    @property
    def sequences(self) -> np.ndarray:
        """Sequence of each interaction."""
        return np.repeat(np.arange(len(self.starts) - 1), self.lengths)

    def extended(self, later: "Histories") -> "Histories":
        """Both histories in one; a later interaction replaces one of the same item and time."""
        columns = ["sequences", "items", "times"] if self.timed else ["sequences", "items"]
        keys = pd.MultiIndex.from_arrays([getattr(self, name) for name in columns])
        again = pd.MultiIndex.from_arrays([getattr(later, name) for name in columns])
        stay = ~keys.isin(again)
        sequences, items, ratings, times = (
            np.concatenate([getattr(self, name)[stay], getattr(later, name)])
            for name in ("sequences", "items", "ratings", "times")
        )
        n_sequences = max(len(self.starts), len(later.starts)) - 1
        return Histories(sequences, items, ratings, times if self.timed else None, n_sequences)

    def apart(self, sequences: np.ndarray, items: np.ndarray) -> tuple["Histories", np.ndarray]:
        """Histories without the item of each target, and the history that each target reads."""
        distinct = np.unique(sequences)
        index, owner = self._spread(distinct)
        keys = pd.MultiIndex.from_arrays([distinct[owner], self.items[index]])
        is_known = pd.MultiIndex.from_arrays([sequences, items]).isin(keys)
        # No interaction has item -1, so that nothing is removed.
        pairs = np.stack([sequences, np.where(is_known, items, -1)])
        (rows, without), inverse = np.unique(pairs, axis=1, return_inverse=True)
        index, owner = self._spread(rows)
        keep = self.items[index] != without[owner]
        index, owner = index[keep], owner[keep]
        times = self.times[index] if self.timed else None
        left = Histories(owner, self.items[index], self.ratings[index], times, len(rows))
        return left, inverse.reshape(-1)

    def latest_places(self, sequences: np.ndarray) -> np.ndarray:
        """Positions, in their sequences, of the rows that were added last."""
        n_latest = np.bincount(sequences, minlength=len(self.lengths))
        order = np.argsort(sequences, kind="stable")
        places = np.empty(len(order), dtype=np.int64)
        places[order] = np.arange(len(order)) - np.repeat(np.cumsum(n_latest) - n_latest, n_latest)
        return places + (self.lengths - n_latest)[sequences]

    def median_gap(self) -> float:
        """Median of the positive gaps between neighbours in a sequence, or 1 without any."""
        # Differences of int64 can overflow.
        gaps = np.diff(self.times.astype(np.float64))[np.diff(self.sequences) == 0]
        return float(np.median(gaps[gaps > 0])) if (gaps > 0).any() else 1.0

    def earlier(self, sequences: np.ndarray, times: np.ndarray) -> np.ndarray:
        """Number of interactions of each sequence that are strictly earlier than a time."""
        rank = np.searchsorted(self._distinct_times, times)
        found = np.searchsorted(self._tie_keys, sequences * self._n_ranks + rank)
        return found - self.starts[sequences]

    @cached_property
    def ties(self) -> np.ndarray:
        """Number of the tie of each interaction: all of one sequence and time share a number."""
        new = np.ones(len(self.items), dtype=bool)
        new[1:] = self._tie_keys[1:] != self._tie_keys[:-1]
        return np.cumsum(new) - 1

    def tie_of(self, sequences: np.ndarray, times: np.ndarray) -> np.ndarray:
        """Number of the tie at a time in each sequence, -1 without an interaction at this time."""
        if len(self.items) == 0:
            return np.full(len(sequences), -1)
        keys = sequences * self._n_ranks + np.searchsorted(self._distinct_times, times)
        found = np.minimum(np.searchsorted(self._tie_keys, keys), len(self.items) - 1)
        is_tied = (self._tie_keys[found] == keys) & (self.times[found] == times)
        return np.where(is_tied, self.ties[found], -1)

    def _spread(self, sequences: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Positions of the interactions of some sequences, and which of these each belongs to."""
        lengths = self.lengths[sequences]
        owner = np.repeat(np.arange(len(sequences)), lengths)
        offset = self.starts[sequences] - (np.cumsum(lengths) - lengths)
        return np.arange(len(owner)) + offset[owner], owner

    @cached_property
    def _distinct_times(self) -> np.ndarray:
        times = np.sort(self.times)  # np.unique hashes and takes far longer
        new = np.ones(len(times), dtype=bool)
        new[1:] = times[1:] != times[:-1]
        return times[new]

    @property
    def _n_ranks(self) -> int:
        return len(self._distinct_times) + 1

    @cached_property
    def _tie_keys(self) -> np.ndarray:
        """Integers in the order of sequence and time, equal for ties."""
        ranks = np.searchsorted(self._distinct_times, self.times)
        return self.sequences * self._n_ranks + ranks

    def __getstate__(self):
        # Cached properties would make pickles larger.
        return {name: getattr(self, name) for name in _STORED}


_STORED = {"items", "ratings", "times", "starts", "timed"}
