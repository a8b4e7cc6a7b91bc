"""Pairs of a batch: grouped rows give the same products, sums and gradients as separate ones."""
# SPDX-License-Identifier: BSD-3-Clause

import pytest
import torch
from torch.testing import assert_close

from sklrec.modules import MatrixFactorization, _rating_module
from sklrec.modules._rating_module import GROUPED_FROM, Pairs, sorted_by_code

N = 2 * GROUPED_FROM


def batch(n_users=40, n_items=30, n=N):
    generator = torch.Generator().manual_seed(0)
    users = torch.randint(0, n_users, (n,), generator=generator)
    items = torch.randint(0, n_items, (n,), generator=generator)
    return users, items, torch.rand(n, generator=generator) + 0.1


def test_sorting_by_code_is_stable():
    order, in_order = sorted_by_code(torch.tensor([3, 1, 2, 1, 0, 3]))
    assert order.tolist() == [4, 1, 3, 2, 0, 5]
    assert in_order.tolist() == [0, 1, 1, 2, 3, 3]


def test_grouped_side_has_each_row_once():
    users, items, weight = batch()
    user = Pairs(users, items, weight).user
    assert user.has_distinct_rows
    assert user.rows.tolist() == sorted(set(users.tolist()))
    assert torch.equal(user.spread(user.rows), users.int())
    expected = torch.zeros(40).index_add_(0, users, weight)[user.rows]
    assert_close(user.weights, expected)
    assert_close(user.totals(user.arrange(weight)), expected)
    assert Pairs(users, items).user.weights.tolist() == users.bincount()[user.rows].tolist()
    few = GROUPED_FROM - 1
    assert torch.equal(Pairs(users[:few], items[:few]).user.rows, users[:few])


@pytest.mark.parametrize(("n_users", "n_items"), [(40, 30), (2, 3)], ids=["sparse", "repeated"])
@pytest.mark.parametrize("is_sorted", [False, True])
def test_products_and_sums_are_those_of_each_pair(is_sorted, n_users, n_items):
    users, items, weight = batch(n_users, n_items)
    if is_sorted:
        users = users.sort().values
    pairs = Pairs(users, items)
    p, q = torch.randn(n_users, 5), torch.randn(n_items, 5)
    p_rows, q_rows = p[pairs.user.rows], q[pairs.item.rows]
    assert_close(pairs.products(p_rows, q_rows), (p[users] * q[items]).sum(1))
    expected = torch.zeros(n_items, 5).index_add_(0, items, weight.unsqueeze(1) * p[users])
    found = pairs.item.sums(pairs.item.arrange(weight), p_rows)
    assert_close(found, expected[pairs.item.rows], rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_gradients_of_grouped_and_separate_pairs_agree(monkeypatch, sparse, weighted, reduction):
    users, items, weight = batch()
    ratings = torch.randn(N, generator=torch.Generator().manual_seed(1))
    results = []
    for is_grouped in (True, False):
        if not is_grouped:  # as on other devices
            monkeypatch.setattr(_rating_module, "can_group", lambda codes: False)
        start = torch.Generator().manual_seed(2)
        module = MatrixFactorization(39, 29, 4, init_std=0.5, sparse=sparse, generator=start)
        loss, predictions = module.backward_squared_error(
            users, items, ratings, weight if weighted else None, alpha=0.3, reduction=reduction
        )
        gradients = [parameter.grad.to_dense() for parameter in module.parameters()]
        assert not any(gradient[0].any() for gradient in gradients)
        results.append([loss, predictions, *gradients])
    assert_close(*results, rtol=1e-4, atol=1e-5)
