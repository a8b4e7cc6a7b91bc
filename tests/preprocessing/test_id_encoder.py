"""IDEncoder."""
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from pandas.testing import assert_frame_equal
from sklearn.compose import ColumnTransformer

from sklrec.preprocessing import IDEncoder


@pytest.fixture
def frame():
    return pd.DataFrame(
        {
            "user": ["bob", "ann", "bob", "eve"],
            "item": [30, 10, 10, 20],
            "time": pd.to_datetime(["2020-01-01", "2020-01-02", None, "2021-05-06"]),
        },
        index=[7, 7, 3, 1],
    )


def test_ids_become_codes_in_order_of_appearance(frame):
    encoder = IDEncoder()
    encoded = encoder.fit_transform(frame)
    assert encoded["user"].tolist() == [1, 2, 1, 3]
    assert encoded["item"].tolist() == [1, 2, 2, 3]
    assert (encoded.dtypes[["user", "item"]] == np.int64).all()
    assert [ids.tolist() for ids in encoder.categories_] == [["bob", "ann", "eve"], [30, 10, 20]]
    assert [ids.tolist() for ids in encoder.infrequent_categories_] == [[], []]
    assert encoder.column_indices_ == (0, 1)
    assert encoder.n_features_in_ == 3
    assert encoder.feature_names_in_.tolist() == ["user", "item", "time"]
    assert_frame_equal(encoder.fit(frame).transform(frame), encoded)


def test_unknown_ids_become_0(frame):
    new = frame.assign(user=["ann", "zoe", "bob", ""], item=[10, 30, 99, -1])
    encoded = IDEncoder().fit(frame).transform(new)
    assert encoded["user"].tolist() == [2, 0, 1, 0]
    assert encoded["item"].tolist() == [2, 1, 0, 0]


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ((0, 1), (0, 1)),
        (("user", "item"), (0, 1)),
        (("item", 0), (1, 0)),
        ((np.int64(1),), (1,)),
        (np.array(["item", "user"]), (1, 0)),
    ],
)
def test_columns_are_found_by_position_and_by_name(frame, columns, expected):
    found = IDEncoder(columns=columns).fit(frame).column_indices_
    assert found == expected
    assert all(type(position) is int for position in found)


NAMES = r"its columns are 'user', 'item', 'time'\. Give one of these names, or a position"
NO_NAMES = r"by name, but X has no column names\. Pass X as a DataFrame whose .*, or give a pos"
MANY = pd.DataFrame(np.zeros((1, 100)), columns=[f"c{k}" for k in range(100)])


@pytest.mark.parametrize(
    ("columns", "X", "error", "text"),
    [
        (("user", "film"), None, ValueError, f"Column 'film' was asked for, but X .*: {NAMES}"),
        (("user",), MANY, ValueError, r"'c18', 'c19', \.\.\.\. Give one of these names"),
        ((0, 3), None, ValueError, "Column 3 was asked for, but X has 3 columns: give"),
        ((-1, 0), None, ValueError, "Column -1 was asked for, but X has 3 columns"),
        (
            (0, "user"),
            None,
            ValueError,
            "Columns 0 and 'user' are one and the same, at position 0",
        ),
        ((0, 1.5), None, TypeError, r"\(an integer\) or .* \(a string\), got 1.5 of type float"),
        ((True, 0), None, TypeError, "got True of type bool"),
        (("user", 1), np.ones((2, 2)), ValueError, f"Column 'user' was asked for {NO_NAMES}"),
        (("user", 1), pd.DataFrame(np.ones((2, 2))), ValueError, f"'user' was .* {NO_NAMES}"),
    ],
)
def test_columns_that_cannot_be_found(frame, columns, X, error, text):
    with pytest.raises(error, match=text):
        IDEncoder(columns=columns).fit(frame if X is None else X)


