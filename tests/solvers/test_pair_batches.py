"""The batches of a training on pairs, made once."""
# SPDX-License-Identifier: BSD-3-Clause

import torch

from sklrec._solvers.tensors import InteractionTensors
from sklrec._solvers.pair_batches import PairBatches
from sklrec.modules._pairs import GROUPED_FROM

N, SIZE = 5 * GROUPED_FROM + 3, 2 * GROUPED_FROM


def data():
    generator = torch.Generator().manual_seed(0)
    users = torch.randint(1, 60, (N,), generator=generator)
    items = torch.randint(1, 20, (N,), generator=generator)
    ratings = 100.0 * users + items
    return InteractionTensors({"users": users, "items": items}, ratings, ratings / 1000)


def batches(seed=0):
    return PairBatches(data(), SIZE, torch.Generator().manual_seed(seed))


def test_an_epoch_has_every_rating_once_and_whole():
    made = batches()
    epoch = list(made)
    assert len(made) == len(epoch) == 3
    assert sorted(len(ratings) for _, ratings in epoch) == [N - 2 * SIZE, SIZE, SIZE]
    for X, ratings in epoch:
        user, item = X["pairs"].user, X["pairs"].item
        codes = 100.0 * user.spread(user.rows) + item.spread(item.rows)
        assert torch.equal(codes, ratings)
        assert torch.equal(X["sample_weight"], ratings / 1000)
    seen = torch.cat([ratings for _, ratings in epoch]).sort().values
    assert torch.equal(seen, data().y.sort().values)


def test_epochs_have_the_same_batches_in_other_orders():
    made = batches()
    epochs = [[id(ratings) for _, ratings in made] for _ in range(6)]
    assert len({frozenset(epoch) for epoch in epochs}) == 1
    assert len({tuple(epoch) for epoch in epochs}) > 1


def test_batches_follow_the_generator():
    first, same, other = (next(iter(batches(seed)))[1] for seed in (1, 1, 2))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


def test_batches_of_cohorts_have_few_users_each_and_every_rating_once():
    generator = torch.Generator().manual_seed(0)
    users = torch.randint(1, 4000, (20 * SIZE,), generator=generator)
    log = InteractionTensors({"users": users, "items": users}, torch.arange(20.0 * SIZE), None)
    alike = PairBatches(log, SIZE, torch.Generator().manual_seed(0))
    made = PairBatches(log, SIZE, torch.Generator().manual_seed(0), n_cohorts=20)
    assert torch.equal(torch.cat([y for _, y in made]).sort().values, log.y)
    n_users = [len(X["pairs"].user.rows) for X, _ in made]
    # 200 users in a cohort, and of two at most in a batch; drawn from all, some 480 of 512
    assert max(n_users) <= 400
    assert min(len(X["pairs"].user.rows) for X, _ in alike) > 450


def test_what_it_suits():
    assert PairBatches.suits(data(), SIZE)
    assert not PairBatches.suits(data(), GROUPED_FROM - 1)
    assert not PairBatches.suits(object(), SIZE)
