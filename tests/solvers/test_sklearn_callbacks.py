"""scikit-learn's callbacks hear of fits, epochs and sweeps, alone and inside of others."""
# SPDX-License-Identifier: BSD-3-Clause

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.callback import ScoringMonitor
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from sklrec import (
    BayesianFMRegressor,
    DenseRecRegressor,
    IDEncoder,
    MFRegressor,
    SequenceRatingRegressor,
)
from sklrec.datasets import make_ratings

X, Y = make_ratings(n_users=20, n_items=15, n_ratings=200, random_state=0)

ESTIMATORS = {
    "sgd": MFRegressor(n_factors=2, max_epochs=3, random_state=0),
    "implicit": MFRegressor(n_factors=2, max_epochs=3, implicit_features=True, random_state=0),
    "als": MFRegressor(n_factors=2, solver="als", n_iter=3, tol=0, random_state=0),
    "gibbs": MFRegressor(n_factors=2, solver="gibbs", n_iter=3, n_burn_in=1, random_state=0),
    "fm": BayesianFMRegressor(n_factors=2, n_iter=3, n_burn_in=1, random_state=0),
    "dense": DenseRecRegressor(n_factors=2, max_epochs=3, random_state=0),
    "lstm": SequenceRatingRegressor(n_factors=2, hidden_size=2, max_epochs=3, random_state=0),
}


class Listener:
    """Writes down what it hears, and can ask for an end."""

    max_propagation_depth = None

    def __init__(self, stop_after=None):
        self.heard, self.predicted, self.stop_after = [], [], stop_after

    def setup(self, estimator, context):
        self.heard.append("setup")

    def teardown(self, estimator, context):
        self.heard.append("teardown")

    def on_fit_task_begin(self, estimator, context):
        self.heard.append(f"begin {context.task_name}")

    def on_fit_task_end(self, estimator, context, *, X=None, fitted_estimator=None):
        self.heard.append(f"end {context.task_name}")
        if fitted_estimator is not None and hasattr(fitted_estimator, "module_"):
            self.predicted.append(fitted_estimator.predict(X))
        return self.stop_after is not None and context.task_id == self.stop_after


def of_steps(n, name):
    return ["setup", "begin fit", *[f"begin {name}", f"end {name}"] * n, "end fit", "teardown"]


@pytest.mark.parametrize("name", ESTIMATORS)
def test_each_step_is_heard_and_changes_nothing(name):
    listener = Listener()
    quiet = clone(ESTIMATORS[name]).fit(X, Y)
    loud = clone(ESTIMATORS[name]).set_callbacks(listener).fit(X, Y)
    step = "sweep" if name in ("als", "gibbs", "fm") else "epoch"
    assert listener.heard == of_steps(3, step)
    np.testing.assert_array_equal(loud.predict(X), quiet.predict(X))
    # what it is given to predict with is the model of that step
    *_, last, whole = listener.predicted
    assert len(listener.predicted) == 4
    np.testing.assert_allclose(last, whole, atol=1e-6)
    assert not np.allclose(listener.predicted[0], whole, atol=1e-6)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_callback_can_end_the_training(name):
    listener = Listener(stop_after=1)
    model = clone(ESTIMATORS[name]).set_callbacks(listener).fit(X, Y)
    assert model.n_iter_ == len(model.loss_curve_) == 2
    assert sum(heard.startswith("end") for heard in listener.heard) == 3


def test_callbacks_are_torn_down_if_a_fit_fails():
    listener = Listener()
    mf = clone(ESTIMATORS["sgd"]).set_callbacks(listener)
    with pytest.raises(ValueError, match="minimum of 2"):
        mf.fit(X[:1], Y[:1])
    assert listener.heard == ["setup", "begin fit", "teardown"]
    assert not {"_callback_fit_ctx", "_skl_callbacks_to_teardown"} & set(vars(mf))


def test_they_reach_into_pipelines_and_searches():
    listener = Listener()
    pipeline = make_pipeline(IDEncoder(), clone(ESTIMATORS["sgd"]))
    search = GridSearchCV(pipeline, {"mfregressor__alpha": [0.1, 1.0]}, cv=2)
    with pytest.warns(UserWarning, match="IDEncoder does not support callbacks"):
        search.set_callbacks(listener).fit(X, Y)
    n_fits = 2 * 2 + 1
    assert listener.heard.count("begin epoch") == listener.heard.count("end epoch") == 3 * n_fits
    assert listener.heard.count("setup") == listener.heard.count("teardown") == 1


def test_the_scores_of_each_epoch_can_be_monitored():
    monitor = ScoringMonitor(scoring="neg_mean_squared_error")
    weight = np.linspace(0.5, 2, len(Y))
    model = clone(ESTIMATORS["als"]).set_callbacks(monitor).fit(X, Y, sample_weight=weight)
    [scores] = [
        [row["neg_mean_squared_error"] for row in log.data if row["task_name"] == "sweep"]
        for log in [monitor.get_logs()]
    ]
    assert len(scores) == 3
    expected = -np.average((model.predict(X) - Y) ** 2, weights=weight)
    assert scores[-1] == pytest.approx(expected)


def test_a_progress_bar_of_scikit_learn_is_shown(capsys):
    pytest.importorskip("rich")
    from sklearn.callback import ProgressBar

    clone(ESTIMATORS["als"]).set_callbacks(ProgressBar()).fit(X, Y)
    assert "MFRegressor - fit" in capsys.readouterr().out


def test_a_fitted_model_holds_nothing_of_the_fit():
    model = clone(ESTIMATORS["sgd"]).set_callbacks(Listener()).fit(X, Y)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
    assert "_callback_fit_ctx" not in vars(model)
