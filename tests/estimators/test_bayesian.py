"""BayesianMFRegressor: invariances, uncertainty, fold_in and warm starts."""
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from sklrec import BayesianMFRegressor, BiasRegressor
from sklrec._solvers import posterior
from sklrec._solvers.least_squares import pairs
from sklrec.datasets import make_ratings

X, Y = make_ratings(60, 40, 1200, random_state=0)
X, Y = X[["user", "item"]], Y.to_numpy()
TRAIN = np.random.RandomState(0).rand(len(X)) < 0.8
svdpp_or_not = pytest.mark.parametrize("svdpp", [False, True])


def bayes(**options):
    return BayesianMFRegressor(**{"n_factors": 4, "random_state": 0, **options})


def both(model, X):
    return np.stack(model.predict(X, return_std=True))


def rmse(truth, prediction):
    return np.sqrt(np.mean((np.asarray(truth) - prediction) ** 2))


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "svdpp"])
def model(request):
    return bayes(svdpp=request.param).fit(X, Y)


# --- what it learns


def test_the_number_of_ratings_in_memory_at_once_changes_nothing(monkeypatch, model):
    for module, name in ((pairs, "PAIRS_AT_ONCE"), (posterior, "RATINGS_AT_ONCE")):
        monkeypatch.setattr(module, name, 100)
    monkeypatch.setattr(pairs, "COLUMNS_AT_ONCE", 4)
    monkeypatch.setattr(posterior, "NUMBERS_AT_ONCE", 100)
    again = bayes(svdpp=model.svdpp).fit(X, Y)
    assert np.allclose(both(again, X), both(model, X), rtol=1e-6)


def test_items_with_few_ratings_are_predicted_like_others_with_few_ratings():
    rng = np.random.default_rng(0)
    n = 4000
    item = np.minimum(rng.geometric(0.015, n), 400)
    popularity = np.log1p(np.bincount(item))[item]
    X = pd.DataFrame({"user": rng.integers(0, 150, n), "item": item})
    y = 1 + popularity + rng.normal(0, 1, n)
    model = bayes(rating_scale=None).fit(X, y)
    rare = y[np.bincount(item)[item] < 4].mean()
    folded = model.fold_in(X[:1].assign(item=999), [y.mean()])
    expected = folded.predict(X[:50].assign(item=999)).mean()
    assert abs(expected - rare) < 0.5 * abs(y.mean() - rare)


@svdpp_or_not
def test_it_beats_biases_on_held_out_ratings(svdpp):
    X, y = make_ratings(200, 100, 8000, random_state=1)
    X, train = X[["user", "item"]], np.random.RandomState(0).rand(len(X)) < 0.8
    errors = [
        rmse(y[~train], model.fit(X[train], y[train]).predict(X[~train]))
        for model in (BiasRegressor(), bayes(n_factors=8, svdpp=svdpp))
    ]
    assert errors[1] < 0.97 * errors[0]


@pytest.mark.parametrize("n_per_user", [1, 2])
def test_sparse_ratings_are_predicted_as_well_as_by_biases(n_per_user):
    X, y = make_ratings(2000, 300, 2000 * n_per_user, random_state=0)
    X, train = X[["user", "item"]], np.random.RandomState(0).rand(len(X)) < 0.8
    errors = [
        rmse(y[~train], model.fit(X[train], y[train]).predict(X[~train]))
        for model in (BiasRegressor(), BayesianMFRegressor(random_state=0))
    ]
    assert errors[1] < 1.003 * errors[0]


def test_n_factors_auto_depends_on_the_number_of_ratings():
    dense = BayesianMFRegressor(n_iter=1).fit(X, Y)
    assert dense.module_.n_factors == 16
    sparse = BayesianMFRegressor(n_iter=1).fit(X[:300], Y[:300])
    assert sparse.module_.n_factors == 8


def test_too_many_factors_are_refused_with_the_memory_that_they_need():
    message = "n_factors=33 needs a joint covariance matrix of 34 x 34 .* 0.00024 GB in all. Set n"
    with pytest.raises(ValueError, match=message):
        bayes(n_factors=33).fit(X, Y)
    bayes(n_factors=32, n_iter=1).fit(X, Y)


def test_it_stops_by_tol():
    n_iter = [bayes(n_iter=15, tol=tol).fit(X, Y).n_iter_ for tol in (0, 1e-3, 0.1, 1e3)]
    assert n_iter[0] == 15
    assert n_iter == sorted(n_iter, reverse=True)
    assert n_iter[-1] == 2


# --- what must not matter


@pytest.mark.parametrize(("factor", "shift"), [(10, 3), (1e-3, -5), (1, 1e7)])
def test_the_unit_of_ratings_does_not_matter(model, factor, shift):
    other = bayes(svdpp=model.svdpp).fit(X, Y * factor + shift)
    found = (other.predict(X) - shift) / factor
    assert np.allclose(found, model.predict(X), rtol=1e-6)
    stds = other.predict(X, return_std=True)[1] / factor
    assert np.allclose(stds, model.predict(X, return_std=True)[1], rtol=1e-5)


