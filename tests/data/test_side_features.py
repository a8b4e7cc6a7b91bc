"""What is learned of the columns that hold no IDs."""
# SPDX-License-Identifier: BSD-3-Clause

import copy
import pickle
from datetime import date, datetime, timedelta
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator

from sklrec._data.checks import check_interactions
from sklrec._data.features.groups import SideFeatures

NAN = np.nan
UTC = [pd.Timestamp("2020-01-01", tz="UTC"), pd.Timestamp("2020-01-03", tz="UTC")]


def frame(**columns):
    n = len(next(iter(columns.values())))
    return pd.DataFrame({"user": range(n), "item": range(n), **columns})


def learn(X, **options):
    """Side features of X, learned as an estimator would."""
    estimator = BaseEstimator()
    X = check_interactions(estimator, X, reset=True)
    return SideFeatures.learn(estimator, X, (0, 1), **options)


def objects(values):
    """A Series of dtype object."""
    return pd.Series(values, dtype=object)


# --- which columns are what


NUMERIC = {
    "int": [3, 1, 2],
    "float": [3.0, NAN, 2.0],
    "nullable": pd.array([3, None, 2], dtype="Int64"),
    "object": objects([3, 1.5, None]),
    "decimal": objects([Decimal("3.5"), Decimal(1), None]),
    "datetime": pd.to_datetime(["2020-01-03", None, "2020-01-02"]),
    "aware": pd.Series([*UTC, pd.NaT]),
    "dates": objects([date(2020, 1, 3), None, date(2020, 1, 2)]),
    "timedelta": pd.to_timedelta([3, 1, 2], unit="h"),
    "all missing": [NAN, NAN, NAN],
}
CATEGORICAL = {
    "str": ["b", "a", None],
    "object": objects(["b", "a", None]),
    "category": pd.Categorical(["b", None, "a"]),
    "category of numbers": pd.Categorical([3, 1, 3]),
    "bool": [True, False, True],
    "nullable bool": pd.array([True, None, False], dtype="boolean"),
    "bytes": objects([b"b", b"a", None]),
    "mixed": objects(["b", 1, None]),
    "all None": objects([None, None, None]),
}
SEVERAL = {
    "lists": objects([["a", "b"], [], None]),
    "tuples": objects([("a", "b"), (), ("c",)]),
    "sets": objects([{"a", "b"}, set(), NAN]),
    "arrays": objects([np.array(["a", "b"]), np.array([]), None]),
}


@pytest.mark.parametrize(
    ("values", "group"),
    [
        *((values, "numeric") for values in NUMERIC.values()),
        *((values, "categorical") for values in CATEGORICAL.values()),
        *((values, "multi_valued") for values in SEVERAL.values()),
    ],
    ids=[*(f"numeric {n}" for n in NUMERIC), *CATEGORICAL, *SEVERAL],
)
def test_a_column_is_what_it_holds(values, group):
    side = learn(frame(x=values))
    names = {
        name: [column.name for column in getattr(side, name)]
        for name in ("numeric", "categorical", "multi_valued")
    }
    assert names.pop(group) == ["x"]
    assert not any(names.values())
    arrays = side.arrays(frame(x=values))
    assert list(arrays) == [group]
    assert len(arrays[group]) == 3


def test_columns_of_an_array_go_by_their_values():
    X = np.array([[0, 0, 1.5, "a"], [1, 1, None, "b"]], dtype=object)
    side = learn(X)
    assert [c.name for c in side.numeric] == [2]
    assert [c.name for c in side.categorical] == [3]
    assert learn(np.arange(8.0).reshape(2, 4)).numeric[1].position == 3


def test_two_columns_have_no_side_features():
    side = learn(frame(x=[1, 2])[["user", "item"]])
    assert side.arrays(frame(x=[1, 2])) == {}
    assert side.n_values == 0
    assert repr(side) == "<SideFeatures numeric=[], categorical=[], multi_valued=[]>"


