"""RMSE, MAE and seconds on the folds of MovieLens 100K, or on one split of another log."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd
from sklearn.model_selection import train_test_split

from benchmarks import _models as m
from benchmarks._data import SHUFFLED, Fold, folds, movielens, read_log
from benchmarks._peers import Field
from benchmarks._results import bar, table

TIME_LIMIT = 300  # seconds of a model on one fold
PUBLISHED = "Published folds, KFold(5): the first is u1"
FORMS = {"RMSE": ".4f", "Standard error": ".4f", "MAE": ".4f", "First fold's RMSE": ".4f"}
FORMS |= {"Fit, s": ".2f", "With training set, s": ".2f", "Predict, s": ".3f"}


def run(
    *,
    path: Path | None = None,
    columns: tuple[str, str, str] = ("user", "item", "rating"),
    title: str = "MovieLens 100K",
    quick: bool = False,
) -> dict[str, Any]:
    """Compare on the shuffled and the published folds, or on a random split of a given log."""
    if path is not None:
        return run_log(read_log(path, *columns), title, quick)
    log = movielens()
    field = Field([m.OURS, *m.PEERS], TIME_LIMIT)
    parts = {SHUFFLED: list(folds(log, shuffle=True)), PUBLISHED: list(folds(log, shuffle=False))}
    found = {name: compare(field, pairs[: 1 if quick else 5]) for name, pairs in parts.items()}
    shuffled, published = (summary(rows) for rows in found.values())
    ours = shuffled.loc[m.OURS.name]
    bars = [
        bar("Mean RMSE, shuffled folds", ours["RMSE"], 0.908, ".4f"),
        bar("RMSE on u1", published.loc[m.OURS.name, "First fold's RMSE"], 0.920, ".4f"),
    ]
    if m.SURPRISE_TUNED.name in shuffled.index:
        limit = shuffled.loc[m.SURPRISE_TUNED.name, "Fit, s"]
        bars.append(
            bar(f"Fit, s; the bar is {m.SURPRISE_TUNED.name}", ours["Fit, s"], limit, ".2f")
        )
    return {
        "title": f"Accuracy on {title}",
        "notes": [
            "RMSE and MAE in stars, means over folds, at seed 0; seconds are medians over folds. "
            "The standard error is that of the mean over folds. "
            "'Fit' is the fit of the library alone; for sklrec it includes the encoding of the "
            "IDs. 'With training set' adds the conversion of the raw table. "
            "All predictions are clipped to the rating scale."
        ],
        "bars": bars,
        "tables": [
            table(name, {"Model": "", **FORMS}, summary(rows).reset_index().to_numpy().tolist())
            for name, rows in found.items()
        ],
        "left_out": field.left_out,
    }


def run_log(log: pd.DataFrame, title: str, quick: bool) -> dict[str, Any]:
    """Compare on one random 90/10 split."""
    if quick:
        log = log.sample(min(len(log), 50_000), random_state=0)
    train, test = train_test_split(log, test_size=0.1, random_state=0)
    ours = [m.OURS, m.OURS_SVDPP, m.BAYESIAN, m.BAYESIAN_SVDPP_60, m.BAYESIAN_SVDPP]
    field = Field([*ours, *m.PEERS, m.MYFM_SVDPP], TIME_LIMIT)
    rows = [row for model in list(field.models) for row in field.measure(model, train, test)]
    forms = {"RMSE": ".4f", "MAE": ".4f", "Fit, s": ".2f", "With training set, s": ".2f"}
    forms |= {"Predict, s": ".3f", "Peak of the process, MB": ".0f"}
    users, items = (log[column].nunique() for column in ("user", "item"))
    return {
        "title": f"Accuracy on {title}",
        "notes": [
            f"{len(log):,} ratings (repeated pairs averaged), {users:,} users, {items:,} items, "
            f"ratings from {log['rating'].min():g} to {log['rating'].max():g}; random 90/10 split "
            "with seed 0. Each model runs once, with the same settings as on MovieLens 100K."
        ],
        "tables": [
            table(
                "Random 90/10 split",
                {"Model": "", **forms},
                pd.DataFrame(rows).drop(columns="job").sort_values("rmse").to_numpy().tolist(),
            )
        ],
        "left_out": field.left_out,
    }


def compare(field: Field, parts: Iterable[Fold]) -> pd.DataFrame:
    """One row for each fit; on each fold the models take turns."""
    rows = []
    for fold, (train, test) in enumerate(parts):
        for model in list(field.models):
            rows += field.measure(model, train, test, fold=fold)
    frame = pd.DataFrame(rows)
    return frame[frame["model"].isin([model.name for model in field.models])]


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Means and medians over folds, best RMSE first."""
    groups = rows.groupby("model", sort=False)
    columns = [
        groups["rmse"].mean(),
        groups["rmse"].sem(),
        groups["mae"].mean(),
        groups["rmse"].first(),
        *(groups[f"{name}_seconds"].median() for name in ("fit", "total", "predict")),
    ]
    return pd.DataFrame(dict(zip(FORMS, columns, strict=True))).sort_values("RMSE")
