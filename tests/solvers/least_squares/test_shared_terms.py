"""Terms that rows share: their solution and their joint draw, against dense matrices."""
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from sklrec._solvers.least_squares.shared_terms import (
    SharedTerms,
    conjugate_gradients,
    cooccurrence_weights,
)

N_ROWS, N_TERMS, D = 6, 4, 3
GROUPS = {"one": None, "two": [(0, 1), (1, N_TERMS)]}


def problem():
    """Make weights, Gram products and residuals of rows; row 0 has no terms."""
    rng = np.random.default_rng(1)
    weights = rng.uniform(0.3, 1, (N_ROWS, N_TERMS)) * (rng.random((N_ROWS, N_TERMS)) < 0.6)
    weights[0] = 0
    roots = rng.normal(size=(N_ROWS, D, 5))
    return weights, roots @ roots.transpose(0, 2, 1), rng.normal(size=(N_ROWS, D))


def dense_gram(weights, grams):
    """Return Nᵀ G N as a dense matrix, whose rows and columns go term by term."""
    return sum(np.kron(np.outer(w, w), g) for w, g in zip(weights, grams, strict=True))


def shared(weights, groups=None):
    return SharedTerms(csr_array(weights.astype(np.float32)), groups)


def tensors(*arrays):
    return [torch.from_numpy(array.astype(np.float32)) for array in arrays]


def test_cooccurrence_weights_are_divided_by_the_root_of_the_number():
    rows, partners = np.array([1, 1, 2, 2, 2]), np.array([2, 2, 0, 1, 3])
    found = cooccurrence_weights(rows, partners, 3, 4)
    assert found.dtype == np.float32
    third = 3**-0.5
    expected = [[0, 0, 0, 0], [0, 0, 2**0.5, 0], [third, third, 0, third]]
    assert np.allclose(found.toarray(), expected)


@pytest.mark.parametrize("groups", GROUPS.values(), ids=GROUPS)
def test_joint_draws_have_the_mean_and_the_covariance_of_the_posterior(groups):
    weights, grams, residuals = problem()
    rng, alpha = np.random.default_rng(2), 0.7
    priors, of_terms = [], []
    for first, last in groups or [(0, N_TERMS)]:
        root = rng.normal(size=(D, D))
        priors.append((rng.normal(size=D), np.diag([1.0, 2.0, 3.0]) + root @ root.T))
        of_terms += [priors[-1]] * (last - first)
    precision = alpha * dense_gram(weights, grams)
    right = alpha * weights.T @ residuals
    for term, (mean, of_prior) in enumerate(of_terms):
        own = slice(term * D, (term + 1) * D)
        precision[own, own] += of_prior
        right[term] += of_prior @ mean
    covariance, n = np.linalg.inv(precision), 2000

    terms = shared(weights, groups)
    arguments, priors = tensors(grams, residuals), [tensors(*prior) for prior in priors]
    generator, start = torch.Generator().manual_seed(0), torch.zeros(N_TERMS, D)
    draws = [terms.draw(*arguments, alpha, priors, start, generator, n_steps=12) for _ in range(n)]
    draws = torch.stack(draws).flatten(1).numpy()
    deviation = np.sqrt(np.diag(covariance)).max()
    assert np.allclose(draws.mean(0), covariance @ right.ravel(), atol=4 * deviation / n**0.5)
    assert np.allclose(np.cov(draws.T), covariance, atol=0.11 * deviation**2)


def test_solutions_are_those_of_ridge_regression():
    weights, grams, residuals = problem()
    weights[:, 3] = 0  # a term that no row has
    penalties = np.random.default_rng(3).uniform(0.5, 2, N_ROWS)
    of_terms = (penalties @ weights**2).clip(1e-6)
    dense = dense_gram(weights, grams) + np.kron(np.diag(of_terms), np.eye(D))
    best = np.linalg.solve(dense, (weights.T @ residuals).ravel()).reshape(N_TERMS, D)
    start = torch.zeros(N_TERMS, D)
    found = shared(weights).solve(*tensors(grams, residuals, penalties), start, n_steps=30)
    assert np.allclose(found, best, atol=1e-4)
    assert (found[3] == 0).all()
    assert np.abs(best[:3]).max() > 0.1


def test_conjugate_gradients_solve_and_stay_at_the_solution():
    rng = np.random.default_rng(0)
    root = torch.from_numpy(rng.normal(size=(8, 8)))
    matrix, right = root @ root.T + torch.eye(8), torch.from_numpy(rng.normal(size=8))
    exact = torch.linalg.solve(matrix, right)
    for start in (right * 0, exact):
        found = conjugate_gradients(lambda v: matrix @ v, right, start, matrix.diagonal(), 30)
        assert torch.allclose(found, exact)
