"""The splitters that hold out a share of the users, or of the items, by lot."""
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import GroupShuffleSplit

from sklrec.model_selection import ColdItemShuffleSplit, ColdUserShuffleSplit

property_test = settings(max_examples=50, deadline=None, derandomize=True, database=None)
KINDS = [(ColdUserShuffleSplit, "user"), (ColdItemShuffleSplit, "item")]


@pytest.mark.parametrize(("cold", "held_out"), KINDS)
@property_test
@given(
    rows=st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), min_size=1, max_size=40),
    test_size=st.sampled_from([None, 1, 2, 0.3, 0.7]),
    seed=st.integers(0, 3),
)
def test_nobody_tested_has_a_training_row(cold, held_out, rows, test_size, seed):
    X = pd.DataFrame(rows, columns=["user", "item"])
    n_ids = X[held_out].nunique()
    share = 0.2 if test_size is None else test_size
    n_test = share if isinstance(share, int) else int(np.ceil(share * n_ids))
    splitter = cold(2, test_size=test_size, random_state=seed)
    if n_test >= n_ids:
        with pytest.raises(ValueError, match=f"are {held_out}s, and X has {n_ids} of them"):
            list(splitter.split(X))
        return
    splits = list(splitter.split(X))
    assert len(splits) == 2
    for train, test in splits:
        known, asked = set(X[held_out].iloc[train]), set(X[held_out].iloc[test])
        assert not known & asked and len(asked) == n_test and len(known) == n_ids - n_test
        assert sorted([*train, *test]) == list(range(len(X)))


@pytest.mark.parametrize(("cold", "held_out"), KINDS)
@pytest.mark.parametrize(
    "options", [{}, {"test_size": 3}, {"train_size": 0.5}, {"test_size": 1, "train_size": 4}]
)
def test_it_is_group_shuffle_split(cold, held_out, options):
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"user": rng.integers(0, 9, 99), "item": rng.integers(0, 9, 99)})
    options = {"n_splits": 3, "random_state": 0, **options}
    expected = list(GroupShuffleSplit(**options).split(X, groups=X[held_out]))
    found = list(cold(**options).split(X))
    for (train, test), (expected_train, expected_test) in zip(found, expected, strict=True):
        assert train.tolist() == expected_train.tolist()
        assert test.tolist() == expected_test.tolist()


def test_repr():
    assert repr(ColdUserShuffleSplit()) == (
        "ColdUserShuffleSplit(n_splits=5, random_state=None, test_size=None,\n"
        "           train_size=None, user=0)"
    )
    assert repr(ColdItemShuffleSplit(1, test_size=0.1)) == (
        "ColdItemShuffleSplit(item=1, n_splits=1, random_state=None, test_size=0.1,\n"
        "           train_size=None)"
    )


@pytest.mark.parametrize(("cold", "held_out"), KINDS)
@pytest.mark.parametrize(
    ("parameters", "error", "text"),
    [
        ({"n_splits": 0}, ValueError, "n_splits == 0, must be >= 1"),
        ({"n_splits": 2.5}, TypeError, "n_splits must be an instance of int, not float"),
        (
            {"test_size": 3},
            ValueError,
            r"test_size=3 should be either positive and smaller than the number of sam(?s:.)*"
            r"\nThe samples of {} are {}s, and X has 3 of them\.",
        ),
        ({"train_size": 1.5}, ValueError, r"train_size=1\.5 should be either positive"),
        ({"test_size": "x"}, ValueError, "Invalid value for test_size: x"),
        ({"random_state": "x"}, ValueError, "'x' cannot be used to seed"),
    ],
)
def test_what_cannot_be_split_is_refused(cold, held_out, parameters, error, text):
    X = np.array([[1, 1], [2, 2], [3, 3], [3, 3]])
    with pytest.raises(error, match=text.format(cold.__name__, held_out)):
        list(cold(**parameters).split(X))
