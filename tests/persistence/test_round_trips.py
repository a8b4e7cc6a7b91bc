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
from sklearn.base import clone
from sklearn.callback import ScoringMonitor
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from skorch.callbacks import Callback

import sklrec
from sklrec import DenseRecRegressor, IDEncoder, MFRegressor, SequenceRatingRegressor
from sklrec._persistence import modules as _modules

MODELS = sorted(example_models.BUILDERS)


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
def again(tmp_path):
    """Save an estimator and load it."""

    def save_and_load(estimator):
        sklrec.save(estimator, tmp_path / "model")
        return sklrec.load(tmp_path / "model")

    return save_and_load


@pytest.mark.parametrize("name", MODELS)
def test_all_learned_attributes_come_back(models, again, name):
    estimator, _ = models(name)
    assert_same(again(estimator), estimator)


@pytest.mark.parametrize("name", MODELS)
def test_loaded_models_work_like_the_original_ones(models, again, name):
    estimator, X = models(name)
    loaded = again(estimator)
    if not isinstance(estimator.get_params().get("random_state"), np.random.RandomState):
        assert repr(loaded) == repr(estimator)
    assert_same(clone(loaded), clone(estimator))
    for same in (loaded, pickle.loads(pickle.dumps(loaded)), copy.deepcopy(loaded)):
        if hasattr(estimator, "predict"):
            np.testing.assert_array_equal(same.predict(X), estimator.predict(X))
        elif isinstance(wanted := estimator.transform(X), pd.DataFrame):
            pd.testing.assert_frame_equal(same.transform(X), wanted)
        else:
            np.testing.assert_array_equal(same.transform(X), wanted)


@pytest.mark.parametrize("name", [name for name in MODELS if "padded" not in name])
def test_recommendations_come_back(models, again, name):
    estimator, X = models(name)
    if not hasattr(estimator, "recommend"):
        pytest.skip("it recommends nothing")
    loaded = again(estimator)
    ids = (lambda column: X.iloc[:5, column]) if hasattr(X, "iloc") else lambda c: X[:5, c]
    for method, column in (("recommend", 0), ("similar_items", 1)):
        wanted = getattr(estimator, method)(ids(column))
        pd.testing.assert_frame_equal(
            getattr(loaded, method)(ids(column)), wanted, check_exact=True
        )


@pytest.mark.parametrize("name", ["bayesian svdpp", "bayesian sides", "bayesian ordinal"])
def test_uncertainty_comes_back(models, again, name):
    estimator, X = models(name)
    loaded = again(estimator)
    found, wanted = (e.predict(X, return_std=True) for e in (loaded, estimator))
    np.testing.assert_array_equal(found, wanted)
    if name == "bayesian ordinal":
        found, wanted = (e.predict_rating_proba(X) for e in (loaded, estimator))
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize(
    "name", ["mf", "mf warm start", "mf partial fit", "mf array of strings", "dense", "sequence"]
)
def test_training_goes_on_as_with_the_original(models, again, name):
    estimator, X = models(name)
    found, wanted = again(estimator), copy.deepcopy(estimator)
    for e in (found, wanted):
        e.set_params(random_state=0).partial_fit(X, np.arange(len(X)) % 5 + 1.0)
    np.testing.assert_array_equal(found.predict(X), wanted.predict(X))


@pytest.mark.parametrize("name", ["mf", "dense", "sequence", "padded ratings"])
def test_training_goes_on_after_loading(models, again, name):
    estimator, X = models(name)
    loaded = again(estimator)
    y = np.arange(len(X)) % 5 + 1.0
    y = np.repeat(y[:, None], 4, axis=1) if name == "padded ratings" else y
    loaded.set_params(warm_start=True).fit(X, y)
    if hasattr(loaded, "partial_fit"):
        loaded.partial_fit(X, y)
    assert loaded.n_iter_ > estimator.n_iter_
    assert loaded.loss_curve_[: estimator.n_iter_] == estimator.loss_curve_
    assert loaded.loss_curve_[-1] < loaded.loss_curve_[estimator.n_iter_]


