"""LSTMRating and ResidualLSTMRating: formulas step by step, gradients and penalties."""
# SPDX-License-Identifier: BSD-3-Clause

import pytest
import torch
from torch import nn

from sklrec.modules import LSTMRating, ResidualLSTMRating

N_ITEMS, K, H = 9, 4, 3
MEAN, SCALE = 3.5, 1.2


def lstm(**params):
    """Make a module whose tables hold no zeros but in row 0."""
    generator = torch.Generator().manual_seed(0)
    constants = {"global_mean": MEAN, "scale": SCALE, "generator": generator}
    module = LSTMRating(N_ITEMS, K, H, **constants, **params).eval()
    with torch.no_grad():
        for name, values in module.named_parameters():
            if name in ("item_biases", "seen_factors.weight"):
                values[1:] = torch.randn(values[1:].shape, generator=generator)
    return module


RATINGS = torch.tensor([5.0, 3, 2, 4, 1])
PAST = {
    "past_items": torch.tensor([[3, 1, 2, 7], [4, 8, 0, 0], [0, 0, 0, 0]]),
    "past_ratings": torch.tensor([[5.0, 3, 4, 1], [1, torch.nan, 0, 0], [0, 0, 0, 0]]),
    "past_gaps": torch.tensor([[0.0, 2, 0, 5], [0, 1, 0, 0], [0, 0, 0, 0]]),
    "lengths": torch.tensor([4, 2, 0]),
}
QUERIES = {
    "sequences": torch.tensor([0, 0, 1, 0, 2]),
    "before": torch.tensor([0, 3, 2, 4, 0]),
    "items": torch.tensor([5, 6, 1, 0, 2]),
}
kinds = pytest.mark.parametrize("params", [{}, {"bidirectional": True}, {"items_only": True}])


def states_by_hand(module, net, past):
    """Return the hidden state, the sum of deviations and the deviations after some ratings."""
    hidden, cell = torch.zeros(1, H), torch.zeros(1, H)
    cells = nn.LSTMCell(K + 2, H)
    cells.load_state_dict({k.removesuffix("_l0"): v for k, v in net.state_dict().items()})
    total, deviations = torch.tensor(0.0), []
    for item, rating, gap in past:
        deviation = ((rating - MEAN) / SCALE - module.item_biases[item]).nan_to_num(0.0)
        surprise = deviation - total / (len(deviations) + module.log_shrinkage.exp())
        factors = module.item_factors.weight[item]
        step = torch.cat([factors * surprise, surprise.view(1), gap.view(1)])
        hidden, cell = cells(step[None], (hidden, cell))
        total = total + deviation
        deviations.append((item, deviation))
    return hidden, total, deviations


def rate_by_hand(module, states, target):
    """Compute one rating from the states of one or two directions."""
    hidden = torch.cat([hidden for hidden, _, _ in states], 1)
    rated = [pair for _, _, deviations in states for pair in deviations]
    mean = sum(total for _, total, _ in states) / (len(rated) + module.log_shrinkage.exp())
    summary = torch.zeros(K)
    for item, deviation in rated:
        summary = summary + (deviation - mean) * module.rated_factors.weight[item]
        summary = summary + module.seen_factors.weight[item]
    output = module.output(hidden)[0]
    user = output[1:] + summary / (len(rated) + 1) ** 0.5
    z = module.item_biases[target] + mean + output[0] + user @ module.item_factors.weight[target]
    return MEAN + SCALE * z


def past_of(row, past=PAST):
    columns = (past[name][row] for name in ("past_items", "past_ratings", "past_gaps"))
    return list(zip(*columns, strict=True))[: PAST["lengths"][row]]


@pytest.mark.parametrize("bidirectional", [False, True])
@torch.no_grad()
def test_forward_follows_the_formulas(bidirectional):
    module = lstm(bidirectional=bidirectional)
    after = torch.tensor([1, 4, 2, 4, 0])
    found = module(**PAST, **QUERIES, after=after)
    for k, row in enumerate(QUERIES["sequences"].tolist()):
        past = past_of(row)
        states = [states_by_hand(module, module.lstm, past[: QUERIES["before"][k]])]
        if bidirectional:
            gaps = ([gap for _, _, gap in past[1:]] + [torch.tensor(0.0)])[: len(past)]
            steps = [(item, r, gap) for (item, r, _), gap in zip(past, gaps, strict=True)]
            states.append(states_by_hand(module, module.backward_lstm, steps[after[k] :][::-1]))
        expected = rate_by_hand(module, states, QUERIES["items"][k])
        assert torch.allclose(found[k], expected.double(), atol=1e-5)


@kinds
def test_padding_changes_neither_predictions_nor_gradients(params):
    module = lstm(**params).train()
    results = []
    for padding in (0, 9):
        past = {name: v.clone() for name, v in PAST.items()}
        is_padding = torch.arange(4) >= past["lengths"][:, None]
        past["past_items"][is_padding] = padding
        past["past_ratings"][is_padding] = float(padding)
        module.zero_grad()
        torch.manual_seed(0)
        loss, predictions = module.backward_loss(RATINGS, **past, **QUERIES)
        results.append([p.grad.clone() for p in module.parameters()] + [loss, predictions])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))
    assert (module.item_factors.weight.grad[0] == 0).all()


def tables_of(module):
    tables = [module.item_factors, module.rated_factors, module.seen_factors]
    return [*(table.weight for table in tables), module.item_biases.unsqueeze(1)]


