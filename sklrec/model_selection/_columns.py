"""What splitters read of X: users as codes, and times as numbers."""
# SPDX-License-Identifier: BSD-3-Clause

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from sklrec._timestamps import read_timestamps, resolve_timestamp
from sklrec._validation import check_interactions, column_values, resolve_columns
from sklrec._vocabulary import Vocabulary


class SplitColumns:
    """The columns that a splitter reads.

    Parameters
    ----------
    splitter : object
        The splitter, whose class names itself in messages.
    X : {DataFrame, array-like} of shape (n_samples, n_features)
        The interactions, a row each.
    """

    def __init__(self, splitter: Any, X: Any):
        # Columns are found by an estimator that knows their names; a splitter learns nothing.
        self._estimator = type(type(splitter).__name__, (BaseEstimator,), {})()
        self._X = check_interactions(self._estimator, X, reset=True, min_features=1)
        self._names = getattr(self._estimator, "feature_names_in_", range(self._X.shape[1]))

    def users(self, user: int | str) -> np.ndarray:
        """Give the users as codes.

        Parameters
        ----------
        user : int or str
            The column, by position or name.

        Returns
        -------
        ndarray of shape (n_samples,)
            Whole numbers, the same for the same user.
        """
        (position,) = resolve_columns(self._estimator, (user,), self._X)
        return Vocabulary.build(column_values(self._X, position), self._names[position])[1]

    def times(self, timestamp: int | str | None) -> np.ndarray:
        """Give the times as numbers.

        Parameters
        ----------
        timestamp : int, str or None
            The column, by position or name; "auto" for the one named `timestamp`. None stands
            for the order of the rows.

        Returns
        -------
        ndarray of shape (n_samples,)
            The times, in int64 or float64.

        Raises
        ------
        ValueError
            If there is no such column.
        """
        if timestamp is None:
            return np.arange(self._X.shape[0])
        position = resolve_timestamp(self._estimator, timestamp, self._X)
        if position is None:
            raise ValueError(
                f"{type(self._estimator).__name__} splits by time, but X has no column named "
                "'timestamp'. Give timestamp= the column's position or name, or None if the rows "
                "of X are in the order of time."
            )
        return read_timestamps(column_values(self._X, position), self._names[position])