def test_small_weights_shrink_predictions_to_the_mean():
    small, usual = (
        bayes(rating_scale=None).fit(X, Y, sample_weight=np.full(len(Y), weight)).predict(X)
        for weight in (0.01, 1)
    )
    assert small.std() < 0.5 * usual.std()


# --- uncertainty


@svdpp_or_not
def test_intervals_cover(svdpp):
    X, y = make_ratings(150, 100, 6000, random_state=1)
    train = np.random.RandomState(1).rand(len(X)) < 0.7
    model = bayes(n_factors=8, svdpp=svdpp, rating_scale=None).fit(X[train], y[train])
    ratings, std = model.predict(X[~train], return_std=True)
    off = np.abs(y[~train] - ratings) / std
    for share in (0.5, 0.8, 0.95):
        assert np.mean(off < norm.ppf(0.5 + share / 2)) == pytest.approx(share, abs=0.04)


@pytest.mark.parametrize("side", ["user", "item"])
def test_intervals_of_unknown_rows_cover(side):
    X, y = make_ratings(400, 300, 12_000, random_state=2)
    late = (X[side] % 4 == 0).to_numpy()
    model = bayes(n_factors=8, rating_scale=None).fit(X[~late], y[~late])
    ratings, std = model.predict(X[late], return_std=True)
    assert np.mean(((y[late] - ratings) / std) ** 2) == pytest.approx(1, abs=0.2)


def test_ratings_of_low_weight_leave_more_uncertainty():
    one, other = (
        bayes().fit(X, Y, sample_weight=np.where(X["user"] == X["user"][0], weight, 1))
        for weight in (1, 0.1)
    )
    rows = X[X["user"] == X["user"][0]]
    stds = [model.predict(rows, return_std=True)[1] for model in (one, other)]
    assert np.mean(stds[1] > stds[0]) > 0.8  # the learned noise of the user differs too


# --- fold_in


@svdpp_or_not
@pytest.mark.parametrize("side", ["user", "item"])
def test_fold_in_adds_new_rows(svdpp, side):
    X, y = make_ratings(150, 100, 6000, random_state=1)
    X, is_new = X[["user", "item"]], (X[side] % 5 == 0).to_numpy()
    shown = np.random.RandomState(0).rand(len(X)) < 0.5
    model = bayes(n_factors=8, svdpp=svdpp, rating_scale=None).fit(X[~is_new], y[~is_new])
    before = both(model, X)
    folded = model.fold_in(X[is_new & shown], y[is_new & shown])
    whole = bayes(n_factors=8, svdpp=svdpp, rating_scale=None).fit(
        X[~is_new | shown], y[~is_new | shown]
    )
    rest = is_new & ~shown
    unknown, found, best = (rmse(y[rest], m.predict(X[rest])) for m in (model, folded, whole))
    assert found < 0.9 * unknown
    assert found < 1.05 * best
    stds = [m.predict(X[rest], return_std=True)[1].mean() for m in (model, folded, whole)]
    assert stds[1] < stds[0]
    assert stds[1] == pytest.approx(stds[2], rel=0.05)
    assert np.array_equal(both(model, X), before)
    assert np.array_equal(both(folded, X[~is_new]), before[:, ~is_new])
    assert folded.encoder_.vocabularies_ != model.encoder_.vocabularies_
    assert folded.n_ratings_ > model.n_ratings_


def test_a_folded_copy_of_a_user_is_like_the_user(model):
    user = X["user"].iloc[0]
    rows = X[X["user"] == user]
    folded = model.fold_in(rows.assign(user=999), Y[X["user"] == user])
    items = pd.DataFrame({"user": user, "item": X["item"].unique()})
    one, other = both(folded, items), both(folded, items.assign(user=999))
    assert np.abs(one[0] - other[0]).max() < 0.1
    assert np.allclose(one[1], other[1], rtol=0.1)
    recommended = folded.recommend([999], n_items=40)
    assert not set(recommended["item"]) & set(rows["item"])


def test_weights_of_fold_in_equal_repeated_rows(model):
    new = X[:6].assign(user=999)
    one = model.fold_in(new, Y[:6], sample_weight=[0, 1, 2, 1, 0, 3])
    rows = [1, 2, 2, 3, 5, 5, 5]
    other = model.fold_in(new.iloc[rows], Y[rows])
    assert np.allclose(both(one, new), both(other, new), rtol=1e-6)


