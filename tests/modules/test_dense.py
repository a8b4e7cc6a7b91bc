"""The dense net over embeddings."""
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
    """A module in float64 whose every table holds something."""
    if side:
        options |= {
            "n_numeric": 2,
            "n_bins": 4,
            "n_categorical": 1,
            "n_multi_valued": 2,
            "n_values": 7,
        }
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


def side_of(rows):
    return {name: values[rows] for name, values in SIDE.items()}


def embeddings_by_hand(module, row):
    """Embeddings of one row, one after another, by plain Python."""
    found = [module.user_factors.weight[USERS[row]], module.item_factors.weight[ITEMS[row]]]
    for feature, place in enumerate(SIDE["numeric"][row].tolist()):
        bins = module.bin_factors[feature]
        if np.isnan(place):
            found.append(bins[-1])
        else:
            # filled from the middle, bins below it by less than nothing
            shares = [min(max(place - k, 0.0), 1.0) - (k < 0) for k in (-2, -1, 0, 1)]
            found.append(sum(share * bins[k] for k, share in enumerate(shares)))
    values = module.value_factors.weight
    found.append(values[SIDE["categorical"][row, 0]])
    for codes in SIDE["multi_valued"][row].tolist():
        known = [values[code] for code in codes if code > 0]
        found.append(torch.stack(known).mean(0) if known else torch.zeros_like(values[0]))
    return found


def rating_by_hand(module, row):
    user, item, *side = found = embeddings_by_hand(module, row)
    hidden = torch.cat(found)
    for layer in module.layers:
        hidden = layer(hidden)
    z = hidden[0] + module.user_biases[USERS[row]] + module.item_biases[ITEMS[row]]
    z = z + user @ item + sum(user @ e + item @ e for e in side)
    return module.global_mean + module.scale * z


def test_forward_is_the_formula():
    module = make_module()
    expected = torch.stack([rating_by_hand(module, row) for row in range(7)])
    assert_close(module(USERS, ITEMS, **SIDE), expected)


def test_penalty_is_all_that_a_row_looks_up():
    module = make_module()
    expected = [
        sum(e.square().sum() for e in embeddings_by_hand(module, row))
        + module.user_biases[USERS[row]] ** 2
        + module.item_biases[ITEMS[row]] ** 2
        for row in range(7)
    ]
    assert_close(module.penalty(USERS, ITEMS, **SIDE), torch.stack(expected))


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["unweighted", "weighted"])
def test_gradient_is_that_of_the_formula(weight, reduction):
    module = make_module()
    loss, predictions = module.backward_squared_error(
        RATINGS, weight, alpha=0.3, reduction=reduction, users=USERS, items=ITEMS, **SIDE
    )
    plain = copy.deepcopy(module)
    plain.zero_grad()
    w = torch.ones_like(RATINGS) if weight is None else weight
    expected = torch.stack([rating_by_hand(plain, row) for row in range(7)])
    error = w * (RATINGS - expected).square()
    penalty = torch.stack(
        [
            sum(e.square().sum() for e in embeddings_by_hand(plain, row))
            + plain.user_biases[USERS[row]] ** 2
            + plain.item_biases[ITEMS[row]] ** 2
            for row in range(7)
        ]
    )
    total = (error / plain.scale.square() + 0.3 * w * penalty).sum()
    (total / w.sum() if reduction == "mean" else total / 2).backward()
    assert_close(loss, error.sum().detach() / w.sum())
    assert_close(predictions, expected.detach())
    tables = {"user_factors.weight", "item_factors.weight", "value_factors.weight"}
    for (name, found), by_hand in zip(module.named_parameters(), plain.parameters(), strict=True):
        if name in tables or name.endswith("biases"):  # the unknown row learns nothing
            assert not found.grad[0].any()
            by_hand.grad[0] = 0
        assert_close(found.grad, by_hand.grad)
        assert found.grad.any()


