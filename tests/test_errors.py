"""Messages of errors about bad input: what was wanted, what came, and what to do."""
# SPDX-License-Identifier: BSD-3-Clause

import copy
import re
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from sklearn.exceptions import DataConversionWarning, NotFittedError

from sklrec import MFRegressor

X = pd.DataFrame({"user": [1, 1, 2, 2, 3], "item": [1, 2, 1, 3, 3], "ts": [1, 2, 3, 4, 5]})
Y = np.array([1.0, 2.0, 3.0, 4.0, 5.0])


def mf(**options):
    return MFRegressor(**{"n_factors": 2, "max_epochs": 1, "random_state": 0, **options})


@pytest.fixture(scope="module")
def fitted():
    return mf().fit(X, Y)


def with_missing(value):
    return X.assign(user=[1, value, 2, 2, value])


# --- ratings

FINITE = r"drop these rows of X and y\."
NUMERIC = r"Convert it first, for example with pandas\.to_numeric\."


@pytest.mark.parametrize(
    ("y", "texts"),
    [
        (
            [1, 2, np.nan, 4, np.nan],
            ["Input y contains NaN", "2 of 5 are not, the first in row 2: ", FINITE],
        ),
        (
            [1, 2, 3, 4, np.inf],
            ["Input y contains infinity", "1 of 5 are not, the first in row 4: ", FINITE],
        ),
        ([1, None, 3, 4, 5], ["Input y contains NaN", "1 of 5 are not, the first in row 1"]),
        (
            pd.array([1, 2, 3, pd.NA, 5], dtype="Int64"),
            ["Input y contains NaN", "1 of 5 are not, the first in row 3"],
        ),
        (list("abcde"), ["must be numeric, got 'a' of type str in row 0", NUMERIC]),
        (list("12345"), ["must be numeric, got '1' of type str in row 0", NUMERIC]),
        ([1, 2, "3", 4, 5], ["must be numeric, got '(3' of type str in row 2|1' of)"]),
        (pd.Series(list("12345"), dtype="category"), ["must be numeric, got '1' of type str in"]),
        (
            pd.date_range("2020-01-01", periods=5),
            ["y holds the ratings for MFRegressor and must be numeric, got datetime64.*Pass a c"],
        ),
        (np.arange(5).astype("timedelta64[ns]"), ["must be numeric, got timedelta64.*Pass a c"]),
        (np.c_[Y, Y], [r"y should be a 1d array, got an array of shape \(5, 2\) instead"]),
        (None, ["This MFRegressor estimator requires y to be passed, but the target y is None"]),
        (Y[:3], [r"Found input variables with inconsistent numbers of samples: \[5, 3\]"]),
        ([], [r"Found (array with 0 sample\(s\)|input variables with inconsistent)"]),
    ],
)
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_bad_ratings(y, texts, method):
    with pytest.raises(ValueError) as caught:
        getattr(mf(), method)(X, y)
    for text in texts:
        assert re.search(text, str(caught.value))


def test_ratings_in_a_column_are_taken_with_a_warning():
    with pytest.warns(DataConversionWarning, match="A column-vector y was passed when a 1d array"):
        model = mf().fit(X, Y[:, None])
    assert np.array_equal(model.predict(X), mf().fit(X, Y).predict(X))


# --- interactions


