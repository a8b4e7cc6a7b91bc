"""The splitter that spreads the interactions of each user over the folds."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Iterator

import numpy as np
from sklearn.model_selection import KFold
from sklearn.utils import check_random_state

from sklrec._utils.warnings import warn
from sklrec.model_selection._columns import SplitColumns
from sklrec.model_selection._splitter import InteractionSplitter, Split


class UserStratifiedKFold(InteractionSplitter):
    """Spread the interactions of each user evenly over the folds.

    It does with users what `StratifiedKFold` does with classes: of every user's n rows each test
    part has n / `n_splits`, rounded up or down. The folds' sizes differ by one row at most.

    Parameters
    ----------
    n_splits : int, default=5
        Number of folds, at least 2 and at most as many as there are rows.
    user : int or str, default=0
        The column of users, by position or by a DataFrame's column name.
    item : int or str, default=1
        The column of items, likewise. It is read only to warn if a pair of user and item recurs
        on both sides of a split; None leaves that out.
    shuffle : bool, default=False
        Whether it is drawn by lot which of a user's rows go into which fold. Otherwise each fold
        has a stretch of them, in the order of the rows.
    random_state : int, RandomState instance or None, default=None
        Draws the rows if `shuffle` is True: the same for the same int and the same order of rows.

    Warnings
    --------
    The future leaks, the users' own as well as others': whatever their timestamps, most rows of
    a user are training rows. The score is that of gaps filled in a table of ratings, not that of
    a forecast. Use `LastInteractionsSplit` or `GlobalTimeSplit` where the order of time matters.

    See Also
    --------
    ColdUserKFold : Holds out all interactions of some users.
    LastInteractionsSplit : Holds out the latest interactions of each user.
    sklearn.model_selection.KFold : Spreads the rows, whosever they are.
    sklearn.model_selection.StratifiedKFold : Spreads classes of y.

    Notes
    -----
    A user with fewer rows than there are folds has one row in as many folds, and none in the
    others. Every test user with two rows or more has a training row, so only a user with a
    single row is new to the model when it is tested. The score of each fold is thus one of users
    who are known, in the proportions that the log has them in.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklrec.model_selection import UserStratifiedKFold
    >>> X = pd.DataFrame(
    ...     {
    ...         "user": ["ann", "bob", "ann", "ann", "ann", "bob"],
    ...         "item": [1, 1, 2, 3, 4, 2],
    ...     }
    ... )
    >>> for train, test in UserStratifiedKFold(2).split(X):
    ...     print(train, test)
    [3 4 5] [0 1 2]
    [0 1 2] [3 4 5]
    """

    def __init__(self, n_splits=5, *, user=0, item=1, shuffle=False, random_state=None):
        self.n_splits = n_splits
        self.user = user
        self.item = item
        self.shuffle = shuffle
        self.random_state = random_state

    def _split(self, columns: SplitColumns) -> Iterator[Split]:
        n_splits = self._n_splits()
        users = columns.codes(self.user)
        if len(users) < n_splits:
            raise ValueError(
                f"n_splits={n_splits} folds cannot be had from {len(users)} rows: lower n_splits."
            )
        folds = self._deal(users, n_splits)
        if self.item is not None:
            _warn_of_repeats(users, columns.codes(self.item), folds)
        for fold in range(n_splits):
            is_test = folds == fold
            yield np.flatnonzero(~is_test), np.flatnonzero(is_test)

    def _n_splits(self) -> int:
        # scikit-learn's own checks of these three, and its own words
        return KFold(
            self.n_splits, shuffle=self.shuffle, random_state=self.random_state
        ).get_n_splits()

    def _deal(self, users: np.ndarray, n_splits: int) -> np.ndarray:
        """Give the fold of each row."""
        n_rows = len(users)
        if self.shuffle:
            rng = check_random_state(self.random_state)
            # The users are shuffled too: where the dealing stands when a user's turn comes
            # decides which folds get the rows that are left over.
            users = rng.permutation(users.max() + 1)[users]
            order = np.lexsort((rng.permutation(n_rows), users))
        else:
            order = np.argsort(users, kind="stable")
        # One row to each fold in turn, and on with the next user where the last one's rows
        # ended: so both the users' parts and the folds come out even.
        dealt = np.arange(n_rows) % n_splits
        folds = np.empty(n_rows, dtype=np.int64)
        folds[order] = dealt[np.lexsort((dealt, users[order]))]  # a user's rows in stretches
        return folds


def _warn_of_repeats(users: np.ndarray, items: np.ndarray, folds: np.ndarray) -> None:
    """Warn if a pair of user and item has rows in several folds."""
    n_folds = folds.max() + 1
    keys = np.sort((users * (items.max() + 1) + items) * n_folds + folds)
    pairs = keys[_is_new(keys)] // n_folds  # a pair comes once for each fold that it is in
    recurring = pairs[~_is_new(pairs)]
    if len(recurring):
        warn(
            f"UserStratifiedKFold puts {_is_new(recurring).sum()} of {_is_new(pairs).sum()} pairs "
            "of user and item on both sides of a split, where a model need only remember them. "
            "Keep one row of each pair, for example with drop_duplicates, or give item=None if "
            "they may recur.",
            UserWarning,
        )


def _is_new(values: np.ndarray) -> np.ndarray:
    """Where sorted values differ from the one before."""
    return np.append(True, values[1:] != values[:-1])
