"""The static part of sequence models: its fit, rows without a rating, and updates."""
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import pytest
import torch

from sklrec._data.histories import Histories
from sklrec._solvers.fold_in import SideEquations
from sklrec._solvers.sequence_tensors import SequenceTensors
from sklrec._solvers.static_part import (
    LeftOutItems,
    add_expected_ratings,
    fit_static_part,
)
from sklrec.datasets import make_ratings
from sklrec.modules import ResidualLSTMRating

N_USERS, N_ITEMS = 60, 25


@pytest.fixture(scope="module")
def log():
    """Histories of a generated log, with codes from 1."""
    X, y = make_ratings(N_USERS, N_ITEMS, 900, random_state=0)
    codes = (np.unique(X[name], return_inverse=True)[1] + 1 for name in ("user", "item"))
    return Histories(*codes, y.to_numpy(float), X["timestamp"].to_numpy(), N_USERS + 1)


def new_module(bidirectional=False):
    generator = torch.Generator().manual_seed(0)
    sizes = N_ITEMS + 1, 3, 2  # one item has no ratings
    return ResidualLSTMRating(
        *sizes, bidirectional=bidirectional, global_mean=3.0, scale=1.5, generator=generator
    ).eval()


def fitted(log, weights=None, **params):
    module = new_module(**params)
    weights = np.ones(len(log.items)) if weights is None else weights
    generator = torch.Generator().manual_seed(1)
    return module, fit_static_part(module, log, weights, generator)


def tensors_of(log, **params):
    users, items, times = log.sequences, log.items, log.times
    return SequenceTensors(log, users, items, times, log.ratings, **params)


def test_rows_without_a_rating_are_those_of_a_log_without_it(log):
    weights = np.random.RandomState(0).rand(len(log.items)) + 0.5
    module, left_out = fitted(log, weights)
    z = torch.from_numpy((log.ratings - 3.0) / 1.5)
    users, items = torch.from_numpy(log.sequences), torch.from_numpy(log.items)
    means, covariances = left_out.without(users, items, z, torch.from_numpy(weights))
    # A second model of the same distributions, whose equations lack one rating.
    of_all = left_out.equations
    assert torch.allclose(of_all.solve()[0].float(), module.users.item_rows[1:-1], atol=1e-4)
    for row in (0, 100, 500):
        item = int(items[row]) - 1
        keep = (log.items == log.items[row]) & (np.arange(len(z)) != row)
        G, y = (torch.zeros_like(part[0]) for part in (of_all.G, of_all.y))
        for k in np.flatnonzero(keep):
            user = int(left_out.users[users[k]])
            x = torch.cat([torch.ones(1), left_out.rows[user, 1:]]).double()
            C = left_out.covariances[user].double()
            products = torch.outer(x, x)[tuple(torch.triu_indices(4, 4))]
            of_factors = torch.cat([torch.zeros(4), C[4:]])
            share = left_out.shares[user] * weights[k]
            G += share * (products + of_factors)
            bias = torch.cat([torch.zeros(1), C[1:4]])
            y += share * (x * (z[k] - left_out.rows[user, 0]) - bias)
        one = {name: getattr(of_all, name)[item : item + 1] for name in ("centre", "spread")}
        without = SideEquations(
            G[None], y[None], **one, precision=of_all.precision, prior=of_all.prior
        )
        mean, covariance = without.solve()
        assert torch.allclose(means[row].double(), mean[0], atol=1e-3)
        assert torch.allclose(covariances[row].double(), covariance[0], atol=1e-3)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_expected_ratings_are_those_of_the_module(log, bidirectional):
    module, _ = fitted(log, bidirectional=bidirectional)
    params = {"bidirectional": bidirectional, "max_len": 4}
    data, given = tensors_of(log, **params), tensors_of(log, **params)
    add_expected_ratings(module, given)
    with torch.no_grad():
        for (inputs, _), (more, _) in zip(data.batches(64), given.batches(64), strict=True):
            assert torch.equal(inputs["items"], more["items"])
            found = module(**inputs)  # the LSTM adds nothing at its start
            assert torch.allclose(found, 3.0 + 1.5 * more["expected"].double(), atol=1e-5)
            assert torch.equal(module(**more), 3.0 + 1.5 * more["expected"].double())


def test_expected_ratings_of_training_are_as_wrong_as_those_of_new_ratings(log):
    module, left_out = fitted(log)
    errors = []
    for how in ({}, {"left_out": left_out}):
        data = tensors_of(log)
        if how:
            n = len(log.items)
            how |= {"weights": torch.ones(n).double(), "places": torch.arange(n)}
        add_expected_ratings(module, data, **how)
        z = module._from_ratings(data.y, module.scale)
        errors.append(float((z - data.X["expected"]).square().mean()))
    assert errors[1] > 1.02 * errors[0]


def test_unrated_items_are_unknown_and_users_are_forgotten(log):
    module, _ = fitted(log)
    users = module.users
    assert torch.equal(users.item_rows[-1], users.item_rows[0])
    assert torch.equal(users.item_terms[-1], users.item_terms[0])
    assert all(len(table) != N_USERS + 1 for table in module.state_dict().values() if table.dim())


def test_repeated_pairs_are_left_out_one_by_one():
    codes = np.array([1, 1, 2, 2, 3, 3]), np.array([1, 1, 1, 2, 2, 1])
    log = Histories(*codes, np.array([5.0, 1, 4, 2, 3, 5]), np.arange(6), 4)
    module = ResidualLSTMRating(2, 2, 2).eval()
    left_out = fit_static_part(module, log, np.ones(6), torch.Generator().manual_seed(0))
    assert isinstance(left_out, LeftOutItems)
    z = torch.from_numpy(log.ratings)
    codes = torch.from_numpy(log.sequences), torch.from_numpy(log.items)
    found, _ = left_out.without(*codes, z, torch.ones(6).double())
    assert found.isfinite().all()
    assert not torch.allclose(found[0], found[1])
