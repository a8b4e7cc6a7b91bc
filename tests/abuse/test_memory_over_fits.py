"""Fits one after the other, of which nothing may be left but the last."""
# SPDX-License-Identifier: BSD-3-Clause

import gc
import subprocess
import sys
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
# Of the process as a whole, which the allocator makes grow by leaps: a thousandth of it a fit.
MEBIBYTES_OVER_LONG_RUN = 8
# In a process of its own, which has no freed memory that would hide what is kept.
LONG_RUN = """
import os
import sys
from pathlib import Path
sys.path.append(sys.argv[1])
import torch
torch.set_num_threads(1)
from fitted_models import ESTIMATORS, X, Y

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

model = ESTIMATORS[sys.argv[2]]()
for n_fits in (200, 1000):
    before = resident()
    for _ in range(n_fits):
        model.fit(X, Y).predict(X)
print(resident() - before)
"""


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
    command = [sys.executable, "-W", "ignore", "-c", LONG_RUN, str(Path(__file__).parent), name]
    run = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    grown = int(run.stdout) / 2**20
    abuse.counts["fits one after the other"] += 1000
    abuse.counts[f"KiB by which the process grew over 1,000 fits of {name}"] = round(grown * 1024)
    assert grown < MEBIBYTES_OVER_LONG_RUN
