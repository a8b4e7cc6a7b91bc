"""What stands between skorch and the estimators."""
# SPDX-License-Identifier: BSD-3-Clause

import copy
import pickle

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback, EpochScoring, LRScheduler

from sklrec import MFRegressor
from sklrec._solvers.tensors import BatchIterator, InteractionTensors
from sklrec.datasets import make_ratings

X, Y = make_ratings(60, 40, 1000, random_state=0)
X_VAL, Y_VAL = X[800:], Y[800:]
WEIGHT = np.random.default_rng(0).uniform(0.1, 3, len(Y))


def mf(**options):
    return MFRegressor(**{"n_factors": 4, "max_epochs": 3, "random_state": 0, **options})


def mean_squared_error(model, X, y, weight=None):
    return np.average((model.predict(X) - y) ** 2, weights=weight)


# --- batches


@pytest.fixture
def tensors():
    n = torch.arange(10)
    return InteractionTensors({"users": n, "items": 10 * n}, n / 2, 1.0 + n)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_weights_of_rows_and_the_mean_square():
    codes = torch.tensor([1, 1, 1, 3])
    ratings = torch.tensor([1.0, 2.0, 3.0, 6.0])
    data = InteractionTensors({"users": codes}, ratings)
    assert data.row_weights("users", 5).tolist() == [0, 3, 0, 1, 0]
    assert data.mean_square(torch.tensor(3.0)) == pytest.approx((4 + 1 + 0 + 9) / 4)
    weighted = InteractionTensors({"users": codes}, ratings, torch.tensor([1.0, 2.0, 0.5, 4.0]))
    assert weighted.row_weights("users", 5).tolist() == [0, 3.5, 0, 4, 0]


def order_of(batches):
    return torch.cat([inputs["users"] for inputs, _ in batches]).tolist()


def test_an_epoch_has_every_row_once_and_whole(tensors):
    iterator = BatchIterator(tensors, batch_size=4, generator=generator())
    batches = list(iterator)
    assert [len(ratings) for _, ratings in batches] == [4, 4, 2]
    assert len(iterator) == 3
    assert sorted(order_of(batches)) == list(range(10))
    for inputs, ratings in batches:
        assert list(inputs) == ["users", "items", "sample_weight"]
        assert torch.equal(inputs["items"], 10 * inputs["users"])
        assert torch.equal(inputs["sample_weight"], 1.0 + inputs["users"])
        assert torch.equal(ratings, inputs["users"] / 2)


@pytest.mark.parametrize(("batch_size", "n_batches"), [(1, 10), (5, 2), (10, 1), (99, 1)])
def test_number_of_batches(tensors, batch_size, n_batches):
    iterator = BatchIterator(tensors, batch_size, generator())
    assert len(iterator) == len(list(iterator)) == n_batches


def test_the_order_comes_from_the_generator(tensors):
    iterator = BatchIterator(tensors, 4, generator())
    first, second = order_of(iterator), order_of(iterator)
    assert first != second
    again = BatchIterator(tensors, 4, generator())
    assert [order_of(again), order_of(again)] == [first, second]
    assert order_of(BatchIterator(tensors, 4, generator(1))) != first


def test_without_a_generator_rows_keep_their_order(tensors):
    assert order_of(BatchIterator(tensors, 4)) == list(range(10))


def test_one_row_of_the_data_can_still_be_looked_at(tensors):
    inputs, rating = tensors[3]
    assert {name: value.item() for name, value in inputs.items()} == {
        "users": 3,
        "items": 30,
        "sample_weight": 4,
    }
    assert rating == 1.5
    assert len(tensors) == 10


def test_nothing_is_indexed_row_by_row(monkeypatch):
    def refuse(self, index):
        raise AssertionError("a row was indexed")

    monkeypatch.setattr(InteractionTensors, "__getitem__", refuse)
    model = mf(batch_size=100).fit(X, Y, X_val=X_VAL, y_val=Y_VAL)
    model.partial_fit(X, Y)
    assert np.isfinite(model.predict(X)).all()


# --- losses


