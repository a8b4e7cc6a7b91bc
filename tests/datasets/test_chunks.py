"""Ratings in chunks: iterables, arrays and Parquet files."""
# SPDX-License-Identifier: BSD-3-Clause

import mmap
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from sklrec import BiasRegressor, MFRegressor
from sklrec.datasets import ArrayRatings, ChunkedRatings, ParquetRatings


@pytest.fixture
def frame():
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "user": rng.integers(50, size=1_000),
            "item": rng.integers(20, size=1_000),
            "day": np.arange(1_000),
            "stars": rng.integers(1, 6, size=1_000).astype(float),
            "trust": rng.random(1_000),
        }
    )


def test_the_index_of_pandas_is_a_column_like_any_other(frame, tmp_path):
    frame.set_index("user").to_parquet(tmp_path / "log.parquet")
    ratings = ParquetRatings(tmp_path, rating="stars", columns=["user", "item", "day"])
    found = pd.concat([X for X, _, _ in ratings], ignore_index=True)
    pd.testing.assert_frame_equal(found, frame[["user", "item", "day"]])


def test_a_file_may_have_empty_columns_or_no_rows(frame, tmp_path):
    frame[:0].astype(object).to_parquet(tmp_path / "a.parquet")
    frame[:500].assign(comment="nice").to_parquet(tmp_path / "b.parquet")
    frame[500:].assign(comment=None).to_parquet(tmp_path / "c.parquet")
    ratings = ParquetRatings(tmp_path, rating="stars", columns=["user", "item"])
    assert BiasRegressor().fit(*joined(ratings)[:2]).n_features_in_ == 2
    model = MFRegressor(n_factors=2, max_epochs=1, random_state=0).fit(ratings)
    assert model.n_ratings_ == len(frame[["user", "item"]].drop_duplicates())


def joined(ratings):
    """Concatenate all chunks."""
    chunks = list(ratings)
    X = np.concatenate([np.asarray(X) for X, _, _ in chunks])
    y = np.concatenate([np.asarray(y) for _, y, _ in chunks])
    weights = [weight for _, _, weight in chunks]
    return X, y, None if weights[0] is None else np.concatenate(weights)


def test_chunks_are_yielded_unchanged():
    X, y, weight = np.zeros((2, 2)), [1.0, 2.0], [1.0, 3.0]
    assert list(ChunkedRatings([(X, y), [X, y, weight]])) == [(X, y, None), (X, y, weight)]


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: ChunkedRatings(["abc"]), ValueError, r"chunk 0 must be a tuple .*, got a str\."),
        (lambda: ChunkedRatings([(1,) * 4]), ValueError, r"chunk 0 must .*, got a tuple of 4\."),
        (lambda: ChunkedRatings(3), TypeError, "chunks must be an iterable of"),
        (
            lambda: ArrayRatings([1], [1], chunk_size=0),
            ValueError,
            "chunk_size must be an integer of",
        ),
        (
            lambda: ParquetRatings("x", rating="stars", chunk_size=2.5),
            ValueError,
            "chunk_size must be an integer of at least 1, got 2.5",
        ),
        (
            lambda: ArrayRatings(np.zeros((3, 2)), np.zeros(2)),
            ValueError,
            r"inconsistent numbers of samples: \[3, 2\]",
        ),
        (
            lambda: ParquetRatings(pd.DataFrame(), rating="stars"),
            TypeError,
            "source must be the path of a Parquet file",
        ),
    ],
)
def test_bad_sources_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        list(make())


def test_arrays_are_read_slice_by_slice(frame, tmp_path):
    ids = frame[["user", "item"]].to_numpy()
    np.save(tmp_path / "ids.npy", ids)
    mapped = np.load(tmp_path / "ids.npy", mmap_mode="r")
    ratings = ArrayRatings(mapped, frame["stars"], frame["trust"], chunk_size=300)
    assert [len(y) for _, y, _ in ratings] == [300, 300, 300, 100]
    assert not any(isinstance(X, np.memmap) for X, _, _ in ratings)
    X, y, weight = joined(ratings)
    np.testing.assert_array_equal(X, ids)
    np.testing.assert_array_equal(y, frame["stars"])
    np.testing.assert_array_equal(weight, frame["trust"])


@pytest.mark.skipif(not hasattr(mmap, "MADV_DONTNEED"), reason="the system has no madvise")
def test_pages_that_were_read_are_given_back(tmp_path):
    np.save(tmp_path / "ids.npy", np.ones((4_000_000, 2), dtype=np.int32))
    mapped = np.load(tmp_path / "ids.npy", mmap_mode="r")
    path = tmp_path / "ids.npy"

    def resident():
        text = open("/proc/self/smaps").read()
        entry = text[text.index(str(path)) :]
        return int(entry[entry.index("Rss:") :].split()[1])  # kB

    for _ in ArrayRatings(mapped, np.ones(4_000_000, dtype=np.float32), chunk_size=500_000):
        assert resident() < 8_000  # of 32,000


def test_private_changes_to_a_mapped_array_survive(tmp_path):
    np.save(tmp_path / "ids.npy", np.zeros((10, 2)))
    mapped = np.load(tmp_path / "ids.npy", mmap_mode="c")
    mapped[3] = 7
    X, _, _ = joined(ArrayRatings(mapped, np.ones(10), chunk_size=4))
    assert X[3].tolist() == [7, 7]
    assert mapped[3].tolist() == [7, 7]