def test_a_random_state_goes_on_where_it_was(again):
    X, y = example_models.log()
    mf = MFRegressor(2, max_epochs=1, random_state=np.random.RandomState(3)).fit(X, y)
    loaded = again(mf)
    np.testing.assert_array_equal(loaded.fit(X, y).predict(X), mf.fit(X, y).predict(X))


def test_net_is_not_stored(models, again):
    loaded = again(models("mf")[0])
    assert not hasattr(loaded, "net_")
    with pytest.raises(AttributeError, match=r"has no net_; module_ holds it"):
        loaded.net_  # noqa: B018


def test_optimizers_of_torch_and_devices_come_back(again):
    X, y = example_models.log()
    params = {"device": torch.device("cpu"), "optimizer": torch.optim.AdamW}
    loaded = again(MFRegressor(2, max_epochs=1, **params).fit(X, y))
    assert {name: getattr(loaded, name) for name in params} == params


@pytest.mark.parametrize(
    "params",
    [
        {"multi_valued": {"genre": "|"}, "categorical_features": ["age"]},
        {"multi_valued": {2 + 1: "|"}, "categorical_features": np.array([2, 5])},
        {"categorical_features": [False, False, True, False, False, False, False]},
        {"hidden_layer_sizes": np.array([4, 2]), "user": np.int64(0), "alpha": np.float32(0.5)},
        {"n_bins": np.int64(4), "biased": np.bool_(False), "init_std": np.float32(0.1)},
        {"hidden_layer_sizes": [], "rating_scale": [0, 6], "n_factors": np.int32(2)},
    ],
)
def test_parameters_of_all_kinds_come_back(again, params):
    X, y = example_models.log_with_sides()
    dense = DenseRecRegressor(**{"n_factors": 2, "max_epochs": 1, **params}).fit(X, y)
    loaded = again(dense)
    assert_same(loaded, dense)
    np.testing.assert_array_equal(loaded.predict(X), dense.predict(X))


def test_settings_of_scikit_learn_come_back(again):
    X, y = example_models.log()
    with sklearn.config_context(enable_metadata_routing=True):
        mf = MFRegressor(2, max_epochs=1).set_fit_request(sample_weight=True, X_val="X_held")
        mf = mf.set_score_request(sample_weight=False).fit(X, y)
        loaded = again(mf)
    assert_same(loaded, mf)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda mf: mf.set_params(callbacks=[Callback()]), "callbacks"),
        (lambda mf: mf.set_callbacks(ScoringMonitor(scoring="r2")), "_skl_callbacks"),
        (lambda mf: setattr(mf, "note", "mine"), "note"),
    ],
)
def test_callbacks_and_own_attributes_are_left_out_with_a_warning(again, change, name):
    X, y = example_models.log()
    mf = MFRegressor(2, max_epochs=1)
    change(mf)
    mf.fit(X, y)
    message = rf"MFRegressor has attributes that a model file does not hold: {name}\. The loaded"
    with pytest.warns(UserWarning, match=message) as caught:
        loaded = again(mf)
    assert [warning.filename for warning in caught] == [__file__]
    assert getattr(loaded, name, None) is None


@pytest.mark.parametrize(
    "estimator",
    [MFRegressor(), DenseRecRegressor(), IDEncoder(), make_pipeline(IDEncoder(), MFRegressor())],
)
def test_unfitted_estimators_are_not_saved(tmp_path, estimator):
    with pytest.raises(NotFittedError, match="is not fitted yet"):
        sklrec.save(estimator, tmp_path / "model")
    assert not os.listdir(tmp_path)


class Subclass(MFRegressor):
    pass


