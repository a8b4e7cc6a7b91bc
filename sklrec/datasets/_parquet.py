"""Ratings in Parquet files that are read in chunks."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any

from sklrec._data.checks import check_positive
from sklrec._data.tables import as_pandas, listed
from sklrec._utils.extras import import_extra
from sklrec.datasets._chunks import CHUNK_SIZE, Chunk, ChunkedRatings

if TYPE_CHECKING:
    import pyarrow

READ_BYTES = 2**16  # of a column, read at once


class ParquetRatings(ChunkedRatings):
    """Ratings in a Parquet file, or in a folder of Parquet files, that are read in chunks.

    This class needs pyarrow, which ``pip install 'sklrec[parquet]'`` installs.

    Parameters
    ----------
    source : str, PathLike or pyarrow.dataset.Dataset
        A Parquet file, a folder of Parquet files, or a dataset that was opened by pyarrow, for
        example with partitions, on a remote file system, or in another format.
    rating : str
        The column of ratings.
    columns : list of str, default=None
        The columns of X, in this order. ``None`` takes all columns except `rating` and
        `sample_weight`. Reading is faster without columns that the model does not use.
    sample_weight : str, default=None
        The column with the weights of the ratings. None gives all ratings the weight 1.
    chunk_size : int, default=32768
        Number of rows in a chunk, at most.

    See Also
    --------
    ArrayRatings : Reads arrays in memory or on disk.
    ChunkedRatings : Reads any iterable of chunks.

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
        self.chunk_size = check_positive(chunk_size, "chunk_size")

    def _chunks(self) -> Iterator[Chunk]:
        dataset = self._open()
        from pyarrow import default_memory_pool

        targets = [self.rating]
        if self.sample_weight is not None:
            targets.append(self.sample_weight)
        names = [*self._columns(dataset.schema.names, targets), *targets]
        first: tuple[pyarrow.Schema, str] | None = None
        for k, fragment in enumerate(dataset.get_fragments()):
            path = getattr(fragment, "path", f"fragment {k}")
            n_read = 0
            with _named_errors(path):
                schema = _schema(dataset, fragment, names, path)
                first = first or (schema, path)
                _check_same_types(schema, path, *first)
                for batch in _batches(fragment, schema, self.chunk_size):
                    where = f"{path}, rows {n_read} to {n_read + len(batch) - 1}"
                    n_read += len(batch)
                    frame = as_pandas(batch)
                    ratings = [frame.pop(name) for name in targets]
                    del batch  # free its memory before the next one is read
                    yield Chunk(where, frame, *ratings)
                    del frame, ratings
                    default_memory_pool().release_unused()

    def _open(self) -> Any:
        datasets = import_extra("pyarrow.dataset", "parquet", "ParquetRatings")
        if isinstance(self.source, datasets.Dataset):
            return self.source
        if not isinstance(self.source, str | PathLike):
            raise TypeError(
                "source must be the path of a Parquet file, the path of a folder, or a "
                f"pyarrow.dataset.Dataset, got {self.source!r} of type "
                f"{type(self.source).__name__}."
            )
        path = fspath(self.source)
        with _named_errors(path):
            dataset = datasets.dataset(path, format="parquet")
        if not dataset.files:
            raise ValueError(f"The folder {path} holds no Parquet file. Give another folder.")
        return dataset

    def _columns(self, present: list[str], targets: list[str]) -> list[str]:
        """Check all columns, and return the columns of X."""
        given = [] if self.columns is None else list(self.columns)
        wanted = {"columns": given, "rating": targets[:1], "sample_weight": targets[1:]}
        for parameter, names in wanted.items():
            for name in names:
                if not isinstance(name, str):
                    raise TypeError(f"{parameter} must hold names of columns, got {name!r:.100}.")
                if name not in present:
                    is_path = isinstance(self.source, str | PathLike)
                    where = fspath(self.source) if is_path else "The dataset"
                    raise ValueError(
                        f"{where} has no column {name!r}; it has {listed(present)}. Give "
                        f"{parameter}= one of these names."
                    )
        for name in targets:
            if name in given:
                raise ValueError(
                    f"Column {name!r} holds ratings or weights. Remove it from columns."
                )
        if self.columns is None:
            return [name for name in present if name not in targets]
        return given


@contextmanager
def _named_errors(path: str) -> Iterator[None]:
    """Name the file in errors of reading."""
    import pyarrow

    try:
        yield
    except (pyarrow.ArrowException, OSError) as error:
        kind = OSError if isinstance(error, OSError) else ValueError
        raise kind(
            f"{path} cannot be read: {error}. If the file is incomplete, write it again or leave "
            "it out."
        ) from error


def _batches(
    fragment: Any, schema: "pyarrow.Schema", batch_size: int
) -> Iterator["pyarrow.RecordBatch"]:
    """Yield the rows of a file in batches, without reading ahead."""
    from pyarrow import array
    from pyarrow.dataset import ParquetFileFragment, get_partition_keys
    from pyarrow.parquet import ParquetFile

    if not isinstance(fragment, ParquetFileFragment):
        yield from fragment.to_batches(
            schema, batch_size=batch_size, batch_readahead=0, use_threads=False
        )
        return
    # fragment.to_batches would decode whole row groups, often of a million rows, at once.
    with ParquetFile(fragment.open(), pre_buffer=False, buffer_size=READ_BYTES) as file:
        partition = get_partition_keys(fragment.partition_expression)
        for batch in file.iter_batches(
            batch_size,
            row_groups=[group.id for group in fragment.row_groups],
            columns=[name for name in schema.names if name not in partition],
            use_threads=False,
        ):
            for name in set(schema.names) & set(partition):
                values = array([partition[name]] * len(batch), schema.field(name).type)
                batch = batch.append_column(name, values)
            yield batch.select(schema.names)


def _schema(dataset: Any, fragment: Any, names: list[str], path: str) -> "pyarrow.Schema":
    """Return the types of columns in one file, or raise if a column is missing."""
    import pyarrow
    from pyarrow.dataset import get_partition_keys

    own = fragment.physical_schema
    partition = get_partition_keys(fragment.partition_expression)
    for name in names:
        if name not in own.names and name not in partition:
            raise ValueError(
                f"All files must have the same columns, but {path} has no column {name!r}; it has "
                f"{listed(own.names)}."
            )
    return pyarrow.schema(
        [(own if name in own.names else dataset.schema).field(name) for name in names]
    )


def _check_same_types(
    schema: "pyarrow.Schema", path: str, first: "pyarrow.Schema", first_path: str
) -> None:
    """Raise if a column has another kind of values than in the first file."""
    for field, first_field in zip(schema, first, strict=True):
        kinds = {_kind(field.type), _kind(first_field.type)} - {"null"}  # an empty column
        if len(kinds) > 1:
            raise ValueError(
                f"Column {field.name!r} is of type {field.type} in {path}, but of type "
                f"{first_field.type} in {first_path}, so equal IDs would differ. Write all files "
                "with one type."
            )


def _kind(arrow_type: Any) -> str:
    """Return the same word for types that can be mixed."""
    from pyarrow import types

    if types.is_dictionary(arrow_type):
        arrow_type = arrow_type.value_type
    if types.is_integer(arrow_type) or types.is_floating(arrow_type):
        return "number"
    # large_string and string_view are strings too.
    return str(arrow_type).removeprefix("large_").removesuffix("_view")
