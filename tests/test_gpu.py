"""All estimators and solvers on a GPU, where there is one, and on what the CPU can play of it."""
# SPDX-License-Identifier: BSD-3-Clause

import copy
import os
import pickle
import subprocess
import sys
import warnings
from pathlib import Path

import joblib
import numpy as np
import pytest
import torch
from torch import nn

from sklrec import (
    BayesianFMRegressor,
    DenseRecRegressor,
    MFRegressor,
    SequenceRatingRegressor,
)
from sklrec._utils.devices import is_there, on_cpu, this_or_cpu, with_float64
from sklrec._utils.rng import own_random_state
from sklrec.datasets import make_ratings
from sklrec.modules import LSTMRating

X, Y = make_ratings(60, 40, 2000, random_state=0)
SIDE = X.assign(genre=(X["item"] % 3).astype(str).astype("category"), hour=X["timestamp"] % 24)
WEIGHT = np.random.default_rng(0).uniform(0.1, 3, len(Y))
NEW = X[:50].assign(user=X["user"] + 1000)

DEVICES = [
    pytest.param(
        name, marks=pytest.mark.skipif(not is_there(name), reason=f"there is no {name} device")
    )
    for name in ("cuda", "mps")
]
MF = {"n_factors": 4, "max_epochs": 3, "batch_size": 300, "random_state": 0}
SWEEPS = {"n_factors": 4, "n_iter": 15, "random_state": 0}
ESTIMATORS = {
    "sgd": MFRegressor(**MF),
    "adam": MFRegressor(**MF, solver="adam"),
    "adam by row": MFRegressor(**{**MF, "batch_size": 10}, solver="adam"),
    "sgd, implicit": MFRegressor(**MF, implicit_features=True),
    "adam, implicit": MFRegressor(**MF, implicit_features=True, solver="adam"),
    "als": MFRegressor(**SWEEPS, solver="als"),
    "als, implicit": MFRegressor(**SWEEPS, solver="als", implicit_features=True),
    "gibbs": MFRegressor(**SWEEPS, solver="gibbs"),
    "gibbs, implicit": MFRegressor(**SWEEPS, solver="gibbs", implicit_features=True),
    "dense": DenseRecRegressor(**MF),
    "dense by row": DenseRecRegressor(**{**MF, "batch_size": 10}),
    "LSTM": SequenceRatingRegressor(**MF),
    "LSTM by row": SequenceRatingRegressor(**{**MF, "batch_size": 15}),
    "LSTM from both sides": SequenceRatingRegressor(**MF, bidirectional=True),
    "LSTM of items": SequenceRatingRegressor(**MF, items_only=True),
    "Bayesian FM": BayesianFMRegressor(**SWEEPS),
    "ordinal Bayesian FM": BayesianFMRegressor(**SWEEPS, loss="ordinal"),
}
LOAD = """
import pickle, sys, warnings
import joblib, torch
warnings.simplefilter("error")
assert not torch.cuda.is_available()
with open(sys.argv[1], "rb") as file:
    model = pickle.load(file)
assert model.module_.global_mean.device.type == "cpu"
X = joblib.load(sys.argv[2])
joblib.dump((model.predict(X), model.recommend([1, 2])), sys.argv[3])
"""


# --- where there is one


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_model_of_the_device_is_the_same_on_the_cpu(name, device, tmp_path):
    estimator = copy.deepcopy(ESTIMATORS[name]).set_params(device=device)
    x, y = (X, Y) if isinstance(estimator, MFRegressor | SequenceRatingRegressor) else (SIDE, Y)
    y = y.round() if "ordinal" in name else y
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = estimator.fit(x, y, WEIGHT, X_val=x, y_val=y)
        predicted, found = model.predict(x), model.recommend([1, 2])
    again = pickle.loads(pickle.dumps(model))
    assert again.module_.global_mean.device == model.module_.global_mean.device
    assert again.predict(x) == pytest.approx(predicted, abs=1e-6)

    paths = [tmp_path / part for part in ("model.pickle", "X", "found")]
    paths[0].write_bytes(pickle.dumps(model))
    joblib.dump(x, paths[1])
    if device == "cuda":
        subprocess.run(
            [sys.executable, "-c", LOAD, *map(str, paths)],
            check=True,
            env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1"},
        )
        on_the_cpu, found_there = joblib.load(paths[2])
        assert on_the_cpu == pytest.approx(predicted, abs=1e-4)
        assert found_there["score"].to_numpy() == pytest.approx(
            found["score"].to_numpy(), abs=1e-4
        )
    model.module_ = on_cpu(model.module_)
    assert model.predict(x) == pytest.approx(predicted, abs=1e-4)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", ["als", "als, implicit", "gibbs", "Bayesian FM"])
