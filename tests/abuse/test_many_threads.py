"""Many threads read a fitted estimator at once, while another is fitted."""
# SPDX-License-Identifier: BSD-3-Clause

from concurrent.futures import ThreadPoolExecutor
from copy import copy
from threading import Barrier, Event

import pandas as pd
import pytest
from fitted_models import ESTIMATORS, X, Y
from pandas.testing import assert_frame_equal

import sklrec


@pytest.fixture
def n_threads(abuse):
    return 24 if abuse.is_long else 5


def answers(model, k):
    """Results for rows, users and items that differ from thread to thread."""
    rows = X.iloc[k : k + 40]
    found = [
        pd.DataFrame({"rating": model.predict(rows)}),
        model.recommend(rows["user"].unique()[:5], n_items=4),
    ]
    if hasattr(model, "similar_items"):
        found.append(model.similar_items(rows["item"].unique()[:5], n_items=3))
    if hasattr(model, "user_ratings_"):
        found.append(model.explain(rows["user"][:5], rows["item"][:5]))
        found.append(model.recommend_for(rows.assign(user=-1), Y.iloc[k : k + 40], n_items=3))
    return found


def assert_equal(found, wanted):
    for one, other in zip(found, wanted, strict=True):
        assert_frame_equal(one, other, check_exact=True)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_many_threads_get_the_results_of_one(name, abuse, n_threads):
    # Fitted here, so that nothing is cached yet when the threads start.
    model = ESTIMATORS[name]().fit(X, Y)
    barrier = Barrier(n_threads, timeout=60)

    def read(k):
        barrier.wait()
        return answers(model, k)

    for _ in range(50 if abuse.is_long else 1):
        with ThreadPoolExecutor(n_threads) as pool:
            found = list(pool.map(read, range(n_threads)))
        for k in range(n_threads):
            assert_equal(found[k], answers(model, k))
        abuse.counts["threads that read one model"] += n_threads


@pytest.mark.parametrize("name", ESTIMATORS)
def test_threads_that_read_during_a_refit_see_the_old_model_or_the_new_one(
    name, abuse, n_threads, tmp_path
):
    n_threads = n_threads if abuse.is_long else 3  # they read for as long as the fits take
    model = ESTIMATORS[name]().fit(X, Y)
    # Other users and items, in another order, and other ratings.
    later = X.iloc[::-2], 10 * Y.iloc[::-2] + 100
    wanted = answers(model, 0), answers(copy(model).fit(*later), 0)
    assert not wanted[0][0].equals(wanted[1][0])
    done = Event()

    def read(k):
        found = []
        while not done.is_set() or not found:
            found.append(answers(model, 0))
            if k == 0:
                sklrec.save(model, tmp_path / "model")
                found.append(answers(sklrec.load(tmp_path / "model"), 0))
        return found

    with ThreadPoolExecutor(n_threads) as pool:
        readers = [pool.submit(read, k) for k in range(n_threads)]
        try:
            for _ in range(20 if abuse.is_long else 1):
                model.fit(X, Y).fit(*later)
        finally:
            done.set()
        n_read = 0
        for found in (found for reader in readers for found in reader.result()):
            for got, old, new in zip(found, *wanted, strict=True):
                assert_frame_equal(got, old if got.equals(old) else new, check_exact=True)
                n_read += 1
    abuse.counts["answers during refits"] += n_read
    for got, new in zip(answers(model, 0), wanted[1], strict=True):
        assert_frame_equal(got, new, check_exact=True)
