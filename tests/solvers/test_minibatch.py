"""Training in minibatches: accuracy, losses, early stopping, warm starts and interruption."""
# SPDX-License-Identifier: BSD-3-Clause

import copy
import pickle
import signal

import numpy as np
import pytest
import torch
from sklearn.base import clone
from skorch.callbacks import Callback, EpochScoring, LRScheduler
from torch.testing import assert_close

from sklrec import IDEncoder, MFRegressor
from sklrec._solvers import minibatch
from sklrec._solvers.tensors import InteractionTensors
from sklrec.datasets import make_ratings

X, Y = make_ratings(60, 40, 1000, random_state=0)
X_VAL, Y_VAL = X[800:], Y[800:]
VALID = {"X_val": X_VAL, "y_val": Y_VAL}
WEIGHT = np.random.default_rng(0).uniform(0.1, 3, len(Y))
NEW = X.assign(user=X["user"] + 30, item=X["item"] + 1000)  # half of the users, all items new
ADAM = {"optimizer": torch.optim.Adam}
OPTIMIZERS = pytest.mark.parametrize("optimizer", [None, torch.optim.Adam], ids=["sgd", "adam"])


def mf(**options):
    return MFRegressor(**{"n_factors": 4, "max_epochs": 3, "random_state": 0, **options})


def constant_rate():
    return LRScheduler("StepLR", step_size=10**6)


def rmse(model, X, y):
    return np.mean((model.predict(X) - y) ** 2) ** 0.5


def state_of(model):
    """Everything that a failure must not change, as copies."""
    return {
        "tables": copy.deepcopy(model.module_.state_dict()),
        "predictions": torch.from_numpy(model.predict(X)),
        "history": torch.tensor(model.net_.history[:, "train_loss"]),
        "loss": torch.tensor(model.loss_curve_),
        "users": torch.from_numpy(model.encoder_.categories_[0].copy()),
        "seen": torch.from_numpy(model.seen_.toarray()),
        "scale": torch.tensor(model.rating_scale_),
    }


class Recorder(Callback):
    """Copies of the module."""

    def on_train_begin(self, net, **kwargs):
        self.modules = [copy.deepcopy(net.module_)]

    def on_batch_end(self, net, batch, training, loss, y_pred, **kwargs):
        assert (y_pred.shape, loss.ndim) == (batch[1].shape, 0)

    def on_epoch_end(self, net, **kwargs):
        self.modules.append(copy.deepcopy(net.module_))


def assert_best_epoch(model, recorder):
    best = int(np.argmin(model.validation_curve_))
    wanted = recorder.modules[1 + best].state_dict()
    assert_close(model.module_.state_dict(), wanted, rtol=0, atol=0)
    return best


# --- accuracy


@OPTIMIZERS
def test_the_error_is_close_to_the_noise_of_the_data(optimizer):
    X, y, truth = make_ratings(
        400, 150, 20_000, n_factors=2, noise=0.3, return_truth=True, random_state=0
    )
    train, test = slice(18_000), slice(18_000, None)
    noise = np.mean((y[test] - truth.expected[test]) ** 2) ** 0.5
    options = {"n_factors": 8, "optimizer": optimizer, "batch_size": 512, "random_state": 0}
    model = MFRegressor(**options).fit(X[train], y[train])
    biases = MFRegressor(n_factors=1, init_std=1e-9, random_state=0).fit(X[train], y[train])
    assert noise < rmse(model, X[test], y[test]) < 1.15 * noise < rmse(biases, X[test], y[test])


def test_the_learning_rate_of_sgd_does_not_depend_on_the_batch_size():
    losses = [
        mf(alpha=0.07, lr=0.01, max_epochs=5, callbacks=[constant_rate()], batch_size=n)
        .fit(X, Y)
        .loss_curve_
        for n in (50, 200)
    ]
    assert losses[0][-1] == pytest.approx(losses[1][-1], rel=0.05)
    assert losses[0][-1] < 0.9 * losses[0][0]


def test_few_users_and_items_with_very_many_ratings_are_stable():
    rng = np.random.default_rng(0)
    X = rng.integers(0, 5, (20_000, 2))
    y = rng.normal(size=(5, 5))[X[:, 0], X[:, 1]] + 3
    assert MFRegressor(n_factors=4, random_state=0).fit(X, y).score(X, y) > 0.7


