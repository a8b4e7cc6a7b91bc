"""Side features as rows of a table with weights, and the side that each belongs to."""
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import pandas as pd
import pytest

from sklrec import BayesianFMRegressor
from sklrec._data.checks import check_interactions
from sklrec._data.features.blocks import SIDES, SideBlock, assign_sides, first_rows
from sklrec._data.features.groups import SideFeatures

USERS = np.array([1, 1, 2, 2, 3, 3])
ITEMS = np.array([1, 2, 1, 2, 1, 2])


def learned(values, *, n_bins=16, **options):
    """A block of one column, learned from some values."""
    X = pd.DataFrame({"user": 0, "item": 0, "x": values})
    estimator = BayesianFMRegressor()
    check_interactions(estimator, X, reset=True)
    side = SideFeatures.learn(estimator, X, (0, 1), n_bins=n_bins, **options)
    return SideBlock(side.numeric + side.categorical + side.multi_valued)


def dense(block, values, rows=slice(None)):
    """What the table is multiplied by, a row each."""
    found, weights = block.arrays(pd.DataFrame({"user": 0, "item": 0, "x": values}), rows)
    assert found.dtype == np.int64
    assert weights.dtype == np.float32
    multiplied = np.zeros((len(found), sum(block.sizes)))
    np.add.at(multiplied, (np.arange(len(found))[:, None], found), weights)
    return multiplied


def objects(values):
    return pd.Series(list(values), dtype=object)


def test_a_number_is_between_two_quantiles():
    block = learned([0.0, 1.0, 2.0, 4.0], n_bins=3)
    assert block.sizes == [5]
    found = dense(block, [0.0, 0.25, 1.0, 3.0, 4.0])
    expected = [
        [0, 1, 0, 0, 0],
        [0, 0.75, 0.25, 0, 0],
        [0, 0, 1, 0, 0],
        [0, 0, 0, 0.5, 0.5],
        [0, 0, 0, 0, 1],
    ]
    assert np.allclose(found, expected)


def test_numbers_beyond_the_ends_are_at_the_ends():
    block = learned([0.0, 1.0, 2.0], n_bins=2)
    assert np.array_equal(dense(block, [-1e9, 1e9]), dense(block, [0.0, 2.0]))


def test_missing_numbers_have_a_row_of_their_own():
    block = learned([0.0, np.nan, 2.0], n_bins=1)
    assert np.allclose(dense(block, [np.nan, 1.0]), [[1, 0, 0], [0, 0.5, 0.5]])


@pytest.mark.parametrize("n_bins", [1, 16])
def test_a_constant_column_has_one_row(n_bins):
    block = learned([7.0, 7.0, 7.0], n_bins=n_bins)
    assert block.sizes == [2]
    assert np.allclose(dense(block, [7.0, 8.0, np.nan]), [[0, 1], [0, 1], [1, 0]])


def test_a_column_of_nothing_has_no_rows_but_the_missing_one():
    for nothing in ([np.nan, np.nan], objects([None, None])):
        block = learned(nothing)
        assert np.array_equal(dense(block, nothing)[:, 0], [1, 1])


def test_of_a_column_of_nothing_all_that_comes_later_counts_as_missing():
    block = learned([np.nan, np.nan])
    assert np.array_equal(dense(block, [7.0, 0.0, np.nan])[:, 0], [1, 1, 1])


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
    found = dense(learned(values, n_bins=1), values)
    assert np.allclose(found, [[0, 1, 0], [0, 0.5, 0.5], [0, 0, 1], [1, 0, 0]])


@pytest.mark.parametrize(
    ("values", "unseen"),
    [
        (["b", "a", "b"], "c"),
        (objects(["b", "a", None, "b"]), "c"),
        (pd.Categorical(["b", "a", "b"], categories=["a", "b", "c"]), "c"),
        ([True, False, True], None),
        (objects([("x", 1), "a", 2.5]), "c"),
    ],
    ids=["strings", "objects", "category", "booleans", "mixed"],
)
def test_a_category_has_a_row_and_what_is_unseen_counts_as_missing(values, unseen):
    block = learned(values)
    found = dense(block, values)
    plain = pd.Series(values).astype(object)
    known = plain.notna().to_numpy()
    assert (found.sum(1) == 1).all()
    assert np.array_equal(found[:, 0] == 1, ~known)
    for a in np.flatnonzero(known):
        for b in np.flatnonzero(known):
            assert np.array_equal(found[a], found[b]) == (plain[a] == plain[b])
    if unseen is not None:
        missing = dense(block, objects([None]))
        assert np.array_equal(dense(block, objects([unseen])), missing)
        assert missing[0, 0] == 1


def test_numbers_as_categories():
    block = learned([3, 5, 3], categorical_features=["x"])
    assert block.sizes == [3]
    assert np.array_equal(dense(block, [5, 3, 4]), [[0, 0, 1], [0, 1, 0], [1, 0, 0]])


def test_several_values_share_out_a_weight():
    block = learned(["a|b|c", "a", "", "b|c"], multi_valued={"x": "|"})
    found = dense(block, ["a|b|c", "c", "", "unseen", "b|unseen"])
    expected = [[0, 1, 1, 1], [0, 0, 0, 1], [1, 0, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0]]
    expected = np.array(expected) / np.array([3**0.5, 1, 1, 1, 1])[:, None]
    assert np.allclose(found, expected)


