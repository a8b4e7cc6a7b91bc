"""A fit that goes on from its checkpoint ends as one that was never interrupted."""
# SPDX-License-Identifier: BSD-3-Clause

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.pipeline import make_pipeline
from skorch.callbacks import Callback

from sklrec import (
    BayesianFMRegressor,
    DenseRecRegressor,
    IDEncoder,
    MFRegressor,
    SequenceRatingRegressor,
    _checkpoints,
)
from sklrec._checkpoints import Checkpoint
from sklrec._tensor_file import read_tensor_file, write_tensor_file
from sklrec.datasets import ParquetRatings, make_ratings

X, y = make_ratings(n_users=60, n_items=40, n_ratings=1500, random_state=0)
y = y.round()
X, X_VAL, y, Y_VAL = X[:1200], X[1200:], y[:1200], y[1200:]
WEIGHT = np.random.RandomState(0).uniform(0.5, 2, len(y))
VALID = {"X_val": X_VAL, "y_val": Y_VAL}


def mf(**params):
    sweeps = params.get("solver") in ("als", "gibbs")
    own = {} if sweeps else {"max_epochs": 5, "batch_size": 256}
    return MFRegressor(**{"n_factors": 4, "random_state": 0, **own, **params})


def gibbs(**params):
    return mf(solver="gibbs", n_iter=8, n_burn_in=3, n_draws=2, **params)


def dense(**params):
    return DenseRecRegressor(
        n_factors=4, max_epochs=5, batch_size=512, dropout=0.3, random_state=0, **params
    )


# How to make an estimator, and what to fit it to besides X and y.
FITS = {
    "sgd": (mf, {}),
    "sgd, implicit, weighted": (
        lambda: mf(implicit_features=True, batch_size=100),
        {"sample_weight": WEIGHT},
    ),
    "sgd, stopping": (lambda: mf(lr=0.2, n_iter_no_change=2), VALID),
    "adam": (lambda: mf(solver="adam"), {}),
    "adam, implicit": (lambda: mf(solver="adam", implicit_features=True, batch_size=100), {}),
    "adam, by rows": (lambda: mf(solver="adam", batch_size=20), {}),
    "an optimizer": (lambda: mf(optimizer=torch.optim.NAdam, early_stopping=True), {}),
    "LBFGS": (lambda: mf(optimizer=torch.optim.LBFGS, batch_size=1200), {}),
    "als": (lambda: mf(solver="als", tol=0), {"sample_weight": WEIGHT}),
    "als, implicit, stopping": (
        lambda: mf(solver="als", n_iter=9, implicit_features=True, tol=0),
        VALID,
    ),
    "gibbs": (gibbs, {"sample_weight": WEIGHT}),
    "gibbs, implicit": (lambda: gibbs(implicit_features=True), VALID),
    "ordinal": (
        lambda: BayesianFMRegressor(
            4, loss="ordinal", n_iter=8, n_burn_in=3, n_draws=2, random_state=0
        ),
        VALID,
    ),
    "dense": (dense, {}),
    "sequence": (lambda: SequenceRatingRegressor(4, 4, max_epochs=4, random_state=0), {}),
}


class Died(Exception):
    """What stands for the end of a process."""


@pytest.fixture
def always(monkeypatch):
    """Let a checkpoint be written after each pass."""
    monkeypatch.setattr(_checkpoints, "MIN_SECONDS", 0.0)
    monkeypatch.setattr(_checkpoints, "MAX_SHARE", float("inf"))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "fit.checkpoint"


def die_after(monkeypatch, n_written, error=Died):
    """Let a fit end once it has written so many checkpoints; give the list of those."""
    written = []

    def write(path, kind, document, arrays):
        write_tensor_file(path, kind, document, arrays)
        written.append(path)
        if len(written) == n_written:
            raise error

    monkeypatch.setattr(_checkpoints, "write_tensor_file", write)
    return written


