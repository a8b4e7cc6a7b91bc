"""Base class of the splitters."""
# SPDX-License-Identifier: BSD-3-Clause

from abc import abstractmethod
from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn.model_selection import BaseCrossValidator

from sklrec.model_selection._columns import SplitColumns

Split = tuple[np.ndarray, np.ndarray]


class InteractionSplitter(BaseCrossValidator):
    """A cross-validator that reads columns of X."""

    @abstractmethod
    def _split(self, columns: SplitColumns) -> Iterator[Split]:
        """Yield the training rows and the test rows of each split."""

    @abstractmethod
    def _n_splits(self) -> int:
        """Check the parameters, and return the number of splits."""

    def split(self, X: Any, y: Any = None, groups: Any = None) -> Iterator[Split]:
        """Generate the rows of each split.

        Parameters
        ----------
        X : {DataFrame, array-like} of shape (n_samples, n_features)
            The interactions, one in each row, in any order.
        y : array-like of shape (n_samples,), default=None
            Ignored, except that its length is checked.
        groups : array-like of shape (n_samples,), default=None
            Ignored, with a warning. The splitter reads the columns of X.

        Yields
        ------
        train : ndarray
            The training rows, ascending.
        test : ndarray
            The test rows, ascending.

        Raises
        ------
        ValueError
            If X lacks a column that the splitter reads, or has too few rows, users, items or
            timestamps for the splits.

        Warns
        -----
        UserWarning
            If `groups` are given, or in the cases that the class describes.
        """
        yield from self._split(SplitColumns(self, X, y, groups))

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """Return the number of splits.

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
            Number of pairs (train, test) that `split` generates.
        """
        return self._n_splits()
