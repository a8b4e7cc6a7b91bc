"""`BayesianMFRegressor` on MovieLens 100K: accuracy, time, side features and intervals."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import norm

from benchmarks import _models as m
from benchmarks._data import (
    ITEM_FEATURES,
    SHUFFLED,
    USER_FEATURES,
    Fold,
    described_movielens,
    folds,
    split_genres,
)
from benchmarks._peers import Field
from benchmarks._results import bar, table
from sklrec.datasets import make_ratings

IDS = ["user", "item"]
SIDE = [*IDS, "day", *USER_FEATURES, *ITEM_FEATURES]
READS = {
    "IDs, day": [*IDS, "day"],
    "IDs, day, side features": SIDE,
    "IDs, day, side features, session": [*SIDE, "session"],
}
# Settings of myFM's own examples. They give ages as decades, because it reads categories only.
MYFM_FEATURES = {
    "user_features": ["decade", *USER_FEATURES[1:]],
    "item_features": ITEM_FEATURES,
    "multi_valued": {"genres": "|"},
}
ALL = {"svdpp": True, "side_features": "all"}
# Models, the columns that they read, and numbers of sweeps, epochs or iterations.
MODELS: list[tuple[m.Model, list[str], str, list[int]]] = [
    (m.OURS_SVDPP, IDS, "max_epochs", [5, 10, 15]),
    (m.LENSKIT, IDS, "epochs", [10, 20]),
    (m.BAYESIAN, IDS, "n_iter", [60, 110, 210]),
    (m.MYFM, IDS, "n_iter", [50, 100, 200]),
    (m.BAYESIAN_SVDPP, IDS, "n_iter", [40, 60, 110, 210]),
    (m.MYFM_SVDPP, IDS, "n_iter", [100, 300]),
    *(
        (m.ours("BayesianMFRegressor", f": {reads}", **ALL, **loss), columns, "n_iter", lengths)
        for loss, lengths in (({}, [60, 210]), ({"loss": "ordinal"}, [210]))
        for reads, columns in READS.items()
    ),
    *(
        (
            m.Model(
                f"myFM {name}: {reads}", "myfm", m.MYFM_SVDPP.params | MYFM_FEATURES | options
            ),
            ["decade" if column == "age" else column for column in READS[reads]],
            "n_iter",
            [300],
        )
        for name, options in (("MyFMRegressor", {}), ("MyFMOrderedProbit", {"ordinal": True}))
        for reads in list(READS)[1:]
    ),
]
# The bars are about the defaults with all columns, which were fixed in advance.
CHOSEN = next(model for model, columns, *_ in MODELS if "session" in columns)
LIMITS = {m.BAYESIAN.name: 0.896, m.BAYESIAN_SVDPP.name: 0.881, CHOSEN.name: 0.8775}
TIME_LIMIT = 600  # seconds of a model on one fold
SHARES = (0.5, 0.8, 0.95)


def run(*, quick: bool = False) -> dict[str, Any]:
    """Fit chains of several lengths on each fold, and count the ratings inside intervals."""
    log = described_movielens()
    log["decade"] = log["age"] // 10
    field = Field((model for model, *_ in MODELS), TIME_LIMIT)
    rows = compare(field, list(folds(log, shuffle=True))[: 1 if quick else 5])
    u1 = summary(compare(field, [next(folds(log, shuffle=False))], longest=True))
    points, covered = summary(rows), coverage()
    forms = {"Model": "", "Passes": "d", "RMSE": ".4f", "Standard error": ".4f", "MAE": ".4f"}
    forms |= {"Fit, s": ".2f", "Predict, s": ".2f"}
    return {
        "title": "Bayesian models on MovieLens 100K",
        "notes": [
            f"RMSE and MAE in stars at seed 0, means over {SHUFFLED}, with the standard error of "
            "the mean over folds. Seconds are medians; a fit includes the encoding of all "
            "columns. Each row is a fit of its own with so many sweeps, epochs or iterations. "
            f"Side features are {', '.join([*USER_FEATURES, *ITEM_FEATURES])}; the day and the "
            "session, which is the day of a user, are categories.",
            "Intervals are symmetric intervals of a normal distribution. With side features the "
            "model reads those of MovieLens 100K; on made ratings it reads IDs alone.",
        ],
        "bars": [*bars(points, u1), coverage_bar(covered)],
        "tables": [
            table(SHUFFLED, forms, points.astype(object).to_numpy()),
            table("Published fold u1", forms, u1.astype(object).to_numpy()),
            table(
                "Share of held-out ratings inside predicted intervals",
                {"Ratings": "", "Model": "", **{f"{share:.0%}": ".3f" for share in SHARES}},
                covered,
            ),
        ],
        "left_out": field.left_out,
    }


def compare(field: Field, parts: list[Fold], *, longest: bool = False) -> Iterator[dict[str, Any]]:
    """A row for each fit, of all numbers of passes or of the longest only."""
    for fold, (train, test) in enumerate(parts):
        for model, columns, parameter, lengths in MODELS:
            jobs = [{parameter: length} for length in (lengths[-1:] if longest else lengths)]
            columns = [*columns, "rating"]
            for row in field.measure(model, train[columns], test[columns], jobs, fold=fold):
                yield row | {"passes": row["job"][parameter]}


def summary(rows: Any) -> pd.DataFrame:
    """Means over folds and median seconds, for each model and number of passes."""
    found = pd.DataFrame(rows).groupby(["model", "passes"], sort=False)
    return found.agg(
        rmse=("rmse", "mean"),
        error=("rmse", "sem"),
        mae=("mae", "mean"),
        seconds=("fit_seconds", "median"),
        predict=("predict_seconds", "median"),
    ).reset_index()


def coverage() -> list[list[Any]]:
    """Shares of held-out ratings inside the intervals, for real and for made ratings."""
    first = next(folds(described_movielens(), shuffle=True))
    described = [model for model, columns, *_ in MODELS if "session" in columns][:2]
    by_ids = [m.ours("BayesianMFRegressor", svdpp=True, loss="ordinal"), m.BAYESIAN_SVDPP]
    rows = []
    for log, (train, held_out), models in (
        ("MovieLens 100K, first shuffled fold", first, [m.BAYESIAN, by_ids[1], *described]),
        ("make_ratings(500, 300, 40_000)", made_fold(None), [m.BAYESIAN, by_ids[1]]),
        ("make_ratings(500, 300, 40_000, step=1)", made_fold(1), by_ids),
    ):
        for model in models:
            columns = [name for name in READS["IDs, day, side features, session"] if name in train]
            X, X_held_out = (split_genres(part[columns]) for part in (train, held_out))
            fitted = m.make(model).fit(X, train["rating"])
            mean, std = fitted.predict(X_held_out, return_std=True)
            off = np.abs(held_out["rating"].to_numpy() - mean) / std
            shares = [float(np.mean(off < norm.ppf(0.5 + share / 2))) for share in SHARES]
            rows.append([log, model.name, *shares])
    return rows


def made_fold(step: float | None) -> Fold:
    """Made ratings, a fifth of them held out."""
    X, y = make_ratings(500, 300, 40_000, step=step, random_state=0)
    made = X[IDS].assign(rating=y)
    test = np.random.default_rng(0).random(len(made)) < 0.2
    return made[~test], made[test]


def bars(points: pd.DataFrame, u1: pd.DataFrame) -> list[dict[str, Any]]:
    """Limits of the RMSE of our models."""
    at = points.groupby("model", sort=False).last()
    found = [
        bar(f"RMSE of {name}", at.loc[name, "rmse"], lim, ".4f") for name, lim in LIMITS.items()
    ]
    found.append(
        bar("The same on u1", u1.set_index("model").loc[CHOSEN.name, "rmse"], 0.884, ".4f")
    )
    return found


def coverage_bar(rows: list[list[Any]]) -> dict[str, Any]:
    """Largest difference between a share and the probability of its interval."""
    off = max(
        abs(found - share) for row in rows for found, share in zip(row[2:], SHARES, strict=True)
    )
    return bar(
        "Largest difference of a share from the probability of its interval", off, 0.02, ".3f"
    )
