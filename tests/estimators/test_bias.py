"""BiasRegressor: exact biases, penalties from the data, weights, uncertainty, further ratings."""
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline

from sklrec import BiasRegressor, IDEncoder
from sklrec._solvers.least_squares import pairs
from sklrec.datasets import make_ratings

X, Y = make_ratings(60, 40, 1500, random_state=0)
X = X[["user", "item"]].astype(str)
PAIRS = [["ann", "tea"], ["ann", "rum"], ["bob", "tea"], ["bob", "gin"], ["cat", "rum"]]
STARS = [5, 2, 4, 3, 1]


def log_of_biases(n_users, n_items, n_ratings, noise=0.8, seed=0):
    """Ratings of a mean, biases and noise, with few ratings for most users."""
    rng = np.random.RandomState(seed)
    users = (n_users * rng.rand(n_ratings) ** 3).astype(int)
    items = (n_items * rng.rand(n_ratings) ** 2).astype(int)
    user, item = 0.6 * rng.randn(n_users), 0.4 * rng.randn(n_items)
    y = 3 + user[users] + item[items] + noise * rng.randn(n_ratings)
    return pd.DataFrame({"user": users, "item": items}), y


def rmse(model, X, y):
    return np.sqrt(np.mean((model.predict(X) - y) ** 2))


# --- the fit


@pytest.mark.parametrize("pairs_at_once", [1, 100])
def test_the_number_of_pairs_in_memory_at_once_changes_nothing(monkeypatch, pairs_at_once):
    log, ratings = log_of_biases(80, 50, 2000)  # with repeated pairs
    weights = np.random.RandomState(0).rand(len(ratings)) + 0.5
    models = [BiasRegressor().fit(log, ratings, sample_weight=weights)]
    monkeypatch.setattr(pairs, "PAIRS_AT_ONCE", pairs_at_once)
    models.append(BiasRegressor().fit(log, ratings, sample_weight=weights))
    a, b = (np.stack(model.predict(log, return_std=True)) for model in models)
    assert np.allclose(a, b, rtol=1e-9)


@pytest.mark.parametrize("penalties", [(1, 1), (0.1, 20), (0.01, 3)])
def test_biases_equal_a_dense_solution(penalties):
    model = BiasRegressor(*penalties).fit(X, Y)
    n_users, n_items = model.n_users_, model.n_items_
    codes = model.encoder_.transform(X).to_numpy(dtype=int) - 1
    design = np.zeros((len(X), 1 + n_users + n_items))
    rows = np.arange(len(X))
    design[:, 0] = design[rows, 1 + codes[:, 0]] = design[rows, 1 + n_users + codes[:, 1]] = 1
    ridge = np.diag([0, *n_users * [penalties[0]], *n_items * [penalties[1]]])
    wanted = np.linalg.solve(design.T @ design + ridge, design.T @ Y.to_numpy())
    found = [model.global_mean_, *model.user_biases_, *model.item_biases_]
    np.testing.assert_allclose(found, wanted, rtol=1e-7, atol=1e-8)
    assert (model.user_penalty_, model.item_penalty_) == penalties
    clipped = (design @ wanted).clip(Y.min(), Y.max())
    np.testing.assert_allclose(model.predict(X), clipped, atol=1e-8)


def test_penalties_are_near_the_best_ones():
    X, y = log_of_biases(2000, 300, 12_000)
    train, test = np.split(np.random.RandomState(1).permutation(len(y)), [10_000])
    auto = BiasRegressor().fit(X.iloc[train], y[train])
    best = min(
        rmse(BiasRegressor(a, b).fit(X.iloc[train], y[train]), X.iloc[test], y[test])
        for a in (0.5, 1, 2, 4, 8)
        for b in (1, 2, 4, 8, 16)
    )
    assert rmse(auto, X.iloc[test], y[test]) < 1.002 * best


def test_one_penalty_may_be_given():
    model = BiasRegressor(item_penalty=7).fit(X, Y)
    assert model.item_penalty_ == 7
    other = BiasRegressor(model.user_penalty_, 7).fit(X, Y)
    np.testing.assert_allclose(model.predict(X), other.predict(X), rtol=1e-10)


def test_the_order_of_rows_changes_nothing():
    # more ratings than the search for penalties looks at
    X, y = log_of_biases(9000, 700, 130_000)
    order = np.random.RandomState(0).permutation(len(y))
    model, other = BiasRegressor().fit(X, y), BiasRegressor().fit(X.iloc[order], y[order])
    assert np.isclose(other.user_penalty_, model.user_penalty_, rtol=1e-9)
    for left, right in zip(*(m.predict(X, return_std=True) for m in (other, model)), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-9)


