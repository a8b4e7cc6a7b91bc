"""A grid search on two cores beside the same search on one."""
# SPDX-License-Identifier: BSD-3-Clause

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from time import perf_counter
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
import torch
from distributed import Client, LocalCluster
from joblib import parallel_config
from sklearn.base import BaseEstimator
from sklearn.model_selection import GridSearchCV, KFold
from threadpoolctl import threadpool_limits

from benchmarks._data import made
from benchmarks._measure import alternate, thread_variables
from benchmarks._results import bar
from sklrec import DenseRecRegressor, MFRegressor

ONE_CORE = "one core"
# What a fit takes on one core must come to two seconds and more, for the bar to mean anything.
N_RATINGS = {"MFRegressor, sgd": 1_500_000, "MFRegressor, als": 500_000, "DenseRec": 200_000}
SEARCHES: dict[str, tuple[BaseEstimator, dict[str, list[Any]]]] = {
    "MFRegressor, sgd": (MFRegressor(random_state=0), {"alpha": [0.01, 0.02, 0.04, 0.08]}),
    "MFRegressor, als": (
        MFRegressor(solver="als", random_state=0),
        {"alpha": [0.02, 0.05, 0.1, 0.2]},
    ),
    "DenseRec": (DenseRecRegressor(random_state=0), {"alpha": [1e-4, 1e-3, 1e-2, 1e-1]}),
}
CV = KFold(2, shuffle=True, random_state=0)


def run(*, quick: bool = False) -> dict[str, Any]:
    """Let one core, loky, Python threads and a Dask cluster take turns at the same searches."""
    rows, bars = [], []
    with threadpool_limits(1), one_torch_thread(), dask_client() as client:
        backends = {
            ONE_CORE: {"n_jobs": 1},
            "loky": {"n_jobs": 2, "backend": "loky", "inner_max_num_threads": 1},
            "threading": {"n_jobs": 2, "backend": "threading"},
            "Dask": {"n_jobs": 2, "backend": "dask", "client": client},
        }
        for title, (estimator, grid) in SEARCHES.items():
            log = made(20_000, 5_000, N_RATINGS[title] // (10 if quick else 1))
            search = GridSearchCV(
                estimator, grid, cv=CV, scoring="neg_root_mean_squared_error", refit=False
            )
            seconds, found = measure(search, log, backends, repeats=1 if quick else 2)
            one = found[ONE_CORE]
            fit_seconds = one["mean_fit_time"].mean()
            for name in backends:
                speed_up = seconds[ONE_CORE] / seconds[name]
                apart = np.abs(one["mean_test_score"] - found[name]["mean_test_score"]).max()
                rows.append([title, name, fit_seconds, seconds[name], speed_up, apart])
                if name != ONE_CORE:
                    what = f"{title}, {name}"
                    bars.append(bar(f"Speed-up, {what}", speed_up, 1.7, ".2f", at_least=True))
                    bars.append(bar(f"Mean scores apart, {what}", apart, 1e-5, ".1e"))
    return {
        "title": "A search on two cores",
        "notes": [
            "GridSearchCV over four values of alpha in two folds, eight fits, without the last "
            "fit to all rows, which no backend shares out. Made logs of 20,000 users and 5,000 "
            "items. Workers have fitted such a model before; torch has one thread in each, and "
            "on one core too. Medians of runs that take turns. Dask is a cluster of two "
            "processes on this machine, set up as in the user guide, and its scheduler a part "
            "of the process that searches."
        ],
        "bars": bars,
        "tables": [
            {
                "title": "Seconds a search",
                "columns": {
                    "Model": "",
                    "Where": "",
                    "Seconds a fit": ".2f",
                    "Seconds": ".2f",
                    "Speed-up": ".2f",
                    "Mean scores apart": ".1e",
                },
                "rows": rows,
            }
        ],
    }


def measure(
    search: GridSearchCV, log: pd.DataFrame, backends: dict[str, dict[str, Any]], repeats: int
) -> tuple[dict[str, float], dict[str, dict[str, np.ndarray]]]:
    """Seconds of a search by each backend, and the `cv_results_` of the last one."""
    found = {}

    def fit(name: str, log: pd.DataFrame) -> float:
        X, y = log[["user", "item"]], log["rating"]
        with parallel_config(**backends[name]):
            start = perf_counter()
            found[name] = search.fit(X, y).cv_results_
            return perf_counter() - start

    for name in backends:
        fit(name, log[:2_000])
    functions: dict[str, Callable[[], float]] = {n: partial(fit, n, log) for n in backends}
    return alternate(functions, repeats), found


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Let torch have one thread in this process."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def dask_client() -> Iterator[Client]:
    """A client of a cluster of two processes on this machine, with one torch thread in each."""
    with ExitStack() as stack:
        # What is set here holds for them too, and would be two threads for each of two cores.
        stack.enter_context(patch.dict(os.environ, thread_variables(1)))
        cluster = stack.enter_context(
            LocalCluster(
                n_workers=2,
                processes=True,
                threads_per_worker=1,
                host="127.0.0.1",
                dashboard_address="127.0.0.1:0",
                silence_logs=logging.CRITICAL,
            )
        )
        yield stack.enter_context(Client(cluster))
