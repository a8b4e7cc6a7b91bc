"""Columns of X that splitters read: users and items as codes, and times as numbers."""
# SPDX-License-Identifier: BSD-3-Clause

from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator
from sklearn.utils import check_consistent_length

from sklrec._data.tables import check_interactions, named_column, resolve_sides
from sklrec._data.timestamps import need_timestamp, read_timestamps, resolve_timestamp
from sklrec._data.vocabulary import Vocabulary
from sklrec._utils.warnings import warn


class SplitColumns:
    """The columns of X that a splitter reads."""

    def __init__(self, splitter: Any, X: Any, y: Any = None, groups: Any = None):
        self._name = type(splitter).__name__
        if groups is not None:
            warn(f"{self._name} ignores the parameter groups: it reads the columns of X.")
        # The checks find columns by the names that an estimator stores, and splitters store none.
        self._estimator = type(self._name, (BaseEstimator,), {})()
        self._X = check_interactions(self._estimator, X, reset=True, min_features=1)
        check_consistent_length(self._X, y, groups)

    def codes(self, side: str, column: int | str) -> np.ndarray:
        """Return the codes of users or items from 0, in the order of IDs that can be sorted."""
        positions = resolve_sides(self._estimator, self._X, **{side: column})
        vocabulary, codes = Vocabulary.build(*self._column(positions[0]))
        try:
            return pd.factorize(vocabulary.ids, sort=True)[0][codes - 1]
        except TypeError:
            return codes - 1

    def times(self, timestamp: int | str | None, users: np.ndarray | None = None) -> np.ndarray:
        """Return the times as int64 or float64, or the row numbers if `timestamp` is None."""
        if timestamp is None:
            self._warn_of_another_order(users)
            return np.arange(self._X.shape[0])
        return read_timestamps(*self._column(need_timestamp(self._estimator, timestamp, self._X)))

    def _column(self, position: int) -> tuple[Any, int | str]:
        """Return the values and the name of a column."""
        return named_column(self._estimator, self._X, position)

    def _warn_of_another_order(self, users: np.ndarray | None) -> None:
        """Warn if a column named `timestamp` contradicts the order of rows (of each user)."""
        position = resolve_timestamp(self._estimator, "auto", self._X)
        if position is None:
            return
        try:
            times = read_timestamps(*self._column(position))
        except (TypeError, ValueError):
            return  # the column holds no times, and the user did not ask for it
        if users is None:
            users = np.zeros(len(times), dtype=np.int64)
        order = np.argsort(users, kind="stable")
        times, users = times[order], users[order]
        if ((times[1:] < times[:-1]) & (users[1:] == users[:-1])).any():
            warn(
                f"With timestamp=None {self._name} assumes that rows are in the order of time, "
                "but the column 'timestamp' of X has another order. Leave timestamp='auto', or "
                "sort X by time."
            )
