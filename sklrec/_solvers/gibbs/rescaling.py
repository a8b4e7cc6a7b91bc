"""Stretching whole columns of factors together with their prior."""
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import torch
from torch import Tensor

from sklrec._solvers.gibbs.prior import Prior


def rescale(
    squares: Tensor, products: Tensor, prior: Prior, rng: np.random.Generator
) -> np.ndarray:
    r"""Draw what the columns of some rows, and of their prior, are multiplied by.

    With a dozen ratings a row hardly tells how far it is spread, and its prior hardly moves where
    the rows do not: drawn in turns, both take hundreds of sweeps. This moves them together. For
    each column in turn a factor is drawn from what the ratings say, a Gaussian, and accepted or
    not by what the prior of the prior says.

    Parameters
    ----------
    squares : Tensor of shape (n_columns, n_columns)
        Sums over the rows :math:`x` of :math:`x_j G_{jk} x_k`, with the ratings' precision of each
        row :math:`G`.
    products : Tensor of shape (n_columns,)
        Sums of :math:`x_k` times what the ratings draw it to.
    prior : Prior
        The rows' prior.
    rng : numpy.random.Generator
        Source of the draws.

    Returns
    -------
    ndarray of shape (n_columns,)
        Positive numbers.

    References
    ----------
    Liu, Sabatti (2000), "Generalised Gibbs Sampler and Multigrid Monte Carlo for Bayesian
    Computation", :doi:`10.1093/biomet/87.2.353`.
    """
    curvature, slope = squares.double().cpu().numpy(), products.double().cpu().numpy()
    d = len(slope)
    found = np.ones(d)
    for k in range(d):
        if not curvature[k, k] > 0:
            continue
        rest = curvature[k] @ found - curvature[k, k] * found[k]
        mean = (slope[k] - rest) / curvature[k, k]
        drawn = mean + rng.standard_normal() / np.sqrt(curvature[k, k])
        if drawn <= 0:
            continue
        # Rows, their number and the prior's mean cancel; what is left is the Wishart density and
        # how volumes change.
        change = -(d + 1) * np.log(drawn) - prior.precision[k, k] / 2 * (1 / drawn**2 - 1)
        if np.log(rng.random()) < change:
            found[k] = drawn
    return found


def stretched(prior: Prior, by: np.ndarray) -> Prior:
    """Stretch a prior with its rows.

    Parameters
    ----------
    prior : Prior
        The prior.
    by : ndarray of shape (n_columns,)
        What the rows' columns were multiplied by.

    Returns
    -------
    Prior
        The prior of the stretched rows.
    """
    return Prior(by * prior.mean, prior.precision / np.outer(by, by))


def sums(rows: Tensor, precisions: Tensor, pulls: Tensor) -> tuple[Tensor, Tensor]:
    """Sum up over rows what `rescale` takes.

    Parameters
    ----------
    rows : Tensor of shape (n, n_columns)
        The rows.
    precisions : Tensor of shape (n, n_columns, n_columns)
        The ratings' precisions of each.
    pulls : Tensor of shape (n, n_columns)
        What the ratings draw each row to, times these.

    Returns
    -------
    squares : Tensor of shape (n_columns, n_columns)
        Sums of products, weighted by the precisions.
    products : Tensor of shape (n_columns,)
        Sums of products with the pulls.
    """
    return torch.einsum("nij,ni,nj->ij", precisions, rows, rows), (pulls * rows).sum(0)
