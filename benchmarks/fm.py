"""`BayesianFMRegressor` on MovieLens 100K with side features, beside myFM's machines."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Iterator
from typing import Any

import pandas as pd

from benchmarks._data import (
    ITEM_FEATURES,
    SEPARATORS,
    USER_FEATURES,
    described_movielens,
    folds,
    mae,
    rmse,
)
from benchmarks._models import Model
from benchmarks._peers import Field
from benchmarks._results import bar

IDS = ["user", "item"]
SIDE = [*IDS, "day", *USER_FEATURES, *ITEM_FEATURES]
READS = {
    "IDs": IDS,
    "IDs, day": [*IDS, "day"],
    "IDs, day, side features": SIDE,
    "IDs, day, side features, session": [*SIDE, "session"],
}
WITH_SIDE = list(READS)[2:]
# The settings of myFM's own examples, where ages are decades: it takes categories alone.
MYFM = {
    "rank": 10,
    "n_iter": 300,
    "implicit": True,
    "user_features": ["decade", *USER_FEATURES[1:]],
    "item_features": ITEM_FEATURES,
    "multi_valued": SEPARATORS,
}
SHUFFLED, PUBLISHED = "KFold(5, shuffle=True, random_state=0)", "Published fold u1"
DEFAULT, SHORTER = 210, [30, 60, 110]  # sweeps
SEEDS = [{"random_state": seed} for seed in range(5)]
TIME_LIMIT = 600  # seconds for all fits of a model on one fold


def ours(name: str, reads: str, **params: Any) -> tuple[Model, list[str]]:
    """Our model with these parameters, and the columns that it reads."""
    columns = READS[reads]
    separators = {column: SEPARATORS[column] for column in columns if column in SEPARATORS}
    params |= {"estimator": "BayesianFMRegressor", "multi_valued": separators}
    return Model(f"sklrec {name}: {reads}", "sklrec", params), columns


def theirs(name: str, reads: str, *, ordinal: bool) -> tuple[Model, list[str]]:
    """One of myFM's, and the columns that it reads."""
    columns = ["decade" if column == "age" else column for column in READS[reads]]
    return Model(f"myFM {name}: {reads}", "myfm", {**MYFM, "ordinal": ordinal}), columns


MODELS = [
    *(ours("BayesianFMRegressor", reads) for reads in READS),
    *(ours("BayesianFMRegressor(loss='ordinal')", reads, loss="ordinal") for reads in READS),
    *(theirs("MyFMRegressor", reads, ordinal=False) for reads in WITH_SIDE),
    *(theirs("MyFMOrderedProbit", reads, ordinal=True) for reads in WITH_SIDE),
]
# What the bars are about, fixed in advance: the defaults, with all there is to read.
CHOSEN = MODELS[len(READS) - 1][0]


def run(*, quick: bool = False) -> dict[str, Any]:
    """Compare on the shuffled folds and on u1; the chosen setting with several chains as well."""
    log = described_movielens()
    log["decade"] = log["age"] // 10
    seeds = SEEDS[: 1 if quick else None]
    lengths = [{"n_iter": length} for length in SHORTER]
    shuffled = list(folds(log, shuffle=True))[: 1 if quick else None]
    field = Field((model for model, _ in MODELS), TIME_LIMIT)
    rows: list[dict[str, Any]] = []
    for number, pair in enumerate(shuffled):
        rows += compare(field, SHUFFLED, number, *pair, [*seeds, *lengths])
    rows += compare(field, PUBLISHED, 0, *next(folds(log, shuffle=False)), seeds)
    frame = pd.DataFrame(rows)
    frame = frame[frame["model"].isin([model.name for model in field.models])]
    whole = frame[frame["length"] == DEFAULT]
    tables = {name: summary(whole[whole["split"] == name]) for name in (SHUFFLED, PUBLISHED)}
    points = by_length(frame)
    return {
        "title": "Bayesian factorisation machines with side features on MovieLens 100K",
        "notes": [
            "RMSE and MAE in stars at seed 0, means over folds; seconds are medians, and a fit "
            "includes the encoding of all columns. Side features are "
            f"{', '.join([*USER_FEATURES, *ITEM_FEATURES])}; the day and the session, which is a "
            "user's day, are categories. All describe each user by the items rated in training "
            "too, and each item by its raters. myFM: 10 factors, 300 iterations, ages by decade. "
            f"The bars are about {CHOSEN.name}, chosen in advance.",
            *(spread(name, whole[whole["split"] == name]) for name in tables),
        ],
        "bars": bars(*tables.values(), points),
        "tables": [
            *(table(name, found) for name, found in tables.items()),
            {
                "title": f"{CHOSEN.name} against time, shuffled folds",
                "columns": {"Sweeps": "d", "Fit, s": ".2f", "RMSE": ".4f"},
                "rows": points.reset_index().astype(object).to_numpy().tolist(),
            },
        ],
        "left_out": field.left_out,
        "measurements": frame.to_dict("records"),
    }


