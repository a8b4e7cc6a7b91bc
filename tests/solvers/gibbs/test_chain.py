"""Markov chain and priors: draws have their posterior distribution."""
# SPDX-License-Identifier: BSD-3-Clause

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.stats import wishart

import sklrec._solvers.gibbs.chain as chain_module
from sklrec._solvers.gibbs.chain import Chain
from sklrec._solvers.gibbs.likelihoods import GaussianNoise
from sklrec._solvers.gibbs.prior import Prior
from sklrec._solvers.gibbs.rescaling import rescale, stretched, sums
from sklrec._solvers.gibbs.side_values import contexts_of, features_of
from sklrec._solvers.gibbs.tables import Ratings, Tables
from sklrec._solvers.tensors import InteractionTensors
from sklrec.modules import BayesianFactorizationMachine, MatrixFactorization

N_USERS, N_ITEMS, K, N = 4, 3, 2, 9
SIZES = {"user": [2, 3], "item": [3], "context": [3, 2]}


def test_priors_are_normal_wishart_given_the_rows():
    rng, d = np.random.default_rng(0), 2
    rows = rng.normal(size=(5, d)) * [1, 3] + [2, 0]
    draws = [Prior.draw(torch.from_numpy(rows), rng) for _ in range(5000)]
    n, mean = len(rows), rows.mean(0)
    centred = rows - mean
    scatter = np.eye(d) + centred.T @ centred + n / (1 + n) * np.outer(mean, mean)
    exact = wishart(d + n, np.linalg.inv(scatter))
    precisions = np.array([draw.precision for draw in draws])
    deviation = np.sqrt(exact.var())
    assert np.allclose(precisions.mean(0), exact.mean(), atol=5 * deviation.max() / 5000**0.5)
    assert np.allclose(precisions.std(0), deviation, rtol=0.1)
    # Each mean, whitened by its own precision, is standard Gaussian.
    off = np.array([draw.mean for draw in draws]) - n / (1 + n) * mean
    roots = np.linalg.cholesky((1 + n) * precisions)
    white = np.einsum("kij,ki->kj", roots, off)
    assert np.allclose(white.mean(0), 0, atol=0.07)
    assert np.allclose(np.cov(white.T), np.eye(d), atol=0.08)


def test_noise_has_its_posterior_distribution():
    rng = np.random.default_rng(0)
    users = torch.from_numpy(np.repeat([1, 2], [25, 15]))
    values = torch.from_numpy(rng.normal(size=40) * np.where(users == 1, 1, 2))
    weights = torch.rand(40, generator=torch.Generator().manual_seed(0)) + 0.5
    weights /= weights.mean()
    inputs = {"users": users, "items": torch.ones_like(users), "sample_weight": weights}
    noise = GaussianNoise(
        Ratings(MatrixFactorization(3, 1, 2), InteractionTensors(inputs, values))
    )
    predictions = torch.full((40,), 0.3)
    squares = np.asarray((values - 0.3) ** 2)
    expected = np.average(squares, weights=weights)
    assert noise.draw(predictions, rng) == pytest.approx(expected, rel=1e-5)
    draws = []
    for _ in range(6000):
        noise.draw(predictions, rng)
        draws.append([np.log(noise.precision), *np.log(noise.shares[1:])])
    draws = np.array(draws)
    # The posterior of the common precision on a grid, with the users' shares integrated out.
    totals = [np.sum((np.asarray(weights) * squares)[users == user]) for user in (1, 2)]
    grid = np.linspace(-3, 3, 1201)
    log_density = grid / 2 - np.exp(grid) / 2  # the prior of the logarithm
    for n, total in zip((25, 15), totals, strict=True):
        log_density += n / 2 * grid - (4 + n) / 2 * np.log((4 + np.exp(grid) * total) / 2)
    density = np.exp(log_density - log_density.max())
    density /= density.sum()
    mean = density @ grid
    deviation = np.sqrt(density @ (grid - mean) ** 2)
    assert draws[:, 0].mean() == pytest.approx(mean, abs=0.15 * deviation)
    assert draws[:, 0].std() == pytest.approx(deviation, rel=0.15)
    # User 3 has no rating, and so the prior's share.
    own = np.exp(draws[:, 3])
    assert own.mean() == pytest.approx(1, rel=0.05)
    assert own.std() == pytest.approx(0.5**0.5, rel=0.06)
    assert draws[:, 1].mean() > draws[:, 2].mean() + 0.3
    state = noise.state()
    assert state["noise"].item() == pytest.approx(1 / noise.precision)
    assert state["user_noise"][1:].numpy() == pytest.approx(1 / noise.shares[1:])
    assert state["user_noise"][0] == 2
    shares = noise.shares[users.numpy()] * weights.numpy()
    assert noise.weights.numpy() == pytest.approx(shares, rel=1e-5)


