"""Rescaling of whole columns of factors together with their prior."""
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import torch
from torch import Tensor

from sklrec._solvers.gibbs.prior import Prior


def rescale(
    squares: Tensor,  # (n_columns, n_columns), sums of x_j G_jk x_k over rows x
    products: Tensor,  # (n_columns,), sums of x_k times the moments of the row
    prior: Prior,
    rng: np.random.Generator,
) -> np.ndarray:
    """Draw positive factors for the columns of some rows and of their prior (Liu and Sabatti 2000,
    doi:10.1093/biomet/87.2.353)."""
    # With few ratings per row, rows and their prior move only together: drawn in turns, both
    # take hundreds of sweeps. For each column a factor is drawn from the Gaussian of the ratings
    # and accepted or not by the hyperprior.
    curvature, slope = squares.double().cpu().numpy(), products.double().cpu().numpy()
    d = len(slope)
    factors = np.ones(d)
    for k in range(d):
        if not curvature[k, k] > 0:
            continue
        rest = curvature[k] @ factors - curvature[k, k] * factors[k]
        mean = (slope[k] - rest) / curvature[k, k]
        drawn = mean + rng.standard_normal() / np.sqrt(curvature[k, k])
        if drawn <= 0:
            continue
        # Terms of the rows and of the prior's mean cancel. The Wishart density and the change of
        # volume are left.
        change = -(d + 1) * np.log(drawn) - prior.precision[k, k] / 2 * (1 / drawn**2 - 1)
        if np.log(rng.random()) < change:
            factors[k] = drawn
    return factors


def stretched(prior: Prior, by: np.ndarray) -> Prior:
    """Multiply the columns of a prior."""
    return Prior(by * prior.mean, prior.precision / np.outer(by, by))


def sums(rows: Tensor, precisions: Tensor, pulls: Tensor) -> tuple[Tensor, Tensor]:
    """Sum over rows what `rescale` reads."""
    return torch.einsum("nij,ni,nj->ij", precisions, rows, rows), (pulls * rows).sum(0)
