"""Gibbs sampling of Bayesian matrix factorisation."""
# SPDX-License-Identifier: BSD-3-Clause

import warnings
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sklrec._implicit import ImplicitTerms
from sklrec._net import InteractionTensors
from sklrec._normal_equations import solve
from sklrec._solvers._solver import Outcome, Previous
from sklrec._solvers._sweeps import SIDES, Ratings, Tables, progress
from sklrec.modules import BayesianMatrixFactorization

# Steps of conjugate gradients for what a side's rows contribute to the other's; each sweep goes on
# from where the last one was.
N_STEPS = 10


class Prior(NamedTuple):
    """The Gaussian that the rows of a table come from.

    Parameters
    ----------
    mean : ndarray of shape (n_columns,)
        Its mean.
    precision : ndarray of shape (n_columns, n_columns)
        The inverse of its covariance.
    """

    mean: np.ndarray
    precision: np.ndarray

    def to(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Give the mean and the precision as tensors.

        Parameters
        ----------
        device : torch.device
            Where to.

        Returns
        -------
        tuple of Tensor
            Both in float64.
        """
        return torch.from_numpy(self.mean).to(device), torch.from_numpy(self.precision).to(device)

    @classmethod
    def draw(cls, table: np.ndarray, rng: np.random.Generator) -> "Prior":
        """Draw the prior from what is known of it, given the rows.

        The hyperprior is Normal-Wishart: mean 0 as if seen once, and n_columns degrees of
        freedom around the identity matrix.

        Parameters
        ----------
        table : ndarray of shape (n, n_columns)
            The rows.
        rng : numpy.random.Generator
            Source of the draw.

        Returns
        -------
        Prior
            The draw.
        """
        n, d = table.shape
        mean = table.mean(0)
        centred = table - mean
        scatter = np.eye(d) + centred.T @ centred + n / (1 + n) * np.outer(mean, mean)
        # A Wishart draw by Bartlett's decomposition: L A Aᵀ Lᵀ with L Lᵀ the inverse scatter
        lower = np.linalg.cholesky(np.linalg.inv(scatter))
        bartlett = np.tril(rng.standard_normal((d, d)), -1)
        bartlett[np.diag_indices(d)] = np.sqrt(rng.chisquare(d + n - np.arange(d)))
        root = lower @ bartlett
        precision = root @ root.T
        spread = np.linalg.solve(np.linalg.cholesky((1 + n) * precision).T, rng.standard_normal(d))
        return cls(n / (1 + n) * mean + spread, precision)


@dataclass(frozen=True)
class GibbsSampler:
    """Draw all users' rows, all items' rows, their priors and the noise, in turns.

    Parameters
    ----------
    n_iter : int
        Number of sweeps, those of the burn-in included.
    n_burn_in : int
        Number of sweeps at the start that are not kept.
    n_draws : int
        Number of sweeps that are kept at most, evenly spaced.
    implicit_features : bool
        Whether each row is also described by whom it met.
    verbose : int
        Whether to show a progress bar.
    """

    n_iter: int
    n_burn_in: int
    n_draws: int
    implicit_features: bool
    verbose: int

    @torch.no_grad()
    def train(
        self,
        module: BayesianMatrixFactorization,
        data: InteractionTensors,
        valid: InteractionTensors | None,
        generator: torch.Generator,
        previous: Previous | None = None,
    ) -> Outcome:
        """Train a module in place.

        Parameters
        ----------
        module : BayesianMatrixFactorization
            The module; its parameters are the start.
        data : InteractionTensors
            What to train on.
        valid : InteractionTensors or None
            What to measure the validation loss on: that of the mean of the draws so far.
        generator : torch.Generator
            Source of the draws.
        previous : Previous, default=None
            Not used: all there is to go on from is in the module.

        Returns
        -------
        Outcome
            How it went.
        """
        ratings, tables = Ratings(module, data), Tables.of(module)
        asked = None if valid is None else Ratings(module, valid)
        chain = Chain(ratings, tables, generator, implicit=self.implicit_features)
        keeps = set(np.linspace(self.n_burn_in, self.n_iter - 1, self.n_kept).round().astype(int))
        scale = module.scale.item() ** 2
        losses, valid_losses, interrupted = [], [], False
        total: Tensor | None = None
        draws: list[tuple[Tensor, ...]] = []
        try:
            for sweep in progress(self.n_iter, self.verbose, "sweep"):
                losses.append(scale * chain.sweep())
                if sweep in keeps:
                    draws.append(chain.state())
                if asked is not None:
                    # Until the burn-in is over, that of the latest draw alone.
                    n = max(1, sweep - self.n_burn_in + 1)
                    found = chain.tables.predict(asked.users, asked.items)
                    total = found if n == 1 or total is None else total + found
                    valid_losses.append(scale * asked.mean_squared_error(total / n))
        except KeyboardInterrupt:
            interrupted = True
            warnings.warn(
                f"Sampling was interrupted after {len(losses)} whole sweeps of {self.n_iter}; the "
                f"model is that of the {len(draws) or 1} draws so far.",
                stacklevel=5,
            )
        draws = draws or [chain.state()]
        module.set_draws(*(torch.stack(part) for part in zip(*draws, strict=True)))
        return Outcome(losses, valid_losses, interrupted)

    @property
    def n_kept(self) -> int:
        """Number of sweeps that are kept."""
        return min(self.n_draws, self.n_iter - self.n_burn_in)


class Chain:
    """A Markov chain whose states are all that the model does not know.

    Parameters
    ----------
    ratings : Ratings
        What it does know.
    tables : Tables
        The start.
    generator : torch.Generator
        Source of the draws.
    implicit : bool, default=False
        Whether each row is also described by whom it met.

    Attributes
    ----------
    tables : Tables
        What the ratings are predicted by, implicit terms included.
    """

    def __init__(
        self,
        ratings: Ratings,
        tables: Tables,
        generator: torch.Generator,
        implicit: bool = False,
    ):
        self.ratings, self.generator = ratings, generator
        self.rng = np.random.default_rng(generator.initial_seed())
        self.noise_precision = 1.0
        self.tables = tables
        self.own = {side: getattr(tables, side) for side in SIDES}
        self.priors = {side: self._draw_prior(self.own[side]) for side in SIDES}
        self.met = {side: Met.start(ratings, self.own, side) for side in SIDES} if implicit else {}

    def sweep(self) -> float:
        """Draw everything once.

        Returns
        -------
        float
            Mean squared error of the ratings around the new draw.
        """
        for side, other in (SIDES, SIDES[::-1]):
            self.priors[side] = self._draw_prior(self.own[side])
            if self.met:
                self._draw_both(side, other)
            else:
                self._draw_rows(side, other)
        predictions = self.tables.predict(self.ratings.users, self.ratings.items)
        loss = self.ratings.mean_squared_error(predictions)
        # As if one rating had been seen with an error of the ratings' own scale.
        n = len(predictions)
        self.noise_precision = self.rng.gamma((1 + n) / 2) / ((1 + n * loss) / 2)
        return loss

    def state(self) -> tuple[Tensor, ...]:
        """Copy what `BayesianMatrixFactorization.set_draws` takes of a draw.

        Returns
        -------
        tuple of Tensor
            The users' and the items' tables, with what is expected of the unknown in row 0, the
            variance of the noise, the covariances of unknown users and items, and, if there are
            any, what items contribute to users and users to items.
        """
        tables = self.tables.copy()
        covariances = []
        for side in SIDES:
            prior = self.priors[side]
            getattr(tables, side)[0] = torch.from_numpy(prior.mean)
            covariances.append(torch.from_numpy(np.linalg.inv(prior.precision)))
        terms = [self.met[side].terms for side in SIDES if self.met]
        noise = torch.tensor(1 / self.noise_precision)
        return tables.user, tables.item, noise, *covariances, *terms

    def _draw_prior(self, table: Tensor) -> Prior:
        return Prior.draw(table[1:].double().cpu().numpy(), self.rng)

    def _draw_rows(self, side: str, other: str) -> None:
        """Draw a side's rows, some after others."""
        own, prior = self.own[side].clone(), self.priors[side].to(self.own[side].device)
        partners = getattr(self.tables, other)
        for rows, grams, moments in self.ratings.by_row[side].equations(partners):
            own[rows] = self._draw(grams, moments, *prior)
        self.own[side] = own
        setattr(self.tables, side, own)

    def _draw_both(self, side: str, other: str) -> None:
        """Draw a side's rows, and what the other side's rows contribute to them."""
        own, prior = self.own[side].clone(), self.priors[side].to(self.own[side].device)
        met = self.met[side]
        n_columns = own.shape[1]
        grams, moments = own.new_empty(len(own), n_columns, n_columns), torch.empty_like(own)
        partners = getattr(self.tables, other)
        for rows, some_grams, some_moments in self.ratings.by_row[side].equations(partners):
            grams[rows], moments[rows] = some_grams, some_moments
            left = some_moments - _times(some_grams, met.expanded[rows])
            own[rows] = self._draw(some_grams, left, *prior)
        mean, precision = self._draw_prior(met.terms).to(own.device)
        terms = met.of.draw(
            grams,
            moments - _times(grams, own),
            self.noise_precision,
            mean.float(),
            precision.float(),
            met.terms,
            self.generator,
            N_STEPS,
        )
        self.own[side] = own
        self.met[side] = Met(met.of, terms, met.of.expand(terms))
        setattr(self.tables, side, own + self.met[side].expanded)

    def _draw(self, grams: Tensor, moments: Tensor, mean: Tensor, precision: Tensor) -> Tensor:
        precisions = self.noise_precision * grams.double() + precision
        right = self.noise_precision * moments.double() + precision @ mean
        draws = solve(precisions, right, self.generator)[1]
        assert draws is not None
        return draws


class Met(NamedTuple):
    """What the rows of one side are described by, besides themselves.

    Parameters
    ----------
    of : ImplicitTerms
        Whom they met.
    terms : Tensor of shape (n_partners + 1, n_columns)
        What the other side's rows contribute.
    expanded : Tensor of shape (n_rows + 1, n_columns)
        What comes of it.
    """

    of: ImplicitTerms
    terms: Tensor
    expanded: Tensor

    @classmethod
    def start(cls, ratings: Ratings, own: dict[str, Tensor], side: str) -> "Met":
        """Start with contributions of zero.

        Parameters
        ----------
        ratings : Ratings
            Who met whom.
        own : dict of str to Tensor
            Both sides' tables.
        side : {'user', 'item'}
            The side that is described.

        Returns
        -------
        Met
            The start.
        """
        codes = {"user": ratings.users.cpu().numpy(), "item": ratings.items.cpu().numpy()}
        other = "item" if side == "user" else "user"
        of = ImplicitTerms(
            codes[side], codes[other], len(own[side]), len(own[other]), own[side].device
        )
        return cls(of, torch.zeros_like(own[other]), torch.zeros_like(own[side]))


def _times(grams: Tensor, rows: Tensor) -> Tensor:
    return torch.bmm(grams, rows.unsqueeze(2)).squeeze(2)
