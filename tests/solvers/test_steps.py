"""Callbacks of scikit-learn get fits, epochs and sweeps, also inside pipelines and searches."""
# SPDX-License-Identifier: BSD-3-Clause

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from sklrec import (
    BayesianMFRegressor,
    DenseRecRegressor,
    IDEncoder,
    MFRegressor,
    SequenceRatingRegressor,
)
from sklrec.datasets import make_ratings

ScoringMonitor = pytest.importorskip("sklearn.callback").ScoringMonitor  # scikit-learn 1.9

X, Y = make_ratings(n_users=20, n_items=15, n_ratings=200, random_state=0)

BAYESIAN = BayesianMFRegressor(n_factors=2, n_iter=3, random_state=0)
MF = MFRegressor(n_factors=2, max_epochs=3, random_state=0)
ESTIMATORS = {
    "mf": MF,
    "svdpp": clone(MF).set_params(svdpp=True),
    "bayesian": BAYESIAN,
    "dense": DenseRecRegressor(n_factors=2, max_epochs=3, random_state=0),
    "lstm": SequenceRatingRegressor(n_factors=2, hidden_size=2, max_epochs=3, random_state=0),
}


class Recorder:
    """Record all events and predictions, and stop the training after a step."""

    max_propagation_depth = None

    def __init__(self, stop_after=None):
        self.events, self.predictions, self.stop_after = [], [], stop_after

    def setup(self, estimator, context):
        self.events.append("setup")

    def teardown(self, estimator, context):
        self.events.append("teardown")

    def on_fit_task_begin(self, estimator, context):
        self.events.append(f"begin {context.task_name}")

    def on_fit_task_end(self, estimator, context, *, X=None, fitted_estimator=None):
        self.events.append(f"end {context.task_name}")
        if fitted_estimator is not None and hasattr(fitted_estimator, "module_"):
            self.predictions.append(fitted_estimator.predict(X))
        return self.stop_after is not None and context.task_id == self.stop_after


@pytest.mark.parametrize("name", ESTIMATORS)
def test_callbacks_get_each_step_and_change_nothing(name):
    recorder = Recorder()
    without = clone(ESTIMATORS[name]).fit(X, Y)
    model = clone(ESTIMATORS[name]).set_callbacks(recorder).fit(X, Y)
    step = "sweep" if name == "bayesian" else "epoch"
    steps = [f"begin {step}", f"end {step}"] * 3
    assert recorder.events == ["setup", "begin fit", *steps, "end fit", "teardown"]
    np.testing.assert_array_equal(model.predict(X), without.predict(X))
    first, _, last, whole = recorder.predictions  # of the model after each step
    np.testing.assert_allclose(last, whole, atol=1e-6)
    assert not np.allclose(first, whole, atol=1e-6)
    assert "_callback_fit_ctx" not in vars(model)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict(X), model.predict(X))


@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_callback_can_stop_the_training(name):
    recorder = Recorder(stop_after=1)
    model = clone(ESTIMATORS[name]).set_callbacks(recorder).fit(X, Y)
    assert model.n_iter_ == len(model.loss_curve_) == 2
    assert sum(event.startswith("end") for event in recorder.events) == 3


def test_callbacks_are_torn_down_if_a_fit_fails():
    recorder = Recorder()
    mf = clone(MF).set_callbacks(recorder)
    with pytest.raises(ValueError, match="minimum of 2"):
        mf.fit(X[:1], Y[:1])
    assert recorder.events == ["setup", "begin fit", "teardown"]
    assert not {"_callback_fit_ctx", "_skl_callbacks_to_teardown"} & set(vars(mf))


def test_callbacks_work_inside_pipelines_and_searches():
    recorder = Recorder()
    search = GridSearchCV(make_pipeline(IDEncoder(), MF), {"mfregressor__alpha": [0.1, 1]}, cv=2)
    with pytest.warns(UserWarning, match="IDEncoder does not support callbacks"):
        search.set_callbacks(recorder).fit(X, Y)
    n_epochs = 3 * (2 * 2 + 1)
    assert [recorder.events.count(f"{e} epoch") for e in ("begin", "end")] == [n_epochs] * 2
    assert recorder.events.count("setup") == recorder.events.count("teardown") == 1


@pytest.mark.parametrize(("model", "step"), [(MF, "epoch"), (BAYESIAN, "sweep")])
def test_a_monitor_gets_the_score_of_each_step(model, step):
    monitor = ScoringMonitor(scoring="neg_mean_squared_error")
    weight = np.linspace(0.5, 2, len(Y))
    model = clone(model).set_callbacks(monitor).fit(X, Y, sample_weight=weight)
    rows = [row for row in monitor.get_logs().data if row["task_name"] == step]
    assert len(rows) == 3
    expected = -np.average((model.predict(X) - Y) ** 2, weights=weight)
    assert rows[-1]["neg_mean_squared_error"] == pytest.approx(expected)
