"""`SequenceRatingRegressor` where time matters, and what an epoch costs."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn.model_selection import KFold

from benchmarks._baselines import causal_biases
from benchmarks._data import rmse
from benchmarks._measure import alternate, seconds
from benchmarks._results import bar
from benchmarks.overhead import Clock
from sklrec import MFRegressor, SequenceRatingRegressor
from sklrec.datasets import fetch_movielens, make_ratings
from sklrec.model_selection import GlobalTimeSplit, LastInteractionsSplit

COLUMNS = ["user", "item", "timestamp"]
OURS, MF, BIASES = "SequenceRatingRegressor", "MFRegressor", "user and item biases"
LAST = "Each user's last 10 held out, ties in random order"
FROZEN = "First 80 % by time, then the rest; history as at the split"
LIVE = "The same split, history up to each row by `history=`"
CAUSAL = "Shuffled folds, what is strictly earlier"
BIDIRECTIONAL = "Shuffled folds, `bidirectional=True`"
LIMITS = {LAST: 1.008, FROZEN: 1.026, LIVE: 0.955, CAUSAL: 0.937, BIDIRECTIONAL: 0.908}
EPOCH_LIMIT, GROWTH_LIMIT = 2.0, 11.0
SIZES = 100_000, 1_000_000
Row = dict[str, Any]


class Cost(NamedTuple):
    """Seconds of a fit, and of an epoch in it; None where nothing was fitted."""

    fit_seconds: float | None = None
    epoch_seconds: float | None = None


NO_COST = Cost()


def run(*, quick: bool = False) -> dict[str, Any]:
    """Compare on every protocol, then time epochs."""
    X, y = fetch_movielens("100k", return_X_y=True)
    log = X.assign(rating=y)
    fit(SequenceRatingRegressor(max_epochs=1), log[:1_000])  # warms up
    n_runs = 1 if quick else 5
    rows = []
    for protocol in (last_interactions, over_time, shuffled):
        for row in protocol(log, n_runs):
            print(f"{row['protocol']}: {row['model']} {row['rmse']:.4f}", flush=True)
            rows.append(row)
    table = summary(rows)
    ours = table[table["model"] == OURS].set_index("protocol")["mean"]
    costs = time_epochs(log, 10 if quick else 1, repeats=1 if quick else 3)
    movielens, small, large = costs.values()
    return {
        "title": "Sequences on MovieLens 100K",
        "notes": [
            "RMSE in stars, means over 5 seeds, which also draw the order of ties, or over the "
            "folds of KFold(5, shuffle=True, random_state=0) at seed 0; parameters are at their "
            "defaults. The biases are the item's, and the user's from what "
            "SequenceRatingRegressor may read too, shrunk as if by 5 ratings without deviation. "
            "MFRegressor knows no time, and nothing that came after its fit.",
            "An epoch is the training alone, without what fit does before and after. Made logs "
            "have 100 ratings a user, of 2,000 items.",
        ],
        "bars": [
            *(bar(protocol, ours[protocol], LIMITS[protocol], ".4f") for protocol in LIMITS),
            bar("Seconds of an epoch over MovieLens 100K", movielens, EPOCH_LIMIT, ".2f"),
            bar("Growth of an epoch with ten times the log", large / small, GROWTH_LIMIT, ".1f"),
        ],
        "tables": [
            {
                "title": "RMSE",
                "columns": {
                    "Protocol": "",
                    "Model": "",
                    "RMSE": ".4f",
                    "Lowest": ".4f",
                    "Highest": ".4f",
                    "Fit, s": "",
                    "Epoch, s": "",
                },
                "rows": [
                    [*row[:5], *("" if np.isnan(cost) else f"{cost:.2f}" for cost in row[5:])]
                    for row in table.itertuples(index=False)
                ],
            },
            {
                "title": "Seconds of an epoch",
                "columns": {"Log": "", "Seconds": ".2f"},
                "rows": [list(cost) for cost in costs.items()],
            },
        ],
        "measurements": rows,
    }


def last_interactions(log: pd.DataFrame, n_runs: int) -> Iterator[Row]:
    """Test on the last interactions of each user, with a draw of their order and a seed a run."""
    for seed in range(n_runs):
        splitter = LastInteractionsSplit(10, random_state=seed)
        known, asked = next(parts(log, splitter))
        yield from compare(LAST, known, asked, seed)


def over_time(log: pd.DataFrame, n_runs: int) -> Iterator[Row]:
    """Test on the last fifth of all, with the history at the split and then with all of it."""
    known, asked = next(parts(log, GlobalTimeSplit(1, test_size=0.2)))
    for seed in range(n_runs):
        yield from compare(FROZEN, known, asked, seed, live_history=log)


def shuffled(log: pd.DataFrame, n_runs: int) -> Iterator[Row]:
    """Test on random rows, reading what is earlier and then all that is known."""
    folds = list(parts(log, KFold(5, shuffle=True, random_state=0)))[:n_runs]
    for known, asked in folds:
        yield from compare(CAUSAL, known, asked, seed=0)
    for known, asked in folds:
        yield from compare(BIDIRECTIONAL, known, asked, seed=0, bidirectional=True)


def parts(log: pd.DataFrame, splitter: Any) -> Iterator[tuple[pd.DataFrame, pd.DataFrame]]:
    """Rows to learn from and rows to ask about."""
    for known, asked in splitter.split(log[COLUMNS]):
        yield log.iloc[known], log.iloc[asked]


def compare(
    protocol: str,
    known: pd.DataFrame,
    asked: pd.DataFrame,
    seed: int,
    *,
    bidirectional: bool = False,
    live_history: pd.DataFrame | None = None,
) -> Iterator[Row]:
    """Fit on what is known; with a history up to date there are predictions from that as well."""

    def row(protocol: str, model: str, prediction: np.ndarray, cost: Cost = NO_COST) -> Row:
        return {
            "protocol": protocol,
            "model": model,
            "rmse": rmse(asked["rating"].to_numpy(), prediction),
            "fit_seconds": cost.fit_seconds,
            "epoch_seconds": cost.epoch_seconds,
        }

    ours = SequenceRatingRegressor(bidirectional=bidirectional, random_state=seed)
    cost = fit(ours, known)
    yield row(protocol, OURS, ours.predict(asked[COLUMNS]), cost)
    mf = MFRegressor(random_state=seed)
    cost = fit(mf, known)
    yield row(protocol, MF, mf.predict(asked[COLUMNS]), cost)
    # whoever asks after all that is known reads all of it
    when = known["timestamp"].max() + 1 if bidirectional else asked["timestamp"]
    yield row(protocol, BIASES, causal_biases(known, asked.assign(timestamp=when), known))
    if live_history is not None:
        history = live_history[COLUMNS], live_history["rating"]
        yield row(LIVE, OURS, ours.predict(asked[COLUMNS], history=history))
        yield row(LIVE, BIASES, causal_biases(known, asked, live_history))


def fit(model: Any, known: pd.DataFrame) -> Cost:
    """Fit, and see what it takes."""
    clock = Clock()
    model.set_params(callbacks=[clock])
    elapsed = seconds(lambda: model.fit(known[COLUMNS], known["rating"]))
    return Cost(elapsed, clock.seconds / model.n_iter_)


def time_epochs(log: pd.DataFrame, divisor: int, repeats: int) -> dict[str, float]:
    """Median seconds of an epoch on MovieLens 100K and on made logs, one ten times the other."""
    logs = {"MovieLens 100K": log}
    for size in SIZES:
        n = size // divisor
        X, y = make_ratings(n // 100, 2_000, n, random_state=0)
        logs[f"{n:,} made interactions"] = X.assign(rating=y)
    return alternate(
        {
            name: lambda log=log: fit(SequenceRatingRegressor(max_epochs=2), log).epoch_seconds
            for name, log in logs.items()
        },
        repeats,
    )


def summary(rows: list[Row]) -> pd.DataFrame:
    """Over runs, by protocol and model."""
    found = pd.DataFrame(rows).groupby(["protocol", "model"])
    table = found["rmse"].agg(["mean", "min", "max"])
    table = table.join(found[["fit_seconds", "epoch_seconds"]].median())
    order = pd.MultiIndex.from_product([LIMITS, [OURS, MF, BIASES]], names=table.index.names)
    return table.loc[[key for key in order if key in table.index]].reset_index()
