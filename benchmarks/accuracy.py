"""RMSE, MAE and seconds on the folds of MovieLens 100K, or on one split of another log."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import norm
from sklearn.ensemble import StackingRegressor
from sklearn.linear_model import LinearRegression
from sklearn.metrics import root_mean_squared_error
from sklearn.model_selection import KFold, train_test_split

from benchmarks import _data as d
from benchmarks import _models as m
from benchmarks._peers import Field
from benchmarks._results import bar, table
from sklrec.datasets import make_ratings

IDS = ["user", "item"]
FEATURES = [*d.USER_FEATURES, *d.ITEM_FEATURES]
READS = {
    "side features": [*IDS, *FEATURES],
    "session": [*IDS, "session"],
    "side features, session": [*IDS, *FEATURES, "session"],
}
ALL = list(READS)[-1]
# Settings of myFM's own examples. They give ages as decades, because it reads categories only.
MYFM_COLUMNS = [*IDS, "decade", *FEATURES[1:], "session"]
MYFM_FEATURES = {
    "user_features": ["decade", *d.USER_FEATURES[1:]],
    "item_features": d.ITEM_FEATURES,
    "multi_valued": {"genres": "|"},
}


class Entry(NamedTuple):
    """A model, the columns that it reads, and numbers of sweeps, epochs or iterations."""

    model: m.Model
    columns: list[str] = IDS
    parameter: str = ""
    values: tuple[int, ...] = ()

    @property
    def jobs(self) -> list[dict[str, Any]]:
        return [{self.parameter: value} for value in self.values] or [{}]


def described(reads: str, **params: Any) -> Entry:
    """Our most accurate model with some side features."""
    params = {"svdpp": True, "side_features": "all", **params}
    return Entry(m.ours("BayesianMFRegressor", f": {reads}", **params), READS[reads])


DESCRIBED = [*map(described, READS), described(ALL, loss="ordinal")]
BAYESIAN = [Entry(model) for model in (m.OURS_SVDPP, m.BAYESIAN, m.BAYESIAN_SVDPP)] + DESCRIBED
for params in ({}, {"svdpp": True}):
    eight = m.ours("BayesianMFRegressor", n_factors=8, **params)
    BAYESIAN.append(Entry(eight, IDS, "n_iter", (9,)))
BAYESIAN += [Entry(model) for model in (m.MYFM, m.MYFM_SVDPP)]
params = m.MYFM_SVDPP.params | MYFM_FEATURES | {"ordinal": True}
BAYESIAN.append(Entry(m.Model(f"myFM MyFMOrderedProbit: {ALL}", "myfm", params), MYFM_COLUMNS))
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
        {
            m.BAYESIAN.name: 0.894,
            m.BAYESIAN_SVDPP.name: 0.877,
            DESCRIBED[2].model.name: 0.8685,
            DESCRIBED[3].model.name: 0.867,
        },
    ),
    "dense": (
        "Side features on MovieLens 100K",
        [*DENSE, Entry(m.OURS), Entry(m.FASTAI_NN)],
        {DENSE[0].model.name: 0.921, DENSE[1].model.name: 0.912},
    ),
}
OURS = [m.OURS, m.OURS_SVDPP, m.BAYESIAN, m.BAYESIAN_SVDPP]
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
    if comparison == "accuracy" and not (about or quick):
        heading = "Stack of three models, first shuffled fold"
        tables.append(table(heading, {"Model": "", "RMSE": ".4f"}, stacked(log)))
    if comparison == "bayesian":
        covered = list(coverage())
        off = max(
            abs(f - share) for row in covered for f, share in zip(row[2:], SHARES, strict=True)
        )
        bars.append(bar("Largest difference of a share from its interval", off, 0.02, ".3f"))
        heading = "Share of held-out ratings of known users and items inside intervals"
        forms = {"Ratings": "", "Model": "", **{f"{share:.0%}": ".3f" for share in SHARES}}
        tables.append(table(heading, forms, covered))
    return {
        "title": title,
        "notes": [
            f"{about}RMSE and MAE in stars, means over folds, at seed 0, with standard error of "
            "the mean over folds; seconds are medians over folds. A fit of sklrec includes the "
            "encoding of the columns. 'With training set' adds the conversion of the raw table. "
            "Each row is a fit of its own. All predictions are clipped to the rating scale. Side "
            f"features are {', '.join(FEATURES)}. The session, which is the day of a user, is a "
            "category. Intervals are symmetric intervals of a normal distribution."
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


def stacked(log: pd.DataFrame) -> Iterator[list[Any]]:
    """RMSE of three models of IDs and of their stack, which cross-validates on training rows."""
    train, test = next(d.folds(log, shuffle=True))
    models = [(of.name, m.make(of)) for of in (m.OURS, m.BAYESIAN_SVDPP, DENSE[0].model)]
    folds = KFold(3, shuffle=True, random_state=0)
    stack = StackingRegressor(models, LinearRegression(), cv=folds)
    for name, model in [*models, ("StackingRegressor of the three", stack)]:
        predicted = model.fit(train[IDS], train["rating"]).predict(test[IDS])
        yield [name, root_mean_squared_error(test["rating"], predicted)]


def coverage() -> Iterator[list[Any]]:
    """Shares of held-out ratings inside the intervals, for real and for made ratings."""
    log = d.described_movielens()
    real = "MovieLens 100K, first shuffled fold", next(d.folds(log, shuffle=True))
    of_ids = [m.BAYESIAN, m.BAYESIAN_SVDPP]
    ordinal = m.ours("BayesianMFRegressor", svdpp=True, loss="ordinal")
    for (name, (train, test)), models in (
        (real, [*of_ids, *(entry.model for entry in DESCRIBED[2:])]),
        (made_fold(step=None), of_ids),
        (made_fold(step=1), [*of_ids, ordinal]),
    ):
        test = test[test["user"].isin(train["user"]) & test["item"].isin(train["item"])]
        columns = [column for column in READS[ALL] if column in train]
        X, X_test = d.split_genres(train[columns]), d.split_genres(test[columns])
        for model in models:
            fitted = m.make(model).fit(X, train["rating"])
            mean, std = fitted.predict(X_test, return_std=True)
            off = np.abs(test["rating"].to_numpy() - mean) / std
            yield [name, model.name, *(np.mean(off < norm.ppf(0.5 + s / 2)) for s in SHARES)]


def made_fold(step: float | None) -> tuple[str, d.Fold]:
    """Name of made ratings, and these, a fifth of them held out."""
    X, y = make_ratings(500, 300, 40_000, step=step, random_state=0)
    train, test = train_test_split(X[IDS].assign(rating=y), test_size=0.2, random_state=0)
    return f"make_ratings(500, 300, 40_000, step={step})", (train, test)
