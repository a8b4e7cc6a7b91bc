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

from dataclasses import dataclass

import torch
from torch import Tensor

from sklrec._solvers.base import FitResult, WarmStart
from sklrec._solvers.least_squares.gaussian_terms import WISHART, ContextBiases
from sklrec._solvers.least_squares.pairs import SideMatrices
from sklrec._solvers.posterior import (
    LEAST_NOISE,
    GaussianPosterior,
    Rows,
    activity,
    errors_of_means,
    with_first,
)
from sklrec._solvers.steps import sweep_module
from sklrec._solvers.tensors import InteractionTensors
from sklrec._utils.packed import (
    blocks,
    inner,
    inverse,
    multiply,
    n_packed,
    outer,
    pack,
    times,
    unpack,
)
from sklrec._utils.runtime import threads_for_sweeps
from sklrec.modules import GaussianMatrixFactorization
from sklrec.modules._gaussian import with_one

# Degrees of freedom of the distribution of a user's share of the noise. Validation parts of
# MovieLens logs lose 0.6 to 1.5 % of RMSE without the shares; others do not change.
NOISE_FREEDOM = 50.0
# Share of a multiple of the identity in prior covariances, against columns that vanish; without
# and with SVD++ terms. Chosen on validation parts of MovieLens logs, insteval and goodbooks.
EVEN_SHARE = {False: 0.03, True: 0.01}
# With less noise than this, the prior variance of the biases is at least a share of their second
# moment: where biases explain the ratings exactly, the noise is 0, but their variance is not.
LITTLE_NOISE, LEAST_BIAS_SHARE = 1e-3, 0.3


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
        with threads_for_sweeps(len(data), module.width):
            posterior = Posterior(module, data, generator, is_new=previous is None)
            return sweep_module(
                posterior,
                module,
                valid,
                n_sweeps=self.n_iter,
                tol=self.tol,
                verbose=self.verbose,
                last=None if module.stars is None else posterior.sweep_of_stars,
            )


class Posterior(GaussianPosterior):
    """The posterior and its updates."""

    def sweep(self) -> float:
        """Update all items, then all users and the noise; return the expected squared error."""
        # With the expected squared errors e_u of n_u ratings,
        #   s_u = (nu + n_u) / (nu + tau e_u),  1 / tau = sum of s_u e_u / sum of n_u.
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

    def _variance_of_products(self) -> float:
        """Compute the prior variance of the product of a user's and an item's factors."""
        priors = [rows.prior_covariance[1:, 1:] for rows in self.rows]
        return (priors[0] * priors[1]).sum().item()

    def _update(self, k: int) -> Tensor:
        """Update the rows of one side, and return their expected squared errors."""
        # With G, y and precision tau of a row's ratings (see `row_equations`), the posterior has
        # S = inverse of (tau G + L), mean = S (tau y + L m).
        partners = self.rows[1 - k]
        of_partners = partners.mean, partners.covariance, None if k == 0 else self.shares
        G, y, r = row_equations(self.matrices.sides[k], *of_partners)
        if k == 1:
            self._solve(k, G, y, torch.full_like(r, self.precision).unsqueeze(1))
            return r
        precisions = (self.precision * self.shares).unsqueeze(1)
        given_terms = self._solve(k, G, y, precisions)
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
        x = torch.cat([with_one(items.mean), items.mean[:, :1]], 1)
        errors = errors_of_means(self._columns(self.targets), self.rows)
        change = context.update(errors, x, covariances, self.precision * self.shares)
        users.mean -= multiply(covariances, change[:, :-1])
        before = self.matrices.sides[0].squares
        self._set_equations()
        return change, self.matrices.sides[0].squares - before

    def _set_equations(self) -> None:
        """Put the targets, without the biases of the context, into the matrices."""
        mean, variance = (v.double().cpu().numpy() for v in self._of_context())
        self.matrices.replace(self.targets._replace(y=self.targets.y - mean), variance)

    def _solve(self, k: int, grams: Tensor, targets: Tensor, scales: Tensor) -> Tensor:
        """Set the rows from their Gram products and targets times scales, and update the prior.

        Return the covariances of rows whose terms are fixed, if the context needs them."""
        d, rows, terms = self.n_columns, self.rows[k], self.terms[k]
        precision = torch.linalg.inv(rows.prior_covariance).to(self.dtype)
        activities = activity(self.totals[k])
        centres = (activities @ rows.prior_mean).to(self.dtype)
        own_squares = self._new(d, d, dtype=torch.float64)  # sum of the own rows' covariances
        own_sum, own_products = torch.zeros_like(rows.prior_mean), own_squares.clone()
        of_terms, given_terms = None, rows.covariance
        if terms is not None:
            of_terms = terms.update(grams, targets, scales, precision, centres, rows.covariance)
            if k == 0 and self.context is not None:
                given_terms = rows.covariance.clone()
        for part in blocks(len(grams), d, self.device):
            target = targets[part] * scales[part]
            if of_terms is None:
                S = inverse(unpack(grams[part] * scales[part], d) + precision)
                own = mean = times(S, target + centres[part] @ precision)
                spread = S
            else:
                h, V = of_terms[0][part], unpack(of_terms[1][part], d)
                S = unpack(rows.covariance[part], d)
                # own = S (τy + Λm - τG h), and S τG = 1 - S Λ
                mean = times(S, target + (centres[part] + h) @ precision)
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
        share = EVEN_SHARE[self.svdpp]
        even = eye * share * self.n_factors**-0.5
        even[0, 0] = covariance[0, 0] * share
        covariance = (covariance + even) / (1 + share)
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


