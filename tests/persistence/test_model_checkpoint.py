"""Models that `ModelCheckpoint` saves while they are trained, also if the process is killed."""
# SPDX-License-Identifier: BSD-3-Clause

import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import root_mean_squared_error
from skorch import NeuralNetRegressor
from skorch.callbacks import Callback

from sklrec import (
    MFRegressor,
    ModelCheckpoint,
    SequenceRatingRegressor,
    load,
)
from sklrec.datasets import ChunkedRatings, make_ratings

X, Y = make_ratings(100, 50, 2000, random_state=0)
TRAIN, TEST = slice(0, 1500), slice(1500, None)
CHUNKS = [(X[["user", "item"]][k : k + 500], Y[k : k + 500]) for k in range(0, 1500, 500)]
COMMON = {"n_factors": 8, "max_epochs": 8, "random_state": 0}
ESTIMATORS = {
    "MF": MFRegressor(**COMMON),
    "Sequence": SequenceRatingRegressor(**COMMON, hidden_size=4),
    "chunks": MFRegressor(**COMMON),
}
KILLED_IN_EPOCH = 5


class Kill(Callback):
    """Kill the process in the middle of an epoch, or before a save has replaced the file."""

    def __init__(self, while_saving):
        self.while_saving = while_saving

    def on_batch_end(self, net, **kwargs):
        if len(net.history) < KILLED_IN_EPOCH:
            return
        if not self.while_saving:
            os.kill(os.getpid(), signal.SIGKILL)
        Path.replace = lambda *paths: os.kill(os.getpid(), signal.SIGKILL)


def fit(name, model):
    if name == "chunks":
        return model.fit(ChunkedRatings(CHUNKS))
    return model.fit(X[TRAIN], Y[TRAIN])


def error_of(name, model):
    rows = X[["user", "item"]] if name == "chunks" else X
    return root_mean_squared_error(Y[TEST], model.predict(rows[TEST]))


