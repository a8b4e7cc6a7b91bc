"""Callbacks of skorch that the solvers set."""
# SPDX-License-Identifier: BSD-3-Clause

from skorch.callbacks import Callback


class LinearFall(Callback):
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


class StopAtBest(Callback):
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


class EpochBar(Callback):
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

    def on_train_end(self, net, **kwargs):
        self.bar_.close()
        del self.bar_  # holds a stream, which could not be pickled