def compare(
    field: Field,
    split: str,
    fold: int,
    train: pd.DataFrame,
    test: pd.DataFrame,
    jobs: list[dict[str, Any]],
) -> Iterator[dict[str, Any]]:
    """A row for each fit; the jobs are those of the chosen setting."""
    truth = test["rating"].to_numpy()
    for model, columns in MODELS:
        asked = jobs if model == CHOSEN else [{}]
        answers = field.run(model, train[[*columns, "rating"]], test[columns], asked) or []
        for job, answer in zip(asked, answers, strict=False):
            row = {
                "model": model.name,
                "split": split,
                "fold": fold,
                "seed": job.get("random_state", 0),
                "length": job.get("n_iter", DEFAULT),
                "rmse": rmse(truth, answer.prediction),
                "mae": mae(truth, answer.prediction),
                "fit_seconds": answer.fit_seconds,
                "predict_seconds": answer.predict_seconds,
            }
            print(f"{split}, {fold}: {model.name} {job} {row['rmse']:.4f}", flush=True)
            yield row


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Means and medians over folds at seed 0, best RMSE first."""
    groups = rows[rows["seed"] == 0].groupby("model", sort=False)
    return pd.DataFrame(
        {
            "RMSE": groups["rmse"].mean(),
            "MAE": groups["mae"].mean(),
            "Fit, s": groups["fit_seconds"].median(),
            "Predict, s": groups["predict_seconds"].median(),
        }
    ).sort_values("RMSE")


def table(title: str, found: pd.DataFrame) -> dict[str, Any]:
    """The summary in the form of a results file."""
    formats = [".4f", ".4f", ".2f", ".2f"]
    return {
        "title": title,
        "columns": {"Model": "", **dict(zip(found.columns, formats, strict=True))},
        "rows": found.reset_index().to_numpy().tolist(),
    }


def by_length(frame: pd.DataFrame) -> pd.DataFrame:
    """Seconds and RMSE of the chosen setting after so many sweeps, on the shuffled folds."""
    rows = frame[(frame["model"] == CHOSEN.name) & (frame["split"] == SHUFFLED)]
    groups = rows[rows["seed"] == 0].groupby("length")
    return groups.agg(seconds=("fit_seconds", "median"), rmse=("rmse", "mean"))


def spread(split: str, rows: pd.DataFrame) -> str:
    """How much the seed matters to the chosen setting."""
    by_seed = rows[rows["model"] == CHOSEN.name].groupby("seed")["rmse"].mean()
    return (
        f"{split}, {CHOSEN.name}, over {len(by_seed)} seeds: {by_seed.mean():.4f}, "
        f"{by_seed.min():.4f} to {by_seed.max():.4f}."
    )


def bars(shuffled: pd.DataFrame, published: pd.DataFrame, points: pd.DataFrame) -> list[dict]:
    """RMSEs beside what was asked and beside myFM's best, and the time to that one's."""
    reached = shuffled.loc[CHOSEN.name, "RMSE"]
    found = [
        bar("Mean RMSE, shuffled folds", reached, 0.8775, ".4f"),
        bar("RMSE on u1", published.loc[CHOSEN.name, "RMSE"], 0.884, ".4f"),
    ]
    peers = shuffled[shuffled.index.str.startswith("myFM")]
    if len(peers):
        best = peers.iloc[0]
        what = f"Mean RMSE, shuffled folds; the bar is {best.name}"
        found.append(bar(what, reached, best["RMSE"], ".4f"))
        good = points[points["rmse"] <= best["RMSE"]]
        seconds = good["seconds"].min() if len(good) else float("inf")
        what = f"Seconds to {best['RMSE']:.4f}, as {best.name}; the bar is half its time"
        found.append(bar(what, seconds, best["Fit, s"] / 2, ".2f"))
    return found
