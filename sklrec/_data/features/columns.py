"""Kinds of columns of side features: a class and an entry in `COLUMN_TYPES` for each."""
# SPDX-License-Identifier: BSD-3-Clause

import re
from abc import ABC, abstractmethod
from collections.abc import Set
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
from pandas.api.types import is_list_like

from sklrec._data.checks import (
    COLUMN_KINDS,
    COMPARED,
    DATETIMES,
    DURATIONS,
    LISTS,
    NUMBERS,
    OBJECTS,
    STRINGS,
    check_rows,
    column_kind,
    plain_scalar,
)
from sklrec._data.timestamps import read_timestamps
from sklrec._data.vocabulary import Vocabulary
from sklrec._utils.state.kinds import NAME, Array, Choice, Int, Part

N_BINS = 16  # largest number of quantile bins of a numeric column
# Arrays that a network takes, in the order of its embeddings, and their missing value.
INPUTS: dict[str, np.generic] = {
    "numeric": np.float32("nan"),
    "categorical": np.int64(0),
    "multi_valued": np.int64(0),
}
N_DATES = 100  # strings that must all be dates
_DATE = re.compile(r"(\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.]\d{4})([T ].*)?$")
_COMPARED = COMPARED & set(COLUMN_KINDS)


@dataclass(frozen=True)
class Column(ABC):
    """A column of X as an input of a network, and as rows of a table with weights."""

    name: int | str
    position: int
    kind: str | None  # of the values in `fit`; None if the column was empty

    _state = {
        "name": NAME,
        "position": Int(below="n_columns"),
        "kind": Choice(*COLUMN_KINDS, None),
    }

    input: ClassVar[str]  # of a network: one of INPUTS
    readable: ClassVar[Set[str]]  # kinds of values

    @classmethod
    @abstractmethod
    def suits(cls, values: Any, kind: str | None, *, as_category: bool) -> bool:
        """Whether to read a column in this way; the user may ask for categories."""

    @classmethod
    @abstractmethod
    def learn(
        cls,
        name: int | str,
        position: int,
        kind: str | None,
        values: Any,
        n_before: int,  # codes that earlier columns have taken in the network's table of values
        weight: np.ndarray | None,  # (n_rows,), 1 if None
    ) -> Self:
        """Learn a column from its values in `fit`."""

    def extend(self, values: Any, n_before: int) -> Self:
        """Learn what is new; `n_before` codes of the network's table are taken."""
        return self

    @property
    def n_values(self) -> int:
        """Number of codes in the network's table of values."""
        return len(getattr(self, "codes", (0,))) - 1

    @property
    @abstractmethod
    def n_rows(self) -> int:
        """Number of rows of the table; the first is for missing and unknown values."""

    @abstractmethod
    def encode(self, values: Any, first_row: int) -> np.ndarray:
        """Input of a network, (n_rows,) or (n_rows, n)."""

    @abstractmethod
    def rows(self, values: Any, first_row: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows of the table, and their weights, both (n_rows, n)."""

    def checked(self, values: Any, first_row: int) -> tuple[Any, str | None]:
        """Plain array of the values and their kind; raises if a value is of another kind."""
        values = as_plain_array(values, self.name)
        kind = column_kind(values)
        allowed = self.readable if self.kind in (None, OBJECTS) else {self.kind}
        if allowed & _COMPARED:
            allowed = allowed | _COMPARED
        if kind is None or kind in allowed:
            return values, kind
        of_rows = [column_kind(values[row : row + 1]) for row in range(len(values))]
        wrong = [row for row, k in enumerate(of_rows) if not (k is None or k in allowed)]
        if kind == OBJECTS and not wrong:
            return values, kind
        wanted = "what fit saw" if self.kind else " or ".join(sorted(allowed))
        raise ValueError(
            f"Column {self.name!r} held {self.kind or 'nothing'} in fit but now holds {kind}, "
            f"such as {plain_scalar(values[wrong[0]])!r} in row {first_row + wrong[0]}. "
            f"Convert it to {wanted}."
        )

    def check_finite(self, numbers: np.ndarray, first_row: int) -> None:
        """Raise if a number is infinite."""
        lack = "a finite side feature: give NaN where it is not known"
        check_rows(np.isinf(numbers), "infinity", lack, numbers, self.name, first_row)


@dataclass(frozen=True)
class NumericColumn(Column):
    """Numbers, datetimes (as seconds since 1970 in UTC) or time differences, among quantiles."""

    edges: np.ndarray  # quantiles in increasing order

    _state = {**Column._state, "edges": Array("float64", (range(1, N_BINS + 2),))}

    input = "numeric"
    readable = frozenset({NUMBERS, DATETIMES, DURATIONS})

    @classmethod
    def suits(cls, values, kind, *, as_category):
        if as_category or isinstance(values.dtype, pd.CategoricalDtype):
            return False
        return kind in cls.readable or (kind is None and values.dtype.kind in "iufMm")

    @classmethod
    def learn(cls, name, position, kind, values, n_before, weight):
        column = cls(name, position, kind, np.zeros(1))
        numbers = column._read(values, 0)
        is_present = ~np.isnan(numbers)
        if not is_present.any():
            return column
        numbers = numbers[is_present]
        edges = np.unique(numbers)
        if len(edges) > N_BINS + 1:
            # A row of weight 2 equals two rows.
            edges = np.quantile(
                numbers,
                np.linspace(0, 1, N_BINS + 1),
                weights=None if weight is None else weight[is_present],
                method="inverted_cdf",
            )
            edges = np.unique(edges)
        return replace(column, edges=edges)

    @property
    def n_rows(self):
        return 1 + len(self.edges)

    def encode(self, values, first_row):
        """Positions among the edges, clipped to ± half their number of gaps, or NaN."""
        numbers = self._read(values, first_row)
        middle = (len(self.edges) - 1) / 2
        positions = np.interp(numbers, self.edges, np.arange(len(self.edges)) - middle)
        return np.where(np.isnan(numbers), np.nan, positions)

    def rows(self, values, first_row):
        """Rows of the two quantiles on both sides of a number."""
        last = len(self.edges)
        positions = self.encode(values, first_row) + (last - 1) / 2
        # A column that was empty in `fit` has no scale for later numbers.
        missing = np.isnan(positions) | (self.kind is None)
        low = np.where(missing, 0, np.floor(positions)).clip(0, max(0, last - 2))
        share = np.where(missing, 0, positions - low)
        rows = np.stack([low + 1, (low + 2).clip(max=last)], axis=1).astype(np.int64)
        rows[missing] = 0
        return rows, np.stack([1 - share, share], axis=1)

    def _read(self, values: Any, first_row: int) -> np.ndarray:
        """Values as float64, NaN for missing ones."""
        values, kind = self.checked(values, first_row)
        numbers = np.full(len(values), np.nan)
        is_present = ~pd.isna(values)
        present = values[is_present]
        if kind == DATETIMES:
            numbers[is_present] = read_timestamps(present, self.name, first_row=first_row) / 1e9
        elif kind == DURATIONS:
            numbers[is_present] = pd.TimedeltaIndex(present).total_seconds()
        else:
            numbers[is_present] = np.asarray(present, dtype=np.float64)
        self.check_finite(numbers, first_row)
        return numbers


@dataclass(frozen=True)
class CategoricalColumn(Column):
    """Categories, each with a code in the network's table of values and with a row."""

    vocabulary: Vocabulary
    codes: np.ndarray  # (n_values + 1,) in the network's table; codes[0] is 0

    _state = {
        **Column._state,
        "vocabulary": Part(Vocabulary, lambda vocabulary: {"n": len(vocabulary)}),
        "codes": Array("int64", ("n+1",), below=2**62),
    }

    input = "categorical"
    readable = frozenset(COLUMN_KINDS)

    @classmethod
    def suits(cls, values, kind, *, as_category):
        return True

    @classmethod
    def learn(cls, name, position, kind, values, n_before, weight):
        nothing = Vocabulary(np.empty(0, dtype=object), name)
        return cls(name, position, kind, nothing, np.zeros(1, int)).extend(values, n_before)

    def extend(self, values, n_before):
        new = self._read(values, 0)[0]
        kind, vocabulary, n_known = self.kind, self.vocabulary, len(self.vocabulary)
        if n_known == 0:
            kind = column_kind(as_plain_array(values, self.name)) or kind
            vocabulary = Vocabulary.from_values(new, self.name)
        elif len(new):
            vocabulary = vocabulary.extend(new)
        new_codes = np.arange(n_before + 1, n_before + 1 + len(vocabulary) - n_known)
        codes = np.append(self.codes, new_codes)
        return replace(self, vocabulary=vocabulary, codes=codes, kind=kind)

    @property
    def n_rows(self):
        return 1 + len(self.vocabulary)

    def encode(self, values, first_row):
        """Codes, 0 for unknown and missing values."""
        return self.codes[self._places(values, first_row)[:, 0]]

    def rows(self, values, first_row):
        """Rows of the different values of a cell, which share a weight."""
        places = self._places(values, first_row)
        is_first = places > 0
        is_first[:, 1:] &= places[:, 1:] != places[:, :-1]  # a repetition counts once
        n_values = is_first.sum(1, keepdims=True)
        is_first[:, -1] |= n_values[:, 0] == 0  # an empty cell has one missing value
        return places, is_first / np.sqrt(n_values.clip(min=1))

    def _places(self, values: Any, first_row: int) -> np.ndarray:  # (n_rows, n)
        """Sorted codes of the vocabulary, 0 for unknown and missing values."""
        found, is_present = self._read(values, first_row)
        places = np.zeros(is_present.shape, dtype=np.int64)
        if len(found):
            places[is_present] = self.vocabulary.codes(found)
        # The order of a set is not fixed, and sums should not depend on it.
        return np.sort(places, axis=1)

    def _read(self, values: Any, first_row: int) -> tuple[Any, np.ndarray]:
        """Values of all rows, and the mask (n_rows, n) of their places."""
        values, kind = self.checked(values, first_row)
        is_present = ~pd.isna(values)
        if kind == NUMBERS:
            numbers = np.where(is_present, values, np.nan).astype(np.float64)
            self.check_finite(numbers, first_row)
        return values[is_present], np.asarray(is_present)[:, np.newaxis]


@dataclass(frozen=True)
class MultiValuedColumn(CategoricalColumn):
    """Lists, tuples, sets or arrays of any number of categories."""

    input = "multi_valued"
    readable = frozenset({LISTS})

    @classmethod
    def suits(cls, values, kind, *, as_category):
        return kind == LISTS

    def encode(self, values, first_row):
        """Sorted codes, 0 for unknown and missing values."""
        return self.codes[self._places(values, first_row)]

    def _read(self, values, first_row):
        values, _ = self.checked(values, first_row)
        rows = [
            [v for v in _in_order(row) if is_list_like(v) or not pd.isna(v)] if is_present else []
            for row, is_present in zip(
                np.asarray(values, dtype=object), ~pd.isna(values), strict=True
            )
        ]
        lengths = np.fromiter(map(len, rows), int, len(rows))
        is_place = np.arange(lengths.max(initial=1)) < lengths[:, np.newaxis]
        return list(chain.from_iterable(rows)), is_place


def _in_order(values: Any) -> Any:
    """Values of a list, or of a set in an order that does not depend on the seed of hashes."""
    return sorted(values, key=repr) if isinstance(values, Set) else values


# The last one that suits a column reads it.
COLUMN_TYPES: dict[str, type[Column]] = {
    "categorical": CategoricalColumn,
    "multi_valued": MultiValuedColumn,
    "numeric": NumericColumn,
}


def learn_column(
    name: int | str,
    position: int,
    values: Any,
    n_before: int,
    *,
    as_category: bool,
    weight: np.ndarray | None,
) -> Column:
    """Choose how to read a column, and learn it."""
    kind = column_kind(as_plain_array(values, name))
    if kind == STRINGS and not (as_category or isinstance(values.dtype, pd.CategoricalDtype)):
        _check_no_dates(values, name)
    types = reversed(COLUMN_TYPES.values())
    found = next(t for t in types if t.suits(values, kind, as_category=as_category))
    return found.learn(name, position, kind, values, n_before, weight)


def _check_no_dates(values: Any, name: int | str) -> None:
    """Raise if all strings are dates, each of which would become a category."""
    present = pd.Series(values, dtype=values.dtype).dropna()  # pandas cannot convert all strings
    if all(_DATE.match(value) for value in present[:N_DATES]):
        raise ValueError(
            f"Column {name!r} holds dates as strings, such as {present.iloc[0]!r}, and would have "
            f"{present.nunique()} categories. Convert it with pandas.to_datetime, or name it in "
            "categorical_features."
        )


def as_plain_array(values: Any, name: int | str) -> Any:
    """Values without a categorical dtype."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        values = np.asarray(values)
    if values.dtype.kind == "c":
        raise ValueError(
            f"Complex data not supported: column {name!r} has dtype {values.dtype}. Side features "
            "are numbers, datetimes, strings or lists."
        )
    return values
