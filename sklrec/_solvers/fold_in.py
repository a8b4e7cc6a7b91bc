"""Rows of new users and items in a fitted Gaussian model."""
# SPDX-License-Identifier: BSD-3-Clause

from dataclasses import dataclass, fields
from typing import Self

import numpy as np
import torch
from torch import Tensor

from sklrec._solvers.least_squares.biases import Log
from sklrec._solvers.least_squares.gaussian_terms import Incidence, RatingMatrices, sparse_features
from sklrec._solvers.posterior import activity
from sklrec._solvers.tensors import InteractionTensors
from sklrec._solvers.variational import row_equations
from sklrec._utils.packed import blocks, inverse, n_packed, pack, times, unpack
from sklrec.modules import GaussianMatrixFactorization
from sklrec.modules._gaussian import SIDES


@torch.no_grad()
def fold_in(
    module: GaussianMatrixFactorization,  # with rows for all users and items; changed in place
    data: InteractionTensors,  # a new user with a known item, or the other way, in each row
    n_known_users: int,
    n_known_items: int,
) -> None:
    """Compute the distributions of new rows from their ratings, with all other rows fixed."""
    n_known = n_known_users, n_known_items
    codes = [data.X[f"{side}s"] for side in SIDES]
    for k, side in enumerate(SIDES):
        is_new = codes[k] > n_known[k]
        if is_new.any():
            z = (data.y[is_new] - module.global_mean.cpu()) / module.scale.cpu()
            context = {k: v[is_new] for k, v in data.X.items() if k.startswith("context")}
            z = z - module._of_context(module.context_biases.cpu(), context)
            columns = (
                codes[k][is_new] - n_known[k] - 1,
                codes[1 - k][is_new],
                z,
                data.weights[is_new],
            )
            log = Log(*(values.numpy() for values in columns))
            rows = slice(n_known[k] + 1, None)
            means, table = module.means(side), getattr(module, f"{side}_covariances")
            means[rows], covariances = SideEquations.of(module, side, log, rows.start).solve()
            table[rows] = covariances.float()
            module.set_means(side, means)


@dataclass
class SideEquations:
    """Equations of rows of one side, where all rows of the other side are fixed."""

    # The own part of a row has the covariance S, the inverse of (tau G + L), and the mean
    # S (tau y + L m). `centre` is m, with the terms of the row. `spread` is the covariance of the
    # terms.
    G: Tensor  # (n, d(d+1)/2)
    y: Tensor  # (n, d)
    centre: Tensor  # (n, d)
    spread: Tensor  # (n, d(d+1)/2)
    precision: Tensor  # (), tau
    prior: Tensor  # (d, d), L

    @classmethod
    def of(
        cls,
        module: GaussianMatrixFactorization,
        side: str,
        log: Log,  # rows from 0, and codes of their partners
        first: int,  # code of the first row
    ) -> Self:
        """Sum over the ratings of the rows."""
        k = SIDES.index(side)
        other = SIDES[1 - k]
        d, n = module.n_factors + 1, module.means(side).shape[0] - first
        means, device = module.means(other), module.global_mean.device
        shape = n, len(means)
        matrices = RatingMatrices(log, shape, np.float64, device, max(1, 2**20 // d**2))
        shares = None if side == "user" else 1 / module.user_noise.double()
        covariances = getattr(module, f"{other}_covariances").double()
        G, y, _ = row_equations(matrices.sides[0], means, covariances, shares)
        precision = 1 / module.residual_variance
        if side == "user":
            precision = precision / module.user_noise[0].double()
        prior = torch.linalg.inv(unpack(getattr(module, f"{side}_prior_covariance"), d))
        centre = activity(matrices.sides[0].weights) @ getattr(module, f"{side}_prior_mean")
        spread = torch.zeros(n, n_packed(d), dtype=torch.float64, device=device)
        if module.svdpp:
            B = Incidence.of(matrices.partner_shares(0), np.float64, device)
            centre += B.weights @ getattr(module, f"{side}_terms").double()
            spread += getattr(module, f"{side}_term_covariance").double()
        if groups := module.groups[side]:
            values, weights = (getattr(module, f"{side}_{name}") for name in ("values", "weights"))
            X = sparse_features(values[first:], weights[first:], groups[-1].stop)
            B = Incidence.of(X, np.float64, device)
            centre += B.weights @ getattr(module, f"{side}_value_terms")
            spread += B.squared @ getattr(module, f"{side}_value_covariances").double()
        return cls(G, y, centre, spread, precision, prior)

    def solve(self) -> tuple[Tensor, Tensor]:  # (n, d) and (n, d(d+1)/2)
        """Compute the means and the covariances of the rows."""
        means, covariances = torch.empty_like(self.y), torch.empty_like(self.G)
        n, d = self.y.shape
        for part in blocks(n, d, self.y.device):
            S = inverse(self.precision * unpack(self.G[part], d) + self.prior)
            right = self.precision * self.y[part] + self.centre[part] @ self.prior
            means[part] = times(S, right)
            of_prior = S @ self.prior
            of_terms = of_prior @ unpack(self.spread[part], d) @ of_prior.mT
            covariances[part] = pack(S + of_terms)
        return means, covariances

    def float(self) -> "SideEquations":
        """Copy to float32."""
        return SideEquations(*(getattr(self, field.name).float() for field in fields(self)))
