"""LSTMRating: its formulas written out, step by step and sum by sum."""
# SPDX-License-Identifier: BSD-3-Clause

import pytest
import torch
from torch import nn

from sklrec.modules import LSTMRating

N_ITEMS, K, H = 9, 4, 3
MEAN, SCALE = 3.5, 1.2


def lstm(**params):
    made = LSTMRating(
        N_ITEMS,
        K,
        H,
        global_mean=MEAN,
        scale=SCALE,
        generator=torch.Generator().manual_seed(0),
        **params,
    ).eval()
    with torch.no_grad():  # else some terms would be zero
        for name, values in made.named_parameters():
            if name in ("item_biases", "seen_factors.weight"):
                values[1:] = torch.randn(
                    values[1:].shape, generator=torch.Generator().manual_seed(1)
                )
    return made


PAST = {
    "past_items": torch.tensor([[3, 1, 2, 7], [4, 8, 0, 0], [0, 0, 0, 0]]),
    "past_ratings": torch.tensor([[5.0, 3, 4, 1], [1, torch.nan, 0, 0], [0, 0, 0, 0]]),
    "past_gaps": torch.tensor([[0.0, 2, 0, 5], [0, 1, 0, 0], [0, 0, 0, 0]]),
    "lengths": torch.tensor([4, 2, 0]),
}
ASKED = {
    "sequences": torch.tensor([0, 0, 1, 0, 2]),
    "before": torch.tensor([0, 3, 2, 4, 0]),
    "items": torch.tensor([5, 6, 1, 0, 2]),
}


def vectors_by_hand(module, net, read):
    """Hidden state, sum of deviations, and the user's sum of factors, after some ratings."""
    hidden, cell = torch.zeros(1, H), torch.zeros(1, H)
    shrinkage = module.log_shrinkage.exp()
    total, n = torch.tensor(0.0), 0
    rated = []
    for item, rating, gap in read:
        deviation = (rating - MEAN) / SCALE - module.item_biases[item]
        deviation = deviation if not torch.isnan(deviation) else torch.tensor(0.0)
        surprise = deviation - total / (n + shrinkage)
        factors = module.item_factors.weight[item]
        step = torch.cat([factors * surprise, surprise.view(1), gap.view(1)])
        cells = nn.LSTMCell(K + 2, H)
        cells.load_state_dict({k.removesuffix("_l0"): v for k, v in net.state_dict().items()})
        hidden, cell = cells(step[None], (hidden, cell))
        total, n = total + deviation, n + 1
        rated.append((item, deviation))
    return hidden, total, rated


def rate_by_hand(module, parts, target):
    """One rating from what was read on either side."""
    hidden = torch.cat([hidden for hidden, _, _ in parts], 1)
    total = sum(total for _, total, _ in parts)
    rated = [pair for _, _, pairs in parts for pair in pairs]
    mean = total / (len(rated) + module.log_shrinkage.exp())
    summary = torch.zeros(K)
    for item, deviation in rated:
        summary = summary + (deviation - mean) * module.rated_factors.weight[item]
        summary = summary + module.seen_factors.weight[item]
    output = module.output(hidden)[0]
    user = output[1:] + summary / (len(rated) + 1) ** 0.5
    z = module.item_biases[target] + mean + output[0] + user @ module.item_factors.weight[target]
    return MEAN + SCALE * z


def past_of(row):
    columns = (PAST[name][row] for name in ("past_items", "past_ratings", "past_gaps"))
    return list(zip(*columns, strict=True))[: PAST["lengths"][row]]


@torch.no_grad()
def test_from_one_side_it_is_what_the_formulas_say():
    module = lstm()
    found = module(**PAST, **ASKED)
    for k, (row, before, item) in enumerate(
        zip(*(v.tolist() for v in ASKED.values()), strict=True)
    ):
        part = vectors_by_hand(module, module.lstm, past_of(row)[:before])
        assert torch.allclose(found[k], rate_by_hand(module, [part], item), atol=1e-5)


@torch.no_grad()
def test_from_both_sides_it_is_what_the_formulas_say():
    module = lstm(bidirectional=True)
    after = torch.tensor([1, 4, 2, 4, 0])
    found = module(**PAST, **ASKED, after=after)
    for k, row in enumerate(ASKED["sequences"].tolist()):
        past = past_of(row)
        ahead = vectors_by_hand(module, module.lstm, past[: ASKED["before"][k]])
        gaps = ([gap for _, _, gap in past[1:]] + [torch.tensor(0.0)])[: len(past)]
        turned = [(i, r, gap) for (i, r, _), gap in zip(past, gaps, strict=True)]
        behind = vectors_by_hand(module, module.backward_lstm, turned[after[k] :][::-1])
        expected = rate_by_hand(module, [ahead, behind], ASKED["items"][k])
        assert torch.allclose(found[k], expected, atol=1e-5)


