"""MFRegressor: formula, units, parameters and SVD++ terms."""
# SPDX-License-Identifier: BSD-3-Clause

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import Ridge
from sklearn.metrics import root_mean_squared_error
from sklearn.model_selection import KFold
from skorch.callbacks import Callback

from sklrec import BayesianMFRegressor, BiasRegressor, MFRegressor
from sklrec.datasets import make_ratings
from sklrec.modules import MatrixFactorization

X, Y = make_ratings(60, 40, 1000, random_state=0)
UNKNOWN_USER, UNKNOWN_ITEM = -1, -2
optimizers = pytest.mark.parametrize("optimizer", [None, torch.optim.Adam])


def mf(**options):
    defaults = {"n_factors": 4, "max_epochs": 5, "rating_scale": None, "random_state": 0}
    return MFRegressor(**{**defaults, **options})


def pairs(users, items):
    return pd.DataFrame({"user": users, "item": items, "timestamp": 0})


@pytest.fixture(scope="module", params=[None, torch.optim.Adam])
def fitted(request):
    return mf(optimizer=request.param, init_std=0.3).fit(X, Y)


# --- the formula


def by_attributes(model, X):
    """Compute the ratings of known users and items from the fitted attributes."""
    users, items = model.encoder_.categories_
    u = pd.Index(users).get_indexer(X["user"])
    i = pd.Index(items).get_indexer(X["item"])
    assert min(u.min(), i.min()) >= 0
    ratings = (model.user_factors_[u] * model.item_factors_[i]).sum(1)
    if model.biased:
        ratings += model.global_mean_ + model.user_biases_[u] + model.item_biases_[i]
    return ratings


def test_attributes_give_the_predictions_in_units_of_the_ratings(fitted):
    n_users, n_items = X["user"].nunique(), X["item"].nunique()
    assert fitted.predict(X) == pytest.approx(by_attributes(fitted, X), rel=1e-5)
    assert fitted.user_factors_.shape == (n_users, 4)
    assert fitted.item_factors_.shape == (n_items, 4)
    assert fitted.user_biases_.shape == (n_users,)
    assert fitted.item_biases_.shape == (n_items,)
    assert (fitted.n_users_, fitted.n_items_) == (n_users, n_items)
    assert fitted.global_mean_ == pytest.approx(BiasRegressor().fit(X, Y).global_mean_)


def test_an_unknown_user_or_item_contributes_nothing(fitted):
    users, items = fitted.encoder_.categories_
    u, i = 3, 5
    mean, b_u, b_i = fitted.global_mean_, fitted.user_biases_[u], fitted.item_biases_[i]
    product = fitted.user_factors_[u] @ fitted.item_factors_[i]
    rows = pairs(
        [users[u], users[u], UNKNOWN_USER, UNKNOWN_USER],
        [items[i], UNKNOWN_ITEM, items[i], UNKNOWN_ITEM],
    )
    expected = [mean + b_u + b_i + product, mean + b_u, mean + b_i, mean]
    assert fitted.predict(rows) == pytest.approx(expected, rel=1e-5)
    assert min(abs(b_u), abs(b_i), abs(product)) > 1e-3  # otherwise the cases are the same


def test_without_biases_the_rating_is_the_dot_product():
    model = mf(biased=False, n_factors=20, max_epochs=30, init_std=0.1).fit(X, Y)
    assert model.predict(X) == pytest.approx(by_attributes(model, X), rel=1e-5)
    for unknown in (X.assign(user=UNKNOWN_USER), X.assign(item=UNKNOWN_ITEM)):
        assert model.predict(unknown) == pytest.approx(Y.mean())
    assert model.recommend([UNKNOWN_USER], 3)["score"].to_numpy() == pytest.approx(Y.mean())
    assert model.global_mean_ == pytest.approx(Y.mean())
    assert not hasattr(model, "user_biases_")
    assert not hasattr(model, "item_biases_")
    assert root_mean_squared_error(Y, model.predict(X)) < Y.std()
    names = sorted(dict(model.module_.named_parameters()))
    assert names == ["item_factors.weight", "user_factors.weight"]


