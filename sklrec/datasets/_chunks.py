"""Ratings in chunks, which `fit` reads without holding all of them in memory."""
# SPDX-License-Identifier: BSD-3-Clause

import mmap
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from sklearn.utils import check_consistent_length, gen_batches

from sklrec._data.checks import check_positive

# Default number of rows in a chunk: it adds little to the memory of a model, and is large enough
# that the work on a chunk takes longer than the calls.
CHUNK_SIZE = 2**15


class Chunk(NamedTuple):
    """A part of the ratings."""

    where: str  # name of the chunk, for messages
    X: Any  # (n_rows, n_features)
    y: Any  # (n_rows,)
    weight: Any = None  # (n_rows,) or None


class ChunkedRatings:
    """Ratings in chunks, from any iterable.

    `fit` accepts such an object in place of X. It reads the chunks once, in their order, and holds
    one chunk at a time.

    Parameters
    ----------
    chunks : iterable of (X, y) or (X, y, sample_weight)
        The chunks: interactions as a DataFrame or an array, their ratings and, in all chunks or
        in none, the weights of the ratings. A generator is possible. All chunks have the same
        columns.

    See Also
    --------
    ParquetRatings : Reads Parquet files.
    ArrayRatings : Reads arrays in memory or on disk.

    Examples
    --------
    >>> from sklrec import MFRegressor
    >>> from sklrec.datasets import ChunkedRatings, make_ratings
    >>> X, y = make_ratings(n_users=100, n_items=50, n_ratings=2000, random_state=0)
    >>> def chunks():
    ...     for first in range(0, 2000, 500):
    ...         yield X[first : first + 500], y[first : first + 500]
    >>> mf = MFRegressor(n_factors=8, random_state=0).fit(ChunkedRatings(chunks()))
    >>> mf.predict(X[:3]).shape
    (3,)
    """

    def __init__(self, chunks: Iterable[Any]):
        self.chunks = chunks

    def __iter__(self) -> Iterator[tuple[Any, Any, Any]]:
        """Yield X, y and the weights (or None) of each chunk."""
        for chunk in self._chunks():
            yield chunk.X, chunk.y, chunk.weight

    def _chunks(self) -> Iterator[Chunk]:
        """Yield the chunks with their names."""
        if not isinstance(self.chunks, Iterable):
            raise TypeError(
                "chunks must be an iterable of (X, y) or (X, y, sample_weight), got "
                f"{self.chunks!r} of type {type(self.chunks).__name__}."
            )
        for k, chunk in enumerate(self.chunks):
            where = f"chunk {k}"
            if not isinstance(chunk, tuple | list) or len(chunk) not in (2, 3):
                length = f" of {len(chunk)}" if isinstance(chunk, tuple | list) else ""
                raise ValueError(
                    f"{where} must be a tuple (X, y) or (X, y, sample_weight), got a "
                    f"{type(chunk).__name__}{length}."
                )
            yield Chunk(where, *chunk)


class ArrayRatings(ChunkedRatings):
    """Ratings in arrays that are read slice by slice, such as memory-mapped arrays.

    Memory-mapped arrays (``numpy.load(path, mmap_mode="r")`` or a read-only `numpy.memmap`) give
    the pages of a chunk back to the system after reading. So only one chunk is in memory.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        The interactions, with a column of user IDs and a column of item IDs.
    y : ndarray of shape (n_samples,)
        The ratings.
    sample_weight : ndarray of shape (n_samples,), default=None
        Weight of each rating.
    chunk_size : int, default=32768
        Rows in a chunk.

    See Also
    --------
    ParquetRatings : Reads Parquet files.
    ChunkedRatings : Reads any iterable of chunks.

    Examples
    --------
    >>> import numpy as np
    >>> from tempfile import TemporaryDirectory
    >>> from sklrec import MFRegressor
    >>> from sklrec.datasets import ArrayRatings, make_ratings
    >>> X, y = make_ratings(n_users=100, n_items=50, n_ratings=2000, random_state=0)
    >>> with TemporaryDirectory() as folder:
    ...     np.save(f"{folder}/ids.npy", X[["user", "item"]])
    ...     ids = np.load(f"{folder}/ids.npy", mmap_mode="r")
    ...     mf = MFRegressor(n_factors=8, random_state=0).fit(ArrayRatings(ids, y))
    >>> mf.n_iter_
    15
    """

    def __init__(self, X: Any, y: Any, sample_weight: Any = None, *, chunk_size: int = CHUNK_SIZE):
        self.X = X
        self.y = y
        self.sample_weight = sample_weight
        self.chunk_size = check_positive(chunk_size, "chunk_size")

    def _chunks(self) -> Iterator[Chunk]:
        arrays = (self.X, self.y, self.sample_weight)
        check_consistent_length(*arrays)
        for rows in gen_batches(len(self.X), self.chunk_size):
            where = f"rows {rows.start} to {rows.stop - 1}"
            yield Chunk(where, *(_read(values, rows) for values in arrays))


def _read(values: Any, rows: slice) -> Any:
    """Return some rows; copy rows of a mapped file, and give its pages back to the system."""
    if values is None:
        return None
    if not isinstance(values, np.memmap):
        return values[rows]
    read = np.array(values[rows])
    # Private changes (mode "c") exist only in these pages.
    if values.mode in ("r", "r+") and hasattr(mmap, "MADV_DONTNEED"):
        values._mmap.madvise(mmap.MADV_DONTNEED)  # type: ignore[attr-defined]
    return read