def died(monkeypatch, make, path, n_written=3, **given):
    """Let a fit die, as `die_after` says."""
    with monkeypatch.context() as patch:
        die_after(patch, n_written)
        given = {"X": X, "y": y} | given
        with pytest.raises(Died):
            make().fit(**given, checkpoint=path)


def assert_same(model, other):
    states = model.module_.state_dict(), other.module_.state_dict()
    assert states[0].keys() == states[1].keys()
    for name, values in states[0].items():
        assert torch.equal(values, states[1][name]), name
    for name in ("loss_curve_", "n_iter_", "rating_scale_", "alpha_"):
        assert getattr(model, name, None) == getattr(other, name, None)
    assert getattr(model, "validation_curve_", None) == getattr(other, "validation_curve_", None)
    np.testing.assert_array_equal(model.predict(X_VAL), other.predict(X_VAL))


@pytest.mark.parametrize("name", FITS)
@pytest.mark.usefixtures("always")
def test_it_ends_as_if_never_interrupted(name, path, monkeypatch):
    make, given = FITS[name]
    whole = make().fit(X, y, **given)
    assert 3 < whole.n_iter_  # so that something is left to do
    died(monkeypatch, make, path, **given)
    written = die_after(monkeypatch, 0)
    model = make().fit(X, y, **given, checkpoint=path)
    assert_same(model, whole)
    assert 1 < len(written) < 1 + whole.n_iter_
    # The file of the end is enough.
    written.clear()
    assert_same(make().fit(X, y, **given, checkpoint=path), whole)
    assert not written


@pytest.mark.parametrize("n_written", [1, 5, 6])
@pytest.mark.usefixtures("always")
def test_it_may_die_at_any_time(n_written, path, monkeypatch):
    died(monkeypatch, mf, path, n_written)
    assert_same(mf().fit(X, y, checkpoint=path), mf().fit(X, y))


@pytest.mark.usefixtures("always")
def test_it_may_die_in_an_epoch_and_more_than_once(path):
    class Dies(Callback):
        def __init__(self, epoch):
            self.epoch = epoch

        def on_batch_end(self, net, **kwargs):
            if len(net.history) == self.epoch:
                raise Died

    for epoch in (2, 3, 5):
        with pytest.raises(Died):
            dense(callbacks=[Dies(epoch)]).fit(X, y, checkpoint=path)
    assert_same(dense(verbose=1).fit(X, y, checkpoint=path), dense().fit(X, y))


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("resumed", [False, True])
def test_an_error_after_a_resumption_names_the_file(resumed, path, monkeypatch):
    class Fails(Callback):
        def on_epoch_end(self, net, **kwargs):
            raise RuntimeError("mat1 and mat2")

    if resumed:
        died(monkeypatch, mf, path)
    with pytest.raises(RuntimeError, match="mat1 and mat2") as failed:
        mf(callbacks=[Fails()]).fit(X, y, checkpoint=path)
    notes = getattr(failed.value, "__notes__", [])
    assert [repr(str(path)) in note for note in notes] == [True] * resumed


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("early_stopping", [False, True])
def test_chunks(early_stopping, path, monkeypatch, tmp_path):
    frame = X.assign(rating=y)
    frame.to_parquet(tmp_path / "ratings.parquet")

    def make():
        return mf(early_stopping=early_stopping)

    def source(name="ratings"):
        return ParquetRatings(tmp_path / f"{name}.parquet", rating="rating", chunk_size=500)

    whole = make().fit(source())
    died(monkeypatch, make, path, X=source(), y=None)
    frame[1:].to_parquet(tmp_path / "others.parquet")
    with pytest.raises(ValueError, match=r"another fit\. Changed: the training data"):
        make().fit(source("others"), checkpoint=path)
    assert_same(make().fit(source(), checkpoint=path), whole)


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("solver", ["sgd", "als"])
def test_random_state_none_goes_on_with_the_same(solver, path, monkeypatch):
    def make():
        return mf(solver=solver, random_state=None, early_stopping=True, tol=0)

    # None is numpy's own random state.
    np.random.seed(1)  # noqa: NPY002
    whole = make().fit(X, y)
    np.random.seed(1)  # noqa: NPY002
    died(monkeypatch, make, path)
    np.random.seed(2)  # noqa: NPY002
    assert_same(make().fit(X, y, checkpoint=path), whole)


