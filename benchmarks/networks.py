"""Own networks in `ModuleRecRegressor`: accuracy, cold start, quantiles, and time of an epoch."""
# SPDX-License-Identifier: BSD-3-Clause

import ast
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from benchmarks import _data as d
from benchmarks._baselines import ridge_biases
from benchmarks._measure import alternate
from benchmarks._results import bar, table
from benchmarks._torch import Clock, torch_threads
from benchmarks.logs import random_splits
from sklrec import IDEncoder, MFRegressor, ModuleRecRegressor
from sklrec.model_selection import ColdItemKFold, ColdUserKFold

EXAMPLES = Path(__file__).parent.parent / "docs" / "examples"
MF, NEUMF, ATTENTION = "matrix factorisation of the user", "NeuMF", "self-attention"
BIASES, MEAN = "two ridge biases", "mean rating"
LIMIT, EPOCH_LIMIT = 0.93, 1.2
QUANTILES, WIDTH, TOLERANCE = (0.1, 0.9), 0.8, 0.03
IDS = ["user", "item"]


class MatrixFactorization(nn.Module):
    """Matrix factorisation with biases as a user would write it."""

    def __init__(self, n_users, n_items, n_factors=20, sparse=False):
        super().__init__()
        self.user_factors = nn.Embedding(n_users + 1, n_factors, sparse=sparse)
        self.item_factors = nn.Embedding(n_items + 1, n_factors, sparse=sparse)
        self.user_biases = nn.Embedding(n_users + 1, 1, sparse=sparse)
        self.item_biases = nn.Embedding(n_items + 1, 1, sparse=sparse)

    def forward(self, users, items):
        products = (self.user_factors(users) * self.item_factors(items)).sum(1)
        return products + self.user_biases(users)[:, 0] + self.item_biases(items)[:, 0]


def run(
    *, log: pd.DataFrame | None = None, title: str = "MovieLens 100K", quick: bool = False
) -> dict[str, Any]:
    """Compare networks on MovieLens 100K, or on a given log."""
    is_movielens = log is None
    log = d.described_movielens() if log is None else log
    folds = d.folds(log, shuffle=True) if is_movielens else random_splits(log, 5)
    rows = [
        row
        for seed, fold in enumerate(list(folds)[: 1 if quick else 5])
        for row in accuracy(*fold, seed)
    ]
    errors = pd.DataFrame(rows).groupby("Model", sort=False)["RMSE"].agg(["mean", "sem"])
    cold = pd.DataFrame(list(cold_start(log, 1 if quick else 3)))
    cold = cold.groupby(["Split", "Model"], sort=False)["RMSE"].mean().unstack()
    share = quantile_share(log)
    mean = errors["mean"]
    bars = [bar(f"{MF} over {BIASES}", mean[MF] / mean[BIASES], 1.0, ".4f")]
    bars += [
        bar(f"{split}: {MF} over the {MEAN}", found[MF] / found[MEAN], 1.0, ".4f")
        for split, found in cold.iterrows()
    ]
    if is_movielens:
        bars.append(bar(f"RMSE of {MF}", mean[MF], LIMIT, ".4f"))
        epochs = epoch_times(log, 3 if quick else 11)
        ratio = epochs["ModuleRecRegressor"] / epochs["bare torch loop"]
        bars.append(bar("Epoch over that of a bare loop", ratio, EPOCH_LIMIT, ".3f"))
    split = d.SHUFFLED if is_movielens else "five random 90/10 splits"
    forms = {"Model": "", "RMSE": ".4f", "Standard error": ".4f"}
    return {
        "title": f"Own networks, {title}",
        "notes": [
            f"ModuleRecRegressor with default parameters. Split: {split}. "
            "NeuMF and self-attention come from the gallery; "
            "self-attention reads the ratings of the training rows that are earlier than a row. "
            f"{100 * share:.1f} % of the test ratings of the first random split lie between the "
            f"predictions of two networks with loss='quantile', {QUANTILES[0]} and "
            f"{QUANTILES[1]}; ratings that equal a prediction count as inside.",
        ],
        "bars": bars,
        "tables": [
            table("Random splits", forms, errors.reset_index()),
            table(
                "Users or items without training ratings",
                {"Split": "", **dict.fromkeys(cold.columns, ".4f")},
                cold.reset_index(),
            ),
        ],
    }


