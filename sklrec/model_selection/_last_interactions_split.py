"""The splitter that tests on the latest interactions of each user."""
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
        How many interactions of each user are test rows.
    user : int or str, default=0
        The column of users, by position or by a DataFrame's column name.
    timestamp : int or str, default="auto"
        The column of timestamps, likewise: numbers, or datetimes, which without a time zone are
        read as UTC. "auto" is the column of a DataFrame that is named `timestamp`; None takes
        the order of the rows for that of time, and warns if a column of that name tells another.
    min_train : int, default=1
        How many interactions of each user stay in training at least: users with fewer than
        `n_interactions` + `min_train` have fewer test rows, perhaps none.
    random_state : int, RandomState instance or None, default=None
        Puts the interactions that a user had at one time in a random order, the same for the
        same int. With None they keep the order of the rows, and a warning tells for how many users
        the cut runs through interactions of one time.

    Warnings
    --------
    Others' future leaks: training rows of one user may be later than test rows of another, and
    tell how an item was received since. Where that matters use `GlobalTimeSplit`, whose training
    rows are all earlier than all test rows.

    See Also
    --------
    GlobalTimeSplit : Splits the whole log at moments.
    UserStratifiedKFold : Tests on interactions of each user from any time.

    Notes
    -----
    No user's training rows are later than the user's test rows, so that what is asked about a
    user is never answered by the user's own future, as it is if rows are split at random. And
    every test user has a past, `min_train` allowing.

    The cut may run through interactions of one timestamp. Their order is not known, and that of
    the rows may tell something that it should not, for instance if a file lists a user's best
    films first. A warning says where that is so; `random_state` then gives a fair draw. Without
    such ties the split does not depend on the order of the rows, unless `timestamp` is None.

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
        self, n_interactions=10, *, user=0, timestamp="auto", min_train=1, random_state=None
    ):
        self.n_interactions = n_interactions
        self.user = user
        self.timestamp = timestamp
        self.min_train = min_train
        self.random_state = random_state

    def _split(self, columns: SplitColumns) -> Iterator[Split]:
        n_interactions = check_scalar(self.n_interactions, "n_interactions", Integral, min_val=1)
        min_train = check_scalar(self.min_train, "min_train", Integral, min_val=0)
        users = columns.codes(self.user)
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
                f"active user has {counts.max()} interactions, of which up to "
                f"n_interactions={n_interactions} are test rows and at least "
                f"min_train={min_train} are training rows. Change one of these."
            )
        if self.random_state is None:
            _warn_of_ties(times[order], is_test)
        yield np.sort(order[~is_test]), np.sort(order[is_test])

    def _n_splits(self) -> int:
        return 1


def _warn_of_ties(times: np.ndarray, is_test: np.ndarray) -> None:
    """Warn if interactions of one user and time, sorted by both, are on both sides of the cut."""
    # A test row after a training row is of the same user: either every user has a training row
    # first (min_train > 0), or every user has a test row last.
    is_first = is_test[1:] & ~is_test[:-1]
    n_parted = (is_first & (times[1:] == times[:-1])).sum()
    if n_parted:
        warn(
            f"For {n_parted} of {is_first.sum()} users LastInteractionsSplit cuts through "
            "interactions of one timestamp, where the order of the rows decides which are the "
            "last. Give random_state= an int for a fair draw.",
            UserWarning,
        )
