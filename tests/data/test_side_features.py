"""Side features as arrays for a network, and as rows of a table with weights."""
# SPDX-License-Identifier: BSD-3-Clause

from datetime import date, datetime, timedelta
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator

from sklrec._data.features.side_features import (
    SIDES,
    SideBlock,
    SideFeatures,
    assign_sides,
)
from sklrec._data.tables import check_interactions, read_table

NAN = np.nan
UTC = [pd.Timestamp("2020-01-01", tz="UTC"), pd.Timestamp("2020-01-03", tz="UTC")]


def frame(**columns):
    n = len(next(iter(columns.values())))
    return read_table(pd.DataFrame({"user": range(n), "item": range(n), **columns}))


def learn(X, **options):
    """Side features of X, learned as an estimator would."""
    estimator = BaseEstimator()
    X = check_interactions(estimator, X, reset=True)
    return SideFeatures.learn(estimator, X, (0, 1), **options)


def objects(*values):
    return pd.Series(list(values), dtype=object)


NUMERIC = {
    "int": [3, 1, 2],
    "float": [3.0, NAN, 2.0],
    "nullable": pd.array([3, None, 2], dtype="Int64"),
    "objects": objects(3, 1.5, None),
    "decimal": objects(Decimal("3.5"), Decimal(1), None),
    "datetime": pd.to_datetime(["2020-01-03", None, "2020-01-02"]),
    "time zone": pd.Series([*UTC, pd.NaT]),
    "dates": objects(date(2020, 1, 3), None, date(2020, 1, 2)),
    "timedelta": pd.to_timedelta([3, 1, 2], unit="h"),
    "missing": [NAN, NAN, NAN],
}
CATEGORICAL = {
    "str": ["b", "a", None],
    "objects of strings": objects("b", "a", None),
    "category": pd.Categorical(["b", None, "a"]),
    "category of numbers": pd.Categorical([3, 1, 3]),
    "bool": [True, False, True],
    "nullable bool": pd.array([True, None, False], dtype="boolean"),
    "bytes": objects(b"b", b"a", None),
    "mixed": objects("b", 1, None),
    "objects of None": objects(None, None, None),
}
MULTI_VALUED = {
    "lists": objects(["a", "b"], [], None),
    "tuples": objects(("a", "b"), (), ("c",)),
    "sets": objects({"a", "b"}, set(), NAN),
    "arrays": objects(np.array(["a", "b"]), np.array([]), None),
}
GROUPS = {"numeric": NUMERIC, "categorical": CATEGORICAL, "multi_valued": MULTI_VALUED}


@pytest.mark.parametrize(
    ("group", "name"), [(group, name) for group, columns in GROUPS.items() for name in columns]
)
def test_the_values_decide_the_group_of_a_column(group, name):
    X = frame(x=GROUPS[group][name])
    side = learn(X)
    names = {g: [column.name for column in getattr(side, g)] for g in GROUPS}
    assert names == {g: ["x"] if g == group else [] for g in GROUPS}
    arrays = side.arrays(X)
    assert list(arrays) == [group]
    assert len(arrays[group]) == 3


@pytest.mark.parametrize(
    "given", [["size"], [2], np.array([2]), [False, False, True, False]], ids=str
)
def test_numbers_are_categories_if_named(given):
    X = frame(size=[7, 8, 7], weight=[1.0, 2.0, 3.0])
    side = learn(X, categorical_features=given)
    assert repr(side) == (
        "<SideFeatures numeric=['weight'], categorical=['size'], multi_valued=[]>"
    )
    assert side.arrays(X)["categorical"].ravel().tolist() == [1, 2, 1]
    both = learn(X, categorical_features=[2, "weight"]).categorical
    assert [column.name for column in both] == ["size", "weight"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"categorical_features": [True, False]}, r"as a mask, must have 3 booleans.*, got 2\."),
        ({"categorical_features": ["y"]}, "X has no column of that name"),
        ({"categorical_features": [[2]]}, r"must be 'from_dtype' or a list of positions"),
        ({"columns": ["y"]}, "X has no column of that name"),
        ({"columns": ["x", "user"]}, "side_features names column 'user', which holds the IDs of"),
    ],
)
def test_parameters_that_do_not_fit_x(options, message):
    with pytest.raises(ValueError, match=message):
        learn(frame(x=["a", "b"]), **options)


def places(side, values):
    return side.arrays(frame(x=values))["numeric"].ravel()


def test_numbers_become_positions_among_quantiles():
    side = learn(frame(x=[0.0, 10.0, 20.0, 30.0, 1000.0]))
    assert side.numeric[0].edges.tolist() == [0, 10, 20, 30, 1000]
    found = places(side, [-5, 0, 5, 20, 515, 1000, 2000, NAN])
    assert np.array_equal(found, [-2, -2, -1.5, 0, 1.5, 2, 2, NAN], equal_nan=True)
    assert found.dtype == np.float32


