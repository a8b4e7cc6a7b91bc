"""The map from the IDs of one column to codes and back."""
# SPDX-License-Identifier: BSD-3-Clause

from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import infer_dtype

# What a kind of IDs is called in a warning.
_PLURALS = {
    "integer": "integers",
    "float": "floats",
    "boolean": "booleans",
    "string": "strings",
    "bytes": "bytes",
    "datetime": "datetimes",
    "timedelta": "time differences",
    "mixed": "objects of other or of mixed types",
}
# How a column is turned into that kind, where there is one sure way.
_CONVERSIONS = {
    "integer": ".astype(int)",
    "float": ".astype(float)",
    "string": ".astype(str)",
    "datetime": "pandas.to_datetime",
    "timedelta": "pandas.to_timedelta",
}
_KIND_OF_DTYPE = {
    "i": "integer",
    "u": "integer",
    "f": "float",
    "b": "boolean",
    "U": "string",
    "S": "bytes",
    "M": "datetime",
    "m": "timedelta",
}
_KIND_OF_INFERRED = {
    "integer": "integer",
    "floating": "float",
    "mixed-integer-float": "float",
    "boolean": "boolean",
    "string": "string",
    "bytes": "bytes",
    "datetime": "datetime",
    "datetime64": "datetime",
    "timedelta": "timedelta",
    "timedelta64": "timedelta",
}
_NUMBERS = {"integer", "float", "boolean"}


