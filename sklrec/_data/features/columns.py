"""Columns of side features: numbers among their quantiles, and values as codes."""
# SPDX-License-Identifier: BSD-3-Clause

from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import infer_dtype, is_list_like

from sklrec._data.timestamps import read_timestamps
from sklrec._data.vocabulary import Vocabulary

NUMBERS, BOOLEANS, DATETIMES, DURATIONS = "numbers", "booleans", "datetimes", "time differences"
STRINGS, BYTES, LISTS, OBJECTS = "strings", "bytes", "lists", "objects of other or of mixed types"

_KIND_OF_DTYPE = {
    "i": NUMBERS,
    "u": NUMBERS,
    "f": NUMBERS,
    "b": BOOLEANS,
    "M": DATETIMES,
    "m": DURATIONS,
    "U": STRINGS,
    "S": BYTES,
}
_KIND_OF_INFERRED = {
    "integer": NUMBERS,
    "floating": NUMBERS,
    "mixed-integer-float": NUMBERS,
    "decimal": NUMBERS,
    "boolean": BOOLEANS,
    "string": STRINGS,
    "bytes": BYTES,
    "datetime": DATETIMES,
    "datetime64": DATETIMES,
    "date": DATETIMES,
    "timedelta": DURATIONS,
    "timedelta64": DURATIONS,
}
# Largest number of quantile bins of a numeric column.
N_BINS = 16
_NUMERIC = {NUMBERS, DATETIMES, DURATIONS}
_ALL = {*_KIND_OF_DTYPE.values(), LISTS, OBJECTS}


@dataclass(frozen=True)
class NumericColumn:
    """A column of numbers, datetimes (as seconds since 1970 in UTC) or time differences.

    Parameters
    ----------
    name : int or str
        What the column is called.
    position : int
        Where it is in X.
    kind : str or None
        What it held in `fit`; ``None`` if nothing.
    edges : ndarray of shape (n_edges,)
        Quantiles, in increasing order.
    """

    name: int | str
    position: int
    kind: str | None
    edges: np.ndarray

    @classmethod
    def learn(
        cls, name: int | str, position: int, kind: str | None, values: Any
    ) -> "NumericColumn":
        """Learn the quantiles of a column.

        Parameters
        ----------
        name : int or str
            What the column is called.
        position : int
            Where it is in X.
        kind : str or None
            What it holds.
        values : ndarray or ExtensionArray of shape (n_samples,)
            Its values.

        Returns
        -------
        NumericColumn
            The column.
        """
        column = cls(name, position, kind, np.zeros(1))
        numbers = column._read(values, 0)
        numbers = numbers[~np.isnan(numbers)]
        if len(numbers) == 0:
            return column
        edges = np.unique(numbers)
        if len(edges) > N_BINS + 1:
            edges = np.unique(np.quantile(numbers, np.linspace(0, 1, N_BINS + 1)))
        return replace(column, edges=edges)

    def places(self, values: Any, first_row: int) -> np.ndarray:
        """Find where numbers lie between the edges.

        Parameters
        ----------
        values : ndarray or ExtensionArray of shape (n_samples,)
            The column's values.
        first_row : int
            The row number of the first value, for messages.

        Returns
        -------
        ndarray of shape (n_samples,)
            From minus half of ``len(edges) - 1``, at the first edge and below, to plus half of it;
            NaN for what is missing.
        """
        numbers = self._read(values, first_row)
        middle = (len(self.edges) - 1) / 2
        places = np.interp(numbers, self.edges, np.arange(len(self.edges)) - middle)
        return np.where(np.isnan(numbers), np.nan, places)

    def _read(self, values: Any, first_row: int) -> np.ndarray:
        values = plain_array(values, self.name)
        allowed = _NUMERIC if self.kind is None else {self.kind}
        if NUMBERS in allowed:
            allowed = allowed | {BOOLEANS}
        kind = _check_kind(values, self.kind, allowed, self.name, first_row)
        numbers = np.full(len(values), np.nan)
        there = ~pd.isna(values)
        if kind == DATETIMES:
            times = read_timestamps(values[there], self.name, first_row=first_row)
            numbers[there] = times / 1e9
        elif kind == DURATIONS:
            numbers[there] = pd.TimedeltaIndex(values[there]).total_seconds()
        else:
            numbers[there] = np.asarray(values[there], dtype=np.float64)
        _refuse_infinity(numbers, self.name, first_row)
        return numbers