# --- losses


@OPTIMIZERS
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["unweighted", "weighted"])
def test_losses_are_mean_squared_errors_in_squared_units_of_the_ratings(optimizer, weight):
    recorder = Recorder()
    options = {"batch_size": len(Y), "callbacks": [recorder], "rating_scale": None}
    model = mf(optimizer=optimizer, **options).fit(X, Y, weight, **VALID)

    def error(module, X, y, weight=None):
        model.module_ = module
        return np.average((model.predict(X) - y) ** 2, weights=weight)

    # With one batch, the loss of an epoch is the loss before its step.
    train = [error(module, X, Y, weight) for module in recorder.modules[:-1]]
    valid = [error(module, X_VAL, Y_VAL) for module in recorder.modules[1:]]
    assert model.loss_curve_ == pytest.approx(train, rel=1e-4)
    assert model.validation_curve_ == pytest.approx(valid, rel=1e-4)
    assert model.n_iter_ == 3


@pytest.mark.parametrize("weight", [None, np.where(np.arange(len(Y_VAL)) < 150, 0.01, 1)])
def test_the_loss_of_an_epoch_weights_batches_by_their_rows(weight):
    model = mf(batch_size=150, rating_scale=None, early_stopping=False)  # the last batch is small
    model.fit(X, Y, **VALID, sample_weight_val=weight)
    expected = np.average((model.predict(X_VAL) - Y_VAL) ** 2, weights=weight)
    assert model.validation_curve_[-1] == pytest.approx(expected)


def test_the_penalty_is_not_in_the_loss():
    models = [mf(max_epochs=1, batch_size=len(Y), alpha=a).fit(X, Y) for a in (0.0, 10.0)]
    assert models[0].loss_curve_ == models[1].loss_curve_
    assert not np.array_equal(models[0].user_factors_, models[1].user_factors_)


def test_no_row_is_indexed_alone(monkeypatch):
    monkeypatch.delattr(InteractionTensors.__mro__[1], "__getitem__")
    model = mf(batch_size=100).fit(X, Y, **VALID).partial_fit(X, Y)
    assert np.isfinite(model.predict(X)).all()


# --- early stopping


def test_the_best_epoch_counts_even_if_it_is_better_by_less_than_the_tolerance(monkeypatch):
    monkeypatch.setattr(minibatch, "TOL", 1e9)
    recorder = Recorder()
    # From biases of 0, several epochs are better than the first.
    model = mf(alpha=0.05, max_epochs=50, callbacks=[recorder]).fit(X[:800], Y[:800], **VALID)
    assert model.n_iter_ == 1 + 5  # the first epoch is better than no epoch
    assert assert_best_epoch(model, recorder) > 0


def test_the_tolerance_means_the_same_on_any_scale(monkeypatch):
    monkeypatch.setattr(minibatch, "TOL", 1e-2)
    model = mf(max_epochs=50, callbacks=[constant_rate()])
    stars, points = (
        model.fit(X[:800], k * Y[:800], X_val=X_VAL, y_val=k * Y_VAL).n_iter_ for k in (1, 20)
    )
    assert stars == points < 50


def test_held_out_rows_are_validation_data_and_still_count_as_known_and_seen():
    model = mf(early_stopping=0.75, max_epochs=2).fit(X, Y)
    batches = model.net_.history[0, "batches"]
    assert sum(batch.get("train_batch_size", 0) for batch in batches) == 250
    assert sum(batch.get("valid_batch_size", 0) for batch in batches) == 750
    assert len(model.validation_curve_) == 2
    assert model.seen_.nnz == len(X)
    assert model.rating_scale_ == (Y.min(), Y.max())
    assert len(model.encoder_.categories_[1]) == X["item"].nunique()


@pytest.mark.parametrize(
    ("early_stopping", "is_given", "has_curve", "stops"),
    [
        ("auto", False, False, False),
        ("auto", True, True, True),
        (True, False, True, True),
        (True, True, True, True),
        (False, True, True, False),
        (False, False, False, False),
    ],
)
def test_when_training_stops_early(early_stopping, is_given, has_curve, stops, monkeypatch):
    monkeypatch.setattr(minibatch, "TOL", 1e9)
    model = mf(early_stopping=early_stopping, max_epochs=8)
    model.fit(X, Y, **(VALID if is_given else {}))
    assert hasattr(model, "validation_curve_") is has_curve
    assert model.n_iter_ == (1 + 5 if stops else 8)