class Recorder(Callback):
    """Copies of the module, and the names of what happened, in order."""

    def __init__(self):
        self.modules = []
        self.events = []

    def on_train_begin(self, net, **kwargs):
        self.events.append("train begin")
        self.modules.append(copy.deepcopy(net.module_))

    def on_epoch_begin(self, net, **kwargs):
        self.events.append("epoch begin")

    def on_batch_end(self, net, batch, training, loss, y_pred, **kwargs):
        assert y_pred.shape == batch[1].shape
        assert loss.ndim == 0
        self.events.append("batch" if training else "validation batch")

    def on_epoch_end(self, net, **kwargs):
        self.events.append("epoch end")
        self.modules.append(copy.deepcopy(net.module_))

    def on_train_end(self, net, **kwargs):
        self.events.append("train end")


@pytest.mark.parametrize("solver", ["sgd", "adam"])
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["unweighted", "weighted"])
def test_losses_are_mean_squared_errors_in_units_of_the_ratings(solver, weight):
    recorder = Recorder()
    model = mf(solver=solver, batch_size=len(Y), callbacks=[recorder], rating_scale=None)
    model.fit(X, Y, weight, X_val=X_VAL, y_val=Y_VAL)
    before, *after = [copy.deepcopy(model) for _ in recorder.modules]
    for each, module in zip([before, *after], recorder.modules, strict=True):
        each.module_ = module
    # With one batch, an epoch's loss is that before its step.
    train = [mean_squared_error(each, X, Y, weight) for each in [before, *after[:-1]]]
    valid = [mean_squared_error(each, X_VAL, Y_VAL) for each in after]
    assert model.loss_curve_ == pytest.approx(train, rel=1e-4)
    assert model.validation_curve_ == pytest.approx(valid, rel=1e-4)
    assert model.n_iter_ == 3


def test_the_loss_of_an_epoch_weighs_batches_by_their_rows():
    """The last batch is small; weights are very unequal."""
    weight_val = np.where(np.arange(len(Y_VAL)) < 150, 0.01, 1)
    model = mf(batch_size=150, rating_scale=None, early_stopping=False)
    model.fit(X, Y, X_val=X_VAL, y_val=Y_VAL)
    assert model.validation_curve_[-1] == pytest.approx(mean_squared_error(model, X_VAL, Y_VAL))
    model.fit(X, Y, X_val=X_VAL, y_val=Y_VAL, sample_weight_val=weight_val)
    expected = mean_squared_error(model, X_VAL, Y_VAL, weight_val)
    assert model.validation_curve_[-1] == pytest.approx(expected)


def test_the_penalty_is_not_in_the_loss():
    with_penalty = mf(max_epochs=1, batch_size=len(Y), alpha=10.0).fit(X, Y)
    without = mf(max_epochs=1, batch_size=len(Y), alpha=0.0).fit(X, Y)
    assert with_penalty.loss_curve_ == without.loss_curve_
    assert not np.array_equal(with_penalty.user_factors_, without.user_factors_)


# --- callbacks of skorch


def test_callbacks_hear_of_everything():
    recorder = Recorder()
    mf(max_epochs=2, batch_size=600, callbacks=[recorder]).fit(X, Y, X_val=X_VAL, y_val=Y_VAL)
    epoch = ["epoch begin", "batch", "batch", "validation batch", "epoch end"]
    assert recorder.events == ["train begin", *epoch, *epoch, "train end"]


def test_a_schedule_of_ones_own():
    schedule = LRScheduler("StepLR", step_size=1, gamma=0.5)
    model = mf(lr=0.02, lr_schedule="constant", callbacks=[("own", schedule)]).fit(X, Y)
    assert model.net_.history[:, "event_lr"] == pytest.approx([0.02, 0.01, 0.005])
    constant = mf(lr=0.02, lr_schedule="constant").fit(X, Y)
    assert not np.array_equal(model.user_biases_, constant.user_biases_)


def test_a_schedule_of_ones_own_in_a_further_training():
    schedule = LRScheduler("StepLR", step_size=100, gamma=0.5)
    model = mf(lr=0.02, lr_schedule="constant", callbacks=[schedule]).fit(X, Y)
    model.partial_fit(X, Y)
    assert model.net_.history[:, "event_lr"] == pytest.approx([0.02] * 4)


@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_the_linear_schedule_falls_to_zero_with_every_batch(solver):
    model = mf(solver=solver, lr=0.08, max_epochs=2, batch_size=250).fit(X, Y)
    rates = model.net_.history[:, "batches", :, "event_lr"]
    assert np.ravel(rates) == pytest.approx(0.08 * np.arange(8, 0, -1) / 8)
    assert model.net_.optimizer_.param_groups[0]["lr"] == pytest.approx(0, abs=1e-12)


