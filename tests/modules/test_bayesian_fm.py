"""BayesianFactorizationMachine: means and spreads of its draws, written out and simulated."""
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import pytest
import torch
from scipy.special import ndtr
from torch.testing import assert_close

from sklrec.modules import BayesianFactorizationMachine

N_USERS, N_ITEMS, K, N_DRAWS = 3, 4, 2, 6
N_ROWS = {"user": N_USERS + 1, "item": N_ITEMS + 1}
SIZES = {"user": [3, 2], "item": [4], "context": [2, 3]}
STARS = torch.tensor([1.0, 2.0, 5.0])
losses = pytest.mark.parametrize("stars", [None, STARS], ids=["squared_error", "ordinal"])
USERS, ITEMS = torch.cartesian_prod(torch.arange(4), torch.arange(5)).T


def normal(generator, *shape):
    return 0.7 * torch.randn(*shape, generator=generator)


def make_module(stars=None, sides=SIZES, seed=0):
    """Make a module with random draws, and side features of the given sides."""
    generator = torch.Generator().manual_seed(seed)
    sizes = {side: SIZES[side] if side in sides else [] for side in SIZES}
    counts = {f"n_{side}_values": of_side for side, of_side in sizes.items()}
    module = BayesianFactorizationMachine(
        N_USERS, N_ITEMS, K, **counts, stars=stars, global_mean=3.0, scale=1.5
    )
    draws = {f"{side}s": normal(generator, N_DRAWS, n, K + 1) for side, n in N_ROWS.items()}
    draws["noise"] = torch.rand(N_DRAWS, generator=generator)
    for side in N_ROWS:
        roots = normal(generator, N_DRAWS, K + 1, K + 1)
        draws[f"{side}_covariances"] = roots @ roots.transpose(1, 2)
    for side, of_side in sizes.items():
        draws[f"{side}_values"] = normal(generator, N_DRAWS, sum(of_side), K + 1)
    if stars is not None:
        thresholds = normal(generator, N_DRAWS, len(stars) - 1).double()
        draws["thresholds"] = thresholds.sort(1).values
    module.set_draws(**draws)
    for side, n_rows in N_ROWS.items():
        if sizes[side]:
            module.set_features(side, *features(side, n_rows, generator))
    return module


def features(side, n_rows, generator):
    """Draw values and weights; the last column is padding."""
    values = torch.randint(sum(SIZES[side]), (n_rows, 3), generator=generator)
    weights = torch.rand(n_rows, 3, generator=generator)
    weights[:, -1] = 0
    return values, weights


def inputs_of(n=20):
    """Draw side features of the rows themselves."""
    generator, inputs = torch.Generator().manual_seed(1), {}
    for side in SIZES:
        inputs[f"{side}_values"], inputs[f"{side}_weights"] = features(side, n, generator)
    return inputs


def rows_of(module, side, codes, inputs):
    """Compute the rows of one side in each draw."""
    values, weights = (
        inputs.get(name, getattr(module, name)[codes * (side != "context")])
        for name in (f"{side}_values", f"{side}_weights")
    )
    table = getattr(module, f"{side}_value_draws").double()
    rows = torch.einsum("knvd,nv->knd", table[:, values], weights.double())
    if side != "context":
        rows = rows + getattr(module, f"{side}_draws")[:, codes].double()
    return rows.numpy()  # (n_draws, n, K + 1)


def centres_of(p, q, t):
    products = sum((a[..., :K] * b[..., :K]).sum(-1) for a, b in ((p, q), (p, t), (q, t)))
    return p[..., K] + q[..., K] + t[..., K] + products


def expected_moments(module, inputs):
    """Compute means and standard deviations of the ratings, and the stars' probabilities."""
    p, q, t = (
        rows_of(module, side, codes, inputs)
        for side, codes in (("user", USERS), ("item", ITEMS), ("context", USERS))
    )
    centres = centres_of(p, q, t)
    variance = np.zeros_like(centres)
    of_users, of_items = (
        c.double().numpy() for c in (module.user_covariances, module.item_covariances)
    )
    for n, (user, item) in enumerate(zip(USERS.tolist(), ITEMS.tolist(), strict=True)):
        for k in range(N_DRAWS):
            for code, partner, covariance in ((user, q, of_users), (item, p, of_items)):
                if code == 0:
                    feature = np.append((partner + t)[k, n, :K], 1)
                    variance[k, n] += feature @ covariance[k] @ feature
            if user == item == 0:
                variance[k, n] += np.trace(of_users[k, :K, :K] @ of_items[k, :K, :K])
    if module.stars is None:
        total = module.noise.double().numpy()[:, None] + variance
        std = np.sqrt(centres.var(0) + total.mean(0))
        return 3 + 1.5 * centres.mean(0), 1.5 * std, None
    off = module.threshold_draws.numpy()[:, None] - centres[..., None]
    below = ndtr(off / np.sqrt(1 + variance[..., None])).mean(0)
    chances = np.diff(np.pad(below, [(0, 0), (1, 1)], constant_values=(0, 1)))
    mean = chances @ STARS.numpy()
    return mean, np.sqrt(chances @ STARS.numpy() ** 2 - mean**2), chances


