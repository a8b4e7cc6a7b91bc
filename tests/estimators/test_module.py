"""ModuleRecRegressor: networks of users from fit to recommend, files, searches and messages."""
# SPDX-License-Identifier: BSD-3-Clause

import copy
import functools
import pickle

import cloudpickle
import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from networks import Described, Factors, FactorsWithVectors, Layers, Remembering
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from skorch.callbacks import Callback, LRScheduler
from torch import nn
from torch.nn import functional as F

import sklrec
from sklrec import IDEncoder, ModelCheckpoint, ModuleRecRegressor
from sklrec.datasets import ChunkedRatings, make_ratings
from sklrec.modules import DenseNet, MatrixFactorization

X, Y = make_ratings(40, 30, 600, random_state=0)
IDS = X[["user", "item"]]
SIDE = IDS.assign(
    age=np.where(X["user"] % 7 == 0, np.nan, X["user"] % 5 / 5),
    job=np.array(["nurse", "pilot", "cook"])[X["user"] % 3],
    genres=[[["drama", "war"], ["comedy"], []][item % 3] for item in X["item"]],
)
NEW = IDS[:4].assign(user=["x", "y", "x", "y"], item=[901, 901, 902, 1])


def own(module, **params):
    defaults = {"max_epochs": 4, "batch_size": 200, "random_state": 0, "output": "residual"}
    return ModuleRecRegressor(module, **defaults | params)


@functools.cache
def fitted(module):
    """A fitted regressor that no test may change."""
    table = {Described: SIDE, Remembering: X}.get(module, IDS)
    return own(module).fit(table, Y)


def error_of(model, X=IDS, y=Y):
    return np.sqrt(np.mean((model.predict(X) - y) ** 2))


# --- from fit to recommend


def test_a_short_network_does_what_the_other_models_do(tmp_path):
    class MyNetwork(nn.Module):
        def __init__(self, n_users, n_items, n_factors=8):
            super().__init__()
            self.users = nn.Embedding(n_users + 1, n_factors)
            self.items = nn.Embedding(n_items + 1, n_factors)
            self.layer = nn.Linear(n_factors, 1)

        def forward(self, users, items):
            return self.layer(self.users(users) * self.items(items))

    model = ModuleRecRegressor(MyNetwork, module__n_factors=4, random_state=0)
    model.fit(IDS, Y)
    assert error_of(model) < 0.9 * Y.std()
    lists = model.recommend([1, 2], n_items=3)
    assert lists.columns.to_list() == ["user", "item", "rank", "score"]
    assert lists["user"].to_list() == [1, 1, 1, 2, 2, 2]
    rated = set(IDS.itertuples(index=False, name=None))
    assert not rated & set(lists[["user", "item"]].itertuples(index=False, name=None))
    assert np.allclose(model.predict(lists[["user", "item"]]), lists["score"], atol=1e-5)
    for side in ("item", "user"):
        similar = getattr(model, f"similar_{side}s")([3], 2)
        vectors = model.module_.get_parameter(f"network.{side}s.weight").detach()
        codes = model.encoder_.vocabularies_[side == "item"].codes
        first, second = (vectors[codes(np.array([n]))] for n in (3, similar.iloc[0, 1]))
        assert similar["score"][0] == pytest.approx(F.cosine_similarity(first, second).item())
    sklrec.save(model, tmp_path / "model")
    name = MyNetwork.__qualname__
    loaded = sklrec.load(tmp_path / "model", custom_objects={name: MyNetwork})
    for other in (loaded, cloudpickle.loads(cloudpickle.dumps(model)), copy.deepcopy(model)):
        assert np.array_equal(other.predict(IDS), model.predict(IDS))
        assert other.recommend([1]).equals(model.recommend([1]))


def test_pickles_clones_and_parameters(tmp_path):
    model = own(Factors, module__n_factors=3)
    assert "module=<class 'networks.Factors'>, module__n_factors=3," in repr(model)
    params = model.get_params()
    assert params["module"] is Factors and params["module__n_factors"] == 3
    assert clone(model).get_params() == params
    model.set_params(module__n_factors=5, max_epochs=2).fit(IDS, Y)
    assert model.module_.network.items.embedding_dim == 5
    assert clone(model).get_params() == model.get_params()
    joblib.dump(model, tmp_path / "model")
    for other in (joblib.load(tmp_path / "model"), pickle.loads(pickle.dumps(model))):
        assert np.array_equal(other.predict(IDS), model.predict(IDS))


