"""SVDPlusPlus: gradients, sums and bounds of the SVD++ terms against their definition."""
# SPDX-License-Identifier: BSD-3-Clause

import pytest
import torch
from torch.testing import assert_close

from sklrec.modules import MatrixFactorization
from sklrec.modules._svdpp import TERM_PENALTY, SVDPlusPlus

USERS = torch.tensor([1, 5, 1, 2, 3, 3, 5, 5])
ITEMS = torch.tensor([7, 2, 2, 4, 4, 1, 3, 7])
RATINGS = torch.tensor([4.0, 1.0, 5.0, 2.5, 3.0, 3.5, 2.0, 4.5], dtype=torch.float64)
WEIGHT = torch.tensor([1.0, 0.5, 2.0, 1.5, 0.1, 3.0, 1.0, 0.7], dtype=torch.float64)
weights = pytest.mark.parametrize("weight", [None, WEIGHT], ids=["unweighted", "weighted"])
biases = pytest.mark.parametrize("biased", [False, True], ids=["unbiased", "biased"])


def make_module(*, biased=True, weight=None, batches_per_step=1, sparse=False):
    """Make a float64 module with terms; user 4 and items 5 and 6 have no interactions."""
    generator = torch.Generator().manual_seed(0)
    options = {"biased": biased, "global_mean": 3.2 if biased else 0.0, "scale": 1.5}
    own = MatrixFactorization(
        5, 7, 3, init_std=0.7, sparse=sparse, generator=generator, **options
    ).double()
    if biased:
        with torch.no_grad():
            own.user_biases[1:] = torch.linspace(-1, 1, 5)
            own.item_biases[1:] = torch.linspace(1, -0.5, 7)
    module = SVDPlusPlus(own, USERS, ITEMS, weight, batches_per_step=batches_per_step)
    with torch.no_grad():
        for terms in (module.user_terms, module.item_terms):
            terms[1:] = torch.randn(len(terms) - 1, 3 + biased, generator=generator)
    return module


def spread_of(side):
    """Return the weight |R|^-1/2 of each term in each row, as a dense matrix."""
    spread = torch.zeros(6, 8, dtype=torch.float64)
    spread[USERS, ITEMS] = 1.0
    spread = spread if side == "user" else spread.T
    return spread / spread.sum(1, keepdim=True).clamp(min=1).sqrt()


def naive(module):
    """Compute all rows by the definition, and return the leaves for autograd."""
    own, rows, tables, terms = module.own, {}, {}, {}
    for side in ("user", "item"):
        tables[side] = getattr(own, f"{side}_factors").weight.detach().clone()
        if own.biased:
            column = getattr(own, f"{side}_biases").detach().unsqueeze(1)
            tables[side] = torch.cat([tables[side], column], 1)
        terms[side] = getattr(module, f"{side}_terms").detach().clone().requires_grad_()
        rows[side] = tables[side].requires_grad_() + spread_of(side) @ terms[side]
    return rows, tables, terms


def naive_predictions(module, rows):
    p, q = rows["user"][USERS], rows["item"][ITEMS]
    products = (p[:, :3] * q[:, :3]).sum(1)
    return module.global_mean + module.scale * (products + p[:, 3:].sum(1) + q[:, 3:].sum(1))


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@weights
@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
@biases
def test_gradient_equals_autograd_through_the_definition(biased, sparse, weight, reduction):
    module = make_module(biased=biased, weight=weight, sparse=sparse)
    options = {"alpha": 0.3, "reduction": reduction}
    loss, predictions = module.backward_loss(USERS, ITEMS, RATINGS, weight, **options)

    w = torch.ones_like(RATINGS) if weight is None else weight
    rows, tables, terms = naive(module)
    expected = naive_predictions(module, rows)
    error = w * (RATINGS - expected).square()
    own = tables["user"][USERS].square().sum(1) + tables["item"][ITEMS].square().sum(1)
    shared = terms["user"][ITEMS].square().sum(1) + terms["item"][USERS].square().sum(1)
    penalty = own + TERM_PENALTY * shared
    total = (error / module.scale.square() + 0.3 * w * penalty).sum()
    (total / w.sum() if reduction == "mean" else total / 2).backward()

    assert_close(loss, (error.sum() / w.sum()).detach())
    assert_close(predictions, expected.detach())
    assert_close(module(USERS, ITEMS), expected.detach())
    assert_close(module.penalty(USERS, ITEMS), penalty)
    gradients = {name: table.grad.to_dense() for name, table in module.named_parameters()}
    for side in ("user", "item"):
        found = gradients[f"own.{side}_factors.weight"]
        if biased:
            found = torch.cat([found, gradients[f"own.{side}_biases"].unsqueeze(1)], 1)
        assert_close(found, tables[side].grad)
        assert_close(gradients[f"{side}_terms"], terms[side].grad)
        assert gradients[f"{side}_terms"].any()
        assert not gradients[f"{side}_terms"][0].any()


