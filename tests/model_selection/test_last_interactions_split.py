"""The splitter that tests on the last interactions of each user."""
# SPDX-License-Identifier: BSD-3-Clause

import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sklrec.model_selection import LastInteractionsSplit


def split(splitter, X):
    ((train, test),) = splitter.split(X)
    return train.tolist(), test.tolist()


@pytest.fixture
def log():
    return pd.DataFrame(
        {
            "user": ["ann", "bob", "ann", "bob", "ann", "eve"],
            "item": [1, 1, 2, 2, 3, 1],
            "timestamp": [30, 10, 20, 40, 50, 60],
        },
        index=[9, 9, 1, 2, 3, 4],
    )


@pytest.mark.parametrize(
    ("parameters", "test"),
    [
        ({"n_interactions": 1}, [3, 4]),
        ({"n_interactions": 2}, [0, 3, 4]),
        ({}, [0, 3, 4]),
        ({"n_interactions": 2, "min_train": 2}, [4]),
        ({"n_interactions": 1, "min_train": 0}, [3, 4, 5]),
        ({"n_interactions": 2, "min_train": 0}, [0, 1, 3, 4, 5]),
    ],
)
def test_the_last_of_each_user(log, parameters, test):
    train = [row for row in range(6) if row not in test]
    splitter = LastInteractionsSplit(**parameters)
    assert split(splitter, log) == (train, test)
    as_dates = log.assign(timestamp=pd.to_datetime(log["timestamp"], unit="D", utc=True))
    assert split(splitter, as_dates) == (train, test)


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3)), min_size=1, max_size=40),
    st.integers(1, 4),
    st.integers(0, 3),
    st.sampled_from([None, 0, 1]),
)
def test_counts_and_order(rows, n_interactions, min_train, seed):
    X = pd.DataFrame(rows, columns=["user", "timestamp"])
    splitter = LastInteractionsSplit(n_interactions, min_train=min_train, random_state=seed)
    counts = X["user"].value_counts()
    wanted = np.minimum((counts - min_train).clip(lower=0), n_interactions)
    if wanted.sum() in (0, len(X)):
        with pytest.raises(ValueError, match="All rows would be"):
            split(splitter, X)
        return
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        train, test = split(splitter, X)
    assert sorted(train + test) == list(range(len(X)))
    assert train == sorted(train) and test == sorted(test)
    assert (
        X.iloc[test]["user"].value_counts().reindex(counts.index, fill_value=0) == wanted
    ).all()
    latest = X.iloc[train].groupby("user")["timestamp"].max()
    earliest = X.iloc[test].groupby("user")["timestamp"].min()
    latest = latest.reindex(earliest.index).fillna(-1)
    assert (latest <= earliest).all()
    n_parted, n_users = (latest == earliest).sum(), (latest >= 0).sum()
    told = [str(warning.message).partition(" LastInteractionsSplit")[0] for warning in caught]
    is_told = n_parted and seed is None
    assert told == ([f"For {n_parted} of {n_users} users"] if is_told else [])


def test_ties_keep_the_order_of_rows_or_get_a_random_one():
    X = pd.DataFrame({"user": [1] * 100, "timestamp": [0] * 50 + [1] * 50})
    text = (
        "For 1 of 1 users LastInteractionsSplit cuts between equal timestamps, where the order of "
        r"the rows decides which interactions are the last\. Give random_state= an int for a ra"
    )
    with pytest.warns(UserWarning, match=text) as caught:
        assert split(LastInteractionsSplit(10), X)[1] == list(range(90, 100))
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert split(LastInteractionsSplit(50), X)[1] == list(range(50, 100))  # the whole tie
    drawn = [split(LastInteractionsSplit(10, random_state=seed), X)[1] for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert min(map(min, drawn)) >= 50  # within the tie alone
    splitter = LastInteractionsSplit(10, random_state=np.random.RandomState(0))
    assert split(splitter, X) != split(splitter, X)


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        (
            {"min_train": 3},
            "All rows would be training rows: the most active user has 3 interactions, with "
            r"n_interactions=10 and min_train=3\. Change one of these parameters\.",
        ),
        ({"min_train": 0}, "All rows would be test rows: the most active user has 3 interactions"),
        ({"n_interactions": 0}, "n_interactions == 0, must be >= 1"),
        ({"min_train": -1}, "min_train == -1, must be >= 0"),
        ({"n_interactions": 1.5}, "n_interactions must be an instance of"),
        ({"min_train": 1.5}, "min_train must be an instance of"),
    ],
)
def test_impossible_splits_are_refused(log, parameters, text):
    with pytest.raises((TypeError, ValueError), match=text):
        split(LastInteractionsSplit(**parameters), log)


def test_infinite_timestamps_are_refused(log):
    with pytest.raises(ValueError, match="Column 'timestamp' holds inf in row 1"):
        split(LastInteractionsSplit(), log.assign(timestamp=[1, np.inf] * 3))
