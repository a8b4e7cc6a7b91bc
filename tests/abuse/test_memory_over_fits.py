"""Fits one after the other, of which nothing may be left but the last."""
# SPDX-License-Identifier: BSD-3-Clause

import gc
import os
import tracemalloc
from pathlib import Path

import pytest
from fitted_models import ESTIMATORS, X, Y

# Of a fit that leaves something there are at least its 200 rows of codes, or its tables.
BYTES_PER_FIT = 1_000
# Of the process as a whole, which the allocator makes grow by leaps.
MEBIBYTES_OVER_LONG_RUN = 24


def resident():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def growth_of_objects(model, n_fits):
    """By how many bytes of Python's and numpy's memory each fit makes it grow."""
    gc.collect()
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(n_fits):
        model.fit(X, Y).predict(X)
    gc.collect()
    return (tracemalloc.get_traced_memory()[0] - before) / n_fits


@pytest.fixture
def traced():
    tracemalloc.start()
    yield
    tracemalloc.stop()


@pytest.mark.parametrize("name", ESTIMATORS)
def test_nothing_is_left_of_a_fit(name, traced):
    model = ESTIMATORS[name]()
    growth_of_objects(model, 2)  # what is made once
    assert growth_of_objects(model, 6) < BYTES_PER_FIT


def test_what_is_left_is_noticed(traced):
    kept = []

    class Keeps:
        def fit(self, X, Y):
            kept.append(X["user"].to_numpy().copy())
            return self

        def predict(self, X):
            pass

    growth_of_objects(Keeps(), 2)
    assert growth_of_objects(Keeps(), 6) > BYTES_PER_FIT


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="only Linux tells it so")
@pytest.mark.parametrize("name", ESTIMATORS)
def test_the_process_does_not_grow(name, abuse):
    if not abuse.long:
        pytest.skip("1,000 fits take a minute: make fuzz")
    model = ESTIMATORS[name]()
    for _ in range(100):
        model.fit(X, Y).predict(X)
    before = resident()
    for _ in range(1000):
        model.fit(X, Y).predict(X)
    grown = resident() - before
    abuse.counts["fits one after the other"] += 1000
    abuse.counts[f"KiB by which the process grew over 1,000 fits of {name}"] = round(grown * 1024)
    assert grown < MEBIBYTES_OVER_LONG_RUN
