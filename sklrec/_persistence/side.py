"""Side features in a model file: their columns, and what is known of users and items."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from sklrec._data.features.blocks import OWNERS, SIDES, SideBlock
from sklrec._data.features.columns import (
    BOOLEANS,
    BYTES,
    DATETIMES,
    DURATIONS,
    LISTS,
    NUMBERS,
    OBJECTS,
    STRINGS,
    NumericColumn,
    ValuesColumn,
)
from sklrec._data.features.groups import SideFeatures
from sklrec._data.features.known import KnownFeatures
from sklrec._persistence.parts import ANY, PartReader, PartWriter
from sklrec._persistence.vocabularies import plain_name, read_vocabulary, write_vocabulary

NUMERIC_KINDS = (NUMBERS, DATETIMES, DURATIONS, None)
VALUE_KINDS = (*NUMERIC_KINDS, BOOLEANS, STRINGS, BYTES, LISTS, OBJECTS)
GROUPS = ("numeric", "categorical", "multi_valued")


class Columns:
    """The columns of X that side features may be in.

    Parameters
    ----------
    names : sequence of int or str
        What all columns of X are called.
    id_positions : sequence of int
        Positions of the columns of IDs.
    """

    def __init__(self, names: Sequence[int | str], id_positions: Sequence[int]):
        self.names = names
        self._free = set(range(len(names))) - set(id_positions)

    def read(self, part: PartReader) -> tuple[int | str, int]:
        """Read the name and the position of a column, which no other has.

        Parameters
        ----------
        part : PartReader
            Where from.

        Returns
        -------
        name : int or str
            The name.
        position : int
            The position.
        """
        position = part.count("position")
        if position not in self._free:
            part.refuse("position", "should be that of a column of X that nothing else is in")
        self._free.remove(position)
        return self.names[position], position


def _write_columns(part: PartWriter, columns: Iterable[NumericColumn | ValuesColumn]) -> None:
    columns = list(columns)
    part.put("n_columns", len(columns))
    for k, column in enumerate(columns):
        one = part.part(str(k))
        one.put("position", column.position)
        one.put("kind", column.kind)
        one.put("numeric", isinstance(column, NumericColumn))
        if isinstance(column, NumericColumn):
            one.array("edges", column.edges)
        else:
            one.put("is_multi_valued", column.is_multi_valued)
            one.array("codes", column.codes)
            write_vocabulary(one.part("vocabulary"), column.vocabulary)


def _read_columns(part: PartReader, columns: Columns) -> list[NumericColumn | ValuesColumn]:
    return [_read_column(part.part(str(k)), columns) for k in range(_n_columns(part, columns))]


def _n_columns(part: PartReader, columns: Columns) -> int:
    n = part.count("n_columns")
    if n > len(columns.names):
        part.refuse("n_columns", f"should be at most {len(columns.names)}")
    return n


def _read_column(part: PartReader, columns: Columns) -> NumericColumn | ValuesColumn:
    name, position = columns.read(part)
    if part.value("numeric", bool):
        kind = part.choice("kind", *NUMERIC_KINDS)
        edges = part.array("edges", "float64", (ANY,))
        if not (len(edges) and np.isfinite(edges).all() and (edges[1:] > edges[:-1]).all()):
            part.refuse("edges", "should hold finite numbers in increasing order")
        return NumericColumn(name, position, kind, edges)
    kind = part.choice("kind", *VALUE_KINDS)
    is_multi_valued = part.value("is_multi_valued", bool)
    vocabulary = read_vocabulary(part.part("vocabulary"))
    codes = part.array("codes", "int64", (len(vocabulary) + 1,))
    return ValuesColumn(name, position, kind, vocabulary, codes, is_multi_valued)


def write_side_features(part: PartWriter, side: SideFeatures) -> None:
    """Write columns by what a network takes them for.

    Parameters
    ----------
    part : PartWriter
        Where to.
    side : SideFeatures
        The columns.
    """
    for name in GROUPS:
        _write_columns(part.part(name), getattr(side, name))


def read_side_features(part: PartReader, columns: Columns) -> SideFeatures:
    """Read what `write_side_features` wrote.

    Parameters
    ----------
    part : PartReader
        Where from.
    columns : Columns
        Where they may be.

    Returns
    -------
    SideFeatures
        The columns.
    """
    groups: dict[str, list[Any]] = {
        name: _read_columns(part.part(name), columns) for name in GROUPS
    }
    _check_group(part, groups["numeric"], NumericColumn)
    _check_group(part, groups["categorical"], ValuesColumn, is_multi_valued=False)
    _check_group(part, groups["multi_valued"], ValuesColumn, is_multi_valued=True)
    side = SideFeatures(**groups)
    codes = [column.codes for column in (*side.categorical, *side.multi_valued)]
    of_values = np.concatenate([np.zeros(0, np.int64), *(c[1:] for c in codes)])
    if any(c[0] != 0 for c in codes) or not np.array_equal(
        np.sort(of_values), np.arange(1, side.n_values + 1)
    ):
        part.refuse("", f"should give its values the codes 1 to {side.n_values}, each once")
    return side


def _check_group(part: PartReader, columns: list[Any], kind: type, **wanted: bool) -> None:
    for column in columns:
        if type(column) is not kind or any(getattr(column, n) != v for n, v in wanted.items()):
            part.refuse("", f"holds column {column.name!r} in a group of another kind")


def write_side_blocks(part: PartWriter, blocks: dict[str, SideBlock]) -> None:
    """Write columns by what they belong to.

    Parameters
    ----------
    part : PartWriter
        Where to.
    blocks : dict of str to SideBlock
        The columns of users, of items and of ratings.
    """
    for name in SIDES:
        _write_columns(part.part(name), blocks[name].columns)


def read_side_blocks(part: PartReader, columns: Columns) -> dict[str, SideBlock]:
    """Read what `write_side_blocks` wrote.

    Parameters
    ----------
    part : PartReader
        Where from.
    columns : Columns
        Where they may be.

    Returns
    -------
    dict of str to SideBlock
        The columns.
    """
    blocks = {name: SideBlock(_read_columns(part.part(name), columns)) for name in SIDES}
    for block in blocks.values():
        for column in block.columns:
            if isinstance(column, ValuesColumn):
                first = int(column.codes[1]) if len(column.codes) > 1 else 1
                wanted = np.arange(first, first + len(column.codes) - 1)
                if first < 1 or column.codes[0] != 0 or (column.codes[1:] != wanted).any():
                    part.refuse("", f"should count the values of column {column.name!r} up")
    return blocks


def write_known_features(part: PartWriter, known: KnownFeatures) -> None:
    """Write what is known of users and items.

    Parameters
    ----------
    part : PartWriter
        Where to.
    known : KnownFeatures
        What is known.
    """
    side_of = known.side_of or {}
    part.put("side_of", [[plain_name(name), side] for name, side in side_of.items()])
    for side in OWNERS:
        of_side = part.part(side)
        for name, table in known.tables[side].items():
            of_side.array(name, table)


def read_known_features(
    part: PartReader, side: SideFeatures, n_rows: dict[str, int]
) -> KnownFeatures:
    """Read what `write_known_features` wrote.

    Parameters
    ----------
    part : PartReader
        Where from.
    side : SideFeatures
        The columns.
    n_rows : dict of str to int
        Number of codes of users and of items, 0 included.

    Returns
    -------
    KnownFeatures
        What is known.
    """
    groups = {name: getattr(side, name) for name in GROUPS}
    columns = [column for group in groups.values() for column in group]
    pairs = part.value("side_of", list)
    if not all(type(pair) is list and len(pair) == 2 for pair in pairs):
        part.refuse("side_of", "should be a list of pairs")
    if sorted(str(pair[0]) for pair in pairs) != sorted(str(c.name) for c in columns):
        part.refuse("side_of", "should name each column of side features once")
    names = {column.name: column.name for column in columns}
    try:
        side_of = {names[name]: owner for name, owner in pairs}
    except (KeyError, TypeError):
        part.refuse("side_of", "should name each column of side features once")
    if not all(type(owner) is str and owner in SIDES for owner in side_of.values()):
        part.refuse("side_of", f"should give each column one of {', '.join(SIDES)}")
    tables: dict[str, dict[str, np.ndarray]] = {}
    for owner in OWNERS:
        of_owner, n, tables[owner] = part.part(owner), n_rows[owner], {}
        if side.numeric:
            numeric = of_owner.array("numeric", "float32", (n, len(side.numeric)))
            if np.isinf(numeric).any():
                of_owner.refuse("numeric", "should be finite, or NaN where nothing is known")
            tables[owner]["numeric"] = numeric
        if side.categorical:
            shape: tuple[int | None, ...] = (n, len(side.categorical))
            tables[owner]["categorical"] = of_owner.codes("categorical", shape, side.n_values + 1)
        if side.multi_valued:
            shape = (n, len(side.multi_valued), ANY)
            values = of_owner.codes("multi_valued", shape, side.n_values + 1)
            if values.shape[2] == 0:
                of_owner.refuse("multi_valued", "should have room for a value")
            tables[owner]["multi_valued"] = values
    of_users = np.array([side_of[column.name] == "user" for column in columns], dtype=bool)
    return KnownFeatures(side_of, of_users, tables)
