"""Training data in files: the same batches as in memory, and errors of the disk."""
# SPDX-License-Identifier: BSD-3-Clause

import re
import tracemalloc

import numpy as np
import pytest
import torch

from sklrec._solvers import stored as stored_module
from sklrec._solvers.stored import StoredInteractions, seen_by_users
from sklrec._solvers.tensors import InteractionTensors

N = 5_000


@pytest.fixture
def rows():
    rng = np.random.default_rng(0)
    users, items = rng.integers(1, 200, size=N), rng.integers(1, 50, size=N)
    return users, items, np.arange(N) / 1_000, rng.random(N) + 0.5


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    monkeypatch.setattr(stored_module, "BLOCK_ROWS", 700)


def stored(folder, rows, seed=0, weighted=True):
    store = StoredInteractions(folder / "rows", np.random.RandomState(seed))
    for first in range(0, N, 900):
        users, items, ratings, weight = (values[first : first + 900] for values in rows)
        store.append(users, items, ratings, weight if weighted else None)
    return store


def tensors(rows, weighted=True):
    users, items, ratings, weight = map(torch.from_numpy, rows)
    weight = (weight / weight.mean()).float() if weighted else None
    return InteractionTensors({"users": users, "items": items}, ratings.float(), weight)


def generator():
    return torch.Generator().manual_seed(0)


def ratings_of(store, generator=None):
    return torch.cat([y for _, y in store.batches(64, generator)])


@pytest.mark.parametrize("batch_size", [1, 64, 700, 3_000, N, 2 * N])
def test_an_epoch_has_every_row_once_in_full_batches(tmp_path, rows, batch_size):
    store = stored(tmp_path, rows)
    batches = list(store.batches(batch_size, generator()))
    sizes = [len(y) for _, y in batches]
    assert len(sizes) == store.n_batches(batch_size)
    assert sizes == [batch_size] * (N // batch_size) + [N % batch_size] * (N % batch_size > 0)
    found = torch.cat([y for _, y in batches])
    order = found.argsort()
    assert torch.equal(found[order], torch.from_numpy(rows[2]).float())
    for name, values in (("users", rows[0]), ("items", rows[1])):
        codes = torch.cat([X[name] for X, _ in batches])
        assert codes.dtype == torch.int64
        assert torch.equal(codes[order], torch.from_numpy(values))
    weight = torch.cat([X["sample_weight"] for X, _ in batches])[order]
    torch.testing.assert_close(weight, tensors(rows).X["sample_weight"])


def test_the_order_is_random_in_each_epoch_and_comes_from_the_seed(tmp_path, rows):
    store, order = stored(tmp_path, rows), generator()
    one, two = ratings_of(store, order), ratings_of(store, order)
    # The rows came in order. Ranks of neighbours are now unrelated, and so are two epochs.
    for pair in ((one[1:], one[:-1]), (one, np.arange(N)), (one, two)):
        assert abs(np.corrcoef(*pair)[0, 1]) < 0.05
    (tmp_path / "again").mkdir()
    assert torch.equal(one, ratings_of(stored(tmp_path / "again", rows), generator()))
    assert torch.equal(ratings_of(store), ratings_of(store))  # no generator, no random order


@pytest.mark.parametrize("weighted", [False, True])
def test_sums_are_equal_to_sums_in_memory(tmp_path, rows, weighted):
    store, in_memory = stored(tmp_path, rows, weighted=weighted), tensors(rows, weighted)
    for name, n_rows in (("users", 210), ("items", 50)):
        found, expected = (data.row_weights(name, n_rows) for data in (store, in_memory))
        torch.testing.assert_close(found, expected)
    mean = torch.tensor(2.0)
    assert store.mean_square(mean) == pytest.approx(in_memory.mean_square(mean), rel=1e-5)


def test_only_a_few_blocks_are_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(stored_module, "BLOCK_ROWS", 2**15)
    store = StoredInteractions(tmp_path / "rows", np.random.RandomState(0))
    codes, ratings = np.arange(2**14) % 500, np.arange(2**14) / 1e4
    tracemalloc.start()
    for _ in range(64):
        store.append(codes, codes, ratings, None)
    for _ in store.batches(4_096, generator()):
        pass
    seen_by_users([store], 500, 500)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(store) == 2**20
    assert peak < 9e6  # 12.6e6 bytes are on disk; the matrix takes 5.2e6


def test_a_file_that_another_program_changed_is_an_error(tmp_path, rows):
    store = stored(tmp_path, rows)
    n_rows = len(ratings_of(store))
    path = sorted((tmp_path / "rows").iterdir())[3]
    path.write_bytes(path.read_bytes()[:-12])
    message = rf"{re.escape(str(path))} should hold \d+ ratings but holds \d+: .* Fit again"
    with pytest.raises(OSError, match=message):
        ratings_of(store)
    assert n_rows == N
