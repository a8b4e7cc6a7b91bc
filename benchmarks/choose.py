"""Choice of parameters and constants on held-out parts of training rows of several logs.

``python -m benchmarks.choose [estimators] --ratings FILE:USER:ITEM:RATING[:TIMESTAMP]``

The logs are MovieLens 100K (`ml-100k`), generated logs (`10 strong` has 10 ratings a user and a
strong signal) and each given log, with the name of its folder. Of each, the script reads the
training part of the first split of the benchmark `logs`, and holds out a tenth of it: no test row
is read. A log with timestamps is also split by time for sequences: the last rows of each user are
held out. Recommenders are compared on the real logs only, by the NDCG of their lists of 10.
"""
# SPDX-License-Identifier: BSD-3-Clause

import argparse
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
from sklearn.model_selection import ShuffleSplit

import sklrec
from benchmarks._baselines import ridge_biases
from benchmarks._data import described_movielens, folds, read_log, rmse, split_genres
from benchmarks._measure import settle_environment
from benchmarks._results import RESULTS
from benchmarks.logs import MANY_ROWS, NORMAL, generate, random_splits
from benchmarks.networks import MatrixFactorization
from sklrec.model_selection import LastInteractionsSplit

GENERATED = [(3, "no"), (3, "low"), (3, "high"), (50, "no"), (50, "low"), (50, "high")]
GENERATED += [(10, "strong"), (50, "strong")]
MADE = {f"{n} {signal}": (n, signal) for n, signal in GENERATED}
FACTORS = [0.5, 2.0]


def vary(*constants: str, **values: list[Any]) -> list[dict[str, Any]]:
    """The defaults, and candidates that differ in a parameter or in the factor of a constant."""
    values |= dict.fromkeys(constants, FACTORS)
    return [{}, *({name: value} for name, found in values.items() for value in found)]


RATES: dict[str, Any] = {"max_epochs": [5, 20], "lr": [0.05, 0.12]}
STEPS: dict[str, Any] = {"dropout": [0.0, 0.2], "max_epochs": [6, 14], "lr": [0.01, 0.03]}
LAYERS: dict[str, Any] = {"hidden_layer_sizes": [(), (64, 32)], "products": [False]}
LAYERS |= {"lr": [0.02]}
ROWS = ["PER_RATING", "PER_ROW", "POWER"]
TERMS = ["PER_RATING_OF_TERMS", "PER_ROW_OF_TERMS", "TERMS_LOAD_FACTOR"]
NET = ["DENSE_PER_RATING", "DENSE_PER_ROW", "DENSE_POWER", "DENSE_LAYERS"]
# Name in the results: the estimator, the parameters of all its candidates, and the candidates.
CANDIDATES: dict[str, tuple[str, dict[str, Any], list[dict[str, Any]]]] = {
    "mf": ("MFRegressor", {}, vary(*ROWS, n_factors=[50, 200], alpha=[0.07], **RATES)),
    "mf_svdpp": (
        "MFRegressor",
        {"svdpp": True},
        vary(*ROWS, *TERMS, n_factors=[40, 160], alpha=[0.1], **RATES),
    ),
    "dense": ("DenseRecRegressor", {}, vary(*NET, n_factors=[100], alpha=[0.1], **LAYERS)),
    "networks": (
        "ModuleRecRegressor",
        {"module": MatrixFactorization},
        vary("UNKNOWN_SHARE", "LEFT_OF_BIASES", lr=[0.005, 0.02], init_std=[0.05]),
    ),
    "implicit_mf": (
        "ImplicitMFRecommender",
        {},
        vary("FACTOR_PENALTY", "UNOBSERVED_SHARE", n_factors=[64, 256], n_iter=[5, 20]),
    ),
    "ease": ("EASERecommender", {}, vary("ITEM_PENALTY")),
    "sequence": (
        "SequenceRatingRegressor",
        {},
        vary(n_factors=[8, 24], hidden_size=[8, 32], alpha=[10.0], **STEPS),
    ),
}


RECOMMENDERS = ["implicit_mf", "ease"]


