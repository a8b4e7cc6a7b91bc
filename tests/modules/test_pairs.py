"""The rows that a batch of pairs looks up."""
# SPDX-License-Identifier: BSD-3-Clause

import pytest
import torch
from torch.testing import assert_close

from sklrec.modules import MatrixFactorization, _pairs
from sklrec.modules._pairs import GROUPED_FROM, Pairs, sorted_by_code

N = 2 * GROUPED_FROM


def batch(n_users=40, n_items=30, n=N, seed=0):
    generator = torch.Generator().manual_seed(seed)
    users = torch.randint(0, n_users, (n,), generator=generator)
    items = torch.randint(0, n_items, (n,), generator=generator)
    return users, items, torch.rand(n, generator=generator) + 0.1


@pytest.fixture
def separately(monkeypatch):
    """Have nothing grouped, as on other devices."""

    def change():
        monkeypatch.setattr(_pairs, "can_group", lambda codes: False)

    return change


def test_codes_are_sorted_and_equal_ones_keep_their_order():
    codes = torch.tensor([3, 1, 2, 1, 0, 3])
    order, in_order = sorted_by_code(codes)
    assert order.tolist() == [4, 1, 3, 2, 0, 5]
    assert in_order.tolist() == [0, 1, 1, 2, 3, 3]


def test_a_side_knows_its_rows():
    users, items, weight = batch()
    user = Pairs(users, items, weight).user
    assert user.has_distinct_rows
    assert user.rows.tolist() == sorted(set(users.tolist()))
    assert torch.equal(user.spread(user.rows), users.int())
    wanted = torch.zeros(40).index_add_(0, users, weight)[user.rows]
    assert_close(user.weights, wanted)
    assert_close(user.totals(user.arrange(weight)), wanted)
    assert Pairs(users, items).user.weights.tolist() == users.bincount()[user.rows].tolist()


@pytest.mark.parametrize("in_order", [False, True])
def test_products_and_sums(in_order):
    users, items, weight = batch()
    if in_order:
        users = users.sort().values
    pairs = Pairs(users, items)
    table = torch.randn(40, 5), torch.randn(30, 5)
    p, q = table[0][pairs.user.rows], table[1][pairs.item.rows]
    assert_close(pairs.products(p, q), (table[0][users] * table[1][items]).sum(1))
    wanted = torch.zeros(30, 5).index_add_(0, items, weight.unsqueeze(1) * table[0][users])
    found = pairs.item.sums(pairs.item.arrange(weight), p)
    assert_close(found, wanted[pairs.item.rows])


def test_the_same_pairs_again_and_again():
    users, items, _ = batch(n_users=2, n_items=3)
    pairs = Pairs(users, items)
    p, q = torch.randn(2, 4), torch.randn(3, 4)
    assert_close(pairs.products(p, q), (p[users] * q[items]).sum(1))


def test_what_is_few_is_not_grouped():
    users, items, _ = batch(n=GROUPED_FROM - 1)
    assert torch.equal(Pairs(users, items).user.rows, users)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_gradients_are_those_of_separate_pairs(separately, sparse, weighted, reduction):
    users, items, weight = batch()
    ratings = torch.randn(N, generator=torch.Generator().manual_seed(1))
    found = []
    for grouped in (True, False):
        if not grouped:
            separately()
        start = torch.Generator().manual_seed(2)
        module = MatrixFactorization(39, 29, 4, init_std=0.5, sparse=sparse, generator=start)
        loss, predictions = module.backward_squared_error(
            users, items, ratings, weight if weighted else None, alpha=0.3, reduction=reduction
        )
        gradients = [parameter.grad.to_dense() for parameter in module.parameters()]
        assert all(not gradient[0].any() for gradient in gradients)
        found.append([loss, predictions, *gradients])
    for one, other in zip(*found, strict=True):
        assert_close(one, other, rtol=1e-4, atol=1e-5)
