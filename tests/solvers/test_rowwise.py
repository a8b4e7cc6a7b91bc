"""Optimisers that move only the rows of a batch, and the estimators that use them."""
# SPDX-License-Identifier: BSD-3-Clause

import copy
import pickle
from inspect import getmodule

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from sklrec import DenseRecRegressor, SequenceRatingRegressor
from sklrec._solvers.rowwise import MOMENTUM, SHARE_OF_AVERAGE, RowwiseAdam, RowwiseSGD
from sklrec.datasets import make_ratings
from sklrec.modules import MatrixFactorization

X, Y = make_ratings(60, 40, 800, random_state=0)


def sparse_gradient(rows, values, shape, **options):
    options = {"check_invariants": True, **options}
    return torch.sparse_coo_tensor(torch.tensor([rows]), torch.tensor(values), shape, **options)


def random_gradients(n_steps, shape, seed=0):
    """Gradients of some rows, some of them twice, and never of row 0 or the last one."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(n_steps):
        rows = torch.randint(1, shape[0] - 1, (3,), generator=generator)
        values = torch.randn(3, *shape[1:], dtype=torch.float64, generator=generator)
        yield torch.sparse_coo_tensor(rows[None], values, shape, check_invariants=True)


def start(*shape):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(9))


def make_module(n_users=8, n_items=6):
    generator = torch.Generator().manual_seed(0)
    options = {"init_std": 0.3, "sparse": True, "generator": generator}
    return MatrixFactorization(n_users, n_items, 4, **options).double()


def sgd(module, lr, load=0.0):
    tables = dict(module.named_parameters())
    loads = {name: torch.full((len(table),), load) for name, table in tables.items()}
    return with_loads(tables, loads, lr)


def with_loads(tables, loads, lr):
    groups = [{"params": [table], "name": name} for name, table in tables.items()]
    optimizer = RowwiseSGD(groups, lr)
    optimizer.set_loads({name: torch.as_tensor(load) for name, load in loads.items()})
    return optimizer


def train(module, optimizer, batches):
    for users, items, ratings in batches:
        optimizer.zero_grad()
        module.backward_loss(users, items, ratings, alpha=0.05, reduction="sum")
        optimizer.step()


def random_batch(n, seed=0):
    generator = torch.Generator().manual_seed(seed)
    users = torch.randint(0, 9, (n,), generator=generator)
    items = torch.randint(0, 7, (n,), generator=generator)
    return users, items, torch.randn(n, dtype=torch.float64, generator=generator)


# --- gradient descent


def test_sgd_without_loads_is_plain_gradient_descent():
    module = make_module()
    plain = copy.deepcopy(module)
    plain.sparse = False
    batches = [random_batch(50, seed) for seed in range(5)]
    train(module, sgd(module, lr=0.01), batches)
    train(plain, torch.optim.SGD(plain.parameters(), lr=0.01), batches)
    assert_close(module.state_dict(), plain.state_dict())
    assert not torch.equal(module.user_biases, make_module().user_biases)


def test_the_load_of_a_row_limits_its_step():
    factors, biases, items = torch.zeros(4, 2), torch.zeros(4), torch.zeros(3)
    tables = {"factors": factors, "biases": biases, "items": items}
    of_users = [0.0, 1.0, 4.0, 100.0]
    loads = {"factors": of_users, "biases": of_users, "items": [0.0, 0.0, 2.0]}
    optimizer = with_loads(tables, loads, lr=0.25)
    rows = [1, 2, 3, 3]
    factors.grad = sparse_gradient(rows, [[1.0, 2.0]] * 4, (4, 2))
    optimizer.step()
    assert torch.equal(biases, torch.zeros(4))  # a table without a gradient stays
    optimizer.zero_grad()
    assert factors.grad is None
    biases.grad = sparse_gradient(rows, [1.0] * 4, (4,))
    items.grad = sparse_gradient([1, 2], [1.0, 8.0], (3,))
    optimizer.step()
    # Row 3 occurs twice.
    steps = torch.tensor([0.0, 0.25, SHARE_OF_AVERAGE / 4, 2 * SHARE_OF_AVERAGE / 100])
    assert_close(biases, -steps)
    assert_close(factors, -steps.unsqueeze(1) * torch.tensor([1.0, 2.0]))
    assert_close(items, -torch.tensor([0, 0.25, 8 * 0.25]))


def test_dense_gradients_have_limited_steps_and_momentum():
    table = torch.ones(3, 2)
    optimizer = with_loads({"table": table}, {"table": [1.0, 8.0, 0.0]}, lr=0.5)
    first, second = torch.full((3, 2), 2.0), torch.full((3, 2), -1.0)
    steps = torch.tensor([0.5, SHARE_OF_AVERAGE / 8, 0.5]).unsqueeze(1)
    table.grad = first.clone()
    optimizer.step()
    assert_close(table, 1 - steps * first)
    optimizer.step()  # no gradient, no move
    assert_close(table, 1 - steps * first)
    table.grad = second.clone()
    optimizer.step()
    assert_close(table, 1 - steps * first - steps * (second + MOMENTUM * first))


# --- Adam


@pytest.mark.parametrize("shape", [(6,), (6, 2)])
@pytest.mark.parametrize("is_coalesced", [False, True])
def test_adam_moves_rows_by_their_second_moment(shape, is_coalesced):
    table = start(*shape)
    expected, square = table.clone(), torch.zeros_like(table)
    optimizer = RowwiseAdam([table], lr=0.1, betas=(0.5, 0.8), eps=1e-3)
    for step, gradient in enumerate(random_gradients(20, shape), start=1):
        table.grad = gradient.coalesce() if is_coalesced else gradient
        optimizer.step()
        whole = gradient.to_dense()
        square = 0.8 * square + 0.2 * whole**2
        expected -= 0.1 * whole / ((square / (1 - 0.8**step)).sqrt() + 1e-3)
    assert_close(table, expected)
    assert torch.equal(table[[0, -1]], start(*shape)[[0, -1]])


@pytest.mark.parametrize(("steps", "rel"), [({500}, 0.02), (set(range(1000)), 1e-7)])
def test_a_row_that_is_rare_or_in_every_batch_ends_where_adam_moves_it(steps, rel):
    ours, theirs = torch.zeros(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    optimizers = RowwiseAdam([ours], lr=0.01), torch.optim.Adam([theirs], lr=0.01)
    for step in range(1000):
        rows = [1] if step in steps else []
        ours.grad = sparse_gradient(rows, [2.0] * len(rows), (3,), dtype=torch.float64)
        theirs.grad = ours.grad.to_dense()
        for optimizer in optimizers:
            optimizer.step()
    assert ours[1].item() == pytest.approx(theirs[1].item(), rel=rel)
    assert ours[[0, 2]].tolist() == [0, 0]


def test_dense_gradients_move_parameters_as_adam_does():
    ours, theirs = start(6, 3), start(6, 3)
    options = {"lr": 0.05, "betas": (0.8, 0.95), "eps": 1e-6}
    optimizers = RowwiseAdam([ours], **options), torch.optim.Adam([theirs], **options)
    for gradient in random_gradients(20, (6, 3)):
        ours.grad, theirs.grad = gradient.to_dense(), gradient.to_dense()
        for optimizer in optimizers:
            optimizer.step()
    assert_close(ours, theirs)


def test_zero_gradients_and_empty_batches_move_nothing():
    table = torch.zeros(3)
    optimizer = RowwiseAdam([table], lr=1.0)
    for rows in ([], [0, 0], [0]):
        table.grad = sparse_gradient(rows, [0.0] * len(rows), (3,))
        optimizer.step()
    optimizer.zero_grad()
    optimizer.step()
    assert table.tolist() == [0, 0, 0]
    assert optimizer.state[table]["step"] == 3


# --- estimators with RowwiseAdam

ESTIMATORS = {
    "dense": DenseRecRegressor(n_factors=4, hidden_layer_sizes=(5,)),
    "sequence": SequenceRatingRegressor(n_factors=4, hidden_size=3, alpha=10.0),
}
TABLES = (
    "user_factors",
    "item_factors",
    "user_biases",
    "item_biases",
    "rated_factors",
    "seen_factors",
)


@pytest.fixture(params=ESTIMATORS)
def make(request, monkeypatch):
    """An estimator for which all tables are large."""
    template = ESTIMATORS[request.param]
    monkeypatch.setattr(getmodule(type(template)), "SPARSE_FROM", 0)
    defaults = {"batch_size": 100, "max_epochs": 3, "random_state": 0}
    return lambda **options: type(template)(**{**template.get_params(), **defaults, **options})


def is_rowwise(model):
    assert model.module_.sparse == isinstance(model.net_.optimizer_, RowwiseAdam)
    return model.module_.sparse


@pytest.mark.parametrize("estimator", ESTIMATORS.values(), ids=ESTIMATORS)
def test_only_large_tables_are_moved_by_rows(estimator):
    estimator = copy.deepcopy(estimator).set_params(max_epochs=1)
    assert is_rowwise(estimator.set_params(batch_size=1).fit(X[::8], Y[::8]))
    assert not is_rowwise(estimator.set_params(batch_size=1000).fit(X[::8], Y[::8]))
    assert type(estimator.net_.optimizer_) is torch.optim.Adam


def test_fits_are_reproducible_and_like_fits_with_dense_gradients(make):
    model, again = (make(max_epochs=4).fit(X, Y) for _ in range(2))
    assert np.array_equal(model.predict(X), again.predict(X))
    whole = make(max_epochs=4, optimizer=torch.optim.Adam).fit(X, Y)
    assert not is_rowwise(whole)
    assert not np.array_equal(model.predict(X), whole.predict(X))
    assert np.corrcoef(model.predict(X), whole.predict(X))[0, 1] > 0.9
    assert model.loss_curve_[-1] == pytest.approx(whole.loss_curve_[-1], rel=0.2)
    for name, values in model.module_.named_parameters():
        is_table = name.startswith(TABLES)
        assert ("last_step" in model.net_.optimizer_.state[values]) == is_table
        assert not is_table or values[0].eq(0).all()


def test_training_continues_with_more_rows_and_after_pickling(make):
    old = X["user"] < 40
    model = make(warm_start=True).fit(X[old], Y[old])
    again = pickle.loads(pickle.dumps(model))
    for each in (model, again):
        assert is_rowwise(each.partial_fit(X[~old], Y[~old]))
    assert np.array_equal(model.predict(X), again.predict(X))
    assert is_rowwise(again.fit(X, Y))


def test_a_warm_start_continues_the_moments_of_tables_that_keep_their_size(make):
    def state_of(model):
        return model.net_.optimizer_.state[model.module_.item_factors.weight]

    model = make(warm_start=True, max_epochs=1).fit(X, Y)
    n_steps = state_of(model)["step"]
    assert state_of(model.fit(X, Y))["step"] == 2 * n_steps
    state = state_of(model.fit(X.assign(item=X["item"] + 1), Y))
    assert state["step"] == len(model.net_.history[-1, "batches"])
    assert len(state["exp_avg_sq"]) == model.module_.n_items + 1


def test_a_warm_start_can_change_between_dense_and_sparse_gradients(make):
    model = make(warm_start=True, optimizer=torch.optim.SGD, lr=0.01).fit(X, Y)
    assert not is_rowwise(model)
    assert is_rowwise(model.set_params(optimizer=None).fit(X, Y))
    assert not is_rowwise(model.set_params(optimizer=torch.optim.Adam).fit(X, Y))