@pytest.mark.parametrize(
    "asked", [["size"], [2], np.array([2]), [False, False, True, False]], ids=str
)
def test_numbers_are_categories_on_demand(asked):
    X = frame(size=[7, 8, 7], weight=[1.0, 2.0, 3.0])
    side = learn(X, categorical_features=asked)
    assert repr(side) == (
        "<SideFeatures numeric=['weight'], categorical=['size'], multi_valued=[]>"
    )
    assert side.arrays(X)["categorical"].ravel().tolist() == [1, 2, 1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"categorical_features": [True, False]},
            r"categorical_features, as a mask, must have 3 booleans, one for each column of X, "
            r"got 2\.",
        ),
        ({"categorical_features": ["y"]}, r"X has no column of that name"),
        ({"categorical_features": [[2]]}, r"must be 'from_dtype' or a list of positions"),
        ({"multi_valued": {"y": "|"}}, r"X has no column of that name"),
        ({"multi_valued": {"user": "|"}}, r"multi_valued names column 'user', which holds the ID"),
        ({"multi_valued": {"x": ""}}, r"must give the separator of each column.* got ''"),
        ({"multi_valued": {"x": None}}, r"must give the separator of each column.* got None"),
    ],
)
def test_parameters_that_do_not_fit_x(options, message):
    with pytest.raises(ValueError, match=message):
        learn(frame(x=["a", "b"]), **options)


@pytest.mark.parametrize(
    ("values", "held"),
    [([1, 2], "numbers"), (objects(["a", 2]), "objects of other or of mixed types")],
)
def test_a_separator_needs_strings(values, held):
    message = r"multi_valued gives a separator for column 'x', which must therefore hold strings "
    with pytest.raises(ValueError, match=message + rf"or lists, but holds {held}\. Leave it out"):
        learn(frame(x=values), multi_valued={"x": "|"})


def test_strings_and_lists_may_come_in_one_column():
    values = objects(["a|b", ["b", "c"], None])
    side = learn(frame(x=values), multi_valued={"x": "|"})
    assert values_of(side, frame(x=values)) == [[1, 2], [2, 3], [0, 0]]


def test_complex_numbers_are_refused():
    with pytest.raises(ValueError, match=r"Complex data not supported: column 'x' has dtype com"):
        learn(frame(x=[1j, 2]))


# --- numbers


def places(side, values):
    return side.arrays(frame(x=values))["numeric"].ravel()


def test_numbers_become_their_place_among_quantiles():
    side = learn(frame(x=[0.0, 10.0, 20.0, 30.0, 1000.0]), n_bins=4)
    assert side.numeric[0].edges.tolist() == [0, 10, 20, 30, 1000]
    found = places(side, [-5, 0, 5, 20, 515, 1000, 2000, NAN])
    assert np.array_equal(found, [-2, -2, -1.5, 0, 1.5, 2, 2, NAN], equal_nan=True)
    assert found.dtype == np.float32


def test_few_distinct_numbers_have_few_bins():
    side = learn(frame(x=[1, 2, 2, 2, 2, 2, 2, 2, 5]), n_bins=16)
    assert side.numeric[0].edges[[0, -1]].tolist() == [1, 5]
    assert len(side.numeric[0].edges) <= 17
    assert len(np.unique(side.numeric[0].edges)) == len(side.numeric[0].edges)


@pytest.mark.parametrize("values", [[7, 7, 7], [NAN, NAN, NAN]], ids=["constant", "missing"])
def test_a_column_that_says_nothing(values):
    side = learn(frame(x=values))
    assert np.array_equal(places(side, [1, 9, NAN]), [0, 0, NAN], equal_nan=True)


def test_units_do_not_matter():
    values = np.array([3.0, NAN, -1.0, 7.5, 0.25])
    once = places(learn(frame(x=values), n_bins=3), values)
    again = places(learn(frame(x=1000 * values), n_bins=3), 1000 * values)
    assert np.array_equal(once, again, equal_nan=True)


def test_datetimes_of_all_sorts_are_the_same_times():
    naive = pd.to_datetime(["2020-01-01", "2020-01-02T12", "2020-01-05", None], format="ISO8601")
    side = learn(frame(x=naive), n_bins=2)
    expected = [-1, 0, 1, NAN]
    aware = naive.tz_localize("UTC")
    sorts = [
        naive,
        naive.as_unit("s"),
        aware,
        aware.tz_convert("Asia/Tokyo"),
        objects([None if pd.isna(t) else t.to_pydatetime() for t in aware]),
    ]
    for values in sorts:
        assert np.array_equal(places(side, values), expected, equal_nan=True)
    dates = objects([date(2020, 1, 1), datetime(2020, 1, 2, 12), date(2020, 1, 5), None])
    assert np.array_equal(places(side, dates), expected, equal_nan=True)


def test_time_differences_are_seconds():
    side = learn(frame(x=pd.to_timedelta([0, 1, 5], unit="D")), n_bins=2)
    assert side.numeric[0].edges.tolist() == [0, 86400, 5 * 86400]
    assert places(side, objects([timedelta(days=3), None, timedelta(0)]))[0] == 0.5


