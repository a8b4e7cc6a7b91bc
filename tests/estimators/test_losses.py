"""The parameter `loss` of the estimators that skorch trains."""
# SPDX-License-Identifier: BSD-3-Clause

from copy import deepcopy

import numpy as np
import pytest
import torch
from sklearn.metrics import mean_pinball_loss

from sklrec import DenseRecRegressor, MFRegressor, SequenceRatingRegressor
from sklrec.datasets import ChunkedRatings, make_ratings
from sklrec.inspection import TrainingHistoryDisplay

X, Y = make_ratings(60, 40, 2000, random_state=0)
SMALL = {"n_factors": 3, "random_state": 0, "rating_scale": None}
MODELS = {
    "mf": MFRegressor(**SMALL),
    "mf of a number": MFRegressor(**SMALL, alpha=0.05, max_epochs=20),
    "mf without biases": MFRegressor(**SMALL, biased=False),
    "mf svdpp": MFRegressor(**SMALL, svdpp=True),
    "mf adam": MFRegressor(**SMALL, optimizer=torch.optim.Adam),
    "dense": DenseRecRegressor(**SMALL),
    "dense without biases": DenseRecRegressor(**SMALL, biased=False),
    "sequence": SequenceRatingRegressor(**SMALL, hidden_size=3, max_epochs=4),
    "lstm": SequenceRatingRegressor(**SMALL, hidden_size=3, alpha=1.0, max_epochs=6),
}
each = pytest.mark.parametrize("name", MODELS)


def asymmetric(prediction, target):
    error = prediction - target
    return error.square() * torch.where(error > 0, 4.0, 1.0)


def new(name, **params):
    return deepcopy(MODELS[name]).set_params(**params)


@each
def test_each_loss_gives_its_predictions(name):
    weight = np.where(np.arange(len(Y)) % 2, 0.5, 1.5)
    found, means = {}, {}
    for loss in ("quantile", "absolute_error", "huber", asymmetric):
        for q in (0.1, 0.9) if loss == "quantile" else (0.5,):
            model = new(name, loss=loss, quantile=q)
            model.fit(X, Y, weight, X_val=X, y_val=Y)
            found[loss, q] = model.predict(X)
            means[loss, q] = model.predict(X.assign(user=-1, item=-1, timestamp=-1)).mean()
            curve = model.loss_curve_
            assert curve[-1] < 1.01 * max(curve[:3]) and len(model.validation_curve_) == len(curve)
            if loss in ("quantile", "absolute_error"):
                factor = 1 if loss == "quantile" else 2
                of_val = factor * mean_pinball_loss(Y, found[loss, q], alpha=q)
                assert min(model.validation_curve_) == pytest.approx(of_val, rel=1e-4)
    low, high = found["quantile", 0.1], found["quantile", 0.9]
    assert np.mean(low < high) > 0.99
    assert 0.65 < np.mean((low <= Y) & (Y <= high)) < 0.95
    assert means["quantile", 0.1] < means["absolute_error", 0.5] < means["quantile", 0.9]
    # The constant of unknown users and items is that of the loss, too.
    for q in (0.1, 0.9):
        assert np.mean(Y < means["quantile", q]) == pytest.approx(q, abs=0.1)
    assert found[asymmetric, 0.5].mean() < found["huber", 0.5].mean() - 0.05


# Without biases the start depends on the loss.
@pytest.mark.parametrize("name", [name for name in MODELS if name != "mf without biases"])
def test_a_module_gives_what_the_built_in_loss_gives(name):
    squared = new(name).fit(X[:1500], Y[:1500])
    module = new(name, loss=torch.nn.MSELoss()).fit(X[:1500], Y[:1500])
    assert np.abs(module.predict(X) - squared.predict(X)).mean() < 0.02
    assert module.loss_curve_ == pytest.approx(squared.loss_curve_, rel=0.02)
    if name != "mf svdpp":
        models = [model.partial_fit(X[1500:], Y[1500:]) for model in (squared, module)]
        assert np.abs(models[0].predict(X) - models[1].predict(X)).mean() < 0.03


@each
def test_further_ratings_do_not_move_a_quantile_to_the_mean(name):
    model = new(name, loss="quantile", quantile=0.9).fit(X[:1000], Y[:1000])
    if name == "mf svdpp":
        model.set_params(warm_start=True).fit(X, Y)
    else:
        for first in range(1000, 2000, 250):
            model.partial_fit(X[first : first + 250], Y[first : first + 250])
    assert np.mean(Y <= model.predict(X)) == pytest.approx(0.9, abs=0.06)
    unknown = model.predict(X[:1].assign(user=-1, item=-1, timestamp=-1))[0]
    assert np.mean(Y <= unknown) == pytest.approx(0.9, abs=0.1)


def test_chunks_are_fitted_with_a_loss():
    parts = [(X[k::4], Y[k::4]) for k in range(4)]
    options = {"loss": "quantile", "quantile": 0.9}
    chunks = new("mf", **options).fit(ChunkedRatings(parts))
    whole = new("mf", **options).fit(X, Y)
    assert np.mean(Y <= chunks.predict(X)) == pytest.approx(0.9, abs=0.05)
    assert chunks.global_mean_ == pytest.approx(whole.global_mean_, abs=0.05)


def test_huber_resists_wild_ratings():
    rng = np.random.default_rng(0)
    wild = Y + np.where(rng.random(len(Y)) < 0.05, rng.normal(0, 30, len(Y)), 0)
    errors = [
        np.sqrt(np.mean((new("mf", loss=loss).fit(X, wild).predict(X) - Y) ** 2))
        for loss in ("huber", "squared_error")
    ]
    assert errors[0] < 0.98 * errors[1]


def test_another_loss_in_a_warm_start_begins_at_its_own_constant():
    model = new("mf", warm_start=True).fit(X, Y)
    model.set_params(loss="quantile", quantile=0.9, max_epochs=2).fit(X, Y)
    assert np.mean(Y <= model.predict(X)) == pytest.approx(0.9, abs=0.05)
    assert model.penalties_.loss == pytest.approx(model.loss_curve_[-1], rel=0.3)


def test_losses_that_cannot_be_used_are_refused():
    for params, message in (
        ({"quantile": 1.0}, "The 'quantile' parameter of MFRegressor must be a float in the rang"),
        ({"loss": "l1"}, "The 'loss' parameter of MFRegressor must be a str among"),
        ({"loss": lambda p, t: p[:3]}, "loss must be a function of predictions and ratings"),
    ):
        with pytest.raises(ValueError, match=message):
            new("mf", **params).fit(X, Y)
    mean = new("mf", loss=lambda p, t: (p - t).square().mean()).fit(X, Y)
    assert np.std(mean.predict(X) - Y) < np.std(Y)
    with pytest.raises(ValueError, match="returns one number for a batch"):
        mean.fit(X, Y, np.arange(len(Y)) + 1.0)


def test_progress_and_plots_show_the_loss(capfd):
    pytest.importorskip("matplotlib")
    model = new("mf", loss="absolute_error", verbose=1, max_epochs=2).fit(X, Y)
    assert f"train loss={model.loss_curve_[-1]:.4f}" in capfd.readouterr().err
    display = TrainingHistoryDisplay.from_estimator(model)
    assert display.line_.get_ydata().tolist() == model.loss_curve_
    assert display.ax_.get_ylabel() == "mean loss"
