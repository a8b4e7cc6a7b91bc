"""Ratings that come in chunks: what `fit` reads without ever holding all of them."""
# SPDX-License-Identifier: BSD-3-Clause

import mmap
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

# Rows in a chunk by default: few enough to add little to a model's memory, enough to keep busy.
CHUNK_SIZE = 2**15


class Chunk(NamedTuple):
    """Some of the ratings.

    Parameters
    ----------
    where : str
        What to call it in a message.
    X : {DataFrame, array-like} of shape (n_rows, n_features)
        The interactions.
    y : array-like of shape (n_rows,)
        The ratings.
    weight : array-like of shape (n_rows,) or None
        Weight of each rating.
    """

    where: str
    X: Any
    y: Any
    weight: Any


class ChunkedRatings:
    """Ratings that come in chunks, from anything that can be iterated over.

    An estimator that is given such an object in place of X reads it once, from the first chunk
    to the last, and holds one chunk at a time.

    Parameters
    ----------
    chunks : iterable of (X, y) or (X, y, sample_weight)
        The chunks: interactions as a DataFrame or an array, their ratings and, in all chunks or
        in none, the ratings' weights. A generator will do. All chunks have the same columns.

    See Also
    --------
    ParquetRatings : Reads Parquet files.
    ArrayRatings : Reads arrays, also those that stay on disk.

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
        """Give X, y and the weights (``None`` where there are none) of one chunk after another."""
        for chunk in self._chunks():
            yield chunk.X, chunk.y, chunk.weight

    def _chunks(self) -> Iterator[Chunk]:
        """The chunks, each with what to call it."""
        if not isinstance(self.chunks, Iterable):
            raise TypeError(
                "chunks must be an iterable of (X, y) or (X, y, sample_weight), got "
                f"{self.chunks!r} of type {type(self.chunks).__name__}."
            )
        for k, chunk in enumerate(self.chunks):
            where = f"chunk {k}"
            if not isinstance(chunk, tuple | list) or len(chunk) not in (2, 3):
                got = type(chunk).__name__
                if isinstance(chunk, tuple | list):
                    got = f"a {got} of {len(chunk)}"
                raise ValueError(
                    f"{where} is {got} where a tuple (X, y) or (X, y, sample_weight) was "
                    "expected. Let the iterable yield such tuples."
                )
            yield Chunk(where, *chunk, *[None] * (3 - len(chunk)))


class ArrayRatings(ChunkedRatings):
    """Ratings in arrays that are read slice by slice, such as memory-mapped ones.

    Of an array that was opened with ``numpy.load(path, mmap_mode="r")``, or as a read-only
    `numpy.memmap`, what was read is given back to the system, so that no more than a chunk is in
    memory.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        The interactions, a row each, with a column of user IDs and one of item IDs.
    y : ndarray of shape (n_samples,)
        The ratings.
    sample_weight : ndarray of shape (n_samples,), default=None
        Weight of each rating.
    chunk_size : int, default=32768
        Rows in a chunk.

    See Also
    --------
    ParquetRatings : Reads Parquet files.
    ChunkedRatings : Reads anything that can be iterated over.

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
        self.chunk_size = check_chunk_size(chunk_size)

    def _chunks(self) -> Iterator[Chunk]:
        given = {"X": self.X, "y": self.y, "sample_weight": self.sample_weight}
        arrays = {name: values for name, values in given.items() if values is not None}
        lengths = {name: len(values) for name, values in arrays.items()}
        if len(set(lengths.values())) > 1:
            found = ", ".join(f"{name} has {n}" for name, n in lengths.items())
            raise ValueError(f"The arrays must have as many rows as each other: {found}.")
        for first in range(0, lengths["X"], self.chunk_size):
            rows = slice(first, min(first + self.chunk_size, lengths["X"]))
            parts = {name: _read(values, rows) for name, values in arrays.items()}
            where = f"rows {rows.start} to {rows.stop - 1}"
            yield Chunk(where, parts["X"], parts["y"], parts.get("sample_weight"))


def check_chunk_size(chunk_size: Any) -> int:
    """Check how many rows a chunk is to have.

    Parameters
    ----------
    chunk_size : int
        Rows in a chunk.

    Returns
    -------
    int
        The same.

    Raises
    ------
    ValueError
        If it is not a positive integer.
    """
    if not isinstance(chunk_size, int | np.integer) or chunk_size < 1:
        raise ValueError(f"chunk_size must be a positive integer, got {chunk_size!r}.")
    return int(chunk_size)


def _read(values: Any, rows: slice) -> Any:
    """Some rows, copied out of a mapped file, whose pages are then given back."""
    if not isinstance(values, np.memmap):
        return values[rows]
    read = np.array(values[rows])
    mapped = values._mmap  # type: ignore[attr-defined]
    # Private changes (mode "c") live in those pages alone.
    if values.mode in ("r", "r+") and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)
    return read
