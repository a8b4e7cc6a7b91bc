"""Every estimator beside the mean and two ridge biases, on real and on generated logs."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice, product
from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import ndtr, ndtri
from sklearn.base import BaseEstimator, clone
from sklearn.dummy import DummyRegressor
from sklearn.model_selection import train_test_split

import sklrec
from benchmarks import _data as d
from benchmarks._baselines import ridge_biases
from benchmarks._results import bar, table

Prediction = Callable[[pd.DataFrame], np.ndarray]


def fit_estimator(estimator: BaseEstimator, known: pd.DataFrame, seed: int) -> Prediction:
    columns = ["user", "item"] + ["timestamp"] * hasattr(estimator, "timestamp")
    model: Any = clone(estimator)
    if "random_state" in model.get_params():
        model.set_params(random_state=seed)
    model.fit(known[columns], known["rating"])
    return lambda rows: model.predict(rows[columns])


MEAN, BIASES = "mean rating", "two ridge biases"
ESTIMATORS = [
    sklrec.BiasRegressor(),
    sklrec.BayesianMFRegressor(),
    sklrec.BayesianMFRegressor(svdpp=True),
    sklrec.MFRegressor(),
    sklrec.MFRegressor(svdpp=True),
    sklrec.DenseRecRegressor(),
    sklrec.SequenceRatingRegressor(),
]
FITS = {MEAN: partial(fit_estimator, DummyRegressor()), BIASES: ridge_biases}
FITS |= {str(estimator): partial(fit_estimator, estimator) for estimator in ESTIMATORS}
TIMED, SLOW = str(ESTIMATORS[-1]), str(ESTIMATORS[2])
LIMIT, UNSURE_LIMIT = 1.002, 1.005
N_SPLITS, MANY_ROWS, FEW_SPLITS = 5, 500_000, 2

# The generated logs. Before they become stars, the variance of the ratings is 1.
N_RATINGS, N_ITEMS, N_FACTORS = 24_000, 2_000, 3
PER_USER = [1, 3, 10, 50, 200]
SIGNALS = {"no": 0.0, "low": 0.1, "high": 0.5, "strong": 0.95}  # share of the variance
NOISES = NORMAL, HEAVY, STARS = "Gaussian noise", "heavy tails", "J-shaped stars"
KINDS = [*product(PER_USER, ["no", "low", "high"], NOISES)]
KINDS += [(10, "strong", NORMAL), (50, "strong", NORMAL)]
KNEE = 10  # the item of rank k is drawn in proportion to 1 / (k + KNEE)
FREEDOM = 3  # degrees of freedom of Student's t
SHARES = [0.1, 0.05, 0.08, 0.17, 0.6]  # of one to five stars

RATIO, ATTAINABLE = "Over the better baseline", "Over the attainable error"
APART, ERROR = "Above two biases", ", standard error"
FIGURES = ["RMSE", RATIO, ATTAINABLE, APART]
FORMS = {"Log": "", "Model": "", "Splits": "d"}
FORMS |= {name + end: ".4f" for name in FIGURES for end in ("", ERROR)} | {"Fit, s": ".2f"}


def run(
    *, log: pd.DataFrame | None = None, title: str = "many logs", quick: bool = False
) -> dict[str, Any]:
    """Compare on MovieLens 100K and on generated logs, or on a given log."""
    n_splits = 2 if quick else N_SPLITS
    logs = many_logs(n_splits, quick) if log is None else [(title, random_splits(log, n_splits))]
    rows = pd.DataFrame([row for name, parts in logs for row in measure(name, parts)])
    found = summary(rows)
    shown = found.dropna(axis=1, how="all")
    tables = [table("Each log", {name: FORMS[name] for name in shown}, shown)]
    if log is None:
        ratios = found.groupby("Model", sort=False)[RATIO].agg(["count", "mean", "max"])
        forms = {"Model": "", "Logs": "d", f"{RATIO}, mean": ".4f", "Largest": ".4f"}
        tables.insert(0, table("All logs", forms, ratios.reset_index()))
    return {
        "title": f"All estimators beside two biases, {title}",
        "notes": [
            f"MovieLens 100K: {d.SHUFFLED}; other logs: random 90/10 splits of the rows with "
            f"seeds from 0; {N_SPLITS}, or {FEW_SPLITS} of more than {MANY_ROWS:,} rows. Models "
            "have their defaults and the number of the split as a seed. Means over splits with "
            "their standard errors, and median seconds of fits in one process. Ratios and "
            "differences are those of each split. The better baseline of a split is the "
            f"{MEAN} or ridge regression on one-hot users and items; a tenth of the training rows "
            "chooses its two penalties. All predictions are clipped to the range of the training "
            f"ratings. The bar is {LIMIT}, or {UNSURE_LIMIT} if the RMSE is above that of two "
            "biases by less than two standard errors.",
            f"A generated log has {N_RATINGS:,} ratings, as many by each user, of {N_ITEMS:,} "
            "items of unequal popularity. The signal is a share of the variance of the ratings: "
            f"{', '.join(f'{name} {share:g}' for name, share in SIGNALS.items())}. Users, items "
            "and products of their factors cause a third of it each. The noise is Gaussian, or "
            f"Student's t with {FREEDOM} degrees of freedom; or ratings with Gaussian noise are "
            f"cut to one to five stars with the shares {', '.join(map(str, SHARES))}. A strong "
            "signal has Gaussian noise, and 10 or 50 ratings a user. The attainable error is that "
            "of the expected rating of each row. "
            f"{SLOW} would take half of the time and is left out.",
        ][: None if log is None else 1],
        "bars": list(bars(found)),
        "tables": tables,
        "left_out": rows["Failed"].dropna().tolist(),
    }


def many_logs(n_splits: int, quick: bool) -> Iterator[tuple[str, Iterable[d.Fold]]]:
    yield "MovieLens 100K", islice(d.folds(d.described_movielens(), shuffle=True), n_splits)
    for kind in KINDS[:: 11 if quick else 1]:
        yield "{} a user, {} signal, {}".format(*kind), random_splits(generate(*kind), n_splits)


def random_splits(log: pd.DataFrame, n_splits: int) -> Iterator[d.Fold]:
    for seed in range(n_splits if len(log) <= MANY_ROWS else FEW_SPLITS):
        train, test = train_test_split(log, test_size=0.1, random_state=seed)
        yield train, test


def generate(per_user: int, signal: str, noise: str) -> pd.DataFrame:
    """A generated log with the expectation of each rating."""
    rng, n_users, share = np.random.default_rng(0), N_RATINGS // per_user, SIGNALS[signal]
    popularity = 1 / (np.arange(N_ITEMS) + KNEE)
    draw = partial(rng.choice, N_ITEMS, per_user, replace=False, p=popularity / popularity.sum())
    user = np.repeat(np.arange(n_users), per_user)
    item = np.concatenate([draw() for _ in range(n_users)])
    p, q = (rng.standard_normal((n, 1 + N_FACTORS)) for n in (n_users, N_ITEMS))
    products = (p[user, 1:] * q[item, 1:]).sum(axis=1) / N_FACTORS**0.5
    expected = 3 + (share / 3) ** 0.5 * (p[user, 0] + q[item, 0] + products)
    spread, drawn = (1 - share) ** 0.5, rng.standard_normal(N_RATINGS)
    if noise == HEAVY:
        drawn = rng.standard_t(FREEDOM, N_RATINGS) / (FREEDOM / (FREEDOM - 2)) ** 0.5
    rating = expected + spread * drawn
    if noise == STARS:
        cuts = 3 + ndtri(np.cumsum(SHARES[:-1]))
        rating = 1.0 + np.searchsorted(cuts, rating)
        expected = 1 + ndtr((expected[:, None] - cuts) / spread).sum(axis=1)
    return pd.DataFrame({"user": user, "item": item, "rating": rating, "expected": expected})


def measure(log: str, parts: Iterable[d.Fold]) -> Iterator[dict[str, Any]]:
    """Figures of each model on each split of a log."""
    for seed, (known, asked) in enumerate(parts):
        y, scale = asked["rating"].to_numpy(), (known["rating"].min(), known["rating"].max())
        is_generated = "expected" in asked
        attainable = d.rmse(y, asked["expected"].to_numpy()) if is_generated else np.nan
        rows: dict[str, dict[str, Any]] = {}
        for name, fit in FITS.items():
            if (name == TIMED and "timestamp" not in known) or (name == SLOW and is_generated):
                continue
            row = rows[name] = {"Log": log, "Model": name, "Failed": None, "RMSE": np.nan}
            start = perf_counter()
            try:
                predict = fit(known, seed)
                row["Fit, s"] = perf_counter() - start
                row["RMSE"] = d.rmse(y, np.clip(predict(asked), *scale))
            except ValueError as error:  # such as a training that diverged
                row["Failed"] = f"{log}, split {seed}: {name} failed, {error}"
            print(row["Failed"] or f"{log}, split {seed}: {name} {row['RMSE']:.4f}", flush=True)
        mean, biases = rows[MEAN]["RMSE"], rows[BIASES]["RMSE"]
        for row in rows.values():
            row[RATIO] = row["RMSE"] / min(mean, biases)
            row[ATTAINABLE] = row["RMSE"] / attainable
            row[APART] = row["RMSE"] - biases
            yield row


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Means, standard errors and medians over splits; NaN where a fit failed."""
    by_model = rows.groupby(["Log", "Model"], sort=False)
    means = by_model[FIGURES].agg(lambda values: values.mean(skipna=False))
    errors = by_model[FIGURES].agg(lambda values: values.sem(skipna=False))
    found = means.join(errors.add_suffix(ERROR)).join(by_model["Fit, s"].median())
    return found.assign(Splits=by_model.size()).reset_index()[list(FORMS)]


def bars(found: pd.DataFrame) -> Iterator[dict[str, Any]]:
    for row in found[~found["Model"].isin([MEAN, BIASES])].to_dict("records"):
        is_unsure = row[APART] < 2 * row[APART + ERROR]
        what = f"{row['Log']}: {row['Model']}, {RATIO.lower()}"
        yield bar(what, row[RATIO], UNSURE_LIMIT if is_unsure else LIMIT, ".4f")