@pytest.mark.usefixtures("always")
def test_a_random_state_has_to_be_in_the_same_state(path, monkeypatch):
    rng = np.random.RandomState(1)
    whole = mf(random_state=rng).fit(X, y)
    died(monkeypatch, lambda: mf(random_state=np.random.RandomState(1)), path)
    again = np.random.RandomState(1)
    assert_same(mf(random_state=again).fit(X, y, checkpoint=path), whole)
    assert again.randint(2**31) == rng.randint(2**31)
    with pytest.raises(ValueError, match=r"random_state \(a value with digest \w+ in the file, "):
        mf(random_state=again).fit(X, y, checkpoint=path)


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("solver", ["sgd", "adam", "als"])
def test_warm_start(solver, tmp_path, monkeypatch):
    def first():
        return mf(solver=solver, warm_start=True, tol=0).fit(X, y)

    whole = first().fit(X_VAL, Y_VAL)
    model, path = first(), tmp_path / "second"
    died(monkeypatch, lambda: model, path, X=X_VAL, y=Y_VAL)
    assert model.n_iter_ == first().n_iter_  # as it was
    assert_same(model.fit(X_VAL, Y_VAL, checkpoint=path), whole)
    with pytest.raises(ValueError, match="Changed: the model that the training starts from"):
        model.fit(X_VAL, Y_VAL, checkpoint=path)


@pytest.mark.usefixtures("always")
def test_what_may_change_and_what_may_not(path, monkeypatch):
    died(monkeypatch, mf, path, **VALID)
    content = path.read_bytes()
    for params, message in (
        ({"max_epochs": 9}, r"Changed: max_epochs \(5 in the file, 9 now\)\. Set it back"),
        ({"lr": 0.1, "alpha": 1}, r"alpha \('auto' in .*, 1 now\), lr \('auto' in .*, 0.1 now\)"),
        ({"optimizer": torch.optim.SGD}, r"optimizer \(None in the file, torch.*\.SGD now\)"),
        ({"device": torch.device("meta")}, r"device \('cpu' in the file, meta now\)"),
    ):
        with pytest.raises(ValueError, match=f"is the checkpoint of another fit.*{message}"):
            mf(**params).fit(X, y, **VALID, checkpoint=path)
    with pytest.raises(ValueError, match=r"the estimator \(sklrec.matrix_.* in the file, sklrec"):
        dense().fit(X, y, **VALID, checkpoint=path)
    for kwargs, message in (
        ({"y": y.where(y.index != 7, 3.5)}, "the training data"),
        ({"sample_weight": WEIGHT}, "the training data"),
        ({"y_val": Y_VAL + 0.1}, "the validation data"),
        ({"X_val": None, "y_val": None}, "the validation data"),
    ):
        with pytest.raises(ValueError, match=rf"Changed: {message}\. Set .* delete the file, or"):
            mf().fit(**{"X": X, "y": y} | VALID | kwargs, checkpoint=path)
    monkeypatch.setattr(torch, "__version__", "1.0")
    with pytest.raises(ValueError, match=r"Changed: torch \(.* in the file, 1\.0 now\)"):
        mf().fit(X, y, **VALID, checkpoint=path)
    monkeypatch.undo()
    assert path.read_bytes() == content
    # What changes nothing of the model may change.
    mf(verbose=2, callbacks=[]).fit(X, y, **VALID, checkpoint=path)


