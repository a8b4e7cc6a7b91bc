"""A process's parts of the batches of an epoch."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from sklrec._distributed._parts import Cut
from sklrec._pair_batches import PairBatches
from sklrec.modules._pairs import Pairs


class Parts:
    """What skorch iterates over: this process's parts of batches.

    Parameters
    ----------
    batches : iterable
        Batches, the same in all processes.
    cut : Cut
        What cuts them.
    """

    def __init__(self, batches: Any, cut: Cut):
        self.batches = batches
        self.cut = cut

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[tuple[dict[str, Any], Tensor]]:
        for X, ratings in self.batches:
            yield self.cut(X, ratings)


class PairParts(PairBatches):
    """This process's parts of batches of grouped pairs.

    Parameters
    ----------
    dataset : InteractionTensors
        The data.
    batch_size : int
        Rows in a batch.
    generator : torch.Generator
        Source of the batches and of each epoch's order.
    n_cohorts : int
        Into how many cohorts users are divided.
    cut : Cut
        What cuts the batches.
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int,
        generator: torch.Generator,
        n_cohorts: int,
        cut: Cut,
    ):
        self._cut = cut
        super().__init__(dataset, batch_size, generator, n_cohorts)

    def _batch(self, dataset: Any, rows: Tensor) -> tuple[dict[str, Any], Tensor]:
        # In the order of the users, so that few of them have ratings in more than one part.
        users = dataset.X["users"].index_select(0, rows)
        rows = rows.index_select(0, users.argsort(stable=True))
        batch = {name: values.index_select(0, rows) for name, values in dataset.X.items()}
        X, ratings = self._cut(batch, dataset.y.index_select(0, rows))
        X["pairs"] = Pairs(X.pop("users"), X.pop("items"), X["part"].weight)
        return X, ratings