def test_the_plain_net_is_a_sequential_over_concatenated_embeddings():
    n_factors, n_hidden = 3, 8
    module = DenseNet(
        5, 7, n_factors, (n_hidden,), products=False, biased=False, generator=seeded()
    )
    nn.init.uniform_(module.layers[2].weight, generator=seeded(1))
    sequential = nn.Sequential(
        nn.Linear(2 * n_factors, n_hidden), nn.ReLU(), nn.Linear(n_hidden, 1)
    )
    sequential.load_state_dict(module.layers.state_dict())
    users = nn.Embedding.from_pretrained(module.user_factors.weight.detach())
    items = nn.Embedding.from_pretrained(module.item_factors.weight.detach())
    expected = sequential(torch.cat([users(USERS), items(ITEMS)], 1)).squeeze(1)
    assert torch.equal(module(USERS, ITEMS), expected)
    assert sorted(name for name, _ in module.named_parameters()) == [
        "item_factors.weight",
        "layers.0.bias",
        "layers.0.weight",
        "layers.2.bias",
        "layers.2.weight",
        "user_factors.weight",
    ]


@pytest.mark.parametrize(
    ("sizes", "shapes"),
    [
        ((), [(1, 6)]),
        ((4,), [(4, 6), (1, 4)]),
        ((4, 2, 3), [(4, 6), (2, 4), (3, 2), (1, 3)]),
    ],
)
def test_hidden_layers_are_as_many_and_as_large_as_asked_for(sizes, shapes):
    module = make_module(side=False, sizes=sizes)
    linear = [layer for layer in module.layers if isinstance(layer, nn.Linear)]
    assert [tuple(layer.weight.shape) for layer in linear] == shapes
    assert sum(isinstance(layer, nn.ReLU) for layer in module.layers) == len(sizes)
    assert module.width == 6
    assert module(USERS, ITEMS).shape == (7,)
    assert module(USERS[:1], ITEMS[:1]).shape == (1,)


def test_unknown_and_missing_look_up_zeros():
    module = make_module(sizes=())
    with torch.no_grad():
        module.bin_factors[:, -1] = 0
    none = torch.tensor([0])
    unknown = module(none, none, torch.full((1, 2), NAN, dtype=torch.float64))
    assert_close(unknown, 3.2 + 1.5 * module.layers[0].bias, check_dtype=False)


def test_side_features_that_are_not_given_are_missing():
    module = make_module()
    missing = {
        "numeric": torch.full((7, 2), NAN, dtype=torch.float64),
        "categorical": torch.zeros(7, 1, dtype=int),
        "multi_valued": torch.zeros(7, 2, 5, dtype=int),
    }
    assert torch.equal(module(USERS, ITEMS), module(USERS, ITEMS, **missing))
    assert not torch.equal(module(USERS, ITEMS), module(USERS, ITEMS, **SIDE))


def test_a_new_net_knows_nothing_of_missing_numbers():
    module = DenseNet(5, 7, 3, n_numeric=2, n_bins=4, generator=seeded())
    assert module.bin_factors.shape == (2, 5, 3)
    assert not module.bin_factors[:, -1].any()
    assert module.bin_factors[:, :-1].all()


def test_what_is_missing_is_in_the_middle_and_not_at_an_end():
    module = make_module()
    with torch.no_grad():
        module.bin_factors[:, -1] = 0  # as if none had been missing in training
    row = {**side_of([0]), "users": USERS[:1], "items": ITEMS[:1]}
    lowest, middle, missing = (
        module(**{**row, "numeric": torch.tensor([[place, 1.0]], dtype=torch.float64)})
        for place in (-2.0, 0.0, NAN)
    )
    assert torch.equal(missing, middle)
    assert not torch.isclose(missing, lowest)


def test_numbers_beyond_the_bins_are_at_their_ends():
    module = make_module()
    first, row = {**side_of([0]), "users": USERS[:1], "items": ITEMS[:1]}, torch.float64
    for outside, end in ((-5.0, -2.0), (9.0, 2.0)):
        found = [
            module(**{**first, "numeric": torch.tensor([[place, 1.0]], dtype=row)})
            for place in (outside, end)
        ]
        assert torch.equal(*found)


