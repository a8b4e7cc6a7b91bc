"""RMSE, MAE and seconds on the folds of MovieLens 100K, or on one split of another log."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import norm
from sklearn.model_selection import train_test_split

from benchmarks import _data as d
from benchmarks import _models as m
from benchmarks._peers import Field
from benchmarks._results import bar, table
from sklrec.datasets import make_ratings

IDS = ["user", "item"]
FEATURES = [*d.USER_FEATURES, *d.ITEM_FEATURES]
READS = {
    "IDs, day": [*IDS, "day"],
    "IDs, day, side features": [*IDS, "day", *FEATURES],
    "IDs, day, side features, session": [*IDS, "day", *FEATURES, "session"],
}
# Settings of myFM's own examples. They give ages as decades, because it reads categories only.
MYFM_FEATURES = {
    "user_features": ["decade", *d.USER_FEATURES[1:]],
    "item_features": d.ITEM_FEATURES,
    "multi_valued": {"genres": "|"},
}
ALL = {"svdpp": True, "side_features": "all"}


class Entry(NamedTuple):
    """A model, the columns that it reads, and numbers of sweeps, epochs or iterations."""

    model: m.Model
    columns: list[str] = IDS
    parameter: str = ""
    values: tuple[int, ...] = ()

    @property
    def jobs(self) -> list[dict[str, Any]]:
        return [{self.parameter: value} for value in self.values] or [{}]


BAYESIAN = [
    Entry(m.OURS_SVDPP, IDS, "max_epochs", (5, 10, 15)),
    Entry(m.LENSKIT, IDS, "epochs", (10, 20)),
    Entry(m.BAYESIAN, IDS, "n_iter", (60, 110, 210)),
    Entry(m.MYFM, IDS, "n_iter", (50, 100, 200)),
    Entry(m.BAYESIAN_SVDPP, IDS, "n_iter", (40, 60, 110, 210)),
    Entry(m.MYFM_SVDPP, IDS, "n_iter", (100, 300)),
]
for loss, lengths in (({}, (60, 210)), ({"loss": "ordinal"}, (210,))):
    for reads, columns in READS.items():
        model = m.ours("BayesianMFRegressor", f": {reads}", **ALL, **loss)
        BAYESIAN.append(Entry(model, columns, "n_iter", lengths))
for name, options in (("MyFMRegressor", {}), ("MyFMOrderedProbit", {"ordinal": True})):
    for reads in list(READS)[1:]:
        columns = ["decade" if column == "age" else column for column in READS[reads]]
        params = m.MYFM_SVDPP.params | MYFM_FEATURES | options
        BAYESIAN.append(
            Entry(m.Model(f"myFM {name}: {reads}", "myfm", params), columns, "n_iter", (300,))
        )
DENSE = [
    Entry(m.ours("DenseRecRegressor", f", {label}", **options), [*IDS, *columns])
    for options in ({}, {"products": False})
    for label, columns in (("IDs only", []), ("side features", ["timestamp", *FEATURES]))
]
# Title, models, and limits of the mean RMSE.
COMPARISONS: dict[str, tuple[str, list[Entry], dict[str, float]]] = {
    "accuracy": (
        "Accuracy on MovieLens 100K",
        [Entry(model) for model in (m.OURS, *m.PEERS)],
        {m.OURS.name: 0.908},
    ),
    "bayesian": (
        "Bayesian models on MovieLens 100K",
        BAYESIAN,
        {m.BAYESIAN.name: 0.896, m.BAYESIAN_SVDPP.name: 0.881, BAYESIAN[8].model.name: 0.8775},
    ),
    "dense": (
        "Side features on MovieLens 100K",
        [*DENSE, Entry(m.OURS), Entry(m.FASTAI_NN)],
        {DENSE[0].model.name: 0.921, DENSE[1].model.name: 0.912},
    ),
}
OURS = [m.OURS, m.OURS_SVDPP, m.BAYESIAN, m.BAYESIAN_SVDPP_60, m.BAYESIAN_SVDPP]
ON_LOGS = [Entry(model) for model in (*OURS, *m.PEERS, m.MYFM_SVDPP)]
SHARES = (0.5, 0.8, 0.95)
TIME_LIMIT = 600  # seconds of a model on one fold
PUBLISHED = "Published folds, KFold(5): the first is u1"
FORMS = {"Model": "", "Setting": "", "RMSE": ".4f", "Standard error": ".4f", "MAE": ".4f"}
FORMS |= {"First fold's RMSE": ".4f", "Fit, s": ".2f", "With training set, s": ".2f"}
FORMS |= {"Predict, s": ".3f", "Peak of the process, MB": ".0f"}


def run(
    *,
    comparison: str = "accuracy",
    log: pd.DataFrame | None = None,
    title: str = "",
    quick: bool = False,
) -> dict[str, Any]:
    """Compare on the shuffled and the published folds, or on a random split of a given log."""
    about = ""
    if log is None:
        title, entries, limits = COMPARISONS[comparison]
        log = d.described_movielens()
        log["decade"] = log["age"] // 10
        parts = {d.SHUFFLED: list(d.folds(log, shuffle=True))[: 1 if quick else 5]}
        n_published = 5 if comparison == "accuracy" and not quick else 1
        parts[PUBLISHED] = list(d.folds(log, shuffle=False))[:n_published]
    else:
        title, entries, limits = f"Accuracy on {title}", ON_LOGS, {}
        parts = {"Random 90/10 split": [train_test_split(log, test_size=0.1, random_state=0)]}
        users, items = (log[column].nunique() for column in IDS)
        about = (
            f"{len(log):,} ratings (mean of repeated pairs), {users:,} users, {items:,} items. "
        )
    field = Field((entry.model for entry in entries), TIME_LIMIT)
    found = {name: compare(field, entries, pairs) for name, pairs in parts.items()}
    last = next(iter(found.values())).groupby("model").min()  # of the settings
    bars = [
        bar(f"RMSE of {name}", last.loc[name, "rmse"], lim, ".4f") for name, lim in limits.items()
    ]
    tables = [table(name, FORMS, rows) for name, rows in found.items()]
    if comparison == "bayesian":
        covered = list(coverage())
        off = max(
            abs(f - share) for row in covered for f, share in zip(row[2:], SHARES, strict=True)
        )
        bars.append(bar("Largest difference of a share from its interval", off, 0.02, ".3f"))
        heading = "Share of held-out ratings inside predicted intervals"
        forms = {"Ratings": "", "Model": "", **{f"{share:.0%}": ".3f" for share in SHARES}}
        tables.append(table(heading, forms, covered))
    return {
        "title": title,
        "notes": [
            f"{about}RMSE and MAE in stars, means over folds, at seed 0, with standard error of "
            "the mean over folds; seconds are medians over folds. A fit of sklrec includes the "
            "encoding of the columns. 'With training set' adds the conversion of the raw table. "
            "Each row is a fit of its own. All predictions are clipped to the rating scale. Side "
            f"features are {', '.join(FEATURES)}. The day and the session, which is the day of a "
            "user, are categories. Intervals are symmetric intervals of a normal distribution."
        ],
        "bars": bars,
        "tables": tables,
        "left_out": field.left_out,
    }


def compare(field: Field, entries: list[Entry], parts: list[d.Fold]) -> pd.DataFrame:
    """Means and medians over folds for each model and setting; on each fold models take turns."""
    rows: list[dict[str, Any]] = []
    for train, test in parts:
        for entry in entries:
            names = [*entry.columns, "rating"]
            rows += field.measure(entry.model, train[names], test[names], entry.jobs)
    frame = pd.DataFrame(rows)
    frame = frame[frame["model"].isin([model.name for model in field.models])]
    found = frame.groupby(["model", "setting"], sort=False).agg(
        rmse=("rmse", "mean"),
        error=("rmse", "sem"),
        mae=("mae", "mean"),
        first=("rmse", "first"),
        fit=("fit_seconds", "median"),
        total=("total_seconds", "median"),
        predict=("predict_seconds", "median"),
        peak=("peak_mb", "median"),
    )
    return found.reset_index().sort_values("rmse", kind="stable")


def coverage() -> Iterator[list[Any]]:
    """Shares of held-out ratings inside the intervals, for real and for made ratings."""
    real = (
        "MovieLens 100K, first shuffled fold",
        next(d.folds(d.described_movielens(), shuffle=True)),
    )
    described = [entry.model for entry in BAYESIAN if "session" in entry.columns][:2]
    ordinal = m.ours("BayesianMFRegressor", svdpp=True, loss="ordinal")
    for (log, (train, test)), models in (
        (real, [m.BAYESIAN, m.BAYESIAN_SVDPP, *described]),
        (made_fold(step=None), [m.BAYESIAN, m.BAYESIAN_SVDPP]),
        (made_fold(step=1), [ordinal, m.BAYESIAN_SVDPP]),
    ):
        columns = [name for name in READS["IDs, day, side features, session"] if name in train]
        X, X_test = d.split_genres(train[columns]), d.split_genres(test[columns])
        for model in models:
            fitted = m.make(model).fit(X, train["rating"])
            mean, std = fitted.predict(X_test, return_std=True)
            off = np.abs(test["rating"].to_numpy() - mean) / std
            yield [log, model.name, *(np.mean(off < norm.ppf(0.5 + s / 2)) for s in SHARES)]


def made_fold(step: float | None) -> tuple[str, d.Fold]:
    """Name of made ratings, and these, a fifth of them held out."""
    X, y = make_ratings(500, 300, 40_000, step=step, random_state=0)
    train, test = train_test_split(X[IDS].assign(rating=y), test_size=0.2, random_state=0)
    return f"make_ratings(500, 300, 40_000, step={step})", (train, test)
