"""The skorch net that trains a rating module, and its callbacks."""
# SPDX-License-Identifier: BSD-3-Clause

import dis
from copy import deepcopy
from typing import Any

import torch
from skorch import NeuralNetRegressor
from skorch.callbacks import Callback, EpochTimer, PassthroughScoring, PrintLog
from torch import Tensor, nn

from sklrec._solvers.steps import running_fit
from sklrec._utils.runtime import this_or_cpu
from sklrec.modules._losses import SQUARED_ERROR, SquaredError
from sklrec.modules._svdpp import SVDPlusPlus

RAISE_STATEMENT = dis.opmap["RAISE_VARARGS"]


class RatingNet(NeuralNetRegressor):
    """A skorch net of a module that computes the gradient of its own loss."""

    # Losses are means, in units of the ratings. With reduction="sum"
    # the gradient is that of half the sum over the batch, so that `lr` is the step for one rating
    # at any batch size; with "mean" it is that of the mean. `alpha` is the L2 penalty on the rows
    # of a batch, once for each of their ratings there.

    def __init__(self, *args, loss=SQUARED_ERROR, alpha=0.0, reduction="mean", **kwargs):
        super().__init__(*args, **kwargs)
        self.loss = loss
        self.alpha = alpha
        self.reduction = reduction

    @property
    def is_first_process(self):
        """Whether this process writes the files when several processes train together."""
        return True

    @property
    def _default_callbacks(self):
        callbacks = [
            ("epoch_timer", EpochTimer()),
            ("train_loss", PassthroughScoring("train_loss", on_train=True)),
            ("valid_loss", PassthroughScoring("valid_loss")),
        ]
        if self.verbose == 1:
            callbacks.append(("progress", EpochBar()))
        elif self.verbose > 1:
            callbacks.append(("print_log", PrintLog()))
        return callbacks

    def infer(self, x, **fit_params):
        return self.module_(**{k: v for k, v in x.items() if k != "sample_weight"}, **fit_params)

    def get_loss(self, y_pred, y_true, X=None, training=False):
        return self.loss.mean(y_pred, y_true, (X or {}).get("sample_weight"))

    def train_step_single(self, batch, **fit_params):
        self._set_training(True)
        X, ratings = batch
        module = self.module_
        backward = module.backward_of_pairs if "pairs" in X else module.backward_loss
        options = {"loss": self.loss, "alpha": self.alpha, "reduction": self.reduction}
        loss, y_pred = backward(**X, ratings=ratings, **options, **fit_params)
        return {"loss": loss, "y_pred": y_pred}

    def _set_training(self, training=True):
        # skorch visits all submodules at every batch, even if the mode does not change.
        if self.module_.training != training:
            super()._set_training(training)

    def notify(self, method_name, **cb_kwargs):
        # Most callbacks ignore batches, but a call of each costs as much as some matrix products.
        if not method_name.startswith(("on_batch", "on_grad")):
            return super().notify(method_name, **cb_kwargs)
        getattr(self, method_name)(self, **cb_kwargs)
        for _, callback in self.callbacks_:
            if getattr(type(callback), method_name, None) is not getattr(Callback, method_name):
                getattr(callback, method_name)(self, **cb_kwargs)

    def run_single_epoch(self, iterator, training, prefix, step_fn, **fit_params):
        if iterator is None:
            return
        names = f"{prefix}_loss", f"{prefix}_batch_size"
        n_before = len(self.history[-1]["batches"])
        on_device: list[tuple[Tensor, int | Tensor]] = []  # losses and sizes
        try:
            for batch in iterator:
                self.notify("on_batch_begin", batch=batch, training=training)
                step = step_fn(batch, **fit_params)
                # Weight of this batch in the mean loss of the epoch.
                weight = batch[0].get("sample_weight")
                size = batch[1].shape[0] if weight is None else weight.sum()
                if step["loss"].device.type == "cpu":
                    self.history.record_batch(names[0], step["loss"].item())
                    self.history.record_batch(names[1], float(size))
                else:  # item() would wait for the device at every batch
                    on_device.append((step["loss"], size))
                self.notify("on_batch_end", batch=batch, training=training, **step)
        except KeyboardInterrupt:
            # Callbacks also raise KeyboardInterrupt to stop a training, but only between epochs.
            self.interrupted_ = True
            raise
        batches = self.history[-1]["batches"][n_before:]
        for batch, *numbers in zip(batches, *_to_numbers(on_device), strict=False):
            batch.update(zip(names, numbers, strict=True))
        self.history.record(f"{prefix}_batch_count", len(iterator))

    def fit_loop(self, X, y=None, epochs=None, **fit_params):
        # skorch ends a training at every KeyboardInterrupt without an error. Callbacks raise one
        # to stop between epochs; all others are Ctrl-C, also those during a callback.
        try:
            return super().fit_loop(X, y, epochs, **fit_params)
        except KeyboardInterrupt as error:
            if not _is_raised_by_code(error):
                self.interrupted_ = True
            raise

    def partial_fit(self, X, y=None, classes=None, **fit_params):
        self.interrupted_ = False
        return super().partial_fit(X, y, classes, **fit_params)

    def copy_state(self, previous):
        """Copy an optimiser's state, such as moments, if both optimisers are of the same class."""
        if type(previous.optimizer_) is not type(self.optimizer_):
            return
        old_tables = dict(previous.module_.named_parameters())
        for name, table in self.module_.named_parameters():
            old = old_tables.get(name)
            if old is None or old.shape != table.shape or old.device != table.device:
                continue
            if old in previous.optimizer_.state:
                self.optimizer_.state[table] = deepcopy(previous.optimizer_.state[old])

    def forget_tables(self, tables):
        """Remove tables from the optimiser, so that they do not stay in memory."""
        removed = {id(table) for table in tables}
        groups = self.optimizer_.param_groups
        for group in groups:
            group["params"] = [table for table in group["params"] if id(table) not in removed]
        groups[:] = [group for group in groups if group["params"]]
        for table in tables:
            self.optimizer_.state.pop(table, None)

    def __getstate__(self):
        state = super().__getstate__()
        state["module"] = None  # the same object as module_, which is in the state already
        return state

    def __setstate__(self, state):
        # skorch would warn about a missing device, and checks only for CUDA.
        super().__setstate__({**state, "device": str(this_or_cpu(state["device"]))})
        self.module = self.module_


