"""Matrix factorisation as an estimator: what it predicts, and from what."""
# SPDX-License-Identifier: BSD-3-Clause

import pickle
import re

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.linear_model import Ridge
from sklearn.metrics import root_mean_squared_error
from sklearn.model_selection import GridSearchCV, KFold
from skorch.callbacks import Callback

from sklrec import MFRegressor
from sklrec.datasets import make_ratings
from sklrec.modules import MatrixFactorization

X, Y = make_ratings(60, 40, 1000, random_state=0)
NOBODY, NOTHING = -1, -2  # a user and an item that no fit here sees


def mf(**options):
    defaults = {"n_factors": 4, "max_epochs": 5, "rating_scale": None, "random_state": 0}
    return MFRegressor(**{**defaults, **options})


def pairs(users, items):
    return pd.DataFrame({"user": users, "item": items, "timestamp": 0})


@pytest.fixture(scope="module", params=["sgd", "adam"])
def fitted(request):
    return mf(solver=request.param, init_std=0.3).fit(X, Y)


# --- the formula


def by_attributes(model, X):
    """The prediction by the attributes alone; known users and items only."""
    users, items = model.encoder_.categories_
    u = pd.Index(users).get_indexer(X["user"])
    i = pd.Index(items).get_indexer(X["item"])
    assert min(u.min(), i.min()) >= 0
    ratings = (model.user_factors_[u] * model.item_factors_[i]).sum(1)
    if model.biased:
        ratings += model.global_mean_ + model.user_biases_[u] + model.item_biases_[i]
    return ratings


def test_attributes_give_the_predictions_in_units_of_the_ratings(fitted):
    assert fitted.predict(X) == pytest.approx(by_attributes(fitted, X), rel=1e-5)
    assert fitted.user_factors_.shape == (X["user"].nunique(), 4)
    assert fitted.item_factors_.shape == (X["item"].nunique(), 4)
    assert fitted.user_biases_.shape == (X["user"].nunique(),)
    assert fitted.item_biases_.shape == (X["item"].nunique(),)
    assert fitted.global_mean_ == pytest.approx(Y.mean())


def test_the_four_cases_of_known_and_unknown(fitted):
    users, items = fitted.encoder_.categories_
    u, i = 3, 5
    mean, b_u, b_i = fitted.global_mean_, fitted.user_biases_[u], fitted.item_biases_[i]
    product = fitted.user_factors_[u] @ fitted.item_factors_[i]
    asked = pairs([users[u], users[u], NOBODY, NOBODY], [items[i], NOTHING, items[i], NOTHING])
    expected = [mean + b_u + b_i + product, mean + b_u, mean + b_i, mean]
    assert fitted.predict(asked) == pytest.approx(expected, rel=1e-5)
    assert min(abs(b_u), abs(b_i), abs(product)) > 1e-3  # or else the cases were all alike


def test_the_four_cases_without_biases():
    model = mf(biased=False, init_std=0.3).fit(X, Y)
    users, items = model.encoder_.categories_
    product = model.user_factors_[3] @ model.item_factors_[5]
    asked = pairs([users[3], users[3], NOBODY, NOBODY], [items[5], NOTHING, items[5], NOTHING])
    assert model.predict(asked) == pytest.approx([product, 0, 0, 0], rel=1e-5)


def test_without_biases_the_rating_is_the_dot_product():
    model = mf(biased=False, n_factors=20, max_epochs=30, init_std=0.1).fit(X, Y)
    assert model.predict(X) == pytest.approx(by_attributes(model, X), rel=1e-5)
    assert model.global_mean_ == 0
    assert not hasattr(model, "user_biases_")
    assert not hasattr(model, "item_biases_")
    assert root_mean_squared_error(Y, model.predict(X)) < Y.std()
    assert sorted(dict(model.module_.named_parameters())) == [
        "item_factors.weight",
        "user_factors.weight",
    ]


@pytest.mark.parametrize(
    "name", ["global_mean_", "user_biases_", "item_biases_", "user_factors_", "item_factors_"]
)
def test_what_is_learned_is_not_there_before_fit(name):
    assert not hasattr(mf(), name)


