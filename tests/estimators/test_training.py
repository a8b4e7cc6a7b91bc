"""Training of all estimators: its parameters, weights, seeds and further training."""
# SPDX-License-Identifier: BSD-3-Clause

import re

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
from sklearn.pipeline import make_pipeline
from skorch.callbacks import Callback, EarlyStopping, LRScheduler

from sklrec import (
    BayesianMFRegressor,
    DenseRecRegressor,
    IDEncoder,
    MFRegressor,
    SequenceRatingRegressor,
)
from sklrec.datasets import make_ratings

X, Y = make_ratings(60, 40, 1000, step=1, random_state=0)
SMALL = {"n_factors": 4, "max_epochs": 4, "batch_size": 250, "random_state": 0}
TRAINED_BY_SKORCH = {
    "mf": MFRegressor(**SMALL),
    "svdpp": MFRegressor(svdpp=True, **SMALL),
    "dense": DenseRecRegressor(hidden_layer_sizes=(8,), dropout=0.1, **SMALL),
    "sequence": SequenceRatingRegressor(hidden_size=3, bidirectional=True, **SMALL),
}
BAYESIAN = {
    loss: BayesianMFRegressor(4, loss=loss, n_iter=20, side_features="all", random_state=0)
    for loss in ("squared_error", "ordinal")
}
each = pytest.mark.parametrize("estimator", TRAINED_BY_SKORCH.values(), ids=TRAINED_BY_SKORCH)
BOTH = TRAINED_BY_SKORCH | BAYESIAN
each_or_bayesian = pytest.mark.parametrize("estimator", BOTH.values(), ids=BOTH)


def names_of(model):
    return [name for name, _ in model.net_.callbacks_]


@each
@pytest.mark.parametrize("name", ["Adam", "AdamW", "SGD", "RMSprop", "Adagrad", "Adafactor"])
def test_any_optimizer_of_torch_trains(estimator, name):
    optimizer = getattr(torch.optim, name)
    model = clone(estimator).set_params(optimizer=optimizer, lr=0.01, max_epochs=8).fit(X, Y)
    assert isinstance(model.net_.optimizer_, optimizer)
    assert clone(model).optimizer is optimizer
    assert model.loss_curve_[-1] < model.loss_curve_[0]
    assert not next(model.module_.parameters()).grad.is_sparse


def fitted(estimator, X=X, y=Y, sample_weight=None, **params):
    return clone(estimator).set_params(**params).fit(X, y, sample_weight)


@each_or_bayesian
def test_the_seed_decides_and_global_random_states_stay(estimator):
    numpy_state, torch_state = np.random.get_state()[1], torch.random.get_rng_state()  # noqa: NPY002
    first, same, other = (fitted(estimator, random_state=seed).predict(X) for seed in (0, 0, 1))
    assert np.array_equal(first, same)
    assert not np.array_equal(first, other)
    assert np.array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002
    assert torch.equal(torch.random.get_rng_state(), torch_state)


@each
def test_only_the_proportions_of_weights_matter(estimator):
    weight = np.random.RandomState(0).rand(len(Y)) + 0.5
    one, ten = (fitted(estimator, sample_weight=w * weight).predict(X) for w in (1, 10))
    assert np.allclose(one, ten, atol=1e-3)
    assert not np.allclose(one, fitted(estimator).predict(X), atol=1e-3)


@each_or_bayesian
def test_rows_of_weight_0_are_dropped(estimator):
    some = (np.arange(len(Y)) % 3 > 0) & (X["user"] != 3).to_numpy()
    dropped = fitted(estimator, sample_weight=some.astype(float))
    assert np.array_equal(dropped.predict(X), fitted(estimator, X[some], Y[some]).predict(X))


@each_or_bayesian
def test_rows_of_larger_weight_are_fitted_better(estimator):
    is_heavy = (X["user"] % 2 == 0).to_numpy()
    errors = []
    for heavy in (is_heavy, ~is_heavy):
        model = fitted(estimator, sample_weight=np.where(heavy, 1, 0.05))
        errors.append(np.square(Y - model.predict(X))[is_heavy].mean())
    assert errors[0] < errors[1]


