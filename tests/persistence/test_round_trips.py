"""Saved and loaded estimators are equal to the original ones and work like them."""
# SPDX-License-Identifier: BSD-3-Clause

import copy
import os
import pickle
import warnings
from pathlib import Path

import example_models
import numpy as np
import pandas as pd
import pytest
import sklearn
import torch
from comparing import assert_same
from sklearn.base import RegressorMixin, clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from skorch.callbacks import Callback

import sklrec
from sklrec import DenseRecRegressor, IDEncoder, MFRegressor, SequenceRatingRegressor
from sklrec._utils.state import modules as _modules
from sklrec._utils.state.estimators import CLASSES, DeclaredEstimator
from sklrec._utils.state.kinds import Array, Int, Many
from sklrec._utils.state.modules import Module

MODELS = sorted(example_models.BUILDERS)
X, Y = example_models.log()
FITTED = MFRegressor(2, max_epochs=1, random_state=0).fit(X, Y)


@pytest.fixture(scope="module")
def models():
    """Give each example model, fitted once."""
    built = {}

    def get(name):
        if name not in built:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)
                built[name] = example_models.BUILDERS[name]()
        return built[name]

    return get


@pytest.fixture
def save_and_load(tmp_path):
    def save_and_load(estimator):
        sklrec.save(estimator, tmp_path / "model")
        return sklrec.load(tmp_path / "model")

    return save_and_load


@pytest.mark.parametrize("name", MODELS)
def test_loaded_models_are_equal_and_work_like_the_original_ones(models, save_and_load, name):
    estimator, X = models(name)
    loaded = save_and_load(estimator)
    for same in (loaded, pickle.loads(pickle.dumps(estimator)), copy.deepcopy(loaded)):
        assert_same(same, estimator)
        assert_same(clone(same), clone(estimator))
        if hasattr(estimator, "predict"):
            np.testing.assert_array_equal(same.predict(X), estimator.predict(X))
        elif hasattr(estimator, "decision_function"):
            wanted = estimator.decision_function(X)
            np.testing.assert_array_equal(same.decision_function(X), wanted)
        elif isinstance(wanted := estimator.transform(X), pd.DataFrame):
            pd.testing.assert_frame_equal(same.transform(X), wanted)
        else:
            np.testing.assert_array_equal(same.transform(X), wanted)
    if not isinstance(estimator.get_params().get("random_state"), np.random.RandomState):
        assert repr(loaded) == repr(estimator)
    if hasattr(estimator, "recommend") and "padded" not in name:
        for method, column in (("recommend", 0), ("similar_items", 1)):
            if not hasattr(estimator, method):
                continue
            ids = np.asarray(X, dtype=object)[:5, column]
            found, wanted = (getattr(model, method)(ids) for model in (loaded, estimator))
            pd.testing.assert_frame_equal(found, wanted, check_exact=True)
    if name.startswith(("bayesian", "biases")):
        found, wanted = (model.predict(X, return_std=True) for model in (loaded, estimator))
        np.testing.assert_array_equal(found, wanted)
    if name == "bayesian ordinal":
        found, wanted = (model.predict_rating_proba(X) for model in (loaded, estimator))
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize(
    "name",
    [
        "mf",
        "mf warm start",
        "mf partial fit",
        "mf array of strings",
        "biases",
        "dense",
        "sequence",
    ],
)
def test_partial_fit_after_loading_gives_the_same_model(models, save_and_load, name):
    estimator, X = models(name)
    loaded, original = save_and_load(estimator), copy.copy(estimator)  # with its net
    for model in (loaded, original):
        if "random_state" in model.get_params():
            model.set_params(random_state=0)
        model.partial_fit(X, np.arange(len(X)) % 5 + 1.0)
    np.testing.assert_array_equal(loaded.predict(X), original.predict(X))


