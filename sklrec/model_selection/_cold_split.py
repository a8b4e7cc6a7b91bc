"""What the splitters share that hold out whole users, or whole items."""
# SPDX-License-Identifier: BSD-3-Clause

from abc import abstractmethod
from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn.model_selection import BaseCrossValidator

from sklrec.model_selection._columns import SplitColumns


class ColdSplit(BaseCrossValidator):
    """One of scikit-learn's splitters by groups, over the IDs of one column of X."""

    _side: str  # the parameter that names the column

    @abstractmethod
    def _by_groups(self) -> Any:
        """Make scikit-learn's splitter, which checks the parameters."""

    @abstractmethod
    def _split_groups(
        self, splitter: Any, codes: np.ndarray, n_ids: int
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Let it split, or say what is wrong in terms of users, or items."""

    def split(
        self, X: Any, y: Any = None, groups: Any = None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Generate the rows of each split.

        Parameters
        ----------
        X : {DataFrame, array-like} of shape (n_samples, n_features)
            The interactions, a row each, in any order.
        y : array-like of shape (n_samples,), default=None
            Ignored but for its length.
        groups : array-like of shape (n_samples,), default=None
            Ignored, with a warning: the column of X tells what belongs together.

        Yields
        ------
        train : ndarray
            The training rows, ascending.
        test : ndarray
            The test rows, ascending.

        Raises
        ------
        ValueError
            If there are too few users, or items, for such folds or sizes.

        Warns
        -----
        UserWarning
            If `groups` are given.
        """
        columns = SplitColumns(self, X, y, groups)
        splitter = self._by_groups()
        codes = columns.codes(getattr(self, self._side))
        yield from self._split_groups(splitter, codes, codes.max() + 1)

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """Give the number of splits.

        Parameters
        ----------
        X : object, default=None
            Ignored.
        y : object, default=None
            Ignored.
        groups : object, default=None
            Ignored.

        Returns
        -------
        int
            `n_splits`.
        """
        return self._by_groups().get_n_splits()
