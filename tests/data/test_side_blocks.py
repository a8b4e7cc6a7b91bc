"""Side features as rows of a table with weights, and the side that each belongs to."""
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator

from sklrec._data.checks import check_interactions
from sklrec._data.features.side_features import SIDES, SideBlock, SideFeatures, assign_sides

USERS = np.array([1, 1, 2, 2, 3, 3])
ITEMS = np.array([1, 2, 1, 2, 1, 2])
NAN = np.nan


def learned(X, **options):
    estimator = BaseEstimator()
    check_interactions(estimator, X, reset=True)
    return SideFeatures.learn(estimator, X, (0, 1), **options)


def block_of(values, **options):
    """A block of one column, learned from some values."""
    side = learned(pd.DataFrame({"user": 0, "item": 0, "x": values}), **options)
    return SideBlock(side.columns)


def dense(block, values, rows=slice(None)):
    """The vector that the table is multiplied by, for each row."""
    found, weights = block.arrays(pd.DataFrame({"user": 0, "item": 0, "x": values}), rows)
    assert found.dtype == np.int64
    assert weights.dtype == np.float32
    multiplied = np.zeros((len(found), sum(block.sizes)))
    np.add.at(multiplied, (np.arange(len(found))[:, None], found), weights)
    return multiplied


def objects(*values):
    return pd.Series(list(values), dtype=object)


ROOT2, ROOT3 = 2**-0.5, 3**-0.5


@pytest.mark.parametrize(
    ("fitted", "values", "expected"),
    [
        (  # between two quantiles, or at an end
            [0.0, 1.0, 2.0, 4.0],
            [0.25, 1.0, 3.0, -1e9, 1e9],
            [
                *([0, 0.75, 0.25, 0, 0], [0, 0, 1, 0, 0], [0, 0, 0, 0.5, 0.5]),
                *([0, 1, 0, 0, 0], [0, 0, 0, 0, 1]),
            ],
        ),
        ([0.0, NAN, 2.0], [NAN, 1.0], [[1, 0, 0], [0, 0.5, 0.5]]),
        ([7.0, 7.0, 7.0], [7.0, 8.0, NAN], [[0, 1], [0, 1], [1, 0]]),
        ([NAN, NAN], [7.0, 0.0, NAN], [[1, 0], [1, 0], [1, 0]]),  # no scale is known
        (objects(None, None), objects(None, "a"), [[1], [1]]),
        (  # several values share a weight, and repeated values count once
            objects(["a", "b", "c"], ["a"]),
            objects(["a", "b", "c"], ["c"], ["x"], ["b", "x"], ["c", "a", "c"], {"a", "c"}),
            [
                *([0, ROOT3, ROOT3, ROOT3], [0, 0, 0, 1], [1, 0, 0, 0], [0, 0, 1, 0]),
                *([0, ROOT2, 0, ROOT2], [0, ROOT2, 0, ROOT2]),
            ],
        ),
        (objects(["a"], [], None), objects([], None, [None]), [[1, 0], [1, 0], [1, 0]]),
    ],
)
def test_values_have_rows_and_weights(fitted, values, expected):
    block = block_of(fitted)
    assert np.allclose(dense(block, values), expected)
    for row in range(len(values)):  # whatever the other rows are
        assert np.allclose(dense(block, values, slice(row, row + 1)), expected[row])
        assert np.allclose(dense(block, values, np.array([row])), expected[row])


@pytest.mark.parametrize(
    "values",
    [
        pd.to_datetime(["2020-01-01", "2020-01-02", "2020-01-03", None]),
        pd.to_timedelta([1, 2, 3, None], unit="s"),
        pd.array([1, 2, 3, None], dtype="Int64"),
    ],
    ids=["datetimes", "differences", "nullable"],
)
def test_other_kinds_of_numbers(values):
    found = dense(block_of(values[[0, 2]]), values)
    assert np.allclose(found, [[0, 1, 0], [0, 0.5, 0.5], [0, 0, 1], [1, 0, 0]])


