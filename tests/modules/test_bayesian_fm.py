"""BayesianFactorizationMachine: means, spreads and stars of its draws, written out."""
# SPDX-License-Identifier: BSD-3-Clause

import copy
import pickle

import numpy as np
import pytest
import torch
from scipy.special import ndtr

from sklrec.modules import BayesianFactorizationMachine, BayesianMatrixFactorization

N_USERS, N_ITEMS, K, N_DRAWS = 3, 4, 2, 6
SIZES = {"user": [3, 2], "item": [4], "context": [2, 3]}
STARS = torch.tensor([1.0, 2.0, 5.0])
losses = pytest.mark.parametrize("stars", [None, STARS], ids=["squared_error", "ordinal"])
USERS, ITEMS = (t.ravel() for t in torch.meshgrid(torch.arange(4), torch.arange(5), indexing="ij"))


def normal(generator, *shape):
    return 0.7 * torch.randn(*shape, generator=generator)


def module(stars=None, sizes=SIZES, seed=0):
    generator = torch.Generator().manual_seed(seed)
    made = BayesianFactorizationMachine(
        N_USERS,
        N_ITEMS,
        K,
        **{f"n_{side}_values": of_side for side, of_side in sizes.items()},
        stars=stars,
        global_mean=3.0,
        scale=1.5,
    )
    d = K + 1
    draws = {
        "users": normal(generator, N_DRAWS, N_USERS + 1, d),
        "items": normal(generator, N_DRAWS, N_ITEMS + 1, d),
        "noise": torch.rand(N_DRAWS, generator=generator),
    }
    for side in ("user", "item"):
        roots = normal(generator, N_DRAWS, d, d)
        draws[f"{side}_covariances"] = roots @ roots.transpose(1, 2)
    for side, of_side in sizes.items():
        draws[f"{side}_values"] = normal(generator, N_DRAWS, sum(of_side), d)
    if stars is not None:
        cuts = normal(generator, N_DRAWS, len(stars) - 1).double()
        draws["thresholds"] = cuts.sort(1).values
    made.set_draws(**draws)
    for side, n_rows in (("user", N_USERS + 1), ("item", N_ITEMS + 1)):
        made.set_features(side, *features(side, n_rows, generator, sizes))
    return made


def features(side, n_rows, generator, sizes=SIZES):
    """Some rows of the table of values, and weights, the last of which are for padding."""
    n_values = sum(sizes[side])
    if n_values == 0:
        return torch.zeros(n_rows, 0, dtype=torch.int64), torch.zeros(n_rows, 0)
    values = torch.randint(n_values, (n_rows, 3), generator=generator)
    weights = torch.rand(n_rows, 3, generator=generator)
    weights[:, -1] = 0
    return values, weights


def given(seed=1, n=20):
    """Features of all three sides for rows of their own."""
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for side in SIZES:
        found[f"{side}_values"], found[f"{side}_weights"] = features(side, n, generator)
    return found


def rows_of(made, side, codes, inputs):
    """What the rows of one side are in each draw, of shape (n_draws, n, K + 1)."""
    if f"{side}_values" in inputs:
        values, weights = inputs[f"{side}_values"], inputs[f"{side}_weights"]
    else:
        at = codes * 0 if side == "context" else codes
        values = getattr(made, f"{side}_values")[at]
        weights = getattr(made, f"{side}_weights")[at]
    table = getattr(made, f"{side}_value_draws").double()
    found = torch.einsum("knvd,nv->knd", table[:, values], weights.double())
    if side != "context":
        found = found + getattr(made, f"{side}_draws")[:, codes].double()
    return found.numpy()


def predicted(p, q, t):
    found = p[..., K] + q[..., K] + t[..., K]
    for a, b in ((p, q), (p, t), (q, t)):
        found = found + (a[..., :K] * b[..., :K]).sum(-1)
    return found


