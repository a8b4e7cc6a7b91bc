"""Training by two processes: the model of one, the same in both, and clear ends if one is lost."""
# SPDX-License-Identifier: BSD-3-Clause

import os
import pickle
import signal
import socket
import subprocess
import sys
import time
from copy import deepcopy
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.base import clone
from skorch.callbacks import Callback

from sklrec import DenseRecRegressor, MFRegressor, SequenceRatingRegressor, _checkpoints
from sklrec._distributed import _processes, own_device
from sklrec._packing import unpack
from sklrec._rowwise_adam import RowwiseAdam
from sklrec._rowwise_sgd import RowwiseSGD
from sklrec._solvers._terms_sgd import TermsSGD
from sklrec._tensor_file import read_tensor_file
from sklrec.datasets import ChunkedRatings, make_ratings

# 1501 ratings: batches of 500 leave one rating, which only one of the processes can have.
X, Y = make_ratings(60, 40, n_ratings=1501, random_state=0)
WEIGHT = np.random.RandomState(0).uniform(0.5, 1.5, len(Y))
VALID = {"X_val": X[::7], "y_val": Y[::7]}
CHECKPOINT = "fit.checkpoint"
STOPS = {"max_epochs": 12, "early_stopping": True, "n_iter_no_change": 1}


class Case:
    """An estimator and what its `fit` is given besides X and y."""

    def __init__(self, estimator, optimizer, **options):
        self.estimator = estimator.set_params(random_state=0)
        self.optimizer = optimizer
        self.options = options

    def fit(self, *, distributed):
        return self.estimator.set_params(distributed=distributed).fit(X, Y, **self.options)


def mf(**params):
    return MFRegressor(n_factors=8, **{"max_epochs": 2} | params)


def dense(**params):
    return DenseRecRegressor(n_factors=8, **{"max_epochs": 2} | params)


def sequence(**params):
    return SequenceRatingRegressor(n_factors=8, hidden_size=4, **{"max_epochs": 2} | params)


ADAM = torch.optim.Adam
CASES = {
    "sgd": Case(mf(batch_size=700), RowwiseSGD),
    "sgd_weights_last_of_one": Case(mf(batch_size=500), RowwiseSGD, sample_weight=WEIGHT),
    "sgd_small": Case(mf(batch_size=60, max_epochs=1), RowwiseSGD, sample_weight=WEIGHT),
    "sgd_stops": Case(mf(batch_size=300, lr=0.3).set_params(**STOPS), RowwiseSGD),
    "adam_last_of_one": Case(mf(solver="adam", batch_size=500), ADAM),
    "adam_weights": Case(mf(solver="adam", alpha=0.3), ADAM, sample_weight=WEIGHT, **VALID),
    "adam_rows": Case(
        mf(solver="adam", batch_size=12, max_epochs=1), RowwiseAdam, sample_weight=WEIGHT
    ),
    "other_optimizer": Case(mf(optimizer=torch.optim.SGD, lr=0.1), torch.optim.SGD),
    "implicit_sgd": Case(
        mf(implicit_features=True, batch_size=100), TermsSGD, sample_weight=WEIGHT
    ),
    "implicit_adam": Case(
        mf(solver="adam", implicit_features=True, batch_size=100), ADAM, sample_weight=WEIGHT
    ),
    "dense": Case(dense(batch_size=500, dropout=0.3), ADAM, sample_weight=WEIGHT),
    "dense_rows": Case(dense(batch_size=6, max_epochs=1), RowwiseAdam, sample_weight=WEIGHT),
    "dense_stops": Case(dense(lr=0.1).set_params(**STOPS), ADAM),
    "sequence": Case(sequence(batch_size=400), ADAM, sample_weight=WEIGHT),
    "sequence_rows": Case(
        sequence(batch_size=9, max_len=2, alpha=30.0, max_epochs=1),
        RowwiseAdam,
        sample_weight=WEIGHT,
    ),
    "sequence_stops": Case(
        sequence(bidirectional=True, lr=0.1).set_params(**STOPS), ADAM, sample_weight=WEIGHT
    ),
}


