"""The optimiser that moves only the rows that a batch touches."""
# SPDX-License-Identifier: BSD-3-Clause

import copy
import subprocess
import sys

import pytest
import torch
from torch.optim import lr_scheduler
from torch.testing import assert_close

from sklrec._solvers.rowwise_sgd import SHARE_OF_AVERAGE, RowwiseSGD
from sklrec.modules import MatrixFactorization


def sparse_gradient(rows, values, shape):
    return torch.sparse_coo_tensor(
        torch.tensor([rows]), torch.tensor(values), shape, check_invariants=True
    )


def group(*tables, load):
    return {"params": list(tables), "load": torch.as_tensor(load)}


def optimizer_of(module, lr, load=0.0):
    users = torch.full((module.n_users + 1,), load)
    items = torch.full((module.n_items + 1,), load)
    return RowwiseSGD(
        [
            group(module.user_factors.weight, module.user_biases, load=users),
            group(module.item_factors.weight, module.item_biases, load=items),
        ],
        lr=lr,
    )


def train(module, optimizer, batches):
    for users, items, ratings in batches:
        optimizer.zero_grad()
        module.backward_squared_error(users, items, ratings, alpha=0.05, reduction="sum")
        optimizer.step()


def random_batches(n_batches, n=50):
    generator = torch.Generator().manual_seed(0)
    return [
        (
            torch.randint(0, 9, (n,), generator=generator),
            torch.randint(0, 7, (n,), generator=generator),
            torch.randn(n, dtype=torch.float64, generator=generator),
        )
        for _ in range(n_batches)
    ]


def make_module(n_users=8, n_items=6):
    generator = torch.Generator().manual_seed(0)
    return MatrixFactorization(
        n_users, n_items, 4, init_std=0.3, sparse=True, generator=generator
    ).double()


def test_it_is_plain_descent_where_nothing_is_bounded():
    module = make_module()
    plain = copy.deepcopy(module)
    plain.sparse = False
    batches = random_batches(5)
    train(module, optimizer_of(module, lr=0.01), batches)
    train(plain, torch.optim.SGD(plain.parameters(), lr=0.01), batches)
    assert_close(module.state_dict(), plain.state_dict())
    assert not torch.equal(module.user_biases, make_module().user_biases)


def test_the_step_of_a_row_is_bounded_by_its_load():
    factors, biases = torch.zeros(4, 2), torch.zeros(4)
    optimizer = RowwiseSGD([group(factors, biases, load=[0.0, 1.0, 4.0, 100.0])], lr=0.25)
    rows = [1, 2, 3, 3]
    factors.grad = sparse_gradient(rows, [[1.0, 2.0]] * 4, (4, 2))
    biases.grad = sparse_gradient(rows, [1.0] * 4, (4,))
    optimizer.step()
    bounds = SHARE_OF_AVERAGE * torch.tensor([1 / 4, 1 / 100])
    steps = torch.tensor([0.0, 0.25, bounds[0], 2 * bounds[1]])  # the last row occurs twice
    assert_close(biases, -steps)
    assert_close(factors, -steps.unsqueeze(1) * torch.tensor([1.0, 2.0]))


def test_the_bound_depends_on_the_row_not_on_the_table():
    """Tables of one group see the same rows, those of another group see others."""
    users, items = torch.zeros(3), torch.zeros(3)
    optimizer = RowwiseSGD(
        [group(users, load=[0.0, 10.0, 0.0]), group(items, load=[0.0, 0.0, 2.0])], lr=1.0
    )
    for table in (users, items):
        table.grad = sparse_gradient([1, 2], [1.0, 1.0], (3,))
    optimizer.step()
    assert_close(users, -torch.tensor([0.0, SHARE_OF_AVERAGE / 10, 1.0]))
    assert_close(items, -torch.tensor([0.0, 1.0, SHARE_OF_AVERAGE / 2]))


def test_one_user_and_one_item_do_not_overshoot():
    n = 1000
    codes = torch.ones(n, dtype=torch.long)
    ratings = torch.linspace(0, 2, n, dtype=torch.float64)
    batches = [(codes, codes, ratings)] * 50
    bounded, unbounded = make_module(1, 1), make_module(1, 1)
    train(bounded, optimizer_of(bounded, lr=0.05, load=float(n)), batches)
    train(unbounded, optimizer_of(unbounded, lr=0.05), batches)
    assert bounded(codes[:1], codes[:1]).item() == pytest.approx(1, abs=0.05)
    assert not unbounded(codes[:1], codes[:1]).isfinite().all()