def network_of(example: str, name: str) -> Any:
    """Class of a network that an example of the gallery defines."""
    tree = ast.parse((EXAMPLES / example).read_text())
    wanted = [
        n for n in tree.body if isinstance(n, ast.ClassDef) or "torch" in ast.unparse(n)[:17]
    ]
    scope: dict[str, Any] = {"__name__": __name__}
    exec(compile(ast.Module(wanted, []), example, "exec"), scope)
    return scope[name]


def accuracy(train: pd.DataFrame, test: pd.DataFrame, seed: int) -> Iterator[dict[str, Any]]:
    truth = test["rating"].to_numpy()
    networks = {MF: MatrixFactorization, NEUMF: network_of("plot_neumf.py", "NeuMF")}
    if "timestamp" in train:
        networks[ATTENTION] = network_of("plot_self_attention.py", "SelfAttention")
    for name, network in networks.items():
        columns = [*IDS, "timestamp"] if name == ATTENTION else IDS
        model = ModuleRecRegressor(network, random_state=seed)
        if name == ATTENTION:  # as in the gallery
            model.set_params(max_len=20, max_epochs=3, output="residual")
        predicted = model.fit(train[columns], train["rating"]).predict(test[columns])
        yield {"Model": name, "RMSE": d.rmse(truth, predicted)}
    mf = MFRegressor(random_state=seed).fit(train[IDS], train["rating"])
    yield {"Model": "MFRegressor()", "RMSE": d.rmse(truth, mf.predict(test[IDS]))}
    yield {"Model": BIASES, "RMSE": d.rmse(truth, ridge_biases(train, seed)(test))}


def cold_start(log: pd.DataFrame, n_folds: int) -> Iterator[dict[str, Any]]:
    """Errors for users, and for items, that have no training ratings."""
    for splitter in (ColdUserKFold(5), ColdItemKFold(5)):
        for rows, held_out in list(splitter.split(log[IDS], log["rating"]))[:n_folds]:
            train, test = log.iloc[rows], log.iloc[held_out]
            truth = test["rating"].to_numpy()
            model = ModuleRecRegressor(MatrixFactorization, random_state=0)
            predicted = model.fit(train[IDS], train["rating"]).predict(test[IDS])
            split = type(splitter).__name__
            yield {"Split": split, "Model": MF, "RMSE": d.rmse(truth, predicted)}
            mean = np.full(len(test), train["rating"].mean())
            yield {"Split": split, "Model": MEAN, "RMSE": d.rmse(truth, mean)}


def quantile_share(log: pd.DataFrame) -> float:
    """Share of test ratings between the predictions of two quantiles."""
    train, test = next(random_splits(log, 1))
    low, high = (
        ModuleRecRegressor(MatrixFactorization, loss="quantile", quantile=q, random_state=0)
        .fit(train[IDS], train["rating"])
        .predict(test[IDS])
        for q in QUANTILES
    )
    rating = test["rating"].to_numpy()
    return float(((rating >= low) & (rating <= high)).mean())


def epoch_times(log: pd.DataFrame, repeats: int) -> dict[str, float]:
    """Seconds of an epoch of the estimator, and of a loop of torch calls, on one thread."""
    X, y = log[IDS], log["rating"].to_numpy()
    model = ModuleRecRegressor(MatrixFactorization, max_epochs=3, random_state=0).fit(X, y)
    batch_size = model.net_.batch_size
    codes = IDEncoder().fit_transform(X)
    users, items = (torch.from_numpy(codes[name].to_numpy(copy=True)) for name in IDS)
    target = torch.from_numpy(((y - y.mean()) / y.std()).astype(np.float32))

    def ours() -> float:
        clock = Clock()
        ModuleRecRegressor(
            MatrixFactorization, max_epochs=3, callbacks=[clock], random_state=0
        ).fit(X, y)
        return clock.seconds / 3

    def bare() -> float:
        with torch_threads(1):
            network = MatrixFactorization(model.n_users_, model.n_items_)
            optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
            start = perf_counter()
            for _ in range(3):
                order = torch.randperm(len(target))
                for rows in order.split(batch_size):
                    optimizer.zero_grad()
                    errors = network(users[rows], items[rows]) - target[rows]
                    errors.square().mean().backward()
                    optimizer.step()
            return (perf_counter() - start) / 3

    return alternate({"ModuleRecRegressor": ours, "bare torch loop": bare}, repeats)
