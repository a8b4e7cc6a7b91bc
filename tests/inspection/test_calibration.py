"""Plot of the calibration of predicted standard deviations."""
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import pytest
from sklearn.linear_model import BayesianRidge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from sklrec import BayesianMFRegressor, IDEncoder
from sklrec.inspection import CalibrationDisplay


def test_gaussian_errors_are_on_the_diagonal():
    rng = np.random.default_rng(0)
    std = rng.uniform(0.5, 2, 20_000)
    y = 3 + std * rng.standard_normal(20_000)
    display = CalibrationDisplay.from_predictions(y, np.full(20_000, 3), std)
    assert np.allclose(display.observed, display.nominal, atol=0.02)
    narrow = CalibrationDisplay.from_predictions(y, np.full(20_000, 3), std / 2)
    assert (narrow.observed < display.nominal).all()


def test_coverage_is_the_share_inside():
    errors = np.array([0.5, 1.5, 2.5, 3.5])
    display = CalibrationDisplay.from_predictions(
        errors,
        np.zeros(4),
        np.ones(4),
        levels=[0.6827, 0.9545],  # one and two deviations
    )
    assert display.observed.tolist() == [0.25, 0.5]
    assert display.line_.get_xdata().tolist() == [0.6827, 0.9545]
    assert display.line_.get_ydata().tolist() == [0.25, 0.5]


def test_models_share_axes_and_one_diagonal(bayesian, train, test):
    first = CalibrationDisplay.from_estimator(bayesian, *test)
    ridge = BayesianRidge().fit(*train)
    assert CalibrationDisplay.from_estimator(ridge, *test).estimator_name == "BayesianRidge"
    second = CalibrationDisplay.from_estimator(ridge, *test, name="ridge", ax=first.ax_)
    assert second.diagonal_ is first.diagonal_
    labels = [text.get_text() for text in second.ax_.get_legend().get_texts()]
    assert labels == ["BayesianMFRegressor", "calibrated", "ridge"]
    assert first.line_.get_color() != second.line_.get_color()


def test_std_is_found_in_pipelines_and_searches(train, test):
    model = BayesianMFRegressor(n_factors=2, n_iter=12, random_state=0)
    pipeline = make_pipeline(IDEncoder(), model)
    search = GridSearchCV(pipeline, {"bayesianmfregressor__n_factors": [2]}, cv=2).fit(*train)
    behind = CalibrationDisplay.from_estimator(search, *test)
    alone = CalibrationDisplay.from_estimator(search.best_estimator_, *test)
    assert behind.observed.tolist() == alone.observed.tolist()


def test_bad_input_is_refused(mf, bayesian, test):
    with pytest.raises(ValueError, match=r"MFRegressor\.predict has no return_std"):
        CalibrationDisplay.from_estimator(mf, *test)
    with pytest.raises(ValueError, match=r"levels must be .* between 0 and 1, got \[1\]"):
        CalibrationDisplay.from_estimator(bayesian, *test, levels=[1])
    with pytest.raises(ValueError, match="y_std must not be negative, got -1"):
        CalibrationDisplay.from_predictions([1], [1], [-1])
    with pytest.raises(ValueError, match=r"inconsistent numbers of samples: \[2, 2, 1\]"):
        CalibrationDisplay.from_predictions([1, 2], [[1], [2]], [1])
    with pytest.raises(ValueError, match="Input y_pred contains NaN"):
        CalibrationDisplay.from_predictions([1], [np.nan], [1])
