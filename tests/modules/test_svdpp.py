"""Training with terms of whom a row met."""
# SPDX-License-Identifier: BSD-3-Clause

import copy

import pytest
import torch
from torch.testing import assert_close

from sklrec.modules import MatrixFactorization
from sklrec.modules._svdpp import TERM_PENALTY, SVDPlusPlus

USERS = torch.tensor([1, 5, 1, 2, 3, 3, 5, 5])
ITEMS = torch.tensor([7, 2, 2, 4, 4, 1, 3, 7])
RATINGS = torch.tensor([4.0, 1.0, 5.0, 2.5, 3.0, 3.5, 2.0, 4.5], dtype=torch.float64)
WEIGHT = torch.tensor([1.0, 0.5, 2.0, 1.5, 0.1, 3.0, 1.0, 0.7], dtype=torch.float64)
TABLES = ["user_factors.weight", "item_factors.weight", "user_biases", "item_biases"]


def make_module(*, biased=True, weight=None, n_between=1, sparse=False):
    """A module in float64 whose every table holds something; user 4 and items 5, 6 met nobody."""
    generator = torch.Generator().manual_seed(0)
    own = MatrixFactorization(
        5,
        7,
        3,
        biased=biased,
        global_mean=3.2 if biased else 0.0,
        scale=1.5,
        init_std=0.7,
        sparse=sparse,
        generator=generator,
    ).double()
    if biased:
        with torch.no_grad():
            own.user_biases[1:] = torch.linspace(-1, 1, 5)
            own.item_biases[1:] = torch.linspace(1, -0.5, 7)
    module = SVDPlusPlus(own, USERS, ITEMS, weight, n_between=n_between)
    with torch.no_grad():
        for terms in (module.user_terms, module.item_terms):
            terms[1:] = torch.randn(len(terms) - 1, 3 + biased, generator=generator)
    return module


def naive(module):
    """Rows as the definition has them, one by one, and all that is trained, for autograd."""
    own = module.own
    tables = {
        "user": own.user_factors.weight.detach().clone(),
        "item": own.item_factors.weight.detach().clone(),
    }
    if own.biased:
        for side in tables:
            biases = getattr(own, f"{side}_biases").detach()
            tables[side] = torch.cat([tables[side], biases.unsqueeze(1)], 1)
    terms = {side: getattr(module, f"{side}_terms").detach().clone() for side in tables}
    leaves = [*tables.values(), *terms.values()]
    for leaf in leaves:
        leaf.requires_grad_()
    codes = {"user": (USERS, ITEMS), "item": (ITEMS, USERS)}
    rows = {}
    for side, table in tables.items():
        rows[side] = []
        for k, row in enumerate(table):
            met = [m for c, m in zip(*codes[side], strict=True) if c == k]
            gain = sum(terms[side][m] for m in met) / len(met) ** 0.5 if met else 0 * row
            rows[side].append(row + gain)
        rows[side] = torch.stack(rows[side])
    return rows, tables, terms


def naive_predictions(module, rows, users=USERS, items=ITEMS):
    p, q = rows["user"][users], rows["item"][items]
    if not module.own.biased:
        return module.global_mean + module.scale * (p * q).sum(1)
    products = (p[:, :-1] * q[:, :-1]).sum(1)
    return module.global_mean + module.scale * (products + p[:, -1] + q[:, -1])


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("alpha", [0.0, 0.3])
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["unweighted", "weighted"])
@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
@pytest.mark.parametrize("biased", [False, True], ids=["factors alone", "biased"])
def test_gradient_is_that_of_autograd_through_the_definition(
    biased, sparse, weight, alpha, reduction
):
    module = make_module(biased=biased, weight=weight, sparse=sparse)
    options = {"alpha": alpha, "reduction": reduction}
    loss, predictions = module.backward_squared_error(USERS, ITEMS, RATINGS, weight, **options)

    w = torch.ones_like(RATINGS) if weight is None else weight
    rows, tables, terms = naive(module)
    expected = naive_predictions(module, rows)
    error = w * (RATINGS - expected).square()
    own = tables["user"][USERS].square().sum(1) + tables["item"][ITEMS].square().sum(1)
    shared = terms["user"][ITEMS].square().sum(1) + terms["item"][USERS].square().sum(1)
    penalty = own + TERM_PENALTY * shared
    total = (error / module.scale.square() + alpha * w * penalty).sum()
    (total / w.sum() if reduction == "mean" else total / 2).backward()

    assert_close(loss, (error.sum() / w.sum()).detach())
    assert_close(predictions, expected.detach())
    assert_close(module(USERS, ITEMS), expected.detach())
    assert_close(module.penalty(USERS, ITEMS), penalty.detach())
    gradients = {name: table.grad.to_dense() for name, table in module.named_parameters()}
    for side in ("user", "item"):
        found = gradients[f"own.{side}_factors.weight"]
        if biased:
            found = torch.cat([found, gradients[f"own.{side}_biases"].unsqueeze(1)], 1)
        assert_close(found, tables[side].grad)
        assert_close(gradients[f"{side}_terms"], terms[side].grad)
        assert gradients[f"{side}_terms"].any()
        assert not gradients[f"{side}_terms"][0].any()


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["unweighted", "weighted"])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_terms_get_the_gradient_of_several_batches_at_once(reduction, weight):
    whole = make_module(weight=weight)
    whole.backward_squared_error(USERS, ITEMS, RATINGS, weight, alpha=0.3, reduction="sum")
    parts = make_module(weight=weight, n_between=2)
    halves = (slice(4), slice(4, None))
    totals = [4.0, 4.0] if weight is None else [weight[rows].sum().item() for rows in halves]
    for n, rows in enumerate(halves):
        assert parts.user_terms.grad is None
        parts.backward_squared_error(
            USERS[rows],
            ITEMS[rows],
            RATINGS[rows],
            None if weight is None else weight[rows],
            alpha=0.3,
            reduction=reduction,
        )
        assert (parts.item_terms.grad is None) is (n == 0)
    if reduction == "sum":
        assert_close(parts.user_terms.grad, whole.user_terms.grad)
        assert_close(parts.item_terms.grad, whole.item_terms.grad)
    elif totals[0] == totals[1]:  # the mean of two means is that of all
        assert_close(parts.user_terms.grad, 2 * whole.user_terms.grad / sum(totals))
    parts.user_terms.grad = None
    parts.backward_squared_error(USERS, ITEMS, RATINGS, weight, reduction=reduction)
    assert parts.user_terms.grad is None  # a new count


