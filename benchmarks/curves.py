"""Accuracy against time on one thread: does a peer reach some RMSE before any model of ours?"""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Iterator
from itertools import islice
from typing import Any

import pandas as pd
from sklearn.model_selection import train_test_split

from benchmarks import _models as m
from benchmarks._data import SHUFFLED, Fold, described_movielens, folds
from benchmarks._peers import Field
from benchmarks._results import bar, table
from benchmarks.accuracy import IDS, Entry

TIMED = [*IDS, "timestamp"]
BIASES = m.ours("BiasRegressor")
# The parameter of each model sets the number of passes over the data.
CURVES = [
    Entry(BIASES),
    *(Entry(model, IDS, "max_epochs", (1, 2, 3, 4, 5, 6)) for model in m.FAST),
    Entry(m.OURS, IDS, "max_epochs", (3, 4, 5, 6, 8, 10, 12, 15, 20, 30)),
    Entry(m.OURS_SVDPP, IDS, "max_epochs", (3, 5, 8, 10, 15)),
    Entry(m.BAYESIAN, IDS, "n_iter", (2, 3, 5, 8, 12, 20)),
    Entry(m.BAYESIAN_SVDPP, IDS, "n_iter", (2, 3, 5, 8, 12, 20)),
    Entry(m.ours("DenseRecRegressor"), IDS, "max_epochs", (2, 4, 8)),
    Entry(m.ours("SequenceRatingRegressor"), TIMED, "max_epochs", (1, 3)),
    Entry(m.SURPRISE, IDS, "n_epochs", (1, 2, 5, 10, 20)),
    Entry(m.SURPRISE_TUNED, IDS, "n_epochs", (5, 15, 30, 60)),
    Entry(m.CORNAC, IDS, "max_iter", (1, 2, 5, 10, 20)),
    Entry(m.CORNAC_FAST, IDS, "max_iter", (2, 4, 6, 10, 15)),
    Entry(m.CORNAC_60, IDS, "max_iter", (8, 15, 30, 60)),
    Entry(m.LENSKIT, IDS, "epochs", (1, 2, 5, 10, 20)),
    Entry(m.LIBMF_DEFAULT, IDS, "nr_iters", (2, 5, 10, 20)),
    *(Entry(model, IDS, "nr_iters", (2, 4, 6, 8, 12, 20)) for model in m.LIBMF_FAST),
    Entry(m.LIBMF, IDS, "nr_iters", (4, 8, 15, 30, 60)),
    Entry(m.MYFM, IDS, "n_iter", (20, 50, 100, 200)),
    Entry(m.MYFM_SVDPP, IDS, "n_iter", (20, 50, 100, 300)),
]
COSTS = ["fit_seconds", "predict_seconds", "total_seconds"]
TIME_LIMIT = 900  # seconds of a model on one split; LIBMF sometimes waits for itself forever
N_SPLITS, MANY_ROWS = 3, 500_000
MODERATE = 0.91  # highest RMSE on MovieLens 100K that counts
SHOWN = 0.05  # the second table and the figure go this far above the lowest RMSE


