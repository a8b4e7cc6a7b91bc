"""The networks."""
# SPDX-License-Identifier: BSD-3-Clause

import copy

import pytest
import torch
from torch.testing import assert_close

from sklrec._solvers.rowwise import RowwiseSGD
from sklrec.modules import MatrixFactorization

USERS = torch.tensor([1, 5, 1, 0, 3, 0, 5])
ITEMS = torch.tensor([7, 2, 2, 4, 0, 0, 2])
RATINGS = torch.tensor([4.0, 1.0, 5.0, 2.5, 3.0, 3.5, 2.0], dtype=torch.float64)
WEIGHT = torch.tensor([1.0, 0.5, 2.0, 1.5, 0.1, 3.0, 1.0], dtype=torch.float64)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def make_module(*, biased=True, **options):
    """A module in float64 whose every table holds something."""
    options = {"global_mean": 3.2 if biased else 0.0, "scale": 1.5, "init_std": 0.7, **options}
    module = MatrixFactorization(5, 7, 3, biased=biased, generator=seeded(), **options).double()
    if biased:
        with torch.no_grad():
            module.user_biases[1:] = torch.linspace(-1, 1, 5)
            module.item_biases[1:] = torch.linspace(1, -0.5, 7)
    return module


def dense_gradients(module):
    gradients = {name: table.grad for name, table in module.named_parameters()}
    return {name: g.to_dense() if g.is_sparse else g for name, g in gradients.items()}


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("alpha", [0.0, 0.3])
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["unweighted", "weighted"])
@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
@pytest.mark.parametrize("biased", [False, True], ids=["factors alone", "biased"])
def test_closed_form_gradient_is_that_of_autograd(biased, sparse, weight, alpha, reduction):
    module = make_module(biased=biased, sparse=sparse)
    options = {"alpha": alpha, "reduction": reduction}
    loss, predictions = module.backward_squared_error(USERS, ITEMS, RATINGS, weight, **options)

    plain = copy.deepcopy(module)
    plain.zero_grad()
    w = torch.ones_like(RATINGS) if weight is None else weight
    expected = plain(USERS, ITEMS)
    error = w * (RATINGS - expected).square()
    penalty = plain.user_factors(USERS).square().sum(1) + plain.item_factors(ITEMS).square().sum(1)
    if biased:
        penalty = penalty + plain.user_biases[USERS].square() + plain.item_biases[ITEMS].square()
    total = (error / plain.scale.square() + alpha * w * penalty).sum()
    (total / w.sum() if reduction == "mean" else total / 2).backward()

    assert_close(loss, error.sum() / w.sum(), msg="the value leaves the penalty out")
    assert_close(predictions, expected.detach())
    assert not predictions.requires_grad
    assert all(table.grad.is_sparse is sparse for table in module.parameters())
    found = dense_gradients(module)
    assert_close(found, dense_gradients(plain))
    assert not any(gradient[0].any() for gradient in found.values())
    assert all(gradient[1:].any() for gradient in found.values())


@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
def test_gradients_of_two_batches_add_up(sparse):
    whole, parts = make_module(sparse=sparse), make_module(sparse=sparse)
    whole.backward_squared_error(USERS, ITEMS, RATINGS, alpha=0.3, reduction="sum")
    for rows in (slice(3), slice(3, None)):
        parts.backward_squared_error(
            USERS[rows], ITEMS[rows], RATINGS[rows], alpha=0.3, reduction="sum"
        )
    assert_close(dense_gradients(parts), dense_gradients(whole))


def test_rating_is_mean_plus_scaled_biases_and_dot_product():
    module = make_module()
    users, items = torch.tensor([2, 0, 3, 0]), torch.tensor([6, 6, 0, 0])
    p, q = module.user_factors.weight[2], module.item_factors.weight[6]
    b_u, b_i = module.user_biases, module.item_biases
    assert_close(
        module(users, items),
        torch.stack(
            [
                3.2 + 1.5 * (b_u[2] + b_i[6] + p @ q),
                3.2 + 1.5 * b_i[6],
                3.2 + 1.5 * b_u[3],
                torch.tensor(3.2, dtype=torch.float64),
            ]
        ),
        check_dtype=False,
        rtol=1e-6,  # the buffers were made in float32
        atol=0,
    )


def test_factors_alone_are_exactly_the_dot_product():
    module = MatrixFactorization(5, 7, 20, biased=False, generator=seeded())
    assert sorted(dict(module.named_parameters())) == [
        "item_factors.weight",
        "user_factors.weight",
    ]
    assert module.user_factors.weight.shape == (6, 20)
    expected = (module.user_factors(USERS) * module.item_factors(ITEMS)).sum(1)
    assert torch.equal(module(USERS, ITEMS), expected)


