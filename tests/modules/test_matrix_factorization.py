"""MatrixFactorization: its formula, its gradients and its random start."""
# SPDX-License-Identifier: BSD-3-Clause

import copy

import pytest
import torch
from torch.testing import assert_close

from sklrec.modules import MatrixFactorization

USERS = torch.tensor([1, 5, 1, 0, 3, 0, 5])
ITEMS = torch.tensor([7, 2, 2, 4, 0, 0, 2])
RATINGS = torch.tensor([4.0, 1.0, 5.0, 2.5, 3.0, 3.5, 2.0], dtype=torch.float64)
WEIGHT = torch.tensor([1.0, 0.5, 2.0, 1.5, 0.1, 3.0, 1.0], dtype=torch.float64)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def make_module(*, biased=True, **options):
    """Make a float64 module whose tables hold no zeros but in row 0."""
    options = {"global_mean": 3.2 if biased else 0.0, "scale": 1.5, "init_std": 0.7, **options}
    module = MatrixFactorization(5, 7, 3, biased=biased, generator=seeded(), **options).double()
    if biased:
        with torch.no_grad():
            module.user_biases[1:] = torch.linspace(-1, 1, 5)
            module.item_biases[1:] = torch.linspace(1, -0.5, 7)
    return module


def dense_gradients(module):
    return {name: table.grad.to_dense() for name, table in module.named_parameters()}


def many(values, n=600):
    """So many pairs that those of one user or item are looked up once."""
    return values[torch.randint(0, 7, (n,), generator=seeded())]


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["unweighted", "weighted"])
@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
@pytest.mark.parametrize("biased", [False, True], ids=["unbiased", "biased"])
@pytest.mark.parametrize("size", ["few", "many", "many in order"])
def test_closed_form_gradient_equals_autograd(size, biased, sparse, weight, reduction):
    module = make_module(biased=biased, sparse=sparse)
    options = {"alpha": 0.3, "reduction": reduction}
    w = torch.ones_like(RATINGS) if weight is None else weight
    users, items, ratings, w = USERS, ITEMS, RATINGS, w
    if size != "few":
        items, ratings, w = many(ITEMS).roll(1), many(RATINGS).roll(2), many(w).roll(3)
        users = many(USERS).sort().values if "order" in size else many(USERS)
    batch = users, items, ratings, None if weight is None else w
    loss, predictions = module.backward_loss(*batch, **options)

    plain = copy.deepcopy(module)
    plain.zero_grad()
    expected = plain(users, items)
    error = w * (ratings - expected).square()
    penalty = plain.user_factors(users).square().sum(1) + plain.item_factors(items).square().sum(1)
    if biased:
        penalty = penalty + plain.user_biases[users].square() + plain.item_biases[items].square()
    total = (error / plain.scale.square() + 0.3 * w * penalty).sum()
    (total / w.sum() if reduction == "mean" else total / 2).backward()

    assert_close(loss, (error.sum() / w.sum()).detach())  # without the penalty
    assert_close(predictions, expected.detach())
    assert_close(module.penalty(users, items), penalty)
    assert all(table.grad.is_sparse is sparse for table in module.parameters())
    found = dense_gradients(module)
    assert_close(found, dense_gradients(plain), rtol=1e-6, atol=1e-6)
    assert not any(gradient[0].any() for gradient in found.values())
    assert all(gradient[1:].any() for gradient in found.values())


@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
def test_gradients_of_two_batches_add_up(sparse):
    whole, parts = make_module(sparse=sparse), make_module(sparse=sparse)
    for module, batches in ((whole, [slice(7)]), (parts, [slice(3), slice(3, None)])):
        for rows in batches:
            batch = USERS[rows], ITEMS[rows], RATINGS[rows]
            module.backward_loss(*batch, alpha=0.3, reduction="sum")
    assert_close(dense_gradients(parts), dense_gradients(whole))