def test_files_that_are_none(path):
    path.write_bytes(b"my thesis")
    with pytest.raises(ValueError, match="cannot be read as a checkpoint"):
        mf().fit(X, y, checkpoint=path)
    assert path.read_bytes() == b"my thesis"
    write_tensor_file(path, "model", {}, {})
    with pytest.raises(ValueError, match="should be a checkpoint, but is a model"):
        mf().fit(X, y, checkpoint=path)
    write_tensor_file(path, "checkpoint", {"content": {"dict": [["fit", 1]]}}, {})
    with pytest.raises(ValueError, match=r"go on from \(KeyError.*\)\. Delete it, or give"):
        mf().fit(X, y, checkpoint=path)


def nested(n_levels):
    return [nested(n_levels - 1)] if n_levels else []


def entry(document, *names):
    """The pair of a name and a value that is so deep in packed dictionaries."""
    for name in names:
        pair = next(pair for pair in document["dict"] if pair[0] == name)
        document = pair[1]
    return pair


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("finished", [False, True])
@pytest.mark.parametrize(
    ("make", "names", "value"),
    [
        (mf, ["state", "module", "user_factors.weight"], {"tensor": ["0", "no device"]}),
        (mf, ["state", "module", "user_factors.weight"], {"tensor": ["0", "cuda:99"]}),
        (mf, ["state", "module"], {"dict": []}),
        (mf, ["state", "random", "own"], 3),
        (mf, ["state", "history"], None),
        (mf, ["state"], None),
        (mf, ["state"], {"dict": []}),
        (mf, ["state"], nested(600)),
        (mf, ["data"], {"dict": []}),
        (mf, ["start"], 1),
        (mf, ["fit"], []),
        (lambda: mf(random_state=None), ["random_state"], {"dict": []}),
        (lambda: mf(solver="als", tol=0), ["state", "solutions"], []),
        (lambda: mf(solver="als", tol=0), ["state", "losses"], 0),
        (gibbs, ["state", "chain", "sides"], {"dict": []}),
        (gibbs, ["state", "so_far"], {"tuple": []}),
    ],
)
def test_content_that_no_fit_has_written(make, names, value, finished, path, monkeypatch):
    if finished:
        make().fit(X, y, checkpoint=path)
    else:
        died(monkeypatch, make, path)
    document, arrays = read_tensor_file(path, "checkpoint")
    entry(document["content"], *names)[1] = value
    write_tensor_file(path, "checkpoint", document, arrays)
    with pytest.raises(ValueError, match=r"not one that this fit can go on from .* Delete it, or"):
        make().fit(X, y, checkpoint=path)


def test_a_truncated_file(path):
    mf().fit(X, y, checkpoint=path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"altered\. Copy it again from .*, or give another path"):
        mf().fit(X, y, checkpoint=path)


def test_paths_at_which_no_file_can_be(tmp_path, monkeypatch):
    with pytest.raises(TypeError, match=r"checkpoint must be None or the path .*, got 3\."):
        mf().fit(X, y, checkpoint=3)
    with pytest.raises(ValueError, match=r"there is no folder .*absent'\. Make it first"):
        mf().fit(X, y, checkpoint=tmp_path / "absent" / "file")
    with pytest.raises(ValueError, match=r"is a folder\. Give the path of a file, such as"):
        mf().fit(X, y, checkpoint=tmp_path)
    for name in ("", f"{tmp_path}/a\0b"):
        with pytest.raises(
            ValueError, match=r"cannot be the path of a file.*\. Give another path"
        ):
            mf().fit(X, y, checkpoint=name)
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(ValueError, match=r"the folder may not be written to\. Give another path"):
        mf().fit(X, y, checkpoint=tmp_path / "file")


@pytest.mark.usefixtures("always")
def test_a_disk_that_is_full_does_not_end_the_training(path, monkeypatch):
    def write(*args):
        raise OSError("no space left on device")

    monkeypatch.setattr(_checkpoints, "write_tensor_file", write)
    with pytest.warns(UserWarning, match=r"No checkpoint was written to .*: no space left"):
        model = mf().fit(X, y, checkpoint=path)
    assert_same(model, mf().fit(X, y))


