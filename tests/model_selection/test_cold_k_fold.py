"""The splitters that hold out whole users, or whole items, in folds."""
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import GroupKFold

from sklrec.model_selection import ColdItemKFold, ColdUserKFold

property_test = settings(max_examples=50, deadline=None, derandomize=True, database=None)
KINDS = [(ColdUserKFold, "user", "item"), (ColdItemKFold, "item", "user")]


@pytest.mark.parametrize(("cold", "held_out", "_"), KINDS)
@property_test
@given(
    rows=st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), min_size=1, max_size=40),
    n_splits=st.integers(2, 5),
    shuffle=st.booleans(),
)
def test_nobody_tested_has_a_training_row(cold, held_out, _, rows, n_splits, shuffle):
    X = pd.DataFrame(rows, columns=["user", "item"])
    splitter = cold(n_splits, shuffle=shuffle, random_state=0 if shuffle else None)
    counts = X[held_out].value_counts()
    if len(counts) < n_splits:
        with pytest.raises(ValueError, match=f"cannot be had from {len(counts)} {held_out}s"):
            list(splitter.split(X))
        return
    tested, n_tested, n_rows = [], [], []
    for train, test in splitter.split(X):
        known, asked = set(X[held_out].iloc[train]), set(X[held_out].iloc[test])
        assert known and asked and not known & asked
        assert sorted([*train, *test]) == list(range(len(X)))
        tested.extend(test)
        n_tested.append(len(asked))
        n_rows.append(len(test))
    assert sorted(tested) == list(range(len(X)))
    if shuffle:
        assert max(n_tested) - min(n_tested) <= 1
    else:
        assert max(n_rows) - min(n_rows) <= counts.max()


@pytest.mark.parametrize(("cold", "held_out", "_"), KINDS)
@pytest.mark.parametrize("options", [{}, {"shuffle": True, "random_state": 3}])
def test_it_is_group_k_fold(cold, held_out, _, options):
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"user": rng.integers(0, 9, 99), "item": rng.integers(0, 9, 99)})
    expected = list(GroupKFold(4, **options).split(X, groups=X[held_out]))
    found = list(cold(4, **options).split(X))
    for (train, test), (expected_train, expected_test) in zip(found, expected, strict=True):
        assert train.tolist() == expected_train.tolist()
        assert test.tolist() == expected_test.tolist()


@pytest.mark.parametrize(("cold", "held_out", "other"), KINDS)
def test_repr_and_the_other_column(cold, held_out, other):
    column = {"user": 0, "item": 1}[held_out]
    text = {
        "user": "ColdUserKFold(n_splits=5, random_state=None, shuffle=False, user=0)",
        "item": "ColdItemKFold(item=1, n_splits=5, random_state=None, shuffle=False)",
    }
    assert repr(cold()) == text[held_out]
    X = np.array([["a", "b"], ["c", "d"]])
    X[:, 1 - column] = "same"
    assert [test.tolist() for _, test in cold(2).split(X)] == [[1], [0]]
    with pytest.raises(
        ValueError, match=f"2 folds of whole {other}s cannot be had from 1 {other}s"
    ):
        other_kind = ColdItemKFold if held_out == "user" else ColdUserKFold
        list(other_kind(2).split(X))


@pytest.mark.parametrize(("cold", "held_out", "_"), KINDS)
@pytest.mark.parametrize(
    ("parameters", "error", "text"),
    [
        (
            {"n_splits": 4},
            ValueError,
            "n_splits=4 folds of whole {}s cannot be had from 3 {}s: lo",
        ),
        ({"n_splits": 1}, ValueError, "by setting n_splits=2 or more, got n_splits=1"),
        ({"n_splits": 2.5}, ValueError, "The number of folds must be of Integral type. 2.5 of"),
        ({"shuffle": 1}, TypeError, "shuffle must be True or False; got 1"),
        ({"n_splits": 2, "random_state": 0}, ValueError, "Setting a random_state has no effect"),
    ],
)
def test_what_cannot_be_split_is_refused(cold, held_out, _, parameters, error, text):
    X = np.array([[1, 1], [2, 2], [3, 3], [3, 3]])
    with pytest.raises(error, match=text.format(held_out, held_out)):
        list(cold(**parameters).split(X))