def test_a_callback_that_changes_batches_leaves_the_validation_ratings_as_they_are():
    class Change(Callback):
        def on_batch_end(self, net, batch, training, **kwargs):
            batch[1].sub_(0.01)

    y, y_val = Y.to_numpy(copy=True), Y_VAL.to_numpy(copy=True)
    mf(callbacks=[Change()], early_stopping=False).fit(X, y, X_val=X_VAL, y_val=y_val)
    assert (y == Y).all() and (y_val == Y_VAL).all()


# --- warm starts


def test_a_warm_start_continues_the_state_of_adam():
    options = {**ADAM, "callbacks": [constant_rate()], "lr": 0.01, "batch_size": len(Y)}
    whole = mf(max_epochs=2, **options).fit(X, Y)
    parts = mf(max_epochs=1, warm_start=True, **options).fit(X, Y)
    without_state = copy.deepcopy(parts)  # it has no net
    for model in (parts, without_state):
        model.fit(X, Y)
    assert_close(parts.module_.state_dict(), whole.module_.state_dict(), rtol=1e-3, atol=1e-5)
    assert parts.loss_curve_ == pytest.approx(whole.loss_curve_, rel=1e-4)
    difference = without_state.module_.user_biases - whole.module_.user_biases
    assert difference.abs().max() > 1e-3


def test_partial_fit_starts_the_state_of_adam_anew():
    """Otherwise its momentum would move users without further ratings."""
    model = mf(**ADAM).fit(X, Y)
    before = model.user_factors_ / model.module_.scale.item()
    rows = X["user"] == X["user"].iloc[0]
    model.partial_fit(X[rows], Y[rows])
    change = np.abs(model.user_factors_ / model.module_.scale.item() - before).max(axis=1)
    assert (change > 0.01 * np.abs(before).max()).sum() == 1


def test_only_tables_that_grew_lose_their_state():
    model = mf(**ADAM, max_epochs=1, batch_size=len(Y), warm_start=True).fit(X, Y)
    model.fit(X.assign(user=X["user"] + 1000), Y)
    for name, table in model.module_.named_parameters():
        n_steps = model.net_.optimizer_.state[table]["step"].item()
        assert n_steps == (1 if name.startswith("user") else 2)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, ADAM),
        (ADAM, {"optimizer": None}),
        ({"optimizer": torch.optim.Rprop}, ADAM),
        ({}, {"optimizer": torch.optim.SGD, "lr": 0.1}),
    ],
)
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_another_optimizer_can_continue(before, after, method):
    model = mf(warm_start=True, **before).fit(X, Y)
    loss = model.loss_curve_[-1]
    getattr(model.set_params(**after), method)(X, Y)
    assert model.loss_curve_[-1] < loss


@pytest.fixture(scope="module")
def large():
    X, y = make_ratings(300, 200, 20_000, random_state=0)
    return X, y, MFRegressor(n_factors=8, warm_start=True, random_state=0)


def test_partial_fit_learns_new_users_in_a_few_passes(large):
    X, y, model = large
    late = np.flatnonzero(X["user"] >= 270)
    new, test = late[::2], late[1::2]
    model = clone(model).fit(X.drop(late), y.drop(late))
    unknown = rmse(model, X.iloc[test], y[test])
    for _ in range(3):
        model.partial_fit(X.iloc[new], y[new])
    known = rmse(model, X.iloc[test], y[test])
    best = rmse(clone(model).fit(X.drop(test), y.drop(test)), X.iloc[test], y[test])
    assert known < unknown - 0.6 * (unknown - best)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_divergence_is_an_error_and_changes_nothing(method):
    model = mf(**ADAM, batch_size=200).fit(X, Y)
    before = state_of(model)
    model.set_params(lr=1e30, warm_start=True)
    text = (
        r"The training diverged with lr=1e\+30: the loss is far above that of the mean rating, or "
        r"not finite\. Use a lower lr, or a larger alpha\."
    )
    with pytest.raises(ValueError, match=text):
        getattr(model, method)(NEW, Y * 2)
    assert_close(state_of(model), before, rtol=0, atol=0)


