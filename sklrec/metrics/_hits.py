"""Relevant items in users' lists, and the metrics that are computed from them."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd


class Pairs(NamedTuple):
    """Different pairs of a user and an item, as codes from 0."""

    users: np.ndarray  # (n_pairs,)
    items: np.ndarray  # (n_pairs,)


class Hits(NamedTuple):
    """Relevant items of users, and the hits: the relevant items that are in the users' lists."""

    n_users: int  # users have the codes 0 to n_users - 1; each has a relevant item
    relevant_users: np.ndarray  # (n_relevant,), the user of each relevant item
    relevant_gains: np.ndarray  # (n_relevant,), its gain, positive
    users: np.ndarray  # (n_hits,), the user of each hit, ascending
    ranks: np.ndarray  # (n_hits,), its rank in the list, from 1 and ascending within a user
    gains: np.ndarray  # (n_hits,), its gain

    @classmethod
    def find(
        cls, n_users: int, relevant: Pairs, gains: np.ndarray, listed: Pairs, ranks: np.ndarray
    ) -> "Hits":
        """Find the relevant items in the lists."""
        n_items = 1 + max(relevant.items.max(initial=0), listed.items.max(initial=0))
        wanted = pd.Index(relevant.users * n_items + relevant.items)
        place = wanted.get_indexer(pd.Index(listed.users * n_items + listed.items))
        hits = np.flatnonzero(place >= 0)
        hits = hits[np.lexsort((ranks[hits], listed.users[hits]))]
        users = listed.users[hits]
        return cls(n_users, relevant.users, gains, users, ranks[hits], gains[place[hits]])

    def within(self, k: int) -> "Hits":
        """Keep the hits at ranks up to k."""
        near = self.ranks <= k
        return self._replace(
            users=self.users[near], ranks=self.ranks[near], gains=self.gains[near]
        )

    def n_relevant(self) -> np.ndarray:
        """Count the relevant items of each user."""
        return np.bincount(self.relevant_users, minlength=self.n_users)  # (n_users,)

    def sums(self, values: np.ndarray | None = None) -> np.ndarray:
        """Sum values over the hits of each user, or count the hits."""
        return np.bincount(self.users, values, self.n_users)  # (n_users,)

    def numbers(self) -> np.ndarray:
        """Number the hits of each user from 1."""
        return 1 + place_in_run(self.users)  # (n_hits,)


def place_in_run(sorted_values: np.ndarray) -> np.ndarray:
    """Count the equal values before each of some sorted values."""
    first = np.searchsorted(sorted_values, sorted_values, side="left")
    return np.arange(len(sorted_values)) - first


def _discount(ranks: np.ndarray) -> np.ndarray:
    return 1 / np.log2(ranks + 1)


def _ndcg(hits: Hits, k: int) -> np.ndarray:
    # In the best list the relevant items come first, in decreasing order of gain.
    order = np.lexsort((-hits.relevant_gains, hits.relevant_users))
    users, gains = hits.relevant_users[order], hits.relevant_gains[order]
    ranks = 1 + place_in_run(users)
    best = np.where(ranks <= k, gains * _discount(ranks), 0)
    return hits.sums(hits.gains * _discount(hits.ranks)) / np.bincount(users, best)


def _average_precision(hits: Hits, k: int) -> np.ndarray:
    return hits.sums(hits.numbers() / hits.ranks) / np.minimum(hits.n_relevant(), k)


# Value of each metric for each user, given the hits within k.
METRICS: dict[str, Callable[[Hits, int], np.ndarray]] = {
    "hit_rate": lambda hits, k: np.minimum(hits.sums(), 1).astype(np.float64),
    "map": _average_precision,
    "mrr": lambda hits, k: hits.sums(np.where(hits.numbers() == 1, 1 / hits.ranks, 0)),
    "ndcg": _ndcg,
    "precision": lambda hits, k: hits.sums() / k,
    "recall": lambda hits, k: hits.sums() / hits.n_relevant(),
}
