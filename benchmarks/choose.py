"""Choice of default parameters on held-out parts of training rows of several logs.

``python -m benchmarks.choose [estimators] --ratings FILE:USER:ITEM:RATING[:TIMESTAMP]``

The logs are the training part of the first shuffled fold of MovieLens 100K, a made sparse log, and
80 % of each given log. A part of these rows is held out, several times; no test row is read. A log
with timestamps is also split by time: the last rows of each user are held out.
"""
# SPDX-License-Identifier: BSD-3-Clause

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.model_selection import ShuffleSplit, train_test_split

import sklrec
from benchmarks._data import described_movielens, folds, grown, read_log, rmse, split_genres
from benchmarks._measure import settle_environment
from benchmarks._results import RESULTS
from sklrec.model_selection import LastInteractionsSplit


def vary(**values: list[Any]) -> list[dict[str, Any]]:
    """The defaults, and candidates that differ from them in one parameter."""
    return [{}, *({name: value} for name, found in values.items() for value in found)]


RATES: dict[str, Any] = {"max_epochs": [5, 20], "lr": [0.05, 0.1, 0.2]}
STEPS: dict[str, Any] = {"dropout": [0.0, 0.2], "max_epochs": [6, 14], "lr": [0.01, 0.03]}
LAYERS: dict[str, Any] = {"products": [False], "biased": [False]}
LAYERS |= {"hidden_layer_sizes": [(), (16,), (64,), (64, 32)], "max_epochs": [5, 12]}
LAYERS |= {"lr": [0.01, 0.02]}
# Name in the results: the estimator, the parameters of all its candidates, and the candidates.
CANDIDATES: dict[str, tuple[str, dict[str, Any], list[dict[str, Any]]]] = {
    "mf": ("MFRegressor", {}, vary(n_factors=[32, 64, 200], alpha=[0.04, 0.1], **RATES)),
    "mf_svdpp": (
        "MFRegressor",
        {"svdpp": True},
        vary(n_factors=[32, 100, 200], alpha=[0.05, 0.2], **RATES),
    ),
    "dense": (
        "DenseRecRegressor",
        {},
        vary(n_factors=[32, 100], alpha=[0.07, 0.15], dropout=[0.2], **LAYERS),
    ),
    "sequence": (
        "SequenceRatingRegressor",
        {},
        vary(n_factors=[8, 24], hidden_size=[8, 32], dropout=[0.0, 0.2], **STEPS),
    ),
}
MANY_ROWS = 500_000  # larger logs are split once: they differ little from split to split
N_MADE = 100_000


def main() -> None:
    """Write a table for each estimator: the validation RMSE of each candidate on each log."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.choose")
    parser.add_argument("names", nargs="*", metavar="estimator", help=", ".join(CANDIDATES))
    parser.add_argument("--ratings", action="append", default=[], metavar="FILE:COLUMNS")
    parser.add_argument("--splits", type=int, default=3)
    options = parser.parse_args()
    settle_environment()
    logs = dict(read_logs(options.ratings))
    for name in options.names or CANDIDATES:
        text = compare(name, logs, options.splits)
        print(text)
        (RESULTS / f"defaults_{name}.txt").write_text(text + "\n")


def read_logs(entries: list[str]) -> Iterator[tuple[str, pd.DataFrame]]:
    yield "ml-100k", split_genres(next(folds(described_movielens(), shuffle=True))[0])
    logs = {"made": grown(N_MADE, timestamps=True)}
    for entry in entries:
        path, *columns = entry.split(":")
        logs[Path(path).name.split(".")[0]] = read_log(path, *columns)
    for name, log in logs.items():
        yield name, train_test_split(log, test_size=0.2, random_state=0)[0]


def parts(name: str, log: pd.DataFrame, n_splits: int) -> Iterator[tuple[str, Any]]:
    """Columns to read and pairs of training and validation rows, by the name of the split."""
    ids, n_splits = ["user", "item"], 1 if len(log) > MANY_ROWS else n_splits
    at_random = list(ShuffleSplit(n_splits, test_size=0.1, random_state=1).split(log))
    if name != "sequence":
        yield "random", (ids, at_random)
    if name == "dense" and "genres" in log:
        side = [column for column in log if column not in ("rating", "day", "session")]
        yield "random, side features", (side, at_random)
    if name == "sequence" and "timestamp" in log:
        splitters = [LastInteractionsSplit(10, random_state=seed) for seed in range(n_splits)]
        last = [next(splitter.split(log)) for splitter in splitters]
        yield "random", ([*ids, "timestamp"], at_random)
        yield "last 10", ([*ids, "timestamp"], last)


def compare(name: str, logs: dict[str, pd.DataFrame], n_splits: int) -> str:
    """Mean RMSE of each candidate on each log, and its mean excess over the best of each log.

    The last column is the standard error of the mean difference to the defaults over all splits.
    """
    estimator, fixed, candidates = CANDIDATES[name]
    splits = [
        (f"{log_name}, {split}", log, columns, pairs)
        for log_name, log in logs.items()
        for split, (columns, pairs) in parts(name, log, n_splits)
    ]
    errors = []
    for candidate in candidates:
        found = {}
        for split, log, columns, pairs in splits:
            for seed, (train, held_out) in enumerate(pairs):
                model = getattr(sklrec, estimator)(random_state=seed, **fixed, **candidate)
                known, asked = log.iloc[train], log.iloc[held_out]
                model.fit(known[columns], known["rating"])
                truth = asked["rating"].to_numpy()
                found[split, seed] = rmse(truth, model.predict(asked[columns]))
        errors.append(found)
        print(estimator, fixed | candidate, f"{np.mean([*found.values()]):.4f}", flush=True)
    frame = pd.DataFrame(errors)
    frame.columns = pd.MultiIndex.from_tuples(frame.columns)
    means = frame.T.groupby(level=0, sort=False).mean().T
    excess = (means - means.min()).mean(axis=1)
    difference = (frame - frame.iloc[0]).sem(axis=1)
    settings = [", ".join(f"{k}={v}" for k, v in one.items()) or "defaults" for one in candidates]
    means = means.assign(above_best=excess, error_of_difference=difference)
    means.insert(0, "setting", settings)
    ordered = means.sort_values("above_best")
    return ordered.to_string(index=False, float_format="{:.4f}".format)


if __name__ == "__main__":
    main()
