"""What splitters read of X: users and items as codes, and times as numbers."""
# SPDX-License-Identifier: BSD-3-Clause

from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator
from sklearn.utils import indexable

from sklrec._data.checks import check_interactions, column_values, resolve_columns
from sklrec._data.timestamps import read_timestamps, resolve_timestamp
from sklrec._data.vocabulary import Vocabulary
from sklrec._utils.warnings import warn


class SplitColumns:
    """The columns that a splitter reads.

    Parameters
    ----------
    splitter : object
        The splitter, whose class names itself in messages.
    X : {DataFrame, array-like} of shape (n_samples, n_features)
        The interactions, a row each.
    y : array-like of shape (n_samples,), default=None
        Only its length is looked at.
    groups : array-like of shape (n_samples,), default=None
        Likewise; a warning says that they are not used.
    """

    def __init__(self, splitter: Any, X: Any, y: Any = None, groups: Any = None):
        self._name = type(splitter).__name__
        if groups is not None:
            warn(
                f"The groups parameter is ignored by {self._name}, which reads the columns of X.",
                UserWarning,
            )
        X, y, groups = indexable(X, y, groups)
        # Columns are found by an estimator that knows their names; a splitter learns nothing.
        self._estimator = type(self._name, (BaseEstimator,), {})()
        self._X = check_interactions(self._estimator, X, reset=True, min_features=1)
        self._names = getattr(self._estimator, "feature_names_in_", range(self._X.shape[1]))

    def codes(self, column: int | str) -> np.ndarray:
        """Give the users, or the items, as codes.

        Parameters
        ----------
        column : int or str
            The column, by position or name.

        Returns
        -------
        ndarray of shape (n_samples,)
            Whole numbers from 0, in the order of the IDs, so that the order of the rows does not
            matter. IDs that cannot be sorted are in that of the rows.
        """
        (position,) = resolve_columns(self._estimator, (column,), self._X)
        values = column_values(self._X, position)
        vocabulary, codes = Vocabulary.build(values, self._names[position])
        try:
            return pd.factorize(vocabulary.ids, sort=True)[0][codes - 1]
        except TypeError:
            return codes - 1

    def times(self, timestamp: int | str | None, users: np.ndarray | None = None) -> np.ndarray:
        """Give the times as numbers.

        Parameters
        ----------
        timestamp : int, str or None
            The column, by position or name; "auto" for the one named `timestamp`. None stands
            for the order of the rows, and warns if a column named `timestamp` contradicts it.
        users : ndarray of shape (n_samples,), default=None
            The users' codes where only the order of each user's rows matters.

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
            self._warn_of_another_order(users)
            return np.arange(self._X.shape[0])
        position = resolve_timestamp(self._estimator, timestamp, self._X)
        if position is None:
            raise ValueError(
                f"{self._name} splits by time, but X has no column named "
                "'timestamp'. Give timestamp= the column's position or name, or None if the rows "
                "of X are in the order of time."
            )
        return read_timestamps(column_values(self._X, position), self._names[position])

    def _warn_of_another_order(self, users: np.ndarray | None) -> None:
        position = resolve_timestamp(self._estimator, "auto", self._X)
        if position is None:
            return
        try:
            times = read_timestamps(column_values(self._X, position), self._names[position])
        except (TypeError, ValueError):
            return  # no times after all, and nobody asked for them
        if users is None:
            users = np.zeros(len(times), dtype=np.int64)
        order = np.argsort(users, kind="stable")
        times, users = times[order], users[order]
        if ((times[1:] < times[:-1]) & (users[1:] == users[:-1])).any():
            warn(
                f"{self._name} was given timestamp=None, which takes the order of the rows for "
                "that of time, but the column 'timestamp' of X tells another order. Leave "
                "timestamp='auto', or sort X by time.",
                UserWarning,
            )
