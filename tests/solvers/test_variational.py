"""Variational solver: its equations written out, precision, weights and interruption."""
# SPDX-License-Identifier: BSD-3-Clause

from dataclasses import replace

import numpy as np
import pytest
import torch

from sklrec._solvers import posterior as posteriors
from sklrec._solvers.tensors import InteractionTensors
from sklrec._solvers.variational import Posterior, VariationalSolver
from sklrec._utils.packed import pack, unpack
from sklrec.modules import GaussianMatrixFactorization

N_USERS, N_ITEMS, K = 12, 9, 3
RNG = np.random.default_rng(0)
USERS, ITEMS = RNG.integers(0, N_USERS, 80), RNG.integers(0, N_ITEMS, 80)
RATINGS, WEIGHTS = RNG.normal(size=80), RNG.uniform(0.5, 2, 80)


# A side feature of users with two values each, and two of ratings; value 0 is missing.
OF_USERS = RNG.integers(0, 4, (N_USERS, 2)), RNG.uniform(0, 1, (N_USERS, 2))
OF_RATINGS = np.stack([RNG.integers(0, 3, 80), 3 + USERS], 1), RNG.uniform(0.5, 1, (80, 2))


def data(sided=False):
    inputs = {"users": USERS + 1, "items": ITEMS + 1}
    if sided:
        inputs["context_values"], inputs["context_weights"] = OF_RATINGS
    return InteractionTensors(inputs, RATINGS, torch.from_numpy(WEIGHTS))


def new_module(svdpp=False, sided=False):
    sizes = {"n_user_values": [4], "n_context_values": [3, N_USERS]} if sided else {}
    module = GaussianMatrixFactorization(N_USERS, N_ITEMS, K, svdpp=svdpp, **sizes)
    if sided:
        of_users = (torch.from_numpy(v) for v in OF_USERS)
        module.set_features("user", torch.arange(1, N_USERS + 1), *of_users)
    return module


def new_posterior(svdpp=False, sided=False):
    generator = torch.Generator().manual_seed(0)
    return Posterior(new_module(svdpp, sided), data(sided), generator, is_new=True)


def equations(posterior, user):
    """Compute precision matrix and right side of a user's row, rating by rating."""
    items = posterior.rows[1]
    precision, right = np.zeros((K + 1, K + 1)), np.zeros(K + 1)
    for row in np.flatnonzero(USERS == user):
        mean = items.mean[ITEMS[row]].numpy()
        C = unpack(items.covariance, K + 1)[ITEMS[row]].numpy()
        x = np.r_[1, mean[1:]]
        M = np.outer(x, x)
        M[1:, 1:] += C[1:, 1:]
        precision += WEIGHTS[row] * M
        right += WEIGHTS[row] * (x * RATINGS[row] - x * mean[0] - np.r_[0, C[0, 1:]])
    return precision, right


def prior_means(posterior):
    """Compute the prior means of all users, which depend on the weights of their ratings."""
    counts = np.log(np.maximum(np.bincount(USERS, WEIGHTS, N_USERS), 1))
    means = (
        np.stack([np.ones(N_USERS), counts, counts**2], 1) @ posterior.rows[0].prior_mean.numpy()
    )
    return torch.as_tensor(means)


@pytest.mark.parametrize("svdpp", [False, True])
def test_expected_errors_are_those_of_simulated_rows(svdpp):
    posterior = new_posterior(svdpp)
    for _ in range(3):
        error = posterior.sweep()
    n, rng = 20_000, np.random.default_rng(1)
    rows = []
    for side in posterior.rows:
        roots = torch.linalg.cholesky(unpack(side.covariance, K + 1)).numpy()
        noise = rng.normal(size=(n, len(roots), K + 1, 1))
        rows.append(side.mean.numpy() + (roots @ noise)[..., 0])
    u, i = rows[0][:, USERS], rows[1][:, ITEMS]
    errors = RATINGS - u[..., 0] - i[..., 0] - (u[..., 1:] * i[..., 1:]).sum(-1)
    assert error == pytest.approx(np.average((errors**2).mean(0), weights=WEIGHTS), rel=0.01)


