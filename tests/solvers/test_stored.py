"""Training data in files: the same batches as in memory, and errors of the disk."""
# SPDX-License-Identifier: BSD-3-Clause

import errno
import io
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


def test_mean_and_scale_are_weighted_and_stable(tmp_path, rows):
    users, items, ratings, weight = rows
    found = stored(tmp_path, (users, items, ratings + 1e6, weight)).statistics
    assert found.mean == pytest.approx(np.average(ratings, weights=weight) + 1e6, abs=1e-6)
    variance = np.average((ratings - (found.mean - 1e6)) ** 2, weights=weight)
    assert found.scale == pytest.approx(variance**0.5, rel=1e-9)
    assert found.weight == N


def test_equal_ratings_have_scale_1_and_equal_weights_are_left_out(tmp_path, rows):
    store = stored(tmp_path, (*rows[:2], np.full(N, 4.0), np.full(N, 3.0)))
    assert (store.statistics.mean, store.statistics.scale) == (4.0, 1.0)
    assert all(set(X) == {"users", "items"} for X, _ in store.batches(500))


def test_batches_are_on_the_device(tmp_path, rows):
    store = stored(tmp_path, rows).to("meta")
    X, y = next(store.batches(10))
    assert {tensor.device.type for tensor in (*X.values(), y)} == {"meta"}


def test_seen_by_users_has_the_interactions_of_all_stores(tmp_path, rows):
    (tmp_path / "other").mkdir()
    stores = [stored(tmp_path, rows), stored(tmp_path / "other", [v[::-1] for v in rows])]
    stores.append(StoredInteractions(tmp_path / "empty", np.random.RandomState(0)))
    seen = seen_by_users(stores, 205, 60)
    expected = np.zeros((205, 60), dtype=bool)
    expected[rows[0], rows[1]] = True
    assert seen.dtype == bool
    assert seen.indices.dtype == np.int32
    assert seen.has_canonical_format
    assert seen.nnz == expected.sum()
    np.testing.assert_array_equal(seen.toarray(), expected)


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


def test_a_full_disk_is_an_error_with_advice(tmp_path, rows, monkeypatch):
    class FullFile(io.BytesIO):
        def write(self, data):
            raise OSError(errno.ENOSPC, "No space left on device")

    store = stored(tmp_path, rows)
    monkeypatch.setattr(stored_module, "open", lambda *args: FullFile(), raising=False)
    message = rf"could not be written to {re.escape(str(tmp_path))} after .* No space.*TMPDIR"
    with pytest.raises(OSError, match=message) as caught:
        store.append(*rows)
    assert caught.value.errno == errno.ENOSPC


def test_a_file_that_another_program_changed_is_an_error(tmp_path, rows):
    store = stored(tmp_path, rows)
    n_rows = len(ratings_of(store))
    path = sorted((tmp_path / "rows").iterdir())[3]
    path.write_bytes(path.read_bytes()[:-12])
    message = rf"{re.escape(str(path))} should hold \d+ ratings but holds \d+: .* Fit again"
    with pytest.raises(OSError, match=message):
        ratings_of(store)
    assert n_rows == N