def test_with_a_vanishing_start_it_is_a_ridge_regression_on_indicators():
    """An independent solution of the same problem: factors that start at 0 stay there."""
    alpha = 0.05
    model = mf(init_std=1e-30, alpha=alpha, max_epochs=300, batch_size=200).fit(X, Y)
    indicators = pd.get_dummies(X[["user", "item"]], columns=["user", "item"], dtype=float)
    counts = indicators.sum()
    # alpha is paid once for each rating, so it grows with the number of a row's ratings
    scaled = indicators / np.sqrt(counts)
    ridge = Ridge(alpha=alpha, fit_intercept=False).fit(scaled, Y - Y.mean())
    expected = Y.mean() + ridge.predict(scaled)
    assert np.abs(model.predict(X) - expected).max() < 0.02 * Y.std()


# --- units


@pytest.mark.parametrize("solver", ["sgd", "adam"])
@pytest.mark.parametrize(("factor", "offset"), [(25, 0), (0.25, -0.25), (1e6, 0), (1, 100)])
def test_the_unit_of_the_ratings_does_not_matter(solver, factor, offset):
    """(0.25, -0.25) takes stars to [0, 1]."""
    options = {"solver": solver, "rating_scale": "auto"}
    stars = mf(**options).fit(X, Y).predict(X)
    other = mf(**options).fit(X, factor * Y + offset)
    assert other.predict(X) == pytest.approx(factor * stars + offset, rel=1e-3)
    assert other.loss_curve_[-1] > 0


def test_attributes_go_with_the_unit():
    stars, percent = mf().fit(X, Y), mf().fit(X, 25 * Y)
    assert percent.global_mean_ == pytest.approx(25 * stars.global_mean_)
    assert percent.user_biases_ == pytest.approx(25 * stars.user_biases_, rel=1e-2, abs=1e-3)
    assert percent.item_factors_ == pytest.approx(5 * stars.item_factors_, rel=1e-2, abs=1e-3)
    assert percent.loss_curve_ == pytest.approx(625 * np.array(stars.loss_curve_), rel=1e-4)


# --- parameters


def test_a_larger_penalty_gives_smaller_tables():
    weak, strong = mf(alpha=0.0).fit(X, Y), mf(alpha=2.0).fit(X, Y)
    for name in ("user_factors_", "item_factors_", "user_biases_", "item_biases_"):
        assert np.square(getattr(strong, name)).sum() < np.square(getattr(weak, name)).sum()


@pytest.mark.parametrize("optimizer", [torch.optim.AdamW, torch.optim.SGD, torch.optim.Adagrad])
def test_any_optimiser_of_torch(optimizer):
    model = mf(optimizer=optimizer, lr=0.05, max_epochs=20).fit(X, Y)
    assert isinstance(model.net_.optimizer_, optimizer)
    assert model.loss_curve_[-1] < model.loss_curve_[0]
    assert not next(model.module_.parameters()).grad.is_sparse
    assert clone(model).optimizer is optimizer


def test_adam_by_name_and_by_class_are_the_same():
    by_name = mf(solver="adam").fit(X, Y).predict(X)
    assert np.array_equal(by_name, mf(optimizer=torch.optim.Adam).fit(X, Y).predict(X))


def test_init_std_is_the_spread_of_the_start():
    untrained = mf(init_std=0.5, lr=1e-12, n_factors=100).fit(X, 2 * Y)
    start = untrained.module_.user_factors.weight[1:]
    assert start.std().item() == pytest.approx(0.5, rel=0.05)


def test_lr_auto_depends_on_the_solver_and_is_a_plain_number():
    for solver in ("sgd", "adam"):
        model = mf(solver=solver).fit(X, Y)
        lr = model.net_.lr
        assert 0 < lr < 1
        assert np.array_equal(mf(solver=solver, lr=lr).fit(X, Y).predict(X), model.predict(X))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            {"n_factors": 9},
            r"n_factors=9 was asked for, but the training goes on with a model of n_factors=4\. "
            r"Set it back to 4, or fit with warm_start=False",
        ),
        ({"biased": False}, "biased=False was asked for, but the training goes on with a model"),
    ],
)
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_a_model_that_goes_on_keeps_its_shape(change, text, method):
    model = mf(warm_start=True).fit(X, Y)
    with pytest.raises(ValueError, match=text):
        getattr(model.set_params(**change), method)(X, Y)
    model.set_params(warm_start=False).fit(X, Y)
    assert model.module_.biased is change.get("biased", True)


