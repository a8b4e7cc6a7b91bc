"""Plot of the training and validation error in each epoch."""
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import pytest

import sklrec
from sklrec import (
    BayesianMFRegressor,
    DenseRecRegressor,
    MFRegressor,
    SequenceRatingRegressor,
)
from sklrec.inspection import TrainingHistoryDisplay


def test_lines_are_the_curves(mf):
    display = TrainingHistoryDisplay.from_estimator(mf)
    epochs = [1, 2, 3, 4, 5]
    assert display.line_.get_xdata().tolist() == epochs
    assert np.allclose(display.line_.get_ydata() ** 2, mf.loss_curve_)
    assert display.validation_line_.get_xdata().tolist() == epochs
    assert np.allclose(display.validation_line_.get_ydata() ** 2, mf.validation_curve_)
    assert display.ax_.get_xlabel() == "epoch"
    assert display.ax_.get_ylabel() == "RMSE (units of the ratings)"
    assert display.figure_ is display.ax_.figure
    squared = TrainingHistoryDisplay.from_estimator(mf, kind="mse")
    assert squared.line_.get_ydata().tolist() == mf.loss_curve_
    assert squared.ax_.get_ylabel() == "mean squared error (squared units of the ratings)"


def test_the_best_epoch_is_marked():
    display = TrainingHistoryDisplay([9.0, 4.0, 1.0], validation_loss=[9.0, 4.0, 6.25]).plot()
    assert display.best_epoch_ == 2
    assert display.best_line_.get_xdata() == [2, 2]
    labels = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert labels == ["training", "validation", "lowest: 2 in epoch 2"]
    later = TrainingHistoryDisplay([9.0, 4.0, 1.0, 1.0], validation_loss=[4.0, 9.0]).plot()
    assert later.validation_line_.get_xdata().tolist() == [3, 4]
    assert later.best_epoch_ == 3
    without = TrainingHistoryDisplay([2.0, 1.0]).plot()
    assert without.validation_line_ is without.best_line_ is without.best_epoch_ is None


def test_nan_is_a_gap():
    loss = [np.nan, 1.0]
    display = TrainingHistoryDisplay(loss, validation_loss=loss).plot()
    assert display.best_epoch_ == 2
    display = TrainingHistoryDisplay(loss, validation_loss=[np.nan, np.nan]).plot()
    assert display.best_epoch_ is None


@pytest.mark.parametrize(
    ("estimator", "unit"),
    [
        (MFRegressor(n_factors=2, max_epochs=2), "epoch"),
        (BayesianMFRegressor(n_factors=2, n_iter=2), "sweep"),
        (DenseRecRegressor(n_factors=2, max_epochs=2), "epoch"),
        (SequenceRatingRegressor(n_factors=2, max_epochs=2), "epoch"),
    ],
)
def test_every_estimator_has_a_history(estimator, unit, train, test, tmp_path):
    X_val, y_val = test
    estimator.set_params(random_state=0).fit(*train, X_val=X_val, y_val=y_val)
    display = TrainingHistoryDisplay.from_estimator(estimator)
    assert display.ax_.get_xlabel() == unit
    assert len(display.line_.get_ydata()) == estimator.n_iter_
    assert len(display.validation_line_.get_ydata()) == estimator.n_iter_
    sklrec.save(estimator, tmp_path / "model")
    loaded = sklrec.load(tmp_path / "model")
    assert TrainingHistoryDisplay.from_estimator(loaded).unit == unit


def test_styles_and_axes_are_used(mf):
    first = TrainingHistoryDisplay.from_estimator(mf)
    second = TrainingHistoryDisplay.from_estimator(
        mf, ax=first.ax_, line_kwargs={"lw": 5}, best_kwargs={"c": "red"}
    )
    assert second.ax_ is first.ax_
    assert second.line_.get_linewidth() == second.validation_line_.get_linewidth() == 5
    assert second.best_line_.get_color() == "red"


@pytest.mark.parametrize(
    ("loss", "validation", "kind", "message"),
    [
        ([1.0], None, "r2", "kind must be one of 'rmse', 'mse', 'loss', got 'r2'"),
        ([-1, 2], None, "rmse", "loss must be a list of mean squared errors, not negative"),
        (3, None, "rmse", "loss must be a list of mean squared errors"),
        ([1.0], [1.0, 2.0], "rmse", "loss must have a value for each epoch, got 1 values and 2"),
    ],
)
def test_bad_values_are_refused(loss, validation, kind, message):
    with pytest.raises(ValueError, match=message):
        TrainingHistoryDisplay(loss, validation_loss=validation).plot(kind=kind)
