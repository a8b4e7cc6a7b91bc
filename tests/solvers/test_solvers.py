"""The solvers: how well they train, when they stop, and what they leave behind."""
# SPDX-License-Identifier: BSD-3-Clause

import copy
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from sklearn.model_selection import GridSearchCV
from skorch.callbacks import Callback
from torch.testing import assert_close

from sklrec import IDEncoder, MFRegressor
from sklrec.datasets import make_ratings

X, Y = make_ratings(60, 40, 1000, random_state=0)
NEW = X.assign(user=X["user"] + 30, item=X["item"] + 1000)  # half of the users, all items


def mf(**options):
    return MFRegressor(**{"n_factors": 4, "max_epochs": 3, "random_state": 0, **options})


def state_of(model):
    """What a failure must leave as it was, by value."""
    return {
        "tables": copy.deepcopy(model.module_.state_dict()),
        "predictions": torch.from_numpy(model.predict(X)),
        "history": torch.tensor(model.net_.history[:, "train_loss"]),
        "loss": torch.tensor(model.loss_curve_),
        "users": torch.from_numpy(model.encoder_.categories_[0].copy()),
        "seen": torch.from_numpy(model.seen_.toarray()),
        "scale": torch.tensor(model.rating_scale_),
    }


class Interrupt(Callback):
    """Presses Ctrl-C, as it were, once training has gone so far."""

    def __init__(self, event, epoch=1):
        self.event = event
        self.epoch = epoch

    def notify(self, event, net):
        if event == self.event and len(net.history) >= self.epoch:
            raise KeyboardInterrupt

    def on_train_begin(self, net, **kwargs):
        self.notify("train begin", net)

    def on_epoch_begin(self, net, **kwargs):
        self.notify("epoch begin", net)

    def on_batch_end(self, net, training, **kwargs):
        self.notify("batch end" if training else "validation batch end", net)

    def on_epoch_end(self, net, **kwargs):
        self.notify("epoch end", net)


# --- how well they train


@pytest.fixture(scope="module")
def planted():
    X, y, truth = make_ratings(
        400, 150, 20_000, n_factors=2, noise=0.3, return_truth=True, random_state=0
    )
    train, test = slice(None, 18_000), slice(18_000, None)
    floor = np.sqrt(np.mean((y[test] - truth.expected[test]) ** 2))
    return X[train], y[train], X[test], y[test], floor


@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_the_error_comes_near_to_the_planted_noise(planted, solver):
    X, y, X_test, y_test, floor = planted
    model = MFRegressor(n_factors=8, solver=solver, batch_size=512, random_state=0).fit(X, y)
    error = np.sqrt(np.mean((model.predict(X_test) - y_test) ** 2))
    biases_alone = MFRegressor(n_factors=1, init_std=1e-9, random_state=0).fit(X, y)
    worse = np.sqrt(np.mean((biases_alone.predict(X_test) - y_test) ** 2))
    assert floor < error < 1.15 * floor < worse


@pytest.mark.parametrize("solver", ["sgd", "adam"])
@pytest.mark.parametrize("lr_schedule", ["linear", "constant"])
def test_every_schedule_trains(solver, lr_schedule):
    model = mf(solver=solver, lr_schedule=lr_schedule, max_epochs=10).fit(X, Y)
    assert model.loss_curve_[-1] < 0.9 * model.loss_curve_[0]


def test_the_learning_rate_of_sgd_does_not_depend_on_the_batch_size():
    """Many small batches and few large ones go about as far."""
    errors = [
        mf(max_epochs=5, lr=0.01, lr_schedule="constant", batch_size=n).fit(X, Y).loss_curve_[-1]
        for n in (50, 200)
    ]
    assert errors[0] == pytest.approx(errors[1], rel=0.05)


def test_few_users_and_items_with_very_many_ratings_are_stable():
    rng = np.random.default_rng(0)
    X = rng.integers(0, 5, (20_000, 2))
    y = rng.normal(size=(5, 5))[X[:, 0], X[:, 1]] + 3
    model = MFRegressor(n_factors=4, random_state=0).fit(X, y)
    assert model.score(X, y) > 0.7


# --- early stopping


class Weights(Callback):
    """Copies the tables after every epoch."""

    def __init__(self):
        self.copies = []

    def on_epoch_end(self, net, **kwargs):
        self.copies.append(copy.deepcopy(net.module_.state_dict()))