@pytest.mark.parametrize(
    ("thing", "what"),
    [
        (LinearRegression().fit([[1], [2]], [1, 2]), "LinearRegression"),
        ({"a": 1}, "dict"),
        (MFRegressor, "MFRegressor"),
        (Subclass(), "Subclass"),
        (make_pipeline(IDEncoder(), make_pipeline(MFRegressor())), "step 'pipeline' is of type"),
        (make_pipeline(LinearRegression()), "step 'linearregression' is of type LinearRegression"),
    ],
)
def test_other_things_are_refused(tmp_path, thing, what):
    if hasattr(thing, "steps"):
        for _, step in thing.steps:
            if isinstance(step, IDEncoder):
                step.fit(pd.DataFrame({"user": [1], "item": [2]}))
    with pytest.raises(TypeError, match=f"(?s)A model file holds.*{what}.*joblib.dump"):
        sklrec.save(thing, tmp_path / "model")
    assert not os.listdir(tmp_path)


def test_a_pipeline_with_a_cache_is_refused(tmp_path):
    X, _ = example_models.log()
    pipeline = make_pipeline(IDEncoder(), memory=str(tmp_path / "cache")).fit(X)
    with pytest.raises(TypeError, match=r"does not hold a Pipeline with memory=.*memory=None"):
        sklrec.save(pipeline, tmp_path / "model")


def test_own_optimizers_are_refused(tmp_path):
    class Own(torch.optim.SGD):
        pass

    X, y = example_models.log()
    mf = MFRegressor(2, max_epochs=1, optimizer=Own).fit(X, y)
    with pytest.raises(
        TypeError, match=r"parameter optimizer=.*only the optimizers of torch\.opt"
    ):
        sklrec.save(mf, tmp_path / "model")


def test_parameters_that_are_no_longer_valid_are_refused(tmp_path):
    X, y = example_models.log()
    mf = MFRegressor(2, max_epochs=1).fit(X, y).set_params(n_factors=-1)
    with pytest.raises(
        ValueError, match=r"This MFRegressor cannot be saved: The 'n_factors' para.*[^.]\.$"
    ):
        sklrec.save(mf, tmp_path / "model")
    assert not os.listdir(tmp_path)


def test_an_input_that_was_changed_after_fit_is_refused(tmp_path):
    X, y = example_models.log()
    lstm = SequenceRatingRegressor(2, 2, max_epochs=1).fit(X, y).set_params(input="sequences")
    with pytest.raises(ValueError, match=r"was fitted with input='interactions', but has input="):
        sklrec.save(lstm, tmp_path / "model")


def test_loading_leaves_the_random_numbers_of_torch_and_numpy_alone(models, tmp_path):
    for name in ("mf", "dense", "sequence", "bayesian sides"):
        sklrec.save(models(name)[0], tmp_path / "model")
        before = torch.get_rng_state(), np.random.mtrand._rand.get_state()[1]
        sklrec.load(tmp_path / "model")
        assert torch.equal(torch.get_rng_state(), before[0])
        np.testing.assert_array_equal(np.random.mtrand._rand.get_state()[1], before[1])


def test_models_of_a_missing_device_are_loaded_to_the_cpu(models, tmp_path, monkeypatch):
    sklrec.save(models("mf")[0], tmp_path / "model")
    asked = []
    monkeypatch.setattr(_modules, "this_or_cpu", lambda device: asked.append(device) or "cpu")
    assert sklrec.load(tmp_path / "model").module_.global_mean.device.type == "cpu"
    assert asked == ["cpu"]


def test_a_path_may_be_a_string_and_a_link(models, tmp_path):
    mf, X = models("mf")
    Path(tmp_path / "link").symlink_to(tmp_path / "target")
    sklrec.save(mf, str(tmp_path / "link"))
    assert (tmp_path / "link").is_symlink()
    np.testing.assert_array_equal(sklrec.load(tmp_path / "target").predict(X), mf.predict(X))
