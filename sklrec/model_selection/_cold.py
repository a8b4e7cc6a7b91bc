"""Splitters that hold out whole users or whole items."""
# SPDX-License-Identifier: BSD-3-Clause

from abc import abstractmethod
from collections.abc import Iterator
from numbers import Integral

from sklearn.model_selection import GroupKFold, GroupShuffleSplit
from sklearn.utils import check_random_state, check_scalar

from sklrec.model_selection._columns import SplitColumns
from sklrec.model_selection._splitter import InteractionSplitter, Split


class _ColdSplitter(InteractionSplitter):
    """A splitter of scikit-learn over the IDs of one column of X."""

    _side: str  # the parameter that names the column

    @abstractmethod
    def _group_splitter(self) -> GroupKFold | GroupShuffleSplit:
        """Check the parameters, and make the splitter of scikit-learn."""

    def _split(self, columns: SplitColumns) -> Iterator[Split]:
        splitter = self._group_splitter()
        check_random_state(self.random_state)
        codes = columns.codes(self._side, getattr(self, self._side))
        try:
            yield from splitter.split(codes, groups=codes)
        except ValueError as error:
            raise ValueError(
                f"{error}\nThe samples of {type(self).__name__} are {self._side}s, and X has "
                f"{codes.max() + 1} of them."
            ) from error

    def _n_splits(self) -> int:
        return self._group_splitter().get_n_splits()


class _ColdKFold(_ColdSplitter):
    """`GroupKFold` over the IDs of one column of X."""

    def _group_splitter(self) -> GroupKFold:
        return GroupKFold(self.n_splits, shuffle=self.shuffle, random_state=self.random_state)


class _ColdShuffleSplit(_ColdSplitter):
    """`GroupShuffleSplit` over the IDs of one column of X."""

    def _group_splitter(self) -> GroupShuffleSplit:
        return GroupShuffleSplit(
            check_scalar(self.n_splits, "n_splits", Integral, min_val=1),
            test_size=self.test_size,
            train_size=self.train_size,
            random_state=self.random_state,
        )


class ColdUserKFold(_ColdKFold):
    """Hold out all interactions of some users in each fold, every user once.

    This is `GroupKFold` with the users as groups. It reads the groups from X.

    Parameters
    ----------
    n_splits : int, default=5
        Number of folds, at least 2 and at most as many as there are users.
    user : int or str, default="auto"
        The column of users, by position or by name. "auto" takes the column named `user`, or
        the first column if X has neither a column `user` nor a column `item`.
    shuffle : bool, default=False
        Whether to assign users to folds at random, in equal numbers. Otherwise the users with
        the most rows come first, and each goes to the fold with the fewest rows so far. The
        numbers of rows in the folds are then as equal as possible.
    random_state : int, RandomState instance or None, default=None
        Seed of the random assignment if `shuffle` is True.

    Warnings
    --------
    The future of other users leaks: training rows may be later than test rows, and show how an
    item was rated afterwards. Only `GlobalTimeSplit` prevents that.

    See Also
    --------
    ColdUserShuffleSplit : Holds out randomly drawn users.
    ColdItemKFold : Holds out items.
    UserStratifiedKFold : Holds out some interactions of each user.
    sklearn.model_selection.GroupKFold : Takes the groups as an argument.

    Notes
    -----
    No user of a test row has a training row. The score measures the predictions for unknown users:
    from the prior mean, or from side features. To predict from a few first ratings of the test
    users, pass these to `partial_fit` or as `history` first. Items are not held out, but an item
    that only test users rated is new as well.

    The folds do not depend on the order of the rows if the IDs can be sorted.

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

    def __init__(self, n_splits=5, *, user="auto", shuffle=False, random_state=None):
        self.n_splits = n_splits
        self.user = user
        self.shuffle = shuffle
        self.random_state = random_state


class ColdItemKFold(_ColdKFold):
    """Hold out all interactions of some items in each fold, every item once.

    This is `GroupKFold` with the items as groups. It reads the groups from X.

    Parameters
    ----------
    n_splits : int, default=5
        Number of folds, at least 2 and at most as many as there are items.
    item : int or str, default="auto"
        The column of items, by position or by name. "auto" takes the column named `item`, or
        the second column if X has neither a column `user` nor a column `item`.
    shuffle : bool, default=False
        Whether to assign items to folds at random, in equal numbers. Otherwise the items with
        the most rows come first, and each goes to the fold with the fewest rows so far. The
        numbers of rows in the folds are then as equal as possible.
    random_state : int, RandomState instance or None, default=None
        Seed of the random assignment if `shuffle` is True.

    Warnings
    --------
    The future of the test users leaks: training rows may be later than test rows of the same user.
    Only `GlobalTimeSplit` prevents that. Its test rows whose item has no training row measure the
    error on new items.

    See Also
    --------
    ColdItemShuffleSplit : Holds out randomly drawn items.
    ColdUserKFold : Holds out users.
    sklearn.model_selection.GroupKFold : Takes the groups as an argument.

    Notes
    -----
    No item of a test row has a training row. The score measures the predictions for unknown items:
    from the prior mean, or from side features. Users are not held out, but a user who rated only
    test items is new as well.

    The folds do not depend on the order of the rows if the IDs can be sorted.

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

    def __init__(self, n_splits=5, *, item="auto", shuffle=False, random_state=None):
        self.n_splits = n_splits
        self.item = item
        self.shuffle = shuffle
        self.random_state = random_state