UNREAD_BY_SWEEPS = {"lr": 0.1, "lr_schedule": "constant", "batch_size": 512}
UNREAD_BY_POINT_SOLVERS = {"n_burn_in": 3, "n_draws": 5}


@pytest.mark.parametrize(
    ("solver", "name", "value"),
    [
        *((s, *item) for s in ("als", "gibbs") for item in UNREAD_BY_SWEEPS.items()),
        *((s, *item) for s in ("sgd", "adam", "als") for item in UNREAD_BY_POINT_SOLVERS.items()),
    ],
)
def test_what_a_solver_does_not_read_is_refused_where_it_can_only_be_a_mistake(
    solver, name, value
):
    default = MFRegressor().get_params()[name]
    text = (
        f"solver={solver!r} has no use for {name}={value!r}. Leave it at {default!r}, or use "
        "another solver."
    )
    with pytest.raises(ValueError, match=re.escape(text)):
        MFRegressor(solver=solver, **{name: value}).fit(X, Y)
    MFRegressor(solver=solver, n_factors=2, **{name: default}).fit(X[:300], Y[:300])


def test_a_search_over_solvers_may_share_how_long_to_train():
    shared = mf(max_epochs=2, init_std=0.1, n_iter_no_change=3, tol=1e-3, early_stopping=False)
    grid = [{"solver": ["sgd", "adam"]}, {"solver": ["als", "gibbs"], "n_iter": [12]}]
    search = GridSearchCV(shared, grid, cv=2, error_score="raise").fit(X, Y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


# --- implicit features


def implicit(solver="sgd", **options):
    return mf(solver=solver, implicit_features=True, **options)


def planted(n_users=300, n_items=120, random_state=0):
    """A log whose users rate what they like, and like what is near to what they rate."""
    rng = np.random.default_rng(random_state)
    tastes, topics = rng.integers(4, size=n_users), rng.integers(4, size=n_items)
    met = rng.random((n_users, n_items)) < np.where(tastes[:, None] == topics, 0.2, 0.03)
    users, items = np.nonzero(met)
    likes = np.where(tastes[users] == topics[items], 1.0, -1.0)
    likes *= np.where(topics[items] % 2, 1, -1)  # two kinds of topics are met, but not liked
    return pairs(users, items), 3 + likes + 0.5 * rng.normal(size=len(users))


@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_whom_one_met_tells_something_about_ratings(solver):
    X, y = planted()
    test = np.random.default_rng(1).random(len(y)) < 0.3
    errors = [
        root_mean_squared_error(y[test], model.fit(X[~test], y[~test]).predict(X[test]))
        for model in (make(solver=solver, max_epochs=40, init_std=0.1) for make in (mf, implicit))
    ]
    assert errors[1] < errors[0] - 0.05


@pytest.mark.parametrize("solver", ["sgd", "adam"])
@pytest.mark.parametrize("biased", [True, False])
def test_the_model_is_an_ordinary_one_that_keeps_its_terms(solver, biased):
    model = implicit(solver, biased=biased, max_epochs=15).fit(X, Y)
    module = model.module_
    assert type(module) is MatrixFactorization
    assert model.net_.module_ is module
    assert model.net_.module is module
    assert module.user_terms.shape == (module.n_items + 1, 4 + biased)
    assert module.item_terms.shape == (module.n_users + 1, 4 + biased)
    assert module.user_terms.any()
    assert module.item_terms.any()
    assert model.predict(X) == pytest.approx(by_attributes(model, X), rel=1e-5)
    assert np.array_equal(
        implicit(solver, biased=biased, max_epochs=15).fit(X, Y).predict(X), model.predict(X)
    )
    trained = {id(t) for group in model.net_.optimizer_.param_groups for t in group["params"]}
    assert trained == {id(table) for table in module.parameters()}
    again = pickle.loads(pickle.dumps(model))
    assert again.net_.module_ is again.module_
    assert torch.equal(again.module_.user_terms, module.user_terms)
    assert model.recommend(X["user"].iloc[:2], n_items=3).shape == (6, 4)
    assert mf().fit(X, Y).module_.user_terms is None


@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_the_best_epoch_comes_back_with_its_terms(solver):
    rows = np.arange(len(Y)) % 4 == 0
    options = {"max_epochs": 40, "alpha": 0.0, "lr": 0.1, "rating_scale": None}
    model = implicit(solver, **options).fit(X[~rows], Y[~rows], X_val=X[rows], y_val=Y[rows])
    best = min(model.validation_curve_)
    assert model.validation_curve_[-1] > best
    predictions = model.predict(X[rows])
    assert root_mean_squared_error(Y[rows], predictions) ** 2 == pytest.approx(best, rel=1e-4)


class InterruptAfter(Callback):
    """Press Ctrl-C after some batches."""

    def __init__(self, n_batches):
        self.n_batches = n_batches

    def on_batch_begin(self, net, **kwargs):
        self.n_batches -= 1
        if self.n_batches < 0:
            raise KeyboardInterrupt


def test_an_interrupted_training_leaves_rows_that_have_all_in_them():
    model = implicit(max_epochs=50, callbacks=[InterruptAfter(30)])
    with pytest.raises(KeyboardInterrupt), pytest.warns(UserWarning, match="interrupted after 30"):
        model.fit(X, Y)
    assert type(model.module_) is MatrixFactorization
    assert model.module_.user_terms.any()
    assert model.predict(X) == pytest.approx(by_attributes(model, X), rel=1e-5)
    assert np.square(Y - model.predict(X)).mean() < 0.8 * Y.var()


@pytest.mark.parametrize("optimizer", [torch.optim.AdamW, torch.optim.SGD])
def test_any_optimiser_moves_the_terms(optimizer):
    model = implicit(optimizer=optimizer, lr=0.05).fit(X, Y)
    assert isinstance(model.net_.optimizer_, optimizer)
    assert model.module_.user_terms.any()


@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_there_is_no_part_of_a_description(solver):
    model = implicit(solver)
    assert not hasattr(model, "partial_fit")
    text = "implicit_features=True has no partial_fit: .* or fit with warm_start=True"
    for each in (model, model.fit(X, Y)):
        with pytest.raises(AttributeError, match=text):
            each.partial_fit(X, Y)
    model.set_params(implicit_features=False).partial_fit(X, Y)
    assert model.module_.user_terms is None


@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_a_fit_goes_on_from_the_rows_that_were_there(solver):
    model = implicit(solver, warm_start=True, max_epochs=15).fit(X, Y)
    before, terms = model.loss_curve_[-1], model.module_.user_terms
    model.fit(X, Y)
    assert model.loss_curve_[15] < 1.01 * before < 0.9 * model.loss_curve_[0]
    assert model.module_.user_terms is not terms
    model.fit(X.assign(user=X["user"] + 10), Y)  # some of them are new
    assert len(model.module_.item_terms) == len(model.user_factors_) + 1
    model.set_params(implicit_features=False).fit(X, Y)
    assert model.module_.user_terms is None


def test_weights_count_for_terms_too():
    rng = np.random.default_rng(0)
    weight = rng.integers(0, 3, size=len(Y))
    rows = np.repeat(np.arange(len(Y)), weight)
    # Full batches, so that both see the same; the repeated ones describe their rows differently.
    options = {"batch_size": 10_000, "init_std": 1e-30, "max_epochs": 60}
    once = np.flatnonzero(weight)
    plain = implicit(**options).fit(X.iloc[once], Y[once])
    weighted = implicit(**options).fit(X, Y, sample_weight=weight)
    repeated = implicit(**options).fit(X.iloc[rows], Y[rows])
    difference = np.abs(weighted.predict(X) - repeated.predict(X)).mean()
    assert difference < 0.3 * np.abs(plain.predict(X) - repeated.predict(X)).mean()


# --- accuracy


@pytest.mark.movielens
def test_accuracy_on_movielens(movielens):
    X, y = movielens
    train, test = next(KFold(5, shuffle=True, random_state=0).split(X))
    model = MFRegressor(random_state=0).fit(X.iloc[train], y.iloc[train])
    assert root_mean_squared_error(y.iloc[test], model.predict(X.iloc[test])) <= 0.92