def test_a_folder_of_parquet_files(frame, tmp_path):
    frame[:400].to_parquet(tmp_path / "a.parquet", row_group_size=70)
    frame[400:].to_parquet(tmp_path / "b.parquet")
    for source in (tmp_path, str(tmp_path), ds.dataset(tmp_path)):
        ratings = ParquetRatings(source, rating="stars", sample_weight="trust", chunk_size=150)
        X, y, weight = joined(ratings)
        np.testing.assert_array_equal(X, frame[["user", "item", "day"]])
        np.testing.assert_array_equal(y, frame["stars"])
        np.testing.assert_array_equal(weight, frame["trust"])
        assert max(len(y) for _, y, _ in ratings) < 300
        assert next(list(X) for X, _, _ in ratings) == ["user", "item", "day"]


def test_datasets_with_partitions_or_in_another_format(frame, tmp_path):
    frame["year"] = np.where(frame["day"] < 300, 2001, 2002)
    table = pa.Table.from_pandas(frame, preserve_index=False)
    pq.write_to_dataset(table, tmp_path, partition_cols=["year"])
    frame.drop(columns="year").to_csv(tmp_path / "a.csv", index=False)
    for dataset, columns in (
        (ds.dataset(tmp_path, partitioning="hive", exclude_invalid_files=True), ["year", "user"]),
        (ds.dataset(tmp_path / "a.csv", format="csv"), ["item", "user"]),
    ):
        X, y, weight = joined(ParquetRatings(dataset, rating="stars", columns=columns))
        np.testing.assert_array_equal(X, frame[columns])
        np.testing.assert_array_equal(y, frame["stars"])
        assert weight is None


def test_equal_kinds_of_columns_can_be_mixed(tmp_path):
    first = pa.table({"user": ["a", "b"], "item": [1, 2], "stars": [1, 2]})
    second = pa.table(
        {
            "user": pa.array(["b", "c"]).dictionary_encode(),
            "item": pa.array([1, 2], pa.int16()),
            "stars": [1.5, 2.5],
        }
    )
    pq.write_table(first, tmp_path / "a.parquet")
    pq.write_table(second, tmp_path / "b.parquet")
    X, y, _ = joined(ParquetRatings(tmp_path, rating="stars"))
    assert X.tolist() == [["a", 1], ["b", 2], ["b", 1], ["c", 2]]
    assert y.tolist() == [1, 2, 1.5, 2.5]


def test_empty_row_groups_and_files_are_skipped(frame, tmp_path):
    table = pa.Table.from_pandas(frame, preserve_index=False)
    with pq.ParquetWriter(tmp_path / "a.parquet", table.schema) as writer:
        for part in (table[:0], table[:500], table[:0], table[500:], table[:0]):
            writer.write_table(part)
    pq.write_table(table[:0], tmp_path / "b.parquet")
    X, _, _ = joined(ParquetRatings(tmp_path, rating="stars"))
    assert len(X) == 1_000


def test_a_damaged_file_is_named(frame, tmp_path):
    frame.to_parquet(tmp_path / "a.parquet")
    frame.to_parquet(tmp_path / "b.parquet", compression="gzip")
    whole = (tmp_path / "b.parquet").read_bytes()
    for cut in (0, 100, len(whole) // 2, len(whole) - 1):
        (tmp_path / "b.parquet").write_bytes(whole[:cut])
        with pytest.raises(ValueError, match=r"b\.parquet cannot be read.*leave it out"):
            list(ParquetRatings(tmp_path, rating="stars"))
    damaged = bytearray(whole)
    damaged[4:2_000] = bytes(1_996)
    (tmp_path / "b.parquet").write_bytes(damaged)
    with pytest.raises((ValueError, OSError), match=r"b\.parquet cannot be read"):
        list(ParquetRatings(tmp_path / "b.parquet", rating="stars"))


def test_a_missing_path_and_an_empty_folder(tmp_path):
    with pytest.raises(OSError, match="nothing cannot be read"):
        list(ParquetRatings(tmp_path / "nothing", rating="stars"))
    with pytest.raises(ValueError, match="holds no Parquet file"):
        list(ParquetRatings(tmp_path, rating="stars"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"rating": "rating"},
            r"has no column 'rating'; it has 'user', 'item', 'day', .*\. Give rating= one of th",
        ),
        ({"columns": ["user", "day2"]}, r"no column 'day2'; it has .*\. Give columns= one of"),
        ({"sample_weight": "w"}, r"no column 'w'; it has .*\. Give sample_weight= one of these"),
        ({"columns": ["user", "stars"]}, "'stars' holds ratings or weights. Remove it from col"),
    ],
)
def test_wrong_columns_are_named(frame, tmp_path, options, message):
    frame.to_parquet(tmp_path / "a.parquet")
    with pytest.raises(ValueError, match=message):
        list(ParquetRatings(tmp_path, **{"rating": "stars", **options}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda frame: frame.drop(columns="item"), r"b\.parquet has no column 'item'; it has"),
        (
            lambda frame: frame.astype({"user": str}),
            r"'user' is of type (large_)?string in .*b\.parquet, but of type int64 in .*a\.par",
        ),
    ],
)
def test_files_with_other_columns_are_named(frame, tmp_path, change, message):
    frame.to_parquet(tmp_path / "a.parquet")
    change(frame).to_parquet(tmp_path / "b.parquet")
    with pytest.raises(ValueError, match=message):
        list(ParquetRatings(tmp_path, rating="stars"))


def test_without_pyarrow_the_extra_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "pyarrow.dataset", None)
    with pytest.raises(ImportError, match=r"pip install 'sklrec\[parquet\]'"):
        list(ParquetRatings(tmp_path, rating="stars"))