def test_the_order_of_several_values_does_not_matter():
    block = learned(objects([["a", "b", "c"], ["c"]]))
    orders = objects([["a", "c"], ("c", "a"), {"a", "c"}])
    found = dense(block, orders)
    assert np.array_equal(found[0], found[1])
    assert np.array_equal(found[0], found[2])


def test_repeated_values_count_once():
    block = learned(objects([["a", "b", "c"], ["c"]]))
    found = dense(block, objects([["a", "c", "a"], ["a", "c"], ["b", "b"], ["b"]]))
    assert np.allclose(found[0], found[1])
    assert np.allclose(found[2], found[3])


def test_lists_without_values_are_missing():
    block = learned(objects([["a"], [], None]))
    assert np.array_equal(dense(block, objects([[], None, [None]]))[:, 0], [1, 1, 1])


def test_values_do_not_depend_on_the_other_rows():
    several = objects([["a"], ["a", "b", "c"], [], ["c", "b"]])
    block = learned(several)
    whole = dense(block, several)
    for row in range(4):
        assert np.array_equal(dense(block, several, slice(row, row + 1))[0], whole[row])
        assert np.array_equal(dense(block, several, np.array([row]))[0], whole[row])


def test_no_column_is_no_row():
    values, weights = SideBlock().arrays(np.zeros((4, 2)))
    assert values.shape == weights.shape == (4, 0)
    assert SideBlock().sizes == []
    assert repr(SideBlock()) == "<SideBlock []>"


def frame(**columns):
    return pd.DataFrame({"user": USERS, "item": ITEMS, **columns})


def assigned(X, **options):
    estimator = BayesianFMRegressor()
    check_interactions(estimator, X, reset=True)
    side = SideFeatures.learn(estimator, X, (0, 1), **options)
    return assign_sides(side, X, USERS, ITEMS)


OF_USERS, OF_ITEMS = np.array([3.5, 4.5, 9.0])[USERS - 1], np.array([1.0, 2.0])[ITEMS - 1]


@pytest.mark.parametrize(
    ("values", "side"),
    [
        (OF_USERS, "user"),
        (OF_ITEMS, "item"),
        (np.arange(6.0), "context"),
        (np.ones(6), "user"),
        (np.where(USERS == 2, np.nan, OF_USERS), "user"),
        (np.array([np.nan, *OF_USERS[1:]]), "context"),
        (OF_USERS.astype(str), "user"),
        (OF_ITEMS.astype(str), "item"),
        (OF_ITEMS == 1, "item"),
        (list("aabbab"), "context"),
        (objects([["a", "b"], ["b", "a"], [], [], ["b"], ["b"]]), "user"),
        (objects([["a"], ["a"], [], [], ["b"], ["a"]]), "context"),
        (pd.to_datetime(OF_ITEMS, unit="D"), "item"),
        ([np.nan] * 6, "user"),
    ],
)
def test_a_column_belongs_to_whom_it_is_the_same_for(values, side):
    found = assigned(frame(x=values))
    assert {name: block.names for name, block in found.items()} == {
        name: ["x"] if name == side else [] for name in SIDES
    }


def test_columns_keep_their_order_and_get_rows_one_after_the_other():
    X = frame(
        several=objects([["p", "q"]] * 2 + [["q"]] * 2 + [[]] * 2),
        day=list("abcdef"),
        age=OF_USERS,
        job=OF_USERS.astype(str),
    )
    found = assigned(X, n_bins=2)
    block = found["user"]
    assert block.names == ["several", "age", "job"]
    assert block.sizes == [3, 4, 4]
    assert found["context"].names == ["day"]
    values, weights = block.arrays(X)
    starts = np.cumsum([0, *block.sizes])
    there = weights > 0
    for row in range(6):
        of_column = np.searchsorted(starts, values[row][there[row]], side="right") - 1
        assert set(of_column) == {0, 1, 2}
    assert values.max() < starts[-1]
    assert repr(block) == "<SideBlock ['several', 'age', 'job']>"


def test_arrays_have_columns_too():
    X = np.array([[1, 1, "a", 0.5], [1, 2, "a", 1.5], [2, 1, "b", 0.5]], dtype=object)
    estimator = BayesianFMRegressor()
    check_interactions(estimator, X, reset=True)
    side = SideFeatures.learn(estimator, X, (0, 1))
    found = assign_sides(side, X, np.array([1, 1, 2]), np.array([1, 2, 1]))
    assert {name: block.names for name, block in found.items()} == {
        "user": [2],
        "item": [3],
        "context": [],
    }


def test_first_rows_are_those_of_the_same_code():
    assert first_rows(np.array([5, 2, 5, 2, 9])).tolist() == [0, 1, 0, 1, 4]


def test_a_changed_column_is_named_with_its_row():
    block = learned([1.0, 2.0])
    with pytest.raises(ValueError, match="Column 'x' held numbers in fit but now holds strings"):
        dense(block, ["a", "b"])
    with pytest.raises(ValueError, match="such as 'b' in row 1"):
        dense(block, objects([1, "b"]), slice(1, 2))
