"""A fitted estimator that many threads read at once, while others are fitted beside it."""
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
    """What one reader asks; which rows, users and items differs from reader to reader."""
    rows = X.iloc[k : k + 40]
    users, items = rows["user"].unique()[:5], rows["item"].unique()[:5]
    return [
        pd.DataFrame({"rating": model.predict(rows)}),
        model.recommend(users, n_items=4),
        model.similar_items(items, n_items=3),
    ]


def assert_equal(found, wanted):
    for one, other in zip(found, wanted, strict=True):
        assert_frame_equal(one, other, check_exact=True)


def ask_in_threads(ask):
    """Let all threads begin at the same moment."""
    barrier = Barrier(N_THREADS)

    def begin(k):
        barrier.wait(60)
        return ask(k)

    with ThreadPoolExecutor(N_THREADS) as pool:
        return list(pool.map(begin, range(N_THREADS)))


@pytest.mark.parametrize("name", ESTIMATORS)
def test_many_readers_get_what_one_gets(name, abuse):
    # Fitted anew: whatever is made at the first question has not been made yet.
    model = ESTIMATORS[name]().fit(X, Y)
    for _ in range(50 if abuse.long else 1):
        found = ask_in_threads(lambda k: answers(model, k))
        for k in range(N_THREADS):
            assert_equal(found[k], answers(model, k))
        abuse.counts["readers of one model"] += N_THREADS


@pytest.mark.parametrize("name", ["sgd", "lstm"])
def test_a_copy_is_fitted_while_others_read(name):
    """What docs/user_guide/production.rst promises: fit a copy, then let the name go over."""
    served = {"model": ESTIMATORS[name]().fit(X, Y)}
    first = served["model"]
    old = answers(first, 0)
    new = copy(first)
    done = Event()

    def read(_):
        seen = []
        while not done.is_set() or not seen:
            seen.append(answers(served["model"], 0))
        return seen

    def refit():
        try:
            new.fit(X.iloc[::2], Y.iloc[::2])
            served["model"] = new
        finally:
            done.set()

    with ThreadPoolExecutor(5) as pool:
        readers = [pool.submit(read, k) for k in range(4)]
        pool.submit(refit).result()
        fitted = answers(new, 0)
        for reader in readers:
            for seen in reader.result():
                is_old = np.array_equal(seen[0], old[0])
                assert_equal(seen, old if is_old else fitted)
    assert not np.array_equal(fitted[0], old[0])
    assert_equal(answers(first, 0), old)
    assert_equal(answers(served["model"], 0), fitted)
