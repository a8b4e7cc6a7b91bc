"""The splitters that hold out whole users, or whole items, in folds."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Iterator

import numpy as np
from sklearn.model_selection import GroupKFold

from sklrec.model_selection._cold_split import ColdSplit
from sklrec.model_selection._splitter import Split


class _ColdKFold(ColdSplit):
    """`GroupKFold` over the IDs of one column of X."""

    def _by_groups(self) -> GroupKFold:
        return GroupKFold(self.n_splits, shuffle=self.shuffle, random_state=self.random_state)

    def _split_groups(
        self, splitter: GroupKFold, codes: np.ndarray, n_ids: int
    ) -> Iterator[Split]:
        if n_ids < splitter.n_splits:
            raise ValueError(
                f"n_splits={self.n_splits} folds of whole {self._side}s cannot be had from "
                f"{n_ids} {self._side}s: lower n_splits."
            )
        yield from splitter.split(codes, groups=codes)


class ColdUserKFold(_ColdKFold):
    """Hold out all interactions of some users in each fold, every user once.

    It is `GroupKFold` with the users as groups, read from X, so that nobody has to pass them.

    Parameters
    ----------
    n_splits : int, default=5
        Number of folds, at least 2 and at most as many as there are users.
    user : int or str, default=0
        The column of users, by position or by a DataFrame's column name.
    shuffle : bool, default=False
        Whether users are drawn into the folds by lot, in equal numbers. Otherwise the most
        active go first, each into the fold that has the fewest rows so far, which makes the
        folds' rows as equal as can be.
    random_state : int, RandomState instance or None, default=None
        Draws the users if `shuffle` is True: the same for the same int.

    Warnings
    --------
    Others' future leaks: training rows may be later than test rows, and tell how an item was
    received since. Only `GlobalTimeSplit` keeps that out.

    See Also
    --------
    ColdUserShuffleSplit : Holds out a share of the users, by lot.
    ColdItemKFold : Holds out items.
    UserStratifiedKFold : Holds out some interactions of each user.
    sklearn.model_selection.GroupKFold : Takes the groups as an argument.

    Notes
    -----
    No user of a test row has a training row. The score is that of the model's fallback for unknown
    users, or of its use of their side features. To predict from a few first ratings of the test
    users, pass these to `partial_fit` or as `history` first. Items are not held out, but an item
    that only test users rated is new as well.

    Folds do not depend on the order of the rows, if the IDs are of a kind that can be sorted.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklrec.model_selection import ColdUserKFold
    >>> X = pd.DataFrame(
    ...     {
    ...         "user": ["ann", "bob", "ann", "eve", "ann", "bob"],
    ...         "item": [1, 1, 2, 2, 3, 3],
    ...     }
    ... )
    >>> for train, test in ColdUserKFold(2).split(X):
    ...     print(train, test)
    [1 3 5] [0 2 4]
    [0 2 4] [1 3 5]
    """

    _side = "user"

    def __init__(self, n_splits=5, *, user=0, shuffle=False, random_state=None):
        self.n_splits = n_splits
        self.user = user
        self.shuffle = shuffle
        self.random_state = random_state


class ColdItemKFold(_ColdKFold):
    """Hold out all interactions of some items in each fold, every item once.

    It is `GroupKFold` with the items as groups, read from X, so that nobody has to pass them.

    Parameters
    ----------
    n_splits : int, default=5
        Number of folds, at least 2 and at most as many as there are items.
    item : int or str, default=1
        The column of items, by position or by a DataFrame's column name.
    shuffle : bool, default=False
        Whether items are drawn into the folds by lot, in equal numbers. Otherwise the most
        popular go first, each into the fold that has the fewest rows so far, which makes the
        folds' rows as equal as can be.
    random_state : int, RandomState instance or None, default=None
        Draws the items if `shuffle` is True: the same for the same int.

    Warnings
    --------
    Users' own future leaks: training rows may be later than test rows of the same user. Only
    `GlobalTimeSplit` keeps all of the future out; of its test rows, those whose item has no
    training row ask about new items.

    See Also
    --------
    ColdItemShuffleSplit : Holds out a share of the items, by lot.
    ColdUserKFold : Holds out users.
    sklearn.model_selection.GroupKFold : Takes the groups as an argument.

    Notes
    -----
    No item of a test row has a training row. The score is that of the fallback which a model has
    for new items, or of what it makes of their side features. Users are not held out, though a
    user who rated only test items is new as well.

    Folds do not depend on the order of the rows, if the IDs are of a kind that can be sorted.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklrec.model_selection import ColdItemKFold
    >>> X = pd.DataFrame(
    ...     {
    ...         "user": ["ann", "bob", "ann", "eve", "ann", "bob"],
    ...         "item": [1, 1, 2, 2, 3, 1],
    ...     }
    ... )
    >>> for train, test in ColdItemKFold(2).split(X):
    ...     print(train, test)
    [2 3 4] [0 1 5]
    [0 1 5] [2 3 4]
    """

    _side = "item"

    def __init__(self, n_splits=5, *, item=1, shuffle=False, random_state=None):
        self.n_splits = n_splits
        self.item = item
        self.shuffle = shuffle
        self.random_state = random_state