def test_a_warm_start_runs_through_the_schedule_anew():
    model = mf(warm_start=True, batch_size=250).fit(X, Y).fit(X, Y)
    rates = np.ravel(model.net_.history[:, "batches", :, "event_lr"])
    assert rates[:12] == pytest.approx(rates[0] * np.arange(12, 0, -1) / 12)
    assert rates[12:] == pytest.approx(rates[:12])


@pytest.mark.parametrize("use_caching", [False, True])
def test_scores_on_the_validation_data(use_caching):
    scoring = EpochScoring(
        "neg_mean_absolute_error", name="mae", lower_is_better=False, use_caching=use_caching
    )
    model = mf(batch_size=150, callbacks=[scoring], rating_scale=None)
    model.fit(X, Y, X_val=X_VAL, y_val=Y_VAL)
    error = np.abs(model.predict(X_VAL) - Y_VAL).mean()
    assert model.net_.history[-1, "mae"] == pytest.approx(-error)


def test_the_net_predicts_from_codes():
    model = mf(rating_scale=None).fit(X, Y)
    users, items = (
        vocabulary.codes(X[name].array)
        for name, vocabulary in zip(("user", "item"), model.encoder_.vocabularies_, strict=True)
    )
    predictions = model.net_.predict({"users": users, "items": items})
    np.testing.assert_allclose(predictions, model.predict(X), rtol=1e-6)


def test_the_net_is_one_of_skorch_with_a_history():
    model = mf().fit(X, Y)
    assert model.net_.module_ is model.module_
    assert len(model.net_.history) == model.n_iter_ == 3
    assert {"epoch", "dur", "train_loss"} <= set(model.net_.history[-1])


# --- pickles


@pytest.mark.parametrize("solver", ["sgd", "adam"])
@pytest.mark.parametrize("early_stopping", [False, True])
def test_a_pickle_holds_the_tables_once(solver, early_stopping):
    model = mf(n_factors=1000, solver=solver, early_stopping=early_stopping).fit(X, Y)
    tables = sum(table.nbytes for table in model.module_.parameters())
    moments = 2 * tables if solver == "adam" else 0  # what partial_fit goes on with
    assert len(pickle.dumps(model)) < 1.1 * (tables + moments)


@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_what_belongs_together_is_together_after_unpickling(solver):
    model = pickle.loads(pickle.dumps(mf(solver=solver).fit(X, Y)))
    net = model.net_
    assert net.module is net.module_ is model.module_
    held = {id(table) for group in net.optimizer_.param_groups for table in group["params"]}
    assert held == {id(table) for table in model.module_.parameters()}


@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_a_model_goes_on_after_unpickling_as_it_would_have(solver):
    model = mf(solver=solver).fit(X, Y)
    again = pickle.loads(pickle.dumps(model))
    assert np.array_equal(
        again.partial_fit(X_VAL, Y_VAL).predict(X), model.partial_fit(X_VAL, Y_VAL).predict(X)
    )


# --- progress


def test_nothing_is_shown_by_default(capfd):
    mf(early_stopping=True, n_iter_no_change=1, tol=10.0).fit(X, Y).partial_fit(X, Y).predict(X)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("verbose", [1, True])
def test_a_bar_shows_the_progress(capfd, verbose):
    mf(verbose=verbose).fit(X, Y, X_val=X_VAL, y_val=Y_VAL)
    out, err = capfd.readouterr()
    assert out == ""
    assert "fit" in err
    assert "3/3" in err
    assert "train RMSE" in err
    assert "valid RMSE" in err


def test_the_bar_shows_root_mean_squared_errors(capfd):
    model = mf(verbose=1).fit(X, Y)
    assert f"train RMSE={model.loss_curve_[-1] ** 0.5:.4f}" in capfd.readouterr().err


def test_a_model_with_a_bar_can_be_pickled(capfd):
    model = mf(verbose=1).fit(X, Y)
    assert np.array_equal(pickle.loads(pickle.dumps(model)).predict(X), model.predict(X))


def test_a_line_for_each_epoch(capfd):
    mf(verbose=2).fit(X, Y, X_val=X_VAL, y_val=Y_VAL)
    out, err = capfd.readouterr()
    header, _, *epochs = out.strip().splitlines()
    assert {"epoch", "train_loss", "valid_loss", "dur"} <= set(header.split())
    assert len(epochs) == 3
    assert err == ""