READ_FIRST = r"Read the file first, .*ParquetRatings\(path, rati"
ONE_FEATURE = r"Found array with 1 feature\(s\) \(shape=\(5, 1\)\) while a minimum of 2"
NO_ROWS = r"Found array with 0 sample\(s\) \(shape=\(0, 3\)\) while a minimum of 1 is required by"


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        (with_missing(np.nan), ValueError, r"contains NaN\.\nColumn 'user' holds nan in row 1"),
        (with_missing(None), ValueError, "Column 'user' holds (nan|None) in row 1"),
        (with_missing(pd.NA).astype({"user": "Int64"}), ValueError, "'user' holds <NA> in row 1"),
        (with_missing(np.inf), ValueError, r"contains infinity\.\nColumn 'user' holds inf"),
        (with_missing(np.nan).to_numpy(), ValueError, "Column 0 holds nan in row 1"),
        (with_missing([]), TypeError, r"Column 'user' holds \[\], which cannot be an ID"),
        (X[["user"]], ValueError, ONE_FEATURE),
        (X.to_numpy()[:, :1], ValueError, ONE_FEATURE),
        (X[:0], ValueError, NO_ROWS),
        (X.to_numpy()[:0], ValueError, NO_ROWS),
        (X["user"], ValueError, "Expected 2D array, got a Series"),
        (np.ones(5), ValueError, "Expected 2D array, got 1D array instead"),
        (X.to_numpy() + 1j, ValueError, "Complex data not supported"),
        (sp.csr_array(X), TypeError, "Sparse data was passed, .*interactions_from_matrix"),
        (3, ValueError, "Expected 2D array, got scalar array instead"),
        (
            pd.Series([1, 2]),
            ValueError,
            r"a Series, which .* as X\[\['user', 'item'\]\], o",
        ),
        ({"user": [1]}, TypeError, r"got a dict. Pass pandas.DataFrame\(X\) if it has a list for"),
        (X.to_numpy()[None], ValueError, "Found array with dim 3, while dim <= 2 is required by"),
        ("log.csv", TypeError, rf"got a path instead: 'log\.csv'\. {READ_FIRST}"),
        (Path("log.csv"), TypeError, rf"got a path instead: 'log\.csv'\. {READ_FIRST}"),
    ],
)
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_bad_interactions(given, error, text, method):
    with pytest.raises(error, match=text):
        getattr(mf(), method)(given, Y[: getattr(given, "shape", (5,))[0]])


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (
            X[["item", "user", "ts"]],
            r"The feature names should match those that were passed during fit\.\n"
            r"Feature names must be in the same order as they were in fit\.",
        ),
        (X[["user", "item"]], r"Feature names seen at fit time, yet now missing:\n- ts"),
        (X.assign(day=1), r"Feature names unseen at fit time:\n- day"),
        (X.rename(columns={"item": "film"}), r"Feature names unseen at fit time:\n- film"),
        (
            X.to_numpy()[:, :2],
            "X has 2 features, but MFRegressor is expecting 3 features as input",
        ),
        (X[:0], r"Found array with 0 sample\(s\) \(shape=\(0, 3\)\) while a minimum of 1"),
        (with_missing(np.nan), r"Input X contains NaN\.\nColumn 'user' holds nan in row 1"),
        (with_missing(-np.inf), r"Input X contains infinity\.\nColumn 'user' holds -inf in row 1"),
        (np.ones(3), "Expected 2D array, got 1D array instead"),
    ],
)
def test_bad_interactions_to_predict(fitted, given, text):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "X does not have valid feature names")
        with pytest.raises(ValueError, match=text):
            fitted.predict(given)
        with pytest.raises(ValueError, match=text):
            copy.deepcopy(fitted).partial_fit(given, Y[: len(given)])


@pytest.mark.parametrize("weight", [None, [0, 0, 3, 0, 0]])
def test_one_row_is_too_few(weight):
    given, y = (X, Y) if weight else (X[:1], Y[:1])
    text = (
        r"Found array with 1 sample\(s\) while a minimum of 2 is required by MFRegressor\. "
        r"Pass more rated interactions\."
    )
    with pytest.raises(ValueError, match=text):
        mf().fit(given, y, weight)


@pytest.mark.parametrize("method", ["predict", "recommend", "similar_items", "score"])
def test_methods_need_fit(method):
    arguments = (X, Y) if method == "score" else (X if method == "predict" else [1],)
    text = "This MFRegressor instance is not fitted yet. Call 'fit' with appropriate arguments"
    with pytest.raises(NotFittedError, match=text):
        getattr(mf(), method)(*arguments)


# --- weights and validation data