def test_factors_that_penalties_shrink_do_not_become_denormal():
    # Products with denormal numbers take up to 100 times as long.
    factors = mf(alpha=30, max_epochs=400).fit(X, Y).module_.user_factors.weight
    assert factors.abs().max() < 1e-30
    assert not ((factors != 0) & (factors.abs() < torch.finfo(torch.float32).tiny)).any()
    assert 5e-324 * len(Y) > 0, "the setting was not restored"


# --- interruption


class Interrupt(Callback):
    """Send the signal of Ctrl-C at an event of an epoch, or raise its error."""

    def __init__(self, event, epoch=1, *, raises=False):
        self.event = event
        self.epoch = epoch
        self.raises = raises

    def notify(self, event, net):
        if event == self.event and len(net.history) >= self.epoch:
            if self.raises:
                raise KeyboardInterrupt
            signal.raise_signal(signal.SIGINT)

    def on_train_begin(self, net, **kwargs):
        self.notify("train begin", net)

    def on_epoch_begin(self, net, **kwargs):
        self.notify("epoch begin", net)

    def on_batch_end(self, net, training, **kwargs):
        self.notify("batch end" if training else "validation batch end", net)

    def on_epoch_end(self, net, **kwargs):
        self.notify("epoch end", net)


@pytest.fixture(autouse=True)
def _signal_handler():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupted(model, text, **options):
    with pytest.warns(UserWarning, match=text), pytest.raises(KeyboardInterrupt):
        model.fit(X, Y, **options)
    return model


@pytest.mark.parametrize("event", ["batch end", "validation batch end"])
@pytest.mark.parametrize("epoch", [1, 4])
def test_ctrl_c_in_an_epoch_leaves_a_model_and_a_warning(event, epoch):
    recorder = Recorder()
    model = mf(max_epochs=50, batch_size=200, callbacks=[recorder, Interrupt(event, epoch)])
    text = f"interrupted after {epoch - 1} whole epochs of 50. The model keeps what it learned"
    interrupted(model, text, **VALID)
    assert model.n_iter_ == len(model.loss_curve_) == len(model.validation_curve_) == epoch - 1
    if epoch > 1:
        assert_best_epoch(model, recorder)
    assert np.isfinite(model.predict(X)).all()
    assert len(model.recommend([X["user"].iloc[0]], 3)) == 3
    model.set_params(callbacks=None).partial_fit(X, Y)
    assert model.n_iter_ == epoch


def test_ctrl_c_in_a_warm_start_counts_only_its_own_epochs():
    model = mf(max_epochs=4, warm_start=True).fit(X, Y)
    model.set_params(callbacks=[Interrupt("batch end", epoch=6)])
    assert interrupted(model, "interrupted after 1 whole epochs of 4").n_iter_ == 5


def test_ctrl_c_keeps_the_steps_of_the_epoch():
    untrained = mf(batch_size=100, lr=1e-9, max_epochs=1).fit(X, Y)
    model = mf(batch_size=100, callbacks=[Interrupt("batch end")])
    interrupted(model, "interrupted after 0 whole epochs of 3")
    moved = np.abs(model.user_biases_ - untrained.user_biases_) > 1e-6
    assert 0 < moved.sum() < len(moved)


@pytest.mark.parametrize(("event", "n_epochs"), [("epoch begin", 1), ("epoch end", 2)])
def test_a_callback_can_stop_the_training_between_epochs(event, n_epochs, recwarn):
    """EarlyStopping of skorch also raises KeyboardInterrupt."""
    stop = Interrupt(event, epoch=2, raises=True)
    model = mf(max_epochs=50, callbacks=[stop]).fit(X, Y)
    assert model.n_iter_ == len(model.loss_curve_) == n_epochs
    assert np.isfinite(model.predict(X)).all()
    assert not recwarn.list


