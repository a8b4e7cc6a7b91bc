"""What all splitters share: how they are called."""
# SPDX-License-Identifier: BSD-3-Clause

from abc import abstractmethod
from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn.model_selection import BaseCrossValidator

from sklrec.model_selection._columns import SplitColumns

Split = tuple[np.ndarray, np.ndarray]


class InteractionSplitter(BaseCrossValidator):
    """A cross-validator that goes by columns of X."""

    @abstractmethod
    def _split(self, columns: SplitColumns) -> Iterator[Split]:
        """The rows of each split, once they have been checked."""

    @abstractmethod
    def _n_splits(self) -> int:
        """The number of splits, once the parameters that tell it have been checked."""

    def split(self, X: Any, y: Any = None, groups: Any = None) -> Iterator[Split]:
        """Generate the rows of each split.

        Parameters
        ----------
        X : {DataFrame, array-like} of shape (n_samples, n_features)
            The interactions, a row each, in any order.
        y : array-like of shape (n_samples,), default=None
            Ignored but for its length.
        groups : array-like of shape (n_samples,), default=None
            Ignored, with a warning: the columns of X tell what belongs together.

        Yields
        ------
        train : ndarray
            The training rows, ascending.
        test : ndarray
            The test rows, ascending.

        Raises
        ------
        ValueError
            If X lacks a column that the splitter goes by, or has too little in it for such
            splits.

        Warns
        -----
        UserWarning
            If `groups` are given, or where the splitter's parameters tell of a warning.
        """
        yield from self._split(SplitColumns(self, X, y, groups))

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
            How many pairs `split` generates.
        """
        return self._n_splits()