def test_a_weight_equals_repetition_in_a_large_log():
    X, y = log_of_biases(9_000, 200, 90_000)
    weight = np.random.RandomState(0).randint(0, 4, len(y))
    rows = np.repeat(np.arange(len(y)), weight)
    weighted = BiasRegressor().fit(X, y, weight)
    repeated = BiasRegressor().fit(X.iloc[rows], y[rows])
    assert set(weighted.encoder_.categories_[0]) == set(X["user"].iloc[rows])
    for left, right in zip(
        *(m.predict(X, return_std=True) for m in (weighted, repeated)), strict=True
    ):
        np.testing.assert_allclose(left, right, rtol=1e-7)


def test_the_size_of_the_weights_matters():
    model = BiasRegressor(1, 1).fit(X, Y, np.full(len(Y), 0.01))
    np.testing.assert_allclose(model.predict(X), BiasRegressor(100, 100).fit(X, Y).predict(X))


@pytest.mark.parametrize("size", [1e200, 1e-200])
def test_extreme_weights_are_refused(size):
    with pytest.raises(ValueError, match=r"sum of the sample weights must lie .* mean of 1"):
        BiasRegressor().fit(X, Y, np.full(len(Y), size))


def test_scaled_ratings_give_scaled_results():
    model, other = BiasRegressor().fit(X, Y), BiasRegressor().fit(X, 10 * Y + 3)
    np.testing.assert_allclose(other.predict(X), 10 * model.predict(X) + 3)
    np.testing.assert_allclose(other.user_biases_, 10 * model.user_biases_, atol=1e-9)
    assert np.isclose(other.noise_variance_, 100 * model.noise_variance_)
    assert np.isclose(other.user_penalty_, model.user_penalty_)


@pytest.mark.parametrize("size", [1e-200, 1e17])
def test_ratings_of_any_size_give_scaled_results(size):
    wanted = BiasRegressor().fit(X, Y).predict(X)
    np.testing.assert_allclose(BiasRegressor().fit(X, Y * size).predict(X), wanted * size)


def test_constant_ratings_are_predicted_exactly():
    model = BiasRegressor().fit(X, np.full(len(X), 0.1))
    ratings, std = model.predict(pd.concat([X, X.assign(user="new")]), return_std=True)
    assert (ratings == 0.1).all()
    assert (std == 0).all()


@pytest.mark.parametrize(
    ("params", "text"),
    [
        (
            {"user_penalty": 0},
            r"'user_penalty' parameter .* in the range \[1e-10, 10000000000\.0\]",
        ),
        (
            {"user_penalty": -1.5},
            r"'user_penalty' parameter .* in the range \[1e-10, 10000000000\.0\]",
        ),
        ({"item_penalty": "best"}, "'item_penalty' parameter .* among {'auto'}"),
        ({"item_penalty": None}, "'item_penalty' parameter .* among {'auto'}"),
        ({"rating_scale": 5}, "'rating_scale' parameter"),
        ({"rating_scale": (2, 3)}, r"must lie inside rating_scale=\(2, 3\)"),
        ({"user": -1}, "'user' parameter"),
        ({"user": "name"}, "no column of that name"),
    ],
)
def test_bad_parameters(params, text):
    for method in ("fit", "partial_fit"):
        with pytest.raises(ValueError, match=text):
            getattr(BiasRegressor(**params), method)(X, Y)


# --- predictions


def test_unknown_users_and_items_have_bias_0():
    model = BiasRegressor().fit(X, Y)
    user, item = X.iloc[0]
    ratings = model.predict(
        pd.DataFrame({"user": [user, "new", "new"], "item": ["new", item, "new"]})
    )
    wanted = [model.user_biases_[0], model.item_biases_[0], 0]
    np.testing.assert_allclose(ratings, model.global_mean_ + np.array(wanted))