@dataclass(frozen=True)
class ValuesColumn:
    """A column of categories, or of any number of them in each row.

    Parameters
    ----------
    name : int or str
        What the column is called.
    position : int
        Where it is in X.
    kind : str or None
        What it held in `fit`; ``None`` if nothing.
    vocabulary : Vocabulary
        Its values.
    codes : ndarray of shape (n_values + 1,)
        The values' codes in a table that several columns share, 0 first.
    is_multi_valued : bool
        Whether rows hold any number of values.
    """

    name: int | str
    position: int
    kind: str | None
    vocabulary: Vocabulary
    codes: np.ndarray
    is_multi_valued: bool

    @classmethod
    def learn(
        cls,
        name: int | str,
        position: int,
        kind: str | None,
        values: Any,
        n_before: int,
        *,
        is_multi_valued: bool,
    ) -> "ValuesColumn":
        """Learn the values of a column.

        Parameters
        ----------
        name : int or str
            What the column is called.
        position : int
            Where it is in X.
        kind : str or None
            What it holds.
        values : ndarray or ExtensionArray of shape (n_samples,)
            Its values.
        n_before : int
            How many codes other columns have.
        is_multi_valued : bool
            Whether rows hold any number of values.

        Returns
        -------
        ValuesColumn
            The column.
        """
        nothing = Vocabulary(np.empty(0, dtype=object), name)
        column = cls(name, position, kind, nothing, np.zeros(1, int), is_multi_valued)
        vocabulary = Vocabulary.from_values(column._read(values, 0)[0], name)
        return replace(
            column, vocabulary=vocabulary, codes=_codes_after(column.codes, vocabulary, n_before)
        )

    def extend(self, values: Any, n_before: int) -> "ValuesColumn":
        """Add the values that are new.

        Parameters
        ----------
        values : ndarray or ExtensionArray of shape (n_samples,)
            More values.
        n_before : int
            How many codes there are, of this column and of others.

        Returns
        -------
        ValuesColumn
            One whose new values have the codes after that.
        """
        new = self._read(values, 0)[0]
        vocabulary = self.vocabulary.extend(new) if len(new) else self.vocabulary
        kind = self.kind if len(self.vocabulary) else kind_of(plain_array(values, self.name))
        codes = _codes_after(self.codes, vocabulary, n_before)
        return replace(self, vocabulary=vocabulary, codes=codes, kind=kind)

    def encode(self, values: Any, first_row: int) -> np.ndarray:
        """Look up the codes of values.

        Parameters
        ----------
        values : ndarray or ExtensionArray of shape (n_samples,)
            The column's values.
        first_row : int
            The row number of the first value, for messages.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, max_values)
            The codes, 0 for unknown and missing ones; of several values, in increasing order.
        """
        found, lengths = self._read(values, first_row)
        local = self.vocabulary.codes(found) if len(found) else np.zeros(0, int)
        width = int(lengths.max(initial=1))
        codes = np.zeros((len(lengths), width), dtype=np.int64)
        codes[np.arange(width) < lengths[:, np.newaxis]] = self.codes[local]
        # The order of a set is not fixed, and sums should not depend on it.
        return np.sort(codes, axis=1) if self.is_multi_valued else codes[:, 0]

    def _read(self, values: Any, first_row: int) -> tuple[Any, np.ndarray]:
        """All values, row after row, without the missing ones, and how many each row has."""
        values = plain_array(values, self.name)
        if self.kind is None:
            kind = kind_of(values)
        else:
            kind = _check_kind(values, self.kind, self._allowed(), self.name, first_row)
        there = ~pd.isna(values)
        if not self.is_multi_valued:
            if kind == NUMBERS:
                numbers = np.where(there, values, np.nan).astype(np.float64)
                _refuse_infinity(numbers, self.name, first_row)
            return values[there], there.astype(int)
        rows = [
            _elements(value) if known else ()
            for value, known in zip(np.asarray(values, dtype=object), there, strict=True)
        ]
        flat = list(chain.from_iterable(rows))
        return flat, np.fromiter(map(len, rows), int, len(rows))

    def _allowed(self) -> set[str]:
        if self.kind == OBJECTS:
            return _ALL
        # True is 1
        return {NUMBERS, BOOLEANS} if self.kind in (NUMBERS, BOOLEANS) else {str(self.kind)}