@pytest.mark.parametrize(
    "params",
    [
        {"categorical_features": ["age"]},
        {"categorical_features": [False, False, True, False, False, False, False]},
        {"hidden_layer_sizes": np.array([4, 2]), "user": np.int64(0), "alpha": np.float32(0.5)},
        {"batch_size": np.int64(4), "biased": np.bool_(False), "init_std": np.float32(0.1)},
        {"hidden_layer_sizes": [], "rating_scale": [0, 6], "n_factors": np.int32(2)},
    ],
)
def test_parameters_of_all_kinds_come_back(save_and_load, params):
    X, y = example_models.log_with_sides()
    dense = DenseRecRegressor(**{"n_factors": 2, "max_epochs": 1, **params}).fit(X, y)
    loaded = save_and_load(dense)
    assert_same(loaded, dense)
    np.testing.assert_array_equal(loaded.predict(X), dense.predict(X))


def test_metadata_requests_come_back(save_and_load):
    with sklearn.config_context(enable_metadata_routing=True):
        mf = MFRegressor(2, max_epochs=1).set_fit_request(sample_weight=True, X_val="X_held")
        mf = mf.set_score_request(sample_weight=False).fit(X, Y)
        loaded = save_and_load(mf)
    assert_same(loaded, mf)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda mf: mf.set_params(callbacks=[Callback()]), "callbacks"),
        pytest.param(
            lambda mf: mf.set_callbacks(sklearn.callback.ScoringMonitor(scoring="r2")),
            "_skl_callbacks",
            marks=pytest.mark.needs("scikit-learn>=1.9"),
        ),
        (lambda mf: setattr(mf, "note", "mine"), "note"),
    ],
)
def test_callbacks_and_own_attributes_are_left_out_with_a_warning(save_and_load, change, name):
    mf = MFRegressor(2, max_epochs=1)
    change(mf)
    mf.fit(X, Y)
    message = rf"MFRegressor has attributes that a model file does not hold: {name}\. The loaded"
    with pytest.warns(UserWarning, match=message) as caught:
        loaded = save_and_load(mf)
    assert [warning.filename for warning in caught] == [__file__]
    assert getattr(loaded, name, None) is None


def test_pickles_keep_what_users_set_and_no_net():
    mf = MFRegressor(2, max_epochs=1, callbacks=[OwnCallback()], optimizer=OwnOptimizer)
    mf.note = {"mine"}
    again = pickle.loads(pickle.dumps(mf.fit(X, Y)))
    assert again.note == {"mine"}
    assert again.optimizer is OwnOptimizer
    assert type(again.callbacks[0]) is OwnCallback
    assert not hasattr(again, "net_")


# --- classes of users


class Subclass(MFRegressor):
    pass


def test_a_subclass_is_saved_while_it_is_imported(save_and_load, tmp_path, monkeypatch):
    model = Subclass(2, max_epochs=1, random_state=0).fit(X, Y)
    loaded = save_and_load(model)
    assert type(loaded) is Subclass
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))
    monkeypatch.delitem(CLASSES, f"{Subclass.__module__}.Subclass")
    with pytest.raises(ValueError, match=r"Subclass', which is no imported class.*import the"):
        sklrec.load(tmp_path / "model")
    with pytest.raises(TypeError, match=r"This Subclass cannot be saved: .* of type Subclass\."):
        sklrec.save(model, tmp_path / "model")


class Means(torch.nn.Module):
    """Mean rating of each user."""

    def __init__(self, n_users: int):
        super().__init__()
        self.n_users = n_users
        self.register_buffer("means", torch.zeros(n_users + 1))


class ToyRegressor(RegressorMixin, DeclaredEstimator):
    """Predict the mean rating of each user."""

    _state = {
        "users_": Array("int64", ("n_users",)),
        "module_": Module(Means),
        "shape_": Many(Int(), 2, into=tuple),
    }
    _parameter_constraints = {"default": [float]}

    def __init__(self, default=0.0):
        self.default = default

    def fit(self, X, y):
        self.users_, codes = np.unique(X["user"], return_inverse=True)
        self.module_ = Means(len(self.users_))
        self.module_.means[1:] = torch.from_numpy(np.bincount(codes, y) / np.bincount(codes))
        self.module_.means[0] = self.default
        self.shape_ = X.shape
        return self

    def predict(self, X):
        places = np.searchsorted(self.users_, X["user"]).clip(max=len(self.users_) - 1)
        codes = np.where(self.users_[places] == X["user"], places + 1, 0)
        return self.module_.means.numpy()[codes]


