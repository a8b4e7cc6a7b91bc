"""Training by two processes gives the model of one process, and the same model in both."""
# SPDX-License-Identifier: BSD-3-Clause

import os
import pickle
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from networks import SparseFactors
from sklearn.base import clone
from torch.multiprocessing import start_processes

import sklrec
from sklrec import (
    BayesianMFRegressor,
    DenseRecRegressor,
    MFRegressor,
    ModuleRecRegressor,
    SequenceRatingRegressor,
)
from sklrec.datasets import make_ratings

# Batches of 500 leave one of 1501 ratings, which only one of two processes can have.
X, Y = make_ratings(60, 40, n_ratings=1501, random_state=0)
WEIGHT = np.random.RandomState(0).uniform(0.5, 1.5, len(Y))
VALID = {"X_val": X[::7], "y_val": Y[::7]}


def dense(**params):
    return DenseRecRegressor(n_factors=8, **{"max_epochs": 2, "random_state": 0} | params)


def sequence(**params):
    defaults = {"dropout": 0.0, "max_epochs": 2, "random_state": 0}
    return SequenceRatingRegressor(n_factors=8, hidden_size=4, **defaults | params)


# Estimators, and arguments of fit besides X and y.
CASES = {
    "dense, weights": (dense(batch_size=500), {"sample_weight": WEIGHT, **VALID}),
    "dense, early stopping": (dense(alpha=0.1, lr=0.1, max_epochs=12, early_stopping=True), {}),
    "dense, dropout": (dense(dropout=0.3), {}),
    # Each process draws which codes become unknown, as with dropout.
    "network, dropout": (ModuleRecRegressor(SparseFactors, max_epochs=2, random_state=0), {}),
    "sequence, weights": (sequence(bidirectional=True), {"sample_weight": WEIGHT, **VALID}),
    "sequence, batches of one": (sequence(batch_size=20, max_epochs=1), {}),
}


def facts(model):
    return {
        "weights": {name: v.numpy() for name, v in model.module_.state_dict().items()},
        "loss_curve": model.loss_curve_,
        "validation_curve": getattr(model, "validation_curve_", []),
        "predictions": model.predict(X),
        "optimizer": type(model.net_.optimizer_).__name__,
    }


def continued(model):
    """Facts of a fit, a fit that continues it, and a partial_fit."""
    model = clone(model).set_params(warm_start=True).fit(X[:900], Y[:900])
    return facts(model.fit(X[:1300], Y[:1300]).partial_fit(X[1300:], Y[1300:]))


# --- script of the processes


def error_of(model, X, y, **options):
    """Message of the error that fit raises, and the fitted attributes after it."""
    try:
        model.fit(X, y, **options)
    except ValueError as error:
        return str(error), sorted(name for name in vars(model) if name.endswith("_"))
    return "none", []


def fit_all(rank, folder):
    found = {}
    for name, (model, options) in CASES.items():
        fitted = clone(model).set_params(device="accelerate").fit(X, Y, **options)
        found[name] = facts(fitted)
    found["continued"] = continued(dense(device="accelerate"))
    # One process would use sparse gradients for so large a catalogue.
    found["small batches"] = facts(
        dense(device="accelerate", batch_size=6, max_epochs=1).fit(X[:300], Y[:300])
    )

    np.random.seed(rank)  # noqa: NPY002 - each process would draw another seed
    unseeded = dense(device="accelerate", random_state=None, max_epochs=1)
    found["unseeded"] = [unseeded.fit(X, Y).predict(X) for _ in range(2)]

    n, other = len(Y) - rank, dense(device="accelerate")
    found["errors"] = {
        "length": error_of(clone(other), X[:n], Y[:n]),
        "ratings": error_of(clone(other), X, Y + (Y.index == 9) * rank),
        "validation data": error_of(clone(other), X, Y, X_val=X[:n], y_val=Y[:n]),
        "histories": error_of(
            sequence(device="accelerate"), X.assign(timestamp=X["timestamp"] * (1 - 2 * rank)), Y
        ),
        "random state": error_of(dense(device="accelerate", random_state=rank), X, Y),
        "parameters": error_of(dense(device="accelerate", alpha=0.1 + rank), X, Y),
        "shape of the model": error_of(clone(other).set_params(n_factors=4 + rank), X, Y),
    }
    found["after errors"] = facts(clone(other).set_params(max_epochs=1).fit(X, Y))
    if rank == 0:
        (folder / "fitted.pickle").write_bytes(pickle.dumps(other.fit(X, Y)))
        sklrec.save(other, folder / "fitted.sklrec")
    else:
        other.fit(X, Y)
    found["saved"] = facts(other)
    return found


