"""What the errors and warnings of the splitters say, word for word."""
# SPDX-License-Identifier: BSD-3-Clause

import warnings

import numpy as np
import pandas as pd
import pytest

from sklrec.model_selection import (
    ColdItemKFold,
    ColdUserKFold,
    ColdUserShuffleSplit,
    GlobalTimeSplit,
    LastInteractionsSplit,
    UserStratifiedKFold,
)

X = pd.DataFrame({"user": [1, 1, 2, 2], "item": [3, 4, 3, 4], "timestamp": [4, 3, 2, 1]})
UNTIMED = X[["user", "item"]]

ERRORS = {
    "users": (
        ColdUserKFold(3),
        X,
        "n_splits=3 folds of whole users cannot be had from 2 users: lower n_splits.",
    ),
    "items": (
        ColdItemKFold(3),
        X,
        "n_splits=3 folds of whole items cannot be had from 2 items: lower n_splits.",
    ),
    "shuffled": (
        ColdUserShuffleSplit(test_size=5),
        X,
        "test_size=5 should be either positive and smaller than the number of samples 2 or a "
        "float in the (0, 1) range\nThe samples of ColdUserShuffleSplit are users, and X has 2 "
        "of them.",
    ),
    "no time": (
        GlobalTimeSplit(),
        UNTIMED,
        "GlobalTimeSplit splits by time, but X has no column named 'timestamp'. Give timestamp= "
        "the column's position or name, or None if the rows of X are in the order of time.",
    ),
    "few rows": (
        GlobalTimeSplit(4),
        X,
        "4 test parts of 0 rows and something to train on cannot be had from 4 rows: lower "
        "n_splits=4 or test_size=None.",
    ),
    "large parts": (
        GlobalTimeSplit(2, test_size=2),
        X,
        "2 test parts of 2 rows and something to train on cannot be had from 4 rows: lower "
        "n_splits=2 or test_size=2.",
    ),
    "few times": (
        GlobalTimeSplit(2),
        X.assign(timestamp=[1, 1, 2, 2]),
        "X has 2 different timestamps in 4 rows, too few or too unevenly spread for 2 splits, "
        "since equal ones stay on one side. Lower n_splits, or use finer timestamps.",
    ),
    "all train": (
        LastInteractionsSplit(1, min_train=2),
        X,
        "All rows would be training rows: the most active user has 2 interactions, of which up "
        "to n_interactions=1 are test rows and at least min_train=2 are training rows. Change "
        "one of these.",
    ),
    "all test": (
        LastInteractionsSplit(2, min_train=0),
        X,
        "All rows would be test rows: the most active user has 2 interactions, of which up to "
        "n_interactions=2 are test rows and at least min_train=0 are training rows. Change one "
        "of these.",
    ),
    "folds": (
        UserStratifiedKFold(5),
        X,
        "n_splits=5 folds cannot be had from 4 rows: lower n_splits.",
    ),
}
WARNINGS = {
    "order": (
        LastInteractionsSplit(1, timestamp=None),
        X,
        "LastInteractionsSplit was given timestamp=None, which takes the order of the rows for "
        "that of time, but the column 'timestamp' of X tells another order. Leave "
        "timestamp='auto', or sort X by time.",
    ),
    "cut": (
        LastInteractionsSplit(1),
        X.assign(timestamp=1),
        "For 2 of 2 users LastInteractionsSplit cuts through interactions of one timestamp, "
        "where the order of the rows decides which are the last. Give random_state= an int for "
        "a fair draw.",
    ),
    "pairs": (
        UserStratifiedKFold(2),
        X.assign(item=[3, 3, 5, 6]),
        "UserStratifiedKFold puts 1 of 3 pairs of user and item on both sides of a split, where "
        "a model need only remember them. Keep one row of each pair, for example with "
        "drop_duplicates, or give item=None if they may recur.",
    ),
}


@pytest.mark.parametrize("name", ERRORS)
def test_what_an_error_says(name):
    splitter, rows, message = ERRORS[name]
    with pytest.raises(ValueError) as told:
        list(splitter.split(rows))
    assert str(told.value) == message


@pytest.mark.parametrize("name", WARNINGS)
def test_what_a_warning_says(name):
    splitter, rows, message = WARNINGS[name]
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        list(splitter.split(rows))
    assert [(each.category, str(each.message)) for each in told] == [(UserWarning, message)]


@pytest.mark.parametrize(
    "splitter", [ColdUserKFold(2), GlobalTimeSplit(1)], ids=lambda s: type(s).__name__
)
def test_what_is_said_of_groups(splitter):
    message = (
        f"The groups parameter is ignored by {type(splitter).__name__}, which reads the columns "
        "of X."
    )
    with pytest.warns(UserWarning) as told:
        list(splitter.split(X, groups=np.zeros(4)))
    assert [str(each.message) for each in told] == [message]
