"""The solvers that sweep over whole tables: als and gibbs, and folding in."""
# SPDX-License-Identifier: BSD-3-Clause

import copy
import pickle
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklrec._solvers._als import AlternatingLeastSquares

from sklrec import IDEncoder, MFRegressor
from sklrec._solvers.gibbs.sampler import Chain
from sklrec.datasets import make_ratings
from sklrec.modules import BayesianMatrixFactorization, MatrixFactorization

X, Y = make_ratings(80, 50, 2_500, random_state=0)
TRAIN = np.random.RandomState(0).rand(len(X)) < 0.8
KINDS = {
    "als": {"solver": "als"},
    "als implicit": {"solver": "als", "implicit_features": True},
    "gibbs": {"solver": "gibbs"},
    "implicit": {"solver": "gibbs", "implicit_features": True},
}
each = pytest.mark.parametrize("kind", KINDS)
bayesian = pytest.mark.parametrize("kind", ["gibbs", "implicit"])


def mf(kind, **params):
    defaults = {"n_factors": 4, "n_iter": 30, "random_state": 0}
    return MFRegressor(**{**defaults, **KINDS[kind], **params})


@pytest.fixture(scope="module")
def models():
    return {kind: mf(kind).fit(X[TRAIN], Y[TRAIN]) for kind in KINDS}


def rmse(truth, prediction):
    return np.sqrt(np.mean((np.asarray(truth) - prediction) ** 2))


# --- alternating least squares


def objective(model, alpha):
    """What als minimises, written out, on the ratings of its fit."""
    users, items = (
        np.asarray(c) for c in model.encoder_.transform(X[TRAIN])[["user", "item"]].T.values
    )
    z = (np.asarray(Y[TRAIN]) - model.global_mean_) / model.module_.scale.item()
    p, q = (
        getattr(model.module_, f"{s}_factors").weight.detach().numpy() for s in ("user", "item")
    )
    b, c = (getattr(model.module_, f"{s}_biases").detach().numpy() for s in ("user", "item"))
    error = z - (p[users] * q[items]).sum(1) - b[users] - c[items]
    norms = (p[users] ** 2).sum(1) + (q[items] ** 2).sum(1) + b[users] ** 2 + c[items] ** 2
    return (error**2 + alpha * norms).sum()


def test_every_sweep_of_als_lowers_the_objective():
    values = [
        objective(mf("als", alpha=0.1, n_iter=n, tol=0.0).fit(X[TRAIN], Y[TRAIN]), 0.1)
        for n in (1, 2, 3, 5, 10, 40)
    ]
    assert values == sorted(values, reverse=True)
    assert values[-1] < 0.95 * values[0]


def test_where_als_ends_no_row_alone_could_do_better():
    alpha = 0.1
    model = mf("als", alpha=alpha, n_iter=300, tol=0.0).fit(X[TRAIN], Y[TRAIN])
    module, codes = model.module_, model.encoder_.transform(X[TRAIN])
    z = (np.asarray(Y[TRAIN]) - model.global_mean_) / module.scale.item()
    user = 3
    own = (codes["user"] == user).to_numpy()
    items = codes["item"].to_numpy()[own]
    q = module.item_factors.weight.detach().numpy()[items].astype(float)
    features = np.hstack([q, np.ones((len(q), 1))])
    target = z[own] - module.item_biases.detach().numpy()[items]
    ridge = features.T @ features + alpha * own.sum() * np.eye(5)
    best = np.linalg.solve(ridge, features.T @ target)
    assert np.allclose(module.user_factors.weight.detach().numpy()[user], best[:-1], atol=5e-3)
    assert np.isclose(module.user_biases.detach().numpy()[user], best[-1], atol=5e-3)


