"""Variational Bayesian matrix factorisation (Lim and Teh 2007, KDD Cup), with a full prior."""
# SPDX-License-Identifier: BSD-3-Clause
#
# Ratings z have mean 0 and variance 1. With rows w = (b, p) of a bias and factors,
#
#   z_ui ~ N(b_u + b_i + p_u'q_i + b_c, 1 / (tau s_u)),  s_u ~ Gamma(nu / 2, nu / 2),
#   w_u = own_u + sum of x_uk t_k,  own_u ~ N(m_U, inverse of L_U),  the same for items,
#
# where the terms t belong to SVD++ and to side features, and b_c to the context of the rating. The
# posterior is approximated by independent Gaussians of the rows. Each step maximises the bound on
# the evidence over the rows of one side, or over a prior or the noise.

from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import hstack
from torch import Tensor

from sklrec._solvers.base import FitResult, WarmStart
from sklrec._solvers.callbacks import notified_steps
from sklrec._solvers.least_squares.biases import Log, fit_biases
from sklrec._solvers.least_squares.context_biases import ContextBiases
from sklrec._solvers.least_squares.gaussian_rows import (
    Predictions,
    Rows,
    activity,
    errors_of_means,
    expected_errors,
    left_out_noise,
    row_equations,
    shrunken,
    with_first,
)
from sklrec._solvers.least_squares.gaussian_terms import WISHART, GaussianTerms, TermPrior
from sklrec._solvers.least_squares.rating_matrices import (
    Incidence,
    RatingMatrices,
    ranks_of_users,
    sparse_features,
)
from sklrec._solvers.ordinal import Latent, Stars
from sklrec._solvers.sweeps import mean_square, progress
from sklrec._solvers.tensors import InteractionTensors
from sklrec._utils.packed import (
    blocks,
    inverse,
    multiply,
    n_packed,
    pack,
    times,
    unpack,
)
from sklrec._utils.threads import threads_for_sweeps
from sklrec._utils.warnings import warn
from sklrec.modules import GaussianMatrixFactorization

SIDES = ("user", "item")
# Standard deviation of the random start of factors. A larger one prunes columns for good.
INIT_STD = 0.3
# Covariances with at most this many numbers are computed in float64, and so are large weights.
SMALL = 100_000
LARGE_WEIGHT = 1e4
# Numbers of Gram products in memory at once.
NUMBERS_AT_ONCE = 2**22
# Degrees of freedom of the distribution of a user's share of the noise. Validation parts of
# MovieLens logs lose 0.6 to 1.5 % of RMSE without the shares; others do not change.
NOISE_FREEDOM = 50.0
# Share of a multiple of the identity in prior covariances, against columns that vanish; without
# and with SVD++ terms. Chosen on validation parts of MovieLens logs, insteval and goodbooks.
EVEN_SHARE = {False: 0.03, True: 0.01}
# With less noise than this, the prior variance of the biases is at least a share of their second
# moment: where biases explain the ratings exactly, the noise is 0, but their variance is not.
LITTLE_NOISE, LEAST_BIAS_SHARE = 1e-3, 0.3
# Smallest noise variance, in units of the ratings' variance.
LEAST_NOISE = 1e-6


@dataclass(frozen=True)
class VariationalSolver:
    """A solver that updates all items, all users, their priors and the noise in turns."""

    n_iter: int  # highest number of sweeps
    tol: float  # it stops if noise and prior change by less than this
    verbose: int = 0

    @torch.no_grad()
    def train(
        self,
        module: GaussianMatrixFactorization,
        data: InteractionTensors,
        valid: InteractionTensors | None,
        generator: torch.Generator,
        previous: WarmStart | None = None,
    ) -> FitResult:
        """Train a module in place; see `Solver.train`."""
        losses: list[float] = []
        valid_losses: list[float] = []
        interrupted = False
        scale = module.scale.item() ** 2
        posterior: Posterior | None = None

        def so_far() -> GaussianMatrixFactorization:
            copied = deepcopy(module)
            if posterior is not None:
                posterior.write(copied)
            return copied

        def validate() -> None:
            if valid is not None:
                inputs = dict(valid.X)
                weight = inputs.pop("sample_weight", None)
                valid_losses.append(mean_square(valid.y - so_far()(**inputs), weight))

        try:
            with threads_for_sweeps(len(data), module.width):
                posterior = Posterior(module, data, generator, is_new=previous is None)
                sweeps = progress(self.n_iter, self.verbose, "sweep")
                for _ in notified_steps(sweeps, "sweep", so_far):
                    losses.append(scale * posterior.sweep())
                    validate()
                    if posterior.change < self.tol:
                        break
                if module.stars is not None:
                    losses.append(scale * posterior.sweep_of_stars())
                    validate()
        except KeyboardInterrupt:
            if posterior is None:  # there is no model yet
                raise
            interrupted = True
            warn(
                f"Training was interrupted after {len(losses)} whole sweeps of {self.n_iter}; the "
                "model keeps what it learned so far."
            )
        posterior.write(module)
        return FitResult(losses, valid_losses, interrupted)


