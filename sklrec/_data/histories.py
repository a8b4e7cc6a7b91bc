"""Histories of many users, stored in a few flat arrays."""
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import pandas as pd

from sklrec._data.seen import check_starts
from sklrec._utils.forks import cached_property
from sklrec._utils.runs import is_new, place_in_run
from sklrec._utils.state.kinds import Array, Declared, Optional


class Histories(Declared):
    """Sequences of interactions, numbered from 0, each sorted by time and then by item."""

    _state = {
        "items": Array("int64", ("n",), below="n_items+1"),
        "ratings": Array("float64", ("n",)),
        "given_times": Optional(Array(("int64", "float64"), ("n",))),
        "starts": Array("int64", ("n_users+2",)),
    }

    def __init__(
        self,
        sequences: np.ndarray,  # (n_interactions,), number of the sequence, such as a user code
        items: np.ndarray,  # (n_interactions,), codes
        ratings: np.ndarray,  # (n_interactions,), NaN if not known
        times: np.ndarray | None,  # (n_interactions,), None if the rows are in time order
        n_sequences: int,
    ):
        self.timed = times is not None
        if times is None:
            order = np.argsort(sequences, kind="stable")
        else:
            order = np.lexsort((items, times, sequences))
        self.items, self.ratings = items[order], ratings[order]
        # Sequence k has the positions starts[k] to starts[k + 1] - 1.
        self.starts = np.zeros(n_sequences + 1, dtype=np.int64)
        np.cumsum(np.bincount(sequences, minlength=n_sequences), out=self.starts[1:])
        self.times = self._places if times is None else times[order]

    @classmethod
    def of_last(
        cls,
        sequences: np.ndarray,
        items: np.ndarray,
        ratings: np.ndarray,
        times: np.ndarray | None,
        n_sequences: int,
    ) -> "Histories":
        """Make histories of the last interactions of each sequence, item and time."""
        last = last_rows(sequences, items, times)
        keep = last == np.arange(len(last))
        kept_times = None if times is None else times[keep]
        return cls(sequences[keep], items[keep], ratings[keep], kept_times, n_sequences)

    @classmethod
    def _from_state(
        cls,
        items: np.ndarray,
        ratings: np.ndarray,
        given_times: np.ndarray | None,
        starts: np.ndarray,
    ) -> "Histories":
        check_starts(starts, len(items))
        found = cls.__new__(cls)  # sorting again would take most of the time of loading
        found.items, found.ratings, found.starts = items, ratings, starts
        found.timed = given_times is not None
        found.times = found._places if given_times is None else given_times
        if not ((found.times[1:] >= found.times[:-1]) | (found._places[1:] == 0)).all():
            raise ValueError("times should rise within each sequence")
        return found

    @property
    def given_times(self) -> np.ndarray | None:
        """Times, or None if they are only positions."""
        return self.times if self.timed else None

    @property
    def lengths(self) -> np.ndarray:
        """Number of interactions of each sequence."""
        return np.diff(self.starts)

    @property
    def _places(self) -> np.ndarray:
        """Number of interactions of the same sequence before each interaction."""
        return np.arange(len(self.items)) - np.repeat(self.starts[:-1], self.lengths)

    @property
    def sequences(self) -> np.ndarray:
        """Number of the sequence of each interaction."""
        return np.repeat(np.arange(len(self.starts) - 1), self.lengths)

    def extended(self, later: "Histories") -> "Histories":
        """Append later interactions, which replace those of the same sequence, item and time."""
        keep = self.is_missing_in(later)
        sequences, items, ratings, times = (
            np.concatenate([getattr(self, name)[keep], getattr(later, name)])
            for name in ("sequences", "items", "ratings", "times")
        )
        n_sequences = max(len(self.starts), len(later.starts)) - 1
        return Histories(sequences, items, ratings, times if self.timed else None, n_sequences)

    def is_missing_in(self, other: "Histories") -> np.ndarray:
        """Whether other histories have no interaction of the same sequence, item and time."""
        columns = ["sequences", "items", "times"] if self.timed else ["sequences", "items"]
        keys, others = (
            pd.MultiIndex.from_arrays([getattr(histories, name) for name in columns])
            for histories in (self, other)
        )
        return ~keys.isin(others)

    def without_targets(
        self, sequences: np.ndarray, items: np.ndarray, max_len: int
    ) -> tuple["Histories", np.ndarray]:
        """Copy the sequence of each target without the target's item, and number the copies.

        A copy has only the interactions that a prediction after all of them reads: at least
        max_len and at most twice as many.
        """
        _, first, end = self._own(sequences, items)
        # Targets with equal pairs share a copy. No interaction has item -1, so that targets whose
        # item is not in the sequence share a copy of the whole sequence.
        pairs = np.stack([sequences, np.where(first < end, items, -1)])
        (copied, removed), copy_of_target = np.unique(pairs, axis=1, return_inverse=True)
        own, first, end = self._own(copied, removed)
        n_others = self.lengths[copied] - (end - first)
        # The start is a multiple of max_len, as in sequences that are cut into pieces.
        n_left_out = max_len * (-(-n_others // max_len) - 2).clip(0)
        starts = self._position_of(copied, own, first, n_left_out)
        positions, owners = _ranges(starts, self.starts[copied + 1])
        keep = self.items[positions] != removed[owners]
        positions, owners = positions[keep], owners[keep]
        times = self.times[positions] if self.timed else None
        copies = Histories(
            owners, self.items[positions], self.ratings[positions], times, len(copied)
        )
        return copies, copy_of_target.reshape(-1)

    def latest_without(self, sequences: np.ndarray, items: np.ndarray, n: int) -> np.ndarray:
        """Positions of the last n interactions of each target's sequence with other items.

        The shape is (n_targets, n), with -1 in front of shorter sequences.
        """
        own, first, end = (values[:, np.newaxis] for values in self._own(sequences, items))
        sequences = sequences[:, np.newaxis]
        q = self.lengths[sequences] - (end - first) - np.arange(n, 0, -1)
        return np.where(q >= 0, self._position_of(sequences, own, first, q.clip(0)), -1)

    @cached_property
    def _by_item(self) -> tuple[np.ndarray, np.ndarray, int]:
        """Sorted keys of sequence and item, the same with a number, and the factor of the keys.

        The number is that of the earlier interactions of the sequence with another item."""
        n_items = 2 + int(self.items.max(initial=0))  # one item that no sequence has
        pairs = self.sequences * n_items + self.items
        order = np.argsort(pairs, kind="stable")
        pairs = pairs[order]
        n_others = self._places[order] - place_in_run(pairs)
        return pairs, pairs * self._longest + n_others, n_items

    @property
    def _longest(self) -> int:
        """Number that is larger than the length of each sequence."""
        return 1 + int(self.lengths.max(initial=0))

    def _own(
        self, sequences: np.ndarray, items: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Find the keys of sequences and items, and their first and last places in `_by_item`."""
        pairs, _, n_items = self._by_item
        is_known = (items >= 0) & (items < n_items)
        own = sequences * n_items + np.where(is_known, items, n_items - 1)
        first, end = (np.searchsorted(pairs, own, side) for side in ("left", "right"))
        return own, first, end

    def _position_of(
        self, sequences: np.ndarray, own: np.ndarray, first: np.ndarray, q: np.ndarray
    ) -> np.ndarray:
        """Find the position of the q-th interaction of a sequence with another item."""
        # It stands after q of them, and after the own ones that have at most q others before them.
        n_own = np.searchsorted(self._by_item[1], own * self._longest + q, side="right")
        return self.starts[sequences] + q + n_own - first

    def median_gap(self) -> float:
        """Median of the positive time differences between neighbours, or 1 if there are none."""
        # Differences of int64 can overflow.
        gaps = np.diff(self.times.astype(np.float64))[np.diff(self.sequences) == 0]
        return float(np.median(gaps[gaps > 0])) if (gaps > 0).any() else 1.0

    def count_earlier(self, sequences: np.ndarray, times: np.ndarray) -> np.ndarray:
        """Count the interactions of each given sequence that are strictly before a time."""
        rank = np.searchsorted(self._distinct_times, times)
        found = np.searchsorted(self._tie_keys, sequences * self._n_ranks + rank)
        return found - self.starts[sequences]

    @cached_property
    def ties(self) -> np.ndarray:
        """Label of each interaction, equal for interactions of the same sequence and time."""
        return np.cumsum(is_new(self._tie_keys)) - 1

    def tie_of(self, sequences: np.ndarray, times: np.ndarray) -> np.ndarray:
        """Label in `ties` of a sequence and a time, or -1 if the sequence has no such time."""
        if len(self.items) == 0:
            return np.full(len(sequences), -1)
        keys = sequences * self._n_ranks + np.searchsorted(self._distinct_times, times)
        found = np.minimum(np.searchsorted(self._tie_keys, keys), len(self.items) - 1)
        is_tied = (self._tie_keys[found] == keys) & (self.times[found] == times)
        return np.where(is_tied, self.ties[found], -1)

    @cached_property
    def _distinct_times(self) -> np.ndarray:
        times = np.sort(self.times)  # np.unique hashes and takes far longer
        return times[is_new(times)]

    @property
    def _n_ranks(self) -> int:
        """Number of ranks of a time among the distinct times; the last is later than all."""
        return len(self._distinct_times) + 1

    @cached_property
    def _tie_keys(self) -> np.ndarray:
        """Integer key of the sequence and the time of each interaction, in rising order."""
        ranks = np.searchsorted(self._distinct_times, self.times)
        return self.sequences * self._n_ranks + ranks


def _ranges(first: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of all ranges, one range after the other, and the index of the range of each."""
    lengths = end - first
    owners = np.repeat(np.arange(len(lengths)), lengths)
    offset = first - (np.cumsum(lengths) - lengths)
    return np.arange(len(owners)) + offset[owners], owners


def last_rows(sequences: np.ndarray, items: np.ndarray, times: np.ndarray | None) -> np.ndarray:
    """Find the row of the last interaction of the same sequence, item and time, for each row."""
    columns = [sequences, items] if times is None else [sequences, items, times]
    order = np.lexsort(columns)  # keeps the order of equal rows
    starts = np.zeros(len(order), bool)
    for column in columns:
        starts |= is_new(column[order])
    n_each = np.diff(np.append(np.flatnonzero(starts), len(order)))
    found = np.empty_like(order)
    found[order] = np.repeat(order[np.cumsum(n_each) - 1], n_each)
    return found