def test_new_users_and_new_items_fold_in_together(model):
    new = pd.concat([X[:5].assign(user=999), X[5:9].assign(item=888)])
    folded = model.fold_in(new, Y[:9])
    apart = model.fold_in(new[:5], Y[:5])
    assert np.array_equal(folded.predict(new[:5]), apart.predict(new[:5]))
    assert (folded.n_users_, folded.n_items_) == (61, 41)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({}, "Row 0 has neither of the two"),
        ({"user": 999, "item": 888}, "Row 0 has a new user and a new item"),
    ],
)
def test_fold_in_refuses_rows_without_one_new_id(model, change, message):
    before = vars(model).copy()
    with pytest.raises(ValueError, match=message):
        model.fold_in(X[:1].assign(**change), Y[:1])
    assert vars(model) == before


def test_an_ordinal_model_does_not_fold_in():
    model = bayes(loss="ordinal").fit(X, Y.round())
    with pytest.raises(ValueError, match="fold_in takes ratings as numbers, but the model was"):
        model.fold_in(X[:5].assign(user=999), Y[:5].round())


# --- warm starts


def test_a_warm_start_continues_from_the_posterior(model):
    again = bayes(svdpp=model.svdpp, n_iter=40, tol=0).fit(X, Y)
    losses = again.loss_curve_
    again.set_params(warm_start=True, n_iter=3).fit(X, Y)
    assert again.n_iter_ == 43
    assert again.loss_curve_[-1] == pytest.approx(losses[-1], rel=0.01)
    cold = bayes(svdpp=model.svdpp, n_iter=3, tol=0).fit(X, Y)
    assert again.loss_curve_[-1] < 0.98 * cold.loss_curve_[-1]


@svdpp_or_not
def test_a_warm_start_adds_users_and_items(svdpp):
    early = ((X["user"] % 4 > 0) & (X["item"] % 4 > 0)).to_numpy()
    model = bayes(svdpp=svdpp, warm_start=True).fit(X[early & TRAIN], Y[early & TRAIN])
    model.fit(X[TRAIN], Y[TRAIN])
    cold = bayes(svdpp=svdpp).fit(X[TRAIN], Y[TRAIN])
    errors = [rmse(Y[~TRAIN], m.predict(X[~TRAIN])) for m in (model, cold)]
    assert errors[0] < 1.03 * errors[1]
    assert (model.n_users_, model.n_items_) == (60, 40)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_factors": 5}, "n_factors=5 was asked for, but the training continues a model of n_"),
        ({"svdpp": True}, "svdpp=True was asked for, but the training continues a model of svdp"),
    ],
)
def test_a_warm_start_refuses_another_shape(change, message):
    model = bayes().fit(X, Y).set_params(warm_start=True, **change)
    with pytest.raises(ValueError, match=message):
        model.fit(X, Y)


# --- hard data


@pytest.mark.parametrize("weight", [1e-110, 1e-12, 1e12, 1e110])
def test_weights_that_prior_or_rounding_would_lose_are_refused(weight):
    with pytest.raises(ValueError, match=r"The sum of the sample weights must lie between 0.001"):
        bayes().fit(X, Y, sample_weight=np.full(len(Y), weight))


@pytest.mark.parametrize("seed", [0, 3])
@svdpp_or_not
def test_ratings_that_biases_explain_exactly(svdpp, seed):
    rng = np.random.RandomState(seed)
    users, items = rng.randint(0, 50, 1000), rng.randint(0, 40, 1000)
    X = pd.DataFrame({"user": users, "item": items})
    y = np.clip(1.0 + users // 15 + items // 20, 1, 5)
    model = BayesianMFRegressor(svdpp=svdpp, random_state=seed).fit(X, y)
    assert np.abs(model.predict(X) - y).max() < 0.1


class CtrlC:
    """Ctrl-C at the start of a sweep."""

    max_propagation_depth = None

    def __init__(self, after):
        self.after = after

    def setup(self, estimator, context, **kwargs):
        pass

    teardown = on_fit_task_end = setup

    def on_fit_task_begin(self, estimator, context, **kwargs):
        if context.task_name == "sweep" and context.task_id == self.after:
            raise KeyboardInterrupt


@pytest.mark.needs("scikit-learn>=1.9")
@pytest.mark.parametrize("after", [0, 1, 4])
@pytest.mark.parametrize("options", [{}, {"svdpp": True}, {"loss": "ordinal"}], ids=str)
def test_ctrl_c_keeps_the_sweeps_so_far(after, options):
    y = Y.round()
    model = bayes(**options).set_callbacks(CtrlC(after))
    with pytest.warns(UserWarning, match=f"interrupted after {after} whole sweeps of 20"):
        with pytest.raises(KeyboardInterrupt):
            model.fit(X, y)
    assert model.n_iter_ == after
    assert np.isfinite(both(model, X)).all()
    if after and "loss" not in options:
        assert np.allclose(model.predict(X), bayes(**options, n_iter=after).fit(X, y).predict(X))


def test_progress_is_printed(capsys):
    bayes(n_iter=3, verbose=1).fit(X, Y)
    assert "sweep" in capsys.readouterr().err
