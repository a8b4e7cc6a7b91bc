"""Exact and Bayesian solvers on MovieLens 100K: accuracy, time, intervals and folding in."""
# SPDX-License-Identifier: BSD-3-Clause

from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import norm
from sklearn.base import clone

from benchmarks._data import SEPARATORS, Fold, described_movielens, folds, movielens, rmse
from benchmarks._models import (
    ALS,
    ALS_IMPLICIT,
    GIBBS,
    IMPLICIT,
    LENSKIT,
    MYFM,
    MYFM_IMPLICIT,
    OURS,
    SGD_IMPLICIT,
)
from benchmarks._peers import Field
from benchmarks._results import bar
from benchmarks.curves import Curve
from benchmarks.fm import READS
from sklrec import BayesianFMRegressor, MFRegressor
from sklrec.datasets import make_ratings

CURVES = [
    Curve(ALS, "n_iter", [3, 6, 12]),
    Curve(ALS_IMPLICIT, "n_iter", [3, 6, 12]),
    Curve(SGD_IMPLICIT, "max_epochs", [5, 10, 15]),
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
FOLDED = [OURS, ALS, GIBBS, IMPLICIT]
IDS = ["user", "item"]


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
    covered, folded = coverage(), fold_in(*parts[0])
    return {
        "title": "Exact and Bayesian solvers on MovieLens 100K",
        "notes": [
            "Mean RMSE in stars over KFold(5, shuffle=True, random_state=0) at seed 0, and the "
            "median seconds of a fit; sklrec's includes the encoding of IDs. Each point is a fit "
            "of its own. Implicit: each user is also described by the items rated in training, "
            "and each item by its raters.",
            *seeds(frame),
            "Intervals are a prediction and so many standard deviations of a normal distribution "
            "to either side. BayesianFMRegressor reads all side features on MovieLens 100K, and "
            "IDs alone elsewhere.",
            "Folding in, on the first shuffled fold: a tenth of the users is left out of the fit "
            "and added by fold_in with the same ratings (but those of items that nobody else has "
            "rated); RMSE on the held-out ratings of these users.",
        ],
        "bars": [*bars(points), coverage_bar(covered), *fold_in_bars(folded)],
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
            {
                "title": "Fitting on all against folding in a tenth of the users",
                "columns": {
                    "Model": "",
                    "Fitted, RMSE": ".4f",
                    "Folded in, RMSE": ".4f",
                    "fold_in, s": ".2f",
                },
                "rows": folded,
            },
        ],
        "curves": [
            {"model": name, "seconds": list(found["seconds"]), "rmse": list(found["rmse"])}
            for name, found in points.groupby("model", sort=False)
        ],
        "left_out": field.left_out,
        "measurements": frame.to_dict("records"),
    }


def coverage() -> list[list[Any]]:
    """Shares of held-out ratings inside the intervals, for real and for made ratings."""
    factors = [(model.name, MFRegressor(**model.params), IDS) for model in (GIBBS, IMPLICIT)]
    described = list(READS.values())[-1]
    machines = [
        ("sklrec BayesianFMRegressor", BayesianFMRegressor()),
        ("sklrec BayesianFMRegressor(loss='ordinal')", BayesianFMRegressor(loss="ordinal")),
    ]
    by_ids = [(name, machine, IDS) for name, machine in machines]
    by_all = [
        (name, clone(machine).set_params(multi_valued=SEPARATORS), described)
        for name, machine in machines
    ]
    first = next(folds(described_movielens(), shuffle=True))
    rows = []
    for log, (train, held_out), models in (
        ("MovieLens 100K, first shuffled fold", first, [*factors, *by_all]),
        ("make_ratings(500, 300, 40_000)", made_fold(None), [*factors, by_ids[0]]),
        ("make_ratings(500, 300, 40_000, step=1)", made_fold(1), by_ids),
    ):
        for name, model, columns in models:
            fitted = clone(model).set_params(random_state=0).fit(train[columns], train["rating"])
            mean, std = fitted.predict(held_out[columns], return_std=True)
            off = np.abs(held_out["rating"].to_numpy() - mean) / std
            shares = [float(np.mean(off < norm.ppf(0.5 + share / 2))) for share in SHARES]
            rows.append([log, name, *shares])
    return rows


def made_fold(step: float | None) -> Fold:
    """Made ratings, a fifth of them held out."""
    X, y = make_ratings(500, 300, 40_000, step=step, random_state=0)
    made = X.assign(rating=y)
    test = np.random.default_rng(0).random(len(made)) < 0.2
    return made[~test], made[test]


def fold_in(train: pd.DataFrame, test: pd.DataFrame) -> list[list[Any]]:
    """RMSE on held-out ratings of a tenth of the users: fitted like all others, or folded in."""
    users = train["user"].unique()
    chosen = np.random.default_rng(0).choice(users, len(users) // 10, replace=False)
    is_new = train["user"].isin(chosen)
    rest, new = train[~is_new], train[is_new]
    new = new[new["item"].isin(rest["item"])]
    asked = test[test["user"].isin(chosen)]
    rows = []
    for model in FOLDED:
        whole, part = (
            MFRegressor(**model.params, random_state=0).fit(known[IDS], known["rating"])
            for known in (train, rest)
        )
        start = perf_counter()
        folded = part.fold_in(new[IDS], new["rating"])
        elapsed = perf_counter() - start
        errors = [rmse(asked["rating"].to_numpy(), m.predict(asked[IDS])) for m in (whole, folded)]
        rows.append([model.name, *errors, elapsed])
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


def coverage_bar(rows: list[list[Any]]) -> dict[str, Any]:
    """How far any share is from what its interval is for."""
    off = max(
        abs(found - share) for row in rows for found, share in zip(row[2:], SHARES, strict=True)
    )
    return bar("Furthest that a share is off its interval's", off, 0.02, ".3f")


def fold_in_bars(rows: list[list[Any]]) -> list[dict[str, Any]]:
    """How far folding in is from fitting."""
    return [
        bar(f"RMSE of {name}: folded in against fitted", abs(folded - fitted), 0.01, ".4f")
        for name, fitted, folded, _ in rows
    ]