def test_columns_may_be_in_any_order(frame):
    turned = frame[["time", "item", "user"]]
    encoder = IDEncoder(columns=("user", 1)).fit(turned)
    assert [ids.tolist()[0] for ids in encoder.categories_] == ["bob", 30]
    encoded = encoder.transform(turned)
    assert encoded.columns.tolist() == ["time", "item", "user"]
    assert encoded["user"].tolist() == [1, 2, 1, 3]
    assert_frame_equal(encoder.inverse_transform(encoded), turned)


@pytest.mark.parametrize(
    "time",
    [
        pd.to_datetime(["2020-01-01", "2020-01-02", None, "2021-05-06"]),
        pd.to_datetime(["2020-01-01", "2020-01-02", None, "2021-05-06"]).tz_localize("Asia/Tokyo"),
        np.array([881250949, 891717742, 878887116, 880606923]),
        pd.array([1, None, 2, 3], dtype="Int64"),
        pd.Categorical(["a", "b", None, "a"]),
        [0.5, np.nan, np.inf, 1.0],
        [{"any": "thing"}, None, "x", 1],
    ],
    ids=["datetime", "tz", "integer", "Int64", "category", "float", "object"],
)
def test_other_columns_pass_through(frame, time):
    frame["time"] = time
    encoder = IDEncoder()
    for encoded in (encoder.fit_transform(frame), encoder.transform(frame)):
        assert encoded.index.equals(frame.index)
        assert encoded["time"].dtype == frame["time"].dtype
        assert_frame_equal(encoded[["time"]], frame[["time"]])
    assert_frame_equal(encoder.inverse_transform(encoded), frame)


def test_the_input_is_left_alone(frame):
    before = frame.copy(deep=True)
    encoded = IDEncoder().fit_transform(frame)
    encoded["time"] = None
    encoded.iloc[0, 0] = 99
    assert_frame_equal(frame, before)
    X = frame.to_numpy()
    encoded = IDEncoder().fit_transform(X)
    assert X[0].tolist()[:2] == ["bob", 30]
    assert not np.shares_memory(encoded, X)


@pytest.mark.parametrize(
    ("X", "dtype"),
    [
        (np.array([[5, 7, 90], [3, 7, 91]]), np.int64),
        (np.array([[5, 7, 90], [3, 7, 91]], dtype=np.int8), np.int64),
        (np.array([[5, 7], [3, 7]], dtype=np.float32), np.int64),
        (np.array([["5", "7"], ["3", "7"]]), np.int64),
        (np.array([["5", 7], [3, "x"]], dtype=object), np.int64),
        (np.array([[5, 7, 0.25], [3, 7, np.nan]]), np.float64),
        (np.array([[5, 7, 0.1], [3, 7, 0.2]], dtype=np.float32), np.float64),
        (np.array([["5", "7", "x"], ["3", "7", "y"]]), object),
        (np.array([["5", 7, 0.5], [3, "x", None]], dtype=object), object),
        (np.array([[5, 7, 2**63 + 1], [3, 7, 1]], dtype=np.uint64), object),
    ],
)
def test_arrays_give_arrays(X, dtype):
    encoder = IDEncoder()
    for encoded in (encoder.fit_transform(X), encoder.transform(X)):
        assert isinstance(encoded, np.ndarray)
        assert encoded.dtype == dtype
        assert encoded[:, 0].tolist() == [1, 2]
        np.testing.assert_array_equal(encoded[:, 2:], X[:, 2:])
    np.testing.assert_array_equal(encoder.inverse_transform(encoded), X)


def test_lists_and_read_only_arrays():
    encoder = IDEncoder().fit([["196", 7], [196, 8]])
    codes = encoder.transform([[196, 7], ["8", 8]])
    assert codes.tolist() == [[2, 1], [0, 2]]
    assert encoder.inverse_transform(codes.astype(float)).tolist() == [[196, 7], [None, 8]]
    X = np.asfortranarray([[5, 7, 1], [3, 7, 2]])
    X.flags.writeable = False
    assert IDEncoder().fit(X).transform(X).tolist() == [[1, 1, 1], [2, 1, 2]]


