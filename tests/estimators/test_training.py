"""Training of all estimators: its parameters, weights, seeds and further training."""
# SPDX-License-Identifier: BSD-3-Clause

import re

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from skorch.callbacks import Callback, EarlyStopping, LRScheduler

from sklrec import (
    BayesianMFRegressor,
    BiasRegressor,
    DenseRecRegressor,
    IDEncoder,
    MFRegressor,
    SequenceRatingRegressor,
)
from sklrec.datasets import make_ratings

X, Y = make_ratings(60, 40, 1000, step=1, random_state=0)
SMALL = {"n_factors": 4, "max_epochs": 3, "batch_size": 250, "random_state": 0}
TRAINED_BY_SKORCH = {
    "mf": MFRegressor(**SMALL),
    "svdpp": MFRegressor(svdpp=True, **SMALL),
    "dense": DenseRecRegressor(hidden_layer_sizes=(8,), dropout=0.1, **SMALL),
    "sequence": SequenceRatingRegressor(hidden_size=3, bidirectional=True, alpha=1.0, **SMALL),
}
BAYESIAN = {
    loss: BayesianMFRegressor(4, loss=loss, n_iter=8, side_features="all", random_state=0)
    for loss in ("squared_error", "ordinal")
}
NETS = TRAINED_BY_SKORCH | {"static part": SequenceRatingRegressor(hidden_size=3, **SMALL)}
BOTH = NETS | BAYESIAN
each = pytest.mark.parametrize("estimator", TRAINED_BY_SKORCH.values(), ids=TRAINED_BY_SKORCH)
each_net = pytest.mark.parametrize("estimator", NETS.values(), ids=NETS)
each_or_bayesian = pytest.mark.parametrize("estimator", BOTH.values(), ids=BOTH)


def names_of(model):
    return [name for name, _ in model.net_.callbacks_]


@pytest.mark.parametrize(
    ("model", "name"),
    [
        *(("mf", name) for name in ("Adam", "AdamW", "SGD", "RMSprop", "Adagrad", "Adafactor")),
        *((model, name) for model in ("svdpp", "dense", "sequence") for name in ("AdamW", "SGD")),
    ],
)
def test_any_optimizer_of_torch_trains(model, name):
    optimizer = getattr(torch.optim, name)
    model = fitted(TRAINED_BY_SKORCH[model], optimizer=optimizer, lr=0.01)
    assert isinstance(model.net_.optimizer_, optimizer)
    assert clone(model).optimizer is optimizer
    assert model.loss_curve_[-1] < model.loss_curve_[0]
    assert not next(model.module_.parameters()).grad.is_sparse


def fitted(estimator, X=X, y=Y, sample_weight=None, **params):
    return clone(estimator).set_params(**params).fit(X, y, sample_weight)


@each_net
def test_only_the_proportions_of_weights_matter(estimator):
    weight = np.random.RandomState(0).rand(len(Y)) + 0.5
    one, ten = (fitted(estimator, sample_weight=w * weight).predict(X) for w in (1, 10))
    assert np.allclose(one, ten, atol=1e-3)
    assert not np.allclose(one, fitted(estimator).predict(X), atol=1e-3)


@each_or_bayesian
def test_rows_of_weight_0_are_dropped(estimator):
    some = (np.arange(len(Y)) % 3 > 0) & (X["user"] != 3).to_numpy()
    rated = fitted(estimator, y=Y + 100 * ~some, sample_weight=some.astype(float))
    dropped = fitted(estimator, X[some], Y[some])
    assert np.array_equal(rated.predict(X), dropped.predict(X))
    assert 3 not in rated.encoder_.categories_[0]
    assert rated.rating_scale_ == dropped.rating_scale_
    assert rated.seen_.nnz == dropped.seen_.nnz


@each_or_bayesian
def test_rows_of_larger_weight_are_fitted_better(estimator):
    is_heavy = (X["user"] % 2 == 0).to_numpy()
    errors = []
    for heavy in (is_heavy, ~is_heavy):
        model = fitted(estimator, sample_weight=np.where(heavy, 1, 0.05))
        errors.append(np.square(Y - model.predict(X))[is_heavy].mean())
    assert errors[0] < errors[1]


