"""Splitters that hold out whole users or whole items."""
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import GroupKFold, GroupShuffleSplit

from sklrec import model_selection
from sklrec.model_selection import (
    ColdItemKFold,
    ColdItemShuffleSplit,
    ColdUserKFold,
    ColdUserShuffleSplit,
)

FOLDS = pytest.mark.parametrize(
    ("cold", "side"), [(ColdUserKFold, "user"), (ColdItemKFold, "item")]
)
SHUFFLES = pytest.mark.parametrize(
    ("cold", "side"), [(ColdUserShuffleSplit, "user"), (ColdItemShuffleSplit, "item")]
)


def parts(splits):
    return [(train.tolist(), test.tolist()) for train, test in splits]


@pytest.mark.parametrize("side", ["User", "Item"])
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("KFold", {}),
        ("KFold", {"shuffle": True, "random_state": 3}),
        ("ShuffleSplit", {"random_state": 0}),
        ("ShuffleSplit", {"random_state": 0, "test_size": 3}),
        ("ShuffleSplit", {"random_state": 0, "train_size": 0.5}),
        ("ShuffleSplit", {"random_state": 0, "test_size": 1, "train_size": 4}),
    ],
)
def test_splits_equal_those_by_groups(side, kind, options):
    cold = getattr(model_selection, f"Cold{side}{kind}")
    grouped = {"KFold": GroupKFold, "ShuffleSplit": GroupShuffleSplit}[kind]
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"user": rng.integers(0, 9, 99), "item": rng.integers(0, 9, 99)})
    expected = grouped(4, **options).split(X, groups=X[side.lower()])
    assert parts(cold(4, **options).split(X)) == parts(expected)


@pytest.mark.parametrize(("cold", "other"), [(ColdUserKFold, "item"), (ColdItemKFold, "user")])
def test_the_other_column_is_not_read(cold, other):
    X = pd.DataFrame({"user": ["a", "c"], "item": ["b", "d"]}).assign(**{other: "same"})
    assert parts(cold(2).split(X)) == [([0], [1]), ([1], [0])]


@FOLDS
def test_too_few_ids_are_refused(cold, side):
    text = rf"greater than the number of groups: 3\.\n.* are {side}s, and X has 3 of them"
    with pytest.raises(ValueError, match=text):
        list(cold(4).split(np.array([[1, 1], [2, 2], [3, 3], [3, 3]])))


@SHUFFLES
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
    ],
)
def test_impossible_draws_are_refused(cold, side, parameters, error, text):
    X = np.array([[1, 1], [2, 2], [3, 3], [3, 3]])
    with pytest.raises(error, match=text.format(cold.__name__, side)):
        list(cold(**parameters).split(X))