@pytest.mark.parametrize("values", [[1.0, np.inf], objects([1, -np.inf])], ids=["float", "object"])
def test_infinite_numbers_are_refused(values):
    message = r"(?s)Input X contains infinity.*Column 'x' holds -?inf in row 1, and a side feature"
    with pytest.raises(ValueError, match=message):
        learn(frame(x=values))
    side = learn(frame(x=[1.0, 2.0]))
    with pytest.raises(ValueError, match=message):
        side.arrays(frame(x=values))
    with pytest.raises(ValueError, match=message):
        learn(frame(x=values), categorical_features=["x"])


# --- categories


def codes(side, values):
    return side.arrays(frame(x=values))["categorical"].ravel().tolist()


def test_categories_have_codes_and_what_is_unknown_or_missing_has_none():
    side = learn(frame(x=["b", None, "a", "b"]))
    assert codes(side, ["a", "b", "c", None, NAN]) == [2, 1, 0, 0, 0]
    assert codes(side, pd.Categorical(["b", "a", None])) == [1, 2, 0]
    assert codes(side, objects(["b", "z", None])) == [1, 0, 0]
    assert side.n_values == 2


def test_columns_share_one_table():
    X = frame(x=["b", "a"], y=["a", "b"], z=[["a"], ["c", "a"]])
    side = learn(X)
    arrays = side.arrays(X)
    assert arrays["categorical"].tolist() == [[1, 3], [2, 4]]
    assert arrays["multi_valued"].tolist() == [[[0, 5]], [[5, 6]]]
    assert side.n_values == 6


def test_numbers_that_are_equal_are_one_category():
    side = learn(frame(x=[1, 2]), categorical_features=["x"])
    assert codes(side, [2.0, 1.0, NAN]) == [2, 1, 0]
    assert codes(learn(frame(x=[True, False])), [1, 0, 2]) == [1, 2, 0]


def test_a_column_without_any_value_at_fit():
    side = learn(frame(x=objects([None, None])))
    assert side.n_values == 0
    assert codes(side, ["a", None]) == [0, 0]
    assert codes(side.extend(frame(x=["a", "b"])), ["b", "c"]) == [2, 0]


# --- several values


def values_of(side, X):
    return side.arrays(X)["multi_valued"][:, 0].tolist()


def test_strings_with_a_separator_are_several_values():
    genres = ["Drama|War", "", None, " War | Comedy|"]
    side = learn(frame(x=genres), multi_valued={"x": "|"})
    assert values_of(side, frame(x=genres)) == [[1, 2], [0, 0], [0, 0], [2, 3]]
    assert values_of(side, frame(x=["Western|War|Drama"])) == [[0, 1, 2]]
    lists = objects([["Drama", "War"], "War", None])
    assert values_of(side, frame(x=lists)) == [[1, 2], [0, 2], [0, 0]]


@pytest.mark.parametrize("make", [list, tuple, set, frozenset, np.array])
def test_lists_of_all_sorts_are_several_values(make):
    values = objects([make(["a", "b"]), make(["b"]), None])
    side = learn(frame(x=values))
    assert side.n_values == 2
    assert [sum(code > 0 for code in row) for row in values_of(side, frame(x=values))] == [2, 1, 0]


def test_missing_values_in_a_list_are_left_out():
    side = learn(frame(x=objects([["a", None], [NAN, "b"]])))
    assert values_of(side, frame(x=objects([["a", None], [NAN, "b", "c"]]))) == [
        [0, 1],
        [0, 2],
    ]


def test_columns_of_several_values_have_one_width():
    X = frame(x=objects([["a"], ["b"]]), y=objects([["c", "d", "e"], []]))
    assert learn(X).arrays(X)["multi_valued"].tolist() == [
        [[0, 0, 1], [3, 4, 5]],
        [[0, 0, 2], [0, 0, 0]],
    ]


def test_the_order_in_a_row_does_not_matter():
    side = learn(frame(x=objects([["a", "b", "c"]])))
    one, other = (values_of(side, frame(x=objects([row]))) for row in (["c", "a"], ["a", "c"]))
    assert one == other


def test_values_must_be_hashable():
    with pytest.raises(TypeError, match=r"'x'"):
        learn(frame(x=objects([[{"a": 1}], ["b"]])))


# --- what changed since fit


