"""ResidualLSTMRating: the posterior written out step by step, and the LSTM after it."""
# SPDX-License-Identifier: BSD-3-Clause

import pytest
import torch
from torch import nn

from sklrec.modules import ResidualLSTMRating

N_ITEMS, K, H = 9, 4, 3
MEAN, SCALE = 3.5, 1.2


def residual_lstm(**params):
    """Make a module of random distributions, whose LSTM has an effect."""
    generator = torch.Generator().manual_seed(0)
    module = ResidualLSTMRating(
        N_ITEMS, K, H, global_mean=MEAN, scale=SCALE, generator=generator, **params
    ).eval()
    users, rows = module.users, torch.triu_indices(K + 1, K + 1)
    for table in (users.item_rows, users.item_terms, users.prior_mean, users.unknown_row):
        table.copy_(torch.randn(table.shape, generator=generator))
    roots = torch.randn(N_ITEMS + 1, K + 1, K + 1, generator=generator)
    users.item_covariances.copy_((roots @ roots.mT)[:, *rows] / 5)
    root = torch.randn(K + 1, K + 1, generator=generator)
    users.prior_precision.copy_(root @ root.T + torch.eye(K + 1))
    users.precision.fill_(1.7)
    with torch.no_grad():
        module.output.weight.copy_(torch.randn(1, H, generator=generator))
    return module


PAST = {
    "past_items": torch.tensor([[3, 1, 2, 7], [4, 8, 0, 0], [0, 0, 0, 0]]),
    "past_ratings": torch.tensor([[5.0, 3, 4, 1], [1, 2, 0, 0], [0, 0, 0, 0]]),
    "past_gaps": torch.tensor([[0.0, 2, 0, 5], [0, 1, 0, 0], [0, 0, 0, 0]]),
    "lengths": torch.tensor([4, 2, 0]),
}
QUERIES = {
    "sequences": torch.tensor([0, 0, 1, 0, 2]),
    "before": torch.tensor([0, 3, 2, 4, 0]),
    "items": torch.tensor([5, 6, 1, 0, 2]),
}
AFTER = torch.tensor([1, 4, 2, 4, 0])


def user_by_hand(users, past):
    """Solve a user from items and ratings in units of the scale."""
    if not past:
        return users.unknown_row.double()
    d = K + 1
    A, right, terms = torch.zeros(d, d).double(), torch.zeros(d).double(), torch.zeros(d).double()
    for item, z in past:
        row, C = users.item_rows[item].double(), torch.zeros(d, d).double()
        C[tuple(torch.triu_indices(d, d))] = users.item_covariances[item].double()
        C = C + C.triu(1).T
        x = torch.cat([torch.ones(1), row[1:]])
        of_bias = torch.cat([torch.zeros(1), C[0, 1:]])
        C[0] = C[:, 0] = 0
        A += torch.outer(x, x) + C
        right += (z - row[0]) * x - of_bias
        terms += users.item_terms[item]
    L, tau = users.prior_precision.double(), users.precision.double()
    centre = users.prior_mean + terms / len(past) ** 0.5
    return torch.linalg.solve(tau * A + L, tau * right + L @ centre)


def expected_by_hand(users, past, item):
    row = users.item_rows[item].double()
    return row[0] + user_by_hand(users, past) @ torch.cat([torch.ones(1), row[1:]])


def averages_by_hand(errors):
    found = []
    for decay, shrinkage in ((0.5, 3.0), (0.9, 3.0), (0.98, 3.0), (1.0, 10.0)):
        weights = decay ** torch.arange(len(errors) - 1.0, -1, -1)
        found.append(sum(weights * torch.tensor(errors)) / (sum(weights) + shrinkage))
    return torch.tensor(found)


def states_by_hand(module, lstm, past, gaps):
    """Return the hidden state and the averages after some ratings."""
    hidden, cell = torch.zeros(2, 1, H).double()
    cells = nn.LSTMCell(8, H).double()
    cells.load_state_dict({k.removesuffix("_l0"): v for k, v in lstm.state_dict().items()})
    errors = []
    for j, (item, z) in enumerate(past):
        expected = expected_by_hand(module.users, past[:j], item)
        count = torch.log1p(torch.tensor(float(j))) / 3
        numbers = torch.tensor([z - expected, expected, gaps[j], count])
        step = torch.cat([numbers, averages_by_hand(errors)]).double()
        hidden, cell = cells(step[None], (hidden, cell))
        errors.append(float(z - expected))
    return hidden[0].float(), averages_by_hand(errors)


