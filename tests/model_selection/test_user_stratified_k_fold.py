"""The splitter that spreads the interactions of each user over the folds."""
# SPDX-License-Identifier: BSD-3-Clause

import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedKFold

from sklrec.model_selection import UserStratifiedKFold


@given(
    users=st.lists(st.integers(0, 6), min_size=1, max_size=60),
    n_splits=st.integers(2, 6),
    seed=st.sampled_from([None, 0, 1]),
)
def test_every_users_rows_are_spread_evenly(users, n_splits, seed):
    X = pd.DataFrame({"user": users})
    shuffle = seed is not None
    splitter = UserStratifiedKFold(n_splits, item=None, shuffle=shuffle, random_state=seed)
    if len(users) < n_splits:
        with pytest.raises(
            ValueError, match=f"{len(users)} rows, too few for n_splits={n_splits}"
        ):
            list(splitter.split(X))
        return
    counts = X["user"].value_counts()
    tested = []
    for train, test in splitter.split(X):
        part = X["user"].iloc[test].value_counts().reindex(counts.index, fill_value=0)
        assert (part >= counts // n_splits).all() and (part <= -(-counts // n_splits)).all()
        assert len(users) // n_splits <= len(test) <= -(-len(users) // n_splits)
        known = set(X["user"].iloc[train])
        assert all(counts[user] == 1 for user in set(X["user"].iloc[test]) - known)
        assert sorted([*train, *test]) == list(range(len(X)))
        tested.extend(test)
    assert sorted(tested) == list(range(len(X)))


def test_unshuffled_it_is_stratified_k_fold_with_users_as_classes():
    rng = np.random.default_rng(0)
    # each user has n_splits rows, without which StratifiedKFold warns, and appears in order
    users = np.concatenate([np.arange(9), rng.permutation(np.repeat(np.arange(9), 7))])
    X = pd.DataFrame({"user": users, "item": np.arange(len(users))})
    found = UserStratifiedKFold(4).split(X)
    for (train, test), expected in zip(found, StratifiedKFold(4).split(X, users), strict=True):
        assert train.tolist() == expected[0].tolist()
        assert test.tolist() == expected[1].tolist()


def test_every_row_is_tested_with_equal_probability():
    X = pd.DataFrame({"user": [7] * 10 + [3] * 5, "item": np.arange(15)})
    drawn = np.zeros(15)
    for seed in range(300):
        splitter = UserStratifiedKFold(5, shuffle=True, random_state=seed)
        drawn[next(splitter.split(X))[1]] += 1
    assert abs(drawn / 300 - 1 / 5).max() < 0.08  # 3.5 standard errors


def test_a_warning_counts_pairs_on_both_sides():
    X = pd.DataFrame({"user": [1, 1, 1, 1, 2, 2], "item": [5, 6, 5, 6, 5, 6]})
    splitter = UserStratifiedKFold(2)
    text = (
        "UserStratifiedKFold puts 2 of 4 pairs of user and item on both sides of a split, so that "
        r"a model can memorise them\. Keep one row of each pair, for example with "
        r"drop_duplicates, or give item=None if pairs may repeat\."
    )
    with pytest.warns(UserWarning, match=text) as caught:
        with_repeats = list(splitter.split(X))
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        silent = list(UserStratifiedKFold(2, item=None).split(X))
        list(splitter.split(X.drop_duplicates()))
        # repeats that share a fold are on one side
        list(splitter.split(X.iloc[[0, 2, 1, 3]]))
    for (train, test), expected in zip(silent, with_repeats, strict=True):
        assert train.tolist() == expected[0].tolist()
        assert test.tolist() == expected[1].tolist()


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3)), min_size=3, max_size=20))
def test_the_number_of_pairs_on_both_sides(rows):
    X = pd.DataFrame(rows, columns=["user", "item"])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        tests = [test for _, test in UserStratifiedKFold(3).split(X)]
    folds = np.empty(len(X), dtype=int)
    for fold, test in enumerate(tests):
        folds[test] = fold
    n_folds = X.assign(fold=folds).groupby(["user", "item"])["fold"].nunique()
    n_parted = int((n_folds > 1).sum())
    assert [str(warning.message)[:32] for warning in caught] == (
        [f"UserStratifiedKFold puts {n_parted} of {len(n_folds)} pairs"[:32]] if n_parted else []
    )


def test_too_few_rows_are_refused():
    with pytest.raises(ValueError, match=r"X has 4 rows, too few for n_splits=5 folds\. Lower n_"):
        list(UserStratifiedKFold().split(np.array([[1, 1], [2, 2], [3, 3], [3, 4]])))
