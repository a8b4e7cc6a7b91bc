"""Batches of training data in memory, of rows and of grouped pairs."""
# SPDX-License-Identifier: BSD-3-Clause

import pytest
import torch

from sklrec._solvers.tensors import BatchIterator, InteractionTensors, PairBatches
from sklrec.modules._pairs import GROUPED_FROM

N, SIZE = 5 * GROUPED_FROM + 3, 2 * GROUPED_FROM


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


# --- rows


@pytest.fixture
def tensors():
    n = torch.arange(10)
    return InteractionTensors({"users": n, "items": 10 * n}, n / 2, 1.0 + n)


def order_of(batches):
    return torch.cat([inputs["users"] for inputs, _ in batches]).tolist()


@pytest.mark.parametrize(
    ("weight", "expected", "of_partners", "mean_square"),
    [
        (None, [0, 3, 0, 1, 0], [0, 10 + 20 + 10, 0, 20, 0], (4 + 1 + 0 + 9) / 4),
        (
            torch.tensor([1.0, 2.0, 0.5, 4.0]),
            [0, 3.5, 0, 4, 0],
            [0, 10 + 2 * 20 + 0.5 * 10, 0, 4 * 20, 0],
            (4 + 2 * 1 + 0 + 4 * 9) / 7.5,
        ),
    ],
)
def test_weights_of_rows_and_the_mean_square(weight, expected, of_partners, mean_square):
    users, items = torch.tensor([1, 1, 1, 3]), torch.tensor([0, 1, 0, 1])
    ratings = torch.tensor([1.0, 2.0, 3.0, 6.0])
    data = InteractionTensors({"users": users, "items": items}, ratings, weight)
    assert data.row_weights("users", 5).tolist() == expected
    assert data.row_weights("users", 5, torch.tensor([10.0, 20.0])).tolist() == of_partners
    assert data.mean_square(torch.tensor(3.0)) == pytest.approx(mean_square)


@pytest.mark.parametrize(
    ("batch_size", "sizes"), [(1, [1] * 10), (4, [4, 4, 2]), (5, [5, 5]), (10, [10]), (99, [10])]
)
def test_an_epoch_has_every_row_once(tensors, batch_size, sizes):
    iterator = BatchIterator(tensors, batch_size, generator())
    batches = list(iterator)
    assert [len(ratings) for _, ratings in batches] == sizes
    assert len(iterator) == len(batches)
    assert sorted(order_of(batches)) == list(range(10))
    for inputs, ratings in batches:
        assert list(inputs) == ["users", "items", "sample_weight"]
        assert torch.equal(inputs["items"], 10 * inputs["users"])
        assert torch.equal(inputs["sample_weight"], 1.0 + inputs["users"])
        assert torch.equal(ratings, inputs["users"] / 2)


def test_the_order_comes_from_the_generator(tensors):
    iterator, again = (BatchIterator(tensors, 4, generator()) for _ in range(2))
    first, second = order_of(iterator), order_of(iterator)
    assert first != second
    assert [order_of(again), order_of(again)] == [first, second]
    assert order_of(BatchIterator(tensors, 4, generator(1))) != first
    assert order_of(BatchIterator(tensors, 4)) == list(range(10))


# --- grouped pairs


@pytest.fixture
def log():
    users = torch.randint(1, 60, (N,), generator=generator(0))
    items = torch.randint(1, 20, (N,), generator=generator(1))
    ratings = 100.0 * users + items
    return InteractionTensors({"users": users, "items": items}, ratings, ratings / 1000)


def test_an_epoch_of_pairs_has_every_rating_once(log):
    batches = PairBatches(log, SIZE, generator())
    epoch = list(batches)
    assert len(batches) == len(epoch) == 3
    assert sorted(len(ratings) for _, ratings in epoch) == [N - 2 * SIZE, SIZE, SIZE]
    for X, ratings in epoch:
        user, item = X["pairs"].user, X["pairs"].item
        assert torch.equal(100.0 * user.spread(user.rows) + item.spread(item.rows), ratings)
        assert torch.equal(X["sample_weight"], ratings.float() / 1000)
    ratings = torch.cat([ratings for _, ratings in epoch])
    assert torch.equal(ratings.sort().values, log.y.sort().values)


def test_epochs_of_pairs_have_the_same_batches_in_other_orders(log):
    batches = PairBatches(log, SIZE, generator())
    epochs = [[id(X["pairs"]) for X, _ in batches] for _ in range(6)]
    assert len({frozenset(epoch) for epoch in epochs}) == 1
    assert len({tuple(epoch) for epoch in epochs}) > 1
    first, same, other = (
        next(iter(PairBatches(log, SIZE, generator(seed))))[1] for seed in (1, 1, 2)
    )
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


def test_batches_of_cohorts_have_few_users_each_and_every_rating_once():
    users = torch.randint(1, 4000, (20 * SIZE,), generator=generator())
    log = InteractionTensors({"users": users, "items": users}, torch.arange(20.0 * SIZE))
    batches = PairBatches(log, SIZE, generator(), n_cohorts=20)
    assert torch.equal(torch.cat([y for _, y in batches]).sort().values, log.y)
    # A cohort has 200 users and a batch at most two cohorts; random batches have about 480 users.
    assert max(len(X["pairs"].user.rows) for X, _ in batches) <= 400
    random = PairBatches(log, SIZE, generator())
    assert min(len(X["pairs"].user.rows) for X, _ in random) > 450