def facts(model):
    """What is known after a fit, and must not depend on how many processes it had."""
    return {
        "weights": {name: v.numpy() for name, v in model.module_.state_dict().items()},
        "loss_curve": model.loss_curve_,
        "validation_curve": getattr(model, "validation_curve_", []),
        "net_losses": [
            batch["train_loss"]
            for batch in model.net_.history[-1]["batches"]
            if "train_loss" in batch
        ],
        "predictions": model.predict(X),
        "optimizer": type(model.net_.optimizer_).__name__,
    }


def going_on(*, distributed):
    """A fit, a fit that goes on with it, and further ratings."""
    model = mf(solver="adam", random_state=0, warm_start=True, distributed=distributed)
    return model.fit(X[:900], Y[:900]).fit(X[:1300], Y[:1300]).partial_fit(X[1300:], Y[1300:])


def in_chunks(*, distributed):
    """A fit to ratings that are never all in memory."""
    chunks = ChunkedRatings([(X[:700], Y[:700]), (X[700:], Y[700:])])
    return mf(batch_size=500, random_state=0, distributed=distributed).fit(chunks)


OTHER_FITS = {"going_on": going_on, "in_chunks": in_chunks}


# --- what the processes run


def fit_all(rank):
    found = {name: facts(case.fit(distributed=True)) for name, case in CASES.items()}
    found |= {name: facts(fit(distributed=True)) for name, fit in OTHER_FITS.items()}
    np.random.seed(rank)  # noqa: NPY002 - so that each would draw seeds of its own
    unseeded = mf(distributed=True, **STOPS)
    found["unseeded"] = facts(unseeded.fit(X, Y))
    found["unseeded_again"] = facts(unseeded.fit(X, Y))
    pickled = pickle.dumps(unseeded)
    found["pickled"] = pickle.loads(pickled).fit(X, Y).predict(X).shape
    n = len(Y) - rank
    found["refusals"] = {
        "length": refusal(mf(distributed=True, random_state=0), X[:n], Y[:n]),
        "ratings": refusal(mf(distributed=True, random_state=0), X, Y + (Y.index == 9) * rank),
        "validation": refusal(
            mf(distributed=True, random_state=0), X, Y, X_val=X[:n], y_val=Y[:n]
        ),
        "seed": refusal(mf(distributed=True, random_state=rank), X, Y),
        "parameters": refusal(mf(distributed=True, random_state=0, alpha=0.1 + rank), X, Y),
        "model": refusal(
            mf(distributed=True, random_state=0).set_params(n_factors=4 + rank), X, Y
        ),
        "als": refusal(MFRegressor(solver="als", distributed=True), X, Y),
    }
    found["after"] = facts(CASES["sgd"].fit(distributed=True))
    return found


def refusal(model, X, y, **options):
    try:
        model.fit(X, y, **options)
    except ValueError as error:
        return str(error), sorted(name for name in vars(model) if name.endswith("_"))
    return "none"


class InTheSecondEpoch(Callback):
    """Do something when the second epoch begins."""

    def __init__(self, act):
        self.act = act

    def on_epoch_begin(self, net, **kwargs):
        if len(net.history) == 2:
            self.act()


def lose_one(rank, act):
    """Refit a model while process 1 does something in the middle of it."""
    model = mf(batch_size=500, max_epochs=3, random_state=0, distributed=True).fit(X, Y)
    before = deepcopy(facts(model))
    if rank == 1:
        model.set_params(callbacks=[InTheSecondEpoch(act)])
    start = time.perf_counter()
    try:
        model.fit(X[:1000], Y[:1000])
    except RuntimeError as error:
        after = facts(model)
        return {
            "message": str(error),
            "seconds": time.perf_counter() - start,
            "is_as_before": pickle.dumps(before) == pickle.dumps(after),
        }
    return {"message": "none"}


def kill_one(rank):
    return lose_one(rank, lambda: os.kill(os.getpid(), signal.SIGKILL))


def hang_one(rank):
    from accelerate import PartialState

    PartialState(cpu=True, timeout=timedelta(seconds=2))
    return lose_one(rank, lambda: time.sleep(5))


def raise_one(rank):
    def fail():
        raise OSError("no space left")

    return lose_one(rank, fail)


def kept(**params):
    # Dropout draws from a generator that has to go on as well.
    return dense(max_epochs=4, dropout=0.3, random_state=0, distributed=True, **params)


