"""Histories as batches of padded sequences, each with the ratings that are to be predicted."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from sklrec._data.histories import Histories
from sklrec._solvers.tensors import Batch, InteractionTensors

# Sequences are batched by lengths that are multiplied, in each epoch anew, by e to the power of
# this times a normal number: little padding, and yet other company for a sequence every time.
JITTER = 0.1
# Of the targets that forget, the share that reads nothing at all.
NOTHING = 0.2
# What brings the logarithms of gaps, in time units, to about unit size.
LOG_GAP = 5.0
# Places, padding included, in a batch that is only predicted.
PLACES_AT_ONCE = 2**14
# Batches that are planned, and moved to the device, at once: a device need not wait for each, and
# the plan of an epoch need not be in memory.
BATCHES_AT_ONCE = 64


class SequenceTensors(InteractionTensors):
    """Histories, and the ratings (targets) that are to be predicted from them.

    A target reads what is strictly earlier in its sequence, and with `bidirectional` all of the
    sequence but itself. Sequences longer than ``2 * max_len`` are cut into overlapping pieces.

    Parameters
    ----------
    histories : Histories
        What is read.
    sequences : ndarray of shape (n,)
        The sequence of each target.
    items : ndarray of shape (n,)
        The item of each target.
    times : ndarray of shape (n,) or None
        The time of each target, or its place in the sequence if the histories have no times.
        ``None`` is later than all.
    ratings : ndarray of shape (n,), default=None
        The ratings, zeros if ``None``.
    sample_weight : ndarray of shape (n,), default=None
        Weight of each rating, 1 if ``None``.
    time_unit : float, default=1.0
        Unit of the gaps between times.
    max_len : int, default=None
        Of longer histories a target reads at least its `max_len` nearest interactions on a side
        and at most twice as many; ``None`` is all.
    bidirectional : bool, default=False
        Whether a target also reads what is not earlier.
    history_dropout : float, default=0.0
        Share of the targets that read only a random first part of what they may, or nothing, if
        an epoch has a generator.
    """

    def __init__(
        self,
        histories: Histories,
        sequences: np.ndarray,
        items: np.ndarray,
        times: np.ndarray | None,
        ratings: np.ndarray | None = None,
        sample_weight: np.ndarray | None = None,
        *,
        time_unit: float = 1.0,
        max_len: int | None = None,
        bidirectional: bool = False,
        history_dropout: float = 0.0,
    ):
        self.histories = histories
        self.bidirectional = bidirectional
        self.history_dropout = history_dropout
        starts, lengths = histories.starts, histories.lengths
        before = lengths[sequences] if times is None else histories.earlier(sequences, times)
        tie = np.full(len(before), -1)
        if bidirectional and times is not None:
            tie = histories.tie_of(sequences, times)
        self._n_items = 1 + int(max(histories.items.max(initial=0), items.max(initial=0)))
        self._sequence, self._before, self._tie, self._item = sequences, before, tie, items
        before, _ = self._places(np.arange(self._n_items))
        first, last, piece, order = _cut(histories, sequences, before, max_len, bidirectional)
        # Targets stand by piece, so that those of a piece are a range.
        self._order, self._first, self._last = order, first, last
        self._target_starts = np.searchsorted(piece[order], np.arange(len(first) + 1))
        self._sequence, self._before = self._sequence[order], self._before[order]
        self._tie, self._item = self._tie[order], self._item[order]
        start = starts[self._sequence]
        self._reach = first[piece[order]] - start, last[piece[order]] - start
        self._device = torch.device("cpu")
        n_interactions = len(histories.items)
        flat_gaps = np.zeros(n_interactions, dtype=np.float32)
        if histories.timed:
            flat_gaps[1:] = _log_gaps(histories.times, time_unit)
            flat_gaps[starts[:-1][lengths > 0]] = 0
        self._flat = {
            "past_items": torch.from_numpy(histories.items),
            "past_ratings": torch.from_numpy(histories.ratings.astype(np.float32)),
            "past_gaps": torch.from_numpy(flat_gaps),
        }
        if n_interactions == 0:  # something for padding to be taken from
            self._flat = {name: values.new_zeros(1) for name, values in self._flat.items()}
        super().__init__(
            {"items": torch.from_numpy(items[order])},
            None if ratings is None else torch.from_numpy(ratings[order].astype(np.float32)),
            None
            if sample_weight is None or np.ptp(sample_weight) == 0
            else torch.from_numpy(sample_weight[order].astype(np.float32)),
        )

    def to(self, device: str | torch.device) -> "SequenceTensors":
        """Move all tensors to a device.

        Parameters
        ----------
        device : str or torch.device
            Where to.

        Returns
        -------
        SequenceTensors
            This dataset.
        """
        super().to(device)
        self._flat = {name: values.to(device) for name, values in self._flat.items()}
        self._device = torch.device(device)
        return self

    def n_batches(self, batch_size: int) -> int:
        """Count the batches of an epoch.

        Parameters
        ----------
        batch_size : int
            About how many interactions a batch holds, with padding; a longer piece is a batch of
            its own.

        Returns
        -------
        int
            How many `batches` gives.
        """
        return len(self._batch_ends(batch_size))

    def batches(
        self, batch_size: int, generator: torch.Generator | None = None
    ) -> Iterator[Batch]:
        """Give batches of whole pieces of about the same length.

        With a generator, the order inside ties is drawn anew: it is arbitrary, and the model
        should not learn from it.

        Parameters
        ----------
        batch_size : int
            About how many interactions a batch holds, with padding; a longer piece is a batch of
            its own.
        generator : torch.Generator, default=None
            Source of the order of pieces and of that inside ties.

        Yields
        ------
        inputs : dict of str to Tensor
            What `LSTMRating` takes, and ``sample_weight`` if there is any.
        ratings : Tensor of shape (n_targets,)
            The targets' ratings.
        """
        for chosen, _, read, asked in self._batches(batch_size, generator):
            inputs = read | asked
            if "sample_weight" in self.X:
                inputs["sample_weight"] = self.X["sample_weight"].index_select(0, chosen)
            yield inputs, self.y.index_select(0, chosen)

    def whole_batches(
        self,
    ) -> Iterator[tuple[np.ndarray, dict[str, Tensor], dict[str, Tensor]]]:
        """Give batches for prediction, in which nothing is drawn.

        Yields
        ------
        rows : ndarray of shape (n_targets,)
            Which of the targets, in the order in which they were given.
        read : dict of str to Tensor
            What ``LSTMRating.read`` takes.
        asked : dict of str to Tensor of shape (n_targets,)
            What ``LSTMRating.rate`` takes.
        """
        for _, rows, read, asked in self._batches(PLACES_AT_ONCE, None):
            yield self._order[rows], read, asked

    def in_one_batch(self) -> dict[str, Tensor]:
        """Give all there is in one batch for prediction.

        Returns
        -------
        dict of str to Tensor
            What ``LSTMRating`` takes, targets in the order in which they were given.
        """
        flat, places = self._arranged(None)
        [(_, rows, read, asked)] = self._planned([np.arange(len(self._first))], flat, places)
        given = torch.from_numpy(np.argsort(self._order[rows]))
        return {**read, **{name: values[given] for name, values in asked.items()}}

    def _grouped(self, batch_size: int, generator: torch.Generator | None) -> list[np.ndarray]:
        """Put pieces of about the same length together."""
        lengths = (self._last - self._first).astype(np.float64)
        if generator is not None:
            lengths *= np.exp(JITTER * torch.randn(len(lengths), generator=generator).numpy())
        groups = np.split(np.argsort(lengths, kind="stable"), self._batch_ends(batch_size)[:-1])
        if generator is not None:
            groups = [groups[i] for i in torch.randperm(len(groups), generator=generator)]
        return groups

    def _batch_ends(self, batch_size: int) -> np.ndarray:
        """Where batches end among the pieces in the order of their lengths."""
        lengths = np.sort(self._last - self._first).clip(min=1)
        count = np.arange(1, batch_size + 1)
        ends = [0]
        while ends[-1] < len(lengths):
            # As many pieces as fit, all padded to the longest of them.
            padded = lengths[ends[-1] : ends[-1] + batch_size]
            padded = padded * count[: len(padded)]
            n_fitting = np.searchsorted(padded, batch_size, side="right")
            ends.append(ends[-1] + max(1, int(n_fitting)))
        return np.array(ends[1:])

    def _arranged(
        self, generator: torch.Generator | None
    ) -> tuple[dict[str, Tensor], dict[str, np.ndarray]]:
        """Sort ties by item, or by ranks of the items that are drawn; find what targets read."""
        flat, rank = self._flat, np.arange(self._n_items)
        if generator is not None:
            rank = torch.randperm(self._n_items, generator=generator).numpy()
            moved = torch.from_numpy(np.argsort(self._keys(rank), kind="stable")).to(self._device)
            # Gaps stay where they are: they belong to times, not to items.
            flat = {name: v if name == "past_gaps" else v[moved] for name, v in flat.items()}
        before, after = self._places(rank)
        if generator is not None and self.history_dropout > 0:
            before, after = self._forget(before, after, generator)
        places = {"before": before}
        if self.bidirectional:
            places["after"] = after
        return flat, places

    def _forget(
        self, before: np.ndarray, after: np.ndarray, generator: torch.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Let some targets read less from either side, as if histories were out of date or new."""
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
        """Numbers that order the interactions by tie, and inside ties by their items' ranks."""
        return self.histories.ties * self._n_items + rank[self.histories.items]

    def _places(self, rank: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """How many interactions stand before each target, and how many not after it.

        What has the very same item stands together in a tie, so that a target from both sides
        can read all else.
        """
        if not self.bidirectional:
            return self._before, self._before
        keys = np.sort(self._keys(rank))
        own = self._tie * self._n_items + rank[self._item]
        start = self.histories.starts[self._sequence]
        before = np.searchsorted(keys, own) - start
        after = np.searchsorted(keys, own, side="right") - start
        tied = self._tie >= 0
        return np.where(tied, before, self._before), np.where(tied, after, self._before)

    def _batches(
        self, batch_size: int, generator: torch.Generator | None
    ) -> Iterator[tuple[Tensor, np.ndarray, dict[str, Tensor], dict[str, Tensor]]]:
        """Rows of targets, on the device and on the CPU, what is read and what is asked."""
        flat, places = self._arranged(generator)
        groups = self._grouped(batch_size, generator)
        for number in range(0, len(groups), BATCHES_AT_ONCE):
            yield from self._planned(groups[number : number + BATCHES_AT_ONCE], flat, places)

    def _planned(
        self, groups: list[np.ndarray], flat: dict[str, Tensor], places: dict[str, np.ndarray]
    ) -> Iterator[tuple[Tensor, np.ndarray, dict[str, Tensor], dict[str, Tensor]]]:
        """The same of some batches, for which all that says what is in them moves at once."""
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
        for (start, n_there), columns, here, width in zip(
            of_pieces,
            of_targets,
            np.split(rows, np.cumsum(n_of_batch)[:-1]),
            np.maximum.reduceat(lengths, starts).tolist(),
            strict=True,
        ):
            asked = dict(zip(plan, columns, strict=True))
            chosen = asked.pop("chosen")
            asked["items"] = self.X["items"].index_select(0, chosen)
            yield chosen, here, _padded(flat, start, n_there, max(1, width)), asked

    def _moved(self, values: np.ndarray) -> Tensor:
        return torch.from_numpy(values).to(self._device)


def _padded(
    flat: dict[str, Tensor], first: Tensor, lengths: Tensor, width: int
) -> dict[str, Tensor]:
    """Pieces of flat tensors, padded to a width."""
    place = torch.arange(width, device=first.device)
    padding = place >= lengths.unsqueeze(1)  # (n_pieces, width)
    index = (first.unsqueeze(1) + place).masked_fill_(padding, 0)
    read = {name: values[index].masked_fill_(padding, 0) for name, values in flat.items()}
    return {**read, "lengths": lengths}


def _log_gaps(times: np.ndarray, unit: float) -> np.ndarray:
    """Logarithms of the differences between neighbours, where those are not negative."""
    gaps = np.diff(times.astype(np.float64)) / unit  # floats hold any difference
    return np.log1p(gaps.clip(min=0)) / LOG_GAP


def _cut(
    histories: Histories,
    sequences: np.ndarray,
    before: np.ndarray,
    max_len: int | None,
    bidirectional: bool,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Cut the sequences of targets into pieces.

    Gives where the pieces start and end in the flat arrays, the piece of each target, and an
    order of the targets in which those of a piece stand together.
    """
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
