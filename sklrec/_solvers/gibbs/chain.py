"""Markov chain over the tables of a factorisation, their priors and the likelihood."""
# SPDX-License-Identifier: BSD-3-Clause

from dataclasses import dataclass, field

import numpy as np
import torch
from scipy.sparse import csr_array, hstack
from torch import Tensor
from torch.linalg import solve_triangular

from sklrec._solvers.gibbs.likelihoods import Likelihood
from sklrec._solvers.gibbs.prior import Prior
from sklrec._solvers.gibbs.rescaling import rescale, stretched, sums
from sklrec._solvers.gibbs.tables import SIDES, Ratings, Tables
from sklrec._solvers.least_squares.normal_equations import RatingsByRow, cholesky, solve, times
from sklrec._solvers.least_squares.shared_terms import N_STEPS, SharedTerms, cooccurrence_weights

# Standard deviation of the random start of shared terms.
TERMS_STD = 0.1
# Addition to the diagonal of a Gram product, as a share of its mean: about the rounding error.
ROUNDING = 1e-5


@dataclass(frozen=True)
class Features:
    """Side features of the rows of one side, as sparse weights of their values."""

    weights: csr_array  # (n_rows, n_values), float32
    groups: list[tuple[int, int]]  # ranges of values with a common prior


@dataclass
class Side:
    """State of one side of the ratings, such as their users."""

    by_row: RatingsByRow
    own: Tensor | None  # (n_rows, n_columns)
    shared: SharedTerms | None  # SVD++ terms, one per partner, and then terms of features
    terms: Tensor  # (n_terms, n_columns)
    expanded: Tensor  # (n_rows, n_columns), sums of the terms of each row
    n_partners: int = 0  # number of the SVD++ terms
    features: SharedTerms | None = None
    priors: list[Prior] = field(default_factory=list)  # of own rows, if any, then of each group

    @property
    def table(self) -> Tensor:
        """Rows of the side, with the terms that they share."""
        return self.expanded if self.own is None else self.own + self.expanded


