"""SequenceWindower."""
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal
from sklearn.impute import SimpleImputer
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold, cross_val_score
from sklearn.pipeline import make_pipeline

from sklrec.datasets import make_ratings
from sklrec.preprocessing import IDEncoder, SequenceWindower


@pytest.fixture
def log():
    return pd.DataFrame(
        {
            "user": ["ann", "bob", "ann", "ann", "bob", "ann"],
            "item": [4, 4, 2, 3, 1, 1],
            "timestamp": [30, 10, 10, 20, 20, 30],
        },
        index=[5, 5, 3, 2, 1, 0],
    )


RATINGS = [1.0, 2.0, 3.0, 4.0, 5.0, 1.5]


def test_rows_read_what_is_strictly_earlier(log):
    windows = SequenceWindower(max_len=4).fit(log).transform(log)
    assert windows.tolist() == [
        [0, 2, 3, 4],
        [0, 0, 0, 4],
        [0, 0, 0, 2],
        [0, 0, 2, 3],
        [0, 0, 4, 1],
        [0, 2, 3, 1],
    ]
    assert windows.dtype == np.int64


def test_new_rows_read_the_log_of_fit_but_not_each_other(log):
    windower = SequenceWindower(max_len=4).fit(log)
    later = pd.DataFrame(
        {"user": ["ann", "ann", "eve", "bob"], "item": [9, 8, 7, 0], "timestamp": [31, 99, 99, 11]}
    )
    # ann had items 1 and 4 at one time: they come in the order of their codes
    assert windower.transform(later).tolist() == [
        [3, 1, 4, 9],
        [3, 1, 4, 8],
        [0, 0, 0, 7],
        [0, 0, 4, 0],
    ]
    for row in range(4):
        alone = windower.transform(later[row : row + 1])
        assert alone.tolist() == windower.transform(later)[row : row + 1].tolist()


def test_ratings_are_those_of_fit(log):
    windower = SequenceWindower(max_len=3, ratings=True).fit(log, RATINGS)
    nan = np.nan
    expected = [
        [2, 3, 4, 3, 4, nan],
        [0, 0, 4, nan, nan, nan],
        [0, 0, 2, nan, nan, nan],
        [0, 2, 3, nan, 3, nan],
        [0, 4, 1, nan, 2, nan],
        [2, 3, 1, 3, 4, nan],
    ]
    np.testing.assert_array_equal(windower.transform(log), expected)
    later = pd.DataFrame({"user": ["ann"], "item": [9], "timestamp": [31]})
    np.testing.assert_array_equal(windower.transform(later), [[1, 4, 9, 1.5, 1, nan]])
    twin = SequenceWindower(max_len=3, ratings=True)
    np.testing.assert_array_equal(twin.fit_transform(log, RATINGS), expected)


def test_the_order_of_rows_does_not_matter(log):
    windower = SequenceWindower(max_len=3, ratings=True)
    expected = windower.fit(log, RATINGS).transform(log)
    order = [3, 0, 5, 1, 4, 2]
    windower.fit(log.iloc[order], np.array(RATINGS)[order])
    np.testing.assert_array_equal(windower.transform(log), expected)
    np.testing.assert_array_equal(windower.transform(log.iloc[order]), expected[order])


LOGS = st.lists(
    st.tuples(st.integers(1, 3), st.integers(0, 5), st.integers(-3, 3)), min_size=1, max_size=25
)


@given(LOGS, LOGS, st.integers(1, 5), st.sampled_from([1, 0.25, 2**60]))
def test_results_equal_those_of_a_loop(seen, new, max_len, unit):
    expected = []
    for user, item, time in new:
        past = sorted((t, i) for u, i, t in seen if u == user and t < time)
        items = [0] * max_len + [i for _, i in past] + [item]
        expected.append(items[-max_len:])

    def frame(rows):
        X = pd.DataFrame(rows, columns=["user", "item", "timestamp"])
        return X.assign(timestamp=X["timestamp"] * unit)

    windower = SequenceWindower(max_len).fit(frame(seen))
    assert windower.transform(frame(new)).tolist() == expected


def test_rows_do_not_depend_on_later_rows():
    X, y = make_ratings(20, 30, 300, random_state=0)
    X["item"] += 1
    now = X["timestamp"].median()
    early, late = X["timestamp"] <= now, X["timestamp"] > now
    windower = SequenceWindower(ratings=True)
    expected = windower.fit(X, y).transform(X[early])
    shuffled = X.copy()
    shuffled.loc[late, "item"] = shuffled.loc[late, "item"].to_numpy()[::-1]
    other = y.where(early, 6 - y)
    np.testing.assert_array_equal(windower.fit(shuffled, other).transform(X[early]), expected)
    np.testing.assert_array_equal(windower.fit(X[early], y[early]).transform(X[early]), expected)