class ColdUserShuffleSplit(_ColdShuffleSplit):
    """Hold out all interactions of randomly drawn users in each split.

    This is `GroupShuffleSplit` with the users as groups. It reads the groups from X.

    Parameters
    ----------
    n_splits : int, default=5
        Number of splits.
    user : int or str, default="auto"
        The column of users, by position or by name. "auto" takes the column named `user`, or
        the first column if X has neither a column `user` nor a column `item`.
    test_size : int or float, default=None
        Number of test users or, if a float between 0 and 1, their share, rounded up. None takes
        the users that are not in training, or 0.2 if `train_size` is None too.
    train_size : int or float, default=None
        Number or share of the training users. None takes all users that are not test users.
    random_state : int, RandomState instance or None, default=None
        Seed of the draw.

    Warnings
    --------
    The future of other users leaks: training rows may be later than test rows, and show how an
    item was rated afterwards. Only `GlobalTimeSplit` prevents that.

    See Also
    --------
    ColdUserKFold : Holds out every user once, in folds.
    ColdItemShuffleSplit : Holds out items.
    sklearn.model_selection.GroupShuffleSplit : Takes the groups as an argument.

    Notes
    -----
    No user of a test row has a training row. The notes of `ColdUserKFold` say what the score
    measures. Sizes count users, so the shares of rows are only approximately these. The draw does
    not depend on the order of the rows if the IDs can be sorted.

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

    def __init__(
        self, n_splits=5, *, user="auto", test_size=None, train_size=None, random_state=None
    ):
        self.n_splits = n_splits
        self.user = user
        self.test_size = test_size
        self.train_size = train_size
        self.random_state = random_state


class ColdItemShuffleSplit(_ColdShuffleSplit):
    """Hold out all interactions of randomly drawn items in each split.

    This is `GroupShuffleSplit` with the items as groups. It reads the groups from X.

    Parameters
    ----------
    n_splits : int, default=5
        Number of splits.
    item : int or str, default="auto"
        The column of items, by position or by name. "auto" takes the column named `item`, or
        the second column if X has neither a column `user` nor a column `item`.
    test_size : int or float, default=None
        Number of test items or, if a float between 0 and 1, their share, rounded up. None takes
        the items that are not in training, or 0.2 if `train_size` is None too.
    train_size : int or float, default=None
        Number or share of the training items. None takes all items that are not test items.
    random_state : int, RandomState instance or None, default=None
        Seed of the draw.

    Warnings
    --------
    The future of the test users leaks: training rows may be later than test rows of the same user.
    Only `GlobalTimeSplit` prevents that.

    See Also
    --------
    ColdItemKFold : Holds out every item once, in folds.
    ColdUserShuffleSplit : Holds out users.
    sklearn.model_selection.GroupShuffleSplit : Takes the groups as an argument.

    Notes
    -----
    No item of a test row has a training row. The notes of `ColdItemKFold` say what the score
    measures. Sizes count items, so the shares of rows are only approximately these. The draw does
    not depend on the order of the rows if the IDs can be sorted.

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

    def __init__(
        self, n_splits=5, *, item="auto", test_size=None, train_size=None, random_state=None
    ):
        self.n_splits = n_splits
        self.item = item
        self.test_size = test_size
        self.train_size = train_size
        self.random_state = random_state
