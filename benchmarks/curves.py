"""Accuracy against time: does a peer reach some RMSE before any model of ours does?"""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Iterator
from typing import Any

import pandas as pd
from sklearn.model_selection import train_test_split

from benchmarks import _models as m
from benchmarks._baselines import ridge_biases
from benchmarks._data import SHUFFLED, Fold, folds, movielens, rmse
from benchmarks._measure import THREADS
from benchmarks._peers import Field
from benchmarks._results import bar, table
from benchmarks.accuracy import IDS, Entry

# The parameter of each model sets the number of passes over the data.
CURVES = [
    *(Entry(model, IDS, "max_epochs", (1, 2, 3, 4, 5, 6)) for model in m.FAST),
    Entry(m.OURS, IDS, "max_epochs", (3, 4, 5, 6, 8, 10, 12, 15, 20, 30)),
    Entry(m.OURS_SVDPP, IDS, "max_epochs", (3, 5, 8, 10, 15)),
    Entry(m.BAYESIAN, IDS, "n_iter", (2, 3, 5, 8, 12, 20)),
    Entry(m.BAYESIAN_SVDPP, IDS, "n_iter", (2, 3, 5, 8, 12, 20)),
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
    Entry(m.FASTAI_DOT, IDS, "n_epochs", (1, 5)),
    Entry(m.FASTAI_NN, IDS, "n_epochs", (1, 5)),
]
COSTS = ["fit_seconds", "predict_seconds", "total_seconds"]
ONE_THREAD = {"surprise", "myfm"}  # their fits use one thread; more threads repeat the figures
ONE_FOLD = {"fastai"}  # a fit takes over ten seconds
N_FOLDS = 2  # of five; all points of all curves take minutes on each fold
TIME_LIMIT = 180  # seconds of a curve on one fold; LIBMF sometimes waits for itself forever
LOG_TIME_LIMIT = 900  # the same on another log
MODERATE = 0.93  # highest RMSE on MovieLens 100K that counts
SHOWN = 0.03  # the tables and the figure go this much further


def run(
    *, log: pd.DataFrame | None = None, title: str = "MovieLens 100K", quick: bool = False
) -> dict[str, Any]:
    """Fit whole schedules of several lengths; each gives a time and an RMSE."""
    if log is None:
        log, enough, time_limit = movielens(), MODERATE, TIME_LIMIT
        parts = list(folds(log, shuffle=True))[: 1 if quick else N_FOLDS]
        split, reason = f"the first {len(parts)} folds of {SHUFFLED}", ""
    else:
        time_limit = LOG_TIME_LIMIT
        train, test = train_test_split(log, test_size=0.1, random_state=0)
        parts, split = [(train, test)], "one random 90/10 split with seed 0"
        reason = ", that of two ridge biases"
        enough = rmse(test["rating"].to_numpy(), ridge_biases(train, 0)(test))
    rows, left_out, numbers = [], [], sorted({1, THREADS})
    for threads in numbers:
        field = Field((curve.model for curve in CURVES), time_limit, threads)
        rows += list(measure(field, parts))
        left_out += [f"{threads} threads: {line}" for line in field.left_out]
    points = summary(rows)
    compared = {n: front(points, enough, n) for n in numbers}
    shown = points[(points["threads"] == 1) & (points["rmse"] <= enough + SHOWN)]
    best = pd.concat([own_front(found) for _, found in shown.groupby("model", sort=False)])
    forms = {"Model": "", "Setting": "", "Threads": "d", "RMSE": ".4f", "Seconds": ".3f"}
    names = ["model", "setting", "threads", "rmse", "seconds"]
    return {
        "title": f"Accuracy against time, {title}",
        "notes": [
            f"{len(log):,} ratings; {split}. RMSE in stars, means over folds, and median seconds "
            "of a fit and of the prediction of the test rows. The seconds include the encoding "
            "of the IDs for sklrec, and exclude the training set for the peers. Each point is a "
            "fit of its own with a whole learning-rate schedule, at seed 0; models take turns. "
            "Models called fast have few factors, and settings chosen on held-out parts of "
            "training rows. fastai is on the first fold only. The tables have the points with "
            "one thread that no other point, or no other point of the same model, matches.",
            f"A point of a peer counts if its RMSE is at most {enough:.4f}{reason}. It is matched "
            "by a point of ours with no higher RMSE in no more time. With n threads all models "
            "may use up to n.",
        ],
        "bars": [
            found
            for n, theirs in compared.items()
            for found in bars(points[points["threads"] <= n], theirs, n)
        ],
        "tables": [
            table(
                "Points that no other point matches",
                forms,
                own_front(best[best["rmse"] <= enough])[names],
            ),
            table(
                "Points of each model that no other point of it matches",
                forms | {"Fit, s": ".3f", "Predict, s": ".3f", "With training set, s": ".3f"},
                best[names + COSTS],
            ),
            table(
                "Points of peers that none of ours matches",
                forms | {"Ours with that RMSE, s": ".3f"},
                [
                    [row["model"], row["setting"], n, row["rmse"], row["seconds"], row["ours"]]
                    for n, theirs in compared.items()
                    for row in theirs[~theirs["matched"]].to_dict("records")
                ],
            ),
        ],
        "curves": [
            {"model": name, "seconds": list(found["seconds"]), "rmse": list(found["rmse"])}
            for name, found in best.groupby("model", sort=False)
        ],
        "left_out": left_out,
    }


