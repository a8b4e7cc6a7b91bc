"""Training data in files, in random order, with only a block of rows in memory."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Iterator, Sequence
from copy import copy
from pathlib import Path
from typing import Self

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor
from torch.utils.data import Dataset

from sklrec._data.checks import RatingStatistics
from sklrec._solvers.least_squares.pairs import Log
from sklrec._solvers.tensors import PARTNERS, Batch, InteractionTensors

# Number of files. Each row goes to a random file. Rows of one file share a block in every epoch;
# only the order of the files changes.
N_FILES = 256
# Number of rows that are collected before they are written, and of rows that are read at once
# unless a batch or a file has more.
BLOCK_ROWS = 2**15

# Ratings are stored as differences from the first one: float32 can then hold ratings far from 0.
ROW = np.dtype([("users", np.int32), ("items", np.int32), ("ratings", np.float32)])
WEIGHTED_ROW = np.dtype([*ROW.descr, ("sample_weight", np.float32)])
# Largest factor between the largest weights of the first chunk and of a later one.
LARGEST_FACTOR = 1e30


class StoredInteractions(Dataset):
    """Training data in files, with the methods of `InteractionTensors` that a solver calls."""

    def __init__(self, folder: Path, rng: np.random.RandomState):
        # The caller creates and removes the parent of the folder.
        self._folder = folder
        self._paths = [str(folder / f"{k:03d}") for k in range(N_FILES)]
        self._rng = rng
        self._device = torch.device("cpu")
        self._dtype = ROW
        self._n_in_file = np.zeros(N_FILES, dtype=np.int64)
        self._waiting: list[np.ndarray] = []
        self._n_waiting = 0
        self._n_rows = 0
        self._first_rating = 0.0
        self._statistics = RatingStatistics()  # with stored weights
        self._weight_range = np.inf, -np.inf
        self._unit = 0.0  # of stored weights: the largest weight of the first chunk

    def __len__(self) -> int:
        return self._n_rows

    def append(
        self,
        users: np.ndarray,
        items: np.ndarray,
        ratings: np.ndarray,
        sample_weight: np.ndarray | None,
    ) -> None:
        """Add interactions; weights are positive, and are given always or never."""
        if len(users) == 0:
            return
        if sample_weight is not None:
            sample_weight = self._in_units(sample_weight)
            self._dtype = WEIGHTED_ROW
        if len(self) == 0:
            self._first_rating = float(ratings[0])
        rows = np.empty(len(users), self._dtype)
        rows["users"], rows["items"] = users, items
        rows["ratings"] = ratings - self._first_rating
        if sample_weight is not None:
            rows["sample_weight"] = sample_weight
        weight = np.ones(len(users)) if sample_weight is None else sample_weight
        self._statistics = self._statistics.pooled(RatingStatistics.of(ratings, weight))
        low, high = self._weight_range
        self._weight_range = min(low, weight.min()), max(high, weight.max())
        self._n_rows += len(rows)
        self._waiting.append(rows)
        self._n_waiting += len(rows)
        if self._n_waiting >= BLOCK_ROWS:
            self._write()

    @property
    def statistics(self) -> RatingStatistics:
        """Statistics of the ratings, with weights of mean 1."""
        return self._statistics._replace(weight=float(len(self)))

    def row_weights(self, name: str, n_rows: int, of_partners: Tensor | None = None) -> Tensor:
        total, side = np.zeros(n_rows), [*PARTNERS].index(name)
        for log in self.logs():
            weight = log.weights
            if of_partners is not None:
                weight = weight * of_partners.cpu().numpy()[log[1 - side] + 1]
            np.add.at(total, log[side] + 1, weight)
        return torch.from_numpy(total).float().to(self._device)

    def mean_square(self, mean: Tensor) -> float:
        _, of_all, variance = self._statistics
        return variance + (of_all - mean.item()) ** 2

    def logs(self) -> Iterator[Log]:
        """Yield all interactions in blocks, with codes from 0 and weights with a mean of 1."""
        for rows in self._blocks(BLOCK_ROWS):
            yield self._tensors(rows).log()

    def batches(
        self, batch_size: int, generator: torch.Generator | None = None
    ) -> Iterator[Batch]:
        # Files are read in random order, and the rows of each block are permuted.
        left = np.empty(0, self._dtype)  # rows that fill no batch go to the next block
        for block in self._blocks(max(BLOCK_ROWS, batch_size), generator):
            rows = np.concatenate([left, block])
            if generator is not None:
                order = torch.randperm(len(rows), generator=generator)
                rows = rows.take(order.numpy())  # ten times as fast as rows[order]
            n_cut = len(rows) // batch_size * batch_size
            left = rows[n_cut:].copy()
            if n_cut > 0:
                yield from self._tensors(rows[:n_cut]).to(self._device).batches(batch_size)
        if len(left):
            yield from self._tensors(left).to(self._device).batches(batch_size)

    def n_batches(self, batch_size: int) -> int:
        return -(-len(self) // batch_size)

    def to(self, device: str | torch.device) -> Self:
        self._device = torch.device(device)
        return self

    def split(self, share: float, generator: torch.Generator) -> tuple[Self, Self]:
        """Divide the files between two parts; the second has about this share of the rows."""
        self._write()
        is_second = torch.rand(N_FILES, generator=generator).numpy() < share
        first, second = copy(self), copy(self)
        for part, is_own in ((first, ~is_second), (second, is_second)):
            part._n_in_file = np.where(is_own, self._n_in_file, 0)
            part._n_rows = int(part._n_in_file.sum())
            weight = self._statistics.weight * part._n_rows / self._n_rows
            part._statistics = self._statistics._replace(weight=weight)
        return first, second

    def _in_units(self, weight: np.ndarray) -> np.ndarray:
        """Divide weights by the unit, and check that float32 can hold them."""
        largest = weight.max()
        self._unit = self._unit or largest
        with np.errstate(over="ignore"):
            share = largest / self._unit
        if not 1 / LARGEST_FACTOR <= share <= LARGEST_FACTOR:
            raise ValueError(
                f"The largest sample_weight is {largest:g} here and {self._unit:g} in the first "
                f"chunk, but they may differ by a factor of {LARGEST_FACTOR:g} at most. Rescale "
                "the weights of all chunks."
            )
        # Not 0: a batch whose weights are all 0 would have no mean loss.
        return np.maximum(weight / self._unit, np.finfo(np.float32).tiny)

    def _write(self) -> None:
        """Append the collected rows to the files."""
        if not self._waiting:
            return
        rows = np.concatenate(self._waiting)
        self._waiting, self._n_waiting = [], 0
        places = self._rng.randint(N_FILES, size=len(rows), dtype=np.uint8)
        rows = rows.take(np.argsort(places, kind="stable"))
        n_new = np.bincount(places, minlength=N_FILES)
        ends = np.cumsum(n_new)
        try:
            self._folder.mkdir(exist_ok=True)
            for k in np.flatnonzero(n_new):
                with open(self._paths[k], "ab") as file:
                    file.write(rows[ends[k] - n_new[k] : ends[k]].view(np.uint8).data)
        except OSError as error:
            raise OSError(
                error.errno,
                f"The ratings could not be written to {self._folder.parent} after "
                f"{self._n_in_file.sum()} of them: {error.strerror}. A fit needs {rows.itemsize} "
                "bytes for each rating there. Set the environment variable TMPDIR to a folder "
                "with more space, and restart Python",
            ) from error
        self._n_in_file += n_new

    def _blocks(
        self, n_rows: int, generator: torch.Generator | None = None
    ) -> Iterator[np.ndarray]:
        """Yield all rows, in blocks of whole files with at least `n_rows` rows."""
        self._write()
        order = np.arange(N_FILES)
        if generator is not None:
            order = torch.randperm(N_FILES, generator=generator).numpy()
        held, n_held = [], 0
        for k in order[self._n_in_file[order] > 0]:
            held.append(self._read(k))
            n_held += len(held[-1])
            if n_held >= n_rows:
                yield np.concatenate(held)
                held, n_held = [], 0
        if held:
            yield np.concatenate(held)

    def _read(self, k: int) -> np.ndarray:
        """Read the rows of a file."""
        rows = np.fromfile(self._paths[k], self._dtype)
        if len(rows) != self._n_in_file[k]:
            raise OSError(
                f"{self._paths[k]} should hold {self._n_in_file[k]} ratings but holds "
                f"{len(rows)}: another program changed it during the fit. Fit again."
            )
        return rows

    def _tensors(self, rows: np.ndarray) -> InteractionTensors:
        """Make tensors of stored rows."""
        X = {name: rows[name].astype(np.int64) for name in PARTNERS}
        weight = None
        if self._weight_range[0] < self._weight_range[1]:
            mean = np.float32(self._statistics.weight / len(self))
            weight = torch.from_numpy(rows["sample_weight"] / mean)
        ratings = np.add(rows["ratings"], self._first_rating, dtype=np.float64)
        return InteractionTensors(X, ratings, weight)


def seen_by_users(stores: Sequence[StoredInteractions], n_users: int, n_items: int) -> csr_array:
    """Boolean matrix of the item codes (columns) of each user code (row) in the stores."""
    n_rows = sum(len(store) for store in stores)
    index = np.int32 if max(n_rows, n_items) < 2**31 else np.int64
    ends = np.zeros(n_users + 1, dtype=index)
    for rows in (block for store in stores for block in store._blocks(BLOCK_ROWS)):
        np.add.at(ends, rows["users"] + 1, 1)
    np.cumsum(ends, out=ends)
    items = np.empty(n_rows, dtype=index)
    place = ends[:-1].copy()  # position of the next item of each user
    for rows in (block for store in stores for block in store._blocks(BLOCK_ROWS)):
        order = np.argsort(rows["users"], kind="stable")
        users = rows["users"][order]
        first = np.flatnonzero(np.diff(users, prepend=-1))
        n_each = np.diff(first, append=len(users))
        offset = np.arange(len(users)) - np.repeat(first, n_each)
        items[place[users] + offset] = rows["items"][order]
        place[users[first]] += n_each.astype(index)
    seen = csr_array((np.ones(n_rows, dtype=bool), items, ends), shape=(n_users, n_items))
    seen.sum_duplicates()  # in place; sorts too
    return seen