@weights
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_terms_get_the_gradient_of_several_batches_at_once(reduction, weight):
    whole = make_module(weight=weight)
    whole.backward_loss(USERS, ITEMS, RATINGS, weight, alpha=0.3, reduction="sum")
    parts = make_module(weight=weight, batches_per_step=2)
    for n, rows in enumerate((slice(4), slice(4, None))):
        batch = USERS[rows], ITEMS[rows], RATINGS[rows], None if weight is None else weight[rows]
        parts.backward_loss(*batch, alpha=0.3, reduction=reduction)
        assert (parts.user_terms.grad is None) is (n == 0)
        assert (parts.item_terms.grad is None) is (n == 0)
    if reduction == "sum":
        assert_close(parts.user_terms.grad, whole.user_terms.grad)
        assert_close(parts.item_terms.grad, whole.item_terms.grad)
    elif weight is None:  # both batches have four ratings
        assert_close(parts.user_terms.grad, whole.user_terms.grad / 4)
    parts.user_terms.grad = None
    parts.backward_loss(USERS, ITEMS, RATINGS, weight, reduction=reduction)
    assert parts.user_terms.grad is None  # the count starts again


@biases
def test_module_with_merged_terms_predicts_the_same(biased):
    module = make_module(biased=biased)
    users, items = torch.tensor([1, 4, 0, 3, 0]), torch.tensor([7, 5, 2, 0, 0])
    expected, tables = module(users, items), list(module.own.parameters())
    merged = module.merge_terms()
    assert merged is module.own
    assert type(merged) is MatrixFactorization
    assert all(a is b for a, b in zip(merged.parameters(), tables, strict=True))
    assert_close(merged(users, items), expected)
    assert not merged.user_factors.weight[0].any()


def test_sums_follow_changes_of_the_terms():
    module, other = make_module(), make_module()
    before = module(USERS, ITEMS)
    with torch.no_grad():
        module.user_terms.mul_(2)
    assert not torch.equal(module(USERS, ITEMS), before)
    module.load_state_dict(other.state_dict())
    assert torch.equal(module(USERS, ITEMS), before)


@weights
def test_bounds_of_the_curvature_of_the_sums(weight):
    module = make_module(weight=weight)
    w = torch.ones(len(USERS)) if weight is None else weight
    for side in ("user", "item"):
        spread = spread_of(side)
        row_loads = {
            name: torch.bincount(of_side, w, minlength=len(spread_of(name))).double()
            for name, of_side in (("user", USERS), ("item", ITEMS))
        }
        load, row_weights = module.term_loads(row_loads)[side], row_loads[side]
        curvature = spread.T @ (row_weights.unsqueeze(1) * spread)
        is_used = load > 0
        assert torch.equal(is_used, curvature.diagonal() > 0)
        root = load[is_used].sqrt()
        scaled = curvature[is_used][:, is_used] / root.outer(root)
        # Above 1 a step would overshoot; below 1 steps would be smaller than necessary.
        assert torch.linalg.eigvalsh(scaled).max().item() == pytest.approx(1)


def test_repeated_interactions_count_repeatedly():
    own = MatrixFactorization(1, 2, 1, init_std=1e-9)
    module = SVDPlusPlus(own, torch.tensor([1, 1, 1]), torch.tensor([1, 1, 2]))
    with torch.no_grad():
        module.user_terms[1, 1], module.user_terms[2, 1] = 1.0, 5.0  # the column of the bias
    ratings = module(torch.tensor([1]), torch.tensor([0]))
    assert ratings.item() == pytest.approx((2 * 1 + 5) / 3**0.5)
