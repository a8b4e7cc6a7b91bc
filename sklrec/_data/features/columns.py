"""Columns of side features: numbers among their quantiles, and values as codes."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Set
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import is_list_like

from sklrec._data import kinds
from sklrec._data.kinds import LISTS, NUMBERS, kind_of, plain_scalar
from sklrec._data.timestamps import read_timestamps
from sklrec._data.vocabulary import Vocabulary

N_BINS = 16  # largest number of quantile bins of a numeric column
_NUMERIC = {NUMBERS, kinds.DATETIMES, kinds.DURATIONS}


@dataclass(frozen=True)
class NumericColumn:
    """A column of numbers, datetimes (as seconds since 1970 in UTC) or time differences."""

    name: int | str
    position: int
    kind: str | None  # in `fit`; None if the column was empty
    edges: np.ndarray  # quantiles in increasing order

    @classmethod
    def learn(
        cls,
        name: int | str,
        position: int,
        kind: str | None,
        values: Any,
        weight: np.ndarray | None = None,  # (n_rows,), 1 if None
    ) -> "NumericColumn":
        """Learn the quantiles of a column."""
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

    def encode(self, values: Any, first_row: int) -> np.ndarray:
        """Positions among the edges, clipped to ± half their number of gaps, or NaN."""
        numbers = self._read(values, first_row)
        middle = (len(self.edges) - 1) / 2
        positions = np.interp(numbers, self.edges, np.arange(len(self.edges)) - middle)
        return np.where(np.isnan(numbers), np.nan, positions)

    def _read(self, values: Any, first_row: int) -> np.ndarray:
        """Values as float64, NaN for missing ones."""
        values = as_plain_array(values, self.name)
        allowed = _NUMERIC if self.kind is None else {self.kind}
        if NUMBERS in allowed:
            allowed = allowed | {kinds.BOOLEANS}
        kind = _checked_kind(values, self.kind, allowed, self.name, first_row)
        numbers = np.full(len(values), np.nan)
        is_present = ~pd.isna(values)
        present = values[is_present]
        if kind == kinds.DATETIMES:
            numbers[is_present] = read_timestamps(present, self.name, first_row=first_row) / 1e9
        elif kind == kinds.DURATIONS:
            numbers[is_present] = pd.TimedeltaIndex(present).total_seconds()
        else:
            numbers[is_present] = np.asarray(present, dtype=np.float64)
        _check_finite(numbers, self.name, first_row)
        return numbers


@dataclass(frozen=True)
class ValuesColumn:
    """A column of categories, or of any number of categories in each row (multi-valued)."""

    name: int | str
    position: int
    kind: str | None  # in `fit`; None if the column was empty
    vocabulary: Vocabulary
    codes: np.ndarray  # (n_values + 1,) in a table that several columns share; codes[0] is 0
    is_multi_valued: bool

    @classmethod
    def learn(
        cls, name: int | str, position: int, kind: str | None, values: Any, n_before: int
    ) -> "ValuesColumn":
        """Learn the values of a column; `n_before` codes of the table are taken."""
        nothing = Vocabulary(np.empty(0, dtype=object), name)
        column = cls(name, position, kind, nothing, np.zeros(1, int), kind == LISTS)
        return column.extend(values, n_before)

    def extend(self, values: Any, n_before: int) -> "ValuesColumn":
        """Add the values that are new; `n_before` codes of the table are taken."""
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

    def encode(self, values: Any, first_row: int) -> np.ndarray:
        """Codes, 0 for unknown and missing values; sorted rows of codes if multi-valued."""
        found, lengths = self._read(values, first_row)
        local = self.vocabulary.codes(found) if len(found) else np.zeros(0, int)
        width = int(lengths.max(initial=1))
        codes = np.zeros((len(lengths), width), dtype=np.int64)
        codes[np.arange(width) < lengths[:, np.newaxis]] = self.codes[local]
        # The order of a set is not fixed, and sums should not depend on it.
        return np.sort(codes, axis=1) if self.is_multi_valued else codes[:, 0]

    def _read(self, values: Any, first_row: int) -> tuple[Any, np.ndarray]:
        """Values of all rows, without missing ones, and the number of values in each row."""
        values = as_plain_array(values, self.name)
        if self.kind is None or self.kind == kinds.OBJECTS:
            allowed: Set[str] = set(kinds.COLUMN_KINDS)
        else:
            equal = {NUMBERS, kinds.BOOLEANS}  # since True equals 1
            allowed = equal if self.kind in equal else {self.kind}
        kind = _checked_kind(values, self.kind, allowed, self.name, first_row)
        is_present = ~pd.isna(values)
        if not self.is_multi_valued:
            if kind == NUMBERS:
                numbers = np.where(is_present, values, np.nan).astype(np.float64)
                _check_finite(numbers, self.name, first_row)
            return values[is_present], is_present.astype(int)
        rows = [
            [v for v in row if is_list_like(v) or not pd.isna(v)] if known else []
            for row, known in zip(np.asarray(values, dtype=object), is_present, strict=True)
        ]
        return list(chain.from_iterable(rows)), np.fromiter(map(len, rows), int, len(rows))


def as_plain_array(values: Any, name: int | str) -> Any:
    """Values without sparse and categorical dtypes."""
    if isinstance(values.dtype, pd.CategoricalDtype | pd.SparseDtype):
        values = np.asarray(values)
    if values.dtype.kind == "c":
        raise ValueError(
            f"Complex data not supported: column {name!r} has dtype {values.dtype}. Side features "
            "are numbers, datetimes, strings or lists."
        )
    return values


def column_kind(values: Any) -> str | None:
    """Kind of the values of a column, one of COLUMN_KINDS, or None if all are missing."""
    if pd.isna(values).all():
        return None
    kind = kind_of(values, skipna=True)
    if kind == kinds.OBJECTS and all(is_list_like(v) or pd.isna(v) for v in values):
        return LISTS
    return kinds.MERGED.get(kind, kind)


def is_numeric(values: Any, kind: str | None) -> bool:
    """Whether a column is read as numbers by default."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        return False
    return kind in _NUMERIC or (kind is None and values.dtype.kind in "iufMm")


def _checked_kind(
    values: Any, learned: str | None, allowed: Set[str], name: int | str, first_row: int
) -> str | None:
    """Kind of a column; raises if a value is of none of the allowed kinds."""
    kind = column_kind(values)
    if kind is None or kind in allowed:
        return kind
    of_rows = [column_kind(values[row : row + 1]) for row in range(len(values))]
    wrong = [row for row, k in enumerate(of_rows) if not (k is None or k in allowed)]
    if kind == kinds.OBJECTS and not wrong:
        return kind
    wanted = "what fit saw" if learned else " or ".join(sorted(allowed))
    raise ValueError(
        f"Column {name!r} held {learned or 'nothing'} in fit but now holds {kind}, such as "
        f"{plain_scalar(values[wrong[0]])!r} in row {first_row + wrong[0]}. "
        f"Convert it to {wanted}."
    )


def _check_finite(numbers: np.ndarray, name: int | str, first_row: int) -> None:
    """Raise if a number is infinite."""
    infinite = np.flatnonzero(np.isinf(numbers))
    if len(infinite):
        raise ValueError(
            f"Input X contains infinity.\nColumn {name!r} holds {numbers[infinite[0]]} in row "
            f"{first_row + infinite[0]}, and a side feature must be finite or missing: give NaN "
            "where it is not known."
        )