class Posterior:
    """Approximate posterior of all rows, their priors and the noise."""

    def __init__(
        self,
        module: GaussianMatrixFactorization,
        data: InteractionTensors,
        generator: torch.Generator,
        *,
        is_new: bool,
    ):
        self.even_share = EVEN_SHARE[module.svdpp]
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

    def sweep(self) -> float:
        """Update all items, then all users and the noise; return the expected squared error."""
        self._update(1)
        weights = self.matrices.sides[0].weights
        errors = torch.maximum(self._update(0), LEAST_NOISE * 1e-3 * weights)  # (n_users,)
        self.shares = (NOISE_FREEDOM + weights) / (NOISE_FREEDOM + self.precision * errors)
        noise = max((self.shares.double() @ errors.double()).item() / self.total, LEAST_NOISE)
        before, self.variance = self.variance, self._variance_of_products()
        self.change = abs(noise * self.precision - 1) + abs(self.variance - before)
        self.precision = 1 / noise
        return errors.double().sum().item() / self.total

    def sweep_of_stars(self) -> float:
        """Replace the stars by Gaussian ratings of equal effect, and update all rows once."""
        assert self.stars is not None
        latent = self._latent()
        self.stars.learn(latent)
        ratings, precisions = self.stars.gaussian(latent)
        weights = self.log.weights * precisions * latent.noise
        self.targets = self.log._replace(y=ratings, weights=weights)
        if self.context is not None:
            self.context.set_weights(self.targets)
        self._set_equations()
        self._update(1)
        self._update(0)
        latent = self._latent()
        self.stars.learn(latent)
        return self.stars.mean_square(latent)

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

    def _variance_of_products(self) -> float:
        """Compute the prior variance of the product of a user's and an item's factors."""
        priors = [rows.prior_covariance[1:, 1:] for rows in self.rows]
        return (priors[0] * priors[1]).sum().item()

    def _update(self, k: int) -> Tensor:
        """Update the rows of one side, and return their expected squared errors."""
        # With G, y and precision tau of a row's ratings (see gaussian_rows), the posterior has
        # S = inverse of (tau G + L), mean = S (tau y + L m).
        partners = self.rows[1 - k]
        of_partners = partners.mean, partners.covariance, None if k == 0 else self.shares
        G, y, r = row_equations(self.matrices.sides[k], *of_partners)
        if k == 1:
            self._solve(k, G.mul_(self.precision), y.mul_(self.precision))
            return r
        precisions = (self.precision * self.shares).unsqueeze(1)
        given_terms = self._solve(k, G * precisions, y * precisions)
        if self.context is not None:
            change, of_squares = self._update_context(self.context, given_terms)
            y -= change[:, :-1] / precisions
            r += of_squares + 2 * change[:, -1] / precisions.squeeze(1)
        errors, self.gain = expected_errors(self.rows[0], G, y, r, self.shares)
        return errors

    def _update_context(
        self,
        context: ContextBiases,
        covariances: Tensor,  # (n_users, d(d+1)/2), of users whose terms are fixed
    ) -> tuple[Tensor, Tensor]:
        """Update the context's biases and the users; return how their equations change."""
        users, items = self.rows
        x = torch.cat(
            [torch.ones_like(items.mean[:, :1]), items.mean[:, 1:], items.mean[:, :1]], 1
        )
        errors = errors_of_means(self._columns(self.targets), self.rows)
        change = context.update(errors, x, covariances, self.precision * self.shares)
        users.mean -= multiply(covariances, change[:, :-1])
        before = self.matrices.sides[0].squares
        self._set_equations()
        return change, self.matrices.sides[0].squares - before

    def _set_equations(self) -> None:
        """Put the targets, without the biases of the context, into the matrices."""
        y, variance = self.targets.y, np.zeros(1)
        if self.context is not None:
            mean, variance = (v.double().cpu().numpy() for v in self.context.of_ratings())
            y = y - mean
        self.matrices.replace(self.targets._replace(y=y), variance)

    def _columns(self, log: Log) -> list[Tensor]:
        """Make tensors of a log, without the biases of the context."""
        numbers = [torch.from_numpy(v.astype(self.np_dtype)) for v in log[2:]]
        codes = [torch.from_numpy(codes) for codes in log[:2]]
        columns = [values.to(self.device) for values in (*codes, *numbers)]
        if self.context is not None:
            columns[2] = columns[2] - self.context.of_ratings()[0]
        return columns

    def _solve(self, k: int, grams: Tensor, targets: Tensor) -> Tensor:
        """Set the rows from their scaled Gram products and targets, and update the prior.

        Return the covariances of rows whose terms are fixed, if the context needs them."""
        d, rows, terms = self.n_columns, self.rows[k], self.terms[k]
        precision = torch.linalg.inv(rows.prior_covariance).to(self.dtype)
        activities = activity(self.totals[k])
        centres = (activities @ rows.prior_mean).to(self.dtype)
        own_squares = self._new(d, d, dtype=torch.float64)  # sum of the own rows' covariances
        own_sum, own_products = torch.zeros_like(rows.prior_mean), own_squares.clone()
        of_terms, given_terms = None, rows.covariance
        if terms is not None:
            of_terms = terms.update(grams, targets, precision, centres, rows.covariance)
            if k == 0 and self.context is not None:
                given_terms = rows.covariance.clone()
        for part in blocks(len(grams), d, self.device):
            if of_terms is None:
                S = inverse(unpack(grams[part], d) + precision)
                own = mean = times(S, targets[part] + centres[part] @ precision)
                spread = S
            else:
                h, V = of_terms[0][part], unpack(of_terms[1][part], d)
                S = unpack(rows.covariance[part], d)
                # own = S (τy + Λm - τG h), and S τG = 1 - S Λ
                mean = times(S, targets[part] + (centres[part] + h) @ precision)
                own = mean - h
                prior_part = S @ precision
                data_part = torch.eye(d).to(S) - prior_part
                spread = S + data_part @ V @ data_part.mT
                S = S + prior_part @ V @ prior_part.mT
            rows.mean[part] = mean
            rows.covariance[part] = pack(S)
            own_squares += spread.sum(0, dtype=torch.float64)
            own = own.double()
            own_sum += activities[part].T @ own
            own_products += own.T @ own
        self._set_prior(k, own_sum, own_squares + own_products)
        return given_terms

    def _set_prior(self, k: int, total: Tensor, squares: Tensor) -> None:
        """Set the prior of a side from sums over its rows."""
        # The mean by regression on the activity, and L from the second moments around it. The bias
        # keeps the ratio of variances that has the least leave-one-out error. Where rows have
        # about two ratings, variances drift to 0 otherwise.
        d, rows, n = self.n_columns, self.rows[k], self.sizes[k]
        activities, eye = activity(self.totals[k]), torch.eye(d).to(squares)
        gram = activities.T @ activities
        rows.prior_mean = torch.linalg.solve(gram + torch.eye(len(gram)).to(gram), total)
        spread = squares - total.T @ rows.prior_mean + WISHART * eye
        covariance = spread / (n + d)
        even = eye * self.even_share * self.n_factors**-0.5
        even[0, 0] = covariance[0, 0] * self.even_share
        covariance = (covariance + even) / (1 + self.even_share)
        self.own_shares[k] = self._own_share(k, covariance[0, 0].item())
        variance = self.own_shares[k] / (self.precision * self.penalties[k])
        if self.precision * LITTLE_NOISE > 1:
            variance = max(variance, LEAST_BIAS_SHARE * covariance[0, 0].item())
        rows.prior_covariance = with_first(covariance, variance)

    def _own_share(self, k: int, variance: float) -> float:
        """Share of what no count and no side feature explains in the variance of the biases."""
        terms = self.terms[k]
        explained = (activity(self.totals[k]) @ self.rows[k].prior_mean)[:, 0]
        if terms is not None and (groups := terms.priors[self.svdpp :]):
            explained = explained + terms.sums(*groups, columns=slice(0, 1))[:, 0]
        return variance / (variance + explained.var(correction=0).item())

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