@losses
@pytest.mark.parametrize(
    ("sides", "inputs"),
    [([], {}), *(([side], {}) for side in SIZES), (SIZES, {}), (SIZES, inputs_of())],
    ids=["no features", *SIZES, "features of set_features", "features of the rows"],
)
def test_moments_and_all_pairs_are_those_of_the_draws(stars, sides, inputs):
    module = make_module(stars, sides)
    mean, std, chances = expected_moments(module, inputs)
    found = module.moments(USERS, ITEMS, **inputs)
    assert np.allclose(found[0], mean, atol=1e-5)
    assert np.allclose(found[1], std, atol=1e-5)
    assert torch.equal(module(USERS, ITEMS, **inputs), found[0])
    if stars is not None:
        probabilities = module.star_probabilities(USERS, ITEMS, **inputs)
        assert np.allclose(probabilities, chances, atol=1e-7)
        assert np.allclose(probabilities.sum(1), 1)
    if not inputs:
        pairs = module.all_pairs(torch.arange(4), torch.arange(5))
        assert_close(pairs.flatten(), found[0], atol=1e-5, rtol=0)


@losses
def test_moments_are_those_of_simulated_ratings(stars):
    module, rng, n = make_module(stars), np.random.default_rng(0), 100_000
    inputs = inputs_of(n=1)
    for user, item in [(1, 2), (0, 2), (1, 0), (0, 0)]:
        users, items, k = torch.tensor([user]), torch.tensor([item]), rng.integers(N_DRAWS, size=n)
        rows = []
        for side, codes in (("user", users), ("item", items), ("context", users)):
            row = rows_of(module, side, codes, inputs)[k, 0]
            if side != "context" and codes.item() == 0:
                roots = np.linalg.cholesky(getattr(module, f"{side}_covariances").numpy())
                row = row + (roots[k] @ rng.standard_normal((n, K + 1, 1)))[..., 0]
            rows.append(row)
        centres = centres_of(*rows)
        if stars is None:
            noise = rng.standard_normal(n) * np.sqrt(module.noise.numpy()[k])
            ratings = 3 + 1.5 * (centres + noise)
        else:
            latent = centres + rng.standard_normal(n)
            level = (latent[:, None] > module.threshold_draws.numpy()[k]).sum(1)
            ratings = stars.double().numpy()[level]
        mean, std = module.moments(users, items, **inputs)
        assert mean.item() == pytest.approx(ratings.mean(), abs=5 * ratings.std() / n**0.5)
        # The product of two unknown rows is not Gaussian, as star_probabilities assumes.
        rel = 0.04 if stars is not None and user == item == 0 else 0.015
        assert std.item() == pytest.approx(ratings.std(), rel=rel)


@pytest.mark.parametrize("sides", [SIZES, []], ids=["features", "no features"])
@pytest.mark.parametrize("features_first", [True, False])
def test_parameters_are_means_of_rows_with_their_features(features_first, sides):
    module = make_module(sides=sides)
    if features_first:
        draws = [module.user_draws, module.item_draws, module.noise]
        draws += [module.user_covariances, module.item_covariances]
        values = {f"{side}_values": getattr(module, f"{side}_value_draws") for side in SIZES}
        module.user_factors.weight.zero_()
        module.set_draws(*draws, **values)
    for side, n_rows in N_ROWS.items():
        mean = rows_of(module, side, torch.arange(n_rows), {}).mean(0)
        assert np.allclose(getattr(module, f"{side}_factors").weight, mean[:, :K], atol=1e-6)
        assert np.allclose(getattr(module, f"{side}_biases"), mean[:, K], atol=1e-6)


def test_new_module_has_no_draws_and_only_missing_values():
    module = BayesianFactorizationMachine(2, 3, 2, n_user_values=[2, 3], n_context_values=[4])
    assert module.user_values.tolist() == [[0, 2]] * 3
    assert module.user_weights.tolist() == [[1, 1]] * 3
    assert module.item_values.shape == (4, 0)
    assert module.context_values.tolist() == [[0]]
    assert module.groups == {"user": [(0, 2), (2, 5)], "item": [], "context": [(0, 4)]}
    assert module.n_draws == 0


@losses
def test_padding_and_other_rows_change_no_bit(stars):
    module, inputs, rows = make_module(stars), inputs_of(), torch.tensor([7, 3, 18])
    padded = {name: torch.nn.functional.pad(v, (5, 0))[rows] for name, v in inputs.items()}
    whole = module.moments(USERS, ITEMS, **inputs)
    some = module.moments(USERS[rows], ITEMS[rows], **padded)
    assert all(torch.equal(a, b[rows]) for a, b in zip(some, whole, strict=True))
