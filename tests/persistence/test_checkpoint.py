"""ModelCheckpoint saves models that can be loaded and trained further."""
# SPDX-License-Identifier: BSD-3-Clause

import os

import numpy as np
import pytest
from comparing import assert_same
from example_models import log
from skorch import NeuralNetRegressor
from skorch.callbacks import Callback
from torch import nn

import sklrec
from sklrec import DenseRecRegressor, MFRegressor, ModelCheckpoint, SequenceRatingRegressor

X, Y = log()


class StopAfter(Callback):
    def __init__(self, n_epochs):
        self.n_epochs = n_epochs

    def on_epoch_end(self, net, **kwargs):
        if len(net.history) == self.n_epochs:
            raise RuntimeError("stopped")


@pytest.mark.parametrize(
    "estimator",
    [
        MFRegressor(2, random_state=0),
        DenseRecRegressor(2, (3,), random_state=0),
        SequenceRatingRegressor(2, 2, random_state=0),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_the_last_save_of_a_fit_that_failed_can_be_continued(tmp_path, estimator):
    path = tmp_path / "model"
    callbacks = [ModelCheckpoint(path, every_n_epochs=2), StopAfter(5)]
    with pytest.raises(RuntimeError, match="stopped"):
        estimator.set_params(max_epochs=6, callbacks=callbacks).fit(X, Y)
    assert not hasattr(estimator, "module_")
    saved = sklrec.load(path)
    assert saved.n_iter_ == len(saved.loss_curve_) == 4
    assert saved.callbacks is None
    continued = saved.set_params(warm_start=True, max_epochs=2).fit(X, Y)
    assert continued.n_iter_ == 6
    assert os.listdir(tmp_path) == ["model"]


def test_the_save_of_the_last_epoch_is_the_fitted_model(tmp_path):
    path = tmp_path / "model"
    mf = MFRegressor(2, max_epochs=3, callbacks=[ModelCheckpoint(path)], random_state=0)
    mf.fit(X, Y)
    np.testing.assert_array_equal(sklrec.load(path).predict(X), mf.predict(X))
    assert_same(sklrec.load(path), mf.set_params(callbacks=None))


def test_a_file_that_cannot_be_written_does_not_stop_the_training(tmp_path):
    checkpoint = ModelCheckpoint(tmp_path / "no_folder" / "model")
    mf = MFRegressor(2, max_epochs=2, callbacks=[checkpoint])
    with pytest.warns(UserWarning, match=r"could not be saved to '.*model': .*No such file"):
        mf.fit(X, Y)
    assert mf.n_iter_ == 2


@pytest.mark.parametrize("every_n_epochs", [0, 1.5, "1"])
def test_wrong_numbers_of_epochs_are_refused(every_n_epochs):
    mf = MFRegressor(2, callbacks=[ModelCheckpoint("model", every_n_epochs)])
    with pytest.raises(ValueError, match="every_n_epochs must be an integer of at least 1, got"):
        mf.fit(X, Y)


def test_it_is_refused_outside_of_sklrec():
    net = NeuralNetRegressor(nn.Linear(1, 1), callbacks=[ModelCheckpoint("model")], verbose=0)
    with pytest.raises(TypeError, match="ModelCheckpoint is a callback of MFRegressor, Dense"):
        net.fit(np.ones((4, 1), np.float32), np.ones((4, 1), np.float32))
