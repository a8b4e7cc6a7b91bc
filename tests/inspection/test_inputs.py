"""Checks of the inputs of displays."""
# SPDX-License-Identifier: BSD-3-Clause

import pytest
from sklearn.dummy import DummyRegressor
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from sklrec import IDEncoder, MFRegressor, inspection

WITH_ROWS = [
    inspection.CalibrationDisplay,
    inspection.ErrorByActivityDisplay,
    inspection.PredictedRatingsDisplay,
    inspection.RankingCurveDisplay,
]


@pytest.mark.parametrize("display", [inspection.TrainingHistoryDisplay, *WITH_ROWS])
def test_unfitted_estimators_are_refused(display, test):
    with pytest.raises(NotFittedError, match="This MFRegressor instance is not fitted yet"):
        display.from_estimator(MFRegressor(), *(test if display in WITH_ROWS else ()))


@pytest.mark.parametrize("display", WITH_ROWS)
def test_each_row_needs_a_rating(display, bayesian, test):
    X, y = test
    with pytest.raises(ValueError, match="y is None"):
        display.from_estimator(bayesian, X, None)
    with pytest.raises(ValueError, match=r"inconsistent numbers of samples: \[500, 499\]"):
        display.from_estimator(bayesian, X, y[:-1])


def test_the_model_is_found_in_pipelines_and_searches(train):
    pipeline = make_pipeline(IDEncoder(), MFRegressor(n_factors=2, max_epochs=1, random_state=0))
    search = GridSearchCV(pipeline, {"mfregressor__n_factors": [3]}, cv=2).fit(*train)
    display = inspection.TrainingHistoryDisplay.from_estimator(search)
    assert display.loss == search.best_estimator_[-1].loss_curve_


@pytest.mark.parametrize(
    ("display", "needs"),
    [
        (inspection.CalibrationDisplay, "predict"),
        (inspection.PredictedRatingsDisplay, "predict"),
        (inspection.ErrorByActivityDisplay, "seen_"),
        (inspection.TrainingHistoryDisplay, "loss_curve_"),
    ],
)
def test_estimators_without_a_needed_attribute_are_refused(display, needs, train, test):
    rows = test if display in WITH_ROWS else ()
    model = IDEncoder() if needs == "predict" else DummyRegressor()
    for estimator in (model, make_pipeline(model)):
        with pytest.raises(TypeError, match=f"{type(model).__name__} has no {needs}, which this"):
            display.from_estimator(estimator.fit(*train), *rows)
    with pytest.raises(TypeError, match="3 is not an estimator instance"):
        display.from_estimator(3, *rows)


def test_a_search_without_a_model_is_refused(train):
    search = GridSearchCV(
        MFRegressor(max_epochs=1, random_state=0), {"n_factors": [2]}, cv=2, refit=False
    )
    with pytest.raises(ValueError, match=r"This GridSearchCV has refit=False and so no model\."):
        inspection.TrainingHistoryDisplay.from_estimator(search.fit(*train))
