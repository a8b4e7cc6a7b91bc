"""Training by several processes: each computes its part of every batch."""
# SPDX-License-Identifier: BSD-3-Clause

import zlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, distributed
from torch.utils.data import Dataset

from sklrec._solvers.net import RatingNet
from sklrec._solvers.tensors import Batch
from sklrec._utils.runtime import own_random_state

# Inputs with a row for each sequence of a batch; all others have a row for each rating.
SEQUENCE_INPUTS = {"past_items", "past_ratings", "past_gaps", "lengths"}
SEQUENCE_INPUTS |= {"past_expected", "past_expected_after"}


def start_together(
    module: torch.nn.Module,
    data: Dataset,
    valid: Dataset | None,
    generator: torch.Generator,
    solver: Any,
) -> None:
    """Check that all processes fit the same model, and copy the module of the first process."""
    start = module.state_dict()
    facts = {
        "training data": data,
        "validation data": valid,
        "random state": generator.initial_seed(),
        "parameters": replace(solver, callbacks=None, verbose=0, snapshot=None),
        "shape of the model": {name: values.shape for name, values in start.items()},
    }
    own = torch.tensor([_digest(fact) for fact in facts.values()])
    own = own.to(next(module.parameters()).device)
    of_all = [torch.empty_like(own) for _ in range(distributed.get_world_size())]
    distributed.all_gather(of_all, own)
    for name, digests in zip(facts, torch.stack(of_all, 1).tolist(), strict=True):
        for process, digest in enumerate(digests):
            if digest != digests[0]:
                raise ValueError(
                    "With device='accelerate' all processes must fit the same model to the same "
                    f"data, but process {process} and process 0 have different {name}. Give all "
                    "processes the same parameters, and all rows of X and y in the same order; "
                    "fit divides each batch itself."
                )
    for values in start.values():
        distributed.broadcast(values, 0)


class DistributedRatingNet(RatingNet):
    """A net that computes its part of every batch, and sums gradients over the processes."""

    # DistributedDataParallel, the wrapper of Accelerate, sums gradients in hooks of `forward`, but
    # rating modules train through other methods. It also gives all parts the same weight.

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        if not self.is_first_process:
            self.verbose = 0  # one progress bar is enough

    @property
    def is_first_process(self):
        return distributed.get_rank() == 0

    def partial_fit(self, X, y=None, classes=None, **fit_params):
        # With the same seed, dropout would drop the same units in all processes.
        seed = self.iterator_train__generator.initial_seed() + distributed.get_rank()
        with own_random_state(torch.Generator().manual_seed(seed), self.device):
            return super().partial_fit(X, y, classes, **fit_params)

    def on_train_end(self, net, X=None, y=None, **kwargs):
        super().on_train_end(net, X, y, **kwargs)
        self.__class__ = RatingNet  # a fitted net works in a process without the others

    def train_step_single(self, batch, **fit_params):
        step, share = self._step_of_part(super().train_step_single, batch, **fit_params)
        tables = list(self.module_.parameters())
        own = [torch.zeros_like(p) if p.grad is None else p.grad.to_dense() for p in tables]
        loss = step["loss"].to(own[0])  # in one tensor with the gradients
        step["loss"], *gradients = _sum_over_processes([loss, *own], share)
        for table, gradient in zip(tables, gradients, strict=True):
            table.grad = gradient
        return step

    def validation_step(self, batch, **fit_params):
        step, share = self._step_of_part(super().validation_step, batch, **fit_params)
        (step["loss"],) = _sum_over_processes([step["loss"]], share)
        return step

    def save_params(self, *args, **kwargs):
        if self.is_first_process:  # all processes would write the same file
            super().save_params(*args, **kwargs)

    def _step_of_part(
        self, compute: Callable[..., dict[str, Tensor]], batch: Batch, **fit_params: Any
    ) -> tuple[dict[str, Tensor], float | Tensor]:
        """Compute a step on this process's part of a batch, and the part's share of the batch."""
        (X, ratings), share = _own_part(*batch)
        if len(ratings) > 0:
            return compute((X, ratings), **fit_params), share
        return {"loss": ratings.new_zeros(()), "y_pred": ratings}, share


def _own_part(X: dict[str, Tensor], ratings: Tensor) -> tuple[Batch, float | Tensor]:
    """Part of a batch for this process, and its share of the weight of the batch."""
    rows = _own_range(len(ratings))
    if "lengths" not in X:
        part = {name: values[rows] for name, values in X.items()}
    else:  # sequences stay whole
        pieces = _own_range(len(X["lengths"]))
        bounds = torch.tensor([pieces.start, pieces.stop], device=ratings.device)
        rows = slice(*torch.searchsorted(X["sequences"], bounds).tolist())
        part = {name: v[pieces if name in SEQUENCE_INPUTS else rows] for name, v in X.items()}
        part["sequences"] = part["sequences"] - pieces.start
    share: float | Tensor = len(ratings[rows]) / len(ratings)
    if "sample_weight" in X:
        share = part["sample_weight"].sum() / X["sample_weight"].sum()
    return (part, ratings[rows]), share


def _own_range(n: int) -> slice:
    """Range of `n` rows for this process."""
    index, count = distributed.get_rank(), distributed.get_world_size()
    return slice(n * index // count, n * (index + 1) // count)


def _sum_over_processes(values: list[Tensor], share: float | Tensor) -> list[Tensor]:
    """Sum tensors over all processes, weighted by their shares, in one exchange."""
    flat = torch.cat([tensor.flatten() for tensor in values]) * share
    distributed.all_reduce(flat)
    parts = flat.split([tensor.numel() for tensor in values])
    return [part.view_as(tensor) for part, tensor in zip(parts, values, strict=True)]


def _digest(fact: Any, start: int = 0) -> int:
    """CRC-32 of data, equal in all processes for equal data."""
    if isinstance(fact, Tensor):
        fact = fact.cpu().numpy()
    if isinstance(fact, np.ndarray):
        return zlib.crc32(fact.tobytes(), zlib.crc32(repr(fact.shape).encode(), start))
    if isinstance(fact, Dataset):
        kinds = Tensor | np.ndarray | dict | int | float  # the repr of others may be an address
        fact = {name: v for name, v in vars(fact).items() if isinstance(v, kinds)}
    if isinstance(fact, dict):
        for name, value in fact.items():
            start = _digest(value, zlib.crc32(name.encode(), start))
        return start
    return zlib.crc32(repr(fact).encode(), start)
