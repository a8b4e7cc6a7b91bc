"""Gradient descent for own rows together with terms."""
# SPDX-License-Identifier: BSD-3-Clause

import pytest
import torch
from torch.testing import assert_close

from sklrec._solvers.rowwise_sgd import RowwiseSGD
from sklrec._solvers.terms_sgd import MOMENTUM, TermsSGD

LOAD = torch.tensor([1.0, 8.0, 0.0])


def make(lr=0.5):
    table = torch.nn.Parameter(torch.ones(3, 2))
    return table, TermsSGD([{"params": [table], "load": LOAD}], lr=lr)


def test_dense_gradients_get_momentum_and_bounded_steps():
    table, optimizer = make()
    first, second = torch.full((3, 2), 2.0), torch.full((3, 2), -1.0)
    step = torch.tensor([0.5, 0.1, 0.5]).unsqueeze(1)  # lr, 0.8 / load, lr
    table.grad = first.clone()
    optimizer.step()
    assert_close(table.detach(), 1 - step * first)
    table.grad = second.clone()
    optimizer.step()
    assert_close(table.detach(), 1 - step * first - step * (second + MOMENTUM * first))


def test_a_table_without_a_gradient_stays_where_it_is():
    table, optimizer = make()
    table.grad = torch.ones(3, 2)
    optimizer.step()
    before = table.detach().clone()
    optimizer.zero_grad()
    optimizer.step()
    assert torch.equal(table.detach(), before)


def test_sparse_gradients_are_those_of_rowwise_sgd():
    tables = [torch.nn.Parameter(torch.ones(3, 2)) for _ in range(2)]
    for table, kind in zip(tables, (TermsSGD, RowwiseSGD), strict=True):
        optimizer = kind([{"params": [table], "load": LOAD}], lr=0.5)
        for _ in range(2):
            rows = torch.tensor([[0, 1]])
            table.grad = torch.sparse_coo_tensor(
                rows, torch.ones(2, 2), (3, 2), check_invariants=False
            )
            optimizer.step()
    assert torch.equal(tables[0].detach(), tables[1].detach())


def test_a_closure_gives_the_loss():
    table, optimizer = make()

    def closure():
        loss = table.square().sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == pytest.approx(6)
    assert (table.detach() < 1).all()