def _is_raised_by_code(error: BaseException) -> bool:
    """Whether a raise statement raised an error, and not a signal."""
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    return traceback is not None and (
        traceback.tb_frame.f_code.co_code[traceback.tb_lasti] == RAISE_STATEMENT
    )


def _to_numbers(pairs: list[tuple[Tensor, int | Tensor]]) -> tuple[list[float], list[float]]:
    """Read losses and sizes from the device at once."""
    losses = [loss for loss, _ in pairs]
    known = [float(size) for _, size in pairs if isinstance(size, int)]
    sizes = [size for _, size in pairs if not isinstance(size, int)]
    numbers = torch.stack(losses + sizes).tolist() if pairs else []
    return numbers[: len(pairs)], known or numbers[len(pairs) :]


class LinearDecay(Callback):
    """Decrease all learning rates with every batch, linearly to 0 at the end of a training."""

    # LinearLR of torch does the same at ten times the cost of a step.

    def __init__(self, n_steps):
        self.n_steps = n_steps  # number of batches in the training

    def on_train_begin(self, net, **kwargs):
        self.n_done_ = 0
        self.rates_ = [group["lr"] for group in net.optimizer_.param_groups]

    def on_batch_end(self, net, training, **kwargs):
        if not training:
            return
        groups = net.optimizer_.param_groups
        net.history.record_batch("event_lr", groups[0]["lr"])
        self.n_done_ += 1
        share = max(0.0, 1 - self.n_done_ / self.n_steps)
        for group, rate in zip(groups, self.rates_, strict=True):
            group["lr"] = rate * share


class StopAtBest(Callback):
    """Stop when the validation loss no longer falls, and restore the epoch with the lowest."""

    # EarlyStopping of skorch restores the last epoch that was better by the tolerance. That need
    # not be the best epoch.

    def __init__(self, patience, tol):
        self.patience = patience  # number of epochs in a row without a lower loss
        self.tol = tol  # a loss is lower if it falls by more than this

    def on_train_begin(self, net, **kwargs):
        self.best_loss_ = float("inf")
        self.best_weights_ = None
        self.n_misses_ = 0

    def on_epoch_end(self, net, **kwargs):
        loss = net.history[-1, "valid_loss"]
        self.n_misses_ = 0 if loss < self.best_loss_ - self.tol else self.n_misses_ + 1
        if loss < self.best_loss_:
            self.best_loss_ = loss
            weights = net.module_.state_dict()
            self.best_weights_ = {name: values.clone() for name, values in weights.items()}
        if self.n_misses_ >= self.patience:
            raise KeyboardInterrupt  # skorch stops a training when a callback raises this

    def on_train_end(self, net, **kwargs):
        if self.best_weights_ is not None:
            net.module_.load_state_dict(self.best_weights_)
        del self.best_weights_


class EpochBar(Callback):
    """Show a progress bar over the epochs."""

    def on_train_begin(self, net, **kwargs):
        from tqdm.auto import tqdm  # the import is slow, and few fits show a bar

        self.bar_ = tqdm(total=net.max_epochs, desc="fit", unit="epoch")

    def on_epoch_end(self, net, **kwargs):
        epoch = net.history[-1]
        # As the root of a squared error, or as the loss itself.
        name, power = ("RMSE", 0.5) if isinstance(net.loss, SquaredError) else ("loss", 1.0)
        found = {f"{k} {name}": epoch.get(f"{k}_loss") for k in ("train", "valid")}
        errors = {k: f"{v**power:.4f}" for k, v in found.items() if v is not None}
        self.bar_.set_postfix(errors, refresh=False)
        self.bar_.update()

    def on_train_end(self, net, **kwargs):
        self.bar_.close()
        del self.bar_  # the stream that it holds cannot be pickled


class EpochNotifier(Callback):
    """Notify scikit-learn's callbacks of the epochs of a skorch net."""

    def on_epoch_begin(self, net: Any, **kwargs: Any) -> None:
        if (fit := running_fit()) is not None:
            if fit.must_stop:
                raise KeyboardInterrupt  # skorch stops a training when a callback raises this
            fit.begin("epoch")

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        if (fit := running_fit()) is not None:
            fit.end(lambda: trained_module(net.module_))


def trained_module(module: nn.Module) -> nn.Module:
    """Copy of a module in training, as the training would leave it."""
    if isinstance(module, SVDPlusPlus):
        return module.merge_terms(deepcopy(module.own)).eval()
    return deepcopy(module).eval()