def test_stretching_preserves_the_joint_distribution():
    rng = np.random.default_rng(0)
    n, d = 6, 2
    root = rng.normal(size=(n, d, 3))
    precisions = torch.from_numpy(0.3 * root @ root.transpose(0, 2, 1))
    roots = torch.linalg.cholesky(precisions)
    before, after, moved = [], [], 0
    for _ in range(4000):
        precision = wishart(d, np.eye(d)).rvs(random_state=rng)
        covariance = np.linalg.inv(precision)
        prior = Prior(rng.multivariate_normal(np.zeros(d), covariance), precision)
        rows = torch.from_numpy(rng.multivariate_normal(prior.mean, covariance, size=n))
        noise = torch.from_numpy(rng.standard_normal((n, d, 1)))
        pulls = (precisions @ rows.unsqueeze(2) + roots @ noise).squeeze(2)
        by = rescale(*sums(rows, precisions, pulls), prior, rng)
        moved += (by != 1).mean()
        for results, factor, of_prior in ((before, 1, prior), (after, by, stretched(prior, by))):
            sizes = np.log(np.abs(rows.numpy() * factor)).mean(0)
            results.append([*sizes, *np.log(np.diag(of_prior.precision))])
    before, after = np.array(before), np.array(after)
    assert moved / 4000 > 0.3
    error = before.std(0) / 4000**0.5
    assert np.abs((after.mean(0) - before.mean(0)) / error).max() < 4
    assert after.std(0) == pytest.approx(before.std(0), rel=0.06)


def machine(sides):
    """Make a module with features of these sides, and ratings for it."""
    rng = np.random.default_rng(3)
    sizes = {side: SIZES[side] if side in sides else [] for side in SIZES}
    counts = {f"n_{side}_values": of_side for side, of_side in sizes.items()}
    module = BayesianFactorizationMachine(N_USERS, N_ITEMS, K, **counts)
    inputs = {
        "users": torch.from_numpy(rng.integers(1, N_USERS, N)),  # user N_USERS has no rating
        "items": torch.from_numpy(rng.integers(1, N_ITEMS + 1, N)),
    }
    for side, n_rows in (("user", N_USERS + 1), ("item", N_ITEMS + 1), ("context", N)):
        groups = module.groups[side]
        values = [rng.integers(a, b, n_rows) for a, b in groups]
        values = torch.from_numpy(np.array(values).reshape(len(groups), n_rows).T.copy())
        weights = torch.from_numpy(rng.uniform(0.5, 1, values.shape).astype(np.float32))
        if side == "context":
            inputs |= {"context_values": values, "context_weights": weights}
        else:
            module.set_features(side, values, weights)
    return module, InteractionTensors(inputs, torch.zeros(N), torch.ones(N))


def start(module, data, svdpp):
    """Make a chain whose noise has the fixed precision 2."""
    others, of_contexts = contexts_of(module, data)
    ratings = Ratings(module, data, others)
    likelihood = SimpleNamespace(
        precision=2.0,
        targets=None,
        weights=None,
        draw=lambda predictions, rng: 0.0,
        state=lambda: {"noise": torch.tensor(0.5)},
    )
    features, generator = features_of(module) | of_contexts, torch.Generator().manual_seed(0)
    return Chain(ratings, Tables.of_module(module), likelihood, generator, svdpp, features)