@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_the_best_epoch_is_restored(solver):
    weights = Weights()
    model = mf(
        solver=solver,
        alpha=0.0,
        n_factors=32,
        max_epochs=200,
        lr=0.1 if solver == "sgd" else 0.05,
        n_iter_no_change=4,
        tol=0.0,
        callbacks=[weights],
        lr_schedule="constant",
    )
    model.fit(X[:800], Y[:800], X_val=X[800:], y_val=Y[800:])
    best = int(np.argmin(model.validation_curve_))
    assert model.n_iter_ == len(model.validation_curve_) < 200
    assert best == model.n_iter_ - 1 - 4
    assert_close(model.module_.state_dict(), weights.copies[best], rtol=0, atol=0)


def test_a_large_tolerance_stops_sooner_but_keeps_the_best_epoch():
    weights = Weights()
    model = mf(max_epochs=50, n_iter_no_change=3, tol=1e9, callbacks=[weights])
    model.fit(X[:800], Y[:800], X_val=X[800:], y_val=Y[800:])
    assert model.n_iter_ == 1 + 3  # the first epoch beats no epoch
    best = int(np.argmin(model.validation_curve_))
    assert best > 0
    assert_close(model.module_.state_dict(), weights.copies[best], rtol=0, atol=0)


def test_the_tolerance_means_the_same_on_any_scale():
    options = {"max_epochs": 50, "n_iter_no_change": 2, "tol": 1e-2, "lr_schedule": "constant"}
    stars, points = (
        mf(**options).fit(X[:800], k * Y[:800], X_val=X[800:], y_val=k * Y[800:]).n_iter_
        for k in (1, 20)
    )
    assert stars == points < 50


def test_early_stopping_holds_out_a_part():
    model = mf(early_stopping=True, validation_fraction=0.25, max_epochs=2).fit(X, Y)
    batches = model.net_.history[0, "batches"]
    assert sum(batch.get("train_batch_size", 0) for batch in batches) == 750
    assert sum(batch.get("valid_batch_size", 0) for batch in batches) == 250
    assert len(model.validation_curve_) == 2


def test_what_is_held_out_still_counts_as_seen_and_rated():
    model = mf(early_stopping=True, validation_fraction=0.9, max_epochs=1).fit(X, Y)
    assert model.seen_.nnz == len(X)
    assert model.rating_scale_ == (Y.min(), Y.max())
    assert len(model.encoder_.categories_[1]) == X["item"].nunique()


@pytest.mark.parametrize(
    ("early_stopping", "given", "curve", "stops"),
    [
        ("auto", False, False, False),
        ("auto", True, True, True),
        (True, False, True, True),
        (True, True, True, True),
        (False, True, True, False),
        (False, False, False, False),
    ],
)
def test_when_training_stops_early(early_stopping, given, curve, stops):
    model = mf(early_stopping=early_stopping, n_iter_no_change=1, tol=1e9, max_epochs=5)
    model.fit(X, Y, **({"X_val": X, "y_val": Y} if given else {}))
    assert hasattr(model, "validation_curve_") is curve
    # The first epoch is better than none, the second not by 1e9.
    assert model.n_iter_ == (2 if stops else 5)


# --- going on


def test_the_state_of_adam_goes_on():
    options = {"solver": "adam", "lr_schedule": "constant", "lr": 0.01, "batch_size": len(Y)}
    whole = mf(max_epochs=2, **options).fit(X, Y)
    parts = mf(max_epochs=1, warm_start=True, **options).fit(X, Y)
    first = copy.deepcopy(parts)
    parts.fit(X, Y)
    assert_close(parts.module_.state_dict(), whole.module_.state_dict(), rtol=1e-3, atol=1e-5)
    assert parts.loss_curve_ == pytest.approx(whole.loss_curve_, rel=1e-4)

    forgetful = copy.deepcopy(first)
    forgetful.net_.optimizer_.state.clear()
    forgetful.fit(X, Y)
    difference = forgetful.module_.user_biases - whole.module_.user_biases
    assert difference.abs().max() > 1e-3


def test_with_a_few_further_ratings_the_state_of_adam_starts_anew():
    """Else its momentum would move what these ratings have nothing to do with."""
    model = mf(solver="adam").fit(X, Y)
    before = model.user_biases_.copy()
    rows = X["user"] == X["user"].iloc[0]
    model.partial_fit(X[rows], Y[rows])
    moved = model.user_biases_ != before
    assert moved.sum() == 1