def fit_until_killed(folder):
    """Fit each model in a process of its own, which is killed."""
    torch.set_num_threads(1)  # also makes a fork safe
    for name, model in ESTIMATORS.items():
        for while_saving in (False, True) if name == "MF" else (False,):
            process = os.fork()
            if process == 0:
                checkpoint = ModelCheckpoint(folder / f"{name} {while_saving}")
                fit(name, model.set_params(callbacks=[checkpoint, Kill(while_saving)]))
                os._exit(0)
            status = os.waitpid(process, 0)[1]
            assert os.WTERMSIG(status) == signal.SIGKILL


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Folder with the files of the models whose processes were killed."""
    folder = tmp_path_factory.mktemp("checkpoints")
    subprocess.run([sys.executable, __file__, folder], check=True)
    return folder


@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_fit_continues_after_its_process_was_killed(name, folder):
    saved = load(folder / f"{name} False")
    assert saved.n_iter_ == len(saved.loss_curve_) == KILLED_IN_EPOCH - 1
    assert saved.callbacks is None
    before = error_of(name, saved)
    continued = fit(name, saved.set_params(warm_start=True))
    assert continued.n_iter_ == KILLED_IN_EPOCH - 1 + COMMON["max_epochs"]
    assert error_of(name, continued) <= 1.005 * before
    uninterrupted = fit(name, ESTIMATORS[name])
    assert error_of(name, continued) == pytest.approx(error_of(name, uninterrupted), rel=0.02)
    assert continued.seen_.nnz == uninterrupted.seen_.nnz


def test_a_file_is_whole_if_the_process_is_killed_while_it_saves(folder):
    saved = load(folder / "MF True")
    assert saved.n_iter_ == KILLED_IN_EPOCH - 1
    assert np.array_equal(saved.predict(X), load(folder / "MF False").predict(X))


@pytest.mark.parametrize("every_n_epochs", [1, 3, 9])
def test_the_model_is_saved_every_n_epochs(every_n_epochs, tmp_path):
    path, plain = tmp_path / "model.sklrec", MFRegressor(**COMMON).fit(X, Y)
    checkpoint = ModelCheckpoint(path, every_n_epochs=every_n_epochs)
    model = MFRegressor(**COMMON, callbacks=[checkpoint]).fit(X, Y)
    assert np.array_equal(model.predict(X), plain.predict(X))
    if every_n_epochs > 8:
        assert not path.exists()
        return
    saved = load(path)
    assert saved.n_iter_ == 8 // every_n_epochs * every_n_epochs
    assert saved.loss_curve_ == plain.loss_curve_[: saved.n_iter_]
    if saved.n_iter_ == 8:
        assert np.array_equal(saved.predict(X), plain.predict(X))


def test_warm_starts_and_partial_fit_save_the_model_too(tmp_path):
    path = tmp_path / "model.sklrec"
    model = MFRegressor(**COMMON, warm_start=True, callbacks=[ModelCheckpoint(str(path))])
    for n_iter, method in ((1, model.partial_fit), (9, model.fit), (10, model.partial_fit)):
        method(X, Y)
        assert load(path).n_iter_ == model.n_iter_ == n_iter
        assert np.array_equal(load(path).predict(X), model.predict(X))


def test_the_validation_curve_is_saved(tmp_path):
    path = tmp_path / "model.sklrec"
    callbacks = [ModelCheckpoint(path, every_n_epochs=8)]
    model = MFRegressor(**COMMON, early_stopping=False, callbacks=callbacks)
    model.fit(X[TRAIN], Y[TRAIN], X_val=X[TEST], y_val=Y[TEST])
    assert load(path).validation_curve_ == model.validation_curve_


class RemoveFolder(Callback):
    """Remove the folder of the file during the training."""

    def __init__(self, folder):
        self.folder = folder

    def on_epoch_begin(self, net, **kwargs):
        if self.folder.exists():
            self.folder.rmdir()


def test_a_fit_continues_if_the_file_cannot_be_written(tmp_path):
    path = tmp_path / "missing" / "model.sklrec"
    path.parent.mkdir()
    callbacks = [ModelCheckpoint(path, every_n_epochs=8), RemoveFolder(path.parent)]
    model = MFRegressor(**COMMON, callbacks=callbacks)
    message = f"could not be saved to '{path}': .*No such file.* The training continues"
    with pytest.warns(UserWarning, match=message) as caught:
        model.fit(X, Y)
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plain = MFRegressor(**COMMON).fit(X, Y)
    assert np.array_equal(model.predict(X), plain.predict(X))


def test_the_path_is_checked_before_the_training(tmp_path):
    model = MFRegressor(**COMMON, callbacks=[ModelCheckpoint(tmp_path / "no_folder" / "model")])
    with pytest.raises(FileNotFoundError, match=r"no_folder/model'$"):
        model.fit(X, Y)
    with pytest.raises(IsADirectoryError):
        model.set_params(callbacks=[ModelCheckpoint(tmp_path)]).fit(X, Y)
    assert not hasattr(model, "module_")
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("every_n_epochs", [0, -1, 1.5, None, "1"])
def test_the_number_of_epochs_must_be_a_positive_integer(every_n_epochs, tmp_path):
    checkpoint = ModelCheckpoint(tmp_path / "model.sklrec", every_n_epochs=every_n_epochs)
    model = MFRegressor(callbacks=[checkpoint])
    with pytest.raises(ValueError, match="every_n_epochs must be an integer of at least 1, got"):
        model.fit(X, Y)
    assert not hasattr(model, "module_")


def test_a_net_outside_of_the_estimators_is_refused(tmp_path):
    checkpoint = ModelCheckpoint(tmp_path / "model.sklrec")
    net = NeuralNetRegressor(torch.nn.Linear(2, 1), callbacks=[checkpoint])
    with pytest.raises(TypeError, match=r"ModelCheckpoint is a callback of MFRegressor, .* got a"):
        net.fit(np.ones((4, 2), np.float32), np.ones((4, 1), np.float32))


if __name__ == "__main__":
    fit_until_killed(Path(sys.argv[1]))
