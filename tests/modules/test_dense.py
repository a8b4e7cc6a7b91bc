"""DenseNet: its formula written out row by row, its gradients and its random start."""
# SPDX-License-Identifier: BSD-3-Clause

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from sklrec.modules import DenseNet

USERS = torch.tensor([1, 5, 1, 0, 3, 0, 5])
ITEMS = torch.tensor([7, 2, 2, 4, 0, 0, 2])
RATINGS = torch.tensor([4.0, 1.0, 5.0, 2.5, 3.0, 3.5, 2.0], dtype=torch.float64)
WEIGHT = torch.tensor([1.0, 0.5, 2.0, 1.5, 0.1, 3.0, 1.0], dtype=torch.float64)
NAN = torch.nan
SIDE = {
    "numeric": torch.tensor(
        [[-2.0, 2.0], [-0.5, NAN], [NAN, NAN], [1.2, -1.9], [2.0, 2.0], [-1.7, 0.0], [0.0, 0.5]],
        dtype=torch.float64,
    ),
    "categorical": torch.tensor([[1], [2], [0], [2], [1], [0], [3]]),
    "multi_valued": torch.tensor(
        [
            [[4, 5, 0], [6, 0, 0]],
            [[4, 0, 0], [0, 0, 0]],
            [[0, 4, 0], [6, 7, 0]],
            [[0, 0, 0], [0, 0, 0]],
            [[4, 5, 6], [7, 0, 0]],
            [[5, 5, 4], [7, 6, 0]],
            [[0, 0, 6], [6, 6, 0]],
        ]
    ),
}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def make_module(*, side=True, **options):
    """Make a float64 module whose tables hold no zeros but in row 0."""
    if side:
        options |= {"n_numeric": 2, "n_bins": 4, "n_categorical": 1}
        options |= {"n_multi_valued": 2, "n_values": 7}
    options = {"global_mean": 3.2, "scale": 1.5, "init_std": 0.7, **options}
    module = DenseNet(
        5, 7, 3, options.pop("sizes", (4, 2)), generator=seeded(), **options
    ).double()
    with torch.no_grad():
        module.layers[-1].weight.uniform_(-1, 1, generator=seeded(1))
        module.layers[-1].bias.fill_(0.3)
        if module.biased:
            module.user_biases[1:] = torch.linspace(-1, 1, 5)
            module.item_biases[1:] = torch.linspace(1, -0.5, 7)
        if side:
            module.bin_factors[:, -1] = torch.linspace(-0.5, 0.9, 6).view(2, 3)
    return module


def embeddings_by_hand(module, row):
    """Compute the embeddings of one row, one after another, in plain Python."""
    embeddings = [module.user_factors.weight[USERS[row]], module.item_factors.weight[ITEMS[row]]]
    for feature, position in enumerate(SIDE["numeric"][row].tolist()):
        bins = module.bin_factors[feature]
        if np.isnan(position):
            embeddings.append(bins[-1])
        else:  # bins are filled from the middle; those below it count negatively
            shares = [min(max(position - k, 0.0), 1.0) - (k < 0) for k in (-2, -1, 0, 1)]
            embeddings.append(sum(share * bins[k] for k, share in enumerate(shares)))
    values = module.value_factors.weight
    embeddings.append(values[SIDE["categorical"][row, 0]])
    for codes in SIDE["multi_valued"][row].tolist():
        known = [values[code] for code in codes if code > 0]
        embeddings.append(torch.stack(known).mean(0) if known else torch.zeros_like(values[0]))
    return embeddings


def ratings_by_hand(module):
    ratings = []
    for row in range(7):
        user, item, *side = embeddings = embeddings_by_hand(module, row)
        net = module.layers(torch.cat(embeddings))[0]
        z = net + module.user_biases[USERS[row]] + module.item_biases[ITEMS[row]]
        z = z + user @ item + sum(user @ e + item @ e for e in side)
        ratings.append(module.global_mean + module.scale * z)
    return torch.stack(ratings)


def penalties_by_hand(module, alpha):
    """Compute the penalties of all rows for a number, or for factors of rows of tables."""
    if not (has_rows := isinstance(alpha, dict)):
        alpha = {name: torch.tensor([alpha] * 9).double() for name in ROW_PENALTIES}
    penalties = []
    for row in range(7):
        user, item, *side = embeddings_by_hand(module, row)
        u, i = USERS[row], ITEMS[row]
        total = alpha["user_factors"][u] * user.square().sum()
        total = total + alpha["item_factors"][i] * item.square().sum()
        total = total + alpha["user_biases"][u] * module.user_biases[u].square()
        total = total + alpha["item_biases"][i] * module.item_biases[i].square()
        codes = [[SIDE["categorical"][row, 0]], *SIDE["multi_valued"][row]]
        known = [[code for code in of_column if code > 0] for of_column in codes]
        factors = [alpha["bin_factors"].flatten()[0]] * 2
        factors += [
            sum(alpha["value_factors"][c] for c in some) / max(1, len(some)) for some in known
        ]
        for factor, embedding in zip(factors, side, strict=True):
            total = total + factor * embedding.square().sum()
        penalties.append(total)
    layers = sum(layer.weight.square().sum() for layer in module.layers[::2])
    return torch.stack(penalties) + (alpha["layers"] * layers if has_rows else 0)


ROW_PENALTIES = {
    "user_factors": torch.linspace(0.1, 0.9, 6).double(),
    "item_factors": torch.linspace(2, 0.3, 8).double(),
    "user_biases": torch.linspace(0, 1, 6).double(),
    "item_biases": torch.linspace(1, 3, 8).double(),
    "value_factors": torch.linspace(0.2, 1.5, 8).double(),
    "bin_factors": torch.tensor(0.7).double(),
    "layers": torch.tensor(0.02).double(),
}