@pytest.mark.parametrize(
    ("weight", "text"),
    [
        ([1, 1, 1, 1, -1], "Negative values in data passed to `sample_weight`"),
        (np.zeros(5), "Sample weights must contain at least one non-zero number"),
        (np.ones(4), r"sample_weight\.shape == \(4,\), expected \(5,\)!"),
        ([1, 1, np.nan, 1, 1], "Input sample_weight contains NaN"),
        ([1, 1, np.inf, 1, 1], "Input sample_weight contains infinity"),
        (np.ones((5, 2)), "Sample weights must be 1D array or scalar"),
    ],
)
def test_bad_weights(weight, text):
    for method in ("fit", "partial_fit"):
        with pytest.raises(ValueError, match=text):
            getattr(mf(), method)(X, Y, weight)
    with pytest.raises(ValueError, match=text):
        mf().fit(X, Y, X_val=X, y_val=Y, sample_weight_val=weight)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"X_val": X}, r"X_val is provided, but y_val was not provided\."),
        ({"y_val": Y}, r"y_val is provided, but X_val was not provided\."),
        ({"sample_weight_val": Y}, r"sample_weight_val is provided, but X_val was not provided\."),
        (
            {"X_val": X, "y_val": [1, 2, 3, np.nan, 5]},
            r"Input y_val contains NaN\.\n(.|\n)*1 of 5 are not, the first in row 3: drop these "
            r"rows of X and y_val\.",
        ),
        ({"X_val": X, "y_val": ["a"] * 5}, "y_val holds the ratings for MFRegressor and must be"),
        ({"X_val": X, "y_val": Y[:2]}, r"inconsistent numbers of samples: \[5, 2\]"),
        ({"X_val": X[["user", "item"]], "y_val": Y}, r"yet now missing:\n- ts"),
        ({"X_val": with_missing(np.nan), "y_val": Y}, "Column 'user' holds nan in row 1"),
    ],
)
def test_bad_validation_data(options, text):
    with pytest.raises(ValueError, match=text):
        mf().fit(X, Y, **options)


# --- parameters


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("n_factors", 0, r"an int in the range \[1, inf\)"),
        ("alpha", -1, r"a float in the range \[0.0, inf\)"),
        ("max_epochs", 0, r"an int in the range \[1, inf\)"),
        ("lr", 0, r"a str among {'auto'} or a float in the range \(0.0, 1e\+30\]"),
        ("batch_size", -1, r"an int in the range \[1, inf\)"),
        ("init_std", 0, r"a float in the range \(0.0, inf\)"),
        ("early_stopping", 1.0, r"a str among {'auto'} or a float in the range \(0.0, 1.0\)"),
        ("rating_scale", 5, "a str among {'auto'}, an instance of 'tuple', an instance of"),
        ("user", -1, r"an int in the range \[0, inf\) or an instance of 'str'"),
        ("device", 0, "an instance of 'str' or an instance of 'torch.device'"),
    ],
)
def test_bad_parameters(name, value, wanted):
    text = f"The '{name}' parameter of MFRegressor must be .*{wanted}.* Got {value!r} instead"
    with pytest.raises(ValueError, match=text):
        mf(**{name: value}).fit(X, Y)
    with pytest.raises(ValueError, match=text):
        mf(**{name: value}).partial_fit(X, Y)


NO_COLUMN = r"Column 'usr' was asked for, but X has no column of that name: .*'user', 'item', 'ts'"
OUTSIDE = r"must lie inside rating_scale=\(2, 4\), got 1 in row 0 and 2 such rows in all\. Drop"
SCALE = r"must be 'auto', None or the lowest and the highest rating, such as \(1, 5\), got "
OPTIMIZER = r"optimizer must be None or a subclass of torch\.optim\.Optimizer, .*AdamW, got "


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("user", "usr", NO_COLUMN),
        ("item", 7, "Column 7 was asked for, but X has 3 columns: give a position from 0 to 2"),
        ("user", 1, "Columns 1 and 'item' are one and the same, at position 1 of X"),
        ("user", "item", "Columns 'item' and 'item' are one and the same"),
        ("early_stopping", 0.95, "the resulting train set will be empty"),
        ("rating_scale", (2, 4), OUTSIDE),
        *[
            ("rating_scale", scale, SCALE + re.escape(repr(scale)))
            for scale in [(5, 1), (1, 1), (1, 2, 3), (), ("a", "b"), (1, None), (1, np.nan), [[1]]]
        ],
        *[
            ("optimizer", kind, OPTIMIZER + re.escape(repr(kind)))
            for kind in (int, torch.nn.Module)
        ],
        *[
            ("device", device, f"device='{device}' is not available on this machine.*: cpu")
            for device in ("gpu", "cuda:999", "xpu:0", torch.device("cuda", 998), "")
        ],
        ("device", "accelerate", "MFRegressor trains in one process, on a device"),
    ],
)
@pytest.mark.parametrize("early_stopping", [False, True])
def test_parameters_that_do_not_fit_the_data_or_the_machine(name, value, text, early_stopping):
    options = {"early_stopping": early_stopping, name: value}
    with pytest.raises(TypeError if name == "optimizer" else ValueError, match=text):
        mf(**options).fit(X, Y)


def test_columns_of_arrays_have_no_names():
    with pytest.raises(ValueError, match="by name, but X has no column names"):
        mf(user="user").fit(X.to_numpy(), Y)
