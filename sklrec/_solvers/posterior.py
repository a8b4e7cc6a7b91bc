"""Distributions of all rows, their priors and the noise, from a module and back into it."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from sklrec._solvers.least_squares.biases import fit_biases
from sklrec._solvers.least_squares.gaussian_terms import (
    ContextBiases,
    GaussianTerms,
    Incidence,
    TermPrior,
    TermSums,
    sparse_features,
)
from sklrec._solvers.least_squares.pairs import Log, PartnerShares, RatedPairs, RatingMatrices
from sklrec._solvers.ordinal import Latent, Stars
from sklrec._solvers.tensors import PARTNERS, InteractionTensors
from sklrec._utils.packed import inner, n_packed, outer, pack, rows_at_once, unpack
from sklrec.modules import GaussianMatrixFactorization
from sklrec.modules._gaussian import SIDES

# Standard deviation of the random start of factors. A larger one prunes columns for good.
INIT_STD = 0.3
# Covariances with at most this many numbers are computed in float64, and so are large weights.
SMALL = 100_000
LARGE_WEIGHT = 1e4
# Numbers of Gram products in memory at once.
NUMBERS_AT_ONCE = 2**22
# Ratings that are predicted at once.
RATINGS_AT_ONCE = 2**18
# Smallest noise variance, in units of the ratings' variance.
LEAST_NOISE = 1e-6
# Weight of ratings from which the noise is estimated, and steps of this.
MIN_WEIGHT = 50.0
N_RATIO_STEPS = 10
# Share of the product of two rows' covariances in the leverage of a rating. On validation parts of
# four logs the squared standardised errors are above 1 on average with 0, and below it with 1.
PRODUCT_SHARE = 0.5


@dataclass
class Rows:
    """Distribution of the rows of one side, in units of the ratings' standard deviation."""

    mean: Tensor  # (n, d), bias first
    covariance: Tensor  # (n, d(d+1)/2), packed
    prior_mean: Tensor  # (3, d), float64, of own rows: coefficients of their `activity`
    prior_covariance: Tensor  # (d, d), float64


def activity(weights: Tensor) -> Tensor:  # (n,) to (n, 3)
    """Compute what the prior mean of a row depends on, from the weight of its ratings."""
    # Items that few people rate are rated lower, and users with few ratings differ from others.
    counts = weights.double().clamp(min=1).log()
    return torch.stack([torch.ones_like(counts), counts, counts.square()], 1)


def shrunken(rows: Rows, gain: float) -> Rows:
    """Multiply the covariances of factors by a number."""
    factors = torch.ones_like(rows.prior_covariance[0])
    factors[1:] = gain**0.5
    whole = torch.outer(factors, factors)
    return replace(
        rows,
        covariance=rows.covariance * pack(whole).to(rows.covariance),
        prior_covariance=rows.prior_covariance * whole,
    )


def with_first(covariance: Tensor, variance: float) -> Tensor:
    """Scale the first variable of a covariance matrix to a given variance."""
    factors = torch.ones_like(covariance[0])
    factors[0] = (variance / covariance[0, 0]) ** 0.5
    return covariance * torch.outer(factors, factors)


def errors_of_means(log: Sequence[Tensor], rows: list[Rows]) -> Tensor:  # (n,)
    """Compute the errors of the ratings of a log around the means of the rows."""
    users, items, z = log[:3]
    (p, q), d = [side.mean for side in rows], rows[0].mean.shape[1]
    errors = z - p[:, 0][users] - q[:, 0][items]
    for part in torch.arange(len(z), device=z.device).split(rows_at_once(d, z.device)):
        products = p.index_select(0, users[part]) * q.index_select(0, items[part])
        errors[part] -= products[:, 1:].sum(1)
    return errors


def predict(
    log: Sequence[Tensor], rows: list[Rows]
) -> tuple[Tensor, list[Tensor], Tensor]:  # (n,) each
    """Predict the ratings of a log: the errors around the means, the variances x'w of each side
    for the other side's mean x, and the sums of the products of both covariances over factors."""
    users, items, z = log[:3]
    d = rows[0].mean.shape[1]
    variances, both = [torch.empty_like(z) for _ in rows], torch.empty_like(z)
    for part in torch.arange(len(z), device=z.device).split(rows_at_once(d, z.device)):
        codes = users[part], items[part]
        means = [side.mean[k] for side, k in zip(rows, codes, strict=True)]
        S = [side.covariance[k] for side, k in zip(rows, codes, strict=True)]
        both[part] = inner(S[0][:, d:], S[1][:, d:], d - 1)
        for k in (0, 1):
            x = means[1 - k]
            x[:, 0] = 1
            variances[k][part] = inner(S[k], outer(x), d)
    return errors_of_means(log, rows), variances, both