@pytest.mark.parametrize("alpha", [0.3, ROW_PENALTIES], ids=["number", "rows"])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["unweighted", "weighted"])
def test_ratings_penalties_and_gradients_follow_the_formula(weight, reduction, alpha):
    module = make_module()
    loss, predictions = module.backward_loss(
        RATINGS, weight, alpha=alpha, reduction=reduction, users=USERS, items=ITEMS, **SIDE
    )
    plain = copy.deepcopy(module)
    plain.zero_grad()
    w = torch.ones_like(RATINGS) if weight is None else weight
    expected, penalty = ratings_by_hand(plain), penalties_by_hand(plain, alpha)
    error = w * (RATINGS - expected).square()
    total = (error / plain.scale.square() + w * penalty).sum()
    (total / w.sum() if reduction == "mean" else total / 2).backward()
    assert_close(loss, error.sum().detach() / w.sum())
    assert_close(predictions, expected.detach())
    assert_close(module(USERS, ITEMS, **SIDE), expected)
    assert_close(module.penalty(USERS, ITEMS, **SIDE, alpha=alpha), penalty)
    tables = {"user_factors.weight", "item_factors.weight", "value_factors.weight"}
    for (name, found), by_hand in zip(module.named_parameters(), plain.parameters(), strict=True):
        if name in tables or name.endswith("biases"):  # the row of unknown codes is not trained
            assert not found.grad[0].any()
            by_hand.grad[0] = 0
        assert_close(found.grad, by_hand.grad)
        assert found.grad.any()


@pytest.mark.parametrize("side", [False, True])
def test_sparse_gradients_hold_the_rows_of_the_batch(side):
    options = {"alpha": 0.3, **(SIDE if side else {})}
    module = make_module(side=side)
    sparse = copy.deepcopy(module)
    sparse.sparse = True
    results = [
        one.backward_loss(RATINGS, WEIGHT, users=USERS, items=ITEMS, **options)
        for one in (module, sparse)
    ]
    assert_close(*results)
    for name, values in sparse.named_parameters():
        is_table = name.startswith(("user", "item", "value"))
        assert values.grad.is_sparse == is_table
        assert_close(values.grad.to_dense(), module.get_parameter(name).grad)
    assert set(sparse.item_factors.weight.grad._indices()[0].tolist()) == {2, 4, 7}
    biases = sparse.item_biases.grad
    assert biases._values()[biases._indices()[0] == 0].eq(0).all()


@pytest.mark.parametrize("sizes", [(), (4,), (4, 2, 3)])
def test_hidden_layers_have_the_given_sizes(sizes):
    module = make_module(side=False, sizes=sizes)
    layers = [layer for layer in module.layers if isinstance(layer, nn.Linear)]
    shapes = [tuple(layer.weight.shape) for layer in layers]
    assert shapes == list(zip((*sizes, 1), (6, *sizes), strict=True))
    assert sum(isinstance(layer, nn.ReLU) for layer in module.layers) == len(sizes)
    assert (module.width, module.n_values) == (6, 0)
    assert module(USERS[:1], ITEMS[:1]).shape == (1,)
    assert not hasattr(module, "value_factors")
    assert not hasattr(module, "bin_factors")
    assert module.grow(6, 7).n_users == 6


def test_absent_side_features_are_missing():
    module = make_module()
    missing = {
        "numeric": torch.full((7, 2), NAN, dtype=torch.float64),
        "categorical": torch.zeros(7, 1, dtype=int),
        "multi_valued": torch.zeros(7, 2, 5, dtype=int),
    }
    assert torch.equal(module(USERS, ITEMS), module(USERS, ITEMS, **missing))
    assert not torch.equal(module(USERS, ITEMS), module(USERS, ITEMS, **SIDE))
    unknown = torch.tensor([0])
    with torch.no_grad():
        module.bin_factors[:, -1] = 0  # no number was missing in training
        net = module.layers(torch.zeros(module.width, dtype=torch.float64))
    assert_close(module(unknown, unknown), 3.2 + 1.5 * net, check_dtype=False)


def test_layers_start_as_in_torch_and_the_output_at_zero():
    state = torch.random.get_rng_state()
    module, same = (DenseNet(5, 7, 50, (200, 100), n_numeric=2, generator=seeded()) for _ in "ab")
    assert torch.equal(torch.random.get_rng_state(), state)
    assert_close(module.state_dict(), same.state_dict(), rtol=0, atol=0)
    for layer in (module.layers[0], module.layers[2]):
        bound = layer.in_features**-0.5
        assert layer.weight.abs().max() <= bound
        assert layer.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.1)
        assert layer.bias.abs().max() <= bound
    assert not module.layers[4].weight.any()
    assert not module.layers[4].bias.any()
    assert module.bin_factors[:, :-1].all()
    assert not module.bin_factors[:, -1].any()  # the embedding of a missing number


def test_growing_adds_rows_and_keeps_the_others():
    module = make_module()
    before, item_factors = copy.deepcopy(module), module.item_factors
    assert module.grow(6, 7, 10, seeded(1)) is module
    assert (module.n_users, module.n_items, module.n_values) == (6, 7, 10)
    assert module.item_factors is item_factors  # this table has no new rows
    assert torch.equal(module(USERS, ITEMS, **SIDE), before(USERS, ITEMS, **SIDE))
    assert module.user_factors.weight[6].any()
    assert module.value_factors.weight[8:].any()
    assert module.user_biases[6] == 0
    module(torch.tensor([6]), torch.tensor([7])).backward()
    assert module.user_factors.weight.grad[6].any()