@pytest.mark.parametrize(("svdpp", "sided"), [(True, False), (False, True), (True, True)])
def test_terms_solve_their_equations(svdpp, sided):
    posterior = new_posterior(svdpp, sided)
    posterior.context = None
    posterior.sweep()
    terms = posterior.terms[0]
    n_terms, one = len(terms.mean), torch.ones(N_USERS, 1)
    B = terms.B.of_rows(torch.eye(n_terms).to(terms.mean)).numpy()
    assert n_terms == N_ITEMS * svdpp + 4 * sided
    G, y = zip(*(equations(posterior, user) for user in range(N_USERS)), strict=True)
    tau = posterior.precision * posterior.shares.numpy()
    A, b = tau[:, None, None] * np.stack(G), tau[:, None] * np.stack(y)
    L = torch.linalg.inv(posterior.rows[0].prior_covariance)
    m, priors = prior_means(posterior), [replace(prior) for prior in terms.priors]
    S = np.linalg.inv(A + L.numpy())
    reduced = L.numpy() - L.numpy() @ S @ L.numpy()
    pull = np.einsum("nij,nj->ni", L.numpy() @ S, b)
    pull -= np.einsum("nij,nj->ni", reduced, m.numpy())
    # One matrix for all terms, of (term, column) pairs.
    whole = np.einsum("ua,uij,ub->aibj", B, reduced, B)
    right = B.T @ pull
    for prior in priors:
        for k in range(prior.group.start, prior.group.stop):
            whole[k, :, k] += prior.precision.numpy()
            right[k] += (prior.precision @ prior.mean).numpy()
    n = n_terms * (K + 1)
    expected = np.linalg.solve(whole.reshape(n, n), right.ravel()).reshape(n_terms, K + 1)
    for _ in range(12):  # each call runs a few steps of conjugate gradients
        terms.priors = [replace(prior) for prior in priors]
        covariance = posterior.rows[0].covariance.clone()
        h, _ = terms.update(pack(torch.tensor(A)), torch.tensor(b), one, L, m, covariance)
    assert np.allclose(terms.mean, expected, atol=1e-6)
    assert np.allclose(h, B @ expected, atol=1e-6)
    parts = sum(terms.sums(prior) for prior in priors)
    assert np.allclose(parts, B @ expected, atol=1e-6)


def test_biases_of_the_context_and_rows_of_users_are_solved_jointly():
    posterior = new_posterior(sided=True)
    for _ in range(3):
        posterior.sweep()
    posterior._update(1)
    posterior.terms[0] = None  # users without side features
    context, items = posterior.context, posterior.rows[1]
    X = context.B.weights.to_dense().numpy()
    prior = torch.linalg.inv(posterior.rows[0].prior_covariance).numpy()
    variances, centres = list(context.prior_variances), prior_means(posterior).numpy()
    centre = posterior.rows[0].prior_mean.clone()
    covariance = posterior.rows[0].prior_covariance.clone()
    tau = posterior.precision * posterior.shares.numpy()
    # One matrix for the rows of all users and all biases.
    d, n = K + 1, N_USERS * (K + 1)
    whole = np.zeros((n + X.shape[1], n + X.shape[1]))
    right = np.zeros(len(whole))
    for user in range(N_USERS):
        G, y = equations(posterior, user)
        at = slice(user * d, user * d + d)
        whole[at, at] = tau[user] * G + prior
        right[at] = tau[user] * y + prior @ centres[user]
    x = items.mean[ITEMS].numpy()
    for row, user in enumerate(USERS):
        weight, of_row = tau[user] * WEIGHTS[row], np.r_[1, x[row, 1:]]
        at = slice(user * d, user * d + d)
        mixed = weight * np.outer(of_row, X[row])
        whole[at, n:] += mixed
        whole[n:, at] += mixed.T
        whole[n:, n:] += weight * np.outer(X[row], X[row])
        right[n:] += weight * X[row] * (RATINGS[row] - x[row, 0])
    of_biases = np.repeat([1 / v for v in variances], [3, N_USERS])
    whole[n:, n:] += np.diag(of_biases)
    expected = np.linalg.solve(whole, right)
    for _ in range(40):
        context.prior_variances = list(variances)
        posterior.rows[0].prior_mean = centre.clone()
        posterior.rows[0].prior_covariance = covariance.clone()
        posterior._update(0)
    assert np.allclose(context.mean, expected[n:], atol=1e-6)
    assert np.allclose(posterior.rows[0].mean.numpy().ravel(), expected[:n], atol=1e-6)
    # The variances take account of the users: the second side feature is the user's.
    exact = np.diag(np.linalg.inv(whole))[n:]
    assert (context.variance.numpy() <= exact * 1.001).all()
    assert context.variance.numpy()[3:] == pytest.approx(exact[3:], rel=0.5)


@pytest.mark.parametrize(("svdpp", "sided"), [(False, False), (True, False), (True, True)])
def test_float32_is_close_to_float64(svdpp, sided, monkeypatch):
    found = []
    for small in (0, 10**9):
        monkeypatch.setattr(posteriors, "SMALL", small)
        module, generator = new_module(svdpp, sided), torch.Generator().manual_seed(0)
        VariationalSolver(10, 0.0).train(module, data(sided), None, generator)
        found.append(module(torch.tensor(USERS) + 1, torch.tensor(ITEMS) + 1))
    assert torch.allclose(*found, atol=1e-3)
    assert not torch.equal(*found)


@pytest.mark.parametrize(("svdpp", "sided"), [(False, False), (True, False), (True, True)])
def test_blocks_of_rows_give_the_same_result(svdpp, sided, monkeypatch):
    found = []
    for at_once in (2**22, 30):
        monkeypatch.setattr(posteriors, "NUMBERS_AT_ONCE", at_once)
        for name in ("NUMBERS_AT_ONCE", "GATHERED_AT_ONCE"):
            monkeypatch.setattr(f"sklrec._utils.packed.{name}", at_once)
        module, generator = new_module(svdpp, sided), torch.Generator().manual_seed(0)
        VariationalSolver(5, 0.0).train(module, data(sided), None, generator)
        found.append(torch.cat([values.flatten().double() for values in module.buffers()]))
    assert torch.allclose(*found)
