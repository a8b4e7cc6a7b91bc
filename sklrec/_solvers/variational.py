"""Variational Bayesian matrix factorisation (Lim and Teh 2007, KDD Cup), with a full prior."""
# SPDX-License-Identifier: BSD-3-Clause
#
# Ratings z have mean 0 and variance 1. With rows w = (b, p) of a bias and factors,
#
#   z_ui ~ N(b_u + b_i + p_u'q_i, 1 / (tau s_u)),  s_u ~ Gamma(nu / 2, nu / 2),
#   w_u ~ N(m_U, inverse of L_U),  w_i ~ N(m_I, inverse of L_I).
#
# The posterior is approximated by independent Gaussians of the rows. Each step maximises the bound
# on the evidence over the rows of one side, or over a prior or the noise.

from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sklrec._solvers.base import FitResult, WarmStart
from sklrec._solvers.callbacks import notified_steps
from sklrec._solvers.gibbs.tables import mean_square, progress
from sklrec._solvers.least_squares.biases import Log, fit_biases
from sklrec._solvers.least_squares.gaussian_rows import (
    Rows,
    expected_errors,
    left_out_noise,
    row_equations,
    shrunken,
    with_first,
)
from sklrec._solvers.least_squares.gaussian_terms import WISHART, GaussianTerms
from sklrec._solvers.least_squares.normal_equations import numbers_at_once
from sklrec._solvers.least_squares.packed import (
    blocks,
    inverse,
    n_packed,
    pack,
    unpack,
)
from sklrec._solvers.least_squares.rating_matrices import (
    Incidence,
    SideMatrices,
    ranks_of_users,
    rating_matrices,
)
from sklrec._solvers.tensors import InteractionTensors
from sklrec._utils.threads import threads_for_sweeps
from sklrec._utils.warnings import warn
from sklrec.modules import GaussianMatrixFactorization