class Vocabulary:
    """Immutable map of the IDs of one column to the codes 1..n, in order of appearance.

    0 is the code of every other ID. IDs are the same where Python says that they are equal:
    196 is 196.0 but not "196". Look-ups hash, and may run in several threads at once.

    Parameters
    ----------
    ids : ndarray or ExtensionArray of shape (n_ids,)
        The IDs, each once and none missing; the ID at position k has the code k + 1.
    name : int or str
        The column's name or position, for messages.
    rare : ndarray or ExtensionArray, default=None
        IDs that were seen too seldom to get a code; None stands for no such IDs.
    """

    def __init__(self, ids: Any, name: int | str, rare: Any = None):
        if isinstance(ids, np.ndarray):
            ids = ids.view()
            ids.flags.writeable = False
        self._ids = ids
        self.name = name
        self.rare = ids[:0] if rare is None else rare
        self.kind = _kind(ids)
        self._index = _hash_table(_numbers(ids) if _is_direct(ids) else _objects(ids))
        if not self._index.is_unique:
            raise ValueError(f"The IDs of column {name!r} must be unique.")

    @classmethod
    def from_values(cls, values: Any, name: int | str, min_frequency: int = 1) -> "Vocabulary":
        """Learn the IDs of a column; faster than `build` where its codes are not needed.

        Parameters
        ----------
        values : ndarray, ExtensionArray, Series or list of shape (n_samples,)
            The column's values.
        name : int or str
            The column's name or position, for messages.
        min_frequency : int, default=1
            IDs that occur in fewer rows are left out.

        Returns
        -------
        Vocabulary
            The map.
        """
        values = _as_array(values, name)
        if min_frequency > 1 or not _is_direct(values):
            return cls.build(values, name, min_frequency)[0]
        try:
            ids = _as_array(pd.unique(values), name)
        except TypeError as error:
            raise _unhashable(values, name, error) from error
        if pd.isna(ids).any() or _is_infinite(ids).any():
            _refuse_non_ids(values, np.arange(len(values)), name, first_row=0)
        return cls(ids, name)

    @classmethod
    def build(
        cls, values: Any, name: int | str, min_frequency: int = 1
    ) -> tuple["Vocabulary", np.ndarray]:
        """Learn the IDs of a column and encode it, in one pass.

        Parameters
        ----------
        values : ndarray, ExtensionArray, Series or list of shape (n_samples,)
            The column's values.
        name : int or str
            The column's name or position, for messages.
        min_frequency : int, default=1
            IDs that occur in fewer rows are left out.

        Returns
        -------
        vocabulary : Vocabulary
            The map.
        codes : ndarray of shape (n_samples,)
            The int64 codes of `values`.

        Raises
        ------
        ValueError
            If IDs are missing or infinite.
        TypeError
            If an ID cannot be hashed.
        """
        values = _as_array(values, name)
        codes, ids = _factorize(values, name)
        if codes.min(initial=0) < 0 or _is_infinite(ids).any():
            _refuse_non_ids(values, np.arange(len(values)), name, first_row=0)
        if min_frequency > 1:
            frequent = np.bincount(codes, minlength=len(ids)) >= min_frequency
            new_codes = np.where(frequent, np.cumsum(frequent), 0)
            return cls(ids[frequent], name, rare=ids[~frequent]), new_codes[codes]
        codes += 1
        return cls(ids, name), codes

    def __len__(self) -> int:
        return len(self._ids)

    def __repr__(self) -> str:
        return f"<Vocabulary of column {self.name!r}: {len(self)} IDs, kind {self.kind!r}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return Vocabulary, (self._ids, self.name, self.rare)

    @property
    def ids(self) -> np.ndarray:
        """The IDs in order of their codes: `ids[k]` has the code k + 1."""
        return np.asarray(self._ids)

    def codes(self, values: Any, *, first_row: int = 0) -> np.ndarray:
        """Look up the codes of IDs.

        Parameters
        ----------
        values : ndarray, ExtensionArray, Series or list of shape (n_samples,)
            The IDs, of any kind.
        first_row : int, default=0
            The row number of the first value, for messages about a part of a column.

        Returns
        -------
        ndarray of shape (n_samples,)
            The int64 codes, 0 for unknown IDs.

        Raises
        ------
        ValueError
            If IDs are missing or infinite.
        TypeError
            If an ID cannot be hashed.
        """
        values = _as_array(values, self.name)
        if _is_direct(values):
            codes = self._look_up(values)
        else:  # categories, or values that are slow to turn into objects
            places, distinct = _distinct(values, self.name)
            codes = np.append(self._look_up(distinct), 0)[places]
        if not _is_all_ids(values):
            unknown = np.flatnonzero(codes == 0)
            if len(unknown):
                _refuse_non_ids(values, unknown, self.name, first_row)
        return codes

    def extend(self, values: Any) -> "Vocabulary":
        """Add the IDs that are new; they get the next codes, in order of appearance.

        Parameters
        ----------
        values : ndarray, ExtensionArray, Series or list of shape (n_samples,)
            IDs, old and new.

        Returns
        -------
        Vocabulary
            This one if there is nothing new, otherwise a longer one with the same first codes.
        """
        values = _as_array(values, self.name)
        new = values[self.codes(values) == 0]
        if len(new) == 0:
            return self
        return Vocabulary(_join(self._ids, _factorize(new, self.name)[1]), self.name, self.rare)

    def ids_of(self, codes: Any) -> Any:
        """Turn codes back into IDs.

        Parameters
        ----------
        codes : ndarray, ExtensionArray, Series or list of shape (n_samples,)
            Whole numbers, of any dtype.

        Returns
        -------
        ndarray or ExtensionArray of shape (n_samples,)
            The IDs in the dtype that they came in; with any 0 among the codes an object array
            that holds None for it.

        Raises
        ------
        ValueError
            If a code is not one of 0..n.
        """
        given = _as_array(codes, self.name)
        codes, is_code = _whole(_numbers(given))
        is_code &= (codes >= 0) & (codes <= len(self))
        if not is_code.all():
            raise ValueError(
                f"Column {self.name!r} holds {_plain(given[np.argmin(is_code)])!r} where a code "
                f"was expected: the codes of its {len(self)} known IDs are 1 to {len(self)}, and "
                "0 is that of an unknown one. Pass codes that this encoder gave."
            )
        unknown = codes == 0
        if not unknown.any():
            return self._ids[codes - 1]
        ids = np.full(len(codes), None, dtype=object)
        ids[~unknown] = _objects(self._ids)[codes[~unknown] - 1]
        return ids

    def unseen(self, values: Any) -> np.ndarray:
        """Find the IDs that are neither known nor rare.

        Parameters
        ----------
        values : ndarray, ExtensionArray, Series or list of shape (n_samples,)
            IDs.

        Returns
        -------
        ndarray of shape (n_unseen,)
            Each of them once, in order of appearance.
        """
        values = _as_array(values, self.name)
        unseen = _factorize(values[self.codes(values) == 0], self.name)[1]
        if len(self.rare):
            unseen = unseen[Vocabulary(self.rare, self.name).codes(unseen) == 0]
        return np.asarray(unseen)

    def kind_mismatch(self, values: Any, n_unknown: int) -> str | None:
        """Word the warning that a column holds another kind of IDs than `fit` saw.

        Parameters
        ----------
        values : ndarray, ExtensionArray, Series or list of shape (n_samples,)
            The whole column that was looked up.
        n_unknown : int
            In how many of its rows the code is 0.

        Returns
        -------
        str or None
            The text, or None where unknown IDs are not a matter of their kind.
        """
        if n_unknown == 0 or len(self) == 0 or self.kind == "mixed":
            return None
        values = _as_array(values, self.name)
        kind = _kind(values)
        if kind == self.kind or {kind, self.kind} <= _NUMBERS:
            return None
        conversion = _CONVERSIONS.get(self.kind)
        return (
            f"Column {self.name!r} was fitted on {_PLURALS[self.kind]}{_such_as(self._ids)} but "
            f"got {_PLURALS[kind]}{_such_as(values)}: {n_unknown / len(values):.1%} of "
            f"{len(values)} rows are unknown. Convert it first"
            f"{f', for example with {conversion}' if conversion else ''}."
        )

    @cached_property
    def _index_of_objects(self) -> pd.Index:
        """The index for IDs that are not all numbers; made at need if those of `fit` were."""
        if self._index.dtype == object:
            return self._index
        return _hash_table(_objects(self._index.to_numpy()))

    def _look_up(self, values: Any) -> np.ndarray:
        """Codes by one pass over the hash table; whatever is not in it gets 0."""
        index = self._index
        keys = _objects(values) if index.dtype == object else _numbers(values)
        exact = None
        if keys.dtype == object:
            index = self._index_of_objects
        elif keys.dtype.kind == "f" and index.dtype.kind == "i":
            keys, exact = _whole(keys)
        elif keys.dtype.kind == "i" and index.dtype.kind == "f":
            floats = keys.astype(np.float64)
            back, exact = _whole(floats)
            keys, exact = floats, exact & (back == keys)
        try:
            codes = index.get_indexer(_as_index(keys)).astype(np.int64, copy=False)
        except (TypeError, ValueError, Warning) as error:  # by the equality of what is no ID
            raise _unhashable(values, self.name, error) from error
        codes += 1
        if exact is not None:
            codes[~exact] = 0
        return codes


