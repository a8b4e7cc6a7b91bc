"""A fit leaves nothing in memory but the fitted estimator."""
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
# pandas and torch free some memory later. A fit that keeps its rows keeps at least two columns of
# 16,000 bytes.
BYTES_PER_FIT = 12_000
MEBIBYTES_OVER_LONG_RUN = 8  # of the process, whose memory grows in large steps
# This runs in a new process, which has no freed memory that would hide a leak.
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
    """Bytes of Python objects, and tensors, that each fit adds to the memory."""
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
    gc.freeze()  # skip all earlier objects
    tracemalloc.start()
    yield
    tracemalloc.stop()
    gc.unfreeze()


@pytest.mark.parametrize("name", ESTIMATORS)
def test_fits_do_not_add_to_the_memory(name, traced):
    model = ESTIMATORS[name]()
    growth(model, 2)  # the first fits fill caches
    n_bytes, n_tensors = growth(model, 5)
    assert n_bytes < BYTES_PER_FIT
    assert n_tensors == 0


@pytest.mark.parametrize("kept", [X["user"].to_numpy(), torch.zeros(1)])
def test_a_leak_is_noticed(traced, kept):
    class Leak(list):
        def fit(self, X, Y):
            self.extend([deepcopy(kept), deepcopy(kept)])
            return self

        def predict(self, X):
            pass

    n_bytes, n_tensors = growth(Leak(), 5)
    assert n_bytes > BYTES_PER_FIT or n_tensors == 2


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the figure is Linux's")
@pytest.mark.parametrize("name", ESTIMATORS)
def test_the_process_does_not_grow(name, abuse):
    if not abuse.is_long:
        pytest.skip("1,000 fits take a minute: make fuzz")
    command = [sys.executable, "-W", "ignore", "-c", LONG_RUN, str(Path(__file__).parent), name]
    grown = int(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    abuse.counts[f"KiB that the process grew in 1,000 fits of {name}"] = grown // 1024
    assert grown < MEBIBYTES_OVER_LONG_RUN * 2**20