def test_gradient_is_that_of_error_and_penalty():
    module = LSTMRating(N_ITEMS, K, H, scale=SCALE, dropout=0.0, n_ratings=20).eval()
    weight = torch.tensor([1.0, 2, 0.5, 1, 1])
    loss, _ = module.backward_loss(RATINGS, weight, alpha=3.0, **PAST, **QUERIES)
    gradients = [p.grad.clone() for p in module.parameters()]
    module.zero_grad()
    error = (module(**PAST, **QUERIES) - RATINGS).square()
    mean = (error * weight).sum() / weight.sum()
    norm = sum(table.square().sum() for table in tables_of(module))
    (mean / SCALE**2 + 3.0 / 20 * norm).backward()
    for gradient, p in zip(gradients, module.parameters(), strict=True):
        assert torch.allclose(gradient, p.grad, atol=1e-5)
    assert torch.isclose(loss, mean)


@pytest.mark.parametrize("items_only", [False, True])
@torch.no_grad()
def test_growing_adds_items_and_keeps_predictions(items_only):
    module = lstm(items_only=items_only)
    before = module(**PAST, **QUERIES)
    module.grow(N_ITEMS + 5, torch.Generator().manual_seed(2))
    assert torch.equal(module(**PAST, **QUERIES), before)
    assert module.n_items == N_ITEMS + 5
    new = {**QUERIES, "items": QUERIES["items"] * 0 + N_ITEMS + 5}
    assert module(**PAST, **new).isfinite().all()


@kinds
def test_sparse_and_dense_gradients_agree(params):
    state = torch.get_rng_state()
    gradients = []
    for sparse in (False, True):
        module = lstm(dropout=0.0, sparse=sparse, **params)  # the generator decides the start
        module.backward_loss(RATINGS, **PAST, **QUERIES)
        for name, values in module.named_parameters():
            is_table = name.startswith(("item", "rated", "seen"))
            assert values.grad.is_sparse == (sparse and is_table)
        gradients.append([values.grad.to_dense() for values in module.parameters()])
    for dense, of_rows in zip(*gradients, strict=True):
        assert torch.allclose(dense, of_rows, atol=1e-6)
    assert torch.equal(torch.get_rng_state(), state)


def test_sparse_penalty_reads_only_the_items_of_the_batch():
    module = lstm(sparse=True)
    norms = sum(table.square().sum(1) for table in tables_of(module))
    # The batch looks up 3, 1, 2, 7, 4, 8 as past items and 5, 6, 1, 0, 2 as targets.
    once, twice = norms[[3, 4, 5, 6, 7, 8]].sum(), norms[[1, 2]].sum()
    assert torch.isclose(module.penalty(**PAST, **QUERIES), (once + twice) / 5)
    module.n_lookups = torch.full((N_ITEMS + 1,), 4.0)
    penalty = module.penalty(**PAST, **QUERIES)
    assert torch.isclose(penalty, (once / 4 + twice / 2) / 5)
    penalty.backward()
    rows = module.seen_factors.weight.grad.coalesce()
    assert rows.indices()[0].tolist() == [1, 2, 3, 4, 5, 6, 7, 8]


@kinds
@torch.no_grad()
def test_scores_can_be_multiplied(params):
    module = lstm(**params)
    before = module(**PAST, **QUERIES)
    module._multiply_scores(0.25)
    module.scale /= 0.25  # of the past ratings too
    torch.testing.assert_close(module(**PAST, **QUERIES), before)


# --- with a static part


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


RATED = {**PAST, "past_ratings": PAST["past_ratings"].nan_to_num(2.0)}
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


def residual_states_by_hand(module, lstm, past, gaps):
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


@pytest.mark.parametrize("bidirectional", [False, True])
@torch.no_grad()
def test_forward_with_a_static_part_follows_the_formulas(bidirectional):
    module = residual_lstm(bidirectional=bidirectional)
    found = module(**RATED, **QUERIES, after=AFTER)
    for k, row in enumerate(QUERIES["sequences"].tolist()):
        before, item = QUERIES["before"][k], QUERIES["items"][k]
        past = [(int(i), float((r - MEAN) / SCALE)) for i, r, _ in past_of(row, RATED)]
        gaps = [float(gap) for _, _, gap in past_of(row)]
        read = past[:before]
        states = [residual_states_by_hand(module, module.lstm, read, gaps)]
        if bidirectional:
            backward = past[AFTER[k] :][::-1]
            after = [*gaps[1:], 0.0][: len(past)][AFTER[k] :][::-1]
            states.append(residual_states_by_hand(module, module.backward_lstm, backward, after))
            read = read + backward
        expected = expected_by_hand(module.users, read, item)
        count = torch.log1p(torch.tensor(float(len(read)))) / 3
        parts = [*zip(*states, strict=True)]  # hidden states, averages
        numbers = torch.stack([expected, count]).float()
        inputs = torch.cat([*parts[0], *parts[1], numbers])
        residual = module.output(nn.functional.silu(module.hidden(inputs))) * (len(read) > 0)
        z = expected + residual.squeeze()
        assert torch.allclose(found[k], MEAN + SCALE * z, atol=1e-5)


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
    module.backward_loss(ratings, **PAST, **QUERIES, **given)
    names = {name.split(".")[0] for name, _ in module.named_parameters()}
    assert names == {"lstm", "hidden", "output"}
    assert all(values.grad.abs().sum() > 0 for values in module.parameters())
