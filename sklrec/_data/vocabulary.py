"""The map from the IDs of one column to codes and back."""
# SPDX-License-Identifier: BSD-3-Clause

from datetime import date, timedelta
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import infer_dtype

# Names of the kinds of IDs in messages.
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
# The conversion of a column to a kind, where only one makes sense.
_CONVERSIONS = {
    "integer": ".astype(int)",
    "float": ".astype(float)",
    "string": ".astype(str)",
    "datetime": "pandas.to_datetime",
    "timedelta": "pandas.to_timedelta",
}
_KIND_OF_DTYPE = {
    **dict.fromkeys("iu", "integer"),
    **{"f": "float", "b": "boolean", "U": "string", "S": "bytes"},
    **{"M": "datetime", "m": "timedelta"},
}
# Names of `infer_dtype` that are not the name of the kind.
_KIND_OF_INFERRED = {
    **dict.fromkeys(("floating", "mixed-integer-float"), "float"),
    **{"datetime64": "datetime", "timedelta64": "timedelta"},
}
_NUMBERS = {"integer", "float", "boolean"}
_WANTED = "IDs and categories are strings, numbers, bytes, dates, times, or tuples of these."
# The types that objects may have as IDs. Integers include booleans, and dates include datetimes.
_TYPES = (str, bytes, int, float, np.number, np.bool_, date, timedelta)


class Vocabulary:
    """Immutable map of the IDs of one column to the codes 1..n, in order of appearance."""

    def __init__(self, ids: Any, name: int | str, rare: Any = None):
        if isinstance(ids, np.ndarray):
            ids = ids.view()
            ids.flags.writeable = False
        self._ids = ids
        self.name = name
        self.rare = ids[:0] if rare is None else rare
        self.kind = _kind(ids)
        if self.kind == "mixed":
            _check_types(_objects(ids), name)
        self._index = _hash_table(_numbers(ids) if _is_direct(ids) else _objects(ids))
        if not self._index.is_unique:
            raise ValueError(f"The IDs of column {name!r} must be unique.")

    @classmethod
    def from_values(cls, values: Any, name: int | str, min_frequency: int = 1) -> "Vocabulary":
        """Learn the IDs of a column."""
        return cls.build(values, name, min_frequency)[0]

    @classmethod
    def build(
        cls, values: Any, name: int | str, min_frequency: int = 1
    ) -> tuple["Vocabulary", np.ndarray]:
        """Learn the IDs of a column, and encode it."""
        values = _as_array(values, name)
        codes, ids = _factorize(values, name)
        if codes.min(initial=0) < 0 or _is_infinite(ids).any():
            _check_missing_ids(values, np.arange(len(values)), name, first_row=0)
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
        """Look up the codes of IDs."""
        values = _as_array(values, self.name)
        if _is_direct(values):
            codes = self._look_up(values)
        else:  # categories, or values that are slow to turn into objects
            places, distinct = _distinct(values, self.name)
            codes = np.append(self._look_up(distinct), 0)[places]
        unknown = np.flatnonzero(codes == 0)
        if len(unknown):
            _check_missing_ids(values, unknown, self.name, first_row)
        return codes

    def extend(self, values: Any) -> "Vocabulary":
        """Add the IDs that are new; they get the next codes, in order of appearance."""
        values = _as_array(values, self.name)
        new = values[self.codes(values) == 0]
        if len(new) == 0:
            return self
        return Vocabulary(_join(self._ids, _factorize(new, self.name)[1]), self.name, self.rare)

    def ids_of(self, codes: Any) -> Any:
        """Turn codes back into IDs; None stands for the code 0."""
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
        """The distinct IDs that are neither known nor rare."""
        values = _as_array(values, self.name)
        unseen = _factorize(values[self.codes(values) == 0], self.name)[1]
        if len(self.rare):
            unseen = unseen[Vocabulary(self.rare, self.name).codes(unseen) == 0]
        return np.asarray(unseen)

    def kind_mismatch(self, values: Any, n_unknown: int) -> str | None:
        """The warning that a column holds another kind of IDs than `fit` saw, or None."""
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
        """Hash table for IDs that are not all numbers, made when it is first needed."""
        if self._index.dtype == object:
            return self._index
        return _hash_table(_objects(self._index.to_numpy()))

    def _look_up(self, values: Any) -> np.ndarray:
        """Codes by one pass over the hash table, 0 for unknown IDs."""
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
        except (TypeError, ValueError, Warning) as error:  # raised by the == of an invalid ID
            raise _unhashable(values, self.name, error) from error
        codes += 1
        if exact is not None:
            codes[~exact] = 0
        return codes


class GrowingVocabulary:
    """A vocabulary that is learned chunk by chunk, in time linear in the rows."""

    # New IDs get a hash table of their own. Two tables become one when the newer is half as long
    # as the older, so that each ID is hashed only a few times.

    def __init__(self, known: Vocabulary):
        self._parts = [known]

    def encode(self, values: Any) -> np.ndarray:
        """Codes of IDs; new IDs get the next codes, in order of appearance."""
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
            self._check_kind(new)
            codes[unknown] = found + n_known
            self._parts.append(new)
            while len(self._parts) > 1 and 2 * len(self._parts[-1]) >= len(self._parts[-2]):
                self._join_last()
        return codes

    def finish(self) -> Vocabulary:
        """One vocabulary of all IDs so far."""
        while len(self._parts) > 1:
            self._join_last()
        return self._parts[0]

    def _join_last(self) -> None:
        newer, older = self._parts.pop(), self._parts.pop()
        self._parts.append(Vocabulary(_join(older._ids, newer._ids), older.name, older.rare))

    def _check_kind(self, new: Vocabulary) -> None:
        oldest = self._parts[0]
        kinds = {new.kind, oldest.kind}
        if len(oldest) and len(kinds) > 1 and "mixed" not in kinds and not kinds <= _NUMBERS:
            raise ValueError(
                f"Column {oldest.name!r} holds {_PLURALS[new.kind]}{_such_as(new._ids)} here but "
                f"{_PLURALS[oldest.kind]}{_such_as(oldest._ids)} before. Convert the column "
                "to one type in all chunks."
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
            f"Complex data not supported: column {name!r} has dtype {values.dtype}. {_WANTED}"
        )
    return values


