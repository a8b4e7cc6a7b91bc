"""SequencePadder."""
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from sklrec.preprocessing import SequencePadder

SEQUENCES = [[5, 3, 8], [2], [], [7, 1, 9, 4]]


def objects(sequences):
    array = np.empty(len(sequences), dtype=object)
    array[:] = sequences
    return array


@pytest.mark.parametrize(
    "sequences",
    [
        SEQUENCES,
        tuple(map(tuple, SEQUENCES)),
        [np.array(sequence, dtype=np.int32) for sequence in SEQUENCES],
        [np.array(sequence, dtype=float) for sequence in SEQUENCES],
        [pd.array(sequence, dtype="Int64") for sequence in SEQUENCES],
        [pd.Series(sequence, dtype=int, index=sequence[::-1]) for sequence in SEQUENCES],
        objects(SEQUENCES),
        pd.Series(SEQUENCES, index=[3, 3, 2, 1]),
    ],
    ids=["list", "tuple", "int32", "float", "Int64", "Series", "objects", "Series of lists"],
)
def test_sequences_of_any_kind(sequences):
    padder = SequencePadder()
    padded = padder.fit_transform(sequences)
    assert padded.tolist() == [[0, 5, 3, 8], [0, 0, 0, 2], [0, 0, 0, 0], [7, 1, 9, 4]]
    assert padded.dtype == np.int64
    assert padder.max_len_ == 4


@pytest.mark.parametrize(
    ("padding", "expected"),
    [
        ("pre", [[0, 5, 3, 8, 0, 1, 1, 1], [0, 0, 0, 2, 0, 0, 0, 1]]),
        ("post", [[5, 3, 8, 0, 1, 1, 1, 0], [2, 0, 0, 0, 1, 0, 0, 0]]),
    ],
)
def test_the_mask_follows_the_codes(padding, expected):
    padder = SequencePadder(mask=True, padding=padding).fit(SEQUENCES)
    padded = padder.transform(SEQUENCES)
    assert padded[:2].tolist() == expected
    assert padded.dtype == np.int64


def test_longer_sequences_than_fit_saw_are_cut():
    padder = SequencePadder().fit([[1, 2], [3]])
    assert padder.transform([[1, 2, 3]]).tolist() == [[2, 3]]
    assert padder.transform([[1]]).tolist() == [[0, 1]]


@given(
    st.lists(st.lists(st.integers(1, 9), max_size=6), min_size=1, max_size=8),
    st.integers(1, 7),
    st.sampled_from(["pre", "post"]),
    st.sampled_from(["pre", "post"]),
)
def test_results_equal_those_of_a_loop(sequences, max_len, padding, truncating):
    expected = []
    for sequence in sequences:
        kept = sequence[-max_len:] if truncating == "pre" else sequence[:max_len]
        zeros = [0] * (max_len - len(kept))
        expected.append(zeros + kept if padding == "pre" else kept + zeros)
    padder = SequencePadder(max_len, padding=padding, truncating=truncating)
    assert padder.fit_transform(sequences).tolist() == expected


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({}, [[1, 2, 3], [0, 4, 5]]),
        ({"max_len": 2}, [[2, 3], [4, 5]]),
        ({"max_len": 2, "truncating": "post"}, [[1, 2], [0, 4]]),
        ({"max_len": 4}, [[0, 1, 2, 3], [0, 0, 4, 5]]),
        ({"max_len": 4, "padding": "post"}, [[1, 2, 3, 0], [0, 4, 5, 0]]),
        ({"mask": True}, [[1, 2, 3, 1, 1, 1], [0, 4, 5, 0, 1, 1]]),
    ],
)
@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.float32, np.float64])
def test_a_matrix_is_rectangular_already(parameters, expected, dtype):
    X = np.array([[1, 2, 3], [0, 4, 5]], dtype=dtype)
    padder = SequencePadder(**parameters).fit(X)
    assert padder.n_features_in_ == 3
    for matrix in (X, pd.DataFrame(X)):
        padded = padder.transform(matrix)
        assert padded.dtype == dtype
        assert padded.tolist() == expected


def test_any_numbers_of_a_matrix_pass_through():
    X = np.array([[-1.5, 0.5], [1e300, -0.0]])
    padded = SequencePadder(max_len=3, padding="post").fit_transform(X)
    np.testing.assert_array_equal(padded, np.hstack([X, np.zeros((2, 1))]))
    assert not np.shares_memory(SequencePadder().fit_transform(X), X)


def test_sequences_of_equal_length_may_contain_padding():
    padded = SequencePadder(max_len=2).fit_transform([[0, 4, 5], [0, 0, 6]])
    assert padded.tolist() == [[4, 5], [0, 6]]