def test_where_als_ends_no_term_alone_could_do_better(monkeypatch):
    model = mf("als implicit", alpha=0.2, n_iter=400)
    to_the_end = replace(model._new_solver(), tol=-1.0)
    monkeypatch.setattr(MFRegressor, "_new_solver", lambda self, **changes: to_the_end)
    model.fit(X[TRAIN], Y[TRAIN])
    module, codes = model.module_, model.encoder_.transform(X[TRAIN])
    n_users, n_items = module.n_users + 1, module.n_items + 1
    assert module.user_terms.shape == (n_items, 5)
    assert module.item_terms.shape == (n_users, 5)
    users, items = codes["user"].to_numpy(), codes["item"].to_numpy()
    z = (np.asarray(Y[TRAIN]) - model.global_mean_) / module.scale.item()
    p, q = (
        np.hstack(
            [
                getattr(module, f"{side}_factors").weight.detach().numpy(),
                getattr(module, f"{side}_biases").detach().numpy()[:, None],
            ]
        ).astype(float)
        for side in ("user", "item")
    )
    error = z - (p[users, :4] * q[items, :4]).sum(1) - p[users, 4] - q[items, 4]
    share = 1 / np.sqrt(np.bincount(users)[users])
    features = np.hstack([q[items, :4], np.ones((len(z), 1))])
    pull = np.zeros((n_users, 5))
    np.add.at(pull, users, features * error[:, None])
    gradient, penalty = np.zeros((n_items, 5)), np.zeros(n_items)
    np.add.at(gradient, items, share[:, None] * pull[users])
    np.add.at(penalty, items, share**2 * np.bincount(users)[users])
    gradient -= 3 * 0.2 * penalty[:, None] * module.user_terms.numpy()
    assert module.user_terms.abs().max() > 0.01
    assert np.abs(gradient).max() < 2e-2


def test_als_with_implicit_features_does_not_learn_by_heart(models):
    plain, implicit = (
        rmse(Y[~TRAIN], models[kind].predict(X[~TRAIN])) for kind in ("als", "als implicit")
    )
    assert implicit < 1.03 * plain


def test_als_stops_when_little_is_gained():
    model = mf("als", n_iter=500, tol=1e-4).fit(X, Y)
    assert model.n_iter_ < 100
    assert model.n_iter_ == len(model.loss_curve_)
    assert mf("als", n_iter=500, tol=1e-2).fit(X, Y).n_iter_ < model.n_iter_


def test_als_goes_back_to_the_best_sweep():
    model = mf("als", alpha=0.001, n_iter=60, tol=0.0, n_iter_no_change=3)
    model.fit(X[TRAIN], Y[TRAIN], X_val=X[~TRAIN], y_val=Y[~TRAIN])
    assert model.n_iter_ < 60
    best = min(model.validation_curve_)
    model.set_params(rating_scale=None)
    model.rating_scale_ = None
    assert np.mean((Y[~TRAIN] - model.predict(X[~TRAIN])) ** 2) == pytest.approx(best, rel=1e-4)


# --- sampling


@bayesian
def test_the_posterior_mean_is_better_than_a_point(kind):
    model, point = mf(kind, n_iter=110), mf("als", n_iter=10)
    errors = [
        rmse(Y[~TRAIN], m.fit(X[TRAIN], Y[TRAIN]).predict(X[~TRAIN])) for m in (model, point)
    ]
    assert errors[0] < errors[1]


@bayesian
def test_intervals_cover_what_they_should(kind):
    X, y = make_ratings(150, 100, 8_000, random_state=1)
    train = np.random.RandomState(1).rand(len(X)) < 0.75
    model = mf(kind, n_iter=110, rating_scale=None).fit(X[train], y[train])
    ratings, std = model.predict(X[~train], return_std=True)
    off = np.abs(y[~train] - ratings) / std
    for share in (0.5, 0.8, 0.95):
        assert np.mean(off < norm.ppf(0.5 + share / 2)) == pytest.approx(share, abs=0.03)


@bayesian
def test_of_the_unknown_less_is_known(models, kind):
    rows = X[~TRAIN][:200]
    known = models[kind].predict(rows, return_std=True)[1]
    no_user = models[kind].predict(rows.assign(user=-1), return_std=True)[1]
    no_item = models[kind].predict(rows.assign(item=-1), return_std=True)[1]
    neither = models[kind].predict(rows.assign(user=-1, item=-1), return_std=True)[1]
    assert (no_user > known).mean() > 0.95
    assert (no_item > known).mean() > 0.95
    assert (neither > known).mean() > 0.95


