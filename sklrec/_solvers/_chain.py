"""A Markov chain over the tables of a factorisation, their priors and the likelihood."""
# SPDX-License-Identifier: BSD-3-Clause

from dataclasses import dataclass, field

import numpy as np
import torch
from scipy.sparse import csr_array, hstack
from torch import Tensor

from sklrec._normal_equations import RatingsByRow, solve
from sklrec._shared_terms import SharedTerms, met
from sklrec._solvers._als import times
from sklrec._solvers._likelihoods import Likelihood
from sklrec._solvers._prior import Prior
from sklrec._solvers._sweeps import SIDES, Ratings, Tables

# Steps of conjugate gradients for what rows share; each sweep goes on from where the last one was.
N_STEPS = 10


@dataclass(frozen=True)
class Features:
    """What the rows of a side are described by besides themselves.

    Parameters
    ----------
    weights : csr_array of shape (n_rows, n_values)
        The weights of the values in each row, in float32.
    groups : list of (int, int)
        First value, and the one after the last, of those that have a prior in common.
    """

    weights: csr_array
    groups: list[tuple[int, int]]


@dataclass
class Side:
    """One side of the ratings, such as their users: what a sweep draws of it.

    Parameters
    ----------
    by_row : RatingsByRow
        The ratings.
    own : Tensor of shape (n_rows, n_columns) or None
        What each row has of its own, if anything.
    shared : SharedTerms or None
        Which terms the rows share: first those of the partners, then those of the features.
    terms : Tensor of shape (n_terms, n_columns)
        These terms.
    expanded : Tensor of shape (n_rows, n_columns)
        The rows' sums of them.
    n_partners : int
        Number of the partners' terms.
    features : SharedTerms or None
        Which terms of the features the rows have.
    priors : list of Prior
        What own rows come from, if there are any, and then the terms of each group.
    """

    by_row: RatingsByRow
    own: Tensor | None
    shared: SharedTerms | None
    terms: Tensor
    expanded: Tensor
    n_partners: int = 0
    features: SharedTerms | None = None
    priors: list[Prior] = field(default_factory=list)

    @property
    def table(self) -> Tensor:
        """What the rows are in all."""
        return self.expanded if self.own is None else self.own + self.expanded


