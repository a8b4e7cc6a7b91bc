"""DenseRecRegressor: formula, side features, further training and recommendations."""
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import root_mean_squared_error
from sklearn.model_selection import KFold
from skorch.callbacks import Callback, LRScheduler

from sklrec import BiasRegressor, DenseRecRegressor, MFRegressor
from sklrec.datasets import make_ratings

X, Y = make_ratings(60, 40, 1000, random_state=0)
IDS = X[["user", "item"]]
GENRES = [["drama", "war"], ("comedy",), None, {"war"}]


def with_side(X):
    """Add side features of every kind, with missing values."""
    rng = np.random.default_rng(0)
    age = np.where(X["user"] % 7 == 0, np.nan, 20.0 + X["user"] % 50)
    return X.assign(
        age=age,
        device=pd.Categorical(rng.choice(["phone", "tv"], len(X))).astype(str),
        day=pd.to_datetime(X["timestamp"], unit="s"),
        genres=[GENRES[item % 4] for item in X["item"]],
        shelf=[[item % 3, item % 5] for item in X["item"]],
    )


SIDE = with_side(X)


def dense(**options):
    defaults = {
        "n_factors": 4,
        "hidden_layer_sizes": (8,),
        "max_epochs": 5,
        "batch_size": 200,
        "rating_scale": None,
        "random_state": 0,
    }
    return DenseRecRegressor(**{**defaults, **options})


# --- the model


def test_attributes_give_the_predictions_where_the_net_is_linear():
    model = dense(hidden_layer_sizes=(), init_std=0.3).fit(IDS, Y)
    users, items = model.encoder_.categories_
    p = model.user_factors_[pd.Index(users).get_indexer(IDS["user"])]
    q = model.item_factors_[pd.Index(items).get_indexer(IDS["item"])]
    scale = model.module_.scale.item()
    weight = model.module_.layers[0].weight.detach().numpy()[0] * scale**0.5
    expected = model.global_mean_ + scale * model.module_.layers[0].bias.item()
    expected = expected + (p * q).sum(1) + np.hstack([p, q]) @ weight
    expected += model.user_biases_[pd.Index(users).get_indexer(IDS["user"])]
    expected += model.item_biases_[pd.Index(items).get_indexer(IDS["item"])]
    assert model.predict(IDS) == pytest.approx(expected, rel=1e-4)


# --- learned penalties


class Penalties(Callback):
    """Keep the penalties of the last epoch."""

    def on_epoch_end(self, net, **kwargs):
        self.last = net.alpha


def penalties_of(model):
    return model.callbacks[0].last


@pytest.mark.parametrize("weight", [None, np.random.default_rng(0).uniform(0.5, 1.5, len(Y))])
def test_penalties_depend_on_the_number_of_ratings(weight):
    model = dense(max_epochs=1, callbacks=[Penalties()]).fit(SIDE, Y, weight)
    found, learned, scale = penalties_of(model), model.penalties_, model.module_.scale.item()
    v = learned.noise_variance / scale**2
    w = pd.Series(np.ones(len(Y)) if weight is None else weight / weight.mean())
    for k, (side, c) in enumerate(
        [("user", learned.user_penalty), ("item", learned.item_penalty)]
    ):
        n = w.groupby(SIDE[side].to_numpy()).sum()[model.encoder_.categories_[k]].to_numpy()
        assert found[f"{side}_biases"][1:].numpy() == pytest.approx(c / n, rel=1e-4)
        wanted = v * (0.07 + 7 / n)
        assert found[f"{side}_factors"][1:].numpy() == pytest.approx(wanted, rel=1e-4)
    assert found["bin_factors"].item() == pytest.approx(v * (0.07 + 7 * 16 / len(Y)), rel=1e-4)
    n = [w[SIDE["device"].to_numpy() == value].sum() for value in ("phone", "tv")]
    start = model.side_features_.categorical[0].codes[1]
    of_values = found["value_factors"][start : start + 2].tolist()
    assert sorted(of_values) == pytest.approx(sorted(v * (0.07 + 7 / np.array(n))), rel=1e-4)


