"""LSTM over the earlier ratings of a user, which predicts later ones."""
# SPDX-License-Identifier: BSD-3-Clause

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sklrec._utils.state.kinds import Array, Maybe
from sklrec._utils.versions import is_exporting
from sklrec.modules._rating_module import (
    biases_of,
    embedding,
    grow_tables,
    linear,
    new_linear,
    rows_of,
    wide,
    zero_biases,
)
from sklrec.modules._sequence_module import WEIGHTS, SequenceModule, _is_known, _run_lstm


class LSTMRating(SequenceModule):
    r"""Predict a rating from the earlier ratings of the user by an LSTM.

    Sequences are matrices of item codes and ratings, with padding at the end. A prediction needs
    a sequence, the number of its interactions to read, and an item. One pass of the LSTM over
    a sequence serves any number of predictions. `sklrec.SequenceRatingRegressor` has the formulas.

    Parameters
    ----------
    n_items : int
        Number of known items.
    n_factors : int, default=32
        Number of factors of each item.
    hidden_size : int, default=16
        Number of hidden units of the LSTM.
    items_only : bool, default=False
        Whether to read only items. The LSTM reads the item factors, at last those of the item to
        rate, and a linear unit reads its hidden state.
    bidirectional : bool, default=False
        Whether a second LSTM reads the sequences from their end.
    dropout : float, default=0.4
        Share of the user's vector that training sets to zero at random; with
        ``items_only=True``, share of the hidden units.
    global_mean : float, default=0.0
        The mean of the ratings. It is not trained.
    scale : float, default=1.0
        The standard deviation of the ratings. It is not trained.
    init_std : float, default=0.2
        Standard deviation of the normal distribution of the initial item factors. The factors
        of rated items start with half of it, the factors of seen items at zero.
    n_ratings : int, default=1
        Number of training ratings, by which :meth:`penalty` is divided.
    sparse : bool, default=False
        Whether the tables of items get sparse gradients, which hold only the rows of the batch.
    generator : torch.Generator, default=None
        Source of the random start; ``None`` is torch's global one.

    Attributes
    ----------
    n_lookups : Tensor of shape (n_items + 1,) or None
        Number of lookups of each item in an epoch, as a past item or as the item to rate. With
        ``sparse=True``, :meth:`penalty` is divided by it; ``None`` counts the batch alone.

    See Also
    --------
    sklrec.SequenceRatingRegressor : The scikit-learn estimator around this module.

    References
    ----------
    Hochreiter, Schmidhuber (1997), "Long Short-Term Memory", :doi:`10.1162/neco.1997.9.8.1735`.

    Examples
    --------
    >>> import torch
    >>> from sklrec.modules import LSTMRating
    >>> module = LSTMRating(n_items=9).eval()
    >>> states = module.read(
    ...     past_items=torch.tensor([[3, 1, 2], [4, 0, 0]]),
    ...     past_ratings=torch.tensor([[5.0, 3.0, 4.0], [1.0, 0.0, 0.0]]),
    ...     past_gaps=torch.zeros(2, 3),
    ...     lengths=torch.tensor([3, 1]),
    ... )

    The rating of item 7 by the first user after two ratings, and that of item 9 by the second:

    >>> which, read = torch.tensor([0, 1]), torch.tensor([2, 1])
    >>> module.rate(states, sequences=which, before=read, items=torch.tensor([7, 9])).shape
    torch.Size([2])
    """

    _tensors = {"n_lookups": Maybe(Array("float32", ("n_items+1",)))}

    # Half of the targets read only a random first part of their history, and a fifth of these read
    # no history. This prepares the model for old histories and for new users.
    history_dropout = 0.5

    def __init__(
        self,
        n_items: int,
        n_factors: int = 32,
        hidden_size: int = 16,
        *,
        items_only: bool = False,
        bidirectional: bool = False,
        dropout: float = 0.4,
        global_mean: float = 0.0,
        scale: float = 1.0,
        init_std: float = 0.2,
        n_ratings: int = 1,
        sparse: bool = False,
        generator: torch.Generator | None = None,
    ):
        super().__init__(global_mean, scale)
        self.n_factors = n_factors
        self.hidden_size = hidden_size
        self.items_only = items_only
        self.bidirectional = bidirectional
        self.init_std = init_std
        self.n_ratings = n_ratings
        self.sparse = sparse
        self.n_lookups: Tensor | None
        self.register_buffer("n_lookups", None, persistent=False)
        self.dropout = nn.Dropout(dropout)
        self._add_layers(n_items, generator)

    def _add_layers(self, n_items: int, generator: torch.Generator | None) -> None:
        self.item_factors = embedding(self, "item", n_items, generator)
        n_inputs = self.n_factors
        if not self.items_only:
            n_inputs += 2  # deviation and gap
            self.item_biases = zero_biases(n_items)
            self.rated_factors = embedding(self, "rated", n_items, generator)
            self.seen_factors = embedding(self, "seen", n_items, generator)
            self.log_shrinkage = nn.Parameter(torch.tensor(math.log(5.0), dtype=torch.float32))
        self._add_lstms(n_inputs, generator)
        n_outputs = 1 if self.items_only else self.n_factors + 1
        self.output = new_linear(self._n_hidden, n_outputs, generator)

    @property
    def n_items(self) -> int:
        """Number of known items."""
        return self.item_factors.num_embeddings - 1

    @property
    def width(self) -> int:
        """Largest number of values that one row takes in a tensor."""
        return self.lstm.input_size + 4 * self.hidden_size

    def forward(
        self,
        past_items: Tensor,
        past_ratings: Tensor,
        past_gaps: Tensor,
        lengths: Tensor,
        sequences: Tensor,
        before: Tensor,
        items: Tensor,
        after: Tensor | None = None,
    ) -> Tensor:
        """Predict one rating for each of `items`.

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
        if self.items_only and is_exporting():
            return self._rate_row_by_row(past_items, lengths, sequences, before, items, after)
        states = self.read(past_items, past_ratings, past_gaps, lengths)
        return self.rate(states, sequences, before, items, after)

    def penalty(self, **inputs: Tensor) -> Tensor:
        """Return the squared norm of all factors and biases, divided by the number of ratings.

        The penalty of an item does not depend on its number of ratings. With ``sparse=True``, the
        penalty reads only the items of the batch and divides their norms by `n_lookups`. The
        batches of an epoch together then have the same penalty.

        Parameters
        ----------
        **inputs : Tensor
            The arguments of ``forward``; only used with ``sparse=True``.

        Returns
        -------
        Tensor of shape ()
            The sum of the squares, divided by the number of ratings.
        """
        if self.sparse:
            return self._penalty_of_batch(**inputs)
        tables: list[Tensor] = [table.weight for table in self._factor_tables()]
        if not self.items_only:
            tables.append(self.item_biases)
        return torch.stack([table.square().sum() for table in tables]).sum() / self.n_ratings

    def _penalty_of_batch(self, past_items: Tensor, items: Tensor, **inputs: Tensor) -> Tensor:
        codes = torch.cat([past_items.flatten(), items])
        counts = torch.ones_like(codes)
        if codes.device.type == "cpu":  # other devices would wait for the number of items
            codes, counts = codes.unique(return_counts=True)
        rows = [self._rows(table, codes) for table in self._factor_tables()]
        if not self.items_only:
            rows.append(self._biases(codes).unsqueeze(1))
        squares = torch.cat(rows, 1).square().sum(1)  # 0 for padding
        n_lookups = self.n_lookups
        if n_lookups is None:
            n_lookups = counts.new_zeros(self.n_items + 1).index_add_(0, codes, counts)
        share = counts / n_lookups.index_select(0, codes).clamp(min=1)
        return (squares * share).sum() / len(items)

    def _factor_tables(self) -> list[nn.Embedding]:
        return [table for table in self.children() if isinstance(table, nn.Embedding)]

    def _rows(self, table: nn.Embedding, codes: Tensor) -> Tensor:
        return rows_of(table, codes, sparse=self.sparse)

    def _biases(self, codes: Tensor) -> Tensor:
        return biases_of(self.item_biases, codes, sparse=self.sparse)

    @torch.no_grad()
    def _multiply_scores(self, ratio: float) -> None:
        """Multiply the scores by a number, through the parameters."""
        tables: list[Tensor] = list(self.output.parameters())
        if not self.items_only:
            # The past ratings that the LSTM reads are multiplied too. Its states stay as they are.
            tables += [self.item_biases, self.seen_factors.weight]
            for name in ("lstm", "backward_lstm")[: 1 + self.bidirectional]:
                weight = getattr(self, name).weight_ih_l0  # the last column belongs to the gap
                weight[:, :-1] /= ratio
        for table in tables:
            table.mul_(ratio)

    @torch.no_grad()
    def count_lookups(
        self, n_lookups: Tensor, n_ratings: int, before: "LSTMRating | None" = None
    ) -> None:
        """Set the numbers by which :meth:`penalty` is divided.

        Parameters
        ----------
        n_lookups : Tensor of shape (n_items + 1,)
            Number of lookups of each item in an epoch.
        n_ratings : int
            Number of training ratings.
        before : LSTMRating, default=None
            A module whose numbers are added.
        """
        self.n_lookups, self.n_ratings = n_lookups.to(self.item_factors.weight), n_ratings
        if before is not None:
            assert before.n_lookups is not None
            self.n_ratings += before.n_ratings
            self.n_lookups[: len(before.n_lookups)] += before.n_lookups.to(self.n_lookups)

    def grow(self, n_items: int, generator: torch.Generator | None = None) -> "LSTMRating":
        """Append rows of new items to the tables.

        Parameters
        ----------
        n_items : int
            New number of items, at least the current one.
        generator : torch.Generator, default=None
            Source of the new factors; ``None`` is torch's global one.

        Returns
        -------
        LSTMRating
            This module; its existing rows are unchanged.
        """
        grow_tables(self, {"item": n_items}, generator)
        return self

    def _steps(
        self, past_items: Tensor, past_ratings: Tensor, past_gaps: Tensor, lengths: Tensor
    ) -> dict[str, Tensor]:
        is_known = _is_known(past_items, lengths)
        factors = self._rows(self.item_factors, past_items) * is_known
        if self.items_only:
            return {"factors": factors}
        ratings = self._from_ratings(past_ratings, factors)
        deviation = (ratings - self._biases(past_items)).nan_to_num(0.0).unsqueeze(-1)
        return {
            "factors": factors,
            "deviation": deviation * is_known,
            "gaps": past_gaps.unsqueeze(-1),
            "rated": self._rows(self.rated_factors, past_items) * is_known,
            "seen": self._rows(self.seen_factors, past_items) * is_known,
        }

    def _run(self, lstm: nn.LSTM, steps: dict[str, Tensor]) -> dict[str, Tensor]:
        if self.items_only:
            return _cells(lstm, steps["factors"])
        deviation, rated = steps["deviation"], steps["rated"]
        summed = torch.cat([deviation, deviation * rated + steps["seen"], rated], 2).cumsum(1)
        summed = F.pad(summed, (0, 0, 1, 0))
        count = torch.arange(deviation.shape[1], device=deviation.device).view(1, -1, 1)
        surprise = deviation - summed[:, :-1, :1] / (count + self.log_shrinkage.exp())
        inputs = [steps["factors"] * surprise, surprise, steps["gaps"]]
        hidden = _run_lstm(lstm, torch.cat(inputs, 2))
        return {"hidden": F.pad(hidden, (0, 0, 1, 0)), "summed": summed}

    def _score(self, read: dict[str, Tensor], items: Tensor) -> Tensor:
        if self.items_only:
            return self._rate_by_items(read, items)
        hidden, summed = read["hidden"], read["summed"]
        if self.bidirectional:
            hidden = torch.cat([hidden, read["hidden after"]], 1)
            summed = summed + read["summed after"]
        n_read = read["n_read"].unsqueeze(1)
        deviations, rated_deviations, rated = summed.split([1, self.n_factors, self.n_factors], 1)
        mean = deviations / (n_read + self.log_shrinkage.exp())
        output = linear(self.output, hidden)
        summary = (rated_deviations - mean * rated) / (n_read + 1).sqrt()
        user = self.dropout(output[:, 1:] + summary)
        bias = (mean + output[:, :1]).squeeze(1) + self._biases(items)
        return bias + (user * self._rows(self.item_factors, items)).sum(1)

    def _rate_by_items(self, read: dict[str, Tensor], items: Tensor) -> Tensor:
        own = self._rows(self.item_factors, items)
        hidden = [_cell(self.lstm, own, read["hidden"], read["cell"])[0]]
        if self.bidirectional:
            states = read["hidden after"], read["cell after"]
            hidden.append(_cell(self.backward_lstm, own, *states)[0])
        both = self.dropout(torch.cat(hidden, 1).to(own.dtype))
        return linear(self.output, both).squeeze(1)

    def _rate_row_by_row(
        self,
        past_items: Tensor,
        lengths: Tensor,
        sequences: Tensor,
        before: Tensor,
        items: Tensor,
        after: Tensor | None,
    ) -> Tensor:
        """Compute `forward` with ``items_only=True``, by a separate run for each rating."""
        # An exported LSTM returns only its last cell, so that it cannot go on from the middle.
        own = self._rows(self.item_factors, items).unsqueeze(1)
        sides = [(self.lstm, past_items, before)]
        if self.bidirectional:
            place = torch.arange(past_items.shape[1], device=past_items.device)
            from_end = past_items.gather(1, (lengths[:, None] - 1 - place).clamp(min=0))
            n_after = lengths[sequences] - (before if after is None else after)
            sides.append((self.backward_lstm, from_end, n_after))
        hidden = []
        for lstm, codes, n_read in sides:
            steps = F.pad(self._rows(self.item_factors, codes[sequences]), (0, 0, 0, 1))
            is_own = torch.arange(steps.shape[1], device=steps.device) == n_read.unsqueeze(1)
            states = _run_lstm(lstm, torch.where(is_own.unsqueeze(2), own, steps))
            hidden.append(states[torch.arange(items.shape[0], device=items.device), n_read])
        return self._to_ratings(linear(self.output, torch.cat(hidden, 1)).squeeze(1))


def _cell(lstm: nn.LSTM, inputs: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    """Run one step of a one-layer LSTM."""
    weights: list[Tensor] = [lstm.get_parameter(name) for name in WEIGHTS]
    if not lstm.training:
        inputs, hidden, cell, *weights = map(wide, (inputs, hidden, cell, *weights))
    return torch.lstm_cell(inputs, (hidden, cell), *weights)


def _cells(lstm: nn.LSTM, inputs: Tensor) -> dict[str, Tensor]:
    """Run an LSTM step by step, and return the hidden states and the cells."""
    hidden = cell = inputs.new_zeros(len(inputs), lstm.hidden_size)
    states = [(hidden, cell)]
    for step in inputs.unbind(1):
        hidden, cell = _cell(lstm, step, hidden, cell)
        states.append((hidden, cell))
    hiddens, cells = (torch.stack(parts, 1) for parts in zip(*states, strict=True))
    return {"hidden": hiddens.to(inputs.dtype), "cell": cells.to(inputs.dtype)}
