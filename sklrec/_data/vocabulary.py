"""The map from the IDs of one column to codes and back."""
# SPDX-License-Identifier: BSD-3-Clause

from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import infer_dtype

from sklrec._data.checks import (
    DATETIMES,
    DURATIONS,
    FLOATS,
    INTEGERS,
    OBJECTS,
    STRINGS,
    as_codes,
    can_equal,
    check_rows,
    id_kind,
    kind_of,
    plain_scalar,
    whole_numbers,
)
from sklrec._data.id_checks import (
    WANTED,
    check_types,
    has_decimal_form,
    unhashable,
    warn_of_another_form,
    warn_of_mixed_forms,
    warn_of_mixed_types,
)
from sklrec._data.id_tables import as_index, by_address, hash_table
from sklrec._data.tables import as_column, hint_about_wide_tables
from sklrec._utils.forks import cached_property
from sklrec._utils.state.ids import IDs
from sklrec._utils.state.kinds import NAME, Declared
from sklrec._utils.versions import factorize
from sklrec._utils.warnings import warn

# The conversion of a column to a kind, where only one makes sense.
_CONVERSIONS = {
    INTEGERS: ".astype(int)",
    FLOATS: ".astype(float)",
    STRINGS: ".astype(str)",
    DATETIMES: "pandas.to_datetime",
    DURATIONS: "pandas.to_timedelta",
}
ROWS_EXAMINED = 10_000  # for a warning that needs a second look-up
# Kinds of IDs among which scalars of NumPy may be that files cannot hold.
_OF_TWO_LIBRARIES = {FLOATS, DATETIMES, DURATIONS}