@pytest.mark.parametrize(("event", "n_epochs"), [("epoch begin", 1), ("epoch end", 2)])
def test_ctrl_c_in_a_callback_between_epochs_is_no_stop_of_the_callback(event, n_epochs):
    model = mf(max_epochs=50, callbacks=[Interrupt(event, epoch=2)])
    interrupted(model, f"interrupted after {n_epochs} whole epochs of 50")
    assert model.n_iter_ == len(model.loss_curve_) == n_epochs


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_ctrl_c_before_the_training_changes_nothing(method, monkeypatch):
    def interrupt(*args):
        raise KeyboardInterrupt

    fresh, model = mf(), mf(warm_start=True).fit(X, Y)
    before, attributes = state_of(model), dict(vars(model))
    with monkeypatch.context() as patch:
        patch.setattr(IDEncoder, "fit", interrupt)
        patch.setattr(IDEncoder, "partial_fit", interrupt)
        for each in (fresh, model):
            with pytest.raises(KeyboardInterrupt):
                getattr(each, method)(NEW, Y * 2)
    assert vars(fresh) == vars(mf())
    assert vars(model) == attributes
    with pytest.raises(KeyboardInterrupt):
        getattr(model.set_params(callbacks=[Interrupt("train begin")]), method)(NEW, Y * 2)
    assert_close(state_of(model), before, rtol=0, atol=0)


# --- learning rates and callbacks of skorch


@OPTIMIZERS
def test_the_learning_rate_falls_linearly_to_zero_in_every_fit(optimizer):
    model = mf(optimizer=optimizer, lr=0.08, max_epochs=2, batch_size=250, warm_start=True)
    model.fit(X, Y).fit(X, Y)
    rates = model.net_.history[:, "batches", :, "event_lr"]
    assert np.ravel(rates) == pytest.approx(0.08 * np.tile(np.arange(8, 0, -1) / 8, 2))
    assert model.net_.optimizer_.param_groups[0]["lr"] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("use_caching", [False, True])
def test_a_scoring_callback_scores_the_validation_data(use_caching):
    scoring = EpochScoring("neg_mean_absolute_error", name="mae", use_caching=use_caching)
    model = mf(batch_size=150, callbacks=[scoring], rating_scale=None).fit(X, Y, **VALID)
    error = np.abs(model.predict(X_VAL) - Y_VAL).mean()
    assert model.net_.history[-1, "mae"] == pytest.approx(-error)


# --- the net


def test_the_net_has_a_history_and_predicts_from_codes():
    model = mf(rating_scale=None).fit(X, Y)
    assert model.net_.module_ is model.module_
    assert len(model.net_.history) == model.n_iter_ == 3
    assert {"epoch", "dur", "train_loss"} <= set(model.net_.history[-1])
    users, items = (
        vocabulary.codes(X[name].array)
        for name, vocabulary in zip(("user", "item"), model.encoder_.vocabularies_, strict=True)
    )
    predictions = model.net_.predict({"users": users, "items": items})
    np.testing.assert_allclose(predictions, model.predict(X), rtol=1e-6)


@OPTIMIZERS
def test_a_pickle_holds_the_tables_once_and_can_continue(optimizer):
    model = mf(n_factors=1000, optimizer=optimizer).fit(X, Y)
    pickled = pickle.dumps(model)
    assert len(pickled) < 1.1 * sum(table.nbytes for table in model.module_.parameters())
    again = pickle.loads(pickled)
    assert not hasattr(again, "net_")
    for each in (model, again):
        each.partial_fit(X_VAL, Y_VAL)
    assert np.array_equal(again.predict(X), model.predict(X))
    assert again.net_.module_ is again.module_


@pytest.mark.parametrize("verbose", [1, True])
def test_verbose_1_shows_a_bar_with_root_mean_squared_errors(capfd, verbose):
    model = mf(verbose=verbose).fit(X, Y, **VALID)
    out, err = capfd.readouterr()
    assert out == ""
    train, valid = model.loss_curve_[-1] ** 0.5, model.validation_curve_[-1] ** 0.5
    for text in ("fit", "3/3", f"train RMSE={train:.4f}", f"valid RMSE={valid:.4f}"):
        assert text in err
    assert np.array_equal(pickle.loads(pickle.dumps(model)).predict(X), model.predict(X))


def test_verbose_2_prints_a_line_for_each_epoch(capfd):
    mf(verbose=2).fit(X, Y, **VALID)
    out, err = capfd.readouterr()
    header, _, *epochs = out.strip().splitlines()
    assert {"epoch", "train_loss", "valid_loss", "dur"} <= set(header.split())
    assert (len(epochs), err) == (3, "")