def test_factors_alone_have_no_mean():
    with pytest.raises(ValueError, match=r"biased=False has no global mean, got global_mean=3\.5"):
        MatrixFactorization(2, 2, biased=False, global_mean=3.5)


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("n", [1, 7])
def test_ratings_have_one_dimension(n, biased):
    module = make_module(biased=biased)
    assert module(USERS[:n], ITEMS[:n]).shape == (n,)
    loss, predictions = module.backward_squared_error(USERS[:n], ITEMS[:n], RATINGS[:n])
    assert loss.shape == ()
    assert predictions.shape == (n,)


@pytest.mark.parametrize("biased", [False, True])
def test_all_pairs_are_what_forward_gives_for_each(biased):
    module = make_module(biased=biased)
    users, items = torch.arange(6), torch.tensor([3, 0, 7, 3])
    pairs = torch.cartesian_prod(users, items)
    found = module.all_pairs(users, items)
    assert found.shape == (6, 4)
    assert_close(found, module(pairs[:, 0], pairs[:, 1]).view(6, 4))


def unknown_rows(module):
    return [table[0] for table in module.parameters()]


def test_unknown_rows_stay_zero_in_row_wise_training():
    module = make_module(sparse=True)
    groups = [
        {"params": [module.user_factors.weight, module.user_biases], "load": torch.ones(6)},
        {"params": [module.item_factors.weight, module.item_biases], "load": torch.ones(8)},
    ]
    optimizer = RowwiseSGD(groups, lr=0.1)
    before = copy.deepcopy(module)
    for _ in range(3):
        optimizer.zero_grad()
        module.backward_squared_error(USERS, ITEMS, RATINGS, alpha=0.1)
        optimizer.step()
    assert not any(row.any() for row in unknown_rows(module))
    assert not torch.equal(module.user_biases[1:], before.user_biases[1:])


def test_unknown_rows_stay_zero_in_a_loop_of_ones_own():
    module = make_module()
    before = copy.deepcopy(module)
    optimizer = torch.optim.AdamW(module.parameters(), lr=0.1, weight_decay=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(module(USERS, ITEMS), RATINGS).backward()
        optimizer.step()
    assert not any(row.any() for row in unknown_rows(module))
    assert not torch.equal(module.user_biases[1:], before.user_biases[1:])


def test_start_is_normal_and_biases_are_zero():
    module = MatrixFactorization(400, 300, 50, init_std=0.2, generator=seeded())
    for table in (module.user_factors.weight, module.item_factors.weight):
        assert not table[0].any()
        assert abs(table[1:].mean().item()) < 0.01
        assert table[1:].std().item() == pytest.approx(0.2, rel=0.02)
    assert not module.user_biases.any()
    assert not module.item_biases.any()
    assert (module.n_users, module.n_items) == (400, 300)


@pytest.mark.parametrize("biased", [False, True])
def test_growing_keeps_the_rows_that_were_there(biased):
    module = make_module(biased=biased)
    before = copy.deepcopy(module)
    assert module.grow(8, 7, seeded(1)) is module
    assert (module.n_users, module.n_items) == (8, 7)
    assert torch.equal(module.user_factors.weight[:6], before.user_factors.weight)
    assert torch.equal(module.item_factors.weight, before.item_factors.weight)
    new = module.user_factors.weight[6:]
    assert new.shape == (3, 3)
    assert (new != 0).all()
    assert new.dtype == torch.float64
    if biased:
        assert torch.equal(module.user_biases[:6], before.user_biases)
        assert not module.user_biases[6:].any()
    assert torch.equal(module(USERS, ITEMS), before(USERS, ITEMS))
    module.backward_squared_error(torch.tensor([8]), torch.tensor([7]), RATINGS[:1])
    assert module.user_factors.weight.grad[8].any()


def test_growing_by_nothing_leaves_the_tables_themselves():
    module = make_module()
    tables = list(module.parameters())
    module.grow(5, 7)
    assert all(a is b for a, b in zip(module.parameters(), tables, strict=True))


def test_a_generator_leaves_the_global_state_alone():
    before = torch.get_rng_state()
    first = MatrixFactorization(5, 7, 3, generator=seeded()).grow(9, 9, seeded(1))
    assert torch.equal(torch.get_rng_state(), before)
    second = MatrixFactorization(5, 7, 3, generator=seeded()).grow(9, 9, seeded(1))
    assert_close(first.state_dict(), second.state_dict(), rtol=0, atol=0)


def test_without_a_generator_the_global_one_is_the_source():
    with torch.random.fork_rng():
        torch.manual_seed(3)
        first = MatrixFactorization(5, 7, 3)
        second = MatrixFactorization(5, 7, 3)
        torch.manual_seed(3)
        again = MatrixFactorization(5, 7, 3)
    assert torch.equal(first.user_factors.weight, again.user_factors.weight)
    assert not torch.equal(first.user_factors.weight, second.user_factors.weight)
