"""The splitter that trains on the past of all users and tests on the future."""
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.model_selection import TimeSeriesSplit

from sklrec.model_selection import GlobalTimeSplit


def log(times):
    return pd.DataFrame({"user": 1, "item": 1, "timestamp": times})


def parts(splitter, X):
    return [(train.tolist(), test.tolist()) for train, test in splitter.split(X)]


@pytest.mark.parametrize("parameters", [{}, {"n_splits": 2}, {"n_splits": 3, "test_size": 2}])
def test_rows_in_order_without_ties_are_split_as_by_time_series_split(parameters):
    X = log(np.arange(20))
    expected = parts(TimeSeriesSplit(**{"n_splits": 5, **parameters}), X)
    assert parts(GlobalTimeSplit(**parameters), X) == expected
    assert parts(GlobalTimeSplit(**parameters, timestamp=None), X.to_numpy()) == expected


def test_rows_may_be_in_any_order():
    X = log([5, 3, 1, 0, 2, 4])
    assert parts(GlobalTimeSplit(2), X) == [([2, 3], [1, 4]), ([1, 2, 3, 4], [0, 5])]


@pytest.mark.parametrize(
    ("times", "n_splits", "tests"),
    [
        ([0, 1, 1, 1, 1, 2], 1, [[1, 2, 3, 4, 5]]),
        ([0, 0, 0, 0, 1, 2], 1, [[4, 5]]),
        ([0, 0, 1, 1, 1, 2], 2, [[2, 3, 4], [5]]),
        ([0, 0, 0, 1, 1, 1], 1, [[3, 4, 5]]),
        ([0, 0, 1, 1, 2, 2, 3, 3], 3, [[2, 3], [4, 5], [6, 7]]),
    ],
)
def test_ties_stay_together_and_the_nearest_cut_is_taken(times, n_splits, tests):
    assert [test for _, test in parts(GlobalTimeSplit(n_splits), log(times))] == tests


@given(st.lists(st.integers(0, 12), min_size=2, max_size=40), st.integers(1, 5))
def test_every_training_row_is_strictly_earlier(times, n_splits):
    X = log(times)
    try:
        splits = list(GlobalTimeSplit(n_splits).split(X))
    except ValueError:
        assert len(set(times)) < len(times) or len(times) <= n_splits
        return
    times = np.array(times)
    assert len(splits) == n_splits
    before = np.array([], dtype=int)
    for train, test in splits:
        assert times[train].max() < times[test].min()
        assert len(train) and len(test)
        assert (np.diff(train) > 0).all() and (np.diff(test) > 0).all()
        if len(before):
            assert train.tolist() == before.tolist()
        before = np.union1d(train, test)
    assert len(before) == len(times)


@pytest.mark.parametrize(
    ("test_size", "n_test"), [(None, 5), (3, 3), (np.int64(4), 4), (0.2, 2), (0.25, 3), (0.01, 1)]
)
def test_test_size(test_size, n_test):
    ((train, test),) = GlobalTimeSplit(1, test_size=test_size).split(log(np.arange(10)[::-1]))
    assert test.tolist() == list(range(n_test))
    assert train.tolist() == list(range(n_test, 10))


@pytest.mark.parametrize(
    ("parameters", "times", "text"),
    [
        (
            {"n_splits": 5},
            range(5),
            r"X has 5 rows, too few for 5 test parts of 1 rows and a training part\. Lower "
            r"n_splits=5 or test_size=None\.",
        ),
        ({"n_splits": 2, "test_size": 3}, range(6), "X has 6 rows, too few for 2 test parts of 3"),
        ({"n_splits": 2, "test_size": 0.5}, range(6), r"Lower n_splits=2 or test_size=0\.5"),
        (
            {"n_splits": 2},
            [0, 0, 0, 0, 1, 1],
            "X has 2 different timestamps in 6 rows, too few or too uneven for 2 splits, because "
            r"equal timestamps stay on one side\. Lower n_splits, or use finer timestamps\.",
        ),
        ({"n_splits": 1}, [7, 7, 7, 7], "X has 1 different timestamps in 4 rows"),
        ({"n_splits": 2}, [0, 1, 2, 3, np.nan, 5], "Column 'timestamp' holds nan in row 4"),
        ({"n_splits": 0}, range(9), "n_splits == 0, must be >= 1"),
        ({"test_size": 0}, range(9), "test_size == 0, must be >= 1"),
        ({"test_size": 1.0}, range(9), r"test_size == 1\.0, must be < 1"),
        ({"n_splits": 2.5}, range(9), "n_splits must be an instance of"),
        ({"test_size": "x"}, range(9), "test_size must be an instance of"),
    ],
)
def test_impossible_splits_are_refused(parameters, times, text):
    with pytest.raises((TypeError, ValueError), match=text):
        list(GlobalTimeSplit(**parameters).split(log(times)))