@pytest.mark.parametrize(
    "convert",
    [
        lambda t: pd.to_datetime(t, unit="s"),
        lambda t: pd.to_datetime(t, unit="s").dt.tz_localize("Asia/Tokyo"),
        lambda t: pd.to_datetime(t, unit="s").astype(object),
        lambda t: t / 7,
        lambda t: t.astype("Int64"),
    ],
    ids=["datetime", "tz", "objects", "float", "Int64"],
)
def test_timestamps_of_any_kind(log, convert):
    expected = SequenceWindower(max_len=4).fit_transform(log)
    changed = log.assign(timestamp=convert(log["timestamp"]))
    assert (SequenceWindower(max_len=4).fit_transform(changed) == expected).all()


def test_columns_are_given_by_position_or_name(log):
    expected = SequenceWindower(max_len=4).fit_transform(log)
    turned = log.rename(columns={"timestamp": "when"})[["when", "item", "user"]]
    for columns in ({"user": "user", "timestamp": "when"}, {"user": 2, "timestamp": 0}):
        windower = SequenceWindower(max_len=4, **columns)
        assert (windower.fit_transform(turned) == expected).all()
        assert windower.column_indices_ == (2, 1, 0)
    array = SequenceWindower(max_len=4, timestamp=2).fit_transform(log.to_numpy())
    assert (array == expected).all()


@pytest.mark.parametrize("timestamp", ["auto", None])
def test_without_timestamps_a_row_reads_all_other_items_of_its_user(log, timestamp):
    windower = SequenceWindower(max_len=3, timestamp=timestamp, ratings=True)
    nan = np.nan
    expected = [
        [3, 1, 4, 4, 1.5, nan],
        [0, 1, 4, nan, 5, nan],
        [3, 1, 2, 4, 1.5, nan],
        [2, 1, 3, 3, 1.5, nan],
        [0, 4, 1, nan, 2, nan],
        [2, 3, 1, 3, 4, nan],
    ]
    pairs = log[["user", "item"]]
    np.testing.assert_array_equal(windower.fit_transform(pairs, RATINGS), expected)
    assert windower.column_indices_ == (0, 1) and windower.timestamp_kind_ is None
    new = pd.DataFrame({"user": ["ann", "eve"], "item": [9, 4]})
    assert windower.transform(new)[:, :3].tolist() == [[3, 1, 9], [0, 0, 4]]


def test_missing_timestamps_are_named(log):
    renamed = log.rename(columns={"timestamp": "when"})
    with pytest.warns(
        UserWarning,
        match="(?s)'auto' found no column named 'timestamp'.*, and transform reads the whole hi",
    ):
        SequenceWindower().fit(renamed)
    with pytest.raises(ValueError, match="Column 'when' was asked for, but X has no column of th"):
        SequenceWindower(timestamp="when").fit(log)
    with pytest.raises(ValueError, match="yet now missing:\n- timestamp"):
        SequenceWindower().fit(log).transform(log[["user", "item"]])


@pytest.mark.parametrize("method", ["fit", "transform"])
@pytest.mark.parametrize(
    ("column", "values", "text"),
    [
        ("timestamp", [1, 2, np.nan, 4, 5, 6], "contains NaN.\nColumn 'timestamp' holds nan in"),
        ("timestamp", [1, 2, np.inf, 4, 5, 6], "contains infinity.\nColumn 'timestamp' holds inf"),
        ("timestamp", list("abcdef"), "Column 'timestamp' holds 'a' of type str in row 0"),
        (
            "user",
            [1, 2, -1, 2, 1, 2],
            r"Negative values .*\nColumn 'user' holds -1 in row 2. Users t",
        ),
        ("user", ["ann", None] * 3, "contains NaN.\nColumn 'user' holds (nan|None) in row 1"),
        ("item", [1, 2, -3, 4, 5, 6], r"Negative values .*\nColumn 'item' holds -3 in row 2"),
        ("item", [1, 2, 0.5, 4, 5, 6], r"^Column 'item' holds 0\.5 in row 2 where"),
        ("item", [1, 2, None, 4, 5, 6], "contains NaN.\nColumn 'item' holds nan in row 2"),
        ("item", [1, 2, np.inf, 4, 5, 6], "contains infinity.\nColumn 'item' holds inf in row 2"),
        ("item", list("abcdef"), "holds 'a' in row 0 where the code of an item was expected, a w"),
        ("item", list("abcdef"), r"Put an IDEncoder in front, for example make_pipeline\(IDEnco"),
        ("item", [[1], [2]] * 3, r"^Column 'item' holds \[1\] in row 0 where"),
        ("item", [True, False] * 3, r"^Column 'item' holds True in row 0 where"),
    ],
)
def test_invalid_columns_are_refused(log, method, column, values, text):
    windower = SequenceWindower().fit(log[["user", "item", "timestamp"]])
    before = vars(windower).copy()
    with pytest.raises((ValueError, TypeError), match=text):
        getattr(windower, method)(log.assign(**{column: values})[[*windower.feature_names_in_]])
    assert vars(windower) == before


