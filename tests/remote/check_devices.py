"""All estimators on devices that the CPU imitates, in a process of their own."""
# SPDX-License-Identifier: BSD-3-Clause

import pickle

import numpy as np
import pytest
import torch
from machine import MACHINE
from sklearn.base import clone

import sklrec
from sklrec import (
    BayesianMFRegressor,
    DenseRecRegressor,
    MFRegressor,
    SequenceRatingRegressor,
)
from sklrec._utils.runtime import is_plain, own_random_state
from sklrec.datasets import make_ratings

X, Y = make_ratings(40, 30, 60, random_state=1)
WEIGHT = np.random.default_rng(0).uniform(0.1, 3, len(Y))
SIDE = X.assign(
    genre=(X["item"] % 3).astype(str).astype("category"),
    hour=np.arange(len(X)) % 24,
    tags=[["a", "b"] if item % 2 else ["c"] for item in X["item"]],
)
MF = {"n_factors": 3, "max_epochs": 1, "batch_size": 30, "random_state": 0}
DENSE = {**MF, "hidden_layer_sizes": (4,), "dropout": 0.1}
SEQUENCE = {**MF, "hidden_size": 4}
SWEEPS = {"n_factors": 3, "n_iter": 2, "random_state": 0}
BY_ROW = {"batch_size": 8}  # small enough for the tables to count as large

CASES = {
    "SGD": MFRegressor(**MF),
    "Adam": MFRegressor(**MF, optimizer=torch.optim.Adam),
    "SGD, SVD++": MFRegressor(**MF, svdpp=True),
    "Adam, SVD++": MFRegressor(**MF, svdpp=True, optimizer=torch.optim.Adam),
    "Bayesian, SVD++": BayesianMFRegressor(**SWEEPS, svdpp=True),
    "ordinal, side features": BayesianMFRegressor(
        **SWEEPS, svdpp=True, side_features="all", loss="ordinal"
    ),
    "dense, side features": DenseRecRegressor(**DENSE),
    "dense by row, side features": DenseRecRegressor(**{**DENSE, **BY_ROW}),
    "LSTM": SequenceRatingRegressor(**SEQUENCE),
    "LSTM by row": SequenceRatingRegressor(**{**SEQUENCE, "batch_size": 14, "alpha": 10.0}),
    "bidirectional LSTM": SequenceRatingRegressor(**SEQUENCE, bidirectional=True, alpha=10.0),
    "LSTM of items": SequenceRatingRegressor(**SEQUENCE, items_only=True),
}


def data_of(name):
    return SIDE if "side features" in name else X, Y.round() if "ordinal" in name else Y


@pytest.fixture(params=["like CUDA", "like MPS"])
def device(request, monkeypatch):
    """A device on which nothing is grouped by users, as on any but the CPU."""
    for module in (sklrec.modules._pairs, sklrec._solvers.tensors):
        monkeypatch.setattr(module, "can_group", lambda codes: False)
    monkeypatch.setattr(  # dropout draws on the CPU
        sklrec._solvers.minibatch, "own_random_state", lambda g, _: own_random_state(g, "cpu")
    )
    if request.param == "like MPS":
        monkeypatch.setattr(sklrec._utils.runtime, "PLAIN", {"remote"})
    MACHINE.reads.clear()
    MACHINE.moves.clear()
    return "remote:0"


def fitted(name, device, *data, **validation):
    """A new estimator, fitted on a device."""
    return clone(CASES[name]).set_params(device=device).fit(*data, **validation)


@pytest.mark.parametrize("name", CASES)
def test_each_model_equals_that_of_the_cpu_and_no_step_waits(name, device):
    x, y = data_of(name)
    expected = fitted(name, "cpu", x, y, WEIGHT, X_val=x, y_val=y)
    with MACHINE:
        model = fitted(name, device, x, y, WEIGHT, X_val=x, y_val=y)
        predicted, found = model.predict(x), model.recommend([1, 2])
    assert predicted == pytest.approx(expected.predict(x), abs=1e-4)
    scores = expected.recommend([1, 2])["score"].to_numpy()
    assert found["score"].to_numpy() == pytest.approx(scores, abs=1e-4)
    on_the_cpu = is_plain(torch.device(device)) and not hasattr(expected, "net_")
    assert model.module_.global_mean.device == torch.device("cpu" if on_the_cpu else device)
    assert MACHINE.reads == []
    # The order of the rows and the batches of sequences move to the device in each pass.
    assert len(MACHINE.moves) <= 14 * len(model.loss_curve_)


@pytest.mark.parametrize("name", ["Adam", "dense, side features", "LSTM"])
def test_training_continues(name, device):
    x, y = data_of(name)
    more = x[:30].assign(user=x["user"] + 1000)
    expected = fitted(name, "cpu", x, y).partial_fit(more, y[:30]).predict(x)
    # All nets move in one way, and the LSTM is slow.
    for first in [device] if name == "LSTM" else [device, "cpu"]:
        with MACHINE:
            model = fitted(name, first, x, y).set_params(device=device).partial_fit(more, y[:30])
            assert model.predict(x) == pytest.approx(expected, abs=1e-4)


def test_a_pickle_holds_tensors_of_the_cpu(device, monkeypatch):
    name = "ordinal, side features"
    x, y = data_of(name)
    with MACHINE:
        model = fitted(name, device, x, y)
        expected, pickled = model.predict(x), pickle.dumps(model)
        again = pickle.loads(pickled)
        assert again.module_.global_mean.device == model.module_.global_mean.device
        assert again.predict(x) == pytest.approx(expected, abs=0)
    monkeypatch.setattr(sklrec._utils.runtime, "is_there", lambda device: False)
    again = pickle.loads(pickled)
    assert again.module_.global_mean.device.type == "cpu"
    assert again.predict(x) == pytest.approx(expected, abs=1e-4)