@each_or_bayesian
def test_it_works_in_pipelines(estimator):
    piped = make_pipeline(IDEncoder(), clone(estimator)).fit(X[:300], Y[:300])
    expected = fitted(estimator, X[:300], Y[:300]).predict(X)
    assert np.array_equal(piped.predict(X), expected)


@each
def test_it_works_in_searches(estimator):
    scoring = "neg_root_mean_squared_error"
    options = {"cv": KFold(2, shuffle=True, random_state=0), "scoring": scoring, "refit": False}
    search = GridSearchCV(clone(estimator), {"n_factors": [1, 3]}, **options).fit(X, Y)
    assert search.cv_results_["mean_test_score"].min() > -1.1 * Y.std()


UNTRAINED = {"init_std": 1e-9, "lr": 1e-12, "rating_scale": None}
of_pairs = pytest.mark.parametrize("name", ["mf", "svdpp", "dense"])


@of_pairs
@pytest.mark.parametrize("weight", [np.ones(len(Y)), np.linspace(0.5, 1.5, len(Y))])
def test_training_starts_from_the_biases_of_bias_regressor(name, weight):
    ids = X[["user", "item"]]
    model = fitted(TRAINED_BY_SKORCH[name], ids, Y, weight, **UNTRAINED)
    biases = BiasRegressor(rating_scale=None).fit(ids, Y, weight)
    assert model.predict(ids) == pytest.approx(biases.predict(ids), abs=1e-5)
    assert model.global_mean_ == pytest.approx(biases.global_mean_, abs=1e-5)
    learned = model.penalties_
    assert learned.user_penalty == pytest.approx(biases.user_penalty_, rel=1e-3)
    assert learned.item_penalty == pytest.approx(biases.item_penalty_, rel=1e-3)
    assert learned.noise_variance == pytest.approx(biases.noise_variance_, rel=1e-3)
    error = np.average((Y - biases.predict(ids)) ** 2, weights=weight)
    assert (learned.loss, learned.n_ratings) == (pytest.approx(error), len(Y))


@of_pairs
@pytest.mark.parametrize("options", [{"alpha": 0.07}, {"alpha": 0.0}, {"biased": False}])
def test_a_number_or_a_model_without_biases_learns_no_penalty(name, options):
    ids = X[["user", "item"]]
    model = fitted(TRAINED_BY_SKORCH[name], ids, **UNTRAINED, **options)
    assert model.penalties_ is None
    for rows in (ids, ids.assign(user=-1))[1 - model.biased :]:
        assert model.predict(rows) == pytest.approx(Y.mean(), abs=1e-5)


@each_net
def test_warm_start_continues_with_new_users_and_a_new_schedule(estimator):
    model = fitted(estimator, warm_start=True, max_epochs=8)
    rate, first = model.net_.history[0, "batches", 0, "event_lr"], model.loss_curve_
    model.set_params(max_epochs=3).fit(X, Y)
    assert model.n_iter_ == 11
    assert model.net_.history[8, "batches", 0, "event_lr"] >= rate
    assert model.loss_curve_[:8] == first
    assert model.loss_curve_[8] < first[0]
    model.fit(X.assign(user=X["user"] + 10), Y)
    assert model.n_users_ > X["user"].nunique()


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
def test_further_training_keeps_the_architecture(name, change):
    model = fitted(TRAINED_BY_SKORCH[name], warm_start=True, max_epochs=1).set_params(**change)
    ((parameter, value),) = change.items()
    text = f"{parameter}={value!r} was asked for, but the training continues a model of "
    for further in (model.fit, model.partial_fit):
        with pytest.raises(ValueError, match=re.escape(text)):
            further(X, Y)
    model.set_params(warm_start=False).fit(X, Y)


@pytest.mark.parametrize("name", ["mf", "dense", "sequence"])
def test_further_training_keeps_the_columns(name):
    model = fitted(TRAINED_BY_SKORCH[name], warm_start=True, max_epochs=1)
    with pytest.raises(ValueError, match="are other columns than those of the model"):
        model.set_params(user=1, item=0).fit(X, Y)