def draw_from_the_prior(chain, mean, precision):
    root = torch.from_numpy(np.linalg.cholesky(np.linalg.inv(precision))).float()
    generator = torch.Generator().manual_seed(2)

    def drawn(like):
        noise = torch.randn(like.shape, generator=generator)
        return torch.from_numpy(mean).float() + noise @ root.T

    for name, side in chain.sides.items():
        side.own = None if side.own is None else drawn(side.own)
        if side.shared is not None:
            side.terms = drawn(side.terms)
            side.expanded = side.shared.expand(side.terms)
        chain.tables = chain.tables.with_rows(name, side.table)


def state_of(chain):
    parts = [side.own[1:] for side in chain.sides.values() if side.own is not None]
    return torch.cat([*parts, *(side.terms for side in chain.sides.values())]).numpy().copy()


@pytest.mark.parametrize(("sides", "svdpp"), [([], False), (SIZES, True)], ids=["ids", "all"])
def test_sweeps_preserve_the_joint_distribution(sides, svdpp, monkeypatch):
    """With new ratings simulated from each state, the states keep their prior distribution."""
    mean, precision = np.array([0.3, -0.2, 0.5]), np.diag([4.0, 5.0, 3.0]) + 0.5
    monkeypatch.setattr(Prior, "draw", lambda table, rng: Prior(mean, precision))
    monkeypatch.setattr(chain_module, "N_STEPS", 27)  # solves for so few terms exactly
    # rescale() changes priors too; it has its own test.
    monkeypatch.setattr(chain_module, "rescale", lambda *args: np.ones(3))
    module, data = machine(sides)
    weights = torch.from_numpy(np.random.default_rng(5).uniform(0.5, 2, N).astype(np.float32))
    data.X["sample_weight"] = weights
    chain = start(module, data, svdpp)
    generator = torch.Generator().manual_seed(1)
    states = []
    draw_from_the_prior(chain, mean, precision)
    for _ in range(850):
        predictions = chain.tables.predict(chain.ratings.codes)
        noise = torch.randn(N, generator=generator) / (2.0 * weights).sqrt()
        chain.likelihood.targets = predictions + noise
        chain._follow_likelihood()
        chain.sweep()
        states.append(state_of(chain))
    white = (np.array(states[50:]) - mean) @ np.linalg.cholesky(precision)
    squares = np.einsum("sri,srj->sij", white, white) / white.shape[1] - np.eye(3)
    for errors in (white.mean(1), squares):  # one value for each sweep
        batches = errors.reshape(16, 50, *errors.shape[1:]).mean(1)
        assert np.abs(batches.mean(0) / (batches.std(0) / 16**0.5)).max() < 4
    assert np.abs(squares.mean(0)).max() < 0.2


@pytest.mark.parametrize("svdpp", [False, True])
def test_module_with_the_state_of_a_chain_predicts_the_same(svdpp):
    module, data = machine(SIZES)
    data.y = torch.randn(N, generator=torch.Generator().manual_seed(0))
    chain = start(module, data, svdpp)
    for _ in range(3):
        chain.sweep()
    module.set_draws(**{name: value.unsqueeze(0) for name, value in chain.state().items()})
    inputs = {name: v for name, v in data.X.items() if name != "sample_weight"}
    expected = chain.tables.predict(chain.ratings.codes)
    assert torch.allclose(module(**inputs), expected.double(), atol=1e-5)


def test_equal_contexts_share_a_code():
    module, _ = machine(["context"])
    values = torch.tensor([[0, 3], [1, 4], [0, 3], [0, 4]])
    weights = torch.tensor([[1.0, 0.5], [1.0, 1.0], [1.0, 0.5], [1.0, 0.5]])
    inputs = {"context_values": values, "context_weights": weights}
    codes, features = contexts_of(module, InteractionTensors(inputs))
    codes, found = codes["context"].numpy(), features["context"]
    assert codes[0] == codes[2]
    assert len(set(codes)) == 3
    assert found.weights.shape == (3, 5)
    dense = np.zeros((4, 5))
    np.add.at(dense, (np.arange(4)[:, None], values.numpy()), weights.numpy())
    assert np.allclose(found.weights.toarray()[codes], dense)
    assert found.groups == [(0, 3), (3, 5)]
    assert contexts_of(machine([])[0], InteractionTensors(inputs)) == ({}, {})
