"""The splitter that tests on the last interactions of each user."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Iterator
from numbers import Integral

import numpy as np
from sklearn.utils import check_random_state, check_scalar

from sklrec._utils.warnings import warn
from sklrec.model_selection._columns import SplitColumns
from sklrec.model_selection._splitter import InteractionSplitter, Split


class LastInteractionsSplit(InteractionSplitter):
    """Hold out the last interactions of each user, in one split.

    Parameters
    ----------
    n_interactions : int, default=10
        Number of test rows of each user.
    user : int or str, default="auto"
        The column of users, by position or by name. "auto" takes the column named `user`, or
        the first column if X has neither a column `user` nor a column `item`.
    timestamp : int or str, default="auto"
        The column of timestamps, by position or by a DataFrame's column name. It holds numbers or
        datetimes; datetimes without a time zone are read as UTC. "auto" is the column of a
        DataFrame that is named `timestamp`. None assumes that rows are in the order of time, and
        warns if a column named `timestamp` has another order.
    min_train : int, default=1
        Minimum number of training rows of each user. Users with fewer interactions than
        `n_interactions` + `min_train` have fewer test rows, or none.
    random_state : int, RandomState instance or None, default=None
        Seed of a random order among interactions of a user with equal timestamps. None keeps the
        order of the rows, and warns if the cut of a user lies between equal timestamps.

    Warnings
    --------
    The future of other users leaks: training rows of one user may be later than test rows of
    another, and show how an item was rated afterwards. Where that matters, use `GlobalTimeSplit`:
    all its training rows are earlier than all its test rows.

    See Also
    --------
    GlobalTimeSplit : Splits all rows at points in time.
    UserStratifiedKFold : Tests on interactions of each user from any time.

    Notes
    -----
    The training rows of a user are never later than the test rows of the same user. So the own
    future of a user does not leak, as it does in random splits. Every test user has training rows,
    unless `min_train` is 0.

    The cut of a user may lie between equal timestamps. The order of these interactions is not
    known, and the order of the rows may leak information, for example if a file lists the best
    films of a user first. A warning says for how many users this is so. `random_state` then draws
    the test rows at random. Without such ties the split does not depend on the order of the rows,
    unless `timestamp` is None.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklrec.model_selection import LastInteractionsSplit
    >>> X = pd.DataFrame(
    ...     {
    ...         "user": ["ann", "bob", "ann", "bob", "ann", "eve"],
    ...         "item": [1, 1, 2, 2, 3, 1],
    ...         "timestamp": [30, 10, 20, 40, 50, 60],
    ...     }
    ... )
    >>> for train, test in LastInteractionsSplit(2).split(X):
    ...     print(train, test)
    [1 2 5] [0 3 4]
    """

    def __init__(
        self, n_interactions=10, *, user="auto", timestamp="auto", min_train=1, random_state=None
    ):
        self.n_interactions = n_interactions
        self.user = user
        self.timestamp = timestamp
        self.min_train = min_train
        self.random_state = random_state

    def _split(self, columns: SplitColumns) -> Iterator[Split]:
        n_interactions = check_scalar(self.n_interactions, "n_interactions", Integral, min_val=1)
        min_train = check_scalar(self.min_train, "min_train", Integral, min_val=0)
        users = columns.codes("user", self.user)
        times = columns.times(self.timestamp, users)

        if self.random_state is None:
            order = np.lexsort((times, users))
        else:
            draw = check_random_state(self.random_state).permutation(len(users))
            order = np.lexsort((draw, times, users))
        counts = np.bincount(users)
        held_out = np.minimum(n_interactions, np.maximum(counts - min_train, 0))
        users = users[order]
        is_test = np.arange(len(order)) >= (np.cumsum(counts) - held_out)[users]
        if is_test.all() or not is_test.any():
            raise ValueError(
                f"All rows would be {'test' if is_test.any() else 'training'} rows: the most "
                f"active user has {counts.max()} interactions, with n_interactions="
                f"{n_interactions} and min_train={min_train}. Change one of these parameters."
            )
        if self.random_state is None:
            _warn_of_ties(times[order], is_test)
        yield np.sort(order[~is_test]), np.sort(order[is_test])

    def _n_splits(self) -> int:
        return 1


def _warn_of_ties(times: np.ndarray, is_test: np.ndarray) -> None:
    """Warn if the cut of a user lies between equal times, given rows sorted by user and time."""
    # A test row after a training row is of the same user: either every user has a training row
    # first (min_train > 0), or every user has a test row last.
    is_first = is_test[1:] & ~is_test[:-1]
    n_parted = (is_first & (times[1:] == times[:-1])).sum()
    if n_parted:
        warn(
            f"For {n_parted} of {is_first.sum()} users LastInteractionsSplit cuts between equal "
            "timestamps, where the order of the rows decides which interactions are the last. "
            "Give random_state= an int for a random draw."
        )
