"""All estimators on a GPU, where there is one, and on a device that the CPU imitates."""
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
from torch.utils import backend_registration

from sklrec import (
    BayesianMFRegressor,
    DenseRecRegressor,
    MFRegressor,
    SequenceRatingRegressor,
)
from sklrec._utils.runtime import is_there
from sklrec.datasets import make_ratings

X, Y = make_ratings(60, 40, 2000, random_state=0)
SIDE = X.assign(genre=(X["item"] % 3).astype(str).astype("category"), hour=X["timestamp"] % 24)
WEIGHT = np.random.default_rng(0).uniform(0.1, 3, len(Y))

DEVICES = [
    pytest.param(
        name, marks=pytest.mark.skipif(not is_there(name), reason=f"there is no {name} device")
    )
    for name in ("cuda", "mps")
]
MF = {"n_factors": 4, "max_epochs": 3, "batch_size": 300, "random_state": 0}
SWEEPS = {"n_factors": 4, "n_iter": 15, "random_state": 0}
ADAM = torch.optim.Adam
ESTIMATORS = {
    "SGD": MFRegressor(**MF),
    "Adam": MFRegressor(**MF, optimizer=ADAM),
    "SGD, SVD++": MFRegressor(**MF, svdpp=True),
    "Adam, SVD++": MFRegressor(**MF, svdpp=True, optimizer=ADAM),
    "Bayesian": BayesianMFRegressor(**SWEEPS),
    "Bayesian, SVD++": BayesianMFRegressor(**SWEEPS, svdpp=True),
    "Bayesian, side features": BayesianMFRegressor(**SWEEPS, side_features="all"),
    "ordinal": BayesianMFRegressor(**SWEEPS, loss="ordinal", side_features="all"),
    "dense": DenseRecRegressor(**MF),
    "dense by row": DenseRecRegressor(**{**MF, "batch_size": 10}),
    "LSTM": SequenceRatingRegressor(**MF),
    "LSTM by row": SequenceRatingRegressor(**{**MF, "batch_size": 15, "alpha": 10.0}),
    "bidirectional LSTM": SequenceRatingRegressor(**MF, bidirectional=True),
    "LSTM of items": SequenceRatingRegressor(**MF, items_only=True),
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


# --- with a GPU


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_model_of_the_device_is_the_same_on_the_cpu(name, device, tmp_path):
    estimator = copy.deepcopy(ESTIMATORS[name]).set_params(device=device)
    x, y = SIDE, Y.round() if name == "ordinal" else Y
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
    model.module_.cpu()
    assert model.predict(x) == pytest.approx(predicted, abs=1e-4)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", [name for name in ESTIMATORS if name.startswith("Bayesian")])
def test_sweeps_on_the_device_are_close_to_those_on_the_cpu(name, device):
    expected = copy.deepcopy(ESTIMATORS[name]).fit(SIDE, Y).predict(SIDE)
    model = copy.deepcopy(ESTIMATORS[name]).set_params(device=device).fit(SIDE, Y)
    # Rounding differs.
    assert np.abs(model.predict(SIDE) - expected).mean() < 0.2


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", ["SGD", "Adam", "dense", "LSTM", "LSTM by row"])
def test_training_continues_from_the_cpu_and_from_the_device(name, device):
    more = SIDE[:50].assign(user=X["user"] + 1000)
    for first in ("cpu", device):
        model = copy.deepcopy(ESTIMATORS[name]).set_params(device=first).fit(SIDE, Y)
        model.set_params(device=device, warm_start=True).partial_fit(more, Y[:50]).fit(SIDE, Y)
        assert model.module_.global_mean.device.type == device
        assert np.isfinite(model.predict(more)).all()


@pytest.mark.parametrize("device", DEVICES)
def test_dropout_does_not_change_the_random_state_of_the_device(device):
    module = torch.get_device_module(device)
    before = module.get_rng_state()
    models = [DenseRecRegressor(**MF, dropout=0.3, device=device).fit(X, Y) for _ in range(2)]
    assert torch.equal(module.get_rng_state(), before)
    assert models[0].predict(X) == pytest.approx(models[1].predict(X), abs=1e-3)


# --- without a GPU


@pytest.mark.skipif(
    not hasattr(backend_registration, "_setup_privateuseone_for_python_backend"),
    reason="this version of torch has no devices written in Python",
)
def test_estimators_stay_on_a_device_and_do_not_wait_for_it():
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


@pytest.mark.parametrize("name", ["SGD", "Bayesian", "dense"])
def test_a_pickle_of_a_missing_device_is_read_to_the_cpu(name):
    model = copy.deepcopy(ESTIMATORS[name]).fit(SIDE, Y)
    state = model.__getstate__()
    state["module_"]["device"] = "cuda:99"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = object.__new__(type(model))
        again.__setstate__(pickle.loads(pickle.dumps(state)))
    assert np.array_equal(again.predict(SIDE), model.predict(SIDE))