@bayesian
def test_means_are_those_of_predict_and_of_recommend(models, kind):
    ratings, std = models[kind].predict(X, return_std=True)
    assert np.array_equal(ratings, models[kind].predict(X))
    assert std.shape == ratings.shape
    assert (std > 0).all()
    found = models[kind].recommend([X["user"].iloc[0]], n_items=5)
    assert np.allclose(
        models[kind].predict(found[["user", "item"]].assign(timestamp=0)),
        found["score"],
        atol=1e-4,
    )
    assert len(models[kind].similar_items([X["item"].iloc[0]], n_items=3)) == 3


@bayesian
def test_draws_are_kept_evenly_and_capped(kind):
    model = mf(kind, n_iter=30, n_burn_in=10, n_draws=5).fit(X, Y)
    assert isinstance(model.module_, BayesianMatrixFactorization)
    assert model.module_.n_draws == 5
    assert model.n_iter_ == 30
    assert mf(kind, n_iter=12, n_burn_in=10, n_draws=5).fit(X, Y).module_.n_draws == 2


@bayesian
def test_the_validation_curve_is_that_of_the_mean_so_far(kind):
    model = mf(kind, n_draws=1000, rating_scale=None)
    model.fit(X[TRAIN], Y[TRAIN], X_val=X[~TRAIN], y_val=Y[~TRAIN])
    error = np.mean((Y[~TRAIN] - model.predict(X[~TRAIN])) ** 2)
    assert model.validation_curve_[-1] == pytest.approx(error, rel=1e-3)
    assert len(model.validation_curve_) == model.n_iter_


@each
def test_ctrl_c_leaves_what_there_is(kind, monkeypatch):
    counted = iter(range(1000))

    def once_more(original):
        def run(self, *args):
            if next(counted) == 5:
                raise KeyboardInterrupt
            return original(self, *args)

        return run

    monkeypatch.setattr(Chain, "sweep", once_more(Chain.sweep))
    monkeypatch.setattr(AlternatingLeastSquares, "sweep", once_more(AlternatingLeastSquares.sweep))
    model = mf(kind, tol=0.0) if kind.startswith("als") else mf(kind, n_burn_in=3)
    with pytest.warns(UserWarning, match="interrupted after 5 whole sweeps of 30"):
        with pytest.raises(KeyboardInterrupt):
            model.fit(X, Y)
    assert model.n_iter_ == 5
    assert np.isfinite(model.predict(X)).all()


# --- both


@each
def test_fits_repeat_and_copies_predict_the_same(models, kind):
    again = mf(kind).fit(X[TRAIN], Y[TRAIN])
    expected = models[kind].predict(X)
    assert np.array_equal(again.predict(X), expected)
    assert np.array_equal(pickle.loads(pickle.dumps(again)).predict(X), expected)
    other = mf(kind, random_state=1).fit(X[TRAIN], Y[TRAIN])
    assert not np.array_equal(other.predict(X), expected)


@each
def test_weights_are_proportions_and_count(kind):
    weight = np.random.RandomState(0).rand(len(Y)) + 0.5
    one, ten = (mf(kind).fit(X, Y, sample_weight=w * weight).predict(X) for w in (1, 10))
    assert np.allclose(one, ten, atol=1e-3)
    assert not np.allclose(one, mf(kind).fit(X, Y).predict(X), atol=1e-3)


@each
@pytest.mark.parametrize("biased", [False, True])
def test_hard_ratings_are_no_trouble(kind, biased):
    hard = {
        "constant": np.full(len(Y), 3.0),
        "1 to 100": np.asarray(Y) * 20,
        "around 0": np.asarray(Y) * 5 - 15,
        "tiny": np.asarray(Y) * 1e-6,
    }
    for name, y in hard.items():
        model = mf(kind, biased=biased, n_iter=12).fit(X, y)
        ratings = model.predict(X)
        assert np.isfinite(ratings).all(), name
        assert np.std(ratings - y) <= np.std(y) + 1e-9, name


@each
def test_more_factors_than_rows_and_an_item_of_everyone(kind):
    few = pd.DataFrame({"user": [1, 2, 3, 1, 2], "item": [7, 7, 7, 8, 9]})
    model = mf(kind, n_factors=20, n_iter=15).fit(few, [1, 2, 3, 4, 5])
    assert np.isfinite(model.predict(few)).all()
    assert np.isfinite(model.predict(few.assign(user=9))).all()