def past_of(row):
    items, ratings, gaps = (PAST[f"past_{name}"][row] for name in ("items", "ratings", "gaps"))
    n = PAST["lengths"][row]
    z = (ratings - MEAN) / SCALE
    return list(zip(items.tolist(), z.tolist(), strict=True))[:n], gaps.tolist()[:n]


@pytest.mark.parametrize("bidirectional", [False, True])
@torch.no_grad()
def test_forward_follows_the_formulas(bidirectional):
    module = residual_lstm(bidirectional=bidirectional)
    found = module(**PAST, **QUERIES, after=AFTER)
    for k, row in enumerate(QUERIES["sequences"].tolist()):
        (past, gaps), before, item = past_of(row), QUERIES["before"][k], QUERIES["items"][k]
        read = past[:before]
        states = [states_by_hand(module, module.lstm, read, gaps)]
        if bidirectional:
            backward = past[AFTER[k] :][::-1]
            after = [*gaps[1:], 0.0][: len(past)][AFTER[k] :][::-1]
            states.append(states_by_hand(module, module.backward_lstm, backward, after))
            read = read + backward
        expected = expected_by_hand(module.users, read, item)
        count = torch.log1p(torch.tensor(float(len(read)))) / 3
        parts = [*zip(*states, strict=True)]  # hidden states, averages
        numbers = torch.stack([expected, count]).float()
        inputs = torch.cat([*parts[0], *parts[1], numbers])
        residual = module.output(nn.functional.silu(module.hidden(inputs))) * (len(read) > 0)
        z = expected + residual.squeeze()
        assert torch.allclose(found[k], MEAN + SCALE * z, atol=1e-5)


@torch.no_grad()
def test_given_expectations_replace_the_posterior():
    module = residual_lstm(bidirectional=True)
    known, z = module._known_ratings(**PAST)
    items = module.users.item_distributions(PAST["past_items"])
    steps = module._static_steps(known, z, PAST["past_items"], *items)
    zeros = torch.zeros(3, 4)
    given = {"past_expected": zeros, "past_expected_after": zeros, "expected": torch.zeros(5)}
    assert module._expect(steps)[2].shape == zeros.shape
    found = module(**PAST, **QUERIES, after=AFTER, **given)
    assert not torch.allclose(found, module(**PAST, **QUERIES, after=AFTER), atol=1e-2)
    assert torch.allclose(found[[0, 4]][1], torch.tensor(MEAN).double())  # nothing was read


@pytest.mark.parametrize("bidirectional", [False, True])
@torch.no_grad()
def test_padding_and_unknown_ratings_change_nothing(bidirectional):
    module = residual_lstm(bidirectional=bidirectional)
    known = module(**PAST, **QUERIES)
    past = {name: values.clone() for name, values in PAST.items()}
    is_padding = torch.arange(4) >= past["lengths"][:, None]
    past["past_items"][is_padding], past["past_ratings"][is_padding] = 9, torch.nan
    assert torch.equal(module(**past, **QUERIES), known)
    past["past_ratings"][0, 1] = torch.nan  # counts, but has no error
    assert module(**past, **QUERIES).isfinite().all()


@torch.no_grad()
def test_the_static_part_is_the_start():
    module = ResidualLSTMRating(N_ITEMS, K, H, global_mean=MEAN).eval()
    module.users.item_rows[5, 0] = 0.5
    found = module(**PAST, **QUERIES)
    assert found[0] == MEAN + 0.5
    assert module.penalty() == 0


@torch.no_grad()
def test_growing_adds_copies_of_the_unknown_item():
    module = residual_lstm()
    before = module(**PAST, **QUERIES)
    module.grow(N_ITEMS + 5)
    assert module.n_items == N_ITEMS + 5
    assert torch.equal(module(**PAST, **QUERIES), before)
    new, unknown = (
        module(**PAST, **{**QUERIES, "items": torch.full((5,), code)}) for code in (N_ITEMS + 3, 0)
    )
    assert torch.equal(new, unknown)
    assert torch.equal(module.item_factors.weight[-1], module.users.item_rows[0, 1:])


def test_only_the_layers_are_trained():
    module = residual_lstm().train()
    given = {"past_expected": torch.zeros(3, 4), "expected": torch.zeros(5)}
    ratings = torch.tensor([5.0, 3, 2, 4, 1])
    module.backward_squared_error(ratings, **PAST, **QUERIES, **given)
    names = {name.split(".")[0] for name, _ in module.named_parameters()}
    assert names == {"lstm", "hidden", "output"}
    assert all(values.grad.abs().sum() > 0 for values in module.parameters())