def test_penalties_of_further_training_follow_the_number_of_all_ratings():
    one = SIDE[SIDE["item"] % 4 == 0][:1]  # two genres, one or two shelves
    whole = dense(max_epochs=1, callbacks=[Penalties()], warm_start=True).fit(SIDE, Y)
    n_values = whole.value_counts_.copy()
    first = penalties_of(whole)
    whole.partial_fit(one, Y[one.index])  # a pair that was rated before
    for name, wanted in first.items():
        np.testing.assert_allclose(penalties_of(whole)[name], wanted, rtol=5e-3)
    assert whole.penalties_.n_ratings == len(Y)
    assert (whole.value_counts_ - n_values)[1:].sum() == 1 + 2 + 2
    whole.fit(SIDE, Y)
    for name in ("user_biases", "item_biases"):
        np.testing.assert_allclose(penalties_of(whole)[name], first[name], rtol=1e-6)


@pytest.mark.parametrize("per_user", [2, 10])
def test_it_is_as_accurate_as_biases_where_there_is_little_to_learn(per_user):
    rng = np.random.default_rng(0)
    n = 6000
    X = pd.DataFrame({"user": np.arange(n) // per_user, "item": rng.integers(0, 300, n)})
    y = 3 + 0.2 * rng.normal(size=n)[X["user"]] + 0.3 * rng.normal(size=300)[X["item"]]
    y += rng.normal(size=n)
    is_test = rng.random(n) < 0.1
    models = (
        BiasRegressor(),
        DenseRecRegressor(random_state=0),
        DenseRecRegressor(alpha=0.1, random_state=0),
    )
    errors = [
        root_mean_squared_error(
            y[is_test], model.fit(X[~is_test], y[~is_test]).predict(X[is_test])
        )
        for model in models
    ]
    assert errors[1] < 1.003 * errors[0] < errors[2], errors


def test_the_plain_net_has_only_embeddings_and_layers():
    model = dense(products=False, biased=False, hidden_layer_sizes=(8,)).fit(IDS, Y)
    names = {name for name, _ in model.module_.named_parameters()}
    layers = {f"layers.{k}.{part}" for k in (0, 2) for part in ("weight", "bias")}
    assert names == {"user_factors.weight", "item_factors.weight", *layers}
    assert not hasattr(model, "user_biases_")
    assert model.loss_curve_[-1] < model.loss_curve_[0]


@pytest.mark.parametrize(("products", "of_layers"), [(True, 0.025), (False, 0.5)])
def test_layers_learn_more_slowly_than_embeddings_beside_products(products, of_layers):
    constant = LRScheduler("StepLR", step_size=100)
    model = dense(lr=0.5, callbacks=[constant], max_epochs=1, products=products).fit(IDS, Y)
    rates = {
        id(p): group["lr"] for group in model.net_.optimizer_.param_groups for p in group["params"]
    }
    rates = {name: rates[id(p)] for name, p in model.module_.named_parameters()}
    assert {rates[name] for name in rates if name.startswith("layers")} == {of_layers}
    assert {rates[name] for name in rates if not name.startswith("layers")} == {0.5}


def test_a_larger_penalty_gives_smaller_embeddings():
    options = {"init_std": 0.3, "lr": 0.05, "max_epochs": 20}
    weak, strong = (dense(alpha=alpha, **options).fit(SIDE, Y) for alpha in (0.0, 2.0))
    for name in ("user_factors.weight", "item_biases", "value_factors.weight", "bin_factors"):
        tables = [model.module_.get_parameter(name).square().sum() for model in (weak, strong)]
        assert tables[1] < tables[0]


def test_dropout_changes_the_training_and_may_change_later():
    model = dense(dropout=0.5, warm_start=True).fit(SIDE, Y)
    assert not np.array_equal(model.predict(SIDE), dense().fit(SIDE, Y).predict(SIDE))
    assert model.set_params(dropout=0.1).fit(SIDE, Y).module_.dropout.p == 0.1


# --- side features


def test_side_features_help_where_they_matter():
    rng = np.random.default_rng(0)
    n = 3000
    side = pd.DataFrame(
        {
            "user": rng.integers(0, 50, n),
            "item": rng.integers(0, 40, n),
            "hour": rng.uniform(0, 24, n),
            "mood": rng.choice(["good", "bad"], n),
            "topics": pd.Series(rng.choice(["a|b", "a", "b|c", "c"], n)).str.split("|"),
        }
    )
    y = (
        3
        + (side["mood"] == "good")
        + np.abs(side["hour"] - 12) / 6
        + side["topics"].map(lambda topics: "a" in topics)
        + rng.normal(0, 0.1, n)
    )
    train, test = side[:2000], side[2000:]
    model = dense(max_epochs=15, lr=0.03).fit(train, y[:2000])
    own = root_mean_squared_error(y[2000:], model.predict(test))
    assert own < 0.45
    for column in ("hour", "mood", "topics"):
        shuffled = test[column].sample(frac=1, random_state=0).to_numpy()
        worse = model.predict(test.assign(**{column: shuffled}))
        assert root_mean_squared_error(y[2000:], worse) > 1.25 * own


def test_a_missing_number_has_its_own_embedding():
    rng = np.random.default_rng(0)
    X = IDS.assign(x=np.where(rng.random(len(Y)) < 0.5, np.nan, rng.random(len(Y))))
    y = 3 + X["x"].isna()
    model = dense(max_epochs=20, lr=0.05).fit(X, y)
    assert root_mean_squared_error(y, model.predict(X)) < 0.2


# --- each prediction depends only on its row


# --- with scikit-learn


def test_partial_fit_learns_new_users_items_and_values():
    first, second = SIDE[:600], SIDE[600:].assign(device="watch")
    second["genres"] = [["opera", "war"]] * len(second)
    second = second.assign(user=second["user"] + 30, item=second["item"] + 20)
    model = dense().partial_fit(first, Y[:600])
    edges = [column.edges for column in model.side_features_.numeric]
    n_values = model.module_.n_values
    for _ in range(3):
        model.partial_fit(second, Y[600:])
    assert model.n_iter_ == 4
    assert model.module_.n_values == n_values + 2  # watch, opera
    assert model.module_.n_users == pd.concat([first, second])["user"].nunique()
    assert all(a is b.edges for a, b in zip(edges, model.side_features_.numeric, strict=True))
    assert model.module_.value_factors.weight[-2:].abs().min() > 0
    assert np.isfinite(model.predict(pd.concat([first, second]))).all()


@pytest.mark.parametrize("sizes", [(0,), (2.5,), (8, -1), ("a",)])
def test_hidden_layer_sizes_are_positive_integers(sizes):
    with pytest.raises(ValueError, match=r"hidden_layer_sizes must hold integers of at least 1"):
        dense(hidden_layer_sizes=sizes).fit(SIDE, Y)


def test_partial_fit_updates_the_side_features_of_recommendations():
    model = dense().fit(SIDE, Y)
    user = SIDE["user"].iloc[0]
    new = SIDE[SIDE["user"] == user].assign(user=-5)
    new["genres"] = [["war", "opera", "western"]] * len(new)
    model.partial_fit(new, Y[new.index])
    code = len(model.encoder_.categories_[0])
    for table in (
        model.known_features_.tables["user"],
        model.known_features_.rows("user", [code]),
    ):
        assert all(len(rows) for rows in table.values())
    assert len(model.recommend([-5, user], n_items=2)) == 4


@pytest.mark.movielens
def test_accuracy_on_movielens(movielens):
    """On half of MovieLens 100K it is not worse than matrix factorisation."""
    X, y = (values[::2] for values in movielens)
    X, y = X[["user", "item"]], y.to_numpy()
    train, test = next(KFold(4, shuffle=True, random_state=0).split(X))
    errors = [
        root_mean_squared_error(y[test], model.fit(X.iloc[train], y[train]).predict(X.iloc[test]))
        for model in (DenseRecRegressor(random_state=0), MFRegressor(random_state=0))
    ]
    assert errors[0] < errors[1] + 0.01


def test_further_ratings_do_not_make_it_less_accurate():
    X, y = make_ratings(300, 200, 20_000, random_state=0)
    train, test = slice(18_000), slice(18_000, None)
    model = DenseRecRegressor(random_state=0).fit(X[train], y[train])

    def error():
        return np.sqrt(np.mean((model.predict(X[test]) - y[test]) ** 2))

    before = error()
    for _ in range(30):
        model.partial_fit(X[:1], y[:1])
    for first in range(0, 2_000, 100):
        model.partial_fit(X[first : first + 100], y[first : first + 100])
    assert error() < before + 0.02
