"""All estimators and solvers on devices that the CPU plays, in a process of their own."""
# SPDX-License-Identifier: BSD-3-Clause

import copy
import pickle

import numpy as np
import pytest
import torch
from machine import MACHINE

import sklrec
from sklrec import (
    BayesianFMRegressor,
    DenseRecRegressor,
    MFRegressor,
    SequenceRatingRegressor,
)
from sklrec._utils.devices import is_plain
from sklrec._utils.rng import own_random_state
from sklrec.datasets import make_ratings

X, Y = make_ratings(40, 30, 120, random_state=0)
WEIGHT = np.random.default_rng(0).uniform(0.1, 3, len(Y))
SIDE = X.assign(
    genre=(X["item"] % 3).astype(str).astype("category"),
    hour=np.arange(len(X)) % 24,
    tags=np.where(X["item"] % 2, "a|b", "c"),
)
TAGS = {"multi_valued": {"tags": "|"}}
MF = {"n_factors": 3, "max_epochs": 1, "batch_size": 50, "random_state": 0}
DENSE = {**MF, **TAGS, "hidden_layer_sizes": (4,), "dropout": 0.1}
SEQUENCE = {**MF, "hidden_size": 4}
SWEEPS = {"n_factors": 3, "n_iter": 4, "random_state": 0}
DRAWS = {**SWEEPS, "n_burn_in": 2}
BY_ROW = {"batch_size": 8}  # small enough for the tables to count as large

CASES = {
    "sgd": MFRegressor(**MF),
    "adam": MFRegressor(**MF, solver="adam"),
    "adam by row": MFRegressor(**{**MF, **BY_ROW}, solver="adam"),
    "another optimiser": MFRegressor(**MF, solver="adam", optimizer=torch.optim.AdamW),
    "sgd, implicit": MFRegressor(**MF, implicit_features=True),
    "adam, implicit": MFRegressor(**MF, implicit_features=True, solver="adam"),
    "als": MFRegressor(**SWEEPS, solver="als"),
    "als, implicit": MFRegressor(**SWEEPS, solver="als", implicit_features=True),
    "gibbs": MFRegressor(**DRAWS, solver="gibbs"),
    "gibbs, implicit": MFRegressor(**DRAWS, solver="gibbs", implicit_features=True),
    "dense": DenseRecRegressor(**DENSE),
    "dense by row": DenseRecRegressor(**{**DENSE, **BY_ROW}),
    "LSTM": SequenceRatingRegressor(**SEQUENCE),
    "LSTM by row": SequenceRatingRegressor(**{**SEQUENCE, "batch_size": 14}),
    "LSTM from both sides": SequenceRatingRegressor(**SEQUENCE, bidirectional=True),
    "LSTM of items": SequenceRatingRegressor(**SEQUENCE, items_only=True),
    "Bayesian FM": BayesianFMRegressor(**DRAWS, **TAGS),
    "ordinal Bayesian FM": BayesianFMRegressor(**DRAWS, **TAGS, loss="ordinal"),
}


@pytest.fixture(params=["like CUDA", "like Apple's"])
def device(request, monkeypatch):
    """A device, and nothing grouped by users, which only the CPU does."""
    for module in (sklrec.modules._pairs, sklrec._pair_batches):
        monkeypatch.setattr(module, "can_group", lambda codes: False)
    monkeypatch.setattr(  # dropout draws on the CPU
        sklrec._solvers._minibatch, "own_random_state", lambda g, _: own_random_state(g, "cpu")
    )
    if request.param == "like Apple's":
        monkeypatch.setattr(sklrec._utils.devices, "PLAIN", {"remote"})
    MACHINE.reads.clear()
    MACHINE.moves.clear()
    return "remote:0"


@pytest.fixture(params=CASES)
def case(request):
    """An estimator, and what it is fitted to."""
    y = Y.round() if "ordinal" in request.param else Y
    estimator = CASES[request.param]
    return estimator, SIDE if "multi_valued" in estimator.get_params() else X, y


def fitted(estimator, device, *data, **validation):
    """A copy of an estimator, fitted on a device."""
    return copy.deepcopy(estimator).set_params(device=device).fit(*data, **validation)


def test_each_model_is_that_of_the_cpu_and_no_step_is_waited_for(case, device):
    estimator, x, y = case
    expected = fitted(estimator, "cpu", x, y, WEIGHT, X_val=x, y_val=y)
    with MACHINE:
        model = fitted(estimator, device, x, y, WEIGHT, X_val=x, y_val=y)
        predicted, found = model.predict(x), model.recommend([1, 2])
    assert predicted == pytest.approx(expected.predict(x), abs=1e-4)
    scores = expected.recommend([1, 2])["score"].to_numpy()
    assert found["score"].to_numpy() == pytest.approx(scores, abs=1e-4)
    on_the_cpu = is_plain(torch.device(device)) and not hasattr(expected, "net_")
    assert model.module_.global_mean.device == torch.device("cpu" if on_the_cpu else device)
    assert MACHINE.reads == []
    # For the order of the rows, and for sequences what batches are made of, both times they are
    # gone through.
    assert len(MACHINE.moves) <= 14 * len(model.loss_curve_)


@pytest.mark.parametrize("name", ["sgd", "adam by row", "als", "als, implicit", "gibbs"])
def test_new_users_are_folded_in(name, device):
    estimator = CASES[name]
    new = X[:30].assign(user=X["user"] + 1000)
    expected = fitted(estimator, "cpu", X, Y).fold_in(new, Y[:30], WEIGHT[:30])
    with MACHINE:
        model = fitted(estimator, device, X, Y).fold_in(new, Y[:30], WEIGHT[:30])
        predicted = model.predict(new)
    assert predicted == pytest.approx(expected.predict(new), abs=1e-4)


@pytest.mark.parametrize("name", ["sgd", "adam", "dense", "LSTM"])
def test_training_goes_on(name, device):
    estimator = CASES[name]
    x = SIDE if name == "dense" else X
    more = x[:30].assign(user=x["user"] + 1000)
    expected = fitted(estimator, "cpu", x, Y).partial_fit(more, Y[:30])
    with MACHINE:
        model = fitted(estimator, device, x, Y).partial_fit(more, Y[:30])
        # and from the CPU to the device
        moved = fitted(estimator, "cpu", x, Y).set_params(device=device)
        moved = moved.partial_fit(more, Y[:30])
        predicted, of_moved = model.predict(x), moved.predict(x)
    assert predicted == pytest.approx(expected.predict(x), abs=1e-4)
    assert of_moved == pytest.approx(expected.predict(x), abs=1e-4)


@pytest.mark.parametrize("name", ["als, implicit", "gibbs", "ordinal Bayesian FM"])
def test_a_pickle_holds_tensors_of_the_cpu(name, device, monkeypatch):
    estimator, x = CASES[name], SIDE if name.endswith("FM") else X
    with MACHINE:
        model = fitted(estimator, device, x, Y.round())
        expected, pickled = model.predict(x), pickle.dumps(model)
        again = pickle.loads(pickled)
        assert again.module_.global_mean.device == model.module_.global_mean.device
        assert again.predict(x) == pytest.approx(expected, abs=0)
    monkeypatch.setattr(sklrec._utils.devices, "is_there", lambda device: False)
    again = pickle.loads(pickled)
    assert again.module_.global_mean.device.type == "cpu"
    assert again.predict(x) == pytest.approx(expected, abs=1e-4)