def test_there_are_at_most_16_bins():
    assert learn(frame(x=np.arange(17.0))).numeric[0].edges.tolist() == list(range(17))
    edges = learn(frame(x=np.arange(33.0))).numeric[0].edges
    assert edges.tolist() == list(range(0, 33, 2))
    edges = learn(frame(x=[*np.arange(20.0), *[3.0] * 80])).numeric[0].edges
    assert edges[[0, -1]].tolist() == [0, 19]
    assert len(np.unique(edges)) == len(edges) < 17


@pytest.mark.parametrize("values", [[7, 7, 7], [NAN, NAN, NAN]], ids=["constant", "missing"])
def test_all_numbers_are_at_0_without_two_values_in_fit(values):
    side = learn(frame(x=values))
    assert np.array_equal(places(side, [1, 9, NAN]), [0, 0, NAN], equal_nan=True)


def test_datetimes_of_all_types_are_the_same_times():
    naive = pd.to_datetime(["2020-01-01", "2020-01-02T12", "2020-01-05", None], format="ISO8601")
    side = learn(frame(x=naive))
    zoned = naive.tz_localize("UTC")
    for values in (
        naive,
        naive.as_unit("s"),
        zoned,
        zoned.tz_convert("Asia/Tokyo"),
        objects(*(None if pd.isna(t) else t.to_pydatetime() for t in zoned)),
        objects(date(2020, 1, 1), datetime(2020, 1, 2, 12), date(2020, 1, 5), None),
    ):
        assert np.array_equal(places(side, values), [-1, 0, 1, NAN], equal_nan=True)


def test_time_differences_are_seconds():
    side = learn(frame(x=pd.to_timedelta([0, 1, 5], unit="D")))
    assert side.numeric[0].edges.tolist() == [0, 86400, 5 * 86400]
    assert places(side, objects(timedelta(days=3), None, timedelta(0)))[0] == 0.5


@pytest.mark.parametrize("values", [[1.0, np.inf], objects(1, -np.inf)], ids=["float", "object"])
def test_infinite_numbers_are_refused(values):
    side = learn(frame(x=[1.0, 2.0]))
    for read in (
        lambda: learn(frame(x=values)),
        lambda: learn(frame(x=values), categorical_features=["x"]),
        lambda: side.arrays(frame(x=values)),
    ):
        with pytest.raises(
            ValueError, match=r"infinity.\nColumn 'x' holds -?inf in row 1. In all, "
        ):
            read()


def codes(side, values):
    return side.arrays(frame(x=values))["categorical"].ravel().tolist()


def test_categories_have_codes_and_others_have_0():
    side = learn(frame(x=["b", None, "a", "b"]))
    assert codes(side, ["a", "b", "c", None, NAN]) == [2, 1, 0, 0, 0]
    assert codes(side, pd.Categorical(["b", "a", None])) == [1, 2, 0]
    assert codes(side, objects("b", "z", None)) == [1, 0, 0]
    assert side.n_values == 2


def test_columns_share_one_table():
    X = frame(x=["b", "a"], y=["a", "b"], z=[["a"], ["c", "a"]])
    side = learn(X)
    arrays = side.arrays(X)
    assert arrays["categorical"].tolist() == [[1, 3], [2, 4]]
    assert arrays["multi_valued"].tolist() == [[[0, 5]], [[5, 6]]]
    assert side.n_values == 6


def test_equal_numbers_are_one_category():
    side = learn(frame(x=[1, 2]), categorical_features=["x"])
    assert codes(side, [2.0, 1.0, NAN]) == [2, 1, 0]
    assert codes(learn(frame(x=[True, False])), [1, 0, 2]) == [1, 2, 0]


def test_a_column_may_be_empty_in_fit():
    side = learn(frame(x=objects(None, None)))
    assert side.n_values == 0
    assert codes(side, ["a", None]) == [0, 0]
    assert codes(side.extend(frame(x=["a", "b"])), ["b", "c"]) == [2, 0]
    lists = learn(frame(x=objects([], []))).extend(frame(x=objects(None, None)))
    assert several(lists.extend(frame(x=objects(["a"]))), objects(["a"], [])) == [[1], [0]]


def several(side, values):
    return side.arrays(frame(x=values))["multi_valued"][:, 0].tolist()


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        (objects([{"a": 1}], ["b"]), TypeError, "'x'"),
        ([1j, 2], ValueError, "Complex data not supported: column 'x' has dtype com"),
    ],
)
def test_other_types_are_refused(values, error, message):
    with pytest.raises(error, match=message):
        learn(frame(x=values))


