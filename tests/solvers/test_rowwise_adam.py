"""The Adam that moves only the rows that a batch touches."""
# SPDX-License-Identifier: BSD-3-Clause

import copy
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch.optim import lr_scheduler
from torch.testing import assert_close

from sklrec import (
    DenseRecRegressor,
    MFRegressor,
    SequenceRatingRegressor,
    dense,
    matrix_factorization,
    sequence,
)
from sklrec._solvers.rowwise_adam import RowwiseAdam
from sklrec.datasets import make_ratings
from sklrec.modules import MatrixFactorization

X, Y = make_ratings(60, 40, 800, random_state=0)


def sparse_gradient(rows, values, shape, **options):
    options = {"check_invariants": True, **options}
    return torch.sparse_coo_tensor(torch.tensor([rows]), torch.tensor(values), shape, **options)


def random_gradients(n_steps, shape, seed=0):
    """Gradients that hold some rows, some of them twice, and never row 0 or the last one."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(n_steps):
        rows = torch.randint(1, shape[0] - 1, (3,), generator=generator)
        values = torch.randn(3, *shape[1:], dtype=torch.float64, generator=generator)
        yield torch.sparse_coo_tensor(rows[None], values, shape, check_invariants=True)


def start(*shape):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(9))


@pytest.mark.parametrize("shape", [(6,), (6, 2)])
@pytest.mark.parametrize("coalesced", [False, True])
def test_the_rows_of_a_gradient_move_by_its_share_of_their_second_moment(shape, coalesced):
    table = start(*shape)
    expected, square = table.clone(), torch.zeros_like(table)
    optimizer = RowwiseAdam([table], lr=0.1, betas=(0.5, 0.8), eps=1e-3)
    for step, gradient in enumerate(random_gradients(20, shape), start=1):
        table.grad = gradient.coalesce() if coalesced else gradient
        optimizer.step()
        whole = gradient.to_dense()
        square = 0.8 * square + 0.2 * whole**2
        expected -= 0.1 * whole / ((square / (1 - 0.8**step)).sqrt() + 1e-3)
    assert_close(table, expected)
    assert torch.equal(table[[0, -1]], start(*shape)[[0, -1]])


def test_a_row_that_comes_once_ends_where_adam_takes_it():
    """Adam goes on for many steps by what the momentum holds."""
    betas = 0.9, 0.999
    rowwise, dense = torch.zeros(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    ours = RowwiseAdam([rowwise], lr=0.01, betas=betas)
    theirs = torch.optim.Adam([dense], lr=0.01, betas=betas)
    for step in range(3000):
        held = [1] if step == 1500 else []
        rowwise.grad = sparse_gradient(held, [2.0] * len(held), (3,), dtype=torch.float64)
        dense.grad = rowwise.grad.to_dense()
        ours.step()
        theirs.step()
    assert rowwise[1].item() == pytest.approx(dense[1].item(), rel=0.02)
    assert rowwise[[0, 2]].tolist() == [0, 0]


def test_a_row_that_always_comes_moves_as_with_adam():
    rowwise, dense = torch.zeros(2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    ours, theirs = RowwiseAdam([rowwise], lr=0.01), torch.optim.Adam([dense], lr=0.01)
    for _ in range(50):
        rowwise.grad = sparse_gradient([1], [2.0], (2,), dtype=torch.float64)
        dense.grad = rowwise.grad.to_dense()
        ours.step()
        theirs.step()
    assert_close(rowwise, dense)


def test_dense_gradients_move_parameters_as_adam_does():
    ours, theirs = start(6, 3), start(6, 3)
    groups = {"lr": 0.05, "betas": (0.8, 0.95), "eps": 1e-6}
    optimizer = RowwiseAdam([ours], **groups)
    reference = torch.optim.Adam([theirs], **groups)
    for gradient in random_gradients(20, (6, 3)):
        ours.grad, theirs.grad = gradient.to_dense(), gradient.to_dense()
        optimizer.step()
        reference.step()
    assert_close(ours, theirs)


def test_groups_may_have_a_rate_of_their_own():
    first, second = torch.zeros(2), torch.zeros(2)
    optimizer = RowwiseAdam([{"params": [first]}, {"params": [second], "lr": 0.01}], lr=0.1)
    for table in (first, second):
        table.grad = sparse_gradient([1], [3.0], (2,))
    optimizer.step()
    # The first step is the rate itself, whatever the gradient.
    assert_close(first, torch.tensor([0.0, -0.1]))
    assert_close(second, torch.tensor([0.0, -0.01]))


def test_row_0_and_empty_batches_move_nothing():
    table = torch.zeros(3)
    optimizer = RowwiseAdam([table], lr=1.0)
    for rows in ([], [0, 0], [0]):
        table.grad = sparse_gradient(rows, [0.0] * len(rows), (3,))
        optimizer.step()
    assert table.tolist() == [0, 0, 0]
    optimizer.zero_grad()
    assert table.grad is None
    optimizer.step()
    assert optimizer.state[table]["step"] == 3


def test_schedules_of_torch_set_the_step():
    table = torch.zeros(9)
    optimizer = RowwiseAdam([table], lr=1.0, betas=(0.9, 0.0))  # each step is the rate
    schedule = lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=4)
    for row in range(1, 6):
        table.grad = sparse_gradient([row], [7.0], (9,))
        optimizer.step()
        schedule.step()
    assert_close(table[1:6], -torch.tensor([1, 0.75, 0.5, 0.25, 0]))


@pytest.mark.parametrize("how", ["state_dict", "pickle"])
def test_it_goes_on_from_its_saved_state(how):
    table, layer = start(6, 2), start(3)
    optimizer = RowwiseAdam([{"params": [table]}, {"params": [layer], "lr": 0.3}], lr=0.1)

    def go_on(optimizer, seed):
        table, layer = (group["params"][0] for group in optimizer.param_groups)
        for gradient in random_gradients(5, (6, 2), seed):
            table.grad, layer.grad = gradient, gradient.to_dense()[:3, 0]
            optimizer.step()
        return table, layer

    go_on(optimizer, 0)
    optimizer.zero_grad()
    if how == "pickle":
        other = pickle.loads(pickle.dumps(optimizer))
    else:
        groups = [{"params": [table.clone()]}, {"params": [layer.clone()], "lr": 9.0}]
        other = RowwiseAdam(groups, lr=9.0)
        other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    assert_close(go_on(other, 1), go_on(optimizer, 1), rtol=0, atol=0)


def test_a_closure_is_called_with_gradients_on():
    module = MatrixFactorization(4, 3, 2, sparse=True, generator=torch.Generator().manual_seed(0))
    optimizer = RowwiseAdam(module.parameters(), lr=0.01)
    batch = torch.tensor([1, 2, 2]), torch.tensor([3, 1, 1]), torch.tensor([1.0, -1.0, -1.0])

    def closure():
        optimizer.zero_grad()
        assert torch.is_grad_enabled()
        loss, _ = module.backward_squared_error(*batch)
        return loss.item()

    first, second = optimizer.step(closure), optimizer.step(closure)
    assert 0 < second < first


# --- the estimators that train by it

ESTIMATORS = {
    "mf": (MFRegressor, matrix_factorization, {"n_factors": 4, "solver": "adam"}),
    "dense": (DenseRecRegressor, dense, {"n_factors": 4, "hidden_layer_sizes": (5,)}),
    "sequence": (SequenceRatingRegressor, sequence, {"n_factors": 4, "hidden_size": 3}),
}
TABLES = ("user_factors", "item_factors", "user_biases", "item_biases")
TABLES += ("rated_factors", "seen_factors")


@pytest.fixture(params=ESTIMATORS)
def make(request, monkeypatch):
    """An estimator for which all tables are large."""
    estimator, module, sizes = ESTIMATORS[request.param]
    monkeypatch.setattr(module, "SPARSE_FROM", 0)
    defaults = {**sizes, "batch_size": 100, "max_epochs": 3, "random_state": 0}
    return lambda **options: estimator(**{**defaults, **options})


def has_sparse_gradients(model):
    found = isinstance(model.net_.optimizer_, RowwiseAdam)
    assert model.module_.sparse == found
    return found


@pytest.mark.parametrize("name", ESTIMATORS)
def test_only_large_tables_are_moved_row_by_row(name):
    estimator, _, sizes = ESTIMATORS[name]
    few, options = slice(None, None, 8), {**sizes, "max_epochs": 1}
    assert has_sparse_gradients(estimator(**options, batch_size=1).fit(X[few], Y[few]))
    model = estimator(**options, batch_size=1000).fit(X[few], Y[few])
    assert not has_sparse_gradients(model)
    assert type(model.net_.optimizer_) is torch.optim.Adam


def test_an_optimizer_of_the_users_gets_dense_gradients(make):
    model = make(optimizer=torch.optim.SGD, lr=0.01).fit(X, Y)
    assert type(model.net_.optimizer_) is torch.optim.SGD
    assert not model.module_.sparse


def test_implicit_features_have_dense_gradients(monkeypatch):
    monkeypatch.setattr(matrix_factorization, "SPARSE_FROM", 0)
    model = MFRegressor(2, solver="adam", implicit_features=True, max_epochs=1).fit(X, Y)
    assert type(model.net_.optimizer_) is torch.optim.Adam


def test_fits_are_reproducible_and_like_those_with_dense_gradients(make):
    model, again = (make(max_epochs=8).fit(X, Y) for _ in range(2))
    assert np.array_equal(model.predict(X), again.predict(X))
    whole = make(max_epochs=8, optimizer=torch.optim.Adam).fit(X, Y)
    assert not np.array_equal(model.predict(X), whole.predict(X))
    assert np.corrcoef(model.predict(X), whole.predict(X))[0, 1] > 0.9
    assert model.loss_curve_[-1] == pytest.approx(whole.loss_curve_[-1], rel=0.2)


def test_tables_are_moved_by_rows_and_layers_as_a_whole(make):
    model = make().fit(X, Y)
    for name, values in model.module_.named_parameters():
        is_table = name.startswith(TABLES)
        assert ("last_step" in model.net_.optimizer_.state[values]) == is_table
        if is_table:
            assert values[0].eq(0).all()


def test_the_penalty_shrinks_rows(make):
    sizes = [
        make(alpha=alpha, max_epochs=8).fit(X, Y).item_factors_.std() for alpha in (0.0, 300.0)
    ]
    assert sizes[1] < 0.5 * sizes[0]


def test_weights_count(make):
    weight = np.where(np.arange(len(Y)) % 2, 1.0, 0.0)
    model = make().fit(X, Y, sample_weight=weight)
    kept = make().fit(X[weight > 0], Y[weight > 0])
    assert np.array_equal(model.predict(X), kept.predict(X))
    other = make().fit(X, Y, sample_weight=weight + 0.5)
    assert not np.allclose(other.predict(X), make().fit(X, Y).predict(X))


def test_early_stopping_goes_back_to_the_best_epoch(make):
    model = make(max_epochs=40, lr=0.1, n_iter_no_change=2, alpha=0.0)
    model.fit(X[:600], Y[:600], X_val=X[600:], y_val=Y[600:])
    assert model.n_iter_ < 40
    found = ((model.set_params(rating_scale=None).predict(X[600:]) - Y[600:]) ** 2).mean()
    assert found <= min(model.validation_curve_) + 1e-6


def test_training_goes_on_with_more_rows_and_after_pickling(make):
    old = X["user"] < 40
    model = make(warm_start=True).fit(X[old], Y[old])
    copied = pickle.loads(pickle.dumps(model))
    for one in (model, copied):
        one.partial_fit(X[~old], Y[~old]).fit(X, Y)
        assert has_sparse_gradients(one)
    assert np.array_equal(model.predict(X), copied.predict(X))


def test_a_further_fit_goes_on_with_the_moments(make):
    """With tables of the same size; those that grow start anew."""
    model = make(warm_start=True, max_epochs=1).fit(X, Y)
    n_steps = model.net_.optimizer_.state[model.module_.item_factors.weight]["step"]
    model.fit(X, Y)
    state = model.net_.optimizer_.state[model.module_.item_factors.weight]
    assert state["step"] == 2 * n_steps
    more = X.assign(item=X["item"] + 1)
    model.fit(more, Y)
    state = model.net_.optimizer_.state[model.module_.item_factors.weight]
    assert state["step"] == len(model.net_.history[-1, "batches"])
    assert len(state["exp_avg_sq"]) == model.module_.n_items + 1


def test_models_go_on_from_whole_tables_by_rows(make, monkeypatch):
    model = make(warm_start=True, optimizer=torch.optim.Adam).fit(X, Y)
    model.set_params(optimizer=None)
    assert has_sparse_gradients(model.fit(X, Y))
    assert not has_sparse_gradients(model.set_params(optimizer=torch.optim.Adam).fit(X, Y))


def test_a_fit_does_not_wait_for_the_compiler_of_torch():
    script = (
        "import sys, numpy as np\n"
        "from sklrec import MFRegressor\n"
        "X = np.arange(20).reshape(10, 2)\n"
        "model = MFRegressor(2, solver='adam', batch_size=1).fit(X, np.arange(10.0))\n"
        "print(model.module_.sparse, 'torch._dynamo' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.split() == ["True", "False"]
