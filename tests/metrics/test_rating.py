"""Errors over the known ratings."""
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.linear_model import LinearRegression
from sklearn.metrics import root_mean_squared_error
from sklearn.model_selection import cross_val_score

from sklrec.metrics import (
    masked_root_mean_squared_error,
    neg_masked_root_mean_squared_error_scorer,
)

NAN = np.nan


class MeanOfColumns(RegressorMixin, BaseEstimator):
    """Predict the mean of the known ratings in each column of y, for any X."""

    def fit(self, X, y):
        self.mean_ = np.nanmean(y, axis=0)
        return self

    def predict(self, X):
        return np.tile(self.mean_, (len(X), 1))


def test_without_nan_it_is_the_usual_error():
    rng = np.random.default_rng(0)
    y_true, y_pred, weight = rng.normal(size=(3, 50))
    weight = np.abs(weight)
    assert masked_root_mean_squared_error(y_true, y_pred) == pytest.approx(
        root_mean_squared_error(y_true, y_pred)
    )
    assert masked_root_mean_squared_error(y_true, y_pred, sample_weight=weight) == pytest.approx(
        root_mean_squared_error(y_true, y_pred, sample_weight=weight)
    )


@pytest.mark.parametrize(
    ("y_true", "y_pred", "error"),
    [
        ([NAN, 3, 5], [9, 3, 3], 2**0.5),
        ([NAN, 3, 5], [NAN, 4, 6], 1.0),
        ([[NAN, 3], [NAN, 5]], [[9, 3], [NAN, 3]], 2**0.5),
        # over all ratings at once: the mean over rows or columns would be 0.71
        ([[1, 1, NAN], [1, 1, NAN]], [[1, 1, 0], [3, 1, np.inf]], 1.0),
        ([None, 2.0], [0.0, 3.0], 1.0),
        (pd.Series([None, 2], dtype="Int64"), pd.Series([7, 3]), 1.0),
        (pd.DataFrame({"a": [1, NAN], "b": [2, 2]}), np.array([[1, 2], [7, 2]]), 0.0),
        (np.array([2, 3], dtype=np.int8), np.array([1, 2], dtype=np.float32), 1.0),
    ],
)
def test_only_known_ratings_count(y_true, y_pred, error):
    found = masked_root_mean_squared_error(y_true, y_pred)
    assert found == pytest.approx(error)
    assert type(found) is float


def test_weights_belong_to_rows():
    y_true, y_pred = [[NAN, 3, 5], [NAN, NAN, 4]], [[0, 4, 5], [0, 0, 7]]
    for weight in ([1, 1], [2, 5], [0, 1]):
        weights = np.array([weight[0], weight[0], weight[1]])
        expected = np.sqrt(np.average([1, 0, 9], weights=weights))
        error = masked_root_mean_squared_error(y_true, y_pred, sample_weight=weight)
        assert error == pytest.approx(expected)
    assert masked_root_mean_squared_error([1, 2], [1, 4], sample_weight=[1, 0]) == 0


@pytest.mark.parametrize(
    ("y_true", "y_pred", "weight", "text"),
    [
        (
            [NAN, NAN],
            [1, 2],
            None,
            "y_true holds only NaN, so there is no known rating to compare with. Sc",
        ),
        (
            [1, 2, NAN],
            [NAN, NAN, NAN],
            None,
            "Each known rating needs a finite prediction, but y_pred holds nan at row 0, and 2 of",
        ),
        ([[1, 2]], [[1, -np.inf]], None, "but y_pred holds -inf at row 0, column 1, and 1 of 2"),
        (
            [1, 2],
            [[1], [2]],
            None,
            r"y_true has the shape \(2,\), but y_pred has \(2, 1\)\. Give one",
        ),
        (
            [1, np.inf],
            [1, 2],
            None,
            "Input y_true contains infinity",
        ),
        (["a", "b"], [1, 2], None, "y_true must be numeric, got 'a' of type str in row 0"),
        ([], [], None, r"Found array with 0 sample\(s\)"),
        ([1, NAN], [1, 2], [0, 1], "All known ratings have sample_weight 0. Give one of them"),
        ([1, 2], [1, 2], [1, -1], "Negative values in data passed to `sample_weight`"),
        ([1, 2], [1, 2], [1], r"sample_weight\.shape == \(1,\), expected \(2,\)!"),
    ],
)
def test_bad_input_is_refused(y_true, y_pred, weight, text):
    with pytest.raises(ValueError, match=text):
        masked_root_mean_squared_error(y_true, y_pred, sample_weight=weight)


def test_the_scorer_works_in_cross_validation():
    y = np.array([[NAN, 1.0], [2.0, 1.0], [NAN, 3.0], [4.0, NAN]])
    X = np.zeros((4, 1))
    scores = cross_val_score(
        MeanOfColumns(), X, y, cv=2, scoring=neg_masked_root_mean_squared_error_scorer
    )
    # the first fold is trained on means 4 and 3, the second on 2 and 1
    assert scores == pytest.approx([-np.sqrt((4 + 4 + 4) / 3), -np.sqrt((4 + 4) / 2)])
    model = LinearRegression().fit([[0.0], [1.0]], [0.0, 1.0])
    scorer = neg_masked_root_mean_squared_error_scorer
    assert scorer(model, [[2], [3]], [2, 5], sample_weight=[1, 0]) == pytest.approx(0)