def expected(made, users, items, inputs):
    """Mean and standard deviation of the ratings, and the stars' probabilities."""
    p = rows_of(made, "user", users, inputs)
    q = rows_of(made, "item", items, inputs)
    t = rows_of(made, "context", users, inputs)
    found = predicted(p, q, t)
    variance = np.zeros_like(found)
    covariances = [c.double().numpy() for c in (made.user_covariances, made.item_covariances)]
    for n, (user, item) in enumerate(zip(users.tolist(), items.tolist(), strict=True)):
        for k in range(N_DRAWS):
            for code, partner, covariance in (
                (user, q, covariances[0]),
                (item, p, covariances[1]),
            ):
                if code == 0:
                    feature = np.append((partner + t)[k, n, :K], 1)
                    variance[k, n] += feature @ covariance[k] @ feature
            if user == item == 0:
                variance[k, n] += np.trace(covariances[0][k, :K, :K] @ covariances[1][k, :K, :K])
    if made.stars is None:
        total = made.noise.double().numpy()[:, None] + variance
        std = np.sqrt(found.var(0) + total.mean(0))
        return 3 + 1.5 * found.mean(0), 1.5 * std, None
    below = ndtr(
        (made.threshold_draws.numpy()[:, None] - found[..., None])
        / np.sqrt(1 + variance[..., None])
    ).mean(0)
    chances = np.diff(np.pad(below, [(0, 0), (1, 1)], constant_values=(0, 1)))
    mean = chances @ STARS.numpy()
    return mean, np.sqrt(chances @ STARS.numpy() ** 2 - mean**2), chances


@losses
@pytest.mark.parametrize("inputs", [{}, given()], ids=["as set", "as given"])
def test_moments_are_those_of_the_draws(stars, inputs):
    made = module(stars)
    mean, std, chances = expected(made, USERS, ITEMS, inputs)
    found = made.moments(USERS, ITEMS, **inputs)
    assert np.allclose(found[0], mean, atol=1e-5)
    assert np.allclose(found[1], std, atol=1e-5)
    assert torch.equal(made(USERS, ITEMS, **inputs), found[0])
    if stars is not None:
        probabilities = made.star_probabilities(USERS, ITEMS, **inputs)
        assert np.allclose(probabilities, chances, atol=1e-7)
        assert np.allclose(probabilities.sum(1), 1)
        assert np.allclose(probabilities @ stars.double(), mean)


@losses
def test_the_spread_is_that_of_simulated_ratings(stars):
    made, rng, n = module(stars), np.random.default_rng(0), 100_000
    inputs = given(n=1)
    for user, item in [(1, 2), (0, 2), (1, 0), (0, 0)]:
        users, items, k = torch.tensor([user]), torch.tensor([item]), rng.integers(N_DRAWS, size=n)
        rows = []
        for side, codes in (("user", users), ("item", items), ("context", users)):
            row = rows_of(made, side, codes, inputs)[k, 0]
            if side != "context" and codes.item() == 0:
                roots = np.linalg.cholesky(getattr(made, f"{side}_covariances").numpy())
                row = row + (roots[k] @ rng.standard_normal((n, K + 1, 1)))[..., 0]
            rows.append(row)
        centres = predicted(*rows)
        mean, std = made.moments(users, items, **inputs)
        if stars is None:
            noise = rng.standard_normal(n) * np.sqrt(made.noise.numpy()[k])
            ratings = 3 + 1.5 * (centres + noise)
        else:
            latent = centres + rng.standard_normal(n)
            level = (latent[:, None] > made.threshold_draws.numpy()[k]).sum(1)
            ratings = stars.double().numpy()[level]
        assert mean.item() == pytest.approx(ratings.mean(), abs=5 * ratings.std() / n**0.5)
        # an unknown user's and an unknown item's product is no Gaussian, as the stars take it
        rel = 0.04 if stars is not None and user == item == 0 else 0.015
        assert std.item() == pytest.approx(ratings.std(), rel=rel)


@losses
def test_all_pairs_are_those_one_by_one(stars):
    made = module(stars)
    pairs = made.all_pairs(torch.arange(4), torch.arange(5))
    assert pairs.shape == (4, 5)
    assert torch.allclose(pairs[USERS, ITEMS], made(USERS, ITEMS), atol=1e-5)
    some = made.all_pairs(torch.tensor([3, 1]), torch.tensor([2]))
    assert torch.allclose(some, pairs[[3, 1]][:, [2]], atol=1e-5)


@losses
@pytest.mark.parametrize("side", SIZES)
def test_one_side_alone_may_have_features(stars, side):
    sizes = {name: SIZES[name] if name == side else [] for name in SIZES}
    made = module(stars, sizes)
    mean, std, _ = expected(made, USERS, ITEMS, {})
    found = made.moments(USERS, ITEMS)
    assert np.allclose(found[0], mean, atol=1e-5)
    assert np.allclose(found[1], std, atol=1e-5)
    pairs = made.all_pairs(torch.arange(4), torch.arange(5))
    assert torch.allclose(pairs[USERS, ITEMS], found[0], atol=1e-5)


@losses
def test_features_move_what_is_predicted(stars):
    made, inputs = module(stars), given()
    before = made(USERS, ITEMS, **inputs)
    for side in SIZES:
        values = inputs[f"{side}_values"]
        moved = {**inputs, f"{side}_values": (values + 1) % sum(SIZES[side])}
        assert not torch.allclose(made(USERS, ITEMS, **moved), before, atol=1e-3)