@each_or_bayesian
def test_it_works_in_pipelines_search_and_cross_validation(estimator):
    piped = make_pipeline(IDEncoder(), clone(estimator)).fit(X, Y)
    assert np.array_equal(piped.predict(X), fitted(estimator).predict(X))
    search = GridSearchCV(clone(estimator), {"n_factors": [1, 3]}, cv=2).fit(X, Y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    scoring = "neg_root_mean_squared_error"
    scores = cross_val_score(estimator, X, Y, cv=KFold(2, shuffle=True), scoring=scoring)
    assert scores.min() > -1.1 * Y.std()


@each
def test_warm_start_continues_with_new_users_and_a_new_schedule(estimator):
    model = fitted(estimator, warm_start=True, max_epochs=8)
    rate = model.net_.history[0, "batches", 0, "event_lr"]
    model.set_params(max_epochs=3).fit(X, Y)
    assert model.n_iter_ == 11
    assert model.net_.history[8, "batches", 0, "event_lr"] >= rate
    assert model.loss_curve_[8] < model.loss_curve_[0]
    model.fit(X.assign(user=X["user"] + 10), Y)
    assert model.n_users_ > X["user"].nunique()


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("mf", {"n_factors": 5}),
        ("mf", {"biased": False}),
        ("dense", {"n_factors": 5}),
        ("dense", {"products": False}),
        ("dense", {"biased": False}),
        ("dense", {"hidden_layer_sizes": (9,)}),
        ("sequence", {"n_factors": 5}),
        ("sequence", {"hidden_size": 5}),
        ("sequence", {"bidirectional": False}),
        ("sequence", {"items_only": True}),
        ("sequence", {"timestamp": None}),
    ],
)
def test_further_training_keeps_the_architecture(name, change, method):
    model = fitted(TRAINED_BY_SKORCH[name], warm_start=True)
    ((parameter, value),) = change.items()
    text = f"{parameter}={value!r} was asked for, but the training continues a model of "
    with pytest.raises(ValueError, match=re.escape(text)):
        getattr(model.set_params(**change), method)(X, Y)
    model.set_params(warm_start=False).fit(X, Y)


@pytest.mark.parametrize("name", ["mf", "dense", "sequence"])
def test_further_training_keeps_the_columns(name):
    model = fitted(TRAINED_BY_SKORCH[name], warm_start=True)
    with pytest.raises(ValueError, match="are other columns than those of the model"):
        model.set_params(user=1, item=0).fit(X, Y)


@each
def test_early_stopping_restores_the_best_epoch(estimator):
    model = clone(estimator).set_params(max_epochs=60, lr=0.1, alpha=0.0, rating_scale=None)
    model.fit(X[:700], Y[:700], X_val=X[700:], y_val=Y[700:])
    best = min(model.validation_curve_)
    assert model.validation_curve_[-1] > best
    assert model.n_iter_ < 60
    assert np.square(Y[700:] - model.predict(X[700:])).mean() == pytest.approx(best, rel=1e-4)


@each
def test_learned_attributes_need_a_fit(estimator):
    names = {"global_mean_", "item_factors_", "n_items_", "user_factors_", "user_biases_"}
    assert not names & {name for name in names if hasattr(estimator, name)}


class CountRows(Callback):
    """Record the number of rows of both data sets."""

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        self.n_train = len(X)
        self.n_valid = len(net.get_split_datasets(X, y)[1] or ())


@each
@pytest.mark.parametrize(
    ("early_stopping", "n_valid"), [(0.2, 200), (True, 100), ("auto", 0), (False, 0)]
)
def test_early_stopping_holds_out_a_share(estimator, early_stopping, n_valid):
    counts = CountRows()
    model = clone(estimator).set_params(early_stopping=early_stopping, callbacks=[counts])
    model.fit(X, Y)
    assert (counts.n_train, counts.n_valid) == (1000 - n_valid, n_valid)
    assert hasattr(model, "validation_curve_") is (n_valid > 0)
    assert ("early_stopping" in names_of(model)) is (n_valid > 0)
    model.fit(X, Y, X_val=X[:300], y_val=Y[:300])
    assert (counts.n_train, counts.n_valid) == (1000, 300)
    assert ("early_stopping" in names_of(model)) is bool(early_stopping)


@each
@pytest.mark.parametrize("early_stopping", [0.0, 1.0, 1, -0.5, "always"])
def test_a_share_to_hold_out_lies_between_0_and_1(estimator, early_stopping):
    with pytest.raises(ValueError, match="The 'early_stopping' parameter of"):
        clone(estimator).set_params(early_stopping=early_stopping).fit(X, Y)


@each
@pytest.mark.parametrize("named", [False, True])
def test_own_callbacks_replace_the_schedule_and_early_stopping(estimator, named):
    schedule = LRScheduler("StepLR", step_size=1, gamma=0.5)
    stopping = EarlyStopping(patience=1, threshold=1e9)
    callbacks = [("halved", schedule), ("own", stopping)] if named else [schedule, stopping]
    model = clone(estimator).set_params(lr=0.02, early_stopping=0.2, callbacks=callbacks)
    model.fit(X, Y)
    assert model.n_iter_ == 2  # the second epoch is not better by 1e9
    first, second = model.net_.history[:, "event_lr"]
    assert second == pytest.approx(first / 2)
    assert not {"lr_schedule", "early_stopping"} & set(names_of(model))
    assert np.isfinite(model.predict(X)).all()


@each
def test_the_built_in_schedule_falls_to_zero(estimator):
    model = clone(estimator).fit(X, Y)
    rates = np.ravel(model.net_.history[:, "batches", :, "event_lr"])
    assert (np.diff(rates) < 0).all()
    assert model.net_.optimizer_.param_groups[0]["lr"] == pytest.approx(0, abs=1e-12)
    assert "lr_schedule" in names_of(model)