@pytest.mark.parametrize("n_ratings", [6000, 60_000])
def test_standard_deviations_are_calibrated(n_ratings):
    X, y = log_of_biases(4000, 300, n_ratings)
    train, test = np.split(np.random.RandomState(0).permutation(len(y)), [n_ratings * 4 // 5])
    model = BiasRegressor(rating_scale=None).fit(X.iloc[train], y[train])
    assert np.isclose(model.noise_variance_, 0.8**2, rtol=0.1)
    ratings, std = model.predict(X.iloc[test], return_std=True)
    errors = ((ratings - y[test]) / std) ** 2
    is_known = X["user"].isin(X["user"].iloc[train]).to_numpy()[test]
    assert 0.93 < errors[is_known].mean() < 1.07
    assert std[~is_known].min() > std[is_known].mean()
    if (~is_known).sum() > 200:
        assert 0.85 < errors[~is_known].mean() < 1.15


def test_more_ratings_make_a_prediction_more_certain():
    model = BiasRegressor(1, 1).fit([*PAIRS, ["ann", "gin"]], [*STARS, 4])
    _, std = model.predict([["ann", "tea"], ["cat", "tea"], ["new", "tea"]], return_std=True)
    assert std[0] < std[1] < std[2]
    wanted = model.noise_variance_ * (1 + 1 / (3 + 1) + 1 / (2 + 1))
    assert np.isclose(std[0] ** 2, wanted)


# --- further ratings


@pytest.mark.parametrize(
    ("size", "penalties", "is_sorted", "factor"),
    [((2000, 300), (), False, 1.01), ((300, 100), (3, 3), True, 1.05)],
)
def test_chunks_give_nearly_the_model_of_one_fit(size, penalties, is_sorted, factor):
    X, y = log_of_biases(*size, 12_000)
    order = np.random.RandomState(0).permutation(len(y))
    train, test = np.split(order, [10_000])
    if is_sorted:  # each chunk has other ratings
        train = train[np.argsort(y[train])]
    whole = BiasRegressor(*penalties).fit(X.iloc[train], y[train])
    parts = BiasRegressor(*penalties)
    for rows in np.split(train, 10):
        parts.partial_fit(X.iloc[rows], y[rows])
    assert rmse(parts, X.iloc[test], y[test]) < factor * rmse(whole, X.iloc[test], y[test])
    assert parts.n_iter_ == len(parts.loss_curve_) == 10
    assert set(parts.encoder_.categories_[0]) == set(X["user"].iloc[train])


def test_partial_fit_keeps_earlier_values_with_their_weight():
    model = BiasRegressor(2, 2).fit(PAIRS, STARS)
    learned = [getattr(model, f"{name}_") for name in ("user_penalty", "noise_variance")]
    before = model.global_mean_, model.user_biases_, model.item_biases_
    model.partial_fit([["ann", "tea"], ["dan", "ale"]], [1, 9])
    # changes of m, ann, bob, cat, dan, tea, rum, gin, ale
    further = np.zeros((2, 9))
    further[0, [0, 1, 5]] = further[1, [0, 4, 8]] = 1
    n_users, n_items = np.array([2, 2, 1, 0]), np.array([2, 2, 1, 0])
    pairs = np.outer(n_users, n_items) / 5  # earlier ratings, as if spread evenly
    earlier = np.block(
        [
            [np.array([[5]]), n_users[None], n_items[None]],
            [n_users[:, None], np.diag(n_users), pairs],
            [n_items[:, None], pairs.T, np.diag(n_items)],
        ]
    )
    prior = np.diag([0, *[2] * 8])
    errors = np.array([1 - (before[0] + before[1][0] + before[2][0]), 9 - before[0]])
    change = np.linalg.solve(further.T @ further + earlier + prior, further.T @ errors)
    found = model.global_mean_, *model.user_biases_, *model.item_biases_
    np.testing.assert_allclose(found, [before[0], *before[1], 0, *before[2], 0] + change)
    assert learned == [getattr(model, f"{name}_") for name in ("user_penalty", "noise_variance")]
    assert model.rating_scale_ == (1, 9)


def test_after_every_pair_partial_fit_equals_one_fit():
    pairs = pd.DataFrame([(u, i) for u in range(9) for i in range(6)], columns=["user", "item"])
    further = pairs[:20].assign(user=pairs["user"][:20] + 6)  # users 6 to 9
    y = 3 + np.random.RandomState(0).randn(len(pairs) + len(further))
    parts = BiasRegressor(3, 2).fit(pairs, y[: len(pairs)]).partial_fit(further, y[len(pairs) :])
    whole = BiasRegressor(3, 2).fit(pd.concat([pairs, further]), y)
    np.testing.assert_allclose(parts.predict(further), whole.predict(further), rtol=1e-9)
    assert parts.global_mean_ == pytest.approx(whole.global_mean_)


def test_a_first_call_of_partial_fit_is_a_fit():
    model = BiasRegressor().partial_fit(X, Y)
    assert np.array_equal(model.predict(X), BiasRegressor().fit(X, Y).predict(X))


# --- as a scikit-learn estimator


def test_pipelines_and_searches_work():
    pipeline = make_pipeline(IDEncoder(), BiasRegressor())
    assert cross_val_score(pipeline, X, Y, cv=3).min() > 0
    search = GridSearchCV(BiasRegressor(), {"user_penalty": ["auto", 1e6]}, cv=3).fit(X, Y)
    assert search.best_params_ == {"user_penalty": "auto"}


@pytest.mark.needs("scikit-learn>=1.9")
def test_callbacks_get_the_score_of_the_fit():
    monitor = pytest.importorskip("sklearn.callback").ScoringMonitor(scoring="r2")
    model = BiasRegressor().set_callbacks(monitor).fit(X, Y)
    scores = [row["r2"] for row in monitor.get_logs().data if row["task_name"] == "fit"]
    assert scores and scores == pytest.approx([model.score(X, Y)] * len(scores))