class Vocabulary(Declared):
    """Immutable map of the IDs of one column to the codes 1..n, in order of appearance."""

    _state = {"_ids": IDs(), "name": NAME, "rare": IDs()}

    def __init__(self, ids: Any, name: int | str, rare: Any = None):
        if isinstance(ids, np.ndarray):
            ids = ids.view()
            ids.flags.writeable = False
        self._ids = ids
        self.name = name
        self.rare = ids[:0] if rare is None else rare
        self.kind = id_kind(ids)
        if self.kind == OBJECTS or (ids.dtype == object and self.kind in _OF_TWO_LIBRARIES):
            check_types(_objects(ids), name)
        self._index = hash_table(_numbers(ids) if _is_direct(ids) else _objects(ids))
        if not self._index.is_unique:
            raise ValueError(f"The IDs of column {name!r} must be unique.")

    @classmethod
    def from_values(cls, values: Any, name: int | str, min_frequency: int = 1) -> "Vocabulary":
        """Learn the IDs of a column."""
        values = as_array(values, name)
        if values.dtype.kind in "biuf" and min_frequency == 1:
            ids = pd.unique(values)  # twice as fast as with codes
            if not (pd.isna(ids).any() or _is_infinite(ids).any()):
                return cls(ids, name)
        return cls.build(values, name, min_frequency)[0]

    @classmethod
    def build(
        cls, values: Any, name: int | str, min_frequency: int = 1
    ) -> tuple["Vocabulary", np.ndarray]:
        """Learn the IDs of a column, and return its codes too."""
        values = as_array(values, name)
        codes, ids = _factorize(values, name)
        if codes.min(initial=0) < 0 or _is_infinite(ids).any():
            _check_missing_ids(values, np.arange(len(values)), name, first_row=0)
        if min_frequency > 1:
            frequent = np.bincount(codes, minlength=len(ids)) >= min_frequency
            new_codes = np.where(frequent, np.cumsum(frequent), 0)
            found = cls(ids[frequent], name, rare=ids[~frequent])
            return found._warned_of_mixtures(values), new_codes[codes]
        codes += 1
        return cls(ids, name)._warned_of_mixtures(values), codes

    def __len__(self) -> int:
        return len(self._ids)

    def __repr__(self) -> str:
        return f"<Vocabulary of column {self.name!r}: {len(self)} IDs, kind {self.kind!r}>"

    @property
    def ids(self) -> np.ndarray:
        """The IDs in order of their codes: `ids[k]` has the code k + 1."""
        return np.asarray(self._ids)

    def codes(self, values: Any, *, first_row: int = 0) -> np.ndarray:
        """Codes of IDs, 0 for unknown IDs."""
        values = as_array(values, self.name)
        if (shared := by_address(values)) is not None:
            places, distinct = shared
            codes = self._look_up(distinct)[places]
        elif _is_direct(values):
            codes = self._look_up(values)
        else:  # categories, or values that are slow to turn into objects
            places, distinct = _distinct(values, self.name)
            codes = np.append(self._look_up(distinct), 0)[places]
        unknown = np.flatnonzero(codes == 0)
        if len(unknown):
            _check_missing_ids(values, unknown, self.name, first_row)
        return codes

    def extend(self, values: Any) -> "Vocabulary":
        """Vocabulary with further IDs, which get the next codes in order of appearance."""
        values = as_array(values, self.name)
        new = values[self.codes(values) == 0]
        if len(new) == 0:
            return self
        return Vocabulary(_join(self._ids, _factorize(new, self.name)[1]), self.name, self.rare)

    def joined(self, other: "Vocabulary") -> "Vocabulary":
        """Vocabulary with the IDs of another one, none of which it has."""
        return Vocabulary(_join(self._ids, other._ids), self.name, self.rare)

    def ids_of(self, codes: Any) -> Any:
        """IDs of codes, None for the code 0."""
        given = as_array(codes, self.name)
        codes, is_code = as_codes(given)
        is_code &= codes <= len(self)
        if not is_code.all():
            raise ValueError(
                f"Column {self.name!r} holds {plain_scalar(given[np.argmin(is_code)])!r} where a "
                f"code was expected: the codes of its {len(self)} known IDs are 1 to {len(self)}, "
                "and 0 is the code of unknown IDs. Pass codes that this encoder gave."
            )
        unknown = codes == 0
        if not unknown.any():
            return self._ids[codes - 1]
        ids = np.full(len(codes), None, dtype=object)
        ids[~unknown] = _objects(self._ids)[codes[~unknown] - 1]
        return ids

    def unseen(self, values: Any) -> np.ndarray:
        """Distinct IDs that `fit` did not see."""
        values = as_array(values, self.name)
        unseen = _factorize(values[self.codes(values) == 0], self.name)[1]
        if len(self.rare):
            unseen = unseen[Vocabulary(self.rare, self.name).codes(unseen) == 0]
        return np.asarray(unseen)

    def _warned_of_mixtures(self, values: Any) -> "Vocabulary":
        """Warn if the IDs are a mixture of types or forms, and return the vocabulary."""
        if self.kind == OBJECTS:
            warn_of_mixed_types(self.ids, _objects(values), self.name)
        elif self.kind == STRINGS and self._has_decimal_form:
            warn_of_mixed_forms(self.ids, values, self.name)
        return self

    @cached_property
    def _has_decimal_form(self) -> bool:
        """Whether an ID, which is a string, ends in '.0'."""
        return has_decimal_form(self._ids)

    def warn_of_kind(self, values: Any, n_unknown: int | np.integer) -> bool:
        """Warn if unknown IDs are of another kind than the IDs of `fit`, and tell whether."""
        if n_unknown == 0 or len(self) == 0 or self.kind == OBJECTS:
            return False
        values = as_array(values, self.name)
        kind = id_kind(values)
        if kind == STRINGS == self.kind:
            sample = values[:: max(1, len(values) // ROWS_EXAMINED)]
            if self._has_decimal_form or has_decimal_form(sample):
                warn_of_another_form(self, sample, self.name)
        if can_equal(kind, self.kind):
            return False
        conversion = _CONVERSIONS.get(self.kind)
        warn(
            f"Column {self.name!r} was fitted on {self.kind}{_such_as(self._ids)} but "
            f"got {kind}{_such_as(values)}: {n_unknown / len(values):.1%} of "
            f"{len(values)} rows are unknown. Convert it first"
            f"{f', for example with {conversion}' if conversion else ''}."
        )
        return True

    def check_same_kind(self, values: Any, here: str, before: str) -> None:
        """Raise if other IDs are of another kind, and so can equal none of these."""
        values = as_array(values, self.name)
        found = id_kind(values), self.kind
        if len(self) == 0 or len(values) == 0 or OBJECTS in found or can_equal(*found):
            return
        raise ValueError(
            f"Column {self.name!r} holds {found[0]}{_such_as(values)} {here} but {self.kind}"
            f"{_such_as(self._ids)} {before}. Convert the column to one type."
        )

    @cached_property
    def _index_of_objects(self) -> pd.Index:
        """Hash table for look-ups of values that are not all numbers."""
        if self._index.dtype == object:
            return self._index
        return hash_table(_objects(self._index.to_numpy()))

    def _look_up(self, values: Any) -> np.ndarray:
        """Codes from the hash table, 0 for unknown IDs."""
        index = self._index
        keys = _objects(values) if index.dtype == object else _numbers(values)
        exact = None
        if keys.dtype == object:
            index = self._index_of_objects
        elif keys.dtype.kind == "f" and index.dtype.kind == "i":
            keys, exact = whole_numbers(keys)
        elif keys.dtype.kind == "i" and index.dtype.kind == "f":
            floats = keys.astype(np.float64)
            back, exact = whole_numbers(floats)
            keys, exact = floats, exact & (back == keys)
        try:
            codes = index.get_indexer(as_index(keys)).astype(np.int64, copy=False)
        except (TypeError, ValueError, Warning) as error:  # from == of an invalid ID
            raise unhashable(values, self.name, error) from error
        codes += 1
        if exact is not None:
            codes[~exact] = 0
        return codes


def as_array(values: Any, name: int | str) -> Any:
    """Array of NumPy or, if the dtype is one of pandas, of pandas."""
    values = as_column(values)
    if not hasattr(values, "dtype") or np.ndim(values) != 1 or values.dtype.kind == "V":
        dtype = f" of dtype {values.dtype}" if hasattr(values, "dtype") else ""
        raise TypeError(
            f"Column {name!r} must be one column of IDs, got a {type(values).__name__}{dtype}. "
            f"{WANTED}"
        )
    if values.dtype.kind == "c":
        raise ValueError(
            f"Complex data not supported: column {name!r} has dtype {values.dtype}. {WANTED}"
        )
    if values.dtype == np.longdouble != np.float64:
        floats = values.astype(np.float64)
        if (floats != values).any():
            raise ValueError(
                f"Column {name!r} has dtype {values.dtype}, and holds numbers that float64 cannot "
                "represent. Convert it, for example with .astype(str)."
            )
        return floats
    return values


def _is_direct(values: Any) -> bool:
    """Whether hashing all values is faster than finding the distinct ones first."""
    dtype = values.dtype
    if isinstance(values, np.ndarray):
        return dtype.kind in "biufUSO"
    if isinstance(dtype, pd.StringDtype):
        return dtype.storage == "python"  # others need a conversion to Python objects
    return dtype.kind in "biuf"


def _objects(values: Any) -> np.ndarray:
    """Values as Python objects."""
    if isinstance(values, np.ndarray) and values.dtype.kind not in "mM":
        return values.astype(object, copy=False)
    if isinstance(values.dtype, pd.StringDtype):
        return values.to_numpy(dtype=object)
    return np.asarray(pd.Index(values, tupleize_cols=False).astype(object))


def _numbers(values: Any) -> np.ndarray:
    """Values as int64 if all are whole numbers, else as float64, else as objects."""
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
        ints, exact = whole_numbers(floats)
        return ints if exact.all() else floats
    if kind not in "biu" or (kind == "u" and values.max(initial=0) > np.iinfo(np.int64).max):
        return _objects(values)
    return values.astype(np.int64, copy=False)


def _distinct(values: Any, name: int | str) -> tuple[np.ndarray, Any]:
    """Positions in the distinct values, -1 for missing values, and the distinct values."""
    if not isinstance(values.dtype, pd.CategoricalDtype):
        return _factorize(values, name)
    places, categories = values.codes, values.categories
    if len(categories) > len(values):  # part of a column: use the categories that it has
        places, used = pd.factorize(places)
        present = used >= 0
        places = np.where(present, np.cumsum(present) - 1, -1)[places]
        categories = categories[used[present]]
    return places, as_array(categories, name)


def _factorize(values: Any, name: int | str) -> tuple[np.ndarray, Any]:
    """Positions in the distinct values, -1 if missing, and these in order of appearance."""
    if (shared := by_address(values)) is not None:
        places, objects = shared
        of_objects, distinct = _factorize(objects, name)
        return of_objects[places], distinct
    try:
        places, distinct = factorize(values)
    except TypeError as error:
        raise unhashable(values, name, error) from error
    return places.astype(np.int64, copy=False), as_array(distinct, name)


def _join(ids: Any, more: Any) -> Any:
    """Concatenation in a dtype that changes no ID."""
    if isinstance(ids, np.ndarray) and isinstance(more, np.ndarray):
        if ids.dtype.kind == more.dtype.kind:
            return np.concatenate([ids, more])
    elif ids.dtype == more.dtype:
        return as_array(pd.concat([pd.Series(ids), pd.Series(more)], ignore_index=True), "")
    return np.concatenate([_objects(ids), _objects(more)])


def _such_as(values: Any) -> str:
    """Example of a kind, for messages."""
    return f" (such as {plain_scalar(values[0])!r})"


def _is_infinite(values: Any) -> np.ndarray:
    """Where values are infinite numbers."""
    if isinstance(values, np.ndarray) and values.dtype.kind == "f":
        return np.isinf(values)
    if values.dtype.kind in "biuUSmM" or kind_of(values) == STRINGS:
        return np.zeros(len(values), dtype=bool)
    return np.asarray(pd.Series(_objects(values), dtype=object).isin([np.inf, -np.inf]))


def _check_missing_ids(values: Any, rows: np.ndarray, name: int | str, first_row: int) -> None:
    """Raise if a value in these rows is missing or infinite."""
    lack = "an ID. Every interaction needs its IDs: drop these rows, or fill in an ID "
    lack += "that stands for them"
    suspects = values[rows]
    for problem, found in (("NaN", pd.isna(suspects)), ("infinity", _is_infinite(suspects))):
        wrong = np.isin(np.arange(len(values)), rows[np.asarray(found)])
        if wrong.sum() > max(len(values) / 2, 2):
            lack += f". {hint_about_wide_tables().removesuffix('.')}"
        check_rows(wrong, problem, lack, values, name, first_row)
