"""Parameters of the training that all estimators trained by skorch share."""
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import pytest
import torch
from sklearn.base import clone
from skorch.callbacks import Callback, EarlyStopping, LRScheduler

from sklrec import DenseRecRegressor, MFRegressor, SequenceRatingRegressor
from sklrec.datasets import make_ratings

X, Y = make_ratings(60, 40, 1000, random_state=0)
SMALL = {"n_factors": 4, "max_epochs": 4, "batch_size": 250, "random_state": 0}
each = pytest.mark.parametrize(
    "estimator",
    [
        MFRegressor(**SMALL),
        MFRegressor(svdpp=True, **SMALL),
        DenseRecRegressor(hidden_layer_sizes=(8,), **SMALL),
        SequenceRatingRegressor(hidden_size=3, **SMALL),
    ],
    ids=["mf", "svdpp", "dense", "sequence"],
)


def names_of(model):
    return [name for name, _ in model.net_.callbacks_]


@each
@pytest.mark.parametrize("name", ["Adam", "AdamW", "SGD", "RMSprop", "Adagrad", "Adafactor"])
def test_any_optimizer_of_torch_trains(estimator, name):
    optimizer = getattr(torch.optim, name)
    model = clone(estimator).set_params(optimizer=optimizer, lr=0.01, max_epochs=8).fit(X, Y)
    assert isinstance(model.net_.optimizer_, optimizer)
    assert clone(model).optimizer is optimizer
    assert model.loss_curve_[-1] < model.loss_curve_[0]
    assert not next(model.module_.parameters()).grad.is_sparse


@each
def test_what_is_no_optimizer_is_refused(estimator):
    with pytest.raises(TypeError, match="optimizer must be None or a subclass of"):
        clone(estimator).set_params(optimizer=dict).fit(X, Y)


class CountRows(Callback):
    """Record the number of rows of both data sets."""

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        self.n_train = len(X)
        self.n_valid = len(net.get_split_datasets(X, y)[1] or ())


@each
@pytest.mark.parametrize(
    ("early_stopping", "n_valid"), [(0.2, 200), (True, 100), ("auto", 0), (False, 0)]
)
def test_early_stopping_holds_out_a_share(estimator, early_stopping, n_valid):
    counts = CountRows()
    model = clone(estimator).set_params(early_stopping=early_stopping, callbacks=[counts])
    model.fit(X, Y)
    assert (counts.n_train, counts.n_valid) == (1000 - n_valid, n_valid)
    assert hasattr(model, "validation_curve_") is (n_valid > 0)
    assert ("early_stopping" in names_of(model)) is (n_valid > 0)
    model.fit(X, Y, X_val=X[:300], y_val=Y[:300])
    assert (counts.n_train, counts.n_valid) == (1000, 300)
    assert ("early_stopping" in names_of(model)) is bool(early_stopping)


@each
@pytest.mark.parametrize("early_stopping", [0.0, 1.0, 1, -0.5, "always"])
def test_a_share_to_hold_out_lies_between_0_and_1(estimator, early_stopping):
    with pytest.raises(ValueError, match="The 'early_stopping' parameter of"):
        clone(estimator).set_params(early_stopping=early_stopping).fit(X, Y)


@each
@pytest.mark.parametrize("named", [False, True])
def test_own_callbacks_replace_the_schedule_and_early_stopping(estimator, named):
    schedule = LRScheduler("StepLR", step_size=1, gamma=0.5)
    stopping = EarlyStopping(patience=1, threshold=1e9)
    callbacks = [("halved", schedule), ("own", stopping)] if named else [schedule, stopping]
    model = clone(estimator).set_params(lr=0.02, early_stopping=0.2, callbacks=callbacks)
    model.fit(X, Y)
    assert model.n_iter_ == 2  # the second epoch is not better by 1e9
    first, second = model.net_.history[:, "event_lr"]
    assert second == pytest.approx(first / 2)
    assert not {"lr_schedule", "early_stopping"} & set(names_of(model))
    assert np.isfinite(model.predict(X)).all()


@each
def test_the_built_in_schedule_falls_to_zero(estimator):
    model = clone(estimator).fit(X, Y)
    rates = np.ravel(model.net_.history[:, "batches", :, "event_lr"])
    assert (np.diff(rates) < 0).all()
    assert model.net_.optimizer_.param_groups[0]["lr"] == pytest.approx(0, abs=1e-12)
    assert "lr_schedule" in names_of(model)