def _elements(value: Any) -> list[Any]:
    """Values of one row that are not missing."""
    return [element for element in value if is_list_like(element) or not pd.isna(element)]


def _codes_after(before: np.ndarray, vocabulary: Vocabulary, n_before: int) -> np.ndarray:
    """Codes of a vocabulary that has grown beyond those that were there before."""
    n_new = len(vocabulary) + 1 - len(before)
    return np.append(before, np.arange(n_before + 1, n_before + 1 + n_new))


def plain_array(values: Any, name: int | str) -> Any:
    """Values without the wrappings of sparse and categorical dtypes."""
    if isinstance(values.dtype, pd.CategoricalDtype | pd.SparseDtype):
        values = np.asarray(values)
    if values.dtype.kind == "c":
        raise ValueError(
            f"Complex data not supported: column {name!r} has dtype {values.dtype}. Side features "
            "are numbers, datetimes, strings or lists."
        )
    return values


def kind_of(values: Any) -> str | None:
    """What a column holds; None if all of it is missing."""
    if pd.isna(values).all():
        return None
    if isinstance(values.dtype, pd.StringDtype):
        return STRINGS
    if values.dtype.kind != "O":
        return _KIND_OF_DTYPE.get(values.dtype.kind, OBJECTS)
    kind = _KIND_OF_INFERRED.get(infer_dtype(values, skipna=True))
    if kind is None:
        kind = LISTS if all(is_list_like(v) or pd.isna(v) for v in values) else OBJECTS
    return kind


def is_numeric(values: Any, kind: str | None) -> bool:
    if isinstance(values.dtype, pd.CategoricalDtype):
        return False
    return kind in _NUMERIC or (kind is None and values.dtype.kind in "iufMm")


def _check_kind(
    values: Any, learned: str | None, allowed: set[str], name: int | str, first_row: int
) -> str | None:
    """What a column holds, which has to be one of what is allowed since `fit` saw `learned`."""
    kind = kind_of(values)
    if kind is None or kind in allowed or (kind == OBJECTS and _are_all(values, allowed)):
        return kind
    row = next(row for row in range(len(values)) if not _are_all(values[row : row + 1], allowed))
    wanted = "what fit saw" if learned else " or ".join(sorted(allowed))
    raise ValueError(
        f"Column {name!r} held {learned or 'nothing'} in fit but now holds {kind}, such as "
        f"{_plain(values[row])!r} in row {first_row + row}. Convert it to {wanted}."
    )


def _are_all(values: Any, allowed: set[str]) -> bool:
    """Whether each value, by itself, is of an allowed kind or missing."""
    kinds = {kind_of(values[row : row + 1]) for row in range(len(values))}
    return kinds <= allowed | {None}


def _plain(value: Any) -> Any:
    """A scalar of numpy as Python's own, which reads better; those of time only lose by it."""
    is_plain = not isinstance(value, np.generic) or value.dtype.kind in "mM"
    return value if is_plain else value.item()


def _refuse_infinity(numbers: np.ndarray, name: int | str, first_row: int) -> None:
    infinite = np.flatnonzero(np.isinf(numbers))
    if len(infinite):
        raise ValueError(
            f"Input X contains infinity.\nColumn {name!r} holds {numbers[infinite[0]]} in row "
            f"{first_row + infinite[0]}, and a side feature must be finite or missing: give NaN "
            "where it is not known."
        )
