"""Implicit terms, and their joint draw, against dense matrices."""
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import torch

from sklrec._implicit import ImplicitTerms, conjugate_gradients

N_ROWS, N_PARTNERS, D = 6, 4, 3


def pairs(seed=0):
    rng = np.random.default_rng(seed)
    met = rng.random((N_ROWS, N_PARTNERS)) < 0.6
    met[0] = False
    return np.nonzero(met), met / np.maximum(1, met.sum(1, keepdims=True)) ** 0.5


def test_terms_are_sums_by_the_root_of_the_number():
    (rows, partners), spread = pairs()
    terms = ImplicitTerms(rows, partners, N_ROWS, N_PARTNERS)
    table = torch.randn(N_PARTNERS, D, generator=torch.Generator().manual_seed(0))
    assert np.allclose(terms.expand(table), spread @ table.numpy(), atol=1e-5)


def test_joint_draws_have_the_mean_and_the_covariance_of_the_posterior():
    (rows, partners), spread = pairs()
    rng = np.random.default_rng(1)
    roots = rng.normal(size=(N_ROWS, D, 5))
    grams = roots @ roots.transpose(0, 2, 1)
    residuals, mean = rng.normal(size=(N_ROWS, D)), rng.normal(size=D)
    prior, alpha = np.diag([1.0, 2.0, 3.0]) + 0.3, 0.7
    # rows and columns of the dense precision: partner by partner
    precision = np.kron(np.eye(N_PARTNERS), prior)
    for u in range(N_ROWS):
        precision += alpha * np.kron(np.outer(spread[u], spread[u]), grams[u])
    right = (alpha * spread.T @ residuals + prior @ mean).ravel()
    covariance = np.linalg.inv(precision)

    terms = ImplicitTerms(rows, partners, N_ROWS, N_PARTNERS)
    arguments = [torch.from_numpy(v.astype(np.float32)) for v in (grams, residuals)]
    priors = [torch.from_numpy(v.astype(np.float32)) for v in (mean, prior)]
    generator, start = torch.Generator().manual_seed(0), torch.zeros(N_PARTNERS, D)
    draws = np.stack(
        [
            terms.draw(*arguments, alpha, *priors, start, generator, n_steps=12).numpy().ravel()
            for _ in range(6000)
        ]
    )
    deviation = np.sqrt(np.diag(covariance))
    assert np.allclose(draws.mean(0), covariance @ right, atol=5 * deviation.max() / 6000**0.5)
    assert np.allclose(np.cov(draws.T), covariance, atol=0.06 * deviation.max() ** 2)


def test_conjugate_gradients_solve_and_stay_where_it_is_solved():
    rng = np.random.default_rng(0)
    root = torch.from_numpy(rng.normal(size=(8, 8)))
    matrix, right = root @ root.T + torch.eye(8), torch.from_numpy(rng.normal(size=8))
    exact = torch.linalg.solve(matrix, right)
    found = conjugate_gradients(lambda v: matrix @ v, right, right * 0, matrix.diagonal(), 30)
    assert torch.allclose(found, exact)
    again = conjugate_gradients(lambda v: matrix @ v, right, exact, matrix.diagonal(), 30)
    assert torch.allclose(again, exact)
