"""The ratings of each user, as an attribute of estimators."""
# SPDX-License-Identifier: BSD-3-Clause

from typing import Self

import numpy as np

from sklrec._data.seen import check_starts
from sklrec._utils.runs import is_new
from sklrec._utils.state.kinds import Array, Declared, Optional

FLOATS = ("float32", "float64")


class UserRatings(Declared):
    """Ratings by user code, in two to four flat arrays: 8 bytes for each rating of stars."""

    _state = {
        "items": Array("int32", ("n",), below="n_items+1"),
        "ratings": Array(FLOATS, ("n",)),
        "weights": Optional(Array(FLOATS, ("n",))),
        "starts": Array("int64", ("n_users+2",)),
    }

    def __init__(
        self,
        items: np.ndarray,  # (n,), codes, sorted by user
        ratings: np.ndarray,  # (n,)
        weights: np.ndarray | None,  # (n,), 1 if None
        starts: np.ndarray,  # (n_users + 2,), user code k has starts[k] to starts[k + 1] - 1
    ):
        check_starts(starts, len(items))
        self.items, self.ratings, self.weights, self.starts = items, ratings, weights, starts

    @classmethod
    def of(
        cls,
        users: np.ndarray,
        items: np.ndarray,
        y: np.ndarray,
        weight: np.ndarray,
        n_users: int,
    ) -> Self:
        """Sort ratings by user, and average those of the same user and item."""
        order = np.lexsort((items, users))
        users, items, y, weight = (values[order] for values in (users, items, y, weight))
        first = np.flatnonzero(is_new(users) | is_new(items))
        if len(first) < len(users):
            products = np.add.reduceat(y * weight, first)
            weight = np.add.reduceat(weight, first)
            users, items, y = users[first], items[first], products / weight
        starts = np.zeros(n_users + 2, dtype=np.int64)
        np.cumsum(np.bincount(users, minlength=n_users + 1), out=starts[1:])
        weights = None if (weight == 1).all() else _small(weight)
        return cls(items.astype(np.int32), _small(y), weights, starts)

    def of_user(self, code: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Item codes, ratings and weights of a user, as int64 and float64."""
        rows = slice(self.starts[code], self.starts[code + 1])
        items, ratings = self.items[rows].astype(np.int64), self.ratings[rows].astype(np.float64)
        if self.weights is None:
            return items, ratings, np.ones(len(items))
        return items, ratings, self.weights[rows].astype(np.float64)

    def with_users(self, later: Self) -> Self:
        """Append the ratings of new users, whose codes are larger than those of all users here."""
        n_here = len(self.starts)
        starts = np.concatenate([self.starts, self.starts[-1] + later.starts[n_here:]])
        items, ratings = (
            np.concatenate([getattr(self, name), getattr(later, name)])
            for name in ("items", "ratings")
        )
        weights = None
        if self.weights is not None or later.weights is not None:
            both = (
                np.ones(len(r.items)) if r.weights is None else r.weights for r in (self, later)
            )
            weights = np.concatenate(list(both))
        return type(self)(items, ratings, weights, starts)


def _small(values: np.ndarray) -> np.ndarray:
    """Convert numbers to float32 if it represents all of them."""
    small = values.astype(np.float32)
    return small if (small == values).all() else values.astype(np.float64)
