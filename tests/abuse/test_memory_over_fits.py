"""Fits one after the other, of which nothing may be left but the last."""
# SPDX-License-Identifier: BSD-3-Clause

import gc
import os
import tracemalloc
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from fitted_models import ESTIMATORS

from sklrec.datasets import make_ratings

X, Y = make_ratings(60, 40, n_ratings=2000, random_state=0)
# pandas and torch keep some of what they are asked for, and let go of it later. A fit that leaves
# its rows somewhere leaves two columns of 16,000 bytes at least.
BYTES_PER_FIT = 12_000
# Of the process as a whole, which the allocator makes grow by leaps.
MEBIBYTES_OVER_LONG_RUN = 24


def resident():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def growth(model, n_fits):
    """By how many bytes and tensors all that is alive grows with each fit.

    What tensors hold is not among the bytes: it is not Python's to trace.
    """
    found = []
    for n in (0, n_fits):
        for _ in range(n):
            model.fit(X, Y).predict(X)
        gc.collect()
        n_tensors = sum(torch.Tensor in type(thing).__mro__ for thing in gc.get_objects())
        found.append((tracemalloc.get_traced_memory()[0], n_tensors))
    return [(after - before) / n_fits for before, after in zip(*found, strict=True)]


@pytest.fixture
def traced():
    gc.collect()
    gc.freeze()  # what was there before is not looked through
    tracemalloc.start()
    yield
    tracemalloc.stop()
    gc.unfreeze()


@pytest.mark.parametrize("name", ESTIMATORS)
def test_nothing_is_left_of_a_fit(name, traced):
    model = ESTIMATORS[name]()
    growth(model, 2)  # what is made once
    n_bytes, n_tensors = growth(model, 5)
    assert n_bytes < BYTES_PER_FIT
    assert n_tensors == 0


@pytest.mark.parametrize("kept", [X["user"].to_numpy(), torch.zeros(1)])
def test_what_is_left_is_noticed(traced, kept):
    class Keeps(list):
        def fit(self, X, Y):
            self.extend([deepcopy(kept), deepcopy(kept)])
            return self

        def predict(self, X):
            pass

    n_bytes, n_tensors = growth(Keeps(), 5)
    assert n_bytes > BYTES_PER_FIT or n_tensors == 2


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
