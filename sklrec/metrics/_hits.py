"""Where in their lists users find what is relevant to them, and the metrics of that."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class Pairs:
    """Users and items as codes, a pair a row and each once.

    Parameters
    ----------
    users : ndarray of shape (n_pairs,)
        Codes of users, from 0.
    items : ndarray of shape (n_pairs,)
        Codes of items, from 0.
    """

    users: np.ndarray
    items: np.ndarray


@dataclass(frozen=True)
class Hits:
    """Relevant items of some users, and those of them that are in the users' lists.

    Parameters
    ----------
    n_users : int
        The users have the codes 0 to ``n_users - 1``; each has something relevant.
    relevant_users : ndarray of shape (n_relevant,)
        Whom each relevant item is relevant to.
    relevant_gains : ndarray of shape (n_relevant,)
        Its gain, positive.
    users : ndarray of shape (n_hits,)
        In whose list a relevant item is, ascending.
    ranks : ndarray of shape (n_hits,)
        Its rank in that list, from 1 and ascending within a user.
    gains : ndarray of shape (n_hits,)
        Its gain.
    """

    n_users: int
    relevant_users: np.ndarray
    relevant_gains: np.ndarray
    users: np.ndarray
    ranks: np.ndarray
    gains: np.ndarray

    @classmethod
    def find(
        cls, n_users: int, relevant: Pairs, gains: np.ndarray, listed: Pairs, ranks: np.ndarray
    ) -> "Hits":
        """Find the relevant items in the lists.

        Parameters
        ----------
        n_users : int
            The number of users.
        relevant : Pairs
            What is relevant to whom.
        gains : ndarray of shape (n_relevant,)
            The gains of the relevant pairs.
        listed : Pairs
            What is in whose list.
        ranks : ndarray of shape (n_listed,)
            At which rank.

        Returns
        -------
        Hits
            What was found.
        """
        n_items = 1 + max(relevant.items.max(initial=0), listed.items.max(initial=0))
        wanted = pd.Index(relevant.users * n_items + relevant.items)
        place = wanted.get_indexer(pd.Index(listed.users * n_items + listed.items))
        found = np.flatnonzero(place >= 0)
        found = found[np.lexsort((ranks[found], listed.users[found]))]
        return cls(
            n_users,
            relevant.users,
            gains,
            listed.users[found],
            ranks[found],
            gains[place[found]],
        )

    def within(self, k: int) -> "Hits":
        """Leave out what is found at a rank beyond k.

        Parameters
        ----------
        k : int
            The last rank that counts.

        Returns
        -------
        Hits
            The same users and relevant items, with fewer hits.
        """
        near = self.ranks <= k
        return Hits(
            self.n_users,
            self.relevant_users,
            self.relevant_gains,
            self.users[near],
            self.ranks[near],
            self.gains[near],
        )

    def n_relevant(self) -> np.ndarray:
        """Count each user's relevant items.

        Returns
        -------
        ndarray of shape (n_users,)
            The counts.
        """
        return np.bincount(self.relevant_users, minlength=self.n_users)

    def sums(self, values: np.ndarray | None = None) -> np.ndarray:
        """Sum something over each user's hits.

        Parameters
        ----------
        values : ndarray of shape (n_hits,), default=None
            What to sum; None counts the hits.

        Returns
        -------
        ndarray of shape (n_users,)
            The sums.
        """
        return np.bincount(self.users, values, self.n_users)

    def numbers(self) -> np.ndarray:
        """Number each user's hits, the first with 1.

        Returns
        -------
        ndarray of shape (n_hits,)
            The numbers.
        """
        return 1 + place_in_run(self.users)


def place_in_run(sorted_values: np.ndarray) -> np.ndarray:
    """Count how many equal values stand before each one.

    Parameters
    ----------
    sorted_values : ndarray of shape (n,)
        Values in increasing order.

    Returns
    -------
    ndarray of shape (n,)
        The counts.
    """
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


def _recall(hits: Hits, k: int) -> np.ndarray:
    return hits.sums() / hits.n_relevant()


def _precision(hits: Hits, k: int) -> np.ndarray:
    return hits.sums() / k


def _average_precision(hits: Hits, k: int) -> np.ndarray:
    return hits.sums(hits.numbers() / hits.ranks) / np.minimum(hits.n_relevant(), k)


def _reciprocal_rank(hits: Hits, k: int) -> np.ndarray:
    return hits.sums(np.where(hits.numbers() == 1, 1 / hits.ranks, 0))


def _hit(hits: Hits, k: int) -> np.ndarray:
    return np.minimum(hits.sums(), 1).astype(np.float64)


#: What each metric is for each user, of the hits within k.
METRICS: dict[str, Callable[[Hits, int], np.ndarray]] = {
    "hit_rate": _hit,
    "map": _average_precision,
    "mrr": _reciprocal_rank,
    "ndcg": _ndcg,
    "precision": _precision,
    "recall": _recall,
}
