"""Checks of X and of item codes."""
# SPDX-License-Identifier: BSD-3-Clause

import ast
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from sklearn.base import BaseEstimator

import sklrec._data.checks
from sklrec._data.checks import as_codes, check_interactions, column_values, resolve_columns

PACKAGE = Path(sklrec.__file__).parent
RATINGS = np.arange(6).reshape(3, 2)
FRAME = pd.DataFrame(RATINGS, columns=["user", "item"])


class Probe(BaseEstimator):
    """An estimator that does nothing."""


def checked(X, *, reset=True, estimator=None, **options):
    return check_interactions(estimator or Probe(), X, reset=reset, **options)


def fitted_on(X):
    estimator = Probe()
    check_interactions(estimator, X, reset=True)
    return estimator


def test_one_module_imports_private_names_of_scikit_learn():
    offenders = []
    for path in PACKAGE.rglob("*.py"):
        if path == Path(sklrec._data.checks.__file__):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("sklearn"):
                names = [*node.module.split("."), *(alias.name for alias in node.names)]
            elif isinstance(node, ast.Import):
                names = [part for alias in node.names for part in alias.name.split(".")]
                names = names if names[0] == "sklearn" else []
            else:
                continue
            if any(name.startswith("_") for name in names):
                offenders.append(f"{path.relative_to(PACKAGE)}:{node.lineno}")
    assert not offenders


def test_frames_and_arrays_are_returned_unchanged():
    assert checked(FRAME) is FRAME
    assert checked(RATINGS) is RATINGS
    read_only = np.asfortranarray(RATINGS)
    read_only.flags.writeable = False
    assert checked(read_only) is read_only


def test_lists_of_mixed_rows_keep_numbers():
    X = checked([["196", 7], [196, 8]])
    assert X.dtype == object
    assert X.tolist() == [["196", 7], [196, 8]]
    assert checked([[196, 7], [22, 8]]).dtype.kind == "i"


def test_values_are_not_checked():
    X = pd.DataFrame({"user": [1, np.nan], "item": [np.inf, 2], "tags": [{}, []]})
    assert checked(X) is X
    assert checked(X.to_numpy()).dtype == object


def test_number_and_names_of_columns_are_learned():
    estimator = fitted_on(FRAME)
    assert estimator.n_features_in_ == 2
    assert estimator.feature_names_in_.tolist() == ["user", "item"]
    check_interactions(estimator, np.zeros((1, 3)), reset=True)
    assert estimator.n_features_in_ == 3
    assert not hasattr(estimator, "feature_names_in_")


@pytest.mark.parametrize(
    ("X", "error", "text"),
    [
        (sp.csr_array(RATINGS), TypeError, "Sparse data was passed, but dense data is required"),
        (RATINGS + 1j, ValueError, "Complex data not supported"),
        (RATINGS[0], ValueError, r"Expected 2D array, got 1D array instead(.|\n)*Reshape"),
        ([1, 2], ValueError, r"Expected 2D array, got 1D array instead(.|\n)*Reshape"),
        (FRAME["user"], ValueError, "Expected a 2-dimensional container but got"),
        (3, ValueError, "Expected 2D array, got scalar array instead"),
        (RATINGS[None], ValueError, "Found array with dim 3, while dim <= 2 is required by Probe"),
        (
            "log.csv",
            TypeError,
            r"got a path instead: 'log\.csv'\. Read the file first, .*ParquetRatings\(path, rati",
        ),
        (Path("log.csv"), TypeError, r"got a path instead: 'log\.csv'\. Read the file first"),
    ],
)
def test_invalid_tables_are_refused(X, error, text):
    with pytest.raises(error, match=text):
        checked(X)


@pytest.mark.parametrize("X", [FRAME, RATINGS], ids=["frame", "array"])
def test_too_few_rows_or_columns_are_refused(X):
    columns = X.iloc if isinstance(X, pd.DataFrame) else X
    with pytest.raises(
        ValueError,
        match=r"Found array with 0 sample\(s\) \(shape=\(0, 2\)\) while a minimum of 1 is "
        "required by Probe",
    ):
        checked(X[:0])
    one_column = r"Found array with 1 feature\(s\) \(shape=\(3, 1\)\) while a minimum of 2 is "
    with pytest.raises(ValueError, match=one_column + "required by Probe"):
        checked(columns[:, :1])
    assert checked(columns[:, :1], min_features=1).shape == (3, 1)