@pytest.mark.parametrize(
    "user",
    [
        pd.Categorical(["b", "a", "b", "c"], categories=["unused", "c", "b", "a"], ordered=True),
        pd.array([3, 1, 3, 2], dtype="Int64"),
        pd.array(["x", "", "x", "y"], dtype="string"),
        np.array([3, 1, 3, 2], dtype=np.int16),
        np.array([3.5, 1, 3.5, 2]),
        np.array(["196", 196, "196", (1, 2)], dtype=object),
        pd.date_range("2020", periods=4, tz="UTC"),
    ],
    ids=["category", "Int64", "string", "int16", "float", "object", "tz"],
)
def test_inverse_transform_restores_values_and_dtype(frame, user):
    frame["user"] = user
    encoder = IDEncoder()
    encoded = encoder.fit_transform(frame)
    assert encoded["user"].dtype == np.int64
    assert_frame_equal(encoder.inverse_transform(encoded), frame)
    encoded.iloc[0, 0] = 0
    restored = encoder.inverse_transform(encoded)
    assert restored["user"].dtype == object
    assert restored["user"].tolist() == [None, *frame["user"].tolist()[1:]]
    assert restored["item"].dtype == np.int64


def test_inverse_transform_refuses_other_values(frame):
    encoder = IDEncoder().fit(frame)
    encoded = encoder.transform(frame)
    for code in (4, -1, 1.5, "a", None):
        text = f"Column 'user' holds {code!r} where a code was expected: the codes of its 3 known"
        with pytest.raises(ValueError, match=text):
            encoder.inverse_transform(encoded.assign(user=pd.Series([code] * 4, encoded.index)))
    with pytest.raises(ValueError, match=r"yet now missing:\n- time"):
        encoder.inverse_transform(encoded[["user", "item"]])


def test_partial_fit_grows(frame):
    encoder = IDEncoder()
    assert encoder.partial_fit(frame) is encoder
    first = encoder.transform(frame)
    known = encoder.vocabularies_
    new = frame.assign(user=["zoe", "ann", "zoe", "ian"])
    encoder.partial_fit(new)
    assert_frame_equal(encoder.transform(frame), first)
    assert encoder.transform(new)["user"].tolist() == [4, 2, 4, 5]
    assert len(known[0]) == 3  # an encoder copied beforehand still has its own
    assert encoder.vocabularies_[1] is known[1]


def test_partial_fit_changes_all_columns_or_none(frame):
    encoder = IDEncoder().fit(frame)
    with pytest.raises(ValueError, match="Column 'item' holds nan in row 1"):
        encoder.partial_fit(frame.assign(user="zoe", item=[1, None, 2, 3]))
    assert len(encoder.categories_[0]) == 3


@pytest.mark.parametrize(
    ("min_frequency", "codes"),
    [
        (None, [1, 2, 1, 3]),
        (1, [1, 2, 1, 3]),
        (2, [1, 0, 1, 0]),
        (3, [0, 0, 0, 0]),
        (0.25, [1, 2, 1, 3]),
        (0.26, [1, 0, 1, 0]),
        (np.int64(2), [1, 0, 1, 0]),
    ],
)
@pytest.mark.parametrize("handle_unknown", ["use_encoded_value", "error"])
def test_min_frequency(frame, min_frequency, codes, handle_unknown):
    encoder = IDEncoder(
        columns=["user"], min_frequency=min_frequency, handle_unknown=handle_unknown
    )
    assert encoder.fit_transform(frame)["user"].tolist() == codes
    # rare IDs are not unknown ones: fit has seen them
    assert encoder.fit(frame).transform(frame)["user"].tolist() == codes
    kept, rare = encoder.categories_[0], encoder.infrequent_categories_[0]
    assert sorted([*kept, *rare]) == ["ann", "bob", "eve"]
    assert len(kept) == max(codes)


def test_partial_fit_does_not_support_min_frequency(frame):
    encoder = IDEncoder(min_frequency=2)
    assert not hasattr(encoder, "partial_fit")
    with pytest.raises(AttributeError) as raised:
        encoder.partial_fit(frame)
    assert str(raised.value) == (
        "partial_fit sees only some of the rows and cannot apply min_frequency=2. Set "
        "min_frequency=None, or call fit with all rows."
    )