def test_sweeps_on_the_device_are_those_of_the_cpu(name, device):
    estimator = ESTIMATORS[name]
    x = SIDE if name == "Bayesian FM" else X
    expected = copy.deepcopy(estimator).fit(x, Y).predict(x)
    predicted = copy.deepcopy(estimator).set_params(device=device).fit(x, Y).predict(x)
    difference = np.abs(predicted - expected)
    if "als" in name:
        assert difference.max() < 1e-3
    else:  # in time, draws go their own way from where rounding differs
        assert difference.mean() < 0.2


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", ["sgd", "adam", "als", "als, implicit", "gibbs"])
def test_new_users_are_folded_in(name, device):
    model = copy.deepcopy(ESTIMATORS[name]).set_params(device=device).fit(X, Y)
    folded = model.fold_in(NEW, Y[:50])
    assert len(folded.recommend([1001])) == 10
    error = np.abs(folded.predict(NEW) - Y[:50]).mean()
    assert error < np.abs(model.predict(NEW) - Y[:50]).mean()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", ["sgd", "adam", "adam by row", "dense", "LSTM", "LSTM by row"])
def test_training_goes_on_wherever_it_began(name, device):
    estimator, x = ESTIMATORS[name], SIDE if name == "dense" else X
    more = x[:50].assign(user=x["user"] + 1000)
    for first in ("cpu", device):
        model = copy.deepcopy(estimator).set_params(device=first).fit(x, Y)
        model.set_params(device=device, warm_start=True).partial_fit(more, Y[:50]).fit(x, Y)
        assert model.module_.global_mean.device.type == device
        assert np.isfinite(model.predict(more)).all()


@pytest.mark.parametrize("device", DEVICES)
def test_dropout_leaves_the_random_state_of_the_device_alone(device):
    module = torch.get_device_module(device)
    before = module.get_rng_state()
    models = [DenseRecRegressor(**MF, dropout=0.3, device=device).fit(X, Y) for _ in range(2)]
    assert torch.equal(module.get_rng_state(), before)
    assert models[0].predict(X) == pytest.approx(models[1].predict(X), abs=1e-3)


# --- what the CPU can play of it


def test_estimators_keep_to_a_device_and_do_not_wait_for_it():
    folder = Path(__file__).parent / "remote"
    options = ["-q", "-p", "no:cacheprovider", "-p", "no:doctest", "-o", "addopts="]
    options += ["--noconftest"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "-o", f"pythonpath={folder}"]
        + [str(folder / "check_devices.py")],
        cwd=folder.parent.parent,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", ["sgd", "als", "dense"])
def test_a_pickle_of_a_device_that_is_not_there_is_read_to_the_cpu(name):
    x = SIDE if name == "dense" else X
    model = copy.deepcopy(ESTIMATORS[name]).fit(x, Y)
    state = model.__getstate__()
    if name == "als":
        state["_device"] = "cuda:99"
    else:
        model.net_.device = "cuda:99"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = object.__new__(type(model))
        again.__setstate__(pickle.loads(pickle.dumps(state)))
    assert again.predict(x) == pytest.approx(model.predict(x), abs=0)
    if name != "als":
        assert again.net_.device == "cpu"
        assert again.module_ is again.net_.module_


def test_a_copy_shares_the_module():
    model = copy.deepcopy(ESTIMATORS["als"]).fit(X, Y)
    copied = copy.copy(model)
    assert copied.module_ is model.module_
    copied.set_params(device="mps")
    assert model.device == "cpu"


def test_a_module_is_copied_to_the_cpu_whole():
    module = LSTMRating(9, n_ratings=3)
    module.n_lookups = torch.arange(10)
    module.dropout.requires_grad_(False)
    module.lstm.weight_ih_l0.requires_grad_(False)
    copied = on_cpu(module)
    for name, values in module.state_dict().items():
        assert torch.equal(copied.state_dict()[name], values)
        assert copied.state_dict()[name].data_ptr() == values.data_ptr()  # the CPU's own
    assert torch.equal(copied.n_lookups, module.n_lookups)
    assert copied is not module
    assert [p.requires_grad for p in copied.parameters()] == [
        p.requires_grad for p in module.parameters()
    ]
    assert isinstance(copied.lstm.weight_ih_l0, nn.Parameter)


def test_devices():
    assert is_there("cpu")
    assert not is_there("gpu")
    assert this_or_cpu("cuda:99") == this_or_cpu("xpu:7") == torch.device("cpu")
    assert with_float64(torch.device("mps")) == torch.device("cpu")
    assert with_float64(torch.device("cuda", 1)) == torch.device("cuda", 1)


def test_the_random_state_comes_back():
    before = torch.get_rng_state()
    with own_random_state(torch.Generator().manual_seed(3), "cpu"):
        first = torch.rand(3)
    with own_random_state(torch.Generator().manual_seed(3), "cpu"):
        assert torch.equal(torch.rand(3), first)
    assert torch.equal(torch.get_rng_state(), before)