SIDES = ("user", "item")
# Standard deviation of the random start of factors. A larger one prunes columns for good.
INIT_STD = 0.3
# Covariances with at most this many numbers are computed in float64, and so are large weights.
SMALL = 100_000
LARGE_WEIGHT = 1e9
# Numbers of Gram products in memory at once.
NUMBERS_AT_ONCE = 2**22
# Degrees of freedom of the distribution of a user's share of the noise. Validation parts of
# MovieLens logs lose 0.6 to 1.5 % of RMSE without the shares; others do not change.
NOISE_FREEDOM = 50.0
# Share of a multiple of the identity in prior covariances, against columns that vanish; without
# and with SVD++ terms. Chosen on validation parts of MovieLens logs, insteval and goodbooks.
EVEN_SHARE = {False: 0.03, True: 0.01}
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

        try:
            with threads_for_sweeps(len(data), module.width):
                posterior = Posterior(module, data, generator, is_new=previous is None)
                sweeps = progress(self.n_iter, self.verbose, "sweep")
                for _ in notified_steps(sweeps, "sweep", so_far):
                    losses.append(scale * posterior.sweep())
                    if valid is not None:
                        posterior.write_means(module)
                        errors = valid.y - module(valid.X["users"], valid.X["items"])
                        valid_losses.append(mean_square(errors, valid.X.get("sample_weight")))
                    if posterior.change < self.tol:
                        break
        except KeyboardInterrupt:
            interrupted = True
            warn(
                f"Training was interrupted after {len(losses)} whole sweeps of {self.n_iter}; the "
                "model is that of these sweeps."
            )
        if posterior is not None:
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
        weight = data.X.get("sample_weight")
        weights = np.ones(len(users)) if weight is None else weight.double().cpu().numpy()
        z = ((data.y.double() - module.global_mean) / module.scale).cpu().numpy()
        self.log = log = Log(users, items, z, weights)
        self.total = float(weights.sum())
        self.dtype = torch.float64 if small or weights.max() > LARGE_WEIGHT else torch.float32
        self.np_dtype = np.float64 if self.dtype == torch.float64 else np.float32
        self.matrices: list[SideMatrices]
        self.incidences: list[Incidence]
        self.matrices, self.incidences = rating_matrices(
            log,
            self.sizes,
            self.np_dtype,
            self.device,
            max(1, NUMBERS_AT_ONCE // n_packed(d)),
            module.svdpp,
        )
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
        self.terms = [self._terms(module, k) for k in (0, 1)] if module.svdpp else []

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
        weights = self.matrices[k].weights
        covariances[:, 0] = 1 / (self.precision * (weights + penalty))
        prior_mean = self._new(d, dtype=torch.float64)
        prior_mean[0] = mean
        variances = self._new(d, dtype=torch.float64) + self.n_factors**-0.5
        variances[0] = 1 / (self.precision * penalty)
        prior = prior_mean, variances.diag()
        return Rows(rows.to(self.device, self.dtype), covariances, *prior, *prior)

    def _read(self, module: GaussianMatrixFactorization, side: str) -> Rows:
        """Read the rows of a fitted module."""
        means = module.means(side)
        covariances = getattr(module, f"{side}_covariances")
        return Rows(
            means[1:].to(self.dtype),
            covariances[1:].to(self.dtype, copy=True),
            getattr(module, f"{side}_prior_mean").clone(),
            unpack(getattr(module, f"{side}_prior_covariance"), self.n_columns),
            means[0],
            unpack(covariances[0].double(), self.n_columns),
        )

    def _terms(self, module: GaussianMatrixFactorization, k: int) -> GaussianTerms:
        table = getattr(module, f"{SIDES[k]}_terms")
        terms = GaussianTerms(
            table[1:].to(self.dtype),
            table[0].double(),
            10 * self.n_factors**0.5 * torch.eye(self.n_columns).to(table).double(),
            getattr(module, f"{SIDES[k]}_term_covariance").to(self.dtype),
        )
        if terms.covariance.any():  # of an earlier fit
            terms.set_prior()
        return terms

    def _new(self, *shape: int, dtype: torch.dtype | None = None) -> Tensor:
        return torch.zeros(*shape, dtype=dtype or self.dtype, device=self.device)

    def sweep(self) -> float:
        """Update all items, then all users and the noise; return the expected squared error."""
        self._update(1)
        errors = self._update(0).clamp(min=LEAST_NOISE * 1e-3)  # (n_users,)
        weights = self.matrices[0].weights
        self.shares = (NOISE_FREEDOM + weights) / (NOISE_FREEDOM + self.precision * errors)
        noise = max((self.shares.double() @ errors.double()).item() / self.total, LEAST_NOISE)
        before, self.variance = self.variance, self._variance_of_products()
        self.change = abs(noise * self.precision - 1) + abs(self.variance - before)
        self.precision = 1 / noise
        return errors.double().sum().item() / self.total

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
        G, y, r = row_equations(self.matrices[k], *of_partners)
        if k == 1:
            self._solve(k, G.mul_(self.precision), y.mul_(self.precision))
            return r
        precisions = (self.precision * self.shares).unsqueeze(1)
        self._solve(k, G * precisions, y * precisions)
        errors, self.gain = expected_errors(self.rows[0], G, y, r, self.shares)
        return errors

    def _solve(self, k: int, grams: Tensor, targets: Tensor) -> None:
        """Set the rows from their scaled Gram products and targets, and update the prior."""
        d, rows = self.n_columns, self.rows[k]
        precision = torch.linalg.inv(rows.prior_covariance).to(self.dtype)
        centre = rows.prior_mean.to(self.dtype)
        own_squares = self._new(d, d, dtype=torch.float64)  # sum of the own rows' covariances
        own_sum, own_products = self._new(d, dtype=torch.float64), own_squares.clone()
        of_terms = None
        if self.terms:
            of_terms = self.terms[k].update(
                self.incidences[k], grams, targets, precision, centre, rows.covariance
            )
        for part in blocks(len(grams), d, self.device):
            if of_terms is None:
                S = inverse(unpack(grams[part], d) + precision)
                right = targets[part] + precision @ centre
                own = mean = torch.bmm(S, right.unsqueeze(2)).squeeze(2)
                spread = S
            else:
                h, V = of_terms[0][part], unpack(of_terms[1][part], d)
                S = unpack(rows.covariance[part], d)
                # own = S (τy + Λm - τG h), and S τG = 1 - S Λ
                right = targets[part] + (centre + h) @ precision
                mean = torch.bmm(S, right.unsqueeze(2)).squeeze(2)
                own = mean - h
                prior_part = S @ precision
                data_part = torch.eye(d).to(S) - prior_part
                spread = S + data_part @ V @ data_part.mT
                S = S + prior_part @ V @ prior_part.mT
            rows.mean[part] = mean
            rows.covariance[part] = pack(S)
            own_squares += spread.sum(0, dtype=torch.float64)
            own = own.double()
            own_sum += own.sum(0)
            own_products += own.T @ own
        self._set_prior(k, own_sum, own_squares + own_products)
        rows.unknown_mean, rows.unknown_covariance = rows.prior_mean, rows.prior_covariance
        if of_terms is not None:
            h = of_terms[0].double()
            rows.unknown_mean = rows.prior_mean + h.mean(0)
            rows.unknown_covariance = rows.prior_covariance + torch.cov(h.T, correction=0)

    def _set_prior(self, k: int, total: Tensor, squares: Tensor) -> None:
        """Set the prior of a side from sums over its rows."""
        # m = sum of w / (n + 1), and L from the second moments of w. The bias keeps the ratio of
        # variances that has the least leave-one-out error. Where rows have about two ratings,
        # variances drift to 0 otherwise.
        d, rows, n = self.n_columns, self.rows[k], self.sizes[k]
        rows.prior_mean = total / (n + 1)
        eye = torch.eye(d).to(squares)
        spread = squares - torch.outer(total, rows.prior_mean) + WISHART * eye
        covariance = spread / (n + d)
        even = eye * self.even_share * self.n_factors**-0.5
        even[0, 0] = covariance[0, 0] * self.even_share
        covariance = (covariance + even) / (1 + self.even_share)
        rows.prior_covariance = with_first(covariance, 1 / (self.precision * self.penalties[k]))

    def write_means(self, module: GaussianMatrixFactorization) -> None:
        """Write the means of all rows into a module."""
        for side, rows in zip(SIDES, self.rows, strict=True):
            unknown = rows.unknown_mean.to(rows.mean).unsqueeze(0)
            module.set_means(side, torch.cat([unknown, rows.mean]))

    def write(self, module: GaussianMatrixFactorization) -> None:
        """Write all that was learned into a module."""
        self.write_means(module)
        # Where factors find nothing, their prior shrinks slowly and makes deviations too large.
        shrunk = [shrunken(rows, self.gain) for rows in self.rows]
        for k, side in enumerate(SIDES):
            rows = shrunk[k]
            covariances = getattr(module, f"{side}_covariances")
            covariances[0] = pack(with_first(rows.unknown_covariance, self.unknown[k]))
            covariances[1:] = rows.covariance
            getattr(module, f"{side}_prior_mean").copy_(rows.prior_mean)
            getattr(module, f"{side}_prior_covariance").copy_(pack(rows.prior_covariance))
            if self.terms:
                terms = self.terms[k]
                table = getattr(module, f"{side}_terms")
                table[0], table[1:] = terms.prior_mean, terms.mean
                getattr(module, f"{side}_term_covariance").copy_(terms.covariance)
        module.residual_variance.fill_(1 / self.precision)
        module.noise_variance.fill_(self._left_out_noise(shrunk))
        module.user_noise[1:] = 1 / self.shares
        module.user_noise[0] = module.user_noise[1:].mean()

    def _left_out_noise(self, rows: list[Rows]) -> float:
        """Estimate the noise variance from errors of ratings that are left out."""
        codes, numbers = self.log[:2], [v.astype(self.np_dtype) for v in self.log[2:]]
        ratio = left_out_noise(
            [torch.from_numpy(values).to(self.device) for values in (*codes, *numbers)],
            rows,
            self.precision * self.shares,
            [side.weights for side in self.matrices],
            max(1, numbers_at_once(self.device) // n_packed(self.n_columns)),
        )
        return ratio / self.precision
