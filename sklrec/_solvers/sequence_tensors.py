"""Batches of padded histories, with the ratings that are predicted from them."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Iterator
from typing import Self

import numpy as np
import torch
from torch import Tensor

from sklrec._data.histories import Histories
from sklrec._solvers.tensors import Batch, InteractionTensors
from sklrec._utils.runtime import to_widest

# Sequences are batched by length. In each epoch, every length is first multiplied by
# exp(JITTER * normal number): this keeps padding low, and varies which sequences share a batch.
JITTER = 0.1
# Share of the targets with dropped history that read no history at all.
NOTHING = 0.2
# Divisor that gives the logarithms of gaps, in time units, about unit size.
LOG_GAP = 5.0
# Number of places, padding included, in a batch of predictions.
PLACES_AT_ONCE = 2**14
# Number of batches that are planned and moved to the device at once: the device need not wait for
# each batch, and the plan of a whole epoch need not be in memory.
BATCHES_AT_ONCE = 64


class SequenceTensors(InteractionTensors):
    """Histories, and the ratings (targets) that are predicted from them."""

    # A target reads the strictly earlier interactions of its sequence; with `bidirectional` it
    # reads all interactions of the sequence except itself. Sequences longer than 2 * max_len are
    # cut into overlapping pieces.

    def __init__(
        self,
        histories: Histories,
        sequences: np.ndarray,  # (n,), sequence of each target
        items: np.ndarray,  # (n,), item of each target
        # (n,), time of each target, or its position if the histories have no times. None means
        # later than all interactions.
        times: np.ndarray | None,
        ratings: np.ndarray | None = None,  # (n,), zeros if None
        sample_weight: np.ndarray | None = None,  # (n,), 1 if None
        *,
        time_unit: float = 1.0,  # of the gaps between times
        # A target reads at least its max_len nearest interactions on a side, and at most twice
        # as many.
        max_len: int | None = None,
        bidirectional: bool = False,
        # Share of the targets that read a random first part of their history, or nothing, in
        # epochs with a generator.
        history_dropout: float = 0.0,
        users: np.ndarray | None = None,  # (n,), codes, if the module reads them
    ):
        self.histories = histories
        self.bidirectional = bidirectional
        self.history_dropout = history_dropout
        starts, lengths = histories.starts, histories.lengths
        before = lengths[sequences] if times is None else histories.count_earlier(sequences, times)
        tie = np.full(len(before), -1)
        if bidirectional and times is not None:
            tie = histories.tie_of(sequences, times)
        self._n_items = 1 + int(max(histories.items.max(initial=0), items.max(initial=0)))
        self._sequence, self._before, self._tie, self._item = sequences, before, tie, items
        before, _ = self._places(np.arange(self._n_items))
        first, last, piece, order = _cut(histories, sequences, before, max_len, bidirectional)
        # Targets are sorted by piece, so that the targets of a piece are a range.
        self._order, self._first, self._last = order, first, last
        self._target_starts = np.searchsorted(piece[order], np.arange(len(first) + 1))
        self._sequence, self._before = self._sequence[order], self._before[order]
        self._tie, self._item = self._tie[order], self._item[order]
        start = starts[self._sequence]
        self._reach = first[piece[order]] - start, last[piece[order]] - start
        n_interactions = len(histories.items)
        flat_gaps = np.zeros(n_interactions, dtype=np.float32)
        if histories.timed:
            flat_gaps[1:] = _log_gaps(histories.times, time_unit)
            flat_gaps[starts[:-1][lengths > 0]] = 0
        self._flat = {
            "past_items": torch.from_numpy(histories.items),
            "past_ratings": torch.from_numpy(histories.ratings),
            "past_gaps": torch.from_numpy(flat_gaps),
        }
        if n_interactions == 0:  # padding reads the first value
            self._flat = {name: values.new_zeros(1) for name, values in self._flat.items()}
        weight = None
        if sample_weight is not None and np.ptp(sample_weight) > 0:
            weight = torch.from_numpy(sample_weight[order].astype(np.float32))
        inputs = {"items": torch.from_numpy(items[order])}
        if users is not None:
            inputs["users"] = torch.from_numpy(users[order])
        super().__init__(
            inputs,
            None if ratings is None else torch.from_numpy(ratings[order]),
            weight,
        )

    def to(self, device: str | torch.device) -> Self:
        self._flat = {
            name: to_widest(values, device) if name == "past_ratings" else values.to(device)
            for name, values in self._flat.items()
        }
        return super().to(device)

    def row_weights(self, name: str, n_rows: int, of_partners: Tensor | None = None) -> Tensor:
        """Sum the weights of the targets; items also count the interactions that they read."""
        weights = super().row_weights(name, n_rows, of_partners)
        if name == "items":
            weights += torch.bincount(self._flat["past_items"], minlength=n_rows)
        return weights

    def lookups(self, n_items: int) -> Tensor:
        """Count the lookups of each item in an epoch, as a past item or as a target."""
        codes = torch.cat([torch.from_numpy(self.histories.items), self.X["items"]])
        return torch.bincount(codes, minlength=n_items + 1)

    def n_batches(self, batch_size: int) -> int:
        """Number of batches in an epoch."""
        return len(self._batch_ends(batch_size))

    def batches(
        self, batch_size: int, generator: torch.Generator | None = None
    ) -> Iterator[Batch]:
        """Yield batches of whole pieces of about the same length."""
        # A batch has at most `batch_size` interactions with padding, or one longer piece.
        for chosen, _, past, queries in self.planned_batches(batch_size, generator):
            inputs = past | queries
            if "sample_weight" in self.X:
                inputs["sample_weight"] = self.X["sample_weight"].index_select(0, chosen)
            yield inputs, self.y.index_select(0, chosen)

    def whole_batches(self) -> Iterator[tuple[np.ndarray, dict[str, Tensor], dict[str, Tensor]]]:
        """Yield positions of targets, arguments of ``LSTMRating.read``, and those of ``rate``."""
        for _, rows, past, queries in self.planned_batches(PLACES_AT_ONCE, None):
            yield self._order[rows], past, queries

    @property
    def order(self) -> Tensor:
        """Positions of the rows of `X` and `y` among the given targets."""
        return torch.from_numpy(self._order)

    def expect(self, targets: Tensor, **past: Tensor) -> None:
        """Add expected ratings of the targets and of the interactions; see
        `ResidualLSTMRating`."""
        # They belong to one order of the interactions, so that ties are no longer shuffled.
        self.X["expected"] = targets
        self._flat |= past

    def in_one_batch(self) -> dict[str, Tensor]:
        """Arguments of ``LSTMRating`` for all targets, in their order, in one batch."""
        flat, places = self._arranged(None)
        [(_, rows, past, queries)] = self._planned([np.arange(len(self._first))], flat, places)
        given = torch.from_numpy(np.argsort(self._order[rows]))
        return {**past, **{name: values[given] for name, values in queries.items()}}

    def _grouped(self, batch_size: int, generator: torch.Generator | None) -> list[np.ndarray]:
        """Group pieces of about the same length into batches."""
        lengths = (self._last - self._first).astype(np.float64)
        if generator is not None:
            lengths *= np.exp(JITTER * torch.randn(len(lengths), generator=generator).numpy())
        groups = np.split(np.argsort(lengths, kind="stable"), self._batch_ends(batch_size)[:-1])
        if generator is not None:
            groups = [groups[i] for i in torch.randperm(len(groups), generator=generator)]
        return groups

    def _batch_ends(self, batch_size: int) -> np.ndarray:
        """Ends of the batches among the pieces, which are sorted by length."""
        lengths = np.sort(self._last - self._first).clip(min=1)
        count = np.arange(1, min(batch_size, len(lengths)) + 1)
        ends = [0]
        while ends[-1] < len(lengths):
            # As many pieces as fit, padded to the length of the longest.
            padded = lengths[ends[-1] : ends[-1] + batch_size]
            padded = padded * count[: len(padded)]
            n_fitting = np.searchsorted(padded, batch_size, side="right")
            ends.append(ends[-1] + max(1, int(n_fitting)))
        return np.array(ends[1:])

    def _arranged(
        self, generator: torch.Generator | None
    ) -> tuple[dict[str, Tensor], dict[str, np.ndarray]]:
        """Order the interactions inside ties, and find what each target reads."""
        flat, rank = self._flat, np.arange(self._n_items)
        if generator is not None and "expected" not in self.X:
            rank = torch.randperm(self._n_items, generator=generator).numpy()
            moved = torch.from_numpy(np.argsort(self._keys(rank), kind="stable")).to(self.y.device)
            # Inside ties the order is arbitrary, so the model must not learn from it. Gaps keep
            # their positions, because they belong to times and not to items.
            flat = {name: v if name == "past_gaps" else v[moved] for name, v in flat.items()}
        before, after = self._places(rank)
        if generator is not None and self.history_dropout > 0:
            before, after = self._drop_history(before, after, generator)
        places = {"before": before}
        if self.bidirectional:
            places["after"] = after
        return flat, places

    def _drop_history(
        self, before: np.ndarray, after: np.ndarray, generator: torch.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Shorten what some targets read on both sides, as if histories were outdated or new."""
        chance, part = torch.rand(2, len(before), generator=generator).double().numpy()
        part[chance < self.history_dropout * NOTHING] = 0
        part[chance >= self.history_dropout] = 1
        first, last = self._reach
        n_before, n_after = (
            (part * (n_read + (part < 1))).astype(np.int64).clip(max=n_read)
            for n_read in ((before - first).clip(min=0), (last - after).clip(min=0))
        )
        return first + n_before, last - n_after

    def _keys(self, rank: np.ndarray) -> np.ndarray:
        """Sorting keys of the interactions: tie, then rank of the item."""
        return self.histories.ties * self._n_items + rank[self.histories.items]

    def _places(self, rank: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """End of the interactions before each target, and start of those after it."""
        if not self.bidirectional:
            return self._before, self._before
        # Equal items are neighbours inside a tie, so that a target can read all other items.
        keys = np.sort(self._keys(rank))
        own = self._tie * self._n_items + rank[self._item]
        start = self.histories.starts[self._sequence]
        before = np.searchsorted(keys, own) - start
        after = np.searchsorted(keys, own, side="right") - start
        tied = self._tie >= 0
        return np.where(tied, before, self._before), np.where(tied, after, self._before)

    def planned_batches(
        self, batch_size: int, generator: torch.Generator | None, **columns: Tensor
    ) -> Iterator[tuple[Tensor, np.ndarray, dict[str, Tensor], dict[str, Tensor]]]:
        """Yield rows of targets (on the device, on the CPU), histories and queries of batches,
        with further columns of the interactions."""
        flat, places = self._arranged(generator)
        flat = flat | columns
        groups = self._grouped(batch_size, generator)
        for number in range(0, len(groups), BATCHES_AT_ONCE):
            yield from self._planned(groups[number : number + BATCHES_AT_ONCE], flat, places)

    def _planned(
        self, groups: list[np.ndarray], flat: dict[str, Tensor], places: dict[str, np.ndarray]
    ) -> Iterator[tuple[Tensor, np.ndarray, dict[str, Tensor], dict[str, Tensor]]]:
        """Yield the same for some batches, whose indices move to the device at once."""
        n_pieces = np.array([len(pieces) for pieces in groups])
        pieces = np.concatenate(groups)
        first, lengths = self._first[pieces], self._last[pieces] - self._first[pieces]
        n_targets = np.diff(self._target_starts)[pieces]
        owner = np.repeat(np.arange(len(pieces)), n_targets)
        offset = self._target_starts[pieces] - (np.cumsum(n_targets) - n_targets)
        rows = np.arange(len(owner)) + offset[owner]
        shift = self.histories.starts[self._sequence[rows]] - first[owner]
        plan = {
            "chosen": rows,
            "sequences": np.concatenate([np.arange(n) for n in n_pieces])[owner],
            **{
                name: (of_targets[rows] + shift).clip(0, lengths[owner])
                for name, of_targets in places.items()
            },
        }
        starts = np.cumsum(n_pieces) - n_pieces
        n_of_batch = np.add.reduceat(n_targets, starts)
        of_pieces = zip(
            *(self._moved(values).split(n_pieces.tolist()) for values in (first, lengths)),
            strict=True,
        )
        of_targets = zip(
            *(self._moved(v).split(n_of_batch.tolist()) for v in plan.values()), strict=True
        )
        for (start, n_past), columns, batch_rows, width in zip(
            of_pieces,
            of_targets,
            np.split(rows, np.cumsum(n_of_batch)[:-1]),
            np.maximum.reduceat(lengths, starts).tolist(),
            strict=True,
        ):
            queries = dict(zip(plan, columns, strict=True))
            chosen = queries.pop("chosen")
            for name in self.X.keys() - {"sample_weight"}:
                queries[name] = self.X[name].index_select(0, chosen)
            yield chosen, batch_rows, _padded(flat, start, n_past, max(1, width)), queries

    def _moved(self, values: np.ndarray) -> Tensor:
        return torch.from_numpy(values).to(self.y.device)


def _padded(
    flat: dict[str, Tensor], first: Tensor, lengths: Tensor, width: int
) -> dict[str, Tensor]:
    """Copy pieces of flat tensors into matrices of this width, padded with zeros."""
    place = torch.arange(width, device=first.device)
    padding = place >= lengths.unsqueeze(1)  # (n_pieces, width)
    index = (first.unsqueeze(1) + place).masked_fill_(padding, 0)
    read = {name: values[index].masked_fill_(padding, 0) for name, values in flat.items()}
    return {**read, "lengths": lengths}


def _log_gaps(times: np.ndarray, unit: float) -> np.ndarray:
    """Scaled logarithms of the differences between neighbours; negative differences count as 0."""
    gaps = np.diff(times.astype(np.float64)) / unit  # floats hold any difference
    return np.log1p(gaps.clip(min=0)) / LOG_GAP


def _cut(
    histories: Histories,
    sequences: np.ndarray,
    before: np.ndarray,
    max_len: int | None,
    bidirectional: bool,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Cut sequences into pieces: their starts and ends, each target's piece, an order by piece."""
    number = np.zeros(len(before), dtype=np.int64)
    if max_len is not None:
        number = np.maximum(0, -(-before // max_len) - 2)
    n_numbers = int(number.max(initial=0)) + 1
    keys, piece = np.unique(sequences * n_numbers + number, return_inverse=True)
    sequence, number = np.divmod(keys, n_numbers)
    first, last = histories.starts[sequence], histories.starts[sequence + 1]
    if max_len is not None:
        first = first + number * max_len
        last = np.minimum(first + (3 if bidirectional else 2) * max_len, last)
    return first, last, piece, np.argsort(piece, kind="stable")
