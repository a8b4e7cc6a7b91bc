"""Meta-estimators and searches of scikit-learn take the estimators as they are."""
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import BaggingRegressor, StackingRegressor, VotingRegressor
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.frozen import FrozenEstimator
from sklearn.inspection import permutation_importance
from sklearn.model_selection import HalvingGridSearchCV, learning_curve, validation_curve
from sklearn.multioutput import MultiOutputRegressor

from sklrec import BayesianMFRegressor, BiasRegressor, MFRegressor
from sklrec.datasets import make_ratings

X, Y = make_ratings(40, 30, 600, random_state=0)
ESTIMATORS = {
    "bias": BiasRegressor(),
    "mf": MFRegressor(n_factors=3, max_epochs=4, random_state=0),
    "bayesian": BayesianMFRegressor(n_factors=3, n_iter=4, random_state=0),
}
MEAN_ERROR = np.std(Y)
each = pytest.mark.parametrize("name", ESTIMATORS)


def error(model):
    return np.sqrt(np.mean((model.predict(X) - Y) ** 2))


@pytest.mark.parametrize(
    "meta",
    [
        lambda model: VotingRegressor([("one", model), ("bias", BiasRegressor())]),
        lambda model: StackingRegressor([("one", model), ("bias", BiasRegressor())], cv=3),
        lambda model: BaggingRegressor(model, n_estimators=3, random_state=0),
        lambda model: TransformedTargetRegressor(model, func=np.log, inverse_func=np.exp),
    ],
    ids=["voting", "stacking", "bagging", "transformed target"],
)
@each
def test_ensembles_predict_better_than_the_mean(name, meta):
    model = meta(clone(ESTIMATORS[name])).fit(X, Y)
    assert error(model) < 0.95 * MEAN_ERROR


@each
def test_several_targets_are_fitted_one_by_one(name):
    model = MultiOutputRegressor(clone(ESTIMATORS[name])).fit(X, np.c_[Y, 6 - Y])
    single = clone(ESTIMATORS[name]).fit(X, Y)
    assert model.predict(X).shape == (len(X), 2)
    assert np.array_equal(model.predict(X)[:, 0], single.predict(X))


@each
def test_frozen_estimators_are_not_fitted_again(name):
    single = clone(ESTIMATORS[name]).fit(X, Y)
    stack = VotingRegressor([("one", FrozenEstimator(single))]).fit(X[:100], Y[:100])
    assert np.array_equal(stack.predict(X), single.predict(X))


@each
def test_searches_and_curves_measure_the_estimators(name):
    model = clone(ESTIMATORS[name])
    parameter = "user_penalty" if name == "bias" else "n_factors"
    values = [1, 2, 5]
    found = HalvingGridSearchCV(model, {parameter: values}, cv=2, random_state=0).fit(X, Y)
    assert found.best_params_[parameter] in values and error(found) < MEAN_ERROR
    _, train, test = learning_curve(model, X, Y, train_sizes=[0.3, 1.0], cv=2)
    assert np.isfinite(train).all() and test[1].mean() > test[0].mean()
    train, _ = validation_curve(model, X, Y, param_name=parameter, param_range=values, cv=2)
    assert train.shape == (3, 2) and len(np.unique(train[:, 0])) == 3


@pytest.mark.filterwarnings("ignore:No row has a user or an item")
@each
def test_the_importance_of_users_and_items_is_found(name):
    model = clone(ESTIMATORS[name]).fit(X, Y)
    found = permutation_importance(model, X, Y, n_repeats=3, random_state=0).importances_mean
    assert found[0] > 0.05 and found[1] > 0.05 and found[2] == 0