def test_searches_and_pipelines():
    search = GridSearchCV(own(Factors), {"module__n_factors": [2, 4]}, cv=2, n_jobs=2)
    search.fit(IDS, Y)
    assert search.best_estimator_.module_.width == search.best_params_["module__n_factors"]
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    pipe = make_pipeline(IDEncoder(), own(Factors)).fit(IDS, Y)
    assert np.allclose(pipe.predict(IDS), fitted(Factors).predict(IDS), atol=1e-6)


def test_weights_count():
    is_high = np.asarray(Y > Y.median())
    model = own(Factors, max_epochs=20)
    plain = model.fit(IDS, Y).predict(IDS).mean()
    weighted = model.fit(IDS, Y, np.where(is_high, 5.0, 1.0)).predict(IDS).mean()
    without_low = model.fit(IDS, Y, is_high.astype(float)).predict(IDS).mean()
    assert plain < weighted < without_low


@pytest.mark.parametrize("weights", [False, True])
def test_chunks_are_fitted_with_a_number_of_epochs_that_was_chosen(weights):
    weight = np.where(np.arange(len(Y)) % 2, 1.0, 3.0) if weights else np.ones(len(Y))
    parts = [(IDS[k::4], Y[k::4], *[weight[k::4]] * weights) for k in range(4)]
    options = {"max_epochs": "auto", "batch_size": 100}
    chunks, whole = own(Factors, **options), own(Factors, **options).fit(IDS, Y, weight)
    chunks.fit(ChunkedRatings(parts))
    assert 1 <= chunks.n_iter_ <= 20
    assert error_of(chunks) == pytest.approx(error_of(whole), rel=0.1)
    assert error_of(chunks) < 0.9 * Y.std()


class Watch(Callback):
    """Record the learning rate of each epoch."""

    def on_train_begin(self, net, **kwargs):
        self.rates = []

    def on_epoch_begin(self, net, **kwargs):
        self.rates.append(net.optimizer_.param_groups[0]["lr"])


def test_early_stopping_schedules_and_callbacks():
    watch = Watch()
    model = own(Layers, max_epochs=60, lr=0.1, callbacks=[watch])
    model.fit(IDS[:400], Y[:400], X_val=IDS[400:], y_val=Y[400:])
    assert len(watch.rates) == model.n_iter_ < 60
    assert watch.rates == sorted(watch.rates, reverse=True)
    best = min(model.validation_curve_)
    assert np.mean((model.predict(IDS[400:]) - Y[400:]) ** 2) == pytest.approx(best, rel=1e-5)
    steps = LRScheduler("StepLR", step_size=1, gamma=0.5)
    own(Layers, lr=0.08, max_epochs=3, callbacks=[watch, steps]).fit(IDS, Y)
    assert watch.rates == pytest.approx([0.08, 0.04, 0.02])


def test_a_checkpoint_saves_the_network_of_each_epoch(tmp_path):
    path = tmp_path / "model"
    checkpoint = ModelCheckpoint(path, every_n_epochs=4)
    model = own(Factors, callbacks=[checkpoint]).fit(IDS, Y)
    assert np.array_equal(model.predict(IDS), fitted(Factors).predict(IDS))
    saved = sklrec.load(path, custom_objects={"Factors": Factors})
    assert saved.n_iter_ == 4
    assert np.array_equal(saved.predict(IDS), model.predict(IDS))
    continued = saved.set_params(warm_start=True).fit(IDS, Y)
    assert continued.n_iter_ == 8 and error_of(continued) < error_of(model)


