"""The splitter that spreads the interactions of each user over the folds."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Iterator

import numpy as np
from sklearn.model_selection import KFold, PredefinedSplit
from sklearn.utils import check_random_state

from sklrec._utils.runs import is_new
from sklrec._utils.warnings import warn
from sklrec.model_selection._columns import SplitColumns
from sklrec.model_selection._splitter import InteractionSplitter, Split


class UserStratifiedKFold(InteractionSplitter):
    """Spread the interactions of each user evenly over the folds.

    This is `StratifiedKFold` with users in place of classes. Of the n rows of a user, each test
    part has n / `n_splits`, rounded up or down. The sizes of the folds differ by one row at most.

    Parameters
    ----------
    n_splits : int, default=5
        Number of folds, at least 2 and at most as many as there are rows.
    user : int or str, default="auto"
        The column of users, by position or by name. "auto" takes the column named `user`, or
        the first column if X has neither a column `user` nor a column `item`.
    item : int or str, default="auto"
        The column of items, by position or by name. "auto" takes the column named `item`, or
        the second column if X has neither a column `user` nor a column `item`. It is read only
        to warn if a pair of user and item is on both sides of a split. None turns the warning
        off.
    shuffle : bool, default=False
        Whether to assign the rows of a user to folds at random. Otherwise each fold has
        consecutive rows of the user.
    random_state : int, RandomState instance or None, default=None
        Seed of the random assignment if `shuffle` is True. The result also depends on the order
        of the rows.

    Warnings
    --------
    The future leaks, of the test user and of other users: training rows may be later than test
    rows. The score measures how well a model fills gaps in a table of ratings, and not how well it
    predicts the future. Use `LastInteractionsSplit` or `GlobalTimeSplit` where time matters.

    See Also
    --------
    ColdUserKFold : Holds out all interactions of some users.
    LastInteractionsSplit : Holds out the latest interactions of each user.
    sklearn.model_selection.KFold : Spreads the rows without regard to users.
    sklearn.model_selection.StratifiedKFold : Spreads classes of y.

    Notes
    -----
    A user with fewer rows than folds has one row in some folds, and none in the others. Every
    user with two rows or more has a training row in each split, so only users with a single row
    are unknown to the model. The score of each fold thus measures predictions for known users, in
    the proportions of the log.

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

    def __init__(self, n_splits=5, *, user="auto", item="auto", shuffle=False, random_state=None):
        self.n_splits = n_splits
        self.user = user
        self.item = item
        self.shuffle = shuffle
        self.random_state = random_state

    def _split(self, columns: SplitColumns) -> Iterator[Split]:
        n_splits = self._n_splits()
        users = columns.codes("user", self.user)
        if len(users) < n_splits:
            raise ValueError(
                f"X has {len(users)} rows, too few for n_splits={n_splits} folds. Lower n_splits."
            )
        folds = self._deal(users, n_splits)
        if self.item is not None:
            _warn_of_repeats(users, columns.codes("item", self.item), folds)
        yield from PredefinedSplit(folds).split()

    def _n_splits(self) -> int:
        # KFold checks these three parameters.
        return KFold(
            self.n_splits, shuffle=self.shuffle, random_state=self.random_state
        ).get_n_splits()

    def _deal(self, users: np.ndarray, n_splits: int) -> np.ndarray:
        """Return the fold of each row."""
        n_rows = len(users)
        if self.shuffle:
            rng = check_random_state(self.random_state)
            # Users are shuffled too, because their order decides which folds get the rows that do
            # not divide evenly.
            users = rng.permutation(users.max() + 1)[users]
            order = np.lexsort((rng.permutation(n_rows), users))
        else:
            order = np.argsort(users, kind="stable")
        # Deal rows to the folds in turn, and continue with the next user at the next fold. So the
        # parts of each user and the folds have equal sizes, up to one row.
        dealt = np.arange(n_rows) % n_splits
        folds = np.empty(n_rows, dtype=np.int64)
        folds[order] = dealt[np.lexsort((dealt, users[order]))]  # consecutive rows
        return folds


def _warn_of_repeats(users: np.ndarray, items: np.ndarray, folds: np.ndarray) -> None:
    """Warn if a pair of user and item has rows in several folds."""
    n_folds = folds.max() + 1
    keys = np.sort((users * (items.max() + 1) + items) * n_folds + folds)
    pairs = keys[is_new(keys)] // n_folds  # a pair comes once for each fold that it is in
    repeated = pairs[~is_new(pairs)]
    if len(repeated):
        warn(
            f"UserStratifiedKFold puts {is_new(repeated).sum()} of {is_new(pairs).sum()} pairs "
            "of user and item on both sides of a split, so that a model can memorise them. Keep "
            "one row of each pair, for example with drop_duplicates, or give item=None if pairs "
            "may repeat."
        )