def test_unknown_ids_can_be_errors(frame):
    encoder = IDEncoder(handle_unknown="error", min_frequency=2).fit(frame)
    with pytest.raises(
        ValueError,
        match=r"Found unknown categories \['zoe', 'ian'\] in column 'user' during transform\. Fit "
        "on data that has these IDs, or set handle_unknown='use_encoded_value' to give them",
    ):
        encoder.transform(frame.assign(user=["zoe", "ann", "ian", "zoe"]))
    X = np.arange(40).reshape(20, 2)
    encoder = IDEncoder(handle_unknown="error").fit(X)
    with pytest.raises(ValueError, match=r"\[41, 43, .*, 59\] and 10 more in column 1 during tr"):
        encoder.transform(X + [0, 40])
    with pytest.raises(ValueError, match=r"\[41, 43, .*, 59\] in column 1 during transform"):
        encoder.transform(X[:10] + [0, 40])


@pytest.mark.filterwarnings("error")
def test_new_ids_cause_no_warning(frame):
    encoder = IDEncoder().fit(frame)
    encoder.transform(frame.assign(user="zoe", item=[1.5, 2.0, 3.0, 30.0]))
    encoder.partial_fit(frame.assign(user="zoe"))


@pytest.mark.parametrize("method", ["fit", "fit_transform", "partial_fit", "transform"])
def test_invalid_ids_are_refused(frame, method):
    encoder = IDEncoder().fit(frame)
    before = vars(encoder).copy()
    frame["user"] = pd.Series(["bob", None, "eve", None], frame.index, object)
    given = frame.assign(more=1) if method.startswith("fit") else frame
    with pytest.raises(ValueError, match=r"NaN\.\nColumn 'user' holds None in row"):
        getattr(encoder, method)(given)
    assert vars(encoder) == before


@pytest.mark.parametrize(
    ("parameters", "X", "error", "text"),
    [
        ({}, np.ones((3, 1)), ValueError, r"Found array with 1 feature\(s\) .* minimum of 2 is"),
        ({}, np.ones((2, 2)) * 1j, ValueError, "Complex data not supported"),
        ({}, pd.DataFrame({"a": [1j], "b": 1}), ValueError, "Complex .*: column 'a' has dtype"),
        ({}, sp.csr_array(np.ones((2, 2))), TypeError, "Sparse data was passed"),
        ({"columns": ()}, np.ones((2, 3)), ValueError, "columns is empty: give the position or"),
        ({"min_frequency": 0}, np.ones((2, 2)), ValueError, r"an int in the range \[1, inf\)"),
        ({"min_frequency": 1.5}, np.ones((2, 2)), ValueError, r"the range \(0\.0, 1\.0\) or None"),
    ],
)
@pytest.mark.parametrize("method", ["fit", "fit_transform", "partial_fit"])
def test_invalid_tables_and_parameters_are_refused(parameters, X, error, text, method):
    if method == "partial_fit" and "min_frequency" in parameters:
        error, text = AttributeError, "cannot apply min_frequency"
    with pytest.raises(error, match=text):
        getattr(IDEncoder(**parameters), method)(X)


def test_column_labels_may_be_integers():
    X = pd.DataFrame({0: ["a", "b"], 1: [5, 5], 2: [0.5, np.nan]})
    encoded = IDEncoder().fit_transform(X)
    assert_frame_equal(encoded, pd.DataFrame({0: [1, 2], 1: [1, 1], 2: [0.5, np.nan]}))


def test_column_transformer(frame):
    transformer = ColumnTransformer(
        [("ids", IDEncoder(), ["user", "item"])],
        remainder="passthrough",
        verbose_feature_names_out=False,
    ).set_output(transform="pandas")
    assert_frame_equal(transformer.fit_transform(frame), IDEncoder().fit_transform(frame))
