"""Distributions of all rows, their priors and the noise, from a module and back into it."""
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import torch
from scipy.sparse import hstack
from torch import Tensor

from sklrec._solvers.least_squares.biases import Log, fit_biases
from sklrec._solvers.least_squares.gaussian_rows import (
    Incidence,
    Predictions,
    RatingMatrices,
    Rows,
    activity,
    left_out_noise,
    ranks_of_users,
    shrunken,
    sparse_features,
    with_first,
)
from sklrec._solvers.least_squares.gaussian_terms import ContextBiases, GaussianTerms, TermPrior
from sklrec._solvers.ordinal import Latent, Stars
from sklrec._solvers.tensors import InteractionTensors
from sklrec._utils.packed import n_packed, pack, unpack
from sklrec.modules import GaussianMatrixFactorization
from sklrec.modules._gaussian import SIDES

# Standard deviation of the random start of factors. A larger one prunes columns for good.
INIT_STD = 0.3
# Covariances with at most this many numbers are computed in float64, and so are large weights.
SMALL = 100_000
LARGE_WEIGHT = 1e4
# Numbers of Gram products in memory at once.
NUMBERS_AT_ONCE = 2**22
# Smallest noise variance, in units of the ratings' variance.
LEAST_NOISE = 1e-6


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
        users, items = (data.X[f"{side}s"].cpu().numpy() - 1 for side in SIDES)
        weights = data.weights.cpu().numpy()
        z = module._from_ratings(data.y, module.scale).cpu().numpy()
        self.log = self.targets = log = Log(users, items, z, weights)
        self.total = float(weights.sum())
        self.dtype = torch.float64 if small or weights.max() > LARGE_WEIGHT else torch.float32
        self.np_dtype = np.float64 if self.dtype == torch.float64 else np.float32
        at_once = max(1, NUMBERS_AT_ONCE // n_packed(d))
        self.matrices = RatingMatrices(log, self.sizes, self.np_dtype, self.device, at_once)
        self.totals = [side.weights for side in self.matrices.sides]
        (mean, *biases), variances = fit_biases(log, *self.sizes)
        self.penalties = variances.user_penalty, variances.item_penalty
        self.unknown = variances.unknown_user_variance, variances.unknown_item_variance
        self.precision = 1 / max(variances.noise_variance, LEAST_NOISE)
        self.shares = torch.ones(self.sizes[0], dtype=self.dtype, device=self.device)
        if is_new:
            ranks = ranks_of_users(log, self.sizes)
            self.rows = [self._start(k, mean / 2, biases[k], ranks, generator) for k in (0, 1)]
        else:
            self.rows = [self._read(module, side) for side in SIDES]
            self.precision = 1 / module.residual_variance.item()
            self.shares /= module.user_noise[1:].to(self.shares)
        self.terms = [self._terms(module, k) for k in (0, 1)]
        self.svdpp, self.own_shares = module.svdpp, [1.0, 1.0]
        self.stars: Stars | None = None
        if module.stars is not None:
            stars = module._from_ratings(module.stars, module.scale).cpu().numpy()
            self.stars = Stars(stars, z, weights)
        self.context: ContextBiases | None = None
        if groups := module.groups["context"]:
            values, shares = (data.X[f"context_{name}"] for name in ("values", "weights"))
            X = sparse_features(values, shares, groups[-1].stop)
            self.context = ContextBiases(X, groups, log, *self.sizes, self.dtype, self.device)

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
        """Make the SVD++ terms and those of side features, or continue with those of a fit."""
        side, groups = SIDES[k], module.groups[SIDES[k]]
        weights, n_partners = [], self.sizes[1 - k] * module.svdpp
        means = getattr(module, f"{side}_value_terms").to(self.dtype)
        covariances = getattr(module, f"{side}_value_covariances").to(self.dtype)
        places = [slice(n_partners + group.start, n_partners + group.stop) for group in groups]
        start = self._new(self.n_columns, dtype=torch.float64)
        if module.svdpp:
            weights.append(self.matrices.partner_shares(k))
            places.insert(0, slice(0, n_partners))
            table = getattr(module, f"{side}_terms")
            means = torch.cat([table[1:].to(self.dtype), means])
            every = getattr(module, f"{side}_term_covariance").to(self.dtype)
            covariances = torch.cat([every.expand(n_partners, -1), covariances])
            start = table[0].double()
        if groups:
            values, shares = (getattr(module, f"{side}_{name}") for name in ("values", "weights"))
            weights.append(sparse_features(values[1:], shares[1:], groups[-1].stop))
        if not weights:
            return None
        precision = 10 * self.n_factors**0.5 * torch.eye(self.n_columns).to(start)
        priors = [TermPrior(place, start, precision) for place in places]
        B = Incidence.of(hstack(weights, format="csr"), self.np_dtype, self.device)
        terms = GaussianTerms(B, means, covariances, priors)
        if covariances.any():  # of an earlier fit
            terms.set_priors()
        return terms

    def _new(self, *shape: int, dtype: torch.dtype | None = None) -> Tensor:
        return torch.zeros(*shape, dtype=dtype or self.dtype, device=self.device)

    def _latent(self) -> Latent:
        """Compute the distributions of all ratings."""
        columns = self._columns(self.log)
        found = Predictions.of(columns, self.rows)
        variance = found.both + sum(found.variances)
        if self.context is not None:
            variance = variance + self.context.of_ratings()[1]
        noise = 1 / (self.precision * self.shares)[columns[0]]
        errors, variances, noises = (
            v.double().cpu().numpy() for v in (found.errors, variance, noise)
        )
        return Latent(self.log.y - errors, variances.clip(0), noises)

    def _columns(self, log: Log) -> list[Tensor]:
        """Make tensors of a log, without the biases of the context."""
        numbers = [torch.from_numpy(v.astype(self.np_dtype)) for v in log[2:]]
        codes = [torch.from_numpy(codes) for codes in log[:2]]
        columns = [values.to(self.device) for values in (*codes, *numbers)]
        if self.context is not None:
            columns[2] = columns[2] - self.context.of_ratings()[0]
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
        ratio = left_out_noise(
            self._columns(self.log),
            None if self.context is None else self.context.of_ratings()[1],
            rows,
            self.precision * self.shares,
            self.totals,
        )
        return ratio / self.precision