@pytest.mark.parametrize("module", [Factors, Layers, Described, Remembering])
def test_further_ratings_bring_new_users_and_items(module):
    table = {Described: SIDE, Remembering: X}.get(module, IDS)
    start = own(module).fit(table[:500], Y[:500])
    more = pd.concat([table[500:], table[500:520].assign(user=70 + X["user"], item=801)])
    y = np.append(Y[500:], np.full(20, 5.0))
    for model in (
        copy.deepcopy(start).partial_fit(more, y),
        copy.deepcopy(start).set_params(warm_start=True).fit(more, y),
    ):
        assert model.n_items_ == start.n_items_ + 1 and model.n_users_ > start.n_users_
        new = table[500:520].assign(user=999, item=801)
        if module is not Remembering:  # the weights of the history move too
            assert model.predict(new).mean() > model.predict(new.assign(item=-1)).mean()
        assert np.abs(model.predict(table[:500]) - start.predict(table[:500])).mean() < 0.3


@pytest.mark.parametrize("optimizer", [None, torch.optim.SparseAdam])
def test_sparse_tables_of_the_post_learn_as_dense_ones(optimizer):
    class Post(nn.Module):
        def __init__(self, n_users, n_items, n_factors=20, sparse=True):
            super().__init__()
            self.user_factors = nn.Embedding(n_users + 1, n_factors, sparse=sparse)
            self.item_factors = nn.Embedding(n_items + 1, n_factors, sparse=sparse)

        def forward(self, users, items):
            return (self.user_factors(users) * self.item_factors(items)).sum(1)

    params = {"optimizer": optimizer, "max_epochs": 20, "init_std": 0.3}
    model = own(Post, **params).fit(IDS, Y)
    dense = {torch.optim.SparseAdam: torch.optim.Adam}.get(optimizer, optimizer)
    other = own(Post, module__sparse=False, **params | {"optimizer": dense}).fit(IDS, Y)
    assert error_of(model) < 0.95 * Y.std()
    assert error_of(model) == pytest.approx(error_of(other), rel=0.05)


def test_an_optimizer_that_takes_no_sparse_gradients_gets_dense_ones():
    sparse = own(Factors, module__sparse=True, optimizer=torch.optim.AdamW).fit(IDS, Y)
    dense = own(Factors, optimizer=torch.optim.AdamW).fit(IDS, Y)
    assert np.array_equal(sparse.predict(IDS), dense.predict(IDS))


def test_vectors_change_only_the_speed_of_recommendations():
    slow, fast = fitted(Factors), fitted(FactorsWithVectors)
    options = {"n_items": 5, "exclude_seen": False}
    wanted, found = (m.recommend([1, 2, -1], **options) for m in (slow, fast))
    assert wanted[["user", "item", "rank"]].equals(found[["user", "item", "rank"]])
    assert np.allclose(wanted["score"], found["score"], atol=1e-5)


def test_unknown_ids_get_row_0():
    model = fitted(Factors)
    network, scale = model.module_.network, model.module_.scale.item()
    codes = torch.tensor([0]), torch.tensor([model.encoder_.vocabularies_[1].codes([5])[0]])
    bias = model.module_.item_biases[codes[1]].item()  # that of unknown users is 0
    wanted = model.global_mean_ + scale * (network(*codes).item() + bias)
    found = model.predict(pd.DataFrame({"user": [-1], "item": [5]}))
    assert found[0] == pytest.approx(wanted, rel=1e-6)
    # Some codes of each batch are 0, so that row 0 is near the mean of all users.
    assert network.user_offsets.weight[0].abs().item() > 0


def test_ids_without_training_ratings_are_as_unknown_ones():
    few = IDS.assign(user=np.where(IDS.index < 90, 1000 + IDS.index, IDS["user"]))
    model = own(Factors, early_stopping=0.3).fit(few, Y)
    trained = model.predict(few[:90].assign(item=1))
    unknown = model.predict(few[:1].assign(user=-1, item=1))
    assert 10 < (np.abs(trained - unknown) < 1e-9).sum() < 45  # about three tenths are held out
    model.partial_fit(few[:90], Y[:90])
    assert (np.abs(model.predict(few[:90].assign(item=1)) - unknown) < 1e-9).sum() == 0


# --- what networks read