class GrowingVocabulary:
    """A vocabulary that is learned chunk by chunk, in time linear in the rows.

    New IDs get hash tables of their own, and two tables become one when the newer is half as
    long as the older. Each ID is so hashed anew a few times, however many chunks there are.

    Parameters
    ----------
    known : Vocabulary
        What is known at the start; its codes stay.
    """

    def __init__(self, known: Vocabulary):
        self._parts = [known]

    def encode(self, values: Any) -> np.ndarray:
        """Give the codes of IDs; those that are new get the next ones, in order of appearance.

        Parameters
        ----------
        values : ndarray, ExtensionArray, Series or list of shape (n_samples,)
            The IDs of a chunk.

        Returns
        -------
        ndarray of shape (n_samples,)
            The int64 codes.

        Raises
        ------
        ValueError
            If IDs are missing or infinite, or if new ones are of another kind than those before.
        TypeError
            If an ID cannot be hashed.
        """
        oldest = self._parts[0]
        values = _as_array(values, oldest.name)
        codes = oldest.codes(values)
        n_known = len(oldest)
        unknown = np.flatnonzero(codes == 0)
        for part in self._parts[1:]:
            found = part.codes(values[unknown])
            codes[unknown] = np.where(found > 0, found + n_known, 0)
            unknown = unknown[found == 0]
            n_known += len(part)
        if len(unknown):
            new, found = Vocabulary.build(values[unknown], oldest.name)
            self._refuse_other_kind(new)
            codes[unknown] = found + n_known
            self._parts.append(new)
            while len(self._parts) > 1 and 2 * len(self._parts[-1]) >= len(self._parts[-2]):
                self._join_last()
        return codes

    def finish(self) -> Vocabulary:
        """Make one vocabulary of all.

        Returns
        -------
        Vocabulary
            The map from all IDs so far to their codes.
        """
        while len(self._parts) > 1:
            self._join_last()
        return self._parts[0]

    def _join_last(self) -> None:
        newer, older = self._parts.pop(), self._parts.pop()
        self._parts.append(Vocabulary(_join(older._ids, newer._ids), older.name, older.rare))

    def _refuse_other_kind(self, new: Vocabulary) -> None:
        oldest = self._parts[0]
        kinds = {new.kind, oldest.kind}
        if len(oldest) and len(kinds) > 1 and "mixed" not in kinds and not kinds <= _NUMBERS:
            raise ValueError(
                f"Column {oldest.name!r} holds {_PLURALS[new.kind]}{_such_as(new._ids)} here but "
                f"{_PLURALS[oldest.kind]}{_such_as(oldest._ids)} before. The same ID would be "
                "two: convert the column to one type in all chunks."
            )