def test_of_the_unknown_less_is_known():
    made = module()
    made.user_draws[:, 1] = made.user_draws[:, 0]
    made.set_features("user", made.user_values[[0, 0, 2, 3]], made.user_weights[[0, 0, 2, 3]])
    items = torch.arange(1, 5)
    known = made.moments(torch.ones_like(items), items)
    unknown = made.moments(torch.zeros_like(items), items)
    assert torch.allclose(unknown[0], known[0], atol=1e-5)
    assert (unknown[1] > known[1]).all()


def means_of(made, side):
    factors, biases = getattr(made, f"{side}_factors").weight, getattr(made, f"{side}_biases")
    return torch.cat([factors, biases.unsqueeze(1)], 1).numpy()


@pytest.mark.parametrize("features_first", [True, False])
def test_parameters_are_means_of_whole_rows(features_first):
    made, codes = module(), {"user": torch.arange(4), "item": torch.arange(5)}
    own = {side: getattr(made, f"{side}_draws").mean(0).numpy() for side in codes}
    if features_first:
        draws = [made.user_draws, made.item_draws, made.noise]
        draws += [made.user_covariances, made.item_covariances]
        values = {f"{side}_values": getattr(made, f"{side}_value_draws") for side in SIZES}
        for side in codes:
            getattr(made, f"{side}_factors").weight.zero_()
        made.set_draws(*draws, **values)
    for side, of_side in codes.items():
        whole = rows_of(made, side, of_side, {}).mean(0)
        assert np.allclose(means_of(made, side), whole, atol=1e-6)
        assert not np.allclose(own[side], whole, atol=0.1)
    plain = module(sizes={side: [] for side in SIZES})
    for side in codes:
        assert np.allclose(means_of(plain, side), getattr(plain, f"{side}_draws").mean(0))


def test_without_features_it_is_a_bayesian_matrix_factorisation():
    made = module(sizes={side: [] for side in SIZES})
    plain = BayesianMatrixFactorization(N_USERS, N_ITEMS, K, global_mean=3.0, scale=1.5)
    plain.set_draws(
        made.user_draws, made.item_draws, made.noise, made.user_covariances, made.item_covariances
    )
    for found, same in zip(made.moments(USERS, ITEMS), plain.moments(USERS, ITEMS), strict=True):
        assert torch.allclose(found, same, atol=1e-5)
    codes = torch.arange(4), torch.arange(5)
    assert torch.allclose(made.all_pairs(*codes), plain.all_pairs(*codes), atol=1e-5)


def test_at_first_nothing_is_known_of_anyone():
    made = BayesianFactorizationMachine(2, 3, 2, n_user_values=[2, 3], n_context_values=[4])
    assert made.user_values.tolist() == [[0, 2]] * 3
    assert made.user_weights.tolist() == [[1, 1]] * 3
    assert made.item_values.shape == (4, 0)
    assert made.context_values.tolist() == [[0]]
    assert made.groups == {"user": [(0, 2), (2, 5)], "item": [], "context": [(0, 4)]}
    assert made.n_draws == 0


def test_one_star_has_all_the_probability():
    made = module(torch.tensor([4.0]))
    assert torch.equal(made.star_probabilities(USERS, ITEMS), torch.ones(20, 1).double())
    mean, std = made.moments(USERS, ITEMS)
    assert (mean == 4).all()
    assert (std == 0).all()
    assert (made.all_pairs(torch.arange(4), torch.arange(5)) == 4).all()


@losses
def test_padding_and_further_rows_change_nothing(stars):
    made, inputs = module(stars), given()
    whole = made.moments(USERS, ITEMS, **inputs)
    wide = {name: torch.nn.functional.pad(v, (5, 0)) for name, v in inputs.items()}
    rows = torch.tensor([7, 3, 18])
    some = {name: v[rows] for name, v in wide.items()}
    for found, other in zip(made.moments(USERS[rows], ITEMS[rows], **some), whole, strict=True):
        assert torch.equal(found, other[rows])


@losses
def test_copies_predict_the_same(stars):
    made = module(stars)
    other = module(stars, seed=1)
    assert not torch.allclose(other(USERS, ITEMS), made(USERS, ITEMS), atol=1e-3)
    other.load_state_dict(made.state_dict())
    for same in (copy.deepcopy(made), pickle.loads(pickle.dumps(made)), other):
        for found, before in zip(
            same.moments(USERS, ITEMS), made.moments(USERS, ITEMS), strict=True
        ):
            assert torch.equal(found, before)