def run(rank, port, folder):
    """Fit in one of the processes, with the variables that torch.distributed.run sets."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": "2"}
    (folder / f"found_{rank}").write_bytes(pickle.dumps(fit_all(rank, folder)))


if __name__ == "__main__":
    with socket.create_server(("127.0.0.1", 0)) as server:
        free = server.getsockname()[1]
    # Forks need not import torch again.
    start_processes(run, (free, Path(sys.argv[1])), nprocs=2, start_method="fork")


# --- tests

TESTS = Path(__file__).parents[1]
PYTHONPATH = os.pathsep.join([os.getcwd(), str(TESTS)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("together")
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": PYTHONPATH}
    subprocess.run([sys.executable, __file__, str(folder)], env=environment, check=True)
    return folder


@pytest.fixture(scope="module")
def together(folder):
    """Results of each of the two processes."""
    return [pickle.loads((folder / f"found_{rank}").read_bytes()) for rank in range(2)]


def assert_close(found, wanted):
    assert found["optimizer"] == wanted["optimizer"] == "Adam"
    for name in ("loss_curve", "validation_curve"):
        np.testing.assert_allclose(found[name], wanted[name], rtol=1e-5)
    assert found["weights"].keys() == wanted["weights"].keys()
    for name, values in wanted["weights"].items():
        np.testing.assert_allclose(found["weights"][name], values, rtol=1e-4, atol=2e-5)
    np.testing.assert_allclose(found["predictions"], wanted["predictions"], atol=2e-5)


@pytest.mark.parametrize("name", [name for name in CASES if "dropout" not in name])
def test_two_processes_fit_the_model_of_one(together, name):
    model, options = CASES[name]
    wanted = facts(clone(model).fit(X, Y, **options))
    if "stopping" in name:
        assert len(wanted["loss_curve"]) < model.max_epochs
    assert_close(together[0][name], wanted)


def test_two_processes_continue_a_fit_as_one_does(together):
    assert_close(together[0]["continued"], continued(dense()))


def test_all_processes_have_identical_models(together):
    first, second = together
    assert pickle.dumps(first) == pickle.dumps(second)


@pytest.mark.parametrize("name", ["dense, dropout", "network, dropout"])
def test_two_processes_with_dropout_learn_as_well_as_one(together, name):
    wanted = clone(CASES[name][0]).fit(X, Y).loss_curve_
    np.testing.assert_allclose(together[0][name]["loss_curve"], wanted, rtol=0.05)
    assert together[0][name]["optimizer"] == "Adam"


def test_several_processes_use_dense_gradients(together):
    assert together[0]["small batches"]["optimizer"] == "Adam"
    alone = dense(batch_size=6, max_epochs=1).fit(X[:300], Y[:300])
    assert facts(alone)["optimizer"] == "RowwiseAdam"


def test_without_random_state_each_fit_has_a_new_seed_of_the_first_process(together):
    assert not np.array_equal(*together[0]["unseeded"])


def test_processes_with_different_fits_raise_and_can_fit_again(together):
    expected = facts(dense(max_epochs=1).fit(X, Y))
    for found in together:
        for what, (message, attributes) in found["errors"].items():
            what = "training data" if what in ("length", "ratings", "histories") else what
            assert f"process 1 and process 0 have different {what}. Give all" in message
            assert attributes == []
        assert_close(found["after errors"], expected)


def test_a_saved_model_predicts_in_a_process_that_was_not_launched(together, folder):
    pickled = pickle.loads((folder / "fitted.pickle").read_bytes())
    for loaded in (pickled, sklrec.load(folder / "fitted.sklrec")):
        assert loaded.device == "accelerate"
        wanted = together[0]["saved"]["predictions"]
        np.testing.assert_array_equal(loaded.predict(X), wanted)
        loaded.fit(X, Y)
    pickled.set_params(warm_start=True).fit(X, Y)


@pytest.mark.parametrize("model", [dense(dropout=0.3), sequence()])
def test_a_process_that_was_not_launched_trains_alone(model):
    alone = facts(clone(model).set_params(device="accelerate").fit(X, Y))
    assert pickle.dumps(alone) == pickle.dumps(facts(clone(model).fit(X, Y)))


@pytest.mark.parametrize("estimator", [MFRegressor, BayesianMFRegressor])
def test_models_that_train_in_one_process_refuse_accelerate(estimator):
    model = estimator(device="accelerate")
    with pytest.raises(ValueError, match="trains in one process, on a device of torch such as"):
        model.fit(X, Y)
    assert not hasattr(model, "module_")


def test_a_missing_accelerate_is_an_error_with_advice(monkeypatch):
    monkeypatch.setitem(sys.modules, "accelerate", None)
    model = dense(device="accelerate")
    with pytest.raises(ImportError, match=r"device='accelerate' requires accelerate"):
        model.fit(X, Y)
    assert not hasattr(model, "module_")


def test_accelerate_that_was_set_up_for_one_process_is_an_error(monkeypatch):
    dense(device="accelerate", max_epochs=1).fit(X, Y)  # sets Accelerate up for one process
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match=r"for this process alone\. Call PartialState\(cpu=T"):
        dense(device="accelerate").fit(X, Y)