def _as_array(values: Any, name: int | str) -> Any:
    """An ndarray for numpy's dtypes, an array of pandas for its own."""
    if isinstance(values, list | tuple):
        values = pd.Index(values, tupleize_cols=False)
    if isinstance(values, pd.Series | pd.Index):
        is_numpy = isinstance(values.dtype, np.dtype)
        values = values.to_numpy() if is_numpy else values.array
    if isinstance(values.dtype, pd.SparseDtype):
        values = np.asarray(values)
    if values.dtype.kind == "c":
        raise ValueError(
            f"Complex data not supported: column {name!r} has dtype {values.dtype}. "
            "IDs are strings, integers or other hashable objects."
        )
    return values


def _is_direct(values: Any) -> bool:
    """Whether values are hashed as they are, not by way of their distinct ones."""
    dtype = values.dtype
    if isinstance(values, np.ndarray):
        return dtype.kind in "biufUSO"
    if isinstance(dtype, pd.StringDtype):
        return dtype.storage == "python"  # an array of Arrow holds no Python objects yet
    return dtype.kind in "biuf"


def _is_all_ids(values: Any) -> bool:
    """Whether the dtype has no missing and no infinite values."""
    return isinstance(values, np.ndarray) and values.dtype.kind in "biuUS"


def _objects(values: Any) -> np.ndarray:
    """Values as Python objects."""
    if isinstance(values, np.ndarray) and values.dtype.kind not in "mM":
        return values.astype(object, copy=False)
    if isinstance(values.dtype, pd.StringDtype):
        return values.to_numpy(dtype=object)
    return np.asarray(pd.Index(values, tupleize_cols=False).astype(object))


def _numbers(values: Any) -> np.ndarray:
    """Values as int64 if they are whole numbers, else as float64; as objects if neither fits."""
    kind = values.dtype.kind
    if not isinstance(values, np.ndarray):
        if kind not in "biuf" or values.isna().any():
            return _objects(values)
        values = values.to_numpy(dtype=values.dtype.numpy_dtype)
    elif kind == "O":
        inferred = infer_dtype(values, skipna=False)
        try:
            if inferred == "integer":
                return values.astype(np.int64)
        except OverflowError:
            return values
        if inferred not in ("floating", "boolean"):
            return values
        values = values.astype(np.float64)
        kind = "f"
    if kind == "f":
        floats = values.astype(np.float64, copy=False)
        ints, exact = _whole(floats)
        return ints if exact.all() else floats
    if kind not in "biu" or (kind == "u" and values.max(initial=0) > np.iinfo(np.int64).max):
        return _objects(values)
    return values.astype(np.int64, copy=False)


