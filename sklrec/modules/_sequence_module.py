"""Base of the modules that read a user's history by an LSTM."""
# SPDX-License-Identifier: BSD-3-Clause

import warnings
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sklrec._utils.versions import is_exporting
from sklrec.modules._rating_module import RatingModule, uniform_start, wide

# Limit of memory: scores that are held at once.
SCORES_AT_ONCE = 2**16
WEIGHTS = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")


class States(NamedTuple):
    """States of an LSTM after 0, 1, ... interactions of each sequence, in both directions."""

    forward: dict[str, Tensor]  # (n_sequences, max_len + 1, ...)
    backward: dict[str, Tensor] | None
    lengths: Tensor  # (n_sequences,)


class SequenceModule(RatingModule):
    """Base of the modules that run an LSTM once over each sequence, for any number of ratings."""

    constant = "offset"
    items_only = False
    hidden_size: int
    bidirectional: bool
    offset: Tensor  # of all predictions from the mean, 0 for the squared error

    def __init__(self, global_mean: float = 0.0, scale: float = 1.0):
        super().__init__(global_mean, scale)
        self.register_buffer("offset", torch.tensor(0.0, dtype=torch.float64))
        self._exact += ("offset",)

    @property
    def zero(self) -> Tensor:
        """The rating of the score 0."""
        return self.global_mean + self.offset

    def _from_ratings(self, ratings: Tensor, like: Tensor) -> Tensor:
        # Past ratings are read as deviations from their mean, whatever the loss.
        return (ratings.to(self.scale.dtype) - self.global_mean).to(like.dtype).div_(self.scale)

    @abstractmethod
    def _steps(
        self, past_items: Tensor, past_ratings: Tensor, past_gaps: Tensor, lengths: Tensor
    ) -> dict[str, Tensor]:  # (n_sequences, max_len, n)
        """Return what the LSTM and its states read of each interaction."""

    @abstractmethod
    def _run(self, lstm: nn.LSTM, steps: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the states after 0, 1, ... steps."""

    @abstractmethod
    def _score(self, read: dict[str, Tensor], items: Tensor) -> Tensor:
        """Compute ratings without mean and scale from what was selected."""

    def _add_lstms(self, n_inputs: int, generator: torch.Generator | None) -> None:
        self.lstm = _new_lstm(n_inputs, self.hidden_size, generator)
        if self.bidirectional:
            self.backward_lstm = _new_lstm(n_inputs, self.hidden_size, generator)

    @property
    def _n_hidden(self) -> int:
        """Number of hidden units of all LSTMs."""
        return self.hidden_size * (1 + self.bidirectional)

    def read(
        self, past_items: Tensor, past_ratings: Tensor, past_gaps: Tensor, lengths: Tensor
    ) -> States:
        """Run the LSTM over sequences.

        Parameters
        ----------
        past_items : Tensor of shape (n_sequences, max_len)
            Item codes, 0 for unknown; any codes as padding.
        past_ratings : Tensor of shape (n_sequences, max_len)
            Ratings of the past items; NaN if unknown.
        past_gaps : Tensor of shape (n_sequences, max_len)
            Time since the previous interaction, on a logarithmic scale.
        lengths : Tensor of shape (n_sequences,)
            Number of interactions of each sequence.

        Returns
        -------
        States
            The states after 0, 1, ... interactions of each sequence.
        """
        return self._run_all(self._steps(past_items, past_ratings, past_gaps, lengths), lengths)

    def _run_all(self, steps: dict[str, Tensor], lengths: Tensor, **after: Tensor) -> States:
        """Run all LSTMs; `after` replaces steps of the one that reads from the end."""
        forward = self._run(self.lstm, steps)
        if not self.bidirectional:
            return States(forward, None, lengths)
        if "gaps" in steps:  # the gap from the end is the time to the next interaction
            after["gaps"] = F.pad(steps["gaps"], (0, 0, 0, 1))[:, 1:]
        steps = _from_end(steps | after, lengths)
        return States(forward, self._run(self.backward_lstm, steps), lengths)

    def rate(
        self,
        states: States,
        sequences: Tensor,
        before: Tensor,
        items: Tensor,
        after: Tensor | None = None,
    ) -> Tensor:
        """Predict ratings from states.

        Parameters
        ----------
        states : States
            The result of :meth:`read`.
        sequences : Tensor of shape (n,)
            Row of the past that each rating belongs to.
        before : Tensor of shape (n,)
            Number of interactions to read from the start of the row.
        items : Tensor of shape (n,)
            Item codes, 0 for unknown.
        after : Tensor of shape (n,), default=None
            With ``bidirectional=True``, position of the first interaction to read from the end
            of the row; ``None`` is `before`.

        Returns
        -------
        Tensor of shape (n,)
            Ratings as float64, not clipped.
        """
        read = self._select(states, sequences, before, after)
        return self._to_ratings(self._score(read, items))

    def _pair_outputs(
        self, past: dict[str, Tensor], targets: dict[str, Tensor], candidates: Tensor
    ) -> Tensor:  # (n, n_candidates)
        """Compute the ratings of all pairs of a place in a history and a candidate, without mean
        and scale."""
        read = self._select(self.read(**past), **targets)
        n, at_once = len(targets["sequences"]), max(1, SCORES_AT_ONCE // len(candidates))
        found = []
        for first in range(0, n, at_once):
            of_pairs = {
                name: values[first : first + at_once].repeat_interleave(len(candidates), 0)
                for name, values in read.items()
            }
            n_rows = min(at_once, n - first)
            scores = self._score(of_pairs, candidates.repeat(n_rows))
            found.append(scores.reshape(n_rows, -1).cpu())
        return torch.cat(found)

    def _select(
        self, states: States, sequences: Tensor, before: Tensor, after: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Return what each prediction reads, as tensors with a row for each."""
        read = {name: v[sequences, before] for name, v in states.forward.items()}
        n_read = before
        if states.backward is not None:
            n_after = states.lengths[sequences] - (before if after is None else after)
            backward = {name: v[sequences, n_after] for name, v in states.backward.items()}
            n_read = n_read + n_after
            read |= {f"{name} after": values for name, values in backward.items()}
        return {**read, "n_read": n_read}


def _is_known(past_items: Tensor, lengths: Tensor) -> Tensor:  # (n_sequences, max_len, 1)
    """Whether places hold interactions, and not padding."""
    place = torch.arange(past_items.shape[1], device=past_items.device)
    return (place < lengths[:, None]).unsqueeze(-1)


def _from_end(steps: dict[str, Tensor], lengths: Tensor) -> dict[str, Tensor]:
    """Reverse the steps of each sequence."""
    place = torch.arange(next(iter(steps.values())).shape[1], device=lengths.device)
    from_end = (lengths[:, None] - 1 - place).clamp(min=0).unsqueeze(-1)
    return {name: v.gather(1, from_end.expand(-1, -1, v.shape[2])) for name, v in steps.items()}


def _run_lstm(lstm: nn.LSTM, inputs: Tensor) -> Tensor:
    """Return the hidden states after each step."""
    if lstm.training or is_exporting():
        return lstm(inputs)[0]
    weights = [wide(lstm.get_parameter(name)) for name in WEIGHTS]
    start = wide(inputs.new_zeros(1, len(inputs), lstm.hidden_size))
    # has_biases, num_layers, dropout, train, bidirectional, batch_first
    options = (True, 1, 0.0, False, False, True)
    with _unwarned() if inputs.device.type == "cuda" else nullcontext():
        hidden, *_ = torch.lstm(wide(inputs), (start, start), weights, *options)
    return hidden.to(inputs.dtype)


@contextmanager
def _unwarned() -> Iterator[None]:
    """Ignore cuDNN's warning that the float64 weights are not in one piece."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "RNN module weights")
        yield


def _new_lstm(n_inputs: int, hidden_size: int, generator: torch.Generator | None) -> nn.LSTM:
    lstm = nn.LSTM(n_inputs, hidden_size, batch_first=True, device="meta")
    return uniform_start(lstm, hidden_size**-0.5, generator)