@pytest.mark.parametrize("biased", [False, True])
def test_rating_is_mean_plus_scaled_biases_and_dot_product(biased):
    module = make_module(biased=biased)
    users, items = torch.cartesian_prod(torch.arange(6), torch.tensor([3, 0, 7, 3])).T
    expected = (module.user_factors.weight[users] * module.item_factors.weight[items]).sum(1)
    if biased:
        expected = expected + module.user_biases[users] + module.item_biases[items]
    expected = module.global_mean + 1.5 * expected
    assert_close(module(users, items), expected)
    assert_close(module(users[:1], items[:1]), expected[:1])
    with torch.no_grad():
        assert_close(module(users, items), expected)
    assert_close(module.all_pairs(torch.arange(6), torch.tensor([3, 0, 7, 3])).flatten(), expected)
    mean = 3.2 if biased else 0.0
    assert module(USERS[5:6], ITEMS[5:6]).item() == pytest.approx(mean)  # both unknown
    assert len(list(module.parameters())) == (4 if biased else 2)


def test_without_biases_only_unknown_users_and_items_get_the_global_mean():
    module, without_mean = (make_module(biased=False, global_mean=mean) for mean in (3.2, 0.0))
    with torch.no_grad():
        module.user_factors.weight[4] = without_mean.user_factors.weight[4] = 0  # never trained
    users, items = torch.cartesian_prod(torch.arange(6), torch.arange(8)).T
    is_unknown = (users == 0) | (users == 4) | (items == 0)
    expected = without_mean(users, items).masked_fill(is_unknown, 3.2)
    assert_close(module(users, items), expected)
    with torch.no_grad():
        assert_close(module(users, items), expected)
    assert_close(module.all_pairs(torch.arange(6), torch.arange(8)).flatten(), expected)


def test_without_biases_the_global_mean_does_not_change_the_training():
    gradients = []
    for mean in (3.2, 0.0):
        module = make_module(biased=False, global_mean=mean)
        module.backward_loss(USERS[:4], ITEMS[:4], RATINGS[:4], alpha=0.3)
        gradients.append(dense_gradients(module))
    assert_close(*gradients, rtol=0, atol=0)


def test_unknown_rows_stay_zero_in_training():
    module = make_module()
    before = module.user_biases.detach().clone()
    optimizer = torch.optim.AdamW(module.parameters(), lr=0.1, weight_decay=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(module(USERS, ITEMS), RATINGS).backward()
        optimizer.step()
    assert not any(table[0].any() for table in module.parameters())
    assert not torch.equal(module.user_biases, before)


@pytest.mark.parametrize("biased", [False, True])
def test_growing_adds_rows_and_keeps_the_others(biased):
    module = make_module(biased=biased)
    before = copy.deepcopy(module)
    item_factors = module.item_factors
    assert module.grow(8, 7, seeded(1)) is module
    assert (module.n_users, module.n_items) == (8, 7)
    assert torch.equal(module.user_factors.weight[:6], before.user_factors.weight)
    assert module.item_factors is item_factors  # this side has no new rows
    new = module.user_factors.weight[6:]
    assert new.shape == (3, 3)
    assert new.all()
    assert new.dtype == torch.float64
    assert not biased or not module.user_biases[6:].any()
    assert torch.equal(module(USERS, ITEMS), before(USERS, ITEMS))
    module.backward_loss(torch.tensor([8]), torch.tensor([7]), RATINGS[:1])
    assert module.user_factors.weight.grad[8].any()


@pytest.mark.parametrize("convert", ["half", "float", "double", "cpu"])
def test_mean_and_scale_stay_float64(convert):
    module = MatrixFactorization(5, 7, 3, global_mean=1e9 + 1, scale=0.1, generator=seeded())
    getattr(module, convert)()
    assert module(torch.tensor([0]), torch.tensor([0])).item() == 1e9 + 1
    assert module.scale.item() == 0.1


@pytest.mark.parametrize("biased", [False, True])
def test_scores_can_be_multiplied(biased):
    module = make_module(biased=biased)
    before = module(USERS, ITEMS)
    module._multiply_scores(0.25)
    assert_close(module(USERS, ITEMS) - module.zero, 0.25 * (before - module.zero))
