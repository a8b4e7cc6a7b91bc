"""The networks of "PyTorch for Recommenders 101" (2018) are special cases of ours."""
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import nn

from sklrec import DenseRecRegressor, MFRegressor, SequenceRatingRegressor
from sklrec.datasets import make_ratings

N_FACTORS, N_HIDDEN = 6, 5
X, Y = make_ratings(40, 30, 900, random_state=0)  # no user has two rows of one time
PAIRS = X[["user", "item"]]
ONE_EPOCH = {
    "alpha": 0.0,
    "max_epochs": 1,
    "batch_size": 16,  # small, so that one epoch moves the weights
    "rating_scale": None,
    "random_state": 0,
}


class PlainFactorization(nn.Module):
    """The dot product of two embeddings."""

    def __init__(self, n_users, n_items):
        super().__init__()
        self.users = nn.Embedding(n_users, N_FACTORS)
        self.items = nn.Embedding(n_items, N_FACTORS)

    def forward(self, users, items):
        return (self.users(users) * self.items(items)).sum(1)


class PlainDense(nn.Module):
    """One hidden layer over two concatenated embeddings."""

    def __init__(self, n_users, n_items):
        super().__init__()
        self.users = nn.Embedding(n_users, N_FACTORS)
        self.items = nn.Embedding(n_items, N_FACTORS)
        self.hidden = nn.Linear(2 * N_FACTORS, N_HIDDEN)
        self.output = nn.Linear(N_HIDDEN, 1)

    def forward(self, users, items):
        embedded = torch.cat([self.users(users), self.items(items)], 1)
        return self.output(torch.relu(self.hidden(embedded))).squeeze(1)


class PlainLSTM(nn.Module):
    """A linear unit over the LSTM states of one user's items; rates the item of each step."""

    def __init__(self, n_items):
        super().__init__()
        self.items = nn.Embedding(n_items, N_FACTORS)
        self.lstm = nn.LSTM(N_FACTORS, N_HIDDEN, batch_first=True)
        self.output = nn.Linear(N_HIDDEN, 1)

    def forward(self, items):
        states, _ = self.lstm(self.items(items).unsqueeze(0))
        return self.output(states).flatten()


def copy_weights(plain, module, names):
    """Load the weights of a fitted module into a plain network, by pairs of layer names."""
    with torch.no_grad():
        for name, source in names.items():
            plain.get_submodule(name).load_state_dict(module.get_submodule(source).state_dict())
    n_copied = sum(values.numel() for values in module.parameters())
    assert sum(values.numel() for values in plain.parameters()) == n_copied  # nothing is left out
    return plain.double()


def codes_of(model, table):
    codes = model.encoder_.transform(table)
    return [torch.as_tensor(np.array(codes[side])) for side in ("user", "item")]


def in_stars(module, outputs):
    """Outputs of a plain network in units of the ratings."""
    return (module.zero + module.scale * outputs).detach().numpy()


EMBEDDINGS = {"users": "user_factors", "items": "item_factors"}
PLAIN_MF = {"biased": False, "lr": 0.01, "init_std": 1.0}
PLAIN_DENSE = {"products": False, "biased": False, "dropout": 0.0, "init_std": 1.0}
PLAIN_LSTM = {"items_only": True, "dropout": 0.0, "init_std": 1.0}
PAIR_CASES = {
    "matrix factorisation": (
        MFRegressor(N_FACTORS, **PLAIN_MF, **ONE_EPOCH),
        PlainFactorization,
        EMBEDDINGS,
    ),
    "dense net": (
        DenseRecRegressor(N_FACTORS, (N_HIDDEN,), **PLAIN_DENSE, **ONE_EPOCH),
        PlainDense,
        EMBEDDINGS | {"hidden": "layers.0", "output": "layers.2"},
    ),
}


@pytest.mark.parametrize(("model", "plain", "names"), PAIR_CASES.values(), ids=PAIR_CASES)
def test_pair_networks_predict_as_plain_networks_of_the_same_weights(model, plain, names):
    module = model.fit(PAIRS, Y).module_.eval()
    users, items = codes_of(model, PAIRS)
    network = copy_weights(plain(module.n_users + 1, module.n_items + 1), module, names)
    expected = in_stars(module, network(users, items))
    assert expected.std() > 0.05
    with torch.no_grad():
        found = model.net_.module_(users, items)
    assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
    assert_allclose(model.predict(PAIRS), expected, rtol=1e-6, atol=1e-6)


def test_items_only_lstm_predicts_as_a_plain_lstm_of_the_same_weights():
    model = SequenceRatingRegressor(N_FACTORS, N_HIDDEN, **PLAIN_LSTM, **ONE_EPOCH).fit(X, Y)
    module = model.module_.eval()
    names = {"items": "item_factors", "lstm": "lstm", "output": "output"}
    network = copy_weights(PlainLSTM(module.n_items + 1), module, names)
    items = codes_of(model, X)[1]
    users, times = X["user"].to_numpy(), X["timestamp"].to_numpy()
    expected, found = np.empty((2, len(X)))
    for user in np.unique(users):
        rows = np.flatnonzero(users == user)
        rows = rows[np.argsort(times[rows])]
        history = items[rows]
        expected[rows] = in_stars(module, network(history))
        n, unread = len(rows), torch.zeros(1, len(rows))  # ratings and times are not read
        with torch.no_grad():
            found[rows] = model.net_.module_(
                past_items=history.unsqueeze(0),
                past_ratings=unread,
                past_gaps=unread,
                lengths=torch.tensor([n]),
                sequences=torch.zeros(n, dtype=torch.int64),
                before=torch.arange(n),
                items=history,
            )
    assert expected.std() > 0.05
    assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
    assert_allclose(model.predict(X), expected, rtol=1e-6, atol=1e-6)