@torch.no_grad()
def test_items_alone_are_the_network_of_the_post():
    module = LSTMRating(N_ITEMS, 64, 128, items_only=True, dropout=0.0).eval()
    assert {name for name, _ in module.named_children()} == {
        "item_factors",
        "lstm",
        "output",
        "dropout",
    }
    items = torch.tensor([[3, 1, 2, 7], [4, 8, 5, 5]])
    by_hand = module.output(module.lstm(module.item_factors(items))[0]).squeeze(2)
    past = {"past_items": items, "past_ratings": items * 0.0, "past_gaps": items * 0.0}
    states = module.read(**past, lengths=torch.tensor([4, 4]))
    for place in range(4):
        where = {"sequences": torch.arange(2), "before": torch.tensor([place, place])}
        found = module.rate(states, **where, items=items[:, place])
        assert torch.allclose(found, by_hand[:, place], atol=1e-6)


@pytest.mark.parametrize("params", [{}, {"bidirectional": True}, {"items_only": True}])
def test_padding_gets_no_gradient_and_gives_none(params):
    module = lstm(**params).train()
    ratings = torch.tensor([5.0, 3, 2, 4, 1])
    gradients = []
    for padding in (0, 9):
        past = {name: v.clone() for name, v in PAST.items()}
        place = torch.arange(4) >= past["lengths"][:, None]
        past["past_items"][place] = padding
        past["past_ratings"][place] = float(padding)
        module.zero_grad()
        torch.manual_seed(0)
        loss, predictions = module.backward_squared_error(ratings, **past, **ASKED)
        gradients.append([p.grad.clone() for p in module.parameters()] + [loss, predictions])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))
    assert (module.item_factors.weight.grad[0] == 0).all()


def test_the_gradient_is_that_of_error_and_penalty():
    module = LSTMRating(N_ITEMS, K, H, scale=SCALE, dropout=0.0, n_ratings=20).eval()
    ratings, weight = torch.tensor([5.0, 3, 2, 4, 1]), torch.tensor([1.0, 2, 0.5, 1, 1])
    loss, _ = module.backward_squared_error(ratings, weight, alpha=3.0, **PAST, **ASKED)
    found = [p.grad.clone() for p in module.parameters()]
    module.zero_grad()
    error = (module(**PAST, **ASKED) - ratings).square()
    mean = (error * weight).sum() / weight.sum()
    tables = (
        module.item_factors.weight,
        module.rated_factors.weight,
        module.seen_factors.weight,
        module.item_biases,
    )
    norm = sum(table.square().sum() for table in tables)
    (mean / SCALE**2 + 3.0 / 20 * norm).backward()
    for gradient, p in zip(found, module.parameters(), strict=True):
        assert torch.allclose(gradient, p.grad, atol=1e-5)
    assert torch.isclose(loss, mean)


@pytest.mark.parametrize("items_only", [False, True])
def test_it_grows(items_only):
    module = lstm(items_only=items_only)
    with torch.no_grad():
        before = module(**PAST, **ASKED)
        module.grow(N_ITEMS + 5, torch.Generator().manual_seed(2))
        assert torch.equal(module(**PAST, **ASKED), before)
    assert module.n_items == N_ITEMS + 5
    new = {**ASKED, "items": ASKED["items"] * 0 + N_ITEMS + 5}
    assert module(**PAST, **new).isfinite().all()


def test_the_start_comes_from_the_generator():
    torch.manual_seed(0)
    state = torch.get_rng_state()
    one, two = lstm(bidirectional=True), lstm(bidirectional=True)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


@pytest.mark.parametrize("params", [{}, {"items_only": True}, {"bidirectional": True}])
def test_sparse_gradients_are_those_of_whole_tables(params):
    gradients = []
    for sparse in (False, True):
        module = lstm(dropout=0.0, sparse=sparse, **params)
        ratings = torch.tensor([5.0, 3, 2, 4, 1])
        module.backward_squared_error(ratings, **PAST, **ASKED)
        for name, values in module.named_parameters():
            is_table = name.startswith(("item", "rated", "seen"))
            assert values.grad.is_sparse == (sparse and is_table)
        gradients.append([values.grad.to_dense() for values in module.parameters()])
    for whole, of_rows in zip(*gradients, strict=True):
        assert torch.allclose(whole, of_rows, atol=1e-6)


def test_the_penalty_of_a_batch_reads_its_items_alone():
    module = lstm(sparse=True)
    norms = sum(
        table.square().sum(1)
        for table in (
            module.item_factors.weight,
            module.rated_factors.weight,
            module.seen_factors.weight,
            module.item_biases.unsqueeze(1),
        )
    )
    # Looked up are 3, 1, 2, 7, 4, 8, and then 5, 6, 1, 0, 2.
    once, twice = norms[[3, 4, 5, 6, 7, 8]].sum(), norms[[1, 2]].sum()
    assert torch.isclose(module.penalty(**PAST, **ASKED), (once + twice) / 5)
    module.n_lookups = torch.full((N_ITEMS + 1,), 4.0)
    found = module.penalty(**PAST, **ASKED)
    assert torch.isclose(found, (once / 4 + twice / 2) / 5)
    found.backward()
    rows = module.seen_factors.weight.grad.coalesce()
    assert rows.indices()[0].tolist() == [1, 2, 3, 4, 5, 6, 7, 8]
