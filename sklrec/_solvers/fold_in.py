"""Rows of new users and items in a fitted Gaussian model."""
# SPDX-License-Identifier: BSD-3-Clause

from dataclasses import dataclass, fields
from typing import Self

import numpy as np
import torch
from torch import Tensor

from sklrec._solvers.least_squares.gaussian_terms import Incidence, sparse_features
from sklrec._solvers.least_squares.pairs import Log, PartnerShares, RatedPairs, RatingMatrices
from sklrec._solvers.posterior import activity
from sklrec._solvers.variational import row_equations
from sklrec._utils.packed import blocks, inverse, n_packed, pack, times, unpack
from sklrec.modules import GaussianMatrixFactorization
from sklrec.modules._gaussian import SIDES


@torch.no_grad()
def solve_rows(
    module: GaussianMatrixFactorization,
    side: str,
    rows: np.ndarray,  # (n_ratings,), numbers of new rows from 0
    ratings: dict[str, np.ndarray],  # (n_ratings, ...): partners' codes, y, weight and context
    features: tuple[Tensor, Tensor],  # values and weights of the rows, (n_rows, n)
) -> tuple[Tensor, Tensor]:  # (n_rows, d) and (n_rows, d(d+1)/2)
    """Compute the distributions of new rows from their ratings, with all other rows fixed."""
    log = log_of(module, rows, ratings)
    return SideEquations.of(module, side, log, len(features[0]), features).solve()


def log_of(
    module: GaussianMatrixFactorization, rows: np.ndarray, ratings: dict[str, np.ndarray]
) -> Log:
    """Make a log of rows and the codes of their partners, without the context's biases."""
    context = {k: torch.from_numpy(v) for k, v in ratings.items() if k.startswith("context")}
    z = (torch.tensor(ratings["y"]) - module.global_mean.cpu()) / module.scale.cpu()
    z = z - module._of_context(module.context_biases.cpu(), context)
    return Log(rows, ratings["partners"], z.numpy(), ratings["weight"])


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
        n: int,  # number of rows
        features: tuple[Tensor, Tensor],  # values and weights of the rows
        noise: Tensor | None = None,  # (), as `user_noise` of all rows; None is an unknown user
    ) -> Self:
        """Sum over the ratings of the rows."""
        k = SIDES.index(side)
        other = SIDES[1 - k]
        d, device = module.n_factors + 1, module.global_mean.device
        # Only the partners that occur: a table of all would be large beside a few ratings.
        distinct, partners = np.unique(log[1], return_inverse=True)
        codes = torch.from_numpy(distinct).to(device)
        log = Log(log[0], partners, *log[2:])
        shape = n, len(codes)
        pairs = RatedPairs.of(log, shape)
        matrices = RatingMatrices(pairs, np.float64, device, max(1, 2**20 // d**2))
        shares = None if side == "user" else 1 / module.user_noise[codes].double()
        covariances = getattr(module, f"{other}_covariances")[codes].double()
        means = module._rows(other, codes, {})
        G, y, _ = row_equations(matrices.sides[0], means, covariances, shares)
        precision = 1 / module.residual_variance
        if side == "user":
            precision = precision / (module.user_noise[0] if noise is None else noise).double()
        prior = torch.linalg.inv(unpack(getattr(module, f"{side}_prior_covariance"), d))
        centre = activity(matrices.sides[0].weights) @ getattr(module, f"{side}_prior_mean")
        spread = torch.zeros(n, n_packed(d), dtype=torch.float64, device=device)
        if module.svdpp:
            terms = getattr(module, f"{side}_terms")[codes].double()
            centre += PartnerShares(matrices, 0).of_rows(terms)
            spread += getattr(module, f"{side}_term_covariance").double()
        if groups := module.groups[side]:
            X = sparse_features(*features, groups[-1].stop)
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