@each_net
def test_early_stopping_restores_the_best_epoch(estimator):
    model = clone(estimator).set_params(max_epochs=60, lr=0.1, alpha=0.0, rating_scale=None)
    model.fit(X[:700], Y[:700], X_val=X[700:], y_val=Y[700:])
    best = min(model.validation_curve_)
    assert model.validation_curve_[-1] > best
    assert model.n_iter_ < 60
    assert np.square(Y[700:] - model.predict(X[700:])).mean() == pytest.approx(best, rel=1e-4)


def with_rare(X, y, n=300):
    """Add users and items with one rating each."""
    rng = np.random.RandomState(0)
    known = X[["user", "item"]].iloc[rng.randint(len(X), size=2 * n)].to_numpy()
    new = np.arange(n) + 10_000
    rare = {"user": np.append(new, known[n:, 0]), "item": np.append(known[:n, 1], new)}
    rare = pd.DataFrame(rare).assign(timestamp=X["timestamp"].max() + 1)
    return pd.concat([X, rare], ignore_index=True), np.append(y, rng.randint(1, 6, 2 * n))


def never_trained(model, side):
    """Users or items of `with_rare` whose rows are that of unknown ones."""
    ids = model.encoder_.categories_[("user", "item").index(side)]
    tables = model.module_.state_dict()
    table = tables.get("users.item_rows", tables.get(f"{side}_factors.weight"))
    return ids[(ids >= 10_000) & (table[1:] == table[0]).all(1).numpy()]


HELD_OUT = NETS | {
    "unbiased": MFRegressor(biased=False, **SMALL),
    "adam": MFRegressor(optimizer=torch.optim.Adam, **SMALL),
}


@pytest.mark.parametrize("estimator", HELD_OUT.values(), ids=HELD_OUT)
@pytest.mark.parametrize("warm_start", [False, True])
def test_rows_that_were_held_out_whole_are_predicted_as_unknown_ones(estimator, warm_start):
    model = clone(estimator).set_params(early_stopping=0.3, warm_start=warm_start)
    if warm_start:
        model.fit(X, Y)
    model.fit(*with_rare(X, Y))
    assert (model.seen_[1:].sum(axis=1) > 0).all()
    has_users = hasattr(model.module_, "user_factors")
    for side, other in (("user", "item"), ("item", "user"))[1 - has_users :]:
        rare = never_trained(model, side)
        assert 50 < len(rare) < 150
        asked = {side: rare, other: X[other][: len(rare)], "timestamp": 2e9}
        asked = pd.DataFrame(asked)[["user", "item", "timestamp"]]
        assert model.predict(asked) == pytest.approx(model.predict(asked.assign(**{side: -1})))
    if has_users:
        unknown, *lists = (
            model.recommend([user], 5, exclude_seen=False)["item"].tolist()
            for user in (-1, *never_trained(model, "user")[:5].tolist())
        )
        assert lists == [unknown] * 5


def test_values_that_were_held_out_whole_are_predicted_as_unknown_ones():
    rows = np.arange(len(X))
    X_side = X[["user", "item"]].assign(
        one=np.where(rows % 3, rows.astype(str), "usual"), many=[["usual", f"{k}"] for k in rows]
    )
    model = clone(TRAINED_BY_SKORCH["dense"]).set_params(early_stopping=0.3, init_std=0.5)
    rated = model.fit(X_side, Y).predict(X_side)
    is_absent = (model.module_.value_factors.weight[1:] == 0).all(1)
    assert 300 < is_absent.sum() < 700
    alone = X_side[rows % 3 == 0].assign(many=[[f"{k}"] for k in rows[rows % 3 == 0]])
    no_value = model.predict(alone.assign(many=[[]] * len(alone)))
    assert 50 < np.isclose(model.predict(alone), no_value, rtol=1e-7).sum() < 200
    assert rated.std() > 0


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
    options = {"early_stopping": early_stopping, "callbacks": [counts], "max_epochs": 1}
    model = fitted(estimator, **options)
    assert (counts.n_train, counts.n_valid) == (1000 - n_valid, n_valid)
    assert hasattr(model, "validation_curve_") is (n_valid > 0)
    assert ("early_stopping" in names_of(model)) is (n_valid > 0)
    model.fit(X, Y, X_val=X[:300], y_val=Y[:300])
    assert (counts.n_train, counts.n_valid) == (1000, 300)
    assert ("early_stopping" in names_of(model)) is bool(early_stopping)