class Chain:
    """A Markov chain over the tables, their priors and the parameters of the likelihood."""

    def __init__(
        self,
        ratings: Ratings,
        tables: Tables,
        likelihood: Likelihood,
        generator: torch.Generator,
        svdpp: bool = False,
        features: dict[str, Features] | None = None,  # sides but users and items have only these
    ):
        self.ratings, self.likelihood, self.generator = ratings, likelihood, generator
        self.rng = np.random.default_rng(generator.initial_seed())
        by_row = ratings.by_row()
        self.sides = {
            name: self._start_side(name, of_rows, tables, svdpp, (features or {}).get(name))
            for name, of_rows in by_row.items()
        }
        # Sums of own rows and shared terms, which predict the ratings.
        self.tables = Tables({n: side.table for n, side in self.sides.items()}, tables.biased)
        self._follow_likelihood()

    def sweep(self) -> float:
        """Draw everything once, and return the mean squared error around the new draw."""
        for name, side in self.sides.items():
            side.priors = self._draw_priors(side)
            partners = [self.tables[other] for other in self.ratings.others(name)]
            if side.shared is None:
                self._draw_rows(side, partners)
            else:
                self._draw_all(side, partners)
            self.tables = self.tables.with_rows(name, side.table)
        loss = self.likelihood.draw(self.tables.predict(self.ratings.codes), self.rng)
        self._follow_likelihood()
        return loss

    def state(self) -> dict[str, Tensor]:
        """Copy the arguments of a module's `set_draws` for the current draw."""
        state = self.likelihood.state()
        for name, side in self.sides.items():
            of_features = side.terms[side.n_partners :]
            if side.features is not None:
                state[f"{name}_values"] = of_features
            if side.own is None:
                continue
            expanded = side.expanded
            if side.features is not None:  # the module adds a row's features itself
                expanded = expanded - side.features.expand(of_features)
            table = side.own + expanded
            mean = torch.from_numpy(side.priors[0].mean)
            covariance = torch.from_numpy(np.linalg.inv(side.priors[0].precision))
            if side.n_partners:
                # An unknown row is like the known ones: its SVD++ terms vary as theirs do.
                of_known = expanded[1:].double().cpu()
                mean = mean + of_known.mean(0)
                covariance = covariance + of_known.T.cov(correction=0)
            table[0] = mean
            state[f"{name}s"], state[f"{name}_covariances"] = table, covariance
        return state

    def _start_side(
        self,
        name: str,
        by_row: RatingsByRow,
        tables: Tables,
        svdpp: bool,
        features: Features | None,
    ) -> Side:
        """Start a side: own rows from the tables, shared terms at random."""
        own = tables.of.get(name)
        weights, groups, n_partners = [], [], 0
        if svdpp and own is not None:
            other = SIDES[SIDES.index(name) - 1]
            n_rows, n_partners = (self.ratings.n_rows[side] for side in (name, other))
            rows, partners = (self.ratings.numpy_codes(side) for side in (name, other))
            weights.append(cooccurrence_weights(rows, partners, n_rows, n_partners))
            groups.append((0, n_partners))
        if features is not None:
            weights.append(features.weights)
            groups += [(n_partners + a, n_partners + b) for a, b in features.groups]
        like = tables["user"]
        side = Side(
            by_row,
            own,
            None,
            like.new_zeros(0, like.shape[1]),
            like.new_zeros(by_row.n_rows, like.shape[1]),
            n_partners,
            SharedTerms(features.weights, device=like.device) if features else None,
        )
        if weights:
            side.shared = SharedTerms(hstack(weights, format="csr"), groups, like.device)
            start = torch.randn(side.shared.n_terms, like.shape[1], generator=self.generator)
            side.terms = TERMS_STD * start.to(like)
            side.expanded = side.shared.expand(side.terms)
        side.priors = self._draw_priors(side)
        return side

    def _follow_likelihood(self) -> None:
        """Copy the likelihood's targets and weights into the normal equations."""
        for side in self.sides.values():
            if self.likelihood.targets is not None:
                side.by_row.set_ratings(self.likelihood.targets)
            if self.likelihood.weights is not None:
                side.by_row.set_weights(self.likelihood.weights)

    def _draw_priors(self, side: Side) -> list[Prior]:
        tables = [] if side.own is None else [side.own[1:]]
        if side.shared is not None:
            tables += [side.terms[group] for group in side.shared.groups]
        return [Prior.draw(table, self.rng) for table in tables]

    def _draw_rows(self, side: Side, partners: list[Tensor]) -> None:
        """Draw a side's own rows, bucket by bucket, if the side shares no terms."""
        assert side.own is not None
        own = side.own.clone()
        mean, precision = side.priors[0].to(own.double())
        squares, products = precision * 0, mean * 0
        for rows, grams, moments in side.by_row.equations(*partners):
            of_ratings = self.likelihood.precision * grams.double()
            pulls = self.likelihood.precision * moments.double()
            drawn = solve(of_ratings + precision, pulls + precision @ mean, self.generator)[1]
            assert drawn is not None
            own[rows] = drawn
            more = sums(drawn.double(), of_ratings, pulls)
            squares, products = squares + more[0], products + more[1]
        by = rescale(squares, products, side.priors[0], self.rng)
        side.own = own * torch.from_numpy(by).to(own)
        side.priors[0] = stretched(side.priors[0], by)

    def _draw_all(self, side: Side, partners: list[Tensor]) -> None:
        """Draw the shared terms with the own rows integrated out, and then the own rows."""
        # Drawn in turns, own rows and terms would hardly move: ratings depend only on their sum.
        by_row, shape = side.by_row, (side.by_row.n_rows, side.by_row.n_columns)
        grams = side.expanded.new_empty(*shape, shape[1], dtype=torch.float64)
        pulls = side.expanded.new_empty(shape, dtype=torch.float64)
        for rows, some_grams, moments in by_row.equations(*partners):
            grams[rows] = self.likelihood.precision * symmetrise_and_jitter(some_grams).double()
            pulls[rows] = self.likelihood.precision * moments.double()
        if side.own is None:
            self._draw_terms(side, grams, pulls)
            return
        mean, precision = side.priors[0].to(grams)
        lower = cholesky(grams + precision)
        half = solve_triangular(lower, precision.expand_as(grams), upper=False)
        left = solve_triangular(lower, (pulls - grams @ mean).unsqueeze(2), upper=False)
        seen = precision - half.mT @ half
        self._draw_terms(side, seen, (half.mT @ left).squeeze(2))

        pulls = pulls - times(grams, side.expanded.double())
        noise = torch.randn(*shape, 1, generator=self.generator, dtype=torch.float64).to(grams)
        right = (pulls + precision @ mean).unsqueeze(2)
        right = solve_triangular(lower, right, upper=False) + noise
        own = solve_triangular(lower.mT, right, upper=True).squeeze(2)
        by = rescale(*sums(own, grams, pulls), side.priors[0], self.rng)
        side.own = (own * torch.from_numpy(by).to(own)).to(side.expanded)
        side.priors[0] = stretched(side.priors[0], by)

    def _draw_terms(self, side: Side, grams: Tensor, pulls: Tensor) -> None:
        """Draw the shared terms, given the normal equations of the rows."""
        shared = side.shared
        assert shared is not None
        first = len(side.priors) - len(shared.groups)
        terms = shared.draw(
            grams.to(side.expanded),
            pulls.to(side.expanded),
            1.0,
            [prior.to(side.expanded) for prior in side.priors[first:]],
            side.terms,
            self.generator,
            N_STEPS,
        )
        expanded = shared.expand(terms).double()
        for number, group in enumerate(shared.groups, first):
            alone = torch.zeros_like(terms)
            alone[group] = terms[group]
            part = shared.expand(alone).double()
            rest = pulls - times(grams, expanded - part)
            by = rescale(*sums(part, grams, rest), side.priors[number], self.rng)
            side.priors[number] = stretched(side.priors[number], by)
            terms[group] *= torch.from_numpy(by).to(terms)
            expanded = expanded + part * (torch.from_numpy(by).to(part) - 1)
        side.terms, side.expanded = terms, shared.expand(terms)


def symmetrise_and_jitter(grams: Tensor) -> Tensor:
    """Make Gram products symmetric and positive definite despite rounding."""
    grams = (grams + grams.mT) / 2
    diagonal = grams.diagonal(dim1=1, dim2=2)
    diagonal.add_(ROUNDING * diagonal.mean(1, keepdim=True))
    return grams