def test_padding_of_values_does_not_matter_to_the_last_bit():
    module = DenseNet(5, 7, 33, n_multi_valued=1, n_values=50, generator=seeded())
    nn.init.ones_(module.layers[2].weight)
    codes = torch.randint(1, 51, (7, 1, 9), generator=seeded())
    found = [
        module(USERS, ITEMS, multi_valued=nn.functional.pad(codes, padding))
        for padding in ((0, 0), (0, 1), (7, 0), (3, 20))
    ]
    assert all(torch.equal(found[0], other) for other in found[1:])


def test_dropout_draws_only_while_training():
    module = make_module(dropout=0.5)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        assert not torch.equal(module(USERS, ITEMS, **SIDE), module(USERS, ITEMS, **SIDE))
    module.eval()
    assert torch.equal(module(USERS, ITEMS, **SIDE), module(USERS, ITEMS, **SIDE))


def test_all_pairs_are_what_forward_gives_for_each():
    module = make_module()
    users, items = torch.arange(6), torch.tensor([3, 0, 7, 3])
    pairs = torch.cartesian_prod(users, items)
    found = module.all_pairs(users, items)
    assert found.shape == (6, 4)
    assert_close(found, module(pairs[:, 0], pairs[:, 1]).view(6, 4))


def test_the_generator_alone_decides_the_start():
    state = torch.random.get_rng_state()
    same = [make_module().state_dict() for _ in range(2)]
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(same[0][name], same[1][name]) for name in same[0])


def test_hidden_layers_start_as_those_of_torch_and_the_output_at_zero():
    module = DenseNet(5, 7, 50, (200, 100), generator=seeded())
    for layer in (module.layers[0], module.layers[2]):
        bound = layer.in_features**-0.5
        assert layer.weight.abs().max() <= bound
        assert layer.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.1)
        assert layer.bias.abs().max() <= bound
    assert not module.layers[4].weight.any()
    assert not module.layers[4].bias.any()


def test_growing_keeps_what_was_there():
    module = make_module()
    before = copy.deepcopy(module)
    assert module.grow(6, 9, 10, seeded(1)) is module
    assert (module.n_users, module.n_items, module.n_values) == (6, 9, 10)
    assert torch.equal(module(USERS, ITEMS, **SIDE), before(USERS, ITEMS, **SIDE))
    assert module.user_factors.weight[6].any()
    assert module.value_factors.weight[8:].any()
    assert module.user_biases[6] == 0
    module(torch.tensor([6]), torch.tensor([9]), **side_of([0])).backward()
    assert module.user_factors.weight.grad[6].any()


def test_growing_by_nothing_keeps_the_tables_themselves():
    module = make_module()
    tables = list(module.parameters())
    module.grow(5, 7, 7)
    assert all(a is b for a, b in zip(tables, module.parameters(), strict=True))


def test_without_side_features_there_are_no_tables_of_them():
    module = make_module(side=False)
    assert module.n_values == 0
    assert not hasattr(module, "value_factors")
    assert not hasattr(module, "bin_factors")
    assert module.grow(6, 7).n_users == 6


@pytest.mark.parametrize("side", [False, True])
def test_sparse_gradients_hold_the_rows_that_were_looked_up(side):
    options = {"alpha": 0.3, **(SIDE if side else {})}
    module = make_module(side=side)
    sparse = copy.deepcopy(module)
    sparse.sparse = True
    results = [
        one.backward_squared_error(RATINGS, WEIGHT, users=USERS, items=ITEMS, **options)
        for one in (module, sparse)
    ]
    assert_close(*results)
    for name, values in sparse.named_parameters():
        expected = module.get_parameter(name).grad
        is_table = name.startswith(("user", "item", "value"))
        assert values.grad.is_sparse == is_table
        assert_close(values.grad.to_dense() if is_table else values.grad, expected)
    assert set(sparse.item_factors.weight.grad._indices()[0].tolist()) == {2, 4, 7}
    biases = sparse.item_biases.grad
    assert biases._values()[biases._indices()[0] == 0].eq(0).all()


def test_sparse_modules_predict_the_same():
    module = make_module()
    expected = module(USERS, ITEMS, **SIDE)
    module.sparse = True
    assert torch.equal(module(USERS, ITEMS, **SIDE), expected)