def test_a_matrix_and_sequences_may_follow_each_other():
    padder = SequencePadder().fit([[1, 2, 3]])
    assert not hasattr(padder, "n_features_in_")
    assert padder.transform(np.array([[4, 5]])).tolist() == [[0, 4, 5]]
    padder.fit(pd.DataFrame({"a": [1], "b": [2]}))
    assert padder.feature_names_in_.tolist() == ["a", "b"]
    assert padder.transform([[4], [5, 6, 7]]).tolist() == [[0, 4], [6, 7]]
    padder.fit(SEQUENCES)
    assert not hasattr(padder, "n_features_in_")
    assert not hasattr(padder, "feature_names_in_")
    with pytest.raises(ValueError, match="X has 3 features, but SequencePadder is expecting 2"):
        padder.fit(np.ones((1, 2))).transform(np.ones((1, 3)))


@pytest.mark.parametrize(
    ("sequences", "text"),
    [
        ([[1], [2, 0]], "Sequence 1 holds 0, which is no code: codes are whole numbers from 1 up"),
        ([[1], [], [3, -2]], "Sequence 2 holds -2, which is no code"),
        ([[0, -2]], "Sequence 0 holds -2, which is no code"),
        ([[1.5], [2, 1]], r"Sequence 0 holds 1\.5, which is no code.* Encode items first, for ex"),
        ([[1], [2, np.nan]], "Sequence 1 holds nan, which is no code"),
        ([[1], [np.inf, 2]], "Sequence 1 holds inf, which is no code"),
        ([[1], [2**60 + 0.0, 2]], r"Sequence 1 holds 1\.15\d+e\+18, which is no code"),
        ([[1], [None, 2]], "Sequence 1 holds None, which is no code.* leave out those that are "),
        ([[1], ["a", "b"]], "Sequence 1 holds 'a', which is no code"),
        ([[1], [True, 2]], "Sequence 1 holds True, which is no code"),
        ([[[1, 2], [3, 4]], [5]], r"Sequence 0 holds \[1, 2\], which is no code"),
        (["ab", "c"], "Sequence 0 is 'ab' of type str, but a list, tuple or array of codes was"),
        ([[1], 2], "Sequence 1 is 2 of type int, but a list, tuple or array of codes was expect"),
        ([1, 2], "Sequence 0 is 1 of type int, .* Pass X as a list of sequences, one for each"),
        ([[1], None], "Sequence 1 is None of type NoneType"),
        ([{1: 2}], r"Sequence 0 is \{1: 2\} of type dict"),
        (pd.Series(["a", "b"]), "Sequence 0 is 'a' of type str"),
        ([], r"Found array with 0 sample\(s\) while a minimum of 1 is required by SequencePadder"),
        (np.ones(3), "Expected 2D array, got 1D array instead"),
        (pd.Series([1, 2]), "Expected a 2-dimensional container|Expected 2D array"),
        (np.ones((2, 2, 2)), "Found array with dim 3"),
        (np.array([[1, np.nan]]), "Input X contains NaN"),
        (sp.csr_array(np.ones((2, 2))), "Sparse data was passed"),
        (
            np.array([["a", "b"]]),
            "could not convert string to float|dtype='numeric' is not compat",
        ),
    ],
)
def test_invalid_sequences_are_refused(sequences, text):
    for fit_or_transform in (SequencePadder().fit, SequencePadder().fit(SEQUENCES).transform):
        with pytest.raises((ValueError, TypeError), match=text):
            fit_or_transform(sequences)


def test_empty_sequences_need_max_len():
    with pytest.raises(ValueError, match=r"All 2 sequences are empty, .* the matrix: set max_len"):
        SequencePadder().fit([[], []])
    assert SequencePadder(max_len=2).fit_transform([[], []]).tolist() == [[0, 0], [0, 0]]


@pytest.mark.needs("scikit-learn>=1.9")  # keeps the index of a Series
def test_names_and_set_output():
    padder = SequencePadder(max_len=2, mask=True).set_output(transform="pandas")
    names = ["code0", "code1", "mask0", "mask1"]
    frame = padder.fit_transform(pd.Series(SEQUENCES[:2], index=["a", "b"]))
    expected = pd.DataFrame([[3, 8, 1, 1], [0, 2, 0, 1]], columns=names, index=["a", "b"])
    assert_frame_equal(frame, expected)
    assert padder.get_feature_names_out().tolist() == names
    assert padder.fit_transform(SEQUENCES).columns.tolist() == names
    assert SequencePadder().fit([[1, 2]]).get_feature_names_out().tolist() == names[:2]


def test_in_pipelines():
    sequences, y = SEQUENCES * 3, np.arange(12.0)
    pipeline = make_pipeline(SequencePadder(), LinearRegression())
    search = GridSearchCV(pipeline, {"sequencepadder__max_len": [1, 3]}, cv=2).fit(sequences, y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    frame = pd.DataFrame({"history": SEQUENCES, "age": [1, 2, 3, 4]})
    columns = ColumnTransformer(
        [("past", SequencePadder(2), "history"), ("age", "passthrough", ["age"])]
    )
    assert columns.fit_transform(frame).tolist() == [[3, 8, 1], [0, 2, 2], [0, 0, 3], [9, 4, 4]]
