"""LSTM that predicts what the posterior of a user leaves of later ratings."""
# SPDX-License-Identifier: BSD-3-Clause

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sklrec.modules._rating_module import linear, new_linear, wide
from sklrec.modules._sequence_module import (
    SequenceModule,
    States,
    _is_known,
    _run_lstm,
)
from sklrec.modules._user_posterior import UserPosterior, expected_ratings

# Divisor that gives the logarithms of numbers of ratings about unit size.
LOG_COUNT = 3.0
# Moving averages of the errors: how much less an error weighs after each further rating, and the
# number of errors of 0 that an average starts with.
DECAYS, SHRINKAGES = (0.5, 0.9, 0.98, 1.0), (3.0, 3.0, 3.0, 10.0)


class ResidualLSTMRating(SequenceModule):
    r"""Predict a rating by a static model of items, and its errors by an LSTM.

    The static part holds Gaussian distributions of the items' biases and factors. It computes the
    posterior of the user from every first part of the sequence, and from it the expected rating
    p. The LSTM reads the errors of these expectations, and moving averages of them. A small net
    reads its state, the averages, p and the number n of ratings. It adds a correction, except
    where n is 0. `sklrec.SequenceRatingRegressor` has the formulas. Methods and their arguments
    are those of `LSTMRating`.

    The tables of the static part are in ``users``. They are not trained by gradients, and start
    at zero.

    Parameters
    ----------
    n_items : int
        Number of known items.
    n_factors : int, default=16
        Number of factors of each item.
    hidden_size : int, default=16
        Number of hidden units of the LSTM, and of the net after it.
    bidirectional : bool, default=False
        Whether the posterior and a second LSTM read the sequences from their end too.
    dropout : float, default=0.4
        Share of the LSTM's hidden units that training sets to zero at random.
    global_mean : float, default=0.0
        The mean of the ratings. It is not trained.
    scale : float, default=1.0
        The standard deviation of the ratings. It is not trained.
    generator : torch.Generator, default=None
        Source of the random start; ``None`` is torch's global one.

    See Also
    --------
    LSTMRating : The LSTM alone.
    sklrec.SequenceRatingRegressor : The scikit-learn estimator around this module.

    References
    ----------
    Hochreiter, Schmidhuber (1997), "Long Short-Term Memory", :doi:`10.1162/neco.1997.9.8.1735`.

    Lim, Teh (2007), "Variational Bayesian Approach to Movie Rating Prediction", KDD Cup and
    Workshop.

    Examples
    --------
    >>> import torch
    >>> from sklrec.modules import ResidualLSTMRating
    >>> module = ResidualLSTMRating(n_items=9, global_mean=3.5).eval()
    >>> ratings = module(
    ...     past_items=torch.tensor([[3, 1, 2], [4, 0, 0]]),
    ...     past_ratings=torch.tensor([[5.0, 3.0, 4.0], [1.0, 0.0, 0.0]]),
    ...     past_gaps=torch.zeros(2, 3),
    ...     lengths=torch.tensor([3, 1]),
    ...     sequences=torch.tensor([0, 1]),
    ...     before=torch.tensor([2, 0]),
    ...     items=torch.tensor([7, 9]),
    ... )
    >>> ratings.shape
    torch.Size([2])
    """

    has_static_part = True

    def __init__(
        self,
        n_items: int,
        n_factors: int = 16,
        hidden_size: int = 16,
        *,
        bidirectional: bool = False,
        dropout: float = 0.4,
        global_mean: float = 0.0,
        scale: float = 1.0,
        generator: torch.Generator | None = None,
    ):
        super().__init__(global_mean, scale)
        self.n_factors = n_factors
        self.hidden_size = hidden_size
        self.bidirectional = bidirectional
        self.dropout = nn.Dropout(dropout)
        self.users = UserPosterior(n_items, self.n_factors)
        # Error, expected rating, gap, number of ratings, averages.
        self._add_lstms(4 + len(DECAYS), generator)
        n_read = self._n_hidden + len(DECAYS) * (1 + self.bidirectional)
        self.hidden = new_linear(n_read + 2, self.hidden_size, generator)
        self.output = new_linear(self.hidden_size, 1, generator)
        for values in self.output.parameters():  # the static part alone is the start
            nn.init.zeros_(values)

    @property
    def n_items(self) -> int:
        """Number of known items."""
        return self.users.n_items

    @property
    def width(self) -> int:
        """Largest number of values that one row takes in a tensor."""
        return self.users.n_statistics + 4 * self.hidden_size

    @property
    def item_factors(self) -> nn.Embedding:
        """Table of the items' factors."""
        return nn.Embedding.from_pretrained(self.users.item_rows[:, 1:])

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
        *,
        past_expected: Tensor | None = None,
        past_expected_after: Tensor | None = None,
        expected: Tensor | None = None,
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
        past_expected : Tensor of shape (n_sequences, max_len), default=None
            Expected ratings of the past items from the ratings before them, in units of the
            scale. ``None`` computes them. Training gives those of a model without the rating.
        past_expected_after : Tensor of shape (n_sequences, max_len), default=None
            The same from the ratings after them. Only with ``bidirectional=True``.
        expected : Tensor of shape (n,), default=None
            Expected ratings of `items`. ``None`` computes them.

        Returns
        -------
        Tensor of shape (n,)
            Ratings as float64, not clipped.
        """
        if expected is None:
            states = self.read(past_items, past_ratings, past_gaps, lengths)
            return self.rate(states, sequences, before, items, after)
        assert past_expected is not None
        known, z = self._known_ratings(past_items, past_ratings, past_gaps, lengths)
        steps = {"known": known, "z": z, "gaps": past_gaps.unsqueeze(-1)}
        steps["expected"] = past_expected.unsqueeze(-1)
        of_end = {}
        if past_expected_after is not None:
            of_end["expected"] = past_expected_after.unsqueeze(-1)
        states = self._run_all(steps, lengths, **of_end)
        read = super()._select(states, sequences, before, after)
        return self._to_ratings(expected + self._residual(read, expected))

    def _steps(
        self, past_items: Tensor, past_ratings: Tensor, past_gaps: Tensor, lengths: Tensor
    ) -> dict[str, Tensor]:
        known, z = self._known_ratings(past_items, past_ratings, past_gaps, lengths)
        found = self.users.item_distributions(past_items)
        steps = self._static_steps(known, z, past_items, *found)
        return steps | {"gaps": past_gaps.unsqueeze(-1)}

    def _static_steps(
        self,
        known: Tensor,  # (n_sequences, max_len, 1), whether there is a rating
        z: Tensor,  # (n_sequences, max_len, 1), ratings in units of the scale
        items: Tensor,  # (n_sequences, max_len)
        rows: Tensor,  # (n_sequences, max_len, d), means of the items
        covariances: Tensor,
    ) -> dict[str, Tensor]:
        """Return what the posterior reads of each rating."""
        found = self.users.statistics(z.squeeze(-1), items, rows, covariances)
        return {
            "known": known,
            "z": z,
            "rows": rows,
            "statistics": torch.where(known, found, 0.0),
        }

    def _expect(self, steps: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Compute sums and users after 0, 1, ... ratings, and the expectation of each rating."""
        sums = F.pad(steps["statistics"].cumsum(1), (0, 0, 1, 0))
        counts = torch.arange(sums.shape[1], device=sums.device)
        users = self.users.rows(sums, counts.expand(sums.shape[:2]))
        expected = expected_ratings(users[:, :-1], steps["rows"]).to(steps["z"].dtype)
        return sums, users, expected  # (n_sequences, max_len)

    def _known_ratings(
        self, past_items: Tensor, past_ratings: Tensor, past_gaps: Tensor, lengths: Tensor
    ) -> tuple[Tensor, Tensor]:
        known = _is_known(past_items, lengths) & ~past_ratings.isnan().unsqueeze(-1)
        return known, self._from_ratings(past_ratings, past_gaps).unsqueeze(-1)

    def _run(self, lstm: nn.LSTM, steps: dict[str, Tensor]) -> dict[str, Tensor]:
        states = {}
        if "expected" not in steps:
            sums, users, expected = self._expect(steps)
            steps = steps | {"expected": expected.unsqueeze(-1)}
            # The sums of both directions add up to one posterior.
            states = {"sums": sums} if self.bidirectional else {"users": users}
        expected = steps["expected"]
        errors = torch.where(steps["known"], steps["z"] - expected, 0.0)  # 0 if unknown
        count = torch.arange(errors.shape[1], device=errors.device)
        counts = _log_count(count, errors).view(1, -1, 1).expand(errors.shape[0], -1, -1)
        averages = _averages(errors[..., 0]).to(errors.dtype)
        inputs = [errors, expected, steps["gaps"], counts, averages[:, :-1]]
        hidden = _run_lstm(lstm, torch.cat(inputs, 2))
        return states | {"hidden": F.pad(hidden, (0, 0, 1, 0)), "averages": averages}

    def _select(
        self, states: States, sequences: Tensor, before: Tensor, after: Tensor | None = None
    ) -> dict[str, Tensor]:
        read = super()._select(states, sequences, before, after)
        if self.bidirectional:
            sums = read.pop("sums") + read.pop("sums after")
            read["users"] = self.users.rows(sums, read["n_read"])
        return read

    def _score(self, read: dict[str, Tensor], items: Tensor) -> Tensor:
        rows, _ = self.users.item_distributions(items)
        expected = expected_ratings(read["users"], rows).to(read["hidden"].dtype)
        return expected + self._residual(read, expected)

    def _residual(self, read: dict[str, Tensor], expected: Tensor) -> Tensor:
        """Predict what the static part leaves; nothing without ratings."""
        ends = ["", " after"][: 1 + self.bidirectional]
        hidden = self.dropout(torch.cat([read[f"hidden{end}"] for end in ends], 1))
        averages = [read[f"averages{end}"] for end in ends]
        count = _log_count(read["n_read"], expected)
        numbers = expected.unsqueeze(1), count.unsqueeze(1)
        inputs = torch.cat([hidden, *averages, *numbers], 1)
        # In float32 the result of some functions depends on the position of a value.
        units = F.silu(wide(linear(self.hidden, inputs))).to(inputs.dtype)
        found = linear(self.output, units).squeeze(1)
        return found * (read["n_read"] > 0)

    def penalty(self, **inputs: Tensor) -> Tensor:
        """Return 0: the layers have no penalty.

        Parameters
        ----------
        **inputs : Tensor
            Not used.

        Returns
        -------
        Tensor of shape ()
            Zero.
        """
        return self.output.weight.new_zeros(())

    def grow(self, n_items: int, generator: torch.Generator | None = None) -> "ResidualLSTMRating":
        """Append rows of new items, with the distribution of an unknown item.

        Parameters
        ----------
        n_items : int
            New number of items, at least the current one.
        generator : torch.Generator, default=None
            Not used.

        Returns
        -------
        ResidualLSTMRating
            This module; its existing rows are unchanged.
        """
        self.users.grow(n_items)
        return self


def _log_count(counts: Tensor, like: Tensor) -> Tensor:
    """Scale the logarithms of numbers of ratings to about unit size."""
    return (wide(counts.to(like)).log1p() / LOG_COUNT).to(like.dtype)


def _averages(errors: Tensor) -> Tensor:  # (n, max_len) to (n, max_len + 1, n_decays)
    """Average the first 0, 1, ... errors with weights that fall with their age."""
    first = torch.arange(errors.shape[1], device=errors.device).unsqueeze(1)
    age = torch.arange(errors.shape[1] + 1, device=errors.device) - 1 - first
    errors, found = wide(errors), []
    for decay, shrinkage in zip(DECAYS, SHRINKAGES, strict=True):
        weights = torch.where(age >= 0, decay ** age.clamp(min=0).to(errors), 0.0)
        found.append(errors @ weights / (weights.sum(0) + shrinkage))
    return torch.stack(found, 2)
