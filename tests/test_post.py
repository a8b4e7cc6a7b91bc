"""The networks of "PyTorch for Recommenders 101" (2018) are special cases of ours."""
# SPDX-License-Identifier: BSD-3-Clause

import ast
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

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


ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "examples" / "plot_from_the_post.py"
POSTS_LOOP, ZEROED, FAIR_LOOP = "the post's loop", "the same, gradients zeroed", "a fair loop"
SETTINGS, DEFAULTS = "estimator, the post's settings", "estimator, defaults"
OF_OURS = {FAIR_LOOP: "a fair loop", SETTINGS: "sklrec, the post's settings"}
# Names of the trainings on the page and in the benchmark.
SOURCES = {
    ("Factors", "Matrix factorisation"): {
        POSTS_LOOP: "trained again, gradients never zeroed",
        ZEROED: "trained again, gradients zeroed",
        DEFAULTS: "sklrec",
        **OF_OURS,
    },
    ("DenseNet", "Dense net"): {POSTS_LOOP: "trained again", DEFAULTS: "sklrec", **OF_OURS},
    ("ItemLSTM", "LSTM, windows of 10 items"): {
        POSTS_LOOP: "trained again",
        DEFAULTS: "sklrec, whole histories",
        **OF_OURS,
    },
}


def run_parts(kinds, names):
    """Run the statements of some kinds on the page, and return some of the names they define."""
    found = {}
    kept = [node for node in ast.parse(PAGE.read_text()).body if isinstance(node, kinds)]
    exec(compile(ast.Module(kept, []), str(PAGE), "exec"), found)
    return [found[name] for name in names]


Factors, DenseNet, ItemLSTM = run_parts(
    (ast.Import, ast.ImportFrom, ast.ClassDef), ("Factors", "DenseNet", "ItemLSTM")
)


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
        lambda *n: Factors(*n, N_FACTORS),
        EMBEDDINGS,
    ),
    "dense net": (
        DenseRecRegressor(N_FACTORS, (N_HIDDEN,), **PLAIN_DENSE, **ONE_EPOCH),
        lambda *n: DenseNet(*n, N_FACTORS, N_HIDDEN),
        EMBEDDINGS | {"hidden": "layers.0", "output": "layers.2"},
    ),
}


@pytest.mark.parametrize(("model", "plain", "names"), PAIR_CASES.values(), ids=PAIR_CASES)
def test_pair_networks_predict_as_plain_networks_of_the_same_weights(model, plain, names):
    module = model.fit(PAIRS, Y).module_.eval()
    users, items = codes_of(model, PAIRS)
    network = copy_weights(plain(module.n_users, module.n_items), module, names)
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
    network = copy_weights(ItemLSTM(module.n_items, N_FACTORS, N_HIDDEN), module, names)
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


def test_page_has_the_figures_of_the_benchmark():
    (text,) = re.findall(r"^ALL_RATINGS = (\{.*?^\})", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    names = {"POSTS_LOOP": POSTS_LOOP, "ZEROED": ZEROED, "FAIR_LOOP": FAIR_LOOP}
    shown = eval(text, {**names, "SETTINGS": SETTINGS, "DEFAULTS": DEFAULTS})
    result = json.loads((ROOT / "benchmarks" / "results" / "post.json").read_text())
    stored = {(row[0], row[1]): row[2] for row in result["tables"][0]["rows"]}
    expected = {
        (network, training): round(stored[model, source], 4)
        for (network, model), sources in SOURCES.items()
        for training, source in sources.items()
        if (model, source) in stored
    }
    assert shown == expected
    assert {("Factors", POSTS_LOOP), ("DenseNet", POSTS_LOOP), ("ItemLSTM", POSTS_LOOP)} <= set(
        shown
    )