class Interrupts(Callback):
    """Ctrl-C in the third epoch."""

    def on_batch_end(self, net, **kwargs):
        if len(net.history) == 3:
            raise KeyboardInterrupt


@pytest.mark.usefixtures("always")
def test_ctrl_c_keeps_the_checkpoint(path):
    model = mf(callbacks=[Interrupts()])
    with pytest.warns(UserWarning, match="after 2 whole epochs"), pytest.raises(KeyboardInterrupt):
        model.fit(X, y, checkpoint=path)
    assert model.n_iter_ == 2
    assert_same(mf().fit(X, y, checkpoint=path), mf().fit(X, y))


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize(
    ("make", "n_written", "message"),
    [
        (mf, 3, "after 2 whole epochs"),
        (mf, 6, "after 5 whole epochs"),
        (lambda: mf(solver="als", tol=0), 3, "after 3 whole sweeps"),
        (gibbs, 9, "after 8 whole sweeps"),
    ],
)
def test_ctrl_c_while_a_checkpoint_is_written(make, n_written, message, path, monkeypatch):
    model = make()
    with monkeypatch.context() as patch:
        die_after(patch, n_written, KeyboardInterrupt)
        with pytest.warns(UserWarning, match=message), pytest.raises(KeyboardInterrupt):
            model.fit(X, y, checkpoint=path)
    model.predict(X)
    assert_same(make().fit(X, y, checkpoint=path), make().fit(X, y))


def test_it_is_written_seldom(path, monkeypatch):
    now, written = [1000.0], []
    monkeypatch.setattr("time.monotonic", lambda: now[0])

    def write(*args):
        written.append(now[0])
        now[0] += 2  # seconds that writing takes

    monkeypatch.setattr(_checkpoints, "write_tensor_file", write)
    kept = Checkpoint(path, mf())
    model = mf().fit(X, y)
    data = model._training_data(model._inputs(X), y.to_numpy(), np.ones(len(y)), None)
    kept.begin(model.module_, data, None)
    for _ in range(300):
        kept.save(dict)
        now[0] += 1
    kept.finish(dict)
    # After half a minute, then once writing is 2 % of the time, and at the end.
    assert written == [1030, 1132, 1234, now[0] - 2]
    kept.finish(dict)
    assert len(written) == 4


def test_a_short_fit_writes_once(path, monkeypatch):
    written = die_after(monkeypatch, 0)
    model = mf().fit(X, y, checkpoint=str(path))
    assert written == [str(path)]
    # Nothing of it stays in the estimator.
    assert not any("heckpoint" in repr(callback) for callback in model.net_.callbacks_)
    assert_same(pickle.loads(pickle.dumps(model)), mf().fit(X, y))


def test_no_file_without_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    written = die_after(monkeypatch, 0)
    mf().fit(X, y)
    gibbs().fit(X, y)
    assert not written
    assert not list(tmp_path.iterdir())


def test_a_relative_path_is_that_of_the_start(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mf().fit(X, y, checkpoint="here")
    assert read_tensor_file(tmp_path / "here", "checkpoint")


def test_in_a_pipeline(path):
    def make():
        return make_pipeline(IDEncoder(), mf())

    whole = make().fit(X, y)
    for _ in range(2):
        model = make().fit(X, y, mfregressor__checkpoint=path)
        np.testing.assert_array_equal(model.predict(X), whole.predict(X))
    assert path.exists()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_kill_9():
    driver = Path(__file__).parent / "kill_checkpoints.py"
    done = subprocess.run(
        [sys.executable, driver, "--fits", "2", "--writes", "1", "--only", "sgd"],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=driver.parent.parent,
        env={**os.environ, "PYTHONPATH": str(driver.parent.parent)},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("0 corrupt files, 0 lost checkpoints; fits killed ")