class GaussianPosterior:
    """Approximate posterior of all rows, their priors and the noise."""

    def __init__(
        self,
        module: GaussianMatrixFactorization,
        data: InteractionTensors,
        generator: torch.Generator,
        *,
        is_new: bool,
    ):
        self.change, self.variance = np.inf, np.inf  # of the last sweep
        self.gain = 1.0  # multiple of the factors that would have the smallest error
        self.device = module.global_mean.device
        self.n_factors = module.n_factors
        self.n_columns = d = module.n_factors + 1
        self.sizes = module.n_users, module.n_items
        small = sum(self.sizes) * n_packed(d) <= SMALL
        self.data, weights = data, data.weights
        self.to_units = partial(module._from_ratings, like=module.scale)
        pairs = RatedPairs.of(data.log(self.to_units(data.y)), self.sizes)
        self.total = float(weights.sum())
        self.dtype = torch.float64 if small or weights.max() > LARGE_WEIGHT else torch.float32
        self.np_dtype = np.float64 if self.dtype == torch.float64 else np.float32
        at_once = max(1, NUMBERS_AT_ONCE // n_packed(d))
        (mean, *biases), variances = fit_biases(pairs)
        ranks = pairs.ranks_of_users() if is_new else None
        self.matrices = RatingMatrices(pairs, self.np_dtype, self.device, at_once)
        del pairs
        self.totals = [side.weights for side in self.matrices.sides]
        self.penalties = variances.user_penalty, variances.item_penalty
        self.unknown = variances.unknown_user_variance, variances.unknown_item_variance
        self.precision = 1 / max(variances.noise_variance, LEAST_NOISE)
        self.shares = torch.ones(self.sizes[0], dtype=self.dtype, device=self.device)
        if ranks is not None:
            self.rows = [self._start(k, mean / 2, biases[k], ranks, generator) for k in (0, 1)]
        else:
            self.rows = [self._read(module, side) for side in SIDES]
            self.precision = 1 / module.residual_variance.item()
            self.shares /= module.user_noise[1:].to(self.shares)
        self.terms = [self._terms(module, k) for k in (0, 1)]
        self.svdpp, self.own_shares = module.svdpp, [1.0, 1.0]
        if module.stars is not None or module.groups["context"]:
            self.log = self.targets = data.log(self.to_units(data.y))
        self.stars: Stars | None = None
        if module.stars is not None:
            stars = self.to_units(module.stars).cpu().numpy()
            self.stars = Stars(stars, self.log.y, self.log.weights)
        self.context: ContextBiases | None = None
        if groups := module.groups["context"]:
            values, shares = (data.X[f"context_{name}"] for name in ("values", "weights"))
            X = sparse_features(values, shares, groups[-1].stop)
            self.context = ContextBiases(X, groups, self.log, *self.sizes, self.dtype, self.device)

    def _start(
        self,
        k: int,
        mean: float,
        biases: np.ndarray,  # (n,)
        ranks: np.ndarray,  # (n_users,)
        generator: torch.Generator,
    ) -> Rows:
        """Start from the biases alone, and from random factors of users."""
        d, n = self.n_columns, self.sizes[k]
        penalty = self.penalties[k]
        rows = torch.zeros(n, d, dtype=torch.float64)
        rows[:, 0] = torch.from_numpy(biases) + mean
        if k == 0:  # items come first in a sweep, so that their start has no effect
            start = torch.randn(n, d - 1, generator=generator, dtype=torch.float64)
            rows[:, 1:] = INIT_STD * start[ranks]
        covariances = self._new(n, n_packed(d))
        weights = self.matrices.sides[k].weights
        covariances[:, 0] = 1 / (self.precision * (weights + penalty))
        prior_mean = self._new(3, d, dtype=torch.float64)
        prior_mean[0, 0] = mean
        variances = self._new(d, dtype=torch.float64) + self.n_factors**-0.5
        variances[0] = 1 / (self.precision * penalty)
        prior = prior_mean, variances.diag()
        return Rows(rows.to(self.device, self.dtype), covariances, *prior)

    def _read(self, module: GaussianMatrixFactorization, side: str) -> Rows:
        """Read the rows of a fitted module."""
        means = module.means(side)
        covariances = getattr(module, f"{side}_covariances")
        return Rows(
            means[1:].to(self.dtype),
            covariances[1:].to(self.dtype, copy=True),
            getattr(module, f"{side}_prior_mean").clone(),
            unpack(getattr(module, f"{side}_prior_covariance"), self.n_columns),
        )

    def _terms(self, module: GaussianMatrixFactorization, k: int) -> GaussianTerms | None:
        """Make the terms of SVD++ and of side features, or continue with the terms of a fit."""
        side, groups = SIDES[k], module.groups[SIDES[k]]
        partners, features, n_partners = None, None, self.sizes[1 - k] * module.svdpp
        means = getattr(module, f"{side}_value_terms").to(self.dtype)
        covariances = getattr(module, f"{side}_value_covariances").to(self.dtype)
        places = [slice(n_partners + group.start, n_partners + group.stop) for group in groups]
        start = self._new(self.n_columns, dtype=torch.float64)
        if module.svdpp:
            partners = PartnerShares(self.matrices, k)
            places.insert(0, slice(0, n_partners))
            table = getattr(module, f"{side}_terms")
            means = torch.cat([table[1:].to(self.dtype), means])
            every = getattr(module, f"{side}_term_covariance").to(self.dtype)
            covariances = torch.cat([every.expand(n_partners, -1), covariances])
            start = table[0].double()
        if groups:
            values, shares = (getattr(module, f"{side}_{name}") for name in ("values", "weights"))
            X = sparse_features(values[1:], shares[1:], groups[-1].stop)
            features = Incidence.of(X, self.np_dtype, self.device)
        if partners is None and features is None:
            return None
        precision = 10 * self.n_factors**0.5 * torch.eye(self.n_columns).to(start)
        priors = [TermPrior(place, start, precision) for place in places]
        terms = GaussianTerms(TermSums(partners, features), means, covariances, priors)
        if covariances.any():  # of an earlier fit
            terms.set_priors()
        return terms

    def _new(self, *shape: int, dtype: torch.dtype | None = None) -> Tensor:
        return torch.zeros(*shape, dtype=dtype or self.dtype, device=self.device)

    def _latent(self) -> Latent:
        """Compute the distributions of all ratings."""
        columns = self._columns(self.log)
        errors, variances, both = predict(columns, self.rows)
        variance = both + sum(variances) + self._of_context()[1]
        noise = 1 / (self.precision * self.shares)[columns[0]]
        found = [v.double().cpu().numpy() for v in (errors, variance, noise)]
        return Latent(self.log.y - found[0], found[1].clip(0), found[2])

    def _of_context(self) -> tuple[Tensor, Tensor]:
        """Compute the biases of the contexts of all ratings, and their variances."""
        return (self._new(1), self._new(1)) if self.context is None else self.context.of_ratings()

    def _columns(self, log: Log) -> list[Tensor]:
        """Make tensors of a log, without the biases of the context."""
        numbers = [torch.from_numpy(v.astype(self.np_dtype)) for v in log[2:]]
        codes = [torch.from_numpy(codes) for codes in log[:2]]
        columns = [values.to(self.device) for values in (*codes, *numbers)]
        columns[2] = columns[2] - self._of_context()[0]
        return columns

    def write(self, module: GaussianMatrixFactorization) -> None:
        """Write all that was learned into a module."""
        # Where factors find nothing, their prior shrinks slowly and makes deviations too large.
        shrunk = [shrunken(rows, self.gain) for rows in self.rows]
        for k, side in enumerate(SIDES):
            rows, unknown, covariance = shrunk[k], *self._unknown(k, shrunk[k])
            module.set_means(side, torch.cat([unknown.to(rows.mean).unsqueeze(0), rows.mean]))
            covariances = getattr(module, f"{side}_covariances")
            covariances[0], covariances[1:] = pack(covariance), rows.covariance
            getattr(module, f"{side}_prior_mean").copy_(rows.prior_mean)
            getattr(module, f"{side}_prior_covariance").copy_(pack(self.rows[k].prior_covariance))
            if (terms := self.terms[k]) is not None:
                of_values = slice(0, None)
                if module.svdpp:
                    group = terms.priors[0].group
                    of_values = slice(group.stop, None)
                    table = getattr(module, f"{side}_terms")
                    table[0], table[1:] = terms.priors[0].mean, terms.mean[group]
                    covariance = terms.covariance[group].mean(0)
                    getattr(module, f"{side}_term_covariance").copy_(covariance)
                getattr(module, f"{side}_value_terms").copy_(terms.mean[of_values])
                getattr(module, f"{side}_value_covariances").copy_(terms.covariance[of_values])
        if self.context is not None:
            module.context_biases.copy_(self.context.mean)
            module.context_variances.copy_(self.context.variance)
        module.residual_variance.fill_(1 / self.precision)
        if self.stars is None:
            module.noise_variance.fill_(self._left_out_noise(shrunk))
        else:  # the thresholds belong to the noise of the fit
            module.noise_variance.copy_(module.residual_variance)
            module.thresholds.copy_(torch.from_numpy(self.stars.thresholds))
        module.user_noise[1:] = 1 / self.shares
        module.user_noise[0] = module.user_noise[1:].mean()

    def _unknown(self, k: int, rows: Rows) -> tuple[Tensor, Tensor]:
        """Compute mean and covariance of a row without ratings and with missing side features."""
        # Nobody knows how active an unknown user will be: the mean of all others is expected.
        mean = (activity(self.totals[k]) @ rows.prior_mean).mean(0)
        covariance, terms = rows.prior_covariance, self.terms[k]
        if terms is not None:
            priors = list(terms.priors)
            if self.svdpp:
                h = terms.sums(priors.pop(0)).double()
                mean = mean + h.mean(0)
                covariance = covariance + torch.cov(h.T, correction=0)
            for prior in priors:
                mean = mean + terms.mean[prior.group.start].double()
        return mean, with_first(covariance, self.unknown[k] * self.own_shares[k])

    def _left_out_noise(self, rows: list[Rows]) -> float:
        """Estimate the noise variance from errors of ratings that are left out."""
        # With v_u = x_i' S_u x_i, with the sum v of S_u S_i over factors, and with the leverage
        # h_u = precision (v_u + v / 2), the error of a prediction without the rating is about
        # e / ((1 - h_u) (1 - h_i)). Its variance is the noise plus
        # v_u / (1 - h_u) + v_i / (1 - h_i) + v / ((1 - h_u) (1 - h_i)). The context is a third
        # side.
        square, variance = (self._new(len(self.data)) for _ in range(2))
        of_users, of_context = self.precision * self.shares, self._of_context()[1]
        for part, columns in self._parts():
            errors, variances, both = predict(columns, rows)
            precision = of_users[columns[0]]
            keep_both = torch.ones_like(precision)
            for v in variances:
                keep = 1 - (precision * (v + PRODUCT_SHARE * both)).clamp(max=0.99)
                keep_both *= keep
                variance[part] += v / keep
            variance[part] += both / keep_both
            v = of_context[part] if len(of_context) > 1 else of_context
            keep = 1 - (precision * v).clamp(max=0.99)
            keep_both *= keep
            variance[part] += v / keep
            square[part] = (errors / keep_both).square()
        ratio = 1.0  # of the noise variance of left-out ratings to 1 / precision
        for _ in range(N_RATIO_STEPS):  # the mean squared standardised error becomes 1
            total = excess = 0.0
            for part, (users, items, _, weights) in self._parts():
                count = weights * (torch.minimum(self.totals[0][users], self.totals[1][items]) > 1)
                noise = ratio / of_users[users] + variance[part]
                total += count.sum(dtype=torch.float64).item()
                excess += (count * (square[part] / noise).double()).sum().item()
            if total < MIN_WEIGHT:
                return 1 / self.precision
            ratio = min(max(ratio * excess / total, 0.1), 10.0)
        return ratio / self.precision

    def _parts(self) -> Iterator[tuple[slice, list[Tensor]]]:
        """Yield slices of the ratings, and the columns of their log."""
        mean, weights = self._of_context()[0], self.data.weights
        for first in range(0, len(self.data), RATINGS_AT_ONCE):
            part = slice(first, first + RATINGS_AT_ONCE)
            codes = [self.data.X[name][part] - 1 for name in PARTNERS]
            z = self.to_units(self.data.y[part]).to(self.dtype)
            z = z - (mean[part] if len(mean) > 1 else mean)
            yield part, [*codes, z, weights[part].to(self.dtype)]