def test_only_tables_that_grew_forget_their_state():
    model = mf(solver="adam", max_epochs=1, batch_size=len(Y), warm_start=True).fit(X, Y)
    model.fit(X.assign(user=X["user"] + 1000), Y)
    steps = {
        name: model.net_.optimizer_.state[table]["step"].item()
        for name, table in model.module_.named_parameters()
    }
    assert steps == {
        "user_factors.weight": 1,
        "user_biases": 1,
        "item_factors.weight": 2,
        "item_biases": 2,
    }


def test_going_on_leaves_a_shallow_copy_alone():
    model = mf(solver="adam").fit(X, Y)
    other, before = copy.copy(model), state_of(model)
    other.partial_fit(NEW, Y * 2)
    assert_close(state_of(model), before, rtol=0, atol=0)
    assert other.n_iter_ == 4
    assert model.n_iter_ == 3


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"solver": "sgd"}, {"solver": "adam"}),
        ({"solver": "adam"}, {"solver": "sgd"}),
        ({"optimizer": torch.optim.Rprop}, {"optimizer": torch.optim.Adam}),
        ({"solver": "sgd"}, {"optimizer": torch.optim.SGD, "lr": 0.1}),
    ],
)
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_another_solver_may_go_on(before, after, method):
    model = mf(warm_start=True, **before).fit(X, Y)
    loss = model.loss_curve_[-1]
    getattr(model.set_params(**after), method)(X, Y)
    assert model.loss_curve_[-1] < loss


def rmse(model, X, y):
    return np.sqrt(np.mean((model.predict(X) - y) ** 2))


@pytest.mark.parametrize("again", ["partial_fit", "fit"])
def test_going_on_does_not_harm_what_was_learned(again):
    X, y = make_ratings(300, 200, 20_000, random_state=0)
    train, test = slice(18_000), slice(18_000, None)
    model = MFRegressor(n_factors=8, warm_start=True, random_state=0).fit(X[train], y[train])
    before = rmse(model, X[test], y[test])
    part = slice(18_000) if again == "fit" else slice(2_000)
    for _ in range(3):
        getattr(model, again)(X[part], y[part])
    assert rmse(model, X[test], y[test]) < before + 0.01


def test_new_users_are_learned_in_a_few_passes():
    X, y = make_ratings(300, 200, 20_000, random_state=0)
    late = (X["user"] >= 270).to_numpy()
    first = np.flatnonzero(late)[::2]  # half of what the late users rated
    rest = np.flatnonzero(late)[1::2]
    model = MFRegressor(n_factors=8, random_state=0).fit(X[~late], y[~late])
    unknown = rmse(model, X.iloc[rest], y.iloc[rest])
    for _ in range(3):
        model.partial_fit(X.iloc[first], y.iloc[first])
    whole = MFRegressor(n_factors=8, random_state=0).fit(
        X.drop(X.index[rest]), y.drop(y.index[rest])
    )
    best = rmse(whole, X.iloc[rest], y.iloc[rest])
    known = rmse(model, X.iloc[rest], y.iloc[rest])
    assert known < unknown - 0.6 * (unknown - best)


# --- divergence


def test_divergence_is_an_error_and_changes_nothing():
    model = mf(solver="adam", batch_size=200).fit(X, Y)
    before = state_of(model)
    model.set_params(lr=1e30, warm_start=True)
    text = (
        r"The training diverged with lr=1e\+30: the factors are no longer finite\. Use a lower "
        r"lr, or a larger alpha\."
    )
    for method in (model.fit, model.partial_fit):
        with pytest.raises(ValueError, match=text):
            method(NEW, Y * 2)
        assert_close(state_of(model), before, rtol=0, atol=0)


# --- interruption


@pytest.mark.parametrize("event", ["batch end", "validation batch end"])
@pytest.mark.parametrize("epoch", [1, 3])
def test_ctrl_c_in_an_epoch_leaves_a_model_and_a_warning(event, epoch):
    model = mf(max_epochs=50, batch_size=200, callbacks=[Interrupt(event, epoch)])
    text = f"interrupted after {epoch - 1} whole epochs of 50; the model is what it had become"
    with pytest.warns(UserWarning, match=text), pytest.raises(KeyboardInterrupt):
        model.fit(X, Y, X_val=X, y_val=Y)
    assert model.n_iter_ == len(model.loss_curve_) == len(model.validation_curve_) == epoch - 1
    assert np.isfinite(model.predict(X)).all()
    assert len(model.recommend([X["user"].iloc[0]], 3)) == 3
    model.set_params(callbacks=None).partial_fit(X, Y)
    assert model.n_iter_ == epoch