def test_codes_may_be_whole_floats_or_objects(log):
    expected = SequenceWindower().fit_transform(log)
    for dtype in (float, object, "Int64", "uint8"):
        changed = log.astype({"item": dtype})
        assert (SequenceWindower().fit_transform(changed) == expected).all()


def test_fit_on_datetimes_refuses_numbers(log):
    windower = SequenceWindower().fit(log.assign(timestamp=pd.to_datetime(log["timestamp"])))
    assert windower.timestamp_kind_ == "datetimes"
    with pytest.raises(
        ValueError, match="Column 'timestamp' was fitted on datetimes but got numb"
    ):
        windower.transform(log)


def test_ratings_need_y(log):
    windower = SequenceWindower(ratings=True)
    with pytest.raises(ValueError, match="requires y to be passed, but the target y is None"):
        windower.fit(log)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        windower.fit(log, RATINGS[:-1])
    with pytest.raises(ValueError, match="Input y contains NaN"):
        windower.fit(log, [np.nan, *RATINGS[1:]])
    SequenceWindower().fit(log, ["anything"] * 6)


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({"item": "user"}, "Columns 'user' and 'user' are one and the same"),
        ({"timestamp": "item"}, "Columns 1 and 1 are one and the same"),
    ],
)
def test_bad_parameters_are_refused(log, parameters, text):
    with pytest.raises(ValueError, match=text):
        SequenceWindower(**parameters).fit(log)


def test_names_and_set_output(log):
    windower = SequenceWindower(max_len=2, ratings=True).set_output(transform="pandas")
    frame = windower.fit(log, RATINGS).transform(log)
    names = ["item_lag1", "item_lag0", "rating_lag1", "rating_lag0"]
    assert windower.get_feature_names_out().tolist() == names
    assert_frame_equal(frame[:1], pd.DataFrame([[3, 4, 4, np.nan]], [5], names, dtype=float))
    assert SequenceWindower(1).fit(log).get_feature_names_out().tolist() == ["item_lag0"]
    with pytest.raises(ValueError, match="input_features is not equal to feature_names_in_"):
        windower.get_feature_names_out(["a", "b", "c"])


def test_unknown_ids_are_0_after_an_encoder():
    log = pd.DataFrame({"user": ["a", "a", "b"], "item": ["x", "y", "y"], "timestamp": [1, 2, 1]})
    pipeline = make_pipeline(IDEncoder(), SequenceWindower(max_len=3)).fit(log)
    new = pd.DataFrame({"user": ["a", "c"], "item": ["z", "x"], "timestamp": [3, 3]})
    assert pipeline.transform(new).tolist() == [[1, 2, 0], [0, 0, 1]]


def test_under_cross_validation_only_training_rows_are_read():
    X, y = make_ratings(20, 30, 300, random_state=0)
    imputer = SimpleImputer(strategy="constant", fill_value=0, keep_empty_features=True)
    pipeline = make_pipeline(IDEncoder(), SequenceWindower(ratings=True), imputer, Ridge())
    assert np.isfinite(cross_val_score(pipeline, X, y, cv=KFold(3, shuffle=True))).all()
    X["item"] += 1
    train, test = next(KFold(3, shuffle=True, random_state=0).split(X))
    seen, new = X.iloc[train], X.iloc[test]
    windows = SequenceWindower(5).fit(seen).transform(new)
    for window, row in zip(windows, new.itertuples(), strict=True):
        earlier = seen["item"][(seen["user"] == row.user) & (seen["timestamp"] < row.timestamp)]
        assert set(window[:-1]) - {0} <= set(earlier)


def test_the_default_is_ten_items():
    X = pd.DataFrame({"user": 1, "item": range(12), "timestamp": range(12)})
    windower = SequenceWindower().fit(X)
    assert windower.transform(X)[-1].tolist() == list(range(2, 12))
    assert windower.get_feature_names_out().dtype == object
