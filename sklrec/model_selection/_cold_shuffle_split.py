"""The splitters that hold out a share of the users, or of the items, by lot."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Iterator
from numbers import Integral

import numpy as np
from sklearn.model_selection import GroupShuffleSplit
from sklearn.utils import check_random_state, check_scalar

from sklrec.model_selection._cold_split import ColdSplit
from sklrec.model_selection._splitter import Split


class _ColdShuffleSplit(ColdSplit):
    """`GroupShuffleSplit` over the IDs of one column of X."""

    def _by_groups(self) -> GroupShuffleSplit:
        return GroupShuffleSplit(
            int(check_scalar(self.n_splits, "n_splits", Integral, min_val=1)),
            test_size=self.test_size,
            train_size=self.train_size,
            random_state=self.random_state,
        )

    def _split_groups(
        self, splitter: GroupShuffleSplit, codes: np.ndarray, n_ids: int
    ) -> Iterator[Split]:
        splitter.random_state = check_random_state(self.random_state)
        try:
            yield from splitter.split(codes, groups=codes)
        except ValueError as error:
            raise ValueError(
                f"{error}\nThe samples of {type(self).__name__} are {self._side}s, and X has "
                f"{n_ids} of them."
            ) from error


class ColdUserShuffleSplit(_ColdShuffleSplit):
    """Hold out all interactions of users drawn by lot, anew in each split.

    It is `GroupShuffleSplit` with the users as groups, read from X, so that nobody has to pass
    them.

    Parameters
    ----------
    n_splits : int, default=5
        Number of splits; 1 gives a single one.
    user : int or str, default=0
        The column of users, by position or by a DataFrame's column name.
    test_size : int or float, default=None
        The test users: their number or, if a float between 0 and 1, their share, rounded up.
        None takes those that are not in training or, if `train_size` is None too, 0.2.
    train_size : int or float, default=None
        The training users, likewise. None takes those that are not test users.
    random_state : int, RandomState instance or None, default=None
        Draws the users: the same for the same int.

    Warnings
    --------
    Others' future leaks: training rows may be later than test rows, and tell how an item was
    received since. Only `GlobalTimeSplit` keeps that out.

    See Also
    --------
    ColdUserKFold : Holds out every user once, in folds.
    ColdItemShuffleSplit : Holds out items.
    sklearn.model_selection.GroupShuffleSplit : Takes the groups as an argument.

    Notes
    -----
    No user of a test row has a training row; `ColdUserKFold` tells what that asks of a model.
    Sizes count users, so that the shares of rows are those only about. Which users are drawn
    does not depend on the order of the rows, if the IDs are of a kind that can be sorted.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklrec.model_selection import ColdUserShuffleSplit
    >>> X = pd.DataFrame(
    ...     {
    ...         "user": ["ann", "bob", "ann", "eve", "ann", "bob"],
    ...         "item": [1, 1, 2, 2, 3, 3],
    ...     }
    ... )
    >>> for train, test in ColdUserShuffleSplit(1, test_size=1, random_state=0).split(X):
    ...     print(train, test)
    [0 1 2 4 5] [3]
    """

    _side = "user"

    def __init__(self, n_splits=5, *, user=0, test_size=None, train_size=None, random_state=None):
        self.n_splits = n_splits
        self.user = user
        self.test_size = test_size
        self.train_size = train_size
        self.random_state = random_state


class ColdItemShuffleSplit(_ColdShuffleSplit):
    """Hold out all interactions of items drawn by lot, anew in each split.

    It is `GroupShuffleSplit` with the items as groups, read from X, so that nobody has to pass
    them.

    Parameters
    ----------
    n_splits : int, default=5
        Number of splits; 1 gives a single one.
    item : int or str, default=1
        The column of items, by position or by a DataFrame's column name.
    test_size : int or float, default=None
        The test items: their number or, if a float between 0 and 1, their share, rounded up.
        None takes those that are not in training or, if `train_size` is None too, 0.2.
    train_size : int or float, default=None
        The training items, likewise. None takes those that are not test items.
    random_state : int, RandomState instance or None, default=None
        Draws the items: the same for the same int.

    Warnings
    --------
    Users' own future leaks: training rows may be later than test rows of the same user. Only
    `GlobalTimeSplit` keeps all of the future out.

    See Also
    --------
    ColdItemKFold : Holds out every item once, in folds.
    ColdUserShuffleSplit : Holds out users.
    sklearn.model_selection.GroupShuffleSplit : Takes the groups as an argument.

    Notes
    -----
    No item of a test row has a training row; `ColdItemKFold` tells what that asks of a model.
    Sizes count items, so that the shares of rows are those only about. Which items are drawn
    does not depend on the order of the rows, if the IDs are of a kind that can be sorted.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklrec.model_selection import ColdItemShuffleSplit
    >>> X = pd.DataFrame(
    ...     {
    ...         "user": ["ann", "bob", "ann", "eve", "ann", "bob"],
    ...         "item": [1, 1, 2, 2, 3, 1],
    ...     }
    ... )
    >>> for train, test in ColdItemShuffleSplit(1, test_size=1, random_state=0).split(X):
    ...     print(train, test)
    [0 1 2 3 5] [4]
    """

    _side = "item"

    def __init__(self, n_splits=5, *, item=1, test_size=None, train_size=None, random_state=None):
        self.n_splits = n_splits
        self.item = item
        self.test_size = test_size
        self.train_size = train_size
        self.random_state = random_state