def test_with_a_vanishing_start_it_is_a_ridge_regression_on_indicators():
    """Factors that start at 0 stay at 0, so that scikit-learn's Ridge solves the same problem."""
    alpha = 0.05
    model = mf(init_std=1e-30, alpha=alpha, max_epochs=150, batch_size=200).fit(X, Y)
    indicators = pd.get_dummies(X[["user", "item"]], columns=["user", "item"], dtype=float)
    counts = indicators.sum()
    # The penalty applies once for each rating, so it grows with the number of ratings of a row.
    scaled = indicators / np.sqrt(counts)
    ridge = Ridge(alpha=alpha, fit_intercept=False).fit(scaled, Y - Y.mean())
    expected = Y.mean() + ridge.predict(scaled)
    assert np.abs(model.predict(X) - expected).max() < 0.02 * Y.std()


# --- units


@optimizers
@pytest.mark.parametrize(("factor", "offset"), [(25, 0), (0.25, -0.25), (1e6, 0), (1, 100)])
def test_the_unit_of_the_ratings_does_not_matter(optimizer, factor, offset):
    options = {"optimizer": optimizer, "rating_scale": "auto"}
    stars = mf(**options).fit(X, Y).predict(X)
    other = mf(**options).fit(X, factor * Y + offset)  # (0.25, -0.25) maps stars to [0, 1]
    assert other.predict(X) == pytest.approx(factor * stars + offset, rel=1e-3)
    assert other.loss_curve_[-1] > 0


# --- parameters


@optimizers
def test_without_biases_an_unknown_pair_gets_the_mean_and_biases_are_named_as_absent(optimizer):
    model = mf(optimizer=optimizer, biased=False).fit(X[["user", "item"]], Y)
    unknown = pd.DataFrame({"user": [10**6], "item": [10**6]})
    assert model.predict(unknown) == pytest.approx([Y.mean()], abs=0.5)
    for name in ("user_biases_", "item_biases_"):
        with pytest.raises(AttributeError, match=f"no {name}: it was fitted with biased=False"):
            getattr(model, name)


def test_a_larger_penalty_gives_smaller_tables():
    weak, strong = mf(alpha=0.0).fit(X, Y), mf(alpha=2.0).fit(X, Y)
    for name in ("user_factors_", "item_factors_", "user_biases_", "item_biases_"):
        assert np.square(getattr(strong, name)).sum() < np.square(getattr(weak, name)).sum()


def test_init_std_is_the_standard_deviation_of_the_start():
    untrained = mf(init_std=0.5, lr=1e-12, n_factors=100).fit(X, 2 * Y)
    start = untrained.module_.user_factors.weight[1:]
    assert start.std().item() == pytest.approx(0.5, rel=0.05)


@pytest.mark.parametrize(
    ("options", "lr", "init_std"),
    [
        ({}, 0.2, 0.7 / 25),
        ({"max_epochs": 20}, 0.06, 0.01),
        ({"optimizer": torch.optim.Adam}, 0.02, 0.01),
        ({"optimizer": torch.optim.Adam, "svdpp": True}, 0.01, 0.01),
    ],
)
def test_auto_is_the_documented_number(options, lr, init_std):
    model = mf(**options).fit(X, Y)
    assert model.net_.lr == pytest.approx(lr)
    explicit = mf(**options, lr=model.net_.lr, init_std=init_std).fit(X, Y)
    assert np.array_equal(explicit.predict(X), model.predict(X))
    wide = model.set_params(n_factors="auto", max_epochs=1).fit(X, Y)
    assert wide.module_.n_factors == (80 if model.svdpp else 100)


# --- learned penalties


def test_without_biases_auto_is_the_documented_number():
    for svdpp, alpha in ((False, 0.07), (True, 0.1)):
        model = mf(biased=False, svdpp=svdpp)
        expected = mf(biased=False, svdpp=svdpp, alpha=alpha).fit(X, Y).predict(X)
        assert np.array_equal(model.fit(X, Y).predict(X), expected)


