"""A fit on two threads and a grid search on two cores, beside the same on one."""
# SPDX-License-Identifier: BSD-3-Clause

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from joblib import parallel_config
from sklearn.base import BaseEstimator
from sklearn.model_selection import GridSearchCV, KFold
from threadpoolctl import threadpool_limits

from benchmarks._data import made
from benchmarks._measure import alternate, seconds
from benchmarks._models import Model
from benchmarks._peers import exchange
from benchmarks._results import bar, table
from benchmarks._torch import torch_threads
from benchmarks.scaling import MODELS, PATIENCE, TIMED
from sklrec import DenseRecRegressor, MFRegressor

ONE_CORE = "one core"
# Estimators, values of alpha, and numbers of ratings: a fit on one core takes over two seconds.
SEARCHES: dict[str, tuple[BaseEstimator, list[float], int]] = {
    "MFRegressor": (MFRegressor(random_state=0), [0.01, 0.02, 0.04, 0.08], 1_500_000),
    "DenseRecRegressor": (DenseRecRegressor(random_state=0), [1e-4, 1e-3, 1e-2, 1e-1], 200_000),
}
CV = KFold(2, shuffle=True, random_state=0)
N_RATINGS, FEWER = 1_000_000, 100_000  # of a fit; fewer for models of histories
FASTER, SLOWER = 1.5, 1.2


def run(*, quick: bool = False) -> dict[str, Any]:
    """Let one core, loky and Python threads take turns at the same searches."""
    rows, bars = [], []
    with threadpool_limits(1), torch_threads(1):
        backends = {
            ONE_CORE: {"n_jobs": 1},
            "loky": {"n_jobs": 2, "backend": "loky", "inner_max_num_threads": 1},
            "threading": {"n_jobs": 2, "backend": "threading"},
        }
        for title, (estimator, values, n_ratings) in SEARCHES.items():
            log = made(20_000, 5_000, n_ratings // (10 if quick else 1))
            scoring = "neg_root_mean_squared_error"
            search = GridSearchCV(
                estimator, {"alpha": values}, cv=CV, scoring=scoring, refit=False
            )
            took, found = measure(search, log, backends, repeats=1 if quick else 2)
            one = found[ONE_CORE]
            for name in backends:
                speed_up = took[ONE_CORE] / took[name]
                apart = np.abs(one["mean_test_score"] - found[name]["mean_test_score"]).max()
                rows.append(
                    [title, name, one["mean_fit_time"].mean(), took[name], speed_up, apart]
                )
                if name != ONE_CORE:
                    what = f"{title}, {name}"
                    bars.append(bar(f"Speed-up, {what}", speed_up, 1.7, ".2f", at_least=True))
                    bars.append(bar(f"Difference of mean scores, {what}", apart, 1e-5, ".1e"))
    forms = {"Seconds a fit": ".2f", "Seconds": ".2f", "Speed-up": ".2f"}
    fits = [fit_row(model, quick) for model in MODELS]
    for name, _, _, _, _, speed_up, slow_down in fits:
        what = f"Speed-up of a fit on two threads, {name}"
        bars.append(bar(what, speed_up, FASTER, ".2f", at_least=True))
        what = f"Two threads beside a busy core over one thread, {name}"
        bars.append(bar(what, slow_down, SLOWER, ".2f"))
    columns = {"Model": "", "Ratings": ",d", "One thread, s": ".2f", "Two threads, s": ".2f"}
    columns |= {"Two, other core busy, s": ".2f", "Speed-up": ".2f", "Busy over one": ".2f"}
    return {
        "title": "Two cores",
        "notes": [
            "A fit: defaults, made ratings as in the benchmark of scaling, each fit in a new "
            "process. The busy core runs another program that computes all the time. A search: "
            "GridSearchCV over four values of alpha in two folds: eight fits, without the last "
            "fit to all rows. Made logs of 20,000 users and 5,000 items. Each worker has one "
            "torch thread and has fitted such a model before; so has the one core. Medians of "
            "runs that take turns."
        ],
        "bars": bars,
        "tables": [
            table("Seconds of a fit", columns, fits),
            table(
                "Seconds of a search",
                {"Model": "", "Backend": "", **forms, "Difference of mean scores": ".1e"},
                rows,
            ),
        ],
    }


def fit_row(model: Model, quick: bool) -> list[Any]:
    """Seconds of a fit on one and on two threads, and on two threads beside a busy core."""
    n_ratings = FEWER // 10 if quick else FEWER if model in TIMED else N_RATINGS
    request = {"model": model, "n_ratings": n_ratings}

    def fit(threads: int) -> float:
        reply, _ = exchange("sklrec", "sklrec_cost", request, {}, PATIENCE, threads)
        return reply["seconds"]

    one, two = fit(1), fit(2)
    with busy_core():
        beside = fit(2)
    return [model.name, n_ratings, one, two, beside, one / two, beside / one]


@contextmanager
def busy_core() -> Iterator[None]:
    """Keep one core busy with another program."""
    program = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        program.kill()
        program.wait()


def measure(
    search: GridSearchCV, log: pd.DataFrame, backends: dict[str, dict[str, Any]], repeats: int
) -> tuple[dict[str, float], dict[str, dict[str, np.ndarray]]]:
    """Seconds of a search by each backend, and the `cv_results_` of the last one."""
    found = {}

    def fit(name: str, log: pd.DataFrame) -> float:
        with parallel_config(**backends[name]):
            took = seconds(lambda: search.fit(log[["user", "item"]], log["rating"]))
        found[name] = search.cv_results_
        return took

    for name in backends:
        fit(name, log[:2_000])
    functions: dict[str, Callable[[], float]] = {n: partial(fit, n, log) for n in backends}
    return alternate(functions, repeats), found
