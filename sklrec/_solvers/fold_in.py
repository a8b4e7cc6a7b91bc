"""Rows of new users and items in a fitted Gaussian model."""
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import torch

from sklrec._solvers.least_squares.biases import Log
from sklrec._solvers.least_squares.gaussian_rows import activity, row_equations
from sklrec._solvers.least_squares.packed import blocks, inverse, n_packed, pack, times, unpack
from sklrec._solvers.least_squares.rating_matrices import (
    Incidence,
    RatingMatrices,
    sparse_features,
)
from sklrec._solvers.tensors import InteractionTensors
from sklrec.modules import GaussianMatrixFactorization

SIDES = ("user", "item")


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
            if "context_values" in data.X:
                X = sparse_features(
                    data.X["context_values"][is_new],
                    data.X["context_weights"][is_new],
                    len(module.context_biases),
                )
                z = z - torch.from_numpy(X @ module.context_biases.cpu().numpy())
            columns = (
                codes[k][is_new] - n_known[k] - 1,
                codes[1 - k][is_new],
                z,
                data.weights[is_new],
            )
            log = Log(*(values.numpy() for values in columns))
            _solve(module, side, log, n_known[k] + 1)


def _solve(
    module: GaussianMatrixFactorization,
    side: str,
    log: Log,  # new rows from 0, and codes of their partners
    first: int,  # code of the first new row
) -> None:
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
    # Means and packed covariances of the terms of each row.
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
    found = module.means(side)
    table = getattr(module, f"{side}_covariances")
    for part in blocks(n, d, device):
        at = slice(first + part.start, first + part.stop)
        S = inverse(precision * unpack(G[part], d) + prior)
        right = precision * y[part] + centre[part] @ prior
        found[at] = times(S, right)
        of_prior = S @ prior
        of_terms = of_prior @ unpack(spread[part], d) @ of_prior.mT
        table[at] = pack(S + of_terms).float()
    module.set_means(side, found)
