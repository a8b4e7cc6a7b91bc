"""Rows for users or items that are new, with all others held as they are."""
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import torch

from sklrec._normal_equations import RatingsByRow, solve, solve_penalised, times
from sklrec._solvers._likelihoods import draw_shares
from sklrec._solvers._sweeps import Tables
from sklrec.modules import BayesianMatrixFactorization, MatrixFactorization


@torch.no_grad()
def fold_in(
    module: MatrixFactorization,
    side: str,
    ratings: RatingsByRow,
    alpha: float,
) -> torch.Tensor:
    """Solve for the new rows of one side.

    Parameters
    ----------
    module : MatrixFactorization
        The module, without the new rows.
    side : {'user', 'item'}
        The side that has new rows.
    ratings : RatingsByRow
        Their ratings, on a device with float64; new rows count from 0.
    alpha : float
        L2 penalty on factors and biases, once for each rating.

    Returns
    -------
    Tensor of shape (n_new, n_columns)
        Factors and, in the last column, biases.
    """
    device = ratings.total_weight.device
    partners = Tables.of_module(module)["item" if side == "user" else "user"].to(device)
    terms = getattr(module, f"{side}_terms", None)
    shape = ratings.n_rows, ratings.n_columns
    known = partners.new_zeros(shape) if terms is None else ratings.terms(terms.to(device))
    found = partners.new_empty(shape)
    for rows, grams, moments in ratings.equations(partners):
        left = moments - times(grams, known[rows])
        penalties = alpha * ratings.total_weight[rows]
        found[rows] = known[rows] + solve_penalised(grams, left, penalties)
    return found


@torch.no_grad()
def fold_in_draws(
    module: BayesianMatrixFactorization,
    side: str,
    ratings: RatingsByRow,
    codes: dict[str, torch.Tensor],
    values: torch.Tensor,
    weights: torch.Tensor,
    generator: torch.Generator,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Draw the new rows of one side, given each draw of all else.

    Parameters
    ----------
    module : BayesianMatrixFactorization
        The module, without the new rows.
    side : {'user', 'item'}
        The side that has new rows.
    ratings : RatingsByRow
        Their ratings; new rows count from 0.
    codes : dict of str to Tensor of shape (n_ratings,)
        The ratings' users and items; new rows count from 0.
    values : Tensor of shape (n_ratings,)
        The ratings, in units of ``scale``.
    weights : Tensor of shape (n_ratings,)
        The ratings' weights.
    generator : torch.Generator
        Source of the draws.

    Returns
    -------
    rows : Tensor of shape (n_draws, n_new, n_columns)
        Factors and, in the last column, biases.
    user_noise : Tensor of shape (n_draws, n_new) or None
        What the noise is multiplied by for each new user, if users have noise of their own.
    """
    own, other = getattr(module, f"{side}_draws"), "item" if side == "user" else "user"
    partners = getattr(module, f"{other}_draws")
    found = own.new_empty(module.n_draws, ratings.n_rows, ratings.n_columns)
    terms, noise = getattr(module, f"{side}_terms"), module.user_noise
    priors = getattr(module, f"{side}_priors")
    if priors is None:
        priors = torch.cat([own[:, :1], getattr(module, f"{side}_covariances")], 1)
    moody = side == "user" and noise is not None
    new_noise = own.new_ones(module.n_draws, ratings.n_rows) if moody else None
    rng = np.random.default_rng(generator.initial_seed())
    places = codes[side].cpu().numpy()
    counts = np.bincount(places, minlength=ratings.n_rows)
    for k in range(module.n_draws):
        known = own.new_zeros(found.shape[1:]) if terms is None else ratings.terms(terms[k])
        prior = torch.linalg.inv(priors[k, 1:].double())
        shift = prior @ priors[k, 0].double()
        ratings.set_weights(weights)
        if side == "item" and noise is not None:
            ratings.set_weights(weights / noise[k, codes["user"]])
        # New users are at first as moody as all; then what their ratings say is known.
        for _ in range(2 if moody else 1):
            for rows, grams, moments in ratings.equations(partners[k]):
                precisions = grams.double() / module.noise[k] + prior
                left = moments - times(grams, known[rows])
                right = left.double() / module.noise[k] + shift
                draws = solve(precisions, right, generator)[1]
                assert draws is not None
                found[k, rows] = draws + known[rows]
            if new_noise is not None:
                tables = Tables({side: found[k], other: partners[k]}, module.biased)
                errors = (values - tables.predict(codes)).square() * weights / module.noise[k]
                squares = np.bincount(places, errors.cpu().numpy(), minlength=ratings.n_rows)
                shares = torch.from_numpy(draw_shares(counts, squares, rng)).to(own)
                new_noise[k] = 1 / shares
                ratings.set_weights(weights * shares[codes[side]])
    return found, new_noise