def _whole(numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What `_numbers` gave as int64, and where that is exact."""
    if numbers.dtype.kind == "i":
        return numbers, np.ones(len(numbers), dtype=bool)
    if numbers.dtype.kind == "O":
        return np.zeros(len(numbers), dtype=np.int64), np.zeros(len(numbers), dtype=bool)
    with np.errstate(invalid="ignore"):
        ints = numbers.astype(np.int64)
    return ints, (ints == numbers) & (numbers >= -(2.0**63)) & (numbers < 2.0**63)


def _as_index(keys: np.ndarray) -> pd.Index:
    """An Index in the very dtype of the keys."""
    return pd.Index(keys, dtype=keys.dtype, copy=False, tupleize_cols=False)


def _hash_table(keys: np.ndarray) -> pd.Index:
    """An Index that is ready for look-ups."""
    index = _as_index(keys)
    index.is_unique  # noqa: B018 (fills the table; two threads must not both do so at a look-up)
    return index


def _distinct(values: Any, name: int | str) -> tuple[np.ndarray, Any]:
    """For each value a place in the array of distinct ones, -1 where it is missing."""
    if not isinstance(values.dtype, pd.CategoricalDtype):
        return _factorize(values, name)
    places, categories = values.codes, values.categories
    if len(categories) > len(values):  # part of a column: leave out what it does not have
        places, used = pd.factorize(places)
        present = used >= 0
        places = np.where(present, np.cumsum(present) - 1, -1)[places]
        categories = categories[used[present]]
    return places, _as_array(categories, name)


def _factorize(values: Any, name: int | str) -> tuple[np.ndarray, Any]:
    """Places in the distinct values, -1 for missing ones, and these in order of appearance."""
    try:
        places, distinct = pd.factorize(values)
    except TypeError as error:
        raise _unhashable(values, name, error) from error
    return places.astype(np.int64, copy=False), _as_array(distinct, name)


def _join(ids: Any, more: Any) -> Any:
    """Both arrays one after the other, in a dtype that alters no ID."""
    if isinstance(ids, np.ndarray) and isinstance(more, np.ndarray):
        if ids.dtype.kind == more.dtype.kind:
            return np.concatenate([ids, more])
    elif ids.dtype == more.dtype:
        return _as_array(pd.concat([pd.Series(ids), pd.Series(more)], ignore_index=True), "")
    return np.concatenate([_objects(ids), _objects(more)])


def _kind(values: Any) -> str:
    """What sort of IDs values are; one of the keys of _PLURALS."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        return _kind(values.categories)
    kind = _KIND_OF_DTYPE.get(values.dtype.kind)
    return kind or _KIND_OF_INFERRED.get(infer_dtype(values, skipna=False), "mixed")


def _such_as(values: Any) -> str:
    return f" (such as {_plain(values[0])!r})"


def _plain(value: Any) -> Any:
    """A scalar of numpy as Python's own, which reads better in a message."""
    return value.item() if isinstance(value, np.generic) else value


def _is_infinite(values: Any) -> np.ndarray:
    """Where values are infinite numbers."""
    if isinstance(values, np.ndarray) and values.dtype.kind == "f":
        return np.isinf(values)
    if values.dtype.kind in "biuUSmM" or _kind(values) == "string":
        return np.zeros(len(values), dtype=bool)
    return np.asarray(pd.Series(_objects(values)).isin([np.inf, -np.inf]))


def _refuse_non_ids(values: Any, rows: np.ndarray, name: int | str, first_row: int) -> None:
    """Raise if a value in these rows is missing or infinite."""
    suspects = values[rows]
    for problem, found in (("NaN", pd.isna(suspects)), ("infinity", _is_infinite(suspects))):
        wrong = rows[np.asarray(found)]
        if len(wrong):
            raise ValueError(
                f"Input X contains {problem}.\nColumn {name!r} holds "
                f"{_plain(values[wrong[0]])!r} in row {first_row + wrong[0]}, and so {len(wrong)} "
                f"of the rows {first_row} to {first_row + len(values) - 1} lack an ID. Every "
                "interaction needs its IDs: drop these rows, or fill in an ID that stands for "
                "them."
            )


def _unhashable(values: Any, name: int | str, error: Exception) -> Exception:
    """The error that tells which ID cannot be hashed."""
    for value in values:
        try:
            hash(value)
        except TypeError:
            return TypeError(
                f"Column {name!r} holds {value!r}, which cannot be an ID ({error}): the "
                "argument must be a string, a number or another hashable object."
            )
    return error