def main() -> None:
    """Write a table for each estimator: the ratios of each candidate on each log."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.choose")
    parser.add_argument("names", nargs="*", metavar="estimator", help=", ".join(CANDIDATES))
    parser.add_argument("--ratings", action="append", default=[], metavar="FILE:COLUMNS")
    parser.add_argument("--splits", type=int, default=2)
    options = parser.parse_args()
    settle_environment()
    logs = dict(read_logs(options.ratings))
    for name in options.names or CANDIDATES:
        text = compare(name, logs, options.splits)
        print(text)
        (RESULTS / f"defaults_{name}.txt").write_text(text + "\n")


def read_logs(entries: list[str]) -> Iterator[tuple[str, pd.DataFrame]]:
    yield "ml-100k", split_genres(next(folds(described_movielens(), shuffle=True))[0])
    logs = {name: generate(*made, NORMAL) for name, made in MADE.items()}
    for entry in entries:
        path, *columns = entry.split(":")
        logs[Path(path).resolve().parent.name] = read_log(path, *columns)
    for name, log in logs.items():
        yield name, next(random_splits(log, 1))[0]


def parts(name: str, log: pd.DataFrame, n_splits: int) -> Iterator[tuple[str, Any]]:
    """Columns to read and pairs of training and validation rows, by the name of the split."""
    ids, n_splits = ["user", "item"], 1 if len(log) > MANY_ROWS else n_splits
    at_random = list(ShuffleSplit(n_splits, test_size=0.1, random_state=1).split(log))
    if name != "sequence":
        yield "", (ids, at_random)
    if name == "dense" and "genres" in log:
        side = [column for column in log if column not in ("rating", "day", "session")]
        yield ", side", (side, at_random)
    if name == "sequence" and "timestamp" in log:
        splitters = [LastInteractionsSplit(10, random_state=seed) for seed in range(n_splits)]
        last = [next(splitter.split(log)) for splitter in splitters]
        yield "", ([*ids, "timestamp"], at_random)
        yield ", last 10", ([*ids, "timestamp"], last)


def compare(name: str, logs: dict[str, pd.DataFrame], n_splits: int) -> str:
    """Ratio of each candidate on each log, and their mean and largest.

    It is the RMSE over that of two ridge biases, or for recommenders the NDCG of popular items
    over that of the candidate. `change` is the mean change from that of the defaults, as a share
    of it, and `error` its standard error over all splits of all logs.
    """
    estimator, fixed, candidates = CANDIDATES[name]
    ratios: dict[tuple[str, int], list[float]] = {}
    for log_name, log in logs.items():
        if name in RECOMMENDERS and log_name in MADE:
            continue
        for split, (columns, indices) in parts(name, log, n_splits):
            for seed, (train, held_out) in enumerate(indices):
                known, asked = log.iloc[train], log.iloc[held_out]
                known_y, y = (part["rating"].to_numpy() for part in (known, asked))
                known_X, X = known[columns], asked[columns]
                if name in RECOMMENDERS:
                    of_baseline = sklrec.PopularityRecommender().fit(known_X).score(X)
                else:
                    of_baseline = rmse(y, ridge_biases(known, seed)(asked))
                found = ratios[log_name + split, seed] = []
                for candidate in candidates:
                    parameters = {k: v for k, v in candidate.items() if not k.isupper()}
                    model = getattr(sklrec, estimator)(**fixed, **parameters)
                    if "random_state" in model.get_params():
                        model.set_params(random_state=seed)
                    with changed_constants(candidate):
                        model.fit(known_X, known_y)
                    if name in RECOMMENDERS:
                        found.append(of_baseline / model.score(X))
                    else:
                        found.append(rmse(y, model.predict(X)) / of_baseline)
                print(name, log_name + split, seed, np.round(found, 4), flush=True)
    pairs = [pair for candidate in candidates for pair in candidate.items()]
    settings = [f"{k} x {v}" if k.isupper() else f"{k}={v}" for k, v in pairs]
    frame = pd.DataFrame(ratios, index=["defaults", *settings])
    means = frame.T.groupby(level=0, sort=False).mean().T
    changes = frame / frame.iloc[0] - 1
    means = means.assign(mean=means.mean(axis=1), largest=means.max(axis=1))
    means = means.assign(change=changes.mean(axis=1), error=changes.sem(axis=1))
    return means.sort_values("change").to_string(float_format="{:.4g}".format)


def changed_constants(candidate: dict[str, Any]) -> ExitStack:
    """Multiply constants of the package by factors, in all modules that have them."""
    patches = ExitStack()
    modules = [module for name, module in sys.modules.items() if name.startswith("sklrec.")]
    for name, factor in candidate.items():
        for module in modules:
            if name.isupper() and name in vars(module):
                value = scaled(getattr(module, name), factor)
                patches.enter_context(patch.object(module, name, value))
    return patches


def scaled(value: Any, factor: float) -> Any:
    if isinstance(value, dict):
        return {key: scaled(one, factor) for key, one in value.items()}
    return value * factor


if __name__ == "__main__":
    main()