def few_ratings(signal, per_user, n_users=600, n_items=200):
    """Ratings with the given standard deviation of the products, and noise of 1."""
    rng = np.random.default_rng(0)
    users = np.repeat(np.arange(n_users), per_user)
    items = np.concatenate([rng.permutation(n_items)[:per_user] for _ in range(n_users)])
    p, q = rng.normal(size=(n_users, 2)), rng.normal(size=(n_items, 2))
    products = (p[users] * q[items]).sum(axis=1) / 2**0.5
    y = 3 + 0.3 * p[users, 0] + 0.3 * q[items, 1] + signal * products
    return pairs(users, items), y + rng.normal(size=len(y))


@optimizers
@pytest.mark.parametrize("svdpp", [False, True])
@pytest.mark.parametrize(("signal", "per_user"), [(0.0, 10), (3.0, 30)])
def test_penalties_suit_logs_of_noise_and_of_signal(optimizer, svdpp, signal, per_user):
    X, y = few_ratings(signal, per_user)
    test = np.random.default_rng(1).random(len(y)) < 0.2

    def error(model):
        return root_mean_squared_error(y[test], model.fit(X[~test], y[~test]).predict(X[test]))

    options = {"svdpp": svdpp, "optimizer": optimizer, "random_state": 0}
    learned, biases = error(MFRegressor(**options)), error(BiasRegressor())
    if signal == 0:
        assert learned < 1.015 * biases
        assert learned < error(MFRegressor(**options, alpha=0.07))
    else:
        assert learned < 0.95 * biases


def test_further_fits_learn_penalties_from_larger_logs_only():
    few, model = slice(100), mf()
    first = model.partial_fit(X[few], Y[few]).penalties_
    assert first.n_ratings == 100
    assert model.partial_fit(X[:50], Y[:50]).penalties_ == first
    assert model.partial_fit(X, Y).penalties_.n_ratings == len(Y)
    model.set_params(warm_start=True)
    assert model.fit(X[few], Y[few]).penalties_.n_ratings == len(Y)


# --- divergence


def plays(n=2_000):
    """Counts of plays from 1 to about 100,000."""
    rng = np.random.default_rng(0)
    users, items = rng.integers(0, 200, n), (300 * rng.random(n) ** 3).astype(int)
    return pairs(users, items), np.ceil(
        np.exp(rng.normal(4, 2.2, n) + rng.normal(0, 1, 200)[users])
    )


@pytest.mark.parametrize("svdpp", [False, True])
@pytest.mark.parametrize("alpha", ["auto", 0.07])
def test_counts_of_plays_train_to_a_useful_model(svdpp, alpha):
    X, y = plays()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = MFRegressor(svdpp=svdpp, alpha=alpha, random_state=0).fit(X, y)
    assert np.isfinite(model.predict(X)).all()
    assert np.mean((model.predict(X) - y) ** 2) < y.var()


@pytest.mark.parametrize("svdpp", [False, True])
@pytest.mark.parametrize("batch_size", [1, 4, 16])
def test_tiny_batches_do_not_diverge(svdpp, batch_size):
    rng = np.random.default_rng(0)
    n, options = 30, {"svdpp": svdpp, "batch_size": batch_size, "random_state": 0}
    y = rng.normal(size=n)
    for ids in (rng.integers(0, 5, (n, 2)), rng.normal(size=(n, 2))):
        predictions = MFRegressor(n_factors=3, **options).fit(ids, y).predict(ids)
        assert np.abs(predictions - y).max() < 2 * np.ptp(y)
        assert np.mean((predictions - y) ** 2) < 1.5 * y.var()


# --- SVD++ terms


def planted(n_users=300, n_items=120, random_state=0):
    """Ratings of users who rate mainly one group of items, which they like or dislike."""
    rng = np.random.default_rng(random_state)
    tastes, topics = rng.integers(4, size=n_users), rng.integers(4, size=n_items)
    is_rated = rng.random((n_users, n_items)) < np.where(tastes[:, None] == topics, 0.2, 0.03)
    users, items = np.nonzero(is_rated)
    likes = np.where(tastes[users] == topics[items], 1.0, -1.0)
    likes *= np.where(topics[items] % 2, 1, -1)
    return pairs(users, items), 3 + likes + 0.5 * rng.normal(size=len(users))