@pytest.mark.parametrize(
    ("learned", "given", "message"),
    [
        (
            [1, 2],
            ["1", "2"],
            r"'x' held numbers in fit but now holds strings, such as '1' in row 0",
        ),
        ([1, 2], objects([1, "b"]), r"now holds objects of .*mixed types, such as 'b' in row 1"),
        (["a", "b"], [3, 4], r"'x' held strings in fit but now holds numbers, such as 3 in row 0"),
        (["a", "b"], objects([None, 4]), r"now holds numbers, such as 4 in row 1"),
        ([1, 2], pd.to_datetime(["2020", "2021"]), r"held numbers in fit but now holds datetimes"),
        (pd.to_datetime(["2020", "2021"]), [1, 2], r"held datetimes in fit but now holds numbers"),
        (["a", "b"], objects([["a"], ["b"]]), r"held strings in fit but now holds lists"),
        (objects([["a"], ["b"]]), ["a", "b"], r"held lists in fit but now holds strings"),
        ([1, 2], objects([[1], [2]]), r"held numbers in fit but now holds lists"),
    ],
)
def test_a_column_whose_type_changed(learned, given, message):
    side = learn(frame(x=learned))
    for changed in (side.arrays, side.extend):
        if changed == side.extend and side.numeric:
            continue  # there is nothing to add
        with pytest.raises(ValueError, match=message + r".*Convert it to what fit saw\."):
            changed(frame(x=given))


def test_messages_count_rows_from_the_start_of_x():
    side = learn(frame(x=[1, 2]))
    with pytest.raises(ValueError, match=r"such as 'd' in row 3"):
        side.arrays(frame(x=objects([1, 2, 3, "d"])), slice(2, 4))
    with pytest.raises(ValueError, match=r"holds inf in row 3"):
        side.arrays(frame(x=[1, 2, 3, np.inf]), slice(2, 4))


@pytest.mark.parametrize(
    ("learned", "given"),
    [
        ([1, 2], [1.5, NAN]),
        ([1, 2], [True, False]),
        ([1, 2], objects([None, None])),
        ([1.0, 2.0], pd.array([1, None], dtype="Int64")),
        (["a", "b"], [NAN, NAN]),
        (["a", 1], ["a", "a"]),
        (pd.Categorical([1, 2]), [1, 2]),
        ([True, False], [1, 0]),
    ],
)
def test_what_counts_as_the_same_type(learned, given):
    side = learn(frame(x=learned))
    assert len(next(iter(side.arrays(frame(x=given)).values()))) == 2


def test_any_part_of_the_rows_has_the_same_arrays():
    X = frame(x=[1.0, 5.0, NAN, 2.0], y=["a", None, "b", "a"], z=["a|b", "", "c", "b"])
    side = learn(X, multi_valued={"z": "|"})
    whole = side.arrays(X)
    for rows in (slice(0, 2), slice(2, 4), slice(1, 3)):
        for name, values in side.arrays(X, rows).items():
            width = values.shape[-1]
            expected = whole[name][rows][..., -width:]
            assert np.array_equal(values, expected, equal_nan=name == "numeric")


# --- growing


def test_new_values_get_the_next_codes():
    X = frame(x=["b", "a"], y=["a", "b"])
    side = learn(X)
    more = frame(x=["c", "a"], y=["b", "z"])
    grown = side.extend(more)
    assert grown.arrays(more)["categorical"].tolist() == [[5, 4], [2, 6]]
    assert np.array_equal(grown.arrays(X)["categorical"], side.arrays(X)["categorical"])
    assert side.n_values == 4
    assert grown.n_values == 6
    assert side.arrays(more)["categorical"].tolist() == [[0, 4], [2, 0]]


def test_quantiles_stay_those_of_the_first_call():
    side = learn(frame(x=[0.0, 1.0]))
    assert side.extend(frame(x=[5.0, 9.0])).numeric == side.numeric


def test_copies_do_the_same():
    X = frame(x=[1.0, NAN], y=["a", "b"], z=["a|b", "c"])
    side = learn(X, multi_valued={"z": "|"})
    for twin in (copy.deepcopy(side), pickle.loads(pickle.dumps(side))):
        for name, values in side.arrays(X).items():
            assert np.array_equal(twin.arrays(X)[name], values, equal_nan=name == "numeric")


def test_names_and_positions_may_be_given_together():
    side = learn(frame(x=[1, 2, 1], z=[4, 5, 6]), categorical_features=[2, "z"])
    assert [column.name for column in side.categorical] == ["x", "z"]
