"""`SequenceRatingRegressor` where time matters."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import clone

import sklrec
from benchmarks._baselines import causal_biases
from benchmarks._data import SHUFFLED, Fold, described_movielens, folds, rmse
from benchmarks._measure import seconds
from benchmarks._results import bar, table
from sklrec import SequenceRatingRegressor
from sklrec.model_selection import GlobalTimeSplit, LastInteractionsSplit

COLUMNS = ["user", "item", "timestamp"]
OURS, BIASES = "SequenceRatingRegressor", "user and item biases"
# Models that read no time and no rows after their fit.
STATIC = [
    sklrec.MFRegressor(),
    sklrec.MFRegressor(svdpp=True),
    sklrec.BayesianMFRegressor(svdpp=True),
]
LAST = "Each user's last 10 held out, ties in random order"
FROZEN = "First 80 % by time, then the rest; history as at the split"
LIVE = "The same split, history up to each row by `history=`"
CAUSAL = "Shuffled folds, only strictly earlier rows"
BIDIRECTIONAL = "Shuffled folds, `bidirectional=True`"
LIMITS = {LAST: 0.975, FROZEN: 1.019, LIVE: 0.925, CAUSAL: 0.905, BIDIRECTIONAL: 0.880}
Row = dict[str, Any]


def run(*, quick: bool = False) -> dict[str, Any]:
    log = described_movielens()
    few = log[:1_000]
    SequenceRatingRegressor(max_epochs=1).fit(few[COLUMNS], few["rating"])  # warms up
    found = summary(list(compare_protocols(log, 1 if quick else 5)))
    ours = found[found["model"] == OURS].set_index("protocol")["mean"]
    forms = {"RMSE": ".4f", "Standard error": ".4f", "Fit, s": ".2f"}
    return {
        "title": "Sequences on MovieLens 100K",
        "notes": [
            "RMSE in stars, means over 5 seeds, which also draw the order of ties, or over the "
            f"folds of {SHUFFLED} at seed 0, with their standard errors; parameters are at their "
            "defaults. The biases are those of items, and of users in the rows that "
            "SequenceRatingRegressor may read too, shrunk by 5 ratings without deviation. "
            f"{', '.join(map(str, STATIC))} read no time and no rows after their fit; on the last "
            "ratings they read training rows of the same second, which SequenceRatingRegressor "
            "does not."
        ],
        "bars": [
            bar(protocol, ours[protocol], limit, ".4f") for protocol, limit in LIMITS.items()
        ],
        "tables": [table("RMSE", {"Protocol": "", "Model": "", **forms}, found)],
    }


def compare_protocols(log: pd.DataFrame, n_runs: int) -> Iterator[Row]:
    """Rows of all protocols: the last rows of each user, the last by time, and random rows."""
    for seed in range(n_runs):
        splitter = LastInteractionsSplit(10, random_state=seed)
        yield from compare(LAST, *part(log, splitter), seed)
    by_time = part(log, GlobalTimeSplit(1, test_size=0.2))
    for seed in range(n_runs):
        yield from compare(FROZEN, *by_time, seed, live=log)
    for known, asked in list(folds(log, shuffle=True))[:n_runs]:
        yield from compare(CAUSAL, known, asked, 0)
        yield from compare(BIDIRECTIONAL, known, asked, 0, bidirectional=True)


def part(log: pd.DataFrame, splitter: Any) -> Fold:
    known, asked = next(splitter.split(log[COLUMNS]))
    return log.iloc[known], log.iloc[asked]


def compare(
    protocol: str, known: Any, asked: Any, seed: int, bidirectional: bool = False, live: Any = None
) -> Iterator[Row]:
    """Fit on the training rows; a live history gives predictions from that history too."""

    def row(protocol: str, model: str, prediction: np.ndarray, took: float | None = None) -> Row:
        error = rmse(asked["rating"].to_numpy(), prediction)
        print(f"{protocol}: {model} {error:.4f}", flush=True)
        return {"protocol": protocol, "model": model, "rmse": error, "fit_seconds": took}

    ours = SequenceRatingRegressor(bidirectional=bidirectional, random_state=seed)
    static = [] if bidirectional else STATIC
    models = {str(model): clone(model).set_params(random_state=seed) for model in static}
    for name, model in (models | {OURS: ours}).items():
        took = seconds(lambda m=model: m.fit(known[COLUMNS], known["rating"]))
        yield row(protocol, name, model.predict(asked[COLUMNS]), took)
    # With both directions the model reads all known rows, so the biases do too.
    when = known["timestamp"].max() + 1 if bidirectional else asked["timestamp"]
    yield row(protocol, BIASES, causal_biases(known, asked.assign(timestamp=when), known))
    if live is not None:
        history = live[COLUMNS], live["rating"]
        yield row(LIVE, OURS, ours.predict(asked[COLUMNS], history=history))
        yield row(LIVE, BIASES, causal_biases(known, asked, live))


def summary(rows: list[Row]) -> pd.DataFrame:
    found = pd.DataFrame(rows).groupby(["protocol", "model"])
    means = found["rmse"].agg(["mean", "sem"]).join(found["fit_seconds"].median())
    names = [OURS, *map(str, STATIC), BIASES]
    order = pd.MultiIndex.from_product([LIMITS, names], names=means.index.names)
    return means.loc[[key for key in order if key in means.index]].reset_index()
