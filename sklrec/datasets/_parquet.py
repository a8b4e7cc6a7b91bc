"""Ratings in Parquet files, read a chunk at a time."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any

from sklrec.datasets._chunks import CHUNK_SIZE, Chunk, ChunkedRatings, check_chunk_size

if TYPE_CHECKING:
    import pyarrow

N_NAMES_SHOWN = 20
# Bytes of a column that are read at once.
READ_BYTES = 2**16


class ParquetRatings(ChunkedRatings):
    """Ratings in a Parquet file, or in a folder of them, that are read a chunk at a time.

    This object only says where the ratings are. It needs pyarrow, which comes with the extra
    ``sklrec[parquet]``.

    Parameters
    ----------
    source : str, PathLike or pyarrow.dataset.Dataset
        A Parquet file, a folder of Parquet files, or a dataset that was opened by pyarrow: with
        partitions, on a remote file system, or of another format.
    rating : str
        The column of ratings.
    columns : list of str, default=None
        The columns that make up X, in this order. ``None`` takes all but `rating` and
        `sample_weight`; it is faster not to read what the model does not use.
    sample_weight : str, default=None
        The column of the ratings' weights, if there is one.
    chunk_size : int, default=32768
        Rows in a chunk.

    See Also
    --------
    ArrayRatings : Reads arrays, also those that stay on disk.
    ChunkedRatings : Reads anything that can be iterated over.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from sklrec import MFRegressor
    >>> from sklrec.datasets import ParquetRatings, make_ratings
    >>> X, y = make_ratings(n_users=100, n_items=50, n_ratings=2000, random_state=0)
    >>> with TemporaryDirectory() as folder:
    ...     X.assign(rating=y).to_parquet(f"{folder}/ratings.parquet")
    ...     ratings = ParquetRatings(folder, rating="rating", columns=["user", "item"])
    ...     mf = MFRegressor(n_factors=8, random_state=0).fit(ratings)
    >>> mf.predict(X[["user", "item"]][:3]).shape
    (3,)
    """

    def __init__(
        self,
        source: Any,
        *,
        rating: str,
        columns: Sequence[str] | None = None,
        sample_weight: str | None = None,
        chunk_size: int = CHUNK_SIZE,
    ):
        self.source = source
        self.rating = rating
        self.columns = columns
        self.sample_weight = sample_weight
        self.chunk_size = check_chunk_size(chunk_size)

    def _chunks(self) -> Iterator[Chunk]:
        dataset = self._open()
        columns = self._columns(dataset)
        first: tuple[str, pyarrow.Schema] | None = None
        for k, fragment in enumerate(dataset.get_fragments()):
            path = getattr(fragment, "path", f"fragment {k}")
            with _named_errors(path):
                schema = _schema(dataset, fragment, [*columns, *self._of_ratings()], path)
            if first is None:
                first = path, schema
            _refuse_mixed_types(schema, path, *first[::-1])
            n_read = 0
            with _named_errors(path):
                for table in self._tables(fragment, schema):
                    where = f"{path}, rows {n_read} to {n_read + len(table) - 1}"
                    n_read += len(table)
                    frame = table.to_pandas(split_blocks=True)
                    of_ratings = [frame.pop(name) for name in self._of_ratings()]
                    del table  # lest it waits there for the next
                    yield Chunk(where, frame, *of_ratings, *[None] * (2 - len(of_ratings)))
                    del frame, of_ratings

    def _of_ratings(self) -> list[str]:
        """The columns that are not of X."""
        return [self.rating] if self.sample_weight is None else [self.rating, self.sample_weight]

    def _open(self) -> Any:
        try:
            import pyarrow.dataset
        except ImportError as error:
            raise ImportError(
                "ParquetRatings reads Parquet files with pyarrow, which is not installed. "
                "Install it with pip install 'sklrec[parquet]'."
            ) from error
        if isinstance(self.source, pyarrow.dataset.Dataset):
            return self.source
        if not isinstance(self.source, str | PathLike):
            raise TypeError(
                "source must be the path of a Parquet file, that of a folder, or a "
                f"pyarrow.dataset.Dataset, got {self.source!r} of type "
                f"{type(self.source).__name__}."
            )
        path = fspath(self.source)
        with _named_errors(path):
            dataset = pyarrow.dataset.dataset(path, format="parquet")
        if not dataset.files:
            raise ValueError(f"The folder {path} holds no Parquet file.")
        return dataset

    def _columns(self, dataset: Any) -> list[str]:
        """The columns of X."""
        there = dataset.schema.names
        given = [] if self.columns is None else list(self.columns)
        wanted = {"columns": given, "rating": [self.rating]}
        if self.sample_weight is not None:
            wanted["sample_weight"] = [self.sample_weight]
        for parameter, names in wanted.items():
            for name in names:
                if name not in there:
                    raise ValueError(
                        f"{_named(self.source)} has no column {name!r}; it has "
                        f"{_listed(there)}. Give {parameter}= a name that is there."
                    )
        for name in self._of_ratings():
            if name in given:
                raise ValueError(
                    f"Column {name!r} cannot be one of columns and hold ratings or weights too."
                )
        if self.columns is None:
            return [name for name in there if name not in self._of_ratings()]
        return given

    def _tables(self, fragment: Any, schema: "pyarrow.Schema") -> Iterator["pyarrow.Table"]:
        """The rows of a file, as many at once as a chunk takes."""
        from pyarrow import Table, default_memory_pool

        held, n_held = [], 0
        for batch in _batches(fragment, schema, self.chunk_size):
            held.append(batch)
            n_held += batch.num_rows
            del batch
            if n_held >= self.chunk_size:
                yield Table.from_batches(held)
                held, n_held = [], 0
                default_memory_pool().release_unused()
        if n_held:
            yield Table.from_batches(held)
        del held
        default_memory_pool().release_unused()


@contextmanager
def _named_errors(path: str) -> Iterator[None]:
    """Say which file it was that could not be read."""
    import pyarrow

    try:
        yield
    except (pyarrow.ArrowException, OSError) as error:
        kind = OSError if isinstance(error, OSError) else ValueError
        raise kind(
            f"{path} cannot be read: {error}. If whatever wrote it was cut short, write it anew, "
            "or leave it out."
        ) from error


def _batches(
    fragment: Any, schema: "pyarrow.Schema", batch_size: int
) -> Iterator["pyarrow.RecordBatch"]:
    """The rows of a file, none of them read ahead of the others."""
    from pyarrow import array
    from pyarrow.dataset import ParquetFileFragment, get_partition_keys
    from pyarrow.parquet import ParquetFile

    if not isinstance(fragment, ParquetFileFragment):
        yield from fragment.to_batches(
            columns=schema.names,
            schema=schema,
            batch_size=batch_size,
            batch_readahead=0,
            fragment_readahead=0,
            use_threads=False,
        )
        return
    # The fragment itself would decode whole groups of rows, often a million, at once.
    with ParquetFile(fragment.open(), pre_buffer=False, buffer_size=READ_BYTES) as file:
        of_partition = get_partition_keys(fragment.partition_expression)
        for batch in file.iter_batches(
            batch_size,
            row_groups=[group.id for group in fragment.row_groups],
            columns=[name for name in schema.names if name not in of_partition],
            use_threads=False,
        ):
            for name in set(schema.names) & set(of_partition):
                values = array([of_partition[name]] * len(batch), schema.field(name).type)
                batch = batch.append_column(name, values)
            yield batch.select(schema.names)


def _schema(dataset: Any, fragment: Any, names: list[str], path: str) -> "pyarrow.Schema":
    """The types that columns have in one file; pyarrow would fill in what it does not have."""
    import pyarrow
    from pyarrow.dataset import get_partition_keys

    own = fragment.physical_schema
    of_partition = get_partition_keys(fragment.partition_expression)
    for name in names:
        if name not in own.names and name not in of_partition:
            raise ValueError(
                f"{path} has no column {name!r}, unlike the files before it; it has "
                f"{_listed(own.names)}. All files must have the same columns."
            )
    return pyarrow.schema(
        [(own if name in own.names else dataset.schema).field(name) for name in names]
    )


def _refuse_mixed_types(
    schema: "pyarrow.Schema", path: str, first: "pyarrow.Schema", first_path: str
) -> None:
    """Raise if a column holds another kind of values than in the first file."""
    for field, of_first in zip(schema, first, strict=True):
        if _kind(field.type) != _kind(of_first.type):
            raise ValueError(
                f"Column {field.name!r} is of type {field.type} in {path} but of type "
                f"{of_first.type} in {first_path}. The same ID would be two: write all files with "
                "one type."
            )


def _kind(of_type: Any) -> str:
    """What types may stand for each other."""
    from pyarrow import types

    if types.is_dictionary(of_type):
        of_type = of_type.value_type
    if types.is_integer(of_type) or types.is_floating(of_type):
        return "number"
    if types.is_string(of_type) or types.is_large_string(of_type) or types.is_string_view(of_type):
        return "string"
    return str(of_type)


def _listed(names: list[str]) -> str:
    more = ", ..." if len(names) > N_NAMES_SHOWN else ""
    return ", ".join(map(repr, names[:N_NAMES_SHOWN])) + more


def _named(source: Any) -> str:
    return fspath(source) if isinstance(source, str | PathLike) else "The dataset"
