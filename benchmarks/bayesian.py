"""Exact and Bayesian solvers on MovieLens 100K: accuracy against time, and honest intervals."""
# SPDX-License-Identifier: BSD-3-Clause

from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import norm

from benchmarks._data import folds, movielens, rmse
from benchmarks._models import ALS, GIBBS, IMPLICIT, LENSKIT, MYFM, MYFM_IMPLICIT
from benchmarks._peers import Field
from benchmarks._results import bar
from benchmarks.time_to_rmse import Curve
from sklrec import MFRegressor
from sklrec.datasets import make_ratings

CURVES = [
    Curve(ALS, "n_iter", [3, 6, 12]),
    Curve(LENSKIT, "epochs", [10, 20]),
    Curve(GIBBS, "n_iter", [40, 60, 80, 110, 160, 210, 310]),
    Curve(MYFM, "n_iter", [50, 100, 200]),
    Curve(IMPLICIT, "n_iter", [20, 30, 40, 60, 110, 210]),
    Curve(MYFM_IMPLICIT, "n_iter", [100, 300]),
]
DEFAULT = {ALS.name: 6, GIBBS.name: 210, IMPLICIT.name: 210}
TIME_LIMIT = 300  # seconds for all points of a curve on one fold
SEEDS = range(5)
SHARES = (0.5, 0.8, 0.95)


def run(*, quick: bool = False) -> dict[str, Any]:
    """Fit chains of several lengths on each fold, and look at the spread of predictions."""
    field = Field((curve.model for curve in CURVES), TIME_LIMIT)
    parts = list(folds(movielens(), shuffle=True))[: 1 if quick else 5]
    rows = []
    for number, (train, test) in enumerate(parts):
        for model, parameter, values in CURVES:
            jobs = [{parameter: value} for value in values]
            if parameter == "n_iter" and model.library == "sklrec" and not quick:
                jobs += [{"random_state": seed} for seed in SEEDS]
            if (answers := field.run(model, train, test, jobs)) is None:
                continue
            for job, answer in zip(jobs, answers, strict=True):
                row = {"model": model.name, "fold": number, "length": job.get(parameter, -1)}
                row["seed"] = job.get("random_state", 0)
                row |= {"seconds": answer.fit_seconds, "predict_seconds": answer.predict_seconds}
                rows.append(row | {"rmse": rmse(test["rating"].to_numpy(), answer.prediction)})
                print(row["model"], job, f"{rows[-1]['rmse']:.4f}", flush=True)
    frame = pd.DataFrame(rows)
    points = (
        frame[frame["length"] > 0]
        .groupby(["model", "length"], sort=False)
        .agg(
            seconds=("seconds", "median"),
            predict=("predict_seconds", "median"),
            rmse=("rmse", "mean"),
        )
        .reset_index()
    )
    covered = coverage(parts[0])
    return {
        "title": "Exact and Bayesian solvers on MovieLens 100K",
        "notes": [
            "Mean RMSE in stars over KFold(5, shuffle=True, random_state=0) at seed 0, and the "
            "median seconds of a fit; sklrec's includes the encoding of IDs. Each point is a fit "
            "of its own. Implicit: each user is also described by the items rated in training, "
            "and each item by its raters.",
            *seeds(frame),
        ],
        "bars": bars(points),
        "tables": [
            {
                "title": "Accuracy against time",
                "columns": {
                    "Model": "",
                    "Sweeps": "d",
                    "Fit, s": ".2f",
                    "Predict, s": ".2f",
                    "RMSE": ".4f",
                },
                "rows": points.astype(object).to_numpy().tolist(),
            },
            {
                "title": "Share of held-out ratings inside predicted intervals",
                "columns": {"Ratings": "", "Model": "", **{f"{s:.0%}": ".3f" for s in SHARES}},
                "rows": covered,
            },
        ],
        "curves": [
            {"model": name, "seconds": list(found["seconds"]), "rmse": list(found["rmse"])}
            for name, found in points.groupby("model", sort=False)
        ],
        "left_out": field.left_out,
        "measurements": frame.to_dict("records"),
    }


def coverage(first: tuple[pd.DataFrame, pd.DataFrame]) -> list[list[Any]]:
    """Shares of held-out ratings inside the intervals, for real and for made ratings."""
    X, y = make_ratings(500, 300, 40_000, random_state=0)
    made = X.assign(rating=y)
    test = np.random.default_rng(0).random(len(made)) < 0.2
    rows = []
    for name, (train, held_out) in {
        "MovieLens 100K, first shuffled fold": first,
        "make_ratings(500, 300, 40_000)": (made[~test], made[test]),
    }.items():
        for model in (GIBBS, IMPLICIT):
            fitted = MFRegressor(**model.params, random_state=0)
            fitted.fit(train[["user", "item"]], train["rating"])
            mean, std = fitted.predict(held_out[["user", "item"]], return_std=True)
            off = np.abs(held_out["rating"].to_numpy() - mean) / std
            shares = [float(np.mean(off < norm.ppf(0.5 + share / 2))) for share in SHARES]
            rows.append([name, model.name, *shares])
    return rows


def seeds(frame: pd.DataFrame) -> list[str]:
    """How much the seed matters to each of ours."""
    found = []
    for name, rows in frame[frame["length"] == -1].groupby("model", sort=False):
        by_seed = rows.groupby("seed")["rmse"].mean()
        found.append(
            f"{name}, default, over {len(by_seed)} seeds: {by_seed.mean():.4f}, "
            f"{by_seed.min():.4f} to {by_seed.max():.4f}."
        )
    return found


def bars(points: pd.DataFrame) -> list[dict[str, Any]]:
    """RMSEs, and the time to what myFM reaches beside half of myFM's."""
    at = points.set_index(["model", "length"])
    found = [
        bar(
            f"RMSE of {model.name}",
            at.loc[(model.name, DEFAULT[model.name]), "rmse"],
            limit,
            ".4f",
        )
        for model, limit in ((GIBBS, 0.896), (IMPLICIT, 0.881), (ALS, 0.913))
    ]
    for ours, theirs in ((GIBBS, MYFM), (IMPLICIT, MYFM_IMPLICIT)):
        peer = points[points["model"] == theirs.name]
        if len(peer):
            last = peer.loc[peer["length"].idxmax()]
            mine = points[points["model"] == ours.name]
            good = mine[mine["rmse"] <= last["rmse"]]
            reached = good["seconds"].min() if len(good) else float("inf")
            what = f"Seconds to {last['rmse']:.4f}, as {theirs.name}; the bar is half its time"
            found.append(bar(what, reached, last["seconds"] / 2, ".2f"))
    lenskit = points[points["model"] == LENSKIT.name]
    if len(lenskit):
        what = f"Fit of {ALS.name}, s; the bar is {LENSKIT.name}"
        limit = lenskit["seconds"].max()
        found.append(bar(what, at.loc[(ALS.name, DEFAULT[ALS.name]), "seconds"], limit, ".2f"))
    return found