def test_x_must_look_as_it_did_in_fit():
    estimator = fitted_on(FRAME)
    again = {"reset": False, "estimator": estimator}
    assert checked(FRAME, **again) is FRAME
    with pytest.raises(ValueError, match="must be in the same order as they were in fit"):
        checked(FRAME[["item", "user"]], **again)
    with pytest.raises(ValueError, match=r"yet now missing:\n- item"):
        checked(FRAME[["user"]], **again)
    with pytest.raises(ValueError, match=r"unseen at fit time:\n- film"):
        checked(FRAME.rename(columns={"item": "film"}), **again)
    with pytest.raises(ValueError, match="X has 3 features, but Probe is expecting 2 features"):
        checked(np.zeros((1, 3)), reset=False, estimator=fitted_on(RATINGS))
    with pytest.raises(ValueError, match=r"Found array with 0 sample\(s\)"):
        checked(FRAME[:0], **again)


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
def test_columns_are_found_by_position_and_by_name(columns, expected):
    found = resolve_columns(fitted_on(FRAME), columns, FRAME)
    assert found == expected
    assert all(type(position) is int for position in found)


@pytest.mark.parametrize(
    ("columns", "error", "text"),
    [
        (
            ("user", "film"),
            ValueError,
            "Column 'film' was asked for, but X has no column of that name: its columns are "
            r"'user', 'item'\. Give one of these names, or a position from 0 to 1\.",
        ),
        (
            (0, 2),
            ValueError,
            "Column 2 was asked for, but X has 2 columns: give a position from 0 to 1",
        ),
        ((-1, 0), ValueError, "Column -1 was asked for, but X has 2 columns"),
        (
            (0, "user"),
            ValueError,
            "Columns 0 and 'user' are one and the same, at position 0 of X",
        ),
        (
            (0, 1.5),
            TypeError,
            r"by its position \(an integer\) or by its name \(a string\), got 1.5 of type float",
        ),
        ((True, 0), TypeError, "got True of type bool"),
    ],
)
def test_columns_that_cannot_be_found(columns, error, text):
    with pytest.raises(error, match=text):
        resolve_columns(fitted_on(FRAME), columns, FRAME)


@pytest.mark.parametrize("X", [RATINGS, pd.DataFrame(RATINGS)], ids=["array", "unnamed frame"])
def test_a_name_needs_column_names(X):
    with pytest.raises(
        ValueError,
        match=r"Column 'user' was asked for by name, but X has no column names\. Pass X as a "
        r"DataFrame whose column names are strings, or give a position from 0 to 1\.",
    ):
        resolve_columns(fitted_on(X), ("user", 1), X)


def test_messages_list_at_most_20_columns():
    X = pd.DataFrame(np.zeros((1, 100)), columns=[f"c{k}" for k in range(100)])
    with pytest.raises(ValueError, match=r"'c18', 'c19', \.\.\.\. Give one of these names"):
        resolve_columns(fitted_on(X), ("user",), X)


def test_columns_are_views():
    for X in (RATINGS, np.asfortranarray(RATINGS)):
        values = column_values(X, 1)
        assert np.shares_memory(values, X)
        assert values.tolist() == [1, 3, 5]
    X = pd.DataFrame({"user": pd.Categorical(["b", "a"]), "item": [5, 6], "day": ["x", "y"]})
    assert column_values(X, 0) is X["user"].array
    assert isinstance(column_values(X, 1), np.ndarray)
    assert np.shares_memory(column_values(X, 1), X["item"].to_numpy())
    assert column_values(X, 2).dtype == "str"


def test_columns_may_have_the_same_label():
    X = pd.DataFrame([[1, 2], [3, 4]], columns=[0, 0])
    assert column_values(X, 0).tolist() == [1, 3]
    assert column_values(X, 1).tolist() == [2, 4]


@pytest.mark.parametrize(
    "values",
    [
        np.array([0, 3, 7]),
        np.array([0.0, 3.0, 7.0]),
        np.array([0, 3, 7], dtype=np.uint8),
        np.array([0, 3.0, np.int8(7)], dtype=object),
        pd.array([0, 3, 7], dtype="Int32"),
    ],
    ids=lambda values: str(values.dtype),
)
def test_whole_numbers_are_codes(values):
    codes, valid = as_codes(values)
    assert codes.dtype == np.int64
    assert codes.tolist() == [0, 3, 7]
    assert valid.all()


@pytest.mark.parametrize(
    "value",
    [-1, 0.5, np.nan, np.inf, 1e20, "3", None, True, pd.NA, np.datetime64("2020")],
    ids=repr,
)
def test_other_values_are_no_codes(value):
    codes, valid = as_codes(np.array([2, value], dtype=object))
    assert valid.tolist() == [True, False]
    assert codes[0] == 2