@pytest.mark.parametrize("biased", [False, True], ids=["factors alone", "biased"])
def test_what_it_collapses_to_predicts_the_same(biased):
    module = make_module(biased=biased)
    users, items = torch.tensor([1, 4, 0, 3, 0]), torch.tensor([7, 5, 2, 0, 0])
    expected = module(users, items)
    terms = module.user_terms.detach().clone(), module.item_terms.detach().clone()
    own = module.own
    tables = dict(own.named_parameters())
    collapsed = module.collapse()
    assert collapsed is own
    assert type(collapsed) is MatrixFactorization
    assert all(dict(own.named_parameters())[name] is table for name, table in tables.items())
    assert_close(collapsed(users, items), expected)
    assert_close((collapsed.user_terms, collapsed.item_terms), terms)
    assert collapsed.user_terms.shape == (8, 3 + biased)
    assert collapsed.item_terms.shape == (6, 3 + biased)
    assert not collapsed.user_factors.weight[0].any()


def test_it_notices_when_terms_change():
    module, other = make_module(), make_module()
    before = module(USERS, ITEMS)
    with torch.no_grad():
        module.user_terms.mul_(2)
    assert not torch.equal(module(USERS, ITEMS), before)
    module.load_state_dict(other.state_dict())
    assert torch.equal(module(USERS, ITEMS), before)


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["unweighted", "weighted"])
def test_no_sum_overshoots_if_terms_move_by_the_inverse_of_their_loads(weight):
    """Against the curvature of a squared error whose gradient is the row's sum itself."""
    module = make_module(weight=weight)
    w = torch.ones(len(USERS)) if weight is None else weight
    for side, codes, others in (("user", USERS, ITEMS), ("item", ITEMS, USERS)):
        load = module.loads()[side]
        spread = torch.zeros(codes.max() + 1, len(load), dtype=torch.float64)
        for c, o in zip(codes, others, strict=True):
            spread[c, o] = (codes == c).sum() ** -0.5
        weights = torch.stack([w[codes == k].sum() for k in range(len(spread))]).double()
        curvature = spread.T @ (weights.unsqueeze(1) * spread)
        there = load > 0
        assert torch.equal(there, curvature.diagonal() > 0)
        scaled = curvature[there][:, there] / load[there].sqrt().outer(load[there].sqrt())
        # At most 1, lest steps overshoot, and no less, lest they are needlessly small.
        assert torch.linalg.eigvalsh(scaled).max().item() == pytest.approx(1)


def test_repeated_interactions_count_as_often_as_they_are_there():
    own = MatrixFactorization(1, 2, 1, init_std=1e-9)
    module = SVDPlusPlus(own, torch.tensor([1, 1, 1]), torch.tensor([1, 1, 2]))
    with torch.no_grad():
        module.user_terms[1, 1], module.user_terms[2, 1] = 1.0, 5.0  # what they do to the bias
    ratings = module(torch.tensor([1]), torch.tensor([0]))
    assert ratings.item() == pytest.approx((2 * 1 + 5) / 3**0.5)


# --- terms in the module that is left


def test_terms_grow_with_zeros():
    module = make_module().collapse()
    before = copy.deepcopy(module)
    module.grow(6, 9)
    assert module.user_terms.shape == (10, 4)
    assert module.item_terms.shape == (7, 4)
    for name in ("user_terms", "item_terms"):
        n = len(getattr(before, name))
        assert torch.equal(getattr(module, name)[:n], getattr(before, name))
        assert not getattr(module, name)[n:].any()


def test_terms_are_part_of_the_state():
    module = make_module().collapse()
    fresh = MatrixFactorization(5, 7, 3).double()
    assert fresh.user_terms is None
    fresh.load_state_dict(module.state_dict())
    assert torch.equal(fresh.user_terms, module.user_terms)
    assert torch.equal(fresh.item_terms, module.item_terms)
    assert fresh.user_terms is not module.user_terms
    fresh.load_state_dict(MatrixFactorization(5, 7, 3).state_dict())
    assert fresh.user_terms is fresh.item_terms is None
    twin = copy.deepcopy(module)
    assert torch.equal(twin.user_terms, module.user_terms)
