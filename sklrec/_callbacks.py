"""Callbacks of skorch that the solvers set."""
# SPDX-License-Identifier: BSD-3-Clause

from functools import partial

from skorch.callbacks import Callback


class Resumable(Callback):
    """Base of those whose state is part of that of a training."""

    def to_resume(self):
        """Give all that the callback has learned in the training.

        Returns
        -------
        dict of str to object
            What `resume` takes.
        """
        raise NotImplementedError

    def resume(self, state):
        """Go back to where a training was.

        Parameters
        ----------
        state : dict of str to object
            What `to_resume` gave.
        """
        raise NotImplementedError


class LinearFall(Resumable):
    """Let all learning rates fall, batch by batch, to nothing at the end of one training.

    As ``torch.optim.lr_scheduler.LinearLR`` does at ten times the cost of a step.

    Parameters
    ----------
    n_steps : int
        Number of batches of the training.
    """

    def __init__(self, n_steps):
        self.n_steps = n_steps

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

    def to_resume(self):
        return {"n_done": self.n_done_, "rates": self.rates_}

    def resume(self, state):
        self.n_done_, self.rates_ = state["n_done"], state["rates"]


class StopAtBest(Resumable):
    """Stop when the validation loss no longer falls, and go back to where it was lowest.

    skorch's ``EarlyStopping`` goes back to the last epoch that was better by the tolerance,
    which need not be the best one.

    Parameters
    ----------
    patience : int
        Epochs in a row without a lower loss after which to stop.
    tol : float
        By how much the loss must fall to count as lower.
    """

    def __init__(self, patience, tol):
        self.patience = patience
        self.tol = tol

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
            raise KeyboardInterrupt  # how a callback tells skorch to stop

    def on_train_end(self, net, **kwargs):
        if self.best_weights_ is not None:
            net.module_.load_state_dict(self.best_weights_)
        del self.best_weights_

    def to_resume(self):
        return {
            "best_loss": self.best_loss_,
            "best_weights": self.best_weights_,
            "n_misses": self.n_misses_,
        }

    def resume(self, state):
        self.best_loss_, self.n_misses_ = state["best_loss"], state["n_misses"]
        self.best_weights_ = state["best_weights"]


class KeepCheckpoint(Callback):
    """Keep the state before each epoch in a file, and go on from the one that was there.

    At the end of an epoch other callbacks would still change what is next.

    Parameters
    ----------
    checkpoint : Checkpoint
        The file.
    state : dict of str to object or None
        The state to go on from, if there is one.
    """

    def __init__(self, checkpoint, state):
        self.checkpoint = checkpoint
        self.state = state

    def on_epoch_begin(self, net, **kwargs):
        if self.state is not None:
            # Now that batches are drawn and callbacks have begun, as they had then.
            with self.checkpoint.reading():
                net.resume(self.state)
                net.on_epoch_begin(net)
                for name, callback in self._resumable(net).items():
                    if name in self.state["callbacks"]:
                        callback.resume(self.state["callbacks"][name])
            self.state = None
        try:
            self.checkpoint.save(partial(self._whole_state, net))
        except KeyboardInterrupt:
            net.interrupted_ = True
            raise

    def _whole_state(self, net):
        callbacks = self._resumable(net)
        states = {name: callback.to_resume() for name, callback in callbacks.items()}
        return {**net.to_resume(), "callbacks": states}

    def _resumable(self, net):
        return {name: c for name, c in net.callbacks_ if isinstance(c, Resumable)}


class EpochBar(Resumable):
    """A progress bar over the epochs."""

    def on_train_begin(self, net, **kwargs):
        from tqdm.auto import tqdm  # here, since importing it is slow and few need it

        self.bar_ = tqdm(total=net.max_epochs, desc="fit", unit="epoch")

    def on_epoch_end(self, net, **kwargs):
        epoch = net.history[-1]
        losses = {"train": "train_loss", "valid": "valid_loss"}
        shown = {k: f"{epoch[v] ** 0.5:.4f}" for k, v in losses.items() if v in epoch}
        shown = {f"{name} RMSE": value for name, value in shown.items()}
        self.bar_.set_postfix(shown, refresh=False)
        self.bar_.update()

    def to_resume(self):
        return {"n_done": self.bar_.n}

    def resume(self, state):
        self.bar_.n = self.bar_.initial = state["n_done"]

    def on_train_end(self, net, **kwargs):
        self.bar_.close()
        del self.bar_  # holds a stream, which could not be pickled