@each
def test_they_are_tuned_like_any_other(kind):
    search = GridSearchCV(mf(kind, n_iter=12), {"n_factors": [1, 3]}, cv=2).fit(X, Y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


@each
def test_the_training_goes_on_with_whatever_solver(kind):
    for before, after in ((KINDS[kind], {"solver": "sgd"}), ({"solver": "adam"}, KINDS[kind])):
        reset = {"n_iter": "auto", "implicit_features": False}
        model = MFRegressor(n_factors=4, random_state=0, warm_start=True, **before).fit(X, Y)
        known = rmse(Y, model.predict(X))
        model.set_params(**{**reset, **after}).fit(X.assign(user=X["user"] + 5), Y)
        assert rmse(Y, model.predict(X.assign(user=X["user"] + 5))) < known + 0.1
        assert isinstance(model.module_, MatrixFactorization)


@each
def test_there_is_no_part_of_a_fit_and_no_net(models, kind):
    assert not hasattr(models[kind], "partial_fit")
    with pytest.raises(AttributeError, match="needs all ratings at once and has no partial_fit"):
        models[kind].partial_fit(X, Y)
    with pytest.raises(AttributeError, match="was not trained by a skorch net and has no net_"):
        _ = models[kind].net_
    with pytest.raises(AttributeError, match="object has no attribute 'nett_'"):
        _ = models[kind].nett_
    assert hasattr(MFRegressor(), "partial_fit")
    assert hasattr(MFRegressor().fit(X, Y), "net_")


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"solver": "sgd", "n_iter": 5}, "has no use for n_iter=5"),
        ({"solver": "als", "n_draws": 5}, "has no use for n_draws=5"),
        ({"solver": "als", "callbacks": [1]}, r"has no use for callbacks=\[1\]"),
        ({"solver": "gibbs", "optimizer": dict}, "has no use for optimizer"),
        ({"solver": "gibbs", "early_stopping": True}, "has no meaning for solver='gibbs'"),
        ({"solver": "gibbs", "n_iter": 5}, "n_burn_in=10 leaves nothing of n_iter=5"),
    ],
)
def test_what_a_solver_cannot_use_is_refused(params, message):
    with pytest.raises(ValueError, match=message):
        MFRegressor(**params).fit(X, Y)


def test_gibbs_says_that_it_has_no_penalty():
    with pytest.warns(UserWarning, match="has no penalty that alpha=0.5 could set") as caught:
        mf("gibbs", alpha=0.5, n_iter=12).fit(X, Y)
    assert caught[0].filename == __file__


def test_only_draws_have_a_spread():
    with pytest.raises(ValueError, match="return_std=True needs draws"):
        MFRegressor(random_state=0).fit(X, Y).predict(X, return_std=True)


@each
@pytest.mark.parametrize("block", [7, 100])
def test_a_prediction_is_a_function_of_its_row(models, kind, block, monkeypatch):
    whole = models[kind].predict(X)
    rows = np.random.RandomState(0).permutation(len(X))[:333]
    assert np.array_equal(models[kind].predict(X.iloc[rows]), whole[rows])
    monkeypatch.setattr(MFRegressor, "_predict_rows", block)
    assert np.array_equal(models[kind].predict(X.iloc[rows]), whole[rows])
    if not kind.startswith("als"):
        std = models[kind].predict(X, return_std=True)[1]
        assert np.array_equal(models[kind].predict(X.iloc[rows], return_std=True)[1], std[rows])


def test_behind_an_encoder_they_are_the_same():
    for kind in KINDS:
        bare = mf(kind).fit(X, Y)
        pipe = make_pipeline(IDEncoder(), mf(kind)).fit(X, Y)
        assert np.array_equal(pipe.predict(X), bare.predict(X))


# --- folding in


SIDES = ("user", "item")
FOLDS = {**KINDS, "sgd": {"solver": "sgd", "n_iter": "auto", "n_factors": 8}}


