"""Relevant items in users' lists, and the metrics that are computed from them."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd

from sklrec._utils.runs import place_in_run


class Pairs(NamedTuple):
    """Pairs of a user and an item, as codes."""

    users: np.ndarray  # (n_pairs,)
    items: np.ndarray  # (n_pairs,)

    def keys(self, n_items: int) -> pd.Index:
        """Return one number for each pair."""
        return pd.Index(self.users * n_items + self.items)

    def is_repeat(self) -> np.ndarray:
        """Return a mask of the pairs that repeat an earlier pair."""
        return self.keys(1 + self.items.max()).duplicated()

    def take(self, rows: np.ndarray) -> "Pairs":
        """Return some of the pairs."""
        return Pairs(self.users[rows], self.items[rows])


class Hits(NamedTuple):
    """Relevant items of users, and the hits: the relevant items that are in the users' lists."""

    n_users: int  # users have numbers from 0 to n_users - 1; each has a relevant item
    relevant_users: np.ndarray  # (n_relevant,), the user of each relevant item
    relevant_gains: np.ndarray  # (n_relevant,), its gain, positive
    users: np.ndarray  # (n_hits,), the user of each hit, ascending
    ranks: np.ndarray  # (n_hits,), its rank in the list, from 1 and ascending within a user
    gains: np.ndarray  # (n_hits,), its gain

    @classmethod
    def find(cls, relevant: Pairs, gains: np.ndarray, listed: Pairs, ranks: np.ndarray) -> "Hits":
        """Find the relevant items in the lists, and number their users in the order of codes."""
        users, user_of_relevant = np.unique(relevant.users, return_inverse=True)
        n_items = 1 + max(relevant.items.max(initial=0), listed.items.max(initial=0))
        place = relevant.keys(n_items).get_indexer(listed.keys(n_items))
        hits = np.flatnonzero(place >= 0)
        hits = hits[np.lexsort((ranks[hits], listed.users[hits]))]
        found = place[hits]
        return cls(
            len(users), user_of_relevant, gains, user_of_relevant[found], ranks[hits], gains[found]
        )

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