STREAMED = {
    "sgd": MFRegressor(8, random_state=0),
    "adam": MFRegressor(8, optimizer=torch.optim.Adam, random_state=0),
    "dense": DenseRecRegressor(8, random_state=0),
    "sequence": SequenceRatingRegressor(8, random_state=0),
    "lstm": SequenceRatingRegressor(8, alpha=10.0, random_state=0),
}
each_stream = pytest.mark.parametrize("estimator", STREAMED.values(), ids=STREAMED)


@pytest.fixture(scope="module")
def stream():
    X, y = make_ratings(150, 80, 4000, step=1, random_state=1)
    return X, y.to_numpy(), np.arange(3000), np.arange(3000, 4000)


def error_of(model, X, y):
    return np.sqrt(np.mean((model.predict(X) - y) ** 2))


@each_stream
@pytest.mark.parametrize(("first", "offset"), [((5, 4), 1e6), ((1, 1), 0)])
def test_a_first_chunk_of_other_ratings_does_no_harm(estimator, stream, first, offset):
    X, y, train, test = stream
    y = y + offset
    n = (30, 1)
    rows = [np.flatnonzero(y[train] == first[k] + offset)[: n[k]] for k in (0, 1)]
    rows = np.concatenate(rows)
    model = clone(estimator).partial_fit(X.iloc[rows], y[rows])
    for _ in range(2):
        for part in np.split(train, 4):
            model.partial_fit(X.iloc[part], y[part])
    assert error_of(model, X.iloc[test], y[test]) < 0.97 * y[test].std()
    assert model.rating_statistics_.mean == pytest.approx(y[train].mean(), abs=0.02)


@pytest.mark.parametrize("name", ["sgd", "adam", "dense"])
@pytest.mark.parametrize("sign", [1, -1])
def test_chunks_in_the_order_of_their_ratings_teach_all_ratings(name, sign, stream):
    X, y, train, test = stream
    model = clone(STREAMED[name])
    for _ in range(3):
        for part in np.split(train[np.argsort(sign * y[train], kind="stable")], 8):
            model.partial_fit(X.iloc[part], y[part])
    assert error_of(model, X.iloc[test], y[test]) < 0.95 * y[test].std()


@each_stream
def test_further_ratings_of_another_scale_do_not_change_predictions_of_others(estimator, stream):
    X, y, *_ = stream
    old = (X["user"] < 100).to_numpy()
    model = clone(estimator).set_params(rating_scale=None).fit(X[old], y[old])
    before = model.predict(X[old])
    new = np.flatnonzero(~old)[:20]
    model.partial_fit(X.iloc[new], y[old].mean() + 27 * (-1.0) ** np.arange(20))
    if not hasattr(model.module_, "users"):  # a static part keeps its scale until it is refitted
        assert model.module_.scale > 1.5 * y[old].std()
    assert np.abs(model.predict(X[old]) - before).mean() < 0.2


@each_stream
def test_statistics_are_those_of_all_weighted_ratings(estimator, stream):
    X, y, train, _ = stream
    weight = np.random.RandomState(0).randint(0, 4, len(y))
    model, scaled = clone(estimator), []
    for part in np.split(train, 4):
        model.partial_fit(X.iloc[part], y[part] + 1e6, weight[part])
        scaled.append(weight[part] / weight[part][weight[part] > 0].mean())
    n, mean, variance = model.rating_statistics_
    assert n == pytest.approx(np.count_nonzero(weight[train]))
    assert mean - 1e6 == pytest.approx(np.average(y[train], weights=np.concatenate(scaled)))
    squares = (y[train] - (mean - 1e6)) ** 2
    assert variance == pytest.approx(np.average(squares, weights=np.concatenate(scaled)), rel=1e-5)
    assert model.module_.scale.item() == pytest.approx(variance**0.5)


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
