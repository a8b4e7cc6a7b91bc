"""What torch runs on: the number of threads, and memory that is kept for the next batch."""
# SPDX-License-Identifier: BSD-3-Clause

import os
import platform
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Thread

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback

from sklrec import BayesianMFRegressor, DenseRecRegressor, MFRegressor, SequenceRatingRegressor
from sklrec._solvers.variational import Posterior
from sklrec._utils.runtime import (
    BATCHES_PER_SWEEP,
    VALUES_PER_THREAD,
    own_settings,
    threads_for,
    threads_for_sweeps,
)
from sklrec.datasets import make_ratings

X, Y = make_ratings(30, 20, n_ratings=200, random_state=0)
SMALL = 1, 1


@pytest.fixture(autouse=True)
def three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def in_new_thread(function):
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result()


def assert_three_threads():
    assert torch.get_num_threads() == 3
    assert in_new_thread(torch.get_num_threads) == 3


@pytest.mark.parametrize(
    ("rows", "columns", "n_threads"),
    [
        (0, 8, 1),
        (1, 8, 1),
        (VALUES_PER_THREAD, 1, 1),
        (VALUES_PER_THREAD // 4, 8, 2),
        (VALUES_PER_THREAD, 3, 3),
        (VALUES_PER_THREAD, 300, 3),  # never more than there were
    ],
)
def test_the_number_follows_the_size_of_the_batch(rows, columns, n_threads):
    with threads_for(rows, columns):
        assert torch.get_num_threads() == n_threads
    with threads_for_sweeps(rows * BATCHES_PER_SWEEP, columns):
        assert torch.get_num_threads() == n_threads
    assert_three_threads()


def test_blocks_of_two_threads_share_the_default_dtype():
    torch.set_default_dtype(torch.float64)
    try:
        first, second = own_settings(), own_settings()
        with first:
            second.__enter__()
        assert torch.get_default_dtype() is torch.float32  # the second block still runs
        second.__exit__(None, None, None)
        assert torch.get_default_dtype() is torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


def test_an_inner_block_can_only_lower_the_number():
    with threads_for(VALUES_PER_THREAD, 2):
        with threads_for(*SMALL):
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
        with threads_for(VALUES_PER_THREAD, 3):
            assert torch.get_num_threads() == 2
        assert torch.get_num_threads() == 2
    assert_three_threads()


def test_it_works_if_no_thread_can_start(monkeypatch):
    def refuse(thread):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(Thread, "start", refuse)
        with threads_for(*SMALL):
            assert torch.get_num_threads() == 1
    assert_three_threads()


def test_other_threads_keep_their_number():
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(torch.get_num_threads).result() == 3
        with threads_for(*SMALL):
            assert pool.submit(torch.get_num_threads).result() == 3
            assert in_new_thread(torch.get_num_threads) == 3
        assert pool.submit(torch.get_num_threads).result() == 3


@pytest.mark.parametrize("first_out", [0, 1])
def test_two_overlapping_blocks(first_out):
    entered, left = Barrier(2, timeout=10), Barrier(2, timeout=10)

    def work(turn):
        if turn == 1:
            entered.wait()  # this thread first uses torch while the other is inside
        with threads_for(*SMALL):
            inside = torch.get_num_threads()
            if turn == 0:
                entered.wait()
            if turn != first_out:
                left.wait()
        after = torch.get_num_threads()
        if turn == first_out:
            left.wait()
        return inside, after

    for _ in range(20):
        with ThreadPoolExecutor(2) as pool:
            assert list(pool.map(work, [0, 1])) == [(1, 3), (1, 3)]
        assert_three_threads()


class Spy(Callback):
    """Note the number of threads, and raise an error if there is one."""

    def __init__(self, seen=None, error=None):
        self.seen = seen
        self.error = error

    def on_batch_end(self, net, **kwargs):
        if self.seen is not None:
            self.seen.append(torch.get_num_threads())
        if self.error is not None:
            raise self.error


@pytest.mark.parametrize(
    "model",
    [
        MFRegressor(max_epochs=2),
        MFRegressor(optimizer=torch.optim.Adam, max_epochs=2),
        DenseRecRegressor(max_epochs=2),
        SequenceRatingRegressor(max_epochs=2),
    ],
    ids=str,
)
def test_minibatch_training_lowers_the_number(model):
    seen = []
    model.set_params(callbacks=[Spy(seen)], random_state=0).fit(X, Y).predict(X)
    assert set(seen) == {1}
    assert_three_threads()
    with pytest.raises(ValueError, match="spy"):
        model.set_params(callbacks=[Spy(error=ValueError("spy"))]).fit(X, Y)
    assert_three_threads()
    with pytest.raises(KeyboardInterrupt), pytest.warns(UserWarning, match="interrupted"):
        model.set_params(callbacks=[Spy(error=KeyboardInterrupt())]).fit(X, Y)
    assert_three_threads()


def test_predictions_of_few_rows_lower_the_number(monkeypatch):
    model = MFRegressor(n_factors=100, max_epochs=1, random_state=0).fit(X, Y)
    enough_for_two = 2 * VALUES_PER_THREAD // model.module_.width + 1
    seen, forward = [], model.module_.forward

    def spy(**inputs):
        seen.append(torch.get_num_threads())
        return forward(**inputs)

    monkeypatch.setattr(model.module_, "forward", spy)
    for n_rows in (1, len(X), enough_for_two):
        model.predict(X.iloc[np.arange(n_rows) % len(X)])
    assert seen == [1, 1, 2]
    assert_three_threads()


@pytest.mark.parametrize("error", [None, MemoryError, KeyboardInterrupt])
@pytest.mark.filterwarnings("ignore:Training was interrupted")
def test_sweeps_restore_the_number(monkeypatch, error):
    seen, sweep = [], Posterior.sweep

    def spy(*args):
        seen.append(torch.get_num_threads())
        if error is not None:
            raise error
        return sweep(*args)

    monkeypatch.setattr(Posterior, "sweep", spy)
    model = BayesianMFRegressor(n_iter=3, random_state=0)
    if error is None:
        model.fit(X, Y).predict(X)
    else:
        with pytest.raises(error):
            model.fit(X, Y)
    assert set(seen) == {1}
    assert_three_threads()


# --- memory

CODE = """
import resource
import torch
from sklrec._utils.runtime import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        tables = [torch.ones(4096, 100) for _ in range(4)]
        del tables
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

torch.set_num_threads(1)
keep_freed_memory(4096, 100)
faults()
print(faults())
"""
TRIM = {"MALLOC_TRIM_THRESHOLD_": "65536"}  # Dask sets this for its workers
BOTH = TRIM | {"MALLOC_MMAP_THRESHOLD_": "65536"}


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
@pytest.mark.parametrize("variables", [{}, TRIM, BOTH], ids=["none", "trim", "both"])
def test_page_faults(variables):
    """There are few, except where the user has set both variables of glibc."""
    others = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    command = [sys.executable, "-c", CODE]
    n_faults = int(subprocess.check_output(command, env=others | variables, text=True))
    assert n_faults > 10_000 if variables == BOTH else n_faults < 100