@pytest.mark.parametrize(
    ("learned", "given", "message"),
    [
        ([1, 2], ["1", "2"], "held numbers in fit but now holds strings, such as '1' in row 0"),
        ([1, 2], objects(1, "b"), "now holds objects of .*mixed types, such as 'b' in row 1"),
        (["a", "b"], [3, 4], "held strings in fit but now holds numbers, such as 3 in row 0"),
        (["a", "b"], objects(None, 4), "now holds numbers, such as 4 in row 1"),
        ([1, 2], pd.to_datetime(["2020", "2021"]), "held numbers in fit but now holds datetimes"),
        (pd.to_datetime(["2020", "2021"]), [1, 2], "held datetimes in fit but now holds numbers"),
        (["a", "b"], objects(["a"], ["b"]), "held strings in fit but now holds lists"),
        (objects(["a"], ["b"]), ["a", "b"], "held lists in fit but now holds strings"),
        ([1, 2], objects([1], [2]), "held numbers in fit but now holds lists"),
    ],
)
def test_other_kinds_of_values_are_refused(learned, given, message):
    side = learn(frame(x=learned))
    for read in (side.arrays,) if side.numeric else (side.arrays, side.extend):
        with pytest.raises(ValueError, match=message + r".*Convert it to what fit saw\."):
            read(frame(x=given))


def test_messages_count_rows_from_the_start_of_x():
    side = learn(frame(x=[1, 2]))
    with pytest.raises(ValueError, match=r"such as 'd' in row 3\. Convert it to what fit saw\."):
        side.arrays(frame(x=objects(1, 2, 3, "d")), slice(2, 4))
    with pytest.raises(ValueError, match=r"holds inf in row 3"):
        side.arrays(frame(x=[1, 2, 3, np.inf]), slice(2, 4))


@pytest.mark.parametrize(
    ("learned", "given"),
    [
        ([1, 2], [1.5, NAN]),
        ([1, 2], [True, False]),
        ([1, 2], objects(None, None)),
        ([1.0, 2.0], pd.array([1, None], dtype="Int64")),
        (["a", "b"], [NAN, NAN]),
        (["a", 1], ["a", "a"]),
        (pd.Categorical([1, 2]), [1, 2]),
        ([True, False], [1, 0]),
    ],
)
def test_these_values_are_of_the_same_kind(learned, given):
    side = learn(frame(x=learned))
    assert len(next(iter(side.arrays(frame(x=given)).values()))) == 2


def test_new_values_get_the_next_codes_and_quantiles_stay():
    X = frame(x=["b", "a"], y=["a", "b"], z=[0.0, 1.0])
    side = learn(X)
    more = frame(x=["c", "a"], y=["b", "z"], z=[5.0, 9.0])
    grown = side.extend(more)
    assert grown.arrays(more)["categorical"].tolist() == [[5, 4], [2, 6]]
    assert np.array_equal(grown.arrays(X)["categorical"], side.arrays(X)["categorical"])
    assert (side.n_values, grown.n_values) == (4, 6)
    assert side.arrays(more)["categorical"].tolist() == [[0, 4], [2, 0]]
    assert grown.numeric == side.numeric


# --- rows of a table with weights


def block_of(values, **options):
    """A block of one column, learned from some values."""
    side = learn(frame(x=values), **options)
    return SideBlock(side.columns)


def dense(block, values, rows=slice(None)):
    """The vector that the table is multiplied by, for each row."""
    found, weights = block.arrays(frame(x=values), rows)
    assert found.dtype == np.int64
    assert weights.dtype == np.float32
    multiplied = np.zeros((len(found), sum(block.sizes)))
    np.add.at(multiplied, (np.arange(len(found))[:, None], found), weights)
    return multiplied


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
        (  # unknown categories count as missing
            pd.Categorical(["b", None, "a"], categories=["c", "a", "b"]),
            objects("b", "c", "a", None),
            [[0, 1, 0], [1, 0, 0], [0, 0, 1], [1, 0, 0]],
        ),
        ([True, False], [False, True], [[0, 0, 1], [0, 1, 0]]),
        (objects(("x", 1), "a", 2.5), objects(2.5, "c"), [[0, 0, 0, 1], [1, 0, 0, 0]]),
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


USERS = np.array([1, 1, 2, 2, 3, 3])
ITEMS = np.array([1, 2, 1, 2, 1, 2])


def rated(**columns):
    return pd.DataFrame({"user": USERS, "item": ITEMS, **columns})


def assigned(X):
    return assign_sides(learn(X), read_table(X), USERS, ITEMS)


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
    found = assigned(rated(x=values))
    assert {name: block.names for name, block in found.items()} == {
        name: ["x"] if name == side else [] for name in SIDES
    }