def lose_one_that_keeps(rank):
    _checkpoints.MIN_SECONDS, _checkpoints.MAX_SHARE = 0.0, float("inf")  # after each epoch
    callbacks = [InTheSecondEpoch(lambda: os.kill(os.getpid(), signal.SIGKILL))]
    model = kept(callbacks=callbacks if rank == 1 else None)
    try:
        model.fit(X, Y, checkpoint=CHECKPOINT)
    except RuntimeError as error:
        return str(error)
    return "none"


def go_on_from_the_file(rank):
    model = kept()
    other = refusal(model, X, Y, checkpoint=f"{CHECKPOINT}_of_{rank}" if rank else CHECKPOINT)
    there = read_tensor_file(CHECKPOINT, "checkpoint")
    found = {
        "refusal": other,
        "n_epochs_before": len(unpack(there[0]["content"], there[1])["state"]["history"]),
        "without": facts(clone(model).fit(X, Y)),
        "gone_on": facts(model.fit(X, Y, checkpoint=CHECKPOINT)),
        "finished": facts(clone(model).fit(X, Y, checkpoint=CHECKPOINT)),
    }
    pickle.dumps(clone(model).fit(X, Y, checkpoint=CHECKPOINT))
    return found


def run_in_pairs(folder, *tasks):
    """Run tasks without a launcher, which would end the second process with the first."""
    children = {}
    for task in tasks:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
        for rank in ("0", "1"):
            os.environ |= {"RANK": rank, "LOCAL_RANK": rank}
            if not (child := os.fork()):  # what was imported is so for all of them
                run_task(folder, task)
                os._exit(0)
            children[child] = f"{task}_{rank}"
    codes = {children[c]: os.waitstatus_to_exitcode(os.waitpid(c, 0)[1]) for c in children}
    (Path(folder) / "codes.pickle").write_bytes(pickle.dumps(codes))


def run_task(folder, task):
    os.chdir(folder)
    rank = int(os.environ["RANK"])
    found = globals()[task](rank)
    (Path(folder) / f"{task}_{rank}.pickle").write_bytes(pickle.dumps(found))


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])


# --- what is asked of them


