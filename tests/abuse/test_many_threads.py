"""Many threads read a fitted estimator at once, while another is fitted."""
# SPDX-License-Identifier: BSD-3-Clause

from concurrent.futures import ThreadPoolExecutor
from copy import copy
from threading import Barrier, Event

import numpy as np
import pandas as pd
import pytest
from fitted_models import ESTIMATORS, X, Y
from pandas.testing import assert_frame_equal

N_THREADS = 24


def answers(model, k):
    """Results for rows, users and items that differ from thread to thread."""
    rows = X.iloc[k : k + 40]
    found = [
        pd.DataFrame({"rating": model.predict(rows)}),
        model.recommend(rows["user"].unique()[:5], n_items=4),
    ]
    if hasattr(model, "similar_items"):
        found.append(model.similar_items(rows["item"].unique()[:5], n_items=3))
    return found


def assert_equal(found, wanted):
    for one, other in zip(found, wanted, strict=True):
        assert_frame_equal(one, other, check_exact=True)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_many_threads_get_the_results_of_one(name, abuse):
    # Fitted here, so that nothing is cached yet when the threads start.
    model = ESTIMATORS[name]().fit(X, Y)
    barrier = Barrier(N_THREADS, timeout=60)

    def read(k):
        barrier.wait()
        return answers(model, k)

    for _ in range(50 if abuse.is_long else 1):
        with ThreadPoolExecutor(N_THREADS) as pool:
            found = list(pool.map(read, range(N_THREADS)))
        for k in range(N_THREADS):
            assert_equal(found[k], answers(model, k))
        abuse.counts["threads that read one model"] += N_THREADS


@pytest.mark.parametrize("name", ["mf", "lstm"])
def test_a_copy_is_fitted_while_other_threads_read(name):
    served = {"model": ESTIMATORS[name]().fit(X, Y)}
    first = served["model"]
    old, new, done = answers(first, 0), copy(first), Event()

    def read(_):
        found = []
        while not done.is_set() or not found:
            found.append(answers(served["model"], 0))
        return found

    def refit():
        try:
            served["model"] = new.fit(X.iloc[::2], Y.iloc[::2])
        finally:
            done.set()

    with ThreadPoolExecutor(5) as pool:
        readers = [pool.submit(read, k) for k in range(4)]
        pool.submit(refit).result()
        fitted = answers(new, 0)
        for found in (found for reader in readers for found in reader.result()):
            assert_equal(found, old if np.array_equal(found[0], old[0]) else fitted)
    assert not np.array_equal(fitted[0], old[0])
    assert_equal(answers(first, 0), old)
    assert_equal(answers(served["model"], 0), fitted)