class Chain:
    """A Markov chain whose states are all that the model does not know.

    Parameters
    ----------
    ratings : Ratings
        What it does know.
    tables : Tables
        The start of the users' and the items' own rows.
    likelihood : Likelihood
        How ratings come from what the tables predict.
    generator : torch.Generator
        Source of the draws.
    implicit : bool, default=False
        Whether users and items are also described by whom they met.
    features : dict of str to Features, default=None
        What the rows of a side are described by. Of sides other than users and items this is
        all that there is.

    Attributes
    ----------
    tables : Tables
        What the ratings are predicted by: own rows and all that describes them.
    """

    def __init__(
        self,
        ratings: Ratings,
        tables: Tables,
        likelihood: Likelihood,
        generator: torch.Generator,
        implicit: bool = False,
        features: dict[str, Features] | None = None,
    ):
        self.ratings, self.likelihood, self.generator = ratings, likelihood, generator
        self.rng = np.random.default_rng(generator.initial_seed())
        by_row = ratings.by_row()
        self.sides = {
            name: self._start_side(name, of_rows, tables, implicit, (features or {}).get(name))
            for name, of_rows in by_row.items()
        }
        self.tables = Tables({n: side.table for n, side in self.sides.items()}, tables.biased)
        self._aim_at(likelihood.targets)

    def sweep(self) -> float:
        """Draw everything once.

        Returns
        -------
        float
            Mean squared error of the ratings around the new draw.
        """
        for name, side in self.sides.items():
            side.priors = self._draw_priors(side)
            partners = [self.tables[other] for other in self.ratings.others(name)]
            if side.shared is None:
                side.own = self._draw_rows(side, partners)
            else:
                self._draw_all(side, partners)
            self.tables = self.tables.with_rows(name, side.table)
        predictions = self.tables.predict(self.ratings.codes)
        targets, loss = self.likelihood.draw(predictions, self.rng)
        self._aim_at(targets)
        return loss

    def state(self) -> dict[str, Tensor]:
        """Copy what a module's `set_draws` takes of a draw.

        Returns
        -------
        dict of str to Tensor
            The draw.
        """
        state = self.likelihood.state()
        for name, side in self.sides.items():
            of_features = side.terms[side.n_partners :]
            if side.features is not None:
                state[f"{name}_values"] = of_features
            if side.own is None:
                continue
            table = side.table.clone()
            if side.features is not None:  # a row's features are added when it is predicted
                table -= side.features.expand(of_features)
            table[0] = torch.from_numpy(side.priors[0].mean)  # what is expected of the unknown
            state[f"{name}s"] = table
            covariance = torch.from_numpy(np.linalg.inv(side.priors[0].precision))
            state[f"{name}_covariances"] = covariance
            if side.n_partners:
                state[f"{name}_terms"] = side.terms[: side.n_partners]
        return state

    def _start_side(
        self,
        name: str,
        by_row: RatingsByRow,
        tables: Tables,
        implicit: bool,
        features: Features | None,
    ) -> Side:
        """Start with nothing shared, and own rows as in the tables that have them."""
        own = tables.of.get(name)
        weights, groups, n_partners = [], [], 0
        if implicit and own is not None:
            other = SIDES[SIDES.index(name) - 1]
            n_rows, n_partners = (self.ratings.n_rows[side] for side in (name, other))
            rows, partners = (self.ratings.numpy_codes(side) for side in (name, other))
            weights.append(met(rows, partners, n_rows, n_partners))
            groups.append((0, n_partners))
        if features is not None:
            weights.append(features.weights)
            groups += [(n_partners + a, n_partners + b) for a, b in features.groups]
        like = tables["user"]
        shared = None
        if weights:
            shared = SharedTerms(hstack(weights, format="csr"), groups, like.device)
        return Side(
            by_row,
            own,
            shared,
            like.new_zeros(shared.n_terms if shared else 0, like.shape[1]),
            like.new_zeros(by_row.n_rows, like.shape[1]),
            n_partners,
            SharedTerms(features.weights, device=like.device) if features else None,
        )

    def _aim_at(self, targets: Tensor | None) -> None:
        """Let the tables predict something else, if anything."""
        if targets is not None:
            for side in self.sides.values():
                side.by_row.set_ratings(targets)

    def _draw_priors(self, side: Side) -> list[Prior]:
        tables = [] if side.own is None else [side.own[1:]]
        if side.shared is not None:
            tables += [side.terms[group] for group in side.shared.groups]
        return [Prior.draw(table, self.rng) for table in tables]

    def _draw_rows(self, side: Side, partners: list[Tensor]) -> Tensor:
        """Draw a side's own rows, some after others."""
        assert side.own is not None
        own = side.own.clone()
        for rows, grams, moments in side.by_row.equations(*partners):
            own[rows] = self._draw(grams, moments, side.priors[0])
        return own

    def _draw_all(self, side: Side, partners: list[Tensor]) -> None:
        """Draw a side's own rows with the shared terms held, and then these."""
        by_row, shared = side.by_row, side.shared
        assert shared is not None
        shape = by_row.n_rows, by_row.n_columns
        grams, moments = side.expanded.new_empty(*shape, shape[1]), side.expanded.new_empty(shape)
        own = None if side.own is None else side.own.clone()
        for rows, some_grams, some_moments in by_row.equations(*partners):
            grams[rows], moments[rows] = some_grams, some_moments
            if own is not None:
                left = some_moments - times(some_grams, side.expanded[rows])
                own[rows] = self._draw(some_grams, left, side.priors[0])
        side.own = own
        side.terms = shared.draw(
            grams,
            moments if own is None else moments - times(grams, own),
            self.likelihood.precision,
            [prior.to(moments) for prior in side.priors[-len(shared.groups) :]],
            side.terms,
            self.generator,
            N_STEPS,
        )
        side.expanded = shared.expand(side.terms)

    def _draw(self, grams: Tensor, moments: Tensor, prior: Prior) -> Tensor:
        exact = grams.double()
        mean, precision = prior.to(exact)
        precisions = self.likelihood.precision * exact + precision
        right = self.likelihood.precision * moments.double() + precision @ mean
        draws = solve(precisions, right, self.generator)[1]
        assert draws is not None
        return draws
