"""Training data as tensors that come in batches."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from skorch.dataset import Dataset
from torch import Tensor

from sklrec._solvers.least_squares.pairs import Log
from sklrec._utils.runtime import to_widest
from sklrec.modules._pairs import Pairs, can_group, sorted_by_code

# Inputs of the module by name, with `sample_weight` if there are weights, and the ratings.
Batch = tuple[dict[str, Tensor], Tensor]
# Number of rows that are put into the order of an epoch at once.
ORDERED_AT_ONCE = 2**18
PARTNERS = {"users": "items", "items": "users"}


class InteractionTensors(Dataset):
    """Training data in memory, as tensors that are made once."""

    X: dict[str, Tensor]
    y: Tensor

    def __init__(
        self,
        inputs: dict[str, Any],  # arguments of the module's `forward`, each (n, ...)
        ratings: Any = None,  # (n,), zeros if None
        sample_weight: Tensor | None = None,  # (n,), 1 if None
    ):
        X = {name: torch.as_tensor(values) for name, values in inputs.items()}
        n_rows = len(next(iter(X.values())))
        y = torch.zeros(n_rows) if ratings is None else torch.as_tensor(ratings)
        if sample_weight is not None:
            X["sample_weight"] = sample_weight
        super().__init__(X, y, length=n_rows)

    @property
    def weights(self) -> Tensor:
        """Weights of the interactions, in float64."""
        weight = self.X.get("sample_weight")
        return self.y.new_ones(1).expand_as(self.y) if weight is None else weight.to(self.y)

    def log(self, y: Tensor | None = None) -> Log:
        """Make the interactions a log, with their ratings or with other values."""
        y = self.y if y is None else y
        users, items = (self.X[name].int().sub_(1) for name in PARTNERS)
        return Log(*(values.cpu().numpy() for values in (users, items, y, self.weights)))

    def row_weights(self, name: str, n_rows: int, of_partners: Tensor | None = None) -> Tensor:
        """Sum weights by the codes of an input, times values of the partners of users or items."""
        if name not in self.X:
            return torch.zeros(n_rows, device=self.y.device)
        codes, weight = self.X[name], self.X.get("sample_weight")
        if of_partners is not None:
            values = of_partners.index_select(0, self.X[PARTNERS[name]])
            weight = values if weight is None else values * weight
        if codes.ndim > 1:  # values of side features: each counts with the weight of its row
            n_each = codes[0].numel()
            weight = None if weight is None else weight.repeat_interleave(n_each)
        return torch.bincount(codes.flatten(), weight, minlength=n_rows).float()

    def mean_square(self, mean: Tensor) -> float:
        """Weighted mean of the squared differences of the ratings from a value."""
        weight, squares = self.X.get("sample_weight"), (self.y - mean).square()
        mean_square = squares.mean() if weight is None else squares.dot(weight.to(squares))
        return (mean_square if weight is None else mean_square / weight.sum()).item()

    def n_batches(self, batch_size: int) -> int:
        """Number of batches in an epoch."""
        return -(-len(self) // batch_size)

    def batches(
        self, batch_size: int, generator: torch.Generator | None = None
    ) -> Iterator[Batch]:
        """Yield the batches of an epoch, in random order if there is a generator."""
        columns = [*self.X.values(), self.y]
        if generator is None:
            yield from self._split(columns, batch_size)
            return
        order = torch.randperm(len(self.y), generator=generator).to(self.y.device)
        # One call orders the rows of many batches, but not all rows, which would copy all data.
        for rows in order.split(batch_size * max(1, ORDERED_AT_ONCE // batch_size)):
            yield from self._split([v.index_select(0, rows) for v in columns], batch_size)

    def _split(self, columns: list[Tensor], batch_size: int) -> Iterator[Batch]:
        # split() makes all slices in one call
        for *inputs, ratings in zip(*(v.split(batch_size) for v in columns), strict=True):
            yield dict(zip(self.X, inputs, strict=True)), ratings

    def to(self, device: str | torch.device) -> Self:
        """Put the batches on a device, and return this object."""
        self.X = {name: values.to(device) for name, values in self.X.items()}
        self.y = to_widest(self.y, device)
        return self


def padded(counts: np.ndarray | None, like: Tensor) -> Tensor:
    """Append zeros to the counts of the first rows of another tensor; None means no rows."""
    found = torch.zeros_like(like)
    if counts is not None:
        found[: len(counts)] = torch.from_numpy(counts).to(like)
    return found


def sum_of_weights(data: Any, inputs: Sequence[str], n_rows: int) -> Tensor:
    """Sum the weights of interactions by the codes of one or several inputs."""
    return torch.stack([data.row_weights(name, n_rows) for name in inputs]).sum(0)


@dataclass(frozen=True)
class BatchIterator:
    """Batches of a dataset, for skorch to use in place of a ``DataLoader``."""

    dataset: InteractionTensors
    batch_size: int
    generator: torch.Generator | None = None

    def __len__(self) -> int:
        return self.dataset.n_batches(self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        return self.dataset.batches(self.batch_size, self.generator)


class PairBatches:
    """Batches of grouped pairs, for skorch to use in place of a ``DataLoader``."""

    # Batches are drawn and grouped once; epochs only reorder them. This was measured to be as
    # accurate as new batches in each epoch.

    def __init__(
        self,
        dataset: InteractionTensors,
        batch_size: int,
        generator: torch.Generator,
        n_cohorts: int = 1,
    ):
        self.generator = generator
        drawn = _drawn(dataset, batch_size, generator, n_cohorts)
        self.batches = [self._batch(dataset, rows) for rows in drawn]

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[tuple[dict[str, Any], Tensor]]:
        for k in torch.randperm(len(self), generator=self.generator).tolist():
            X, y = self.batches[k]
            yield X, y.double()

    def _batch(self, dataset: InteractionTensors, rows: Tensor) -> tuple[dict[str, Any], Tensor]:
        # Rows are sorted by user, so that the side of the users needs no order.
        rows = rows.index_select(0, sorted_by_code(dataset.X["users"].index_select(0, rows))[0])
        X: dict[str, Any] = {name: v.index_select(0, rows) for name, v in dataset.X.items()}
        users, items = X.pop("users"), X.pop("items")
        orders = torch.arange(len(users)), sorted_by_code(items)[0]
        X["pairs"] = Pairs(users, items, X.get("sample_weight"), orders)
        y = dataset.y.index_select(0, rows)
        # float32 holds stars exactly, in half the memory.
        return X, y.float() if torch.equal(y.float().double(), y) else y

    @staticmethod
    def suits(dataset: Any, batch_size: int) -> bool:
        """Whether a dataset has enough pairs for a batch, on the CPU, to group them."""
        return isinstance(dataset, InteractionTensors) and can_group(
            dataset.X["users"][:batch_size]
        )


def _drawn(
    dataset: InteractionTensors, batch_size: int, generator: torch.Generator, n_cohorts: int
) -> tuple[Tensor, ...]:
    """Draw the rows of each batch; the rows of a cohort of users are neighbours."""
    # With large tables, a batch of random rows would have each user once, and most of a step would
    # wait for the users' factors from memory. A batch of one or two cohorts has several ratings of
    # each user, and reads the factors once.
    order = torch.randperm(len(dataset), generator=generator)
    if n_cohorts > 1:
        users = dataset.X["users"]
        n_users = int(users.max()) + 1
        cohorts = torch.randperm(n_users, generator=generator) % n_cohorts
        # numpy sorts the small integers by radix, in time linear in the rows.
        row_cohorts = cohorts.numpy().astype(np.min_scalar_type(n_cohorts))[users[order].numpy()]
        order = order[torch.from_numpy(np.argsort(row_cohorts, kind="stable"))]
    return order.int().split(batch_size)  # int32 halves the memory