def test_side_features_and_histories_are_read():
    described = own(Described, max_epochs=20).fit(SIDE, Y + SIDE["genres"].str.len())
    rows = SIDE[:20].assign(user=-1, item=-1)
    many = described.predict(rows.assign(genres=[["drama", "war"]] * 20))
    none = described.predict(rows.assign(genres=[[]] * 20))
    assert not np.allclose(many, none)


def test_histories_are_the_interactions_before_each_row():
    seen = {}

    class Keep(Remembering):
        def forward(self, users, items, histories):
            if torch.is_inference_mode_enabled():
                seen.update(histories._asdict())
            return super().forward(users, items, histories)

    times = pd.DataFrame({"user": 1, "item": [5, 6, 7, 8], "timestamp": [10, 20, 30, 40]})
    others = times.assign(user=2)
    rows, y = pd.concat([times, others]), np.array([1.0, 2, 3, 5, 1, 2, 3, 5])
    model = own(Keep, max_len=3).fit(rows, y)
    model.predict([[1, 8, 40]])
    z = (np.array([1, 2, 3]) - model.global_mean_) / model.module_.scale.item()
    assert seen["items"].tolist() == [[1, 2, 3]] and seen["lengths"].tolist() == [3]
    assert seen["ratings"][0].numpy() == pytest.approx(z, abs=1e-6)
    assert seen["gaps"].shape == (1, 3) and seen["gaps"][0, 1] > 0
    model.predict([[1, 8, 20]])
    assert seen["items"].tolist() == [[0, 0, 1]] and seen["lengths"].tolist() == [1]
    model.predict([["new", 8, 99]], history=(times[1:2].assign(user="new"), [5.0]))
    assert seen["items"].tolist() == [[0, 0, 2]]
    with pytest.raises(ValueError, match=r"reads no histories, got one. Set history=None"):
        fitted(Factors).predict(IDS, history=(X, Y))


@pytest.mark.parametrize("names", [("numeric",), ("categorical", "multi_valued")])
def test_forward_may_name_single_kinds_of_features(names):
    class Direct(Factors):
        def __init__(self, n_users, n_items, n_values, n_numeric):
            super().__init__(n_users, n_items)
            self.values = nn.Embedding(n_values + 1, 1)
            self.numbers = nn.Linear(n_numeric, 1)

    class Numeric(Direct):
        def forward(self, users, items, numeric):
            return super().forward(users, items) + self.numbers(numeric.nan_to_num()).squeeze(1)

    class Coded(Direct):
        def forward(self, users, items, categorical, multi_valued):
            codes = torch.cat([categorical, multi_valued.flatten(1)], 1)
            effects = self.values(codes).squeeze(2) * (codes > 0)
            return super().forward(users, items) + effects.sum(1)

    direct = Numeric if names == ("numeric",) else Coded

    class Dictionary(direct):
        def forward(self, users, items, features):
            given = {name: features[name] for name in names}
            if "numeric" in given:  # positions from -8 to 8 in place of -1 to 1
                given["numeric"] = 8 * given["numeric"]
            return super().forward(users, items, **given)

    one, other = own(direct).fit(SIDE, Y), own(Dictionary).fit(SIDE, Y)
    assert np.array_equal(one.predict(SIDE), other.predict(SIDE))


def test_the_output_may_be_the_rating():
    class Sigmoid(Layers):
        def forward(self, users, items):
            return torch.sigmoid(super().forward(users, items))

    y = (Y - 1) / 4
    model = own(Sigmoid, output="rating", max_epochs=30).fit(IDS, y)
    assert model.module_.scale == 1 and model.global_mean_ == 0
    codes = (torch.from_numpy(v) for v in model.encoder_.transform(IDS).to_numpy().T.copy())
    assert np.allclose(model.predict(IDS), model.module_.network(*codes).detach().numpy()[:, 0])
    assert error_of(model, y=y) < 0.95 * y.std()


@pytest.mark.parametrize("module", [MatrixFactorization, DenseNet])
def test_networks_of_the_package_are_modules_too(module):
    model = own(module, module__n_factors=4).fit(IDS, Y)
    assert error_of(model) < Y.std()
    assert len(model.recommend([1], n_items=3)) == 3
