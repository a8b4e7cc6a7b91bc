"""Rows of new users and items in a fitted Gaussian model."""
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import torch

from sklrec._solvers.least_squares.biases import Log
from sklrec._solvers.least_squares.gaussian_rows import row_equations
from sklrec._solvers.least_squares.packed import blocks, inverse, pack, unpack
from sklrec._solvers.least_squares.rating_matrices import rating_matrices
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
    (matrices, _), incidences = rating_matrices(
        log, shape, np.float64, device, max(1, 2**20 // d**2), module.svdpp
    )
    shares = None if side == "user" else 1 / module.user_noise.double()
    covariances = getattr(module, f"{other}_covariances").double()
    G, y, _ = row_equations(matrices, means, covariances, shares)
    precision = 1 / module.residual_variance
    if side == "user":
        precision = precision / module.user_noise[0].double()
    prior = torch.linalg.inv(unpack(getattr(module, f"{side}_prior_covariance"), d))
    centre = getattr(module, f"{side}_prior_mean").expand(n, d)
    spread = torch.zeros(d, d, dtype=torch.float64, device=device)
    if module.svdpp:
        centre = centre + incidences[0].shares @ getattr(module, f"{side}_terms").double()
        spread = unpack(getattr(module, f"{side}_term_covariance").double(), d)
    found = module.means(side)
    table = getattr(module, f"{side}_covariances")
    for part in blocks(n, d, device):
        at = slice(first + part.start, first + part.stop)
        S = inverse(precision * unpack(G[part], d) + prior)
        right = precision * y[part] + centre[part] @ prior
        found[at] = torch.bmm(S, right.unsqueeze(2)).squeeze(2)
        of_prior = S @ prior
        table[at] = pack(S + of_prior @ spread @ of_prior.mT).float()
    module.set_means(side, found)