def run(folder, *command):
    """Run this file as a script; give what the processes found."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.getcwd()}
    subprocess.run([sys.executable, *command], env=environment, timeout=120, check=True)
    return {path.stem: pickle.loads(path.read_bytes()) for path in folder.glob("*.pickle")}


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    folder = tmp_path_factory.mktemp("together")
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    found = run(folder, *torchrun, __file__, "run_task", str(folder), "fit_all")
    return [found["fit_all_0"], found["fit_all_1"]]


@pytest.fixture(scope="module")
def lost(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lost")
    tasks = "kill_one", "hang_one", "raise_one"
    return run(folder, __file__, "run_in_pairs", str(folder), *tasks)


def assert_close(found, wanted):
    assert found["optimizer"] == wanted["optimizer"]
    for name in ("loss_curve", "validation_curve", "net_losses"):
        np.testing.assert_allclose(found[name], wanted[name], rtol=1e-5)
    assert found["weights"].keys() == wanted["weights"].keys()
    for name, values in wanted["weights"].items():
        np.testing.assert_allclose(found["weights"][name], values, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(found["predictions"], wanted["predictions"], atol=1e-4)


@pytest.mark.parametrize("name", CASES)
def test_two_processes_fit_the_model_of_one(together, name):
    case = CASES[name]
    wanted = facts(case.fit(distributed=False))
    assert wanted["optimizer"] == case.optimizer.__name__
    if "stops" in name:
        assert len(wanted["loss_curve"]) < STOPS["max_epochs"]
    assert_close(together[0][name], wanted)


@pytest.mark.parametrize("name", OTHER_FITS)
def test_they_also_go_on_with_a_model_and_fit_to_chunks(together, name):
    assert_close(together[0][name], facts(OTHER_FITS[name](distributed=False)))


def test_both_end_with_the_very_same_model(together):
    first, second = (
        {name: found for name, found in of.items() if name != "refusals"} for of in together
    )
    assert pickle.dumps(first) == pickle.dumps(second)


def test_without_a_seed_they_take_that_of_the_first_and_a_new_one_for_each_fit(together):
    once, again = (together[0][name]["predictions"] for name in ("unseeded", "unseeded_again"))
    assert not np.array_equal(once, again)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("length", "The training data of process 1 is not that of process 0. With distributed"),
        ("ratings", "The training data of process 1 is"),
        ("validation", "The validation data of process 1 is"),
        ("seed", "The random state of process 1 is"),
        ("parameters", "The setting of parameters of process 1 is"),
        ("model", "The shape of the model of process 1 is"),
        ("als", "solver='als' has no use for distributed=True"),
    ],
)
def test_both_refuse_what_differs_between_them_and_can_fit_again(together, name, message):
    for found in together:
        text, attributes = found["refusals"][name]
        assert text.startswith(message)
        assert attributes == []
        assert_close(found["after"], found["sgd"])


@pytest.mark.parametrize(
    ("task", "code_of_the_lost"), [("kill_one", -signal.SIGKILL), ("raise_one", 1)]
)
def test_a_process_that_dies_ends_the_other_with_a_clear_error(lost, task, code_of_the_lost):
    assert lost["codes"][f"{task}_0"] == 0
    assert lost["codes"][f"{task}_1"] == code_of_the_lost
    assert f"{task}_1" not in lost
    found = lost[f"{task}_0"]
    assert found["message"].startswith("Process 0 of 2 lost the others in the middle of the train")
    assert "then start all of them again" in found["message"]
    assert found["is_as_before"]
    assert found["seconds"] < 60


def test_a_process_that_does_not_answer_ends_both_when_the_time_is_up(lost):
    for rank in range(2):
        assert lost["codes"][f"hang_one_{rank}"] == 0
        found = lost[f"hang_one_{rank}"]
        assert found["message"].startswith(f"Process {rank} of 2 lost the others")
        assert found["is_as_before"]
        assert 1 < found["seconds"] < 60


def test_a_fit_whose_process_was_killed_goes_on_from_its_checkpoint(tmp_path):
    folder = str(tmp_path)
    lost = run(tmp_path, __file__, "run_in_pairs", folder, "lose_one_that_keeps")
    assert lost["lose_one_that_keeps_0"].startswith("Process 0 of 2 lost the others")
    found = run(tmp_path, __file__, "run_in_pairs", folder, "go_on_from_the_file")
    for rank in range(2):
        of = found[f"go_on_from_the_file_{rank}"]
        assert of["refusal"][0].startswith("The checkpoint of process 1 is not that of process 0")
        assert of["n_epochs_before"] == 1
        for name in ("gone_on", "finished"):
            assert pickle.dumps(of[name]) == pickle.dumps(of["without"])
    assert [path.name for path in tmp_path.glob("*checkpoint*")] == [CHECKPOINT]


# --- one process


@pytest.mark.parametrize("name", ["sgd", "dense", "sequence"])
def test_a_process_that_was_not_launched_trains_alone(name):
    alone = facts(CASES[name].fit(distributed=True))
    assert pickle.dumps(alone) == pickle.dumps(facts(CASES[name].fit(distributed=False)))


def test_accelerate_is_asked_for_by_name(monkeypatch):
    monkeypatch.setitem(sys.modules, "accelerate", None)
    model = mf(distributed=True)
    with pytest.raises(
        ImportError, match=r"pip install sklrec\[distributed\], or set distributed="
    ):
        model.fit(X, Y)
    assert not hasattr(model, "module_")


def test_a_device_without_an_exchange_is_refused():
    with pytest.raises(ValueError, match="device='cpu' or device='cuda', got 'mps'"):
        own_device(torch.device("mps"))


def test_processes_that_accelerate_did_not_join_are_named(monkeypatch):
    CASES["sgd"].fit(distributed=True)  # Accelerate now knows of one process
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(
        ValueError, match=r"for 1 process\(es\) on 'cpu'\. Call PartialState\(cpu=T"
    ):
        CASES["sgd"].fit(distributed=True)


def test_processes_that_do_not_find_each_other_say_so(monkeypatch):
    from accelerate import PartialState

    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(deaf.getsockname()[1])}
        for name, value in (where | {"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1"}).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(_processes, "TIMEOUT", timedelta(seconds=1))
        PartialState._reset_state()
        with pytest.raises(
            RuntimeError, match=r"did not find each other .* Check that all of them"
        ):
            CASES["sgd"].fit(distributed=True)
        assert not PartialState._shared_state