def measure(field: Field, parts: list[Fold]) -> Iterator[dict[str, Any]]:
    for fold, (train, test) in enumerate(parts):
        for entry in CURVES:
            model, facts = entry.model, {"threads": field.threads, "fold": fold}
            if fold > 0 and model.library in ONE_FOLD:
                continue
            if field.threads > 1 and model.library in ONE_THREAD:
                continue
            yield from field.measure(model, train, test, entry.jobs, **facts)


def summary(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """A row for each point, in the order of the curves."""
    found = pd.DataFrame(rows).groupby(["model", "setting", "threads"], sort=False)
    points = found[COSTS].median().assign(rmse=found["rmse"].mean()).reset_index()
    points["seconds"] = points["fit_seconds"] + points["predict_seconds"]
    points["total_seconds"] += points["predict_seconds"]
    return points


def own_front(points: pd.DataFrame) -> pd.DataFrame:
    """Points that no other point beats in both `rmse` and `seconds`, in the order of seconds."""
    ordered = points.sort_values(["seconds", "rmse"])
    return ordered[ordered["rmse"] < ordered["rmse"].cummin().shift(fill_value=float("inf"))]


def front(points: pd.DataFrame, enough: float, threads: int) -> pd.DataFrame:
    """Points of peers that are good enough, each with the seconds of ours (inf if none is)."""
    allowed = points[points["threads"] <= threads]
    is_ours = allowed["model"].str.startswith("sklrec")
    theirs = allowed[~is_ours & (allowed["rmse"] <= enough)]
    seconds = [soonest(allowed[is_ours], value) for value in theirs["rmse"]]
    found = theirs.assign(ours=pd.Series(seconds, theirs.index, dtype=float))
    return found.assign(matched=found["ours"] <= found["seconds"])


def soonest(points: pd.DataFrame, target: float) -> float:
    """Least seconds of a point with an RMSE of at most the target; infinite if there is none."""
    return min(points.loc[points["rmse"] <= target, "seconds"], default=float("inf"))


def bars(points: pd.DataFrame, theirs: pd.DataFrame, threads: int) -> list[dict[str, Any]]:
    within = f"at most {threads} thread{'s' if threads > 1 else ''}"
    n_left = int((~theirs["matched"]).sum())
    found = [bar(f"Points of peers left of and below our curve, {within}", n_left, 0, "d")]
    libmf = points[points["model"].str.startswith("LIBMF")]
    if len(libmf):
        best = libmf.loc[libmf["rmse"].idxmin()]
        ours = points[points["model"].str.startswith("sklrec")]
        ratio = soonest(ours, best["rmse"]) / best["seconds"]
        found.append(bar(f"Our time over LIBMF's at its best RMSE, {within}", ratio, 1.5, ".2f"))
    return found