def test_a_new_estimator_is_saved_by_what_it_declares(save_and_load):
    toy = ToyRegressor(2.5).fit(X, Y)
    more = X.assign(user=X["user"] + 3)
    for same in (save_and_load(toy), pickle.loads(pickle.dumps(toy)), copy.deepcopy(toy)):
        assert same.get_params() == toy.get_params()
        assert same.shape_ == toy.shape_
        np.testing.assert_array_equal(same.predict(more), toy.predict(more))
    pipeline = make_pipeline("passthrough", toy)
    np.testing.assert_array_equal(save_and_load(pipeline).predict(X), toy.predict(X))
    state = toy.__getstate__()
    assert type(state["users_"]) is np.ndarray
    assert type(state["module_"]["tensors"]["means"]) is np.ndarray
    toy.users_ = toy.users_[1:]
    with pytest.raises(ValueError, match=r"module_ should have n_users 11, got 12"):
        save_and_load(toy)


class OwnCallback(Callback):
    pass


class OwnOptimizer(torch.optim.SGD):
    pass


def changed(**params):
    return copy.deepcopy(FITTED).set_params(**params)


HOLDS = "(?s)cannot be saved: .*{}.* A model file holds .*joblib.dump"
ENCODER = IDEncoder().fit(pd.DataFrame({"user": [1], "item": [2]}))


@pytest.mark.parametrize(
    ("thing", "error", "message"),
    [
        (MFRegressor(), NotFittedError, "is not fitted yet"),
        (DenseRecRegressor(), NotFittedError, "is not fitted yet"),
        (IDEncoder(), NotFittedError, "is not fitted yet"),
        (make_pipeline(IDEncoder(), MFRegressor()), NotFittedError, "is not fitted yet"),
        (LinearRegression().fit([[1], [2]], [1, 2]), TypeError, HOLDS.format("LinearRegression")),
        ({"a": 1}, TypeError, HOLDS.format("of type dict")),
        (MFRegressor, TypeError, HOLDS.format("of type type")),
        (
            make_pipeline(ENCODER, LinearRegression().fit([[1], [2]], [1, 2])),
            *(TypeError, HOLDS.format("of type LinearRegression")),
        ),
        (make_pipeline(ENCODER, memory="cache"), TypeError, "with memory='cache'.*memory=None"),
        (
            changed(random_state=np.random.RandomState(np.random.PCG64(0))),
            *(TypeError, "random_state of MFRegressor: .* no random state of the Mersenne"),
        ),
        (
            changed(n_factors=-1),
            *(ValueError, r"This MFRegressor cannot be saved: The 'n_factors' para.*[^.]\.$"),
        ),
        (
            SequenceRatingRegressor(2, 2, max_epochs=1).fit(X, Y).set_params(input="sequences"),
            *(ValueError, "has no with_ratings_, which .* parameters. Set them back"),
        ),
    ],
)
def test_objects_that_a_file_cannot_hold_are_refused(tmp_path, thing, error, message):
    with pytest.raises(error, match=message):
        sklrec.save(thing, tmp_path / "model")
    assert not os.listdir(tmp_path)


def test_loading_does_not_change_random_states_of_torch_and_numpy(models, tmp_path):
    for name in ("mf", "dense", "sequence", "bayesian sides"):
        sklrec.save(models(name)[0], tmp_path / "model")
        before = torch.get_rng_state(), np.random.mtrand._rand.get_state()[1]
        sklrec.load(tmp_path / "model")
        assert torch.equal(torch.get_rng_state(), before[0])
        np.testing.assert_array_equal(np.random.mtrand._rand.get_state()[1], before[1])


def test_models_of_a_missing_device_are_loaded_to_the_cpu(tmp_path, monkeypatch):
    sklrec.save(FITTED, tmp_path / "model")
    devices = []
    monkeypatch.setattr(_modules, "this_or_cpu", lambda device: devices.append(device) or "cpu")
    assert sklrec.load(tmp_path / "model").module_.global_mean.device.type == "cpu"
    assert devices == ["cpu"]


def test_a_path_may_be_a_string_and_a_link(tmp_path):
    Path(tmp_path / "link").symlink_to(tmp_path / "target")
    sklrec.save(FITTED, str(tmp_path / "link"))
    assert (tmp_path / "link").is_symlink()
    np.testing.assert_array_equal(sklrec.load(tmp_path / "target").predict(X), FITTED.predict(X))