def _is_direct(values: Any) -> bool:
    """Whether values are hashed as they are, and not their distinct ones."""
    dtype = values.dtype
    if isinstance(values, np.ndarray):
        return dtype.kind in "biufUSO"
    if isinstance(dtype, pd.StringDtype):
        return dtype.storage == "python"  # an array of Arrow holds no Python objects yet
    return dtype.kind in "biuf"


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
    """Numbers as int64, and where this is exact."""
    if numbers.dtype.kind == "i":
        return numbers, np.ones(len(numbers), dtype=bool)
    if numbers.dtype.kind == "O":
        return np.zeros(len(numbers), dtype=np.int64), np.zeros(len(numbers), dtype=bool)
    with np.errstate(invalid="ignore"):
        ints = numbers.astype(np.int64)
    return ints, (ints == numbers) & (numbers >= -(2.0**63)) & (numbers < 2.0**63)


def _as_index(keys: np.ndarray) -> pd.Index:
    """An Index of the same dtype as the keys."""
    return pd.Index(keys, dtype=keys.dtype, copy=False, tupleize_cols=False)


def _hash_table(keys: np.ndarray) -> pd.Index:
    """An Index whose table is filled."""
    index = _as_index(keys)
    index.is_unique  # noqa: B018 (fills the table now, since threads must not do so at once)
    return index


def _distinct(values: Any, name: int | str) -> tuple[np.ndarray, Any]:
    """Places in the distinct values, -1 for missing ones, and the distinct values."""
    if not isinstance(values.dtype, pd.CategoricalDtype):
        return _factorize(values, name)
    places, categories = values.codes, values.categories
    if len(categories) > len(values):  # part of a column: use the categories that it has
        places, used = pd.factorize(places)
        present = used >= 0
        places = np.where(present, np.cumsum(present) - 1, -1)[places]
        categories = categories[used[present]]
    return places, _as_array(categories, name)


def _factorize(values: Any, name: int | str) -> tuple[np.ndarray, Any]:
    """Places in the distinct values, -1 for missing ones, and these by first appearance."""
    try:
        places, distinct = pd.factorize(values)
    except TypeError as error:
        raise _unhashable(values, name, error) from error
    return places.astype(np.int64, copy=False), _as_array(distinct, name)


def _join(ids: Any, more: Any) -> Any:
    """Both arrays in one, in a dtype that alters no ID."""
    if isinstance(ids, np.ndarray) and isinstance(more, np.ndarray):
        if ids.dtype.kind == more.dtype.kind:
            return np.concatenate([ids, more])
    elif ids.dtype == more.dtype:
        return _as_array(pd.concat([pd.Series(ids), pd.Series(more)], ignore_index=True), "")
    return np.concatenate([_objects(ids), _objects(more)])


def _kind(values: Any) -> str:
    """Kind of IDs; one of the keys of _PLURALS."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        return _kind(values.categories)
    if kind := _KIND_OF_DTYPE.get(values.dtype.kind):
        return kind
    inferred = infer_dtype(values, skipna=False)
    kind = _KIND_OF_INFERRED.get(inferred, inferred)
    return kind if kind in _PLURALS else "mixed"


def _such_as(values: Any) -> str:
    return f" (such as {_plain(values[0])!r})"


def _plain(value: Any) -> Any:
    """A scalar of NumPy as one of Python, which reads better in a message."""
    return value.item() if isinstance(value, np.generic) else value


def _is_infinite(values: Any) -> np.ndarray:
    """Where values are infinite numbers."""
    if isinstance(values, np.ndarray) and values.dtype.kind == "f":
        return np.isinf(values)
    if values.dtype.kind in "biuUSmM" or _kind(values) == "string":
        return np.zeros(len(values), dtype=bool)
    return np.asarray(pd.Series(_objects(values)).isin([np.inf, -np.inf]))


def _check_missing_ids(values: Any, rows: np.ndarray, name: int | str, first_row: int) -> None:
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


def _check_types(ids: np.ndarray, name: int | str) -> None:
    """Raise if an ID has a type that IDs cannot have."""
    for value in ids:
        if not _is_valid(value):
            raise TypeError(
                f"Column {name!r} holds {value!r} of type {type(value).__name__}, which is no "
                f"valid type. {_WANTED} Convert it, for example with .astype(str)."
            )


def _is_valid(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(v is None or _is_valid(v) for v in value)
    return isinstance(value, _TYPES)


def _unhashable(values: Any, name: int | str, error: Exception) -> Exception:
    """The error that tells which ID cannot be hashed."""
    for value in values:
        try:
            hash(value)
        except TypeError:
            return TypeError(
                f"Column {name!r} holds {value!r}, which cannot be an ID ({error}): the argument "
                f"must be a string, a number or another valid ID. {_WANTED}"
            )
    return error