@pytest.mark.parametrize("n_each", [2, 5, 30])
def test_a_batch_that_is_full_of_few_users_and_items_is_stable(n_each):
    """The harder case: both sides make up for the same errors, and the factors matter."""
    generator = torch.Generator().manual_seed(0)
    n = 4000
    users, items = torch.randint(1, n_each + 1, (2, n), generator=generator)
    taste = torch.randn(n_each + 1, n_each + 1, dtype=torch.float64, generator=generator)
    ratings = taste[users, items]
    module = make_module(n_each, n_each)
    load = n / n_each
    train(module, optimizer_of(module, lr=0.08, load=load), [(users, items, ratings)] * 150)
    error = (module(users, items) - ratings).square().mean()
    assert error < 0.9 * ratings.var()


def test_only_touched_rows_move():
    module = make_module()
    before = copy.deepcopy(module)
    users, items = torch.tensor([2, 5, 2]), torch.tensor([1, 1, 6])
    train(module, optimizer_of(module, lr=0.1), [(users, items, torch.ones(3).double())])
    for side, touched in (("user", [2, 5]), ("item", [1, 6])):
        for name in (f"{side}_factors.weight", f"{side}_biases"):
            moved = module.get_parameter(name) != before.get_parameter(name)
            moved = moved if moved.ndim == 1 else moved.any(1)
            assert moved.nonzero().flatten().tolist() == touched


def test_tables_without_a_gradient_stay():
    first, second = torch.ones(2), torch.ones(2)
    optimizer = RowwiseSGD([group(first, second, load=[0.0, 0.0])], lr=1.0)
    first.grad = sparse_gradient([1], [1.0], (2,))
    optimizer.step()
    assert first.tolist() == [1, 0]
    assert second.tolist() == [1, 1]
    optimizer.zero_grad()
    assert first.grad is None


def test_a_closure_is_called_with_gradients_on():
    module = make_module()
    (batch,) = random_batches(1)
    optimizer = optimizer_of(module, lr=0.001)

    def closure():
        optimizer.zero_grad()
        assert torch.is_grad_enabled()
        loss, _ = module.backward_squared_error(*batch)
        return loss.item()

    first, second = optimizer.step(closure), optimizer.step(closure)
    assert 0 < second < first


@pytest.mark.parametrize(
    ("policy", "options", "expected"),
    [
        (
            lr_scheduler.LinearLR,
            {"start_factor": 1.0, "end_factor": 0.0, "total_iters": 4},
            [1, 0.75, 0.5, 0.25, 0],
        ),
        (lr_scheduler.ExponentialLR, {"gamma": 0.5}, [1, 0.5, 0.25, 0.125, 0.0625]),
        (lr_scheduler.LambdaLR, {"lr_lambda": lambda step: 1 / (1 + step)}, [1, 1 / 2, 1 / 3]),
    ],
)
def test_schedules_of_torch_set_the_step(policy, options, expected):
    table = torch.zeros(2)
    optimizer = RowwiseSGD([group(table, load=[0.0, 0.0])], lr=1.0)
    schedule = policy(optimizer, **options)
    steps = []
    for _ in expected:
        before = table[1].item()
        table.grad = sparse_gradient([1], [1.0], (2,))
        optimizer.step()
        steps.append(before - table[1].item())
        schedule.step()
    assert steps == pytest.approx(expected)


def test_its_state_can_be_saved_and_loaded():
    table = torch.zeros(3)
    optimizer = RowwiseSGD([group(table, load=[0.0, 1.0, 50.0])], lr=1.0)
    schedule = lr_scheduler.ExponentialLR(optimizer, gamma=0.5)
    optimizer.step()
    schedule.step()
    other = RowwiseSGD([group(torch.zeros(3), load=[0.0, 0.0, 0.0])], lr=9.0)
    other.load_state_dict(optimizer.state_dict())
    assert other.param_groups[0]["lr"] == 0.5
    assert_close(other.param_groups[0]["limit"], optimizer.param_groups[0]["limit"])


def test_a_fit_does_not_wait_for_the_compiler_of_torch():
    script = (
        "import sys, numpy as np\n"
        "from sklrec import MFRegressor\n"
        "X = np.arange(20).reshape(10, 2) % 3\n"
        "model = MFRegressor(n_factors=2, max_epochs=2).fit(X, np.arange(10.0))\n"
        "model.predict(X)\n"
        "print('torch._dynamo' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.split() == ["False"]
