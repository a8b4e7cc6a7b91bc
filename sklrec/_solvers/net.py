"""What stands between skorch and the estimators: data in memory, batches, and the net."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Iterator
from typing import Any, Self

import torch
from skorch import NeuralNetRegressor
from skorch.callbacks import Callback, EpochTimer, PassthroughScoring, PrintLog
from skorch.dataset import Dataset
from torch import Tensor

from sklrec._solvers.callbacks import EpochBar
from sklrec._solvers.training_data import Batch, TrainingData
from sklrec._utils.devices import this_or_cpu

# Rows that are put in an epoch's order at once.
ORDERED_AT_ONCE = 2**18


class InteractionTensors(Dataset, TrainingData):
    """Codes, ratings and weights as tensors that are made once.

    Parameters
    ----------
    inputs : dict of str to Tensor or ndarray of shape (n, ...)
        What the module's ``forward`` takes, by its argument names.
    ratings : Tensor or ndarray of shape (n,), default=None
        The ratings, zeros if ``None``.
    sample_weight : Tensor of shape (n,), default=None
        Weight of each rating, 1 if ``None``.
    """

    X: dict[str, Tensor]
    y: Tensor

    def __init__(
        self,
        inputs: dict[str, Any],
        ratings: Any = None,
        sample_weight: Tensor | None = None,
    ):
        X = {name: torch.as_tensor(values) for name, values in inputs.items()}
        n_rows = len(next(iter(X.values())))
        y = torch.zeros(n_rows) if ratings is None else torch.as_tensor(ratings)
        if sample_weight is not None:
            X["sample_weight"] = sample_weight
        super().__init__(X, y, length=n_rows)

    def row_weights(self, name: str, n_rows: int) -> Tensor:
        weight = self.X.get("sample_weight")
        return torch.bincount(self.X[name], weight, minlength=n_rows).float()

    def mean_square(self, mean: Tensor) -> float:
        return (self.y - mean).square().mean().item()

    def batches(
        self, batch_size: int, generator: torch.Generator | None = None
    ) -> Iterator[Batch]:
        columns = [*self.X.values(), self.y]
        if generator is None:
            yield from self._cut(columns, batch_size)
            return
        order = torch.randperm(len(self.y), generator=generator).to(self.y.device)
        # Many batches are put in order by one call, but never all, which would be a copy of all.
        for rows in order.split(batch_size * max(1, ORDERED_AT_ONCE // batch_size)):
            yield from self._cut([v.index_select(0, rows) for v in columns], batch_size)

    def _cut(self, columns: list[Tensor], batch_size: int) -> Iterator[Batch]:
        # split() makes all slices in one call
        parts = [values.split(batch_size) for values in columns]
        for *inputs, ratings in zip(*parts, strict=True):
            yield dict(zip(self.X, inputs, strict=True)), ratings

    def to(self, device: str | torch.device) -> Self:
        self.X = {name: values.to(device) for name, values in self.X.items()}
        self.y = self.y.to(device)
        return self


class BatchIterator:
    """What skorch iterates over in place of a ``DataLoader``: the batches of a dataset.

    Parameters
    ----------
    dataset : InteractionTensors
        The data.
    batch_size : int
        Rows in a batch.
    generator : torch.Generator, default=None
        Source of each epoch's order; ``None`` keeps the rows in theirs.
    """

    def __init__(
        self,
        dataset: InteractionTensors,
        batch_size: int,
        generator: torch.Generator | None = None,
    ):
        self.dataset = dataset
        self.batch_size = batch_size
        self.generator = generator

    def __len__(self) -> int:
        return self.dataset.n_batches(self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        return self.dataset.batches(self.batch_size, self.generator)


class RatingNet(NeuralNetRegressor):
    """The skorch net of a module that computes the gradient of its own squared error.

    Losses are means of squared errors in units of the ratings. The gradient is that of half
    the batch's sum (``reduction="sum"``), so that ``lr`` is the step for one rating whatever
    the batch size, or that of its mean.

    Parameters
    ----------
    *args : tuple
        As for ``NeuralNetRegressor``.
    alpha : float, default=0.0
        L2 penalty on the rows that a batch touches, once for each rating.
    reduction : {'mean', 'sum'}, default='mean'
        What the optimiser minimises.
    **kwargs : dict
        As for ``NeuralNetRegressor``.

    Attributes
    ----------
    interrupted_ : bool
        Whether Ctrl-C ended the training.
    """

    def __init__(self, *args, alpha=0.0, reduction="mean", **kwargs):
        super().__init__(*args, **kwargs)
        self.alpha = alpha
        self.reduction = reduction

    @property
    def is_first_process(self):
        """Whether this process writes the files of a training that several processes share."""
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
        error = (y_pred - y_true).square()
        weight = (X or {}).get("sample_weight")
        return error.mean() if weight is None else (error * weight).sum() / weight.sum()

    def train_step_single(self, batch, **fit_params):
        self._set_training(True)
        loss, y_pred = self._backward(
            *batch, alpha=self.alpha, reduction=self.reduction, **fit_params
        )
        return {"loss": loss, "y_pred": y_pred}

    def _backward(self, X, ratings, **options):
        module = self.module_
        backward = module.backward_of_pairs if "pairs" in X else module.backward_squared_error
        return backward(**X, ratings=ratings, **options)

    def _set_training(self, training=True):
        # skorch walks through all submodules at every batch, also when nothing changes.
        if self.module_.training != training:
            super()._set_training(training)

    def notify(self, method_name, **cb_kwargs):
        # Most callbacks hear of batches only to ignore it, which costs as much as some products.
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
        waiting: list[tuple[Tensor, int | Tensor]] = []
        try:
            for batch in iterator:
                self.notify("on_batch_begin", batch=batch, training=training)
                step = step_fn(batch, **fit_params)
                # The epoch's mean weighs this batch's by its size.
                weight = batch[0].get("sample_weight")
                size = batch[1].shape[0] if weight is None else weight.sum()
                if step["loss"].device.type == "cpu":
                    self.history.record_batch(names[0], step["loss"].item())
                    self.history.record_batch(names[1], float(size))
                else:  # reading a number there would wait for all that was asked for so far
                    waiting.append((step["loss"], size))
                self.notify("on_batch_end", batch=batch, training=training, **step)
        except KeyboardInterrupt:
            # Callbacks too stop a training by KeyboardInterrupt, but at the end of an epoch.
            self.interrupted_ = True
            raise
        for name, numbers in zip(names, _on_the_host(waiting), strict=True):
            for batch, number in zip(
                self.history[-1]["batches"][n_before:], numbers, strict=False
            ):
                batch[name] = number
        self.history.record(f"{prefix}_batch_count", len(iterator))

    def partial_fit(self, X, y=None, classes=None, **fit_params):
        self.interrupted_ = False
        return super().partial_fit(X, y, classes, **fit_params)

    def __getstate__(self):
        state = super().__getstate__()
        state["module"] = None  # the same object as module_, which is in the state already
        return state

    def __setstate__(self, state):
        # skorch would warn of a device that is not there, and knows but CUDA's.
        super().__setstate__({**state, "device": str(this_or_cpu(state["device"]))})
        self.module = self.module_


def _on_the_host(pairs: list[tuple[Tensor, int | Tensor]]) -> tuple[list[float], list[float]]:
    """Losses and sizes as numbers, which are waited for once."""
    losses = [loss for loss, _ in pairs]
    known = [float(size) for _, size in pairs if isinstance(size, int)]
    waiting = [size for _, size in pairs if not isinstance(size, int)]
    numbers = torch.stack(losses + waiting).tolist() if pairs else []
    return numbers[: len(pairs)], known or numbers[len(pairs) :]