@pytest.mark.parametrize(
    "model",
    [
        mf(alpha=0.1, max_epochs=40, init_std=0.1),
        mf(alpha=0.1, max_epochs=40, init_std=0.1, optimizer=torch.optim.Adam),
        BayesianMFRegressor(4, n_iter=30, random_state=0),
    ],
    ids=["sgd", "adam", "bayesian"],
)
def test_svdpp_learns_from_which_items_a_user_rated(model):
    X, y = planted()
    test = np.random.default_rng(1).random(len(y)) < 0.3
    errors = []
    for svdpp in (False, True):
        model.set_params(svdpp=svdpp).fit(X[~test], y[~test])
        errors.append(root_mean_squared_error(y[test], model.predict(X[test])))
    assert errors[1] < errors[0] - 0.02


@optimizers
@pytest.mark.parametrize("biased", [True, False])
def test_svdpp_terms_are_part_of_the_fitted_rows(optimizer, biased):
    options = {"optimizer": optimizer, "svdpp": True, "biased": biased, "max_epochs": 15}
    model = mf(**options).fit(X, Y)
    module = model.module_
    assert type(module) is MatrixFactorization
    assert model.net_.module_ is module
    assert model.net_.module is module
    assert len(list(module.parameters())) == (4 if biased else 2)
    assert model.predict(X) == pytest.approx(by_attributes(model, X), rel=1e-5)
    assert np.array_equal(mf(**options).fit(X, Y).predict(X), model.predict(X))
    trained = {id(t) for group in model.net_.optimizer_.param_groups for t in group["params"]}
    assert trained == {id(table) for table in module.parameters()}
    again = pickle.loads(pickle.dumps(model))
    assert np.array_equal(again.predict(X), model.predict(X))
    assert model.recommend(X["user"].iloc[:2], n_items=3).shape == (6, 4)


class InterruptAfter(Callback):
    """Interrupt the training after a number of batches."""

    def __init__(self, n_batches):
        self.n_batches = n_batches

    def on_batch_begin(self, net, **kwargs):
        self.n_batches -= 1
        if self.n_batches < 0:
            raise KeyboardInterrupt


def test_an_interrupted_training_leaves_rows_that_include_their_terms():
    model = mf(svdpp=True, max_epochs=50, callbacks=[InterruptAfter(30)])
    with pytest.raises(KeyboardInterrupt), pytest.warns(UserWarning, match="interrupted after 30"):
        model.fit(X, Y)
    assert type(model.module_) is MatrixFactorization
    assert model.predict(X) == pytest.approx(by_attributes(model, X), rel=1e-5)
    assert np.square(Y - model.predict(X)).mean() < 0.8 * Y.var()


@optimizers
def test_svdpp_has_no_partial_fit(optimizer):
    model = mf(optimizer=optimizer, svdpp=True)
    assert not hasattr(model, "partial_fit")
    for either in (model, model.fit(X, Y)):
        with pytest.raises(AttributeError, match="svdpp=True has no partial_fit"):
            either.partial_fit(X, Y)
    model.set_params(svdpp=False).partial_fit(X, Y)


def test_weights_change_the_terms():
    rng = np.random.default_rng(0)
    weight = rng.integers(0, 3, size=len(Y))
    rows = np.repeat(np.arange(len(Y)), weight)
    # One batch holds all rows. The terms count a repeated row repeatedly, so that fits differ.
    options = {"svdpp": True, "alpha": 0.1, "batch_size": 10_000, "init_std": 1e-30}
    options["max_epochs"] = 60
    once = np.flatnonzero(weight)
    plain = mf(**options).fit(X.iloc[once], Y[once])
    weighted = mf(**options).fit(X, Y, sample_weight=weight)
    repeated = mf(**options).fit(X.iloc[rows], Y[rows])
    difference = np.abs(weighted.predict(X) - repeated.predict(X)).mean()
    assert difference < 0.3 * np.abs(plain.predict(X) - repeated.predict(X)).mean()


# --- accuracy


@pytest.mark.movielens
def test_accuracy_on_movielens(movielens):
    X, y = movielens
    train, test = next(KFold(5, shuffle=True, random_state=0).split(X))
    model = MFRegressor(random_state=0).fit(X.iloc[train], y.iloc[train])
    assert root_mean_squared_error(y.iloc[test], model.predict(X.iloc[test])) <= 0.92
