"""The splitter that trains on the past of all users and tests on the future."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Iterator
from math import ceil
from numbers import Integral, Real

import numpy as np
from sklearn.utils import check_scalar

from sklrec.model_selection._columns import SplitColumns
from sklrec.model_selection._splitter import InteractionSplitter, Split


class GlobalTimeSplit(InteractionSplitter):
    """Split a log at points in time: train on all earlier rows, test on the rows that follow.

    As in `TimeSeriesSplit`, each training part holds the training part and the test part before
    it. But the splits depend on timestamps and not on the order of the rows, and equal timestamps
    are never on both sides of a split.

    Parameters
    ----------
    n_splits : int, default=5
        Number of splits.
    test_size : int or float, default=None
        Size of each test part: a number of rows or, if a float between 0 and 1, a share of all
        rows. None cuts the log into `n_splits` + 1 parts of about equal size. A part starts at the
        timestamp that is nearest to this size, so it may have a few rows more or less.
    timestamp : int or str, default="auto"
        The column of timestamps, by position or by a DataFrame's column name. It holds numbers or
        datetimes; datetimes without a time zone are read as UTC. "auto" is the column of a
        DataFrame that is named `timestamp`. None assumes that rows are in the order of time, and
        warns if a column named `timestamp` has another order.

    Warnings
    --------
    The split cannot prevent leaks through values that were computed from all rows: a column of X
    with the mean rating of each item, an encoder fitted on all rows, or settings that were chosen
    on the test parts. Put such steps into a pipeline, and keep a last part of the log for the
    final test.

    See Also
    --------
    LastInteractionsSplit : Tests on the latest interactions of each user.
    ColdUserKFold : Tests on unknown users.
    sklearn.model_selection.TimeSeriesSplit : Splits by the order of the rows.

    Notes
    -----
    Every training row is strictly earlier than every test row. So later ratings of users and of
    items do not leak into training, as they do in random splits. This split is the nearest to a
    model in use, which is trained once and then predicts new interactions. Many test users have no
    interaction in training, as in real use.

    The splits do not depend on the order of the rows, unless `timestamp` is None.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklrec.model_selection import GlobalTimeSplit
    >>> X = pd.DataFrame(
    ...     {
    ...         "user": [1, 1, 2, 2, 3, 3],
    ...         "item": [1, 2, 1, 2, 1, 2],
    ...         "timestamp": [10, 40, 20, 30, 30, 50],
    ...     }
    ... )
    >>> for train, test in GlobalTimeSplit(n_splits=2).split(X):
    ...     print(train, test)
    [0 2] [3 4]
    [0 2 3 4] [1 5]

    The first 80 % of a log by time, and the rest:

    >>> GlobalTimeSplit(n_splits=1, test_size=0.2)
    GlobalTimeSplit(n_splits=1, test_size=0.2, timestamp='auto')
    """

    def __init__(self, n_splits=5, *, test_size=None, timestamp="auto"):
        self.n_splits = n_splits
        self.test_size = test_size
        self.timestamp = timestamp

    def _split(self, columns: SplitColumns) -> Iterator[Split]:
        n_splits = self._n_splits()
        times = columns.times(self.timestamp)
        order = np.argsort(times, kind="stable")
        cuts = self._cuts(times[order], n_splits)
        for start, stop in zip(cuts, [*cuts[1:], len(order)], strict=True):
            yield np.sort(order[:start]), np.sort(order[start:stop])

    def _n_splits(self) -> int:
        return int(check_scalar(self.n_splits, "n_splits", Integral, min_val=1))

    def _cuts(self, times: np.ndarray, n_splits: int) -> list[int]:
        """Return the start of each test part in the sorted times, always at a new timestamp."""
        n_rows = len(times)
        size = self._test_rows(n_rows, n_splits)
        wanted = n_rows - size * np.arange(n_splits, 0, -1)
        boundaries = np.flatnonzero(np.diff(times)) + 1
        if size < 1 or wanted[0] < 1:
            raise ValueError(
                f"X has {n_rows} rows, too few for {n_splits} test parts of {max(size, 1)} rows "
                f"and a training part. Lower n_splits={self.n_splits!r} or "
                f"test_size={self.test_size!r}."
            )
        if len(boundaries):
            after = np.searchsorted(boundaries, wanted)
            pairs = boundaries[np.clip([after - 1, after], 0, len(boundaries) - 1)]
            nearest = np.abs(pairs - wanted).argmin(axis=0)
            cuts = pairs[nearest, np.arange(n_splits)].tolist()
            if len(set(cuts)) == n_splits:
                return cuts
        raise ValueError(
            f"X has {len(boundaries) + 1} different timestamps in {n_rows} rows, too few or too "
            f"uneven for {n_splits} splits, because equal timestamps stay on one side. Lower "
            "n_splits, or use finer timestamps."
        )

    def _test_rows(self, n_rows: int, n_splits: int) -> int:
        if self.test_size is None:
            return n_rows // (n_splits + 1)
        if isinstance(self.test_size, Integral):
            size = int(check_scalar(self.test_size, "test_size", Integral, min_val=1))
            return min(size, n_rows)
        share = check_scalar(
            self.test_size, "test_size", Real, min_val=0, max_val=1, include_boundaries="neither"
        )
        return ceil(share * n_rows)