def split_off(side, n=15):
    """Rows of some users (items) that are to be folded in, and of all others."""
    late = X[side].isin(np.unique(X[side])[-n:])
    return late, ~late


@pytest.mark.parametrize("kind", FOLDS)
@pytest.mark.parametrize("side", SIDES)
def test_who_is_folded_in_is_predicted_as_if_they_had_been_there(kind, side):
    late, early = split_off(side)
    params = FOLDS[kind]

    def make():
        return MFRegressor(**{"n_factors": 4, "n_iter": 110, "random_state": 0, **params})

    whole = make().fit(X[TRAIN], Y[TRAIN])
    before = make().fit(X[TRAIN & early], Y[TRAIN & early])
    known = before.predict(X[early])
    after = before.fold_in(X[TRAIN & late], Y[TRAIN & late])
    asked = ~TRAIN & late
    errors = [rmse(Y[asked], m.predict(X[asked])) for m in (whole, after, before)]
    assert errors[1] < errors[0] + 0.03
    assert errors[1] < errors[2]
    assert np.array_equal(before.predict(X[early]), known)
    assert np.allclose(after.predict(X[early]), known, atol=1e-5)
    new = X[side][late].iloc[0]
    assert new in set(after.encoder_.categories_[SIDES.index(side)])
    found = after.recommend([X["user"][late].iloc[0]], n_items=3)
    assert len(found) == 3
    if params["solver"] == "gibbs":
        assert (after.predict(X[asked], return_std=True)[1] > 0).all()


def test_a_folded_in_copy_keeps_no_net_and_can_be_fitted_again():
    late, early = split_off("user")
    model = MFRegressor(n_factors=4, random_state=0).fit(X[early], Y[early])
    folded = model.fold_in(X[late], Y[late])
    assert "net_" in vars(model)
    assert "net_" not in vars(folded)
    assert np.array_equal(pickle.loads(pickle.dumps(folded)).predict(X), folded.predict(X))
    assert np.isfinite(copy.copy(folded).partial_fit(X, Y).predict(X)).all()
    twice = folded.fold_in(X[late].assign(user=5000), Y[late])
    assert np.isfinite(twice.predict(X.assign(user=5000))).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({}, "row 0 has neither of the two"),
        ({"user": -1, "item": -1}, "row 0 has a new user and a new item"),
    ],
)
def test_rows_that_cannot_be_folded_in_are_refused(models, change, message):
    before = models["gibbs"].predict(X)
    with pytest.raises(ValueError, match=message):
        models["gibbs"].fold_in(X[TRAIN].assign(**change), Y[TRAIN])
    assert np.array_equal(models["gibbs"].predict(X), before)


def test_nothing_is_printed_or_warned_of(capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for kind in KINDS:
            mf(kind, n_iter=12).fit(X, Y).predict(X)
    assert capsys.readouterr().out == ""
    mf("als", n_iter=12, verbose=1).fit(X, Y)
    assert "sweep" in capsys.readouterr().err


@bayesian
def test_folded_in_users_are_as_sure_as_fitted_ones(kind):
    X, y = make_ratings(300, 100, 15_000, random_state=1)
    new = X["user"] % 5 == 0
    held_out = new & (np.random.RandomState(0).rand(len(X)) < 0.3)
    model = mf(kind, n_iter=60).fit(X[~new], y[~new])
    folded = model.fold_in(X[new & ~held_out], y[new & ~held_out])
    mean, std = folded.predict(X[held_out], return_std=True)
    off = np.abs(y[held_out] - mean) / std
    for share in (0.5, 0.8, 0.95):
        assert np.mean(off < norm.ppf(0.5 + share / 2)) == pytest.approx(share, abs=0.04)


def test_folding_in_goes_by_the_fit_and_not_by_what_was_set_since():
    model = mf("als").fit(X[TRAIN], Y[TRAIN])
    new = pd.DataFrame({"user": -1, "item": X["item"].unique()[:3], "timestamp": 0})
    before = model.fold_in(new, [1.0, 2.0, 3.0]).predict(new)
    model.set_params(alpha=5.0)
    assert np.array_equal(model.fold_in(new, [1.0, 2.0, 3.0]).predict(new), before)
