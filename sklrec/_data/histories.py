"""Interactions of many users, each user's in time order and all in a few flat arrays."""
# SPDX-License-Identifier: BSD-3-Clause

from functools import cached_property

import numpy as np
import pandas as pd


class Histories:
    """The histories of sequences 0 to n, such as those of the users with these codes.

    Inside a sequence interactions stand by time, those of one time by item.

    Parameters
    ----------
    sequences : ndarray of shape (n_interactions,)
        Which sequence each interaction belongs to.
    items : ndarray of shape (n_interactions,)
        Item codes, 0 for unknown.
    ratings : ndarray of shape (n_interactions,)
        Ratings; NaN where none is known.
    times : ndarray of shape (n_interactions,) or None
        Times; ``None`` takes the order of the rows for that of time.
    n_sequences : int
        Number of sequences.

    Attributes
    ----------
    starts : ndarray of shape (n_sequences + 1,)
        Where each sequence starts in the arrays, and where the last one ends.
    timed : bool
        Whether there are times.
    """

    def __init__(
        self,
        sequences: np.ndarray,
        items: np.ndarray,
        ratings: np.ndarray,
        times: np.ndarray | None,
        n_sequences: int,
    ):
        self.timed = times is not None
        if times is None:
            order = np.argsort(sequences, kind="stable")
        else:
            order = np.lexsort((items, times, sequences))
        self.items, self.ratings = items[order], ratings[order]
        self.starts = np.zeros(n_sequences + 1, dtype=np.int64)
        np.cumsum(np.bincount(sequences, minlength=n_sequences), out=self.starts[1:])
        places = np.arange(len(order)) - np.repeat(self.starts[:-1], self.lengths)
        self.times = places if times is None else times[order]

    @property
    def lengths(self) -> np.ndarray:
        """Number of interactions of each sequence."""
        return np.diff(self.starts)

    @property
    def sequences(self) -> np.ndarray:
        """Which sequence each interaction belongs to."""
        return np.repeat(np.arange(len(self.starts) - 1), self.lengths)

    def extended(self, later: "Histories") -> "Histories":
        """Merge with further interactions of these and perhaps more sequences.

        Parameters
        ----------
        later : Histories
            With times if these have them; without, theirs all come after these. An interaction
            that is there already, with the same item and time if there are times, is replaced.

        Returns
        -------
        Histories
            Both together.
        """
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
        """Make histories that lack some items, for targets that read all but the very same item.

        Parameters
        ----------
        sequences : ndarray of shape (n,)
            The sequence of each target.
        items : ndarray of shape (n,)
            The item of each target.

        Returns
        -------
        histories : Histories
            For each sequence, and each of the items that is in it, what is left without it.
        rows : ndarray of shape (n,)
            Which of these histories each target reads.
        """
        some = np.unique(sequences)
        index, owner = self._spread(some)
        keys = pd.MultiIndex.from_arrays([some[owner], self.items[index]])
        there = pd.MultiIndex.from_arrays([sequences, items]).isin(keys)
        # No interaction is of item -1: nothing is left out.
        pairs = np.stack([sequences, np.where(there, items, -1)])
        (rows, without), inverse = np.unique(pairs, axis=1, return_inverse=True)
        index, owner = self._spread(rows)
        keep = self.items[index] != without[owner]
        index, owner = index[keep], owner[keep]
        times = self.times[index] if self.timed else None
        left = Histories(owner, self.items[index], self.ratings[index], times, len(rows))
        return left, inverse.reshape(-1)

    def latest_places(self, sequences: np.ndarray) -> np.ndarray:
        """Find the places of the interactions that came last in the order of their rows.

        Parameters
        ----------
        sequences : ndarray of shape (n,)
            The sequence of each of these last rows.

        Returns
        -------
        ndarray of shape (n,)
            How many interactions of its sequence stand before each.
        """
        n_latest = np.bincount(sequences, minlength=len(self.lengths))
        order = np.argsort(sequences, kind="stable")
        places = np.empty(len(order), dtype=np.int64)
        places[order] = np.arange(len(order)) - np.repeat(np.cumsum(n_latest) - n_latest, n_latest)
        return places + (self.lengths - n_latest)[sequences]

    def median_gap(self) -> float:
        """Median of the times between a sequence's neighbours, those of 0 left aside.

        Returns
        -------
        float
            In units of the times; 1 if there are none.
        """
        # as floats: differences of integers may be too large for one
        gaps = np.diff(self.times.astype(np.float64))[np.diff(self.sequences) == 0]
        return float(np.median(gaps[gaps > 0])) if (gaps > 0).any() else 1.0

    def earlier(self, sequences: np.ndarray, times: np.ndarray) -> np.ndarray:
        """Count the interactions that are strictly earlier than some times.

        Parameters
        ----------
        sequences : ndarray of shape (n,)
            The sequences.
        times : ndarray of shape (n,)
            The times.

        Returns
        -------
        ndarray of shape (n,)
            How many interactions of its sequence are earlier.
        """
        rank = np.searchsorted(self._distinct_times, times)
        found = np.searchsorted(self._tie_keys, sequences * self._n_ranks + rank)
        return found - self.starts[sequences]

    @cached_property
    def ties(self) -> np.ndarray:
        """Number of each interaction's tie: those of one sequence and one time share it."""
        new = np.ones(len(self.items), dtype=bool)
        new[1:] = self._tie_keys[1:] != self._tie_keys[:-1]
        return np.cumsum(new) - 1

    def tie_of(self, sequences: np.ndarray, times: np.ndarray) -> np.ndarray:
        """Find the tie of given times.

        Parameters
        ----------
        sequences : ndarray of shape (n,)
            The sequences.
        times : ndarray of shape (n,)
            The times.

        Returns
        -------
        ndarray of shape (n,)
            Numbers as in `ties`; -1 where the sequence has no interaction at the time.
        """
        if len(self.items) == 0:
            return np.full(len(sequences), -1)
        rank = np.searchsorted(self._distinct_times, times)
        keys = sequences * self._n_ranks + rank
        found = np.searchsorted(self._tie_keys, keys)
        known = np.minimum(found, len(self.items) - 1)
        there = (rank < len(self._distinct_times)) & (found < len(self.items))
        there &= self._tie_keys[known] == keys
        there &= self.times[known] == times
        return np.where(there, self.ties[known], -1)

    def _spread(self, sequences: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where the interactions of some sequences are, and to which of them each belongs."""
        lengths = self.lengths[sequences]
        owner = np.repeat(np.arange(len(sequences)), lengths)
        offset = self.starts[sequences] - (np.cumsum(lengths) - lengths)
        return np.arange(len(owner)) + offset[owner], owner

    @cached_property
    def _distinct_times(self) -> np.ndarray:
        times = np.sort(self.times)  # np.unique hashes, which takes far longer
        new = np.ones(len(times), dtype=bool)
        new[1:] = times[1:] != times[:-1]
        return times[new]

    @property
    def _n_ranks(self) -> int:
        return len(self._distinct_times) + 1

    @cached_property
    def _tie_keys(self) -> np.ndarray:
        """Numbers that order the interactions by sequence and time."""
        ranks = np.searchsorted(self._distinct_times, self.times)
        return self.sequences * self._n_ranks + ranks

    def __getstate__(self):
        # What is worked out from the rest can be worked out again.
        return {name: value for name, value in vars(self).items() if name in _STORED}


_STORED = {"items", "ratings", "times", "starts", "timed"}