def test_ctrl_c_in_a_further_training_counts_its_own_epochs():
    model = mf(max_epochs=4, warm_start=True).fit(X, Y)
    model.set_params(callbacks=[Interrupt("batch end", epoch=6)])
    text = "interrupted after 1 whole epochs of 4;"
    with pytest.warns(UserWarning, match=text), pytest.raises(KeyboardInterrupt):
        model.fit(X, Y)
    assert model.n_iter_ == 5


def test_ctrl_c_keeps_the_steps_of_the_epoch():
    untrained = mf(batch_size=100, lr=1e-9, max_epochs=1).fit(X, Y)
    model = mf(batch_size=100, callbacks=[Interrupt("batch end")])
    text = "interrupted after 0 whole epochs of 3"
    with pytest.warns(UserWarning, match=text), pytest.raises(KeyboardInterrupt):
        model.fit(X, Y)
    moved = np.abs(model.user_biases_ - untrained.user_biases_) > 1e-6
    assert 0 < moved.sum() < len(moved)


@pytest.mark.parametrize(("event", "n_epochs"), [("epoch begin", 1), ("epoch end", 2)])
def test_a_callback_may_stop_between_epochs(event, n_epochs, recwarn):
    """skorch's way to stop: its own EarlyStopping raises KeyboardInterrupt too."""
    model = mf(max_epochs=50, callbacks=[Interrupt(event, epoch=2)]).fit(X, Y)
    assert model.n_iter_ == len(model.loss_curve_) == n_epochs
    assert np.isfinite(model.predict(X)).all()
    assert not recwarn.list


def test_ctrl_c_with_early_stopping_leaves_the_best_epoch():
    weights = Weights()
    callbacks = [weights, Interrupt("batch end", epoch=4)]
    model = mf(max_epochs=50, callbacks=callbacks, tol=0.0)
    text = "interrupted after 3 whole epochs"
    with pytest.warns(UserWarning, match=text), pytest.raises(KeyboardInterrupt):
        model.fit(X, Y, X_val=X, y_val=Y)
    best = weights.copies[int(np.argmin(model.validation_curve_))]
    assert_close(model.module_.state_dict(), best, rtol=0, atol=0)


@pytest.mark.filterwarnings("ignore:Training was interrupted:UserWarning")
def test_ctrl_c_stops_a_search():
    search = GridSearchCV(mf(callbacks=[Interrupt("batch end")]), {"n_factors": [2, 3]}, cv=2)
    with pytest.raises(KeyboardInterrupt):
        search.fit(X, Y)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_ctrl_c_before_the_training_leaves_the_estimator_as_it_was(method, monkeypatch):
    def interrupt(*args):
        raise KeyboardInterrupt

    fresh = mf()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(IDEncoder, "fit", interrupt)
        getattr(fresh, method)(X, Y)
    assert vars(fresh) == vars(mf())

    model = mf(warm_start=True).fit(X, Y)
    before, attributes = state_of(model), dict(vars(model))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(IDEncoder, "partial_fit", interrupt)
        getattr(model, method)(NEW, Y * 2)
    assert vars(model) == attributes
    with pytest.raises(KeyboardInterrupt):
        getattr(model.set_params(callbacks=[Interrupt("train begin")]), method)(NEW, Y * 2)
    assert_close(state_of(model), before, rtol=0, atol=0)


SIGINT_SCRIPT = """
import signal, sys, warnings
import numpy as np
from skorch.callbacks import Callback
from sklrec import MFRegressor
from sklrec.datasets import make_ratings

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it

class Ready(Callback):
    def on_batch_end(self, net, **kwargs):
        if len(net.history[-1]["batches"]) == 3:
            print("ready", flush=True)

# one epoch of very many batches
X, y = make_ratings(1000, 500, 200_000, random_state=0)
model = MFRegressor(n_factors=4, max_epochs=1, batch_size=1, callbacks=[Ready()], random_state=0)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    try:
        model.fit(X, y)
    except KeyboardInterrupt:
        print("interrupted")
print([str(w.message) for w in caught])
print(np.isfinite(model.predict(X)).all(), len(model.recommend([1])), model.n_iter_)
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for one process")
def test_a_real_ctrl_c():
    child = subprocess.Popen(
        [sys.executable, "-c", SIGINT_SCRIPT],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    try:
        assert child.stdout.readline() == "ready\n"
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=120)
    finally:
        child.kill()
    assert (child.returncode, err) == (0, "")
    assert out.splitlines() == [
        "interrupted",
        "['Training was interrupted after 0 whole epochs of 1; the model is what it had become by "
        "then.']",
        "True 10 0",
    ]