@pytest.mark.parametrize(
    ("values", "unknown"),
    [
        (["b", "a", "b"], "c"),
        (objects("b", "a", None, "b"), "c"),
        (pd.Categorical(["b", "a", "b"], categories=["a", "b", "c"]), "c"),
        ([True, False, True], None),
        (objects(("x", 1), "a", 2.5), "c"),
    ],
    ids=["strings", "objects", "category", "booleans", "mixed"],
)
def test_each_category_has_a_row_and_unknown_ones_count_as_missing(values, unknown):
    block = block_of(values)
    found = dense(block, values)
    plain = pd.Series(values).astype(object)
    known = plain.notna().to_numpy()
    assert (found.sum(1) == 1).all()
    assert np.array_equal(found[:, 0] == 1, ~known)
    for a in np.flatnonzero(known):
        for b in np.flatnonzero(known):
            assert np.array_equal(found[a], found[b]) == (plain[a] == plain[b])
    assert (dense(block, objects(None, unknown))[:, 0] == 1).all()


def test_numbers_as_categories():
    block = block_of([3, 5, 3], categorical_features=["x"])
    assert block.sizes == [3]
    assert np.array_equal(dense(block, [5, 3, 4]), [[0, 0, 1], [0, 1, 0], [1, 0, 0]])


def test_without_columns_there_are_no_rows():
    values, weights = SideBlock().arrays(np.zeros((4, 2)))
    assert values.shape == weights.shape == (4, 0)
    assert SideBlock().sizes == []
    assert repr(SideBlock()) == "<SideBlock []>"


def frame(**columns):
    return pd.DataFrame({"user": USERS, "item": ITEMS, **columns})


def assigned(X):
    return assign_sides(learned(X), X, USERS, ITEMS)


OF_USERS, OF_ITEMS = np.array([3.5, 4.5, 9.0])[USERS - 1], np.array([1.0, 2.0])[ITEMS - 1]


@pytest.mark.parametrize(
    ("values", "side"),
    [
        (OF_USERS, "user"),
        (OF_ITEMS, "item"),
        (np.arange(6.0), "context"),
        (np.ones(6), "user"),
        (np.where(USERS == 2, NAN, OF_USERS), "user"),
        (np.array([NAN, *OF_USERS[1:]]), "context"),
        (OF_USERS.astype(str), "user"),
        (OF_ITEMS.astype(str), "item"),
        (OF_ITEMS == 1, "item"),
        (list("aabbab"), "context"),
        (objects(["a", "b"], ["b", "a"], [], [], ["b"], ["b"]), "user"),
        (objects(["a"], ["a"], [], [], ["b"], ["a"]), "context"),
        (pd.to_datetime(OF_ITEMS, unit="D"), "item"),
        ([NAN] * 6, "user"),
    ],
)
def test_a_column_belongs_to_the_side_where_it_is_constant(values, side):
    found = assigned(frame(x=values))
    assert {name: block.names for name, block in found.items()} == {
        name: ["x"] if name == side else [] for name in SIDES
    }


def test_columns_keep_their_order_and_have_consecutive_rows():
    X = frame(
        several=objects(*[["p", "q"]] * 2, *[["q"]] * 2, [], []),
        day=list("abcdef"),
        age=OF_USERS,
        job=OF_USERS.astype(str),
    )
    found = assigned(X)
    block = found["user"]
    assert block.names == ["several", "age", "job"]
    assert block.sizes == [3, 4, 4]
    assert found["context"].names == ["day"]
    values, weights = block.arrays(X)
    starts = np.cumsum([0, *block.sizes])
    is_used = weights > 0
    for row in range(6):
        of_column = np.searchsorted(starts, values[row][is_used[row]], side="right") - 1
        assert set(of_column) == {0, 1, 2}
    assert values.max() < starts[-1]
    assert repr(block) == "<SideBlock ['several', 'age', 'job']>"


def test_columns_of_an_array_have_sides():
    X = np.array([[1, 1, "a", 0.5], [1, 2, "a", 1.5], [2, 1, "b", 0.5]], dtype=object)
    found = assign_sides(learned(X), X, np.array([1, 1, 2]), np.array([1, 2, 1]))
    assert [found[side].names for side in SIDES] == [[2], [3], []]


def test_another_kind_of_values_is_refused_with_its_row():
    with pytest.raises(ValueError, match=r"'x' held numbers in fit but .* such as 'b' in row 1"):
        dense(block_of([1.0, 2.0]), objects(1, "b"), slice(1, 2))