def row_equations(
    matrices: SideMatrices,
    mean: Tensor,  # (n_partners, d), bias first
    covariance: Tensor,  # (n_partners, d(d+1)/2)
    shares: Tensor | None,  # (n_partners,), weights of the partners' ratings
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute G, y and r of all rows."""
    # A partner has the bias b, the factors q, and a covariance C of both. With x = (1, q), with
    # M = x x' plus C without the row and column of the bias, and with c = b x + (0, C_bq), a row w
    # has
    #   E sum (z - w'x - b)^2 = w'G w - 2 w'y + r,  with
    #   G = sum M,  y = sum (z x - c),  r = sum (z^2 - 2 z b + b^2 + C_bb).
    d = mean.shape[1]
    bias = mean[:, :1].clone()  # (n_partners, 1)
    x = mean.clone()
    x[:, 0] = 1
    counted = mean.new_zeros(len(x), n_packed(d) + d + 1)
    grams, c, squares = counted[:, : -d - 1], counted[:, -d - 1 : -1], counted[:, -1]
    for part in blocks(len(x), d, x.device):
        grams[part] = outer(x[part])
    grams[:, d:] += covariance[:, d:]
    c.copy_(x * bias)
    c[:, 1:] += covariance[:, 1:d]
    squares.copy_(bias[:, 0] ** 2 + covariance[:, 0])
    rated = torch.cat([x, bias], 1)
    if shares is not None:
        counted *= shares.unsqueeze(1)
        rated *= shares.unsqueeze(1)
    n = len(matrices.weights)
    G, y, r = mean.new_empty(n, n_packed(d)), mean.new_empty(n, d), mean.new_empty(n)
    for part, weights, ratings in matrices.blocks:
        sums, products = weights @ counted, ratings @ rated
        G[part] = sums[:, : -d - 1]
        y[part] = products[:, :d] - sums[:, -d - 1 : -1]
        r[part] = matrices.squares[part] + sums[:, -1] - 2 * products[:, d]
    return G, y, r


def expected_errors(
    rows: Rows,
    G: Tensor,
    y: Tensor,
    r: Tensor,
    shares: Tensor,  # (n,), weights of the rows' ratings
) -> tuple[Tensor, float]:
    """Compute the expected squared errors of all rows, and the multiple of the factors with the
    smallest total."""
    d = rows.mean.shape[1]
    squares, covered, errors = (torch.empty_like(r) for _ in range(3))
    for part in blocks(len(r), d, r.device):
        mean, grams, products = rows.mean[part], G[part], rows.mean[part] * y[part]
        second = outer(mean) + rows.covariance[part]
        squares[part] = inner(grams[:, d:], second[:, d:], d - 1)  # of the products of factors
        covered[part] = products[:, 1:].sum(1) - (grams * second)[:, 1:d].sum(1)
        errors[part] = r[part] - 2 * products.sum(1) + inner(grams, second, d)
    gain = (shares @ covered) / (shares @ squares)
    return errors, min(max(float(gain), 0.0), 1.0)
