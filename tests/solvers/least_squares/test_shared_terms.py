"""Terms that rows share, their solution and their joint draw, against dense matrices."""
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from sklrec._solvers.least_squares.shared_terms import SharedTerms, conjugate_gradients, met

N_ROWS, N_PARTNERS, D = 6, 4, 3
GROUPS = {"one": None, "two": [(0, 1), (1, N_PARTNERS)]}


def pairs(seed=0):
    rng = np.random.default_rng(seed)
    there = rng.random((N_ROWS, N_PARTNERS)) < 0.6
    there[0] = False
    return np.nonzero(there), there / np.maximum(1, there.sum(1, keepdims=True)) ** 0.5


def problem(seed=1):
    """Gram products and residuals of rows, and weights that are not all alike."""
    rng = np.random.default_rng(seed)
    weights = pairs()[1] * rng.uniform(0.5, 1.5, (N_ROWS, N_PARTNERS))
    roots = rng.normal(size=(N_ROWS, D, 5))
    return weights, roots @ roots.transpose(0, 2, 1), rng.normal(size=(N_ROWS, D))


def gram(weights, grams):
    """Nᵀ G N as a dense matrix: rows and columns term by term."""
    return sum(np.kron(np.outer(w, w), g) for w, g in zip(weights, grams, strict=True))


def shared(weights, groups=None):
    return SharedTerms(csr_array(weights.astype(np.float32)), groups)


def tensors(*arrays):
    return [torch.from_numpy(array.astype(np.float32)) for array in arrays]


def test_whom_rows_met_is_weighed_by_the_root_of_the_number():
    (rows, partners), spread = pairs()
    found = met(rows, partners, N_ROWS, N_PARTNERS)
    assert found.dtype == np.float32
    assert np.allclose(found.toarray(), spread)
    twice = met(np.array([1, 1]), np.array([2, 2]), 3, 4).toarray()
    assert twice[1, 2] == pytest.approx(2 / 2**0.5)


def test_rows_are_sums_of_their_terms():
    weights = problem()[0]
    table = torch.randn(N_PARTNERS, D, generator=torch.Generator().manual_seed(0))
    assert np.allclose(shared(weights).expand(table), weights @ table.numpy(), atol=1e-5)


@pytest.mark.parametrize("groups", GROUPS)
def test_joint_draws_have_the_mean_and_the_covariance_of_the_posterior(groups):
    weights, grams, residuals = problem()
    groups, alpha = GROUPS[groups], 0.7
    rng = np.random.default_rng(2)
    priors, of_term = [], []
    for first, last in groups or [(0, N_PARTNERS)]:
        root = rng.normal(size=(D, D))
        priors.append((rng.normal(size=D), np.diag([1.0, 2.0, 3.0]) + root @ root.T))
        of_term += [priors[-1]] * (last - first)
    precision = alpha * gram(weights, grams)
    right = alpha * weights.T @ residuals
    for term, (mean, of_prior) in enumerate(of_term):
        own = slice(term * D, (term + 1) * D)
        precision[own, own] += of_prior
        right[term] += of_prior @ mean
    covariance = np.linalg.inv(precision)

    terms = shared(weights, groups)
    arguments, priors = tensors(grams, residuals), [tensors(*prior) for prior in priors]
    generator, start = torch.Generator().manual_seed(0), torch.zeros(N_PARTNERS, D)
    n = 2000
    draws = np.stack(
        [
            terms.draw(*arguments, alpha, priors, start, generator, n_steps=12).numpy().ravel()
            for _ in range(n)
        ]
    )
    deviation = np.sqrt(np.diag(covariance))
    assert np.allclose(
        draws.mean(0), covariance @ right.ravel(), atol=4 * deviation.max() / n**0.5
    )
    assert np.allclose(np.cov(draws.T), covariance, atol=0.11 * deviation.max() ** 2)


def test_each_group_has_a_prior_of_its_own():
    weights, grams, residuals = problem()
    mean, precision = tensors(np.ones(D), 1e8 * np.eye(D))
    terms = shared(weights, GROUPS["two"])
    draw = terms.draw(
        *tensors(0 * grams, 0 * residuals),
        1.0,
        [(-mean, precision), (mean, precision)],
        torch.zeros(N_PARTNERS, D),
        torch.Generator().manual_seed(0),
        n_steps=12,
    )
    assert np.allclose(draw, np.array([[-1], [1], [1], [1]]) * np.ones(D), atol=1e-3)


def test_solutions_are_those_of_ridge_regression():
    weights, grams, residuals = problem()
    weights[:, 3] = 0  # a term that no row has
    penalties = np.random.default_rng(3).uniform(0.5, 2, N_ROWS)
    of_term = penalties @ weights**2
    dense = gram(weights, grams) + np.kron(np.diag(of_term.clip(1e-6)), np.eye(D))
    best = np.linalg.solve(dense, (weights.T @ residuals).ravel()).reshape(N_PARTNERS, D)
    start = torch.zeros(N_PARTNERS, D)
    found = shared(weights).solve(*tensors(grams, residuals, penalties), start, n_steps=30)
    assert np.allclose(found, best, atol=1e-4)
    assert (found[3] == 0).all()
    assert np.abs(best[:3]).max() > 0.1


def test_conjugate_gradients_solve_and_stay_where_it_is_solved():
    rng = np.random.default_rng(0)
    root = torch.from_numpy(rng.normal(size=(8, 8)))
    matrix, right = root @ root.T + torch.eye(8), torch.from_numpy(rng.normal(size=8))
    exact = torch.linalg.solve(matrix, right)
    found = conjugate_gradients(lambda v: matrix @ v, right, right * 0, matrix.diagonal(), 30)
    assert torch.allclose(found, exact)
    again = conjugate_gradients(lambda v: matrix @ v, right, exact, matrix.diagonal(), 30)
    assert torch.allclose(again, exact)