def run(
    *, log: pd.DataFrame | None = None, title: str = "MovieLens 100K", quick: bool = False
) -> dict[str, Any]:
    """Fit whole schedules of several lengths; each gives a time and an RMSE."""
    enough = float("inf")
    if log is None:
        log, enough = described_movielens(), MODERATE
        parts: Iterator[Fold] = folds(log, shuffle=True)
        split = f"the first folds of {SHUFFLED}"
    else:
        parts, split = random_splits(log), "random 90/10 splits with seeds from 0"
    field = Field((curve.model for curve in CURVES), TIME_LIMIT, threads=1)
    points = summary(list(measure(field, islice(parts, 1 if quick else N_SPLITS))))
    theirs = front(points)
    counted = theirs[theirs["rmse"] <= enough]
    shown = points[points["rmse"] <= points["rmse"].min() + SHOWN]
    best = pd.concat([own_front(found) for _, found in shown.groupby("model", sort=False)])
    forms = {"Model": "", "Setting": "", "Splits": "d", "RMSE": ".4f", "Standard error": ".4f"}
    forms |= {"Seconds": ".3f"}
    names = ["model", "setting", "splits", "rmse", "error", "seconds"]
    ours = {"Ours with that RMSE, s": ".3f", "Ratio": ".2f", "Our model": "", "Its setting": ""}
    of_ours = ["ours", "ratio", "our_model", "our_setting"]
    best_of_peers = theirs.loc[
        theirs.groupby("model", sort=False)["rmse"].idxmin(), [*names, *of_ours]
    ]
    missed = counted.loc[~counted["matched"], [*names, *of_ours]]
    of = f", of {len(counted)}"
    of_biases = points.loc[points["model"] == BIASES.name, "rmse"]
    below = missed[missed["rmse"] < of_biases.min()]
    limit = f" with an RMSE of at most {enough:g}" if enough < float("inf") else ""
    return {
        "title": f"Accuracy against time, {title}",
        "notes": [
            f"{len(log):,} ratings; {split}; one thread for each model. RMSE in stars, means "
            "over splits with standard errors, and median seconds of a fit and of the prediction "
            "of the test rows. The seconds include the encoding of the IDs for sklrec, and "
            "exclude the training set for the peers. Each point is a fit of its own with a whole "
            "learning-rate schedule, at seed 0; models take turns. Models called fast have few "
            "factors, and settings chosen on held-out parts of training rows of MovieLens 100K.",
            f"A point of a peer{limit} is matched by a point of ours with no higher RMSE in no "
            "more time. The ratio is the time of our fastest such point, whatever its model, "
            "over the time of the peer. A "
            f"point of a peer whose RMSE is above that of {BIASES.name} predicts worse than two "
            "biases.",
        ],
        "bars": [
            bar(f"Points of peers left of and below our curve{of}", len(missed), 0, "d"),
            bar(f"Those with a lower RMSE than {BIASES.name}", len(below), 0, "d"),
        ],
        "tables": [
            table("Each model of a peer at its lowest RMSE", forms | ours, best_of_peers),
            table(
                "Points of each model that no other point of it matches",
                forms | {"Fit, s": ".3f", "Predict, s": ".3f", "With training set, s": ".3f"},
                best[names + COSTS],
            ),
            table("Points of peers that none of ours matches", forms | ours, missed),
        ],
        "curves": [
            {"model": name, "seconds": list(found["seconds"]), "rmse": list(found["rmse"])}
            for name, found in best.groupby("model", sort=False)
        ],
        "left_out": field.left_out,
    }


def random_splits(log: pd.DataFrame) -> Iterator[Fold]:
    for seed in range(N_SPLITS if len(log) <= MANY_ROWS else 1):
        train, test = train_test_split(log, test_size=0.1, random_state=seed)
        yield train, test


def measure(field: Field, parts: Iterator[Fold]) -> Iterator[dict[str, Any]]:
    for number, (train, test) in enumerate(parts):
        for entry in CURVES:
            names = [*entry.columns, "rating"]
            if set(names) <= set(train):
                data = train[names], test[names]
                yield from field.measure(entry.model, *data, entry.jobs, fold=number)


def summary(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """A row for each point, in the order of the curves."""
    found = pd.DataFrame(rows).groupby(["model", "setting"], sort=False)
    errors = found["rmse"].agg(rmse="mean", error="sem", splits="size")
    points = found[COSTS].median().join(errors).reset_index()
    points["seconds"] = points["fit_seconds"] + points["predict_seconds"]
    points["total_seconds"] += points["predict_seconds"]
    return points


def own_front(points: pd.DataFrame) -> pd.DataFrame:
    """Points that no other point beats in both `rmse` and `seconds`, in the order of seconds."""
    ordered = points.sort_values(["seconds", "rmse"])
    return ordered[ordered["rmse"] < ordered["rmse"].cummin().shift(fill_value=float("inf"))]


def front(points: pd.DataFrame) -> pd.DataFrame:
    """Points of peers, each with our fastest point of no higher RMSE."""
    is_ours = points["model"].str.startswith("sklrec")
    theirs = points[~is_ours]
    ours = points[is_ours].sort_values("seconds", kind="stable")
    found = []
    for value in theirs["rmse"]:
        first = ours[ours["rmse"] <= value].head(1)
        row = first.iloc[0] if len(first) else {}
        found.append(
            [row.get("seconds", float("inf")), row.get("model", ""), row.get("setting", "")]
        )
    of_ours = pd.DataFrame(found, theirs.index, ["ours", "our_model", "our_setting"])
    joined = theirs.join(of_ours)
    ratio = joined["ours"] / joined["seconds"]
    return joined.assign(ratio=ratio, matched=ratio <= 1)
