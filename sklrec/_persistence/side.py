"""Side features in a model file: columns, and known values of users and items."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from sklrec._data.features.blocks import OWNERS, SIDES, Column, SideBlock
from sklrec._data.features.columns import NumericColumn, ValuesColumn
from sklrec._data.features.groups import SideFeatures
from sklrec._data.features.known import KnownFeatures
from sklrec._data.kinds import COLUMN_KINDS
from sklrec._persistence.ids import read_vocabulary, write_vocabulary
from sklrec._persistence.parts import ANY, PartReader, PartWriter

GROUPS = ("numeric", "categorical", "multi_valued")


def write_side_features(part: PartWriter, side: SideFeatures) -> None:
    """Write the columns of side features."""
    _write_columns(part, _columns(side))


def read_side_features(part: PartReader, names: Sequence[int | str]) -> SideFeatures:
    """Read the columns of side features."""
    groups: dict[str, Any] = {group: [] for group in GROUPS}
    for column in _read_columns(part, names):
        groups[_group(column)].append(column)
    side = SideFeatures(**groups)
    for column in (*side.categorical, *side.multi_valued):
        if not (column.codes.min() >= 0 and column.codes.max() <= side.n_values):
            part.refuse("", f"should have codes from 0 to {side.n_values}")
    return side


def write_side_blocks(part: PartWriter, blocks: dict[str, SideBlock]) -> None:
    """Write the side features of users, items and contexts."""
    for name in SIDES:
        _write_columns(part.part(name), blocks[name].columns)


def read_side_blocks(part: PartReader, names: Sequence[int | str]) -> dict[str, SideBlock]:
    """Read the side features of users, items and contexts."""
    blocks = {name: SideBlock(_read_columns(part.part(name), names)) for name in SIDES}
    for column in (column for block in blocks.values() for column in block.columns):
        if isinstance(column, ValuesColumn) and (
            column.codes[0] != 0 or (np.diff(column.codes[1:]) != 1).any()
        ):
            part.refuse("", f"should have consecutive codes in column {column.name!r}")
    return blocks


def write_known_features(part: PartWriter, known: KnownFeatures, side: SideFeatures) -> None:
    """Write the known side features of users and items."""
    side_of = known.side_of or {}
    part.put("side_of", [side_of[column.name] for column in _columns(side)])
    for owner in OWNERS:
        for name, table in known.tables[owner].items():
            part.array(f"{owner}.{name}", table)


def read_known_features(
    part: PartReader, side: SideFeatures, n_users: int, n_items: int
) -> KnownFeatures:
    """Read the known side features of users and items."""
    columns, owners = _columns(side), part.values("side_of", str)
    if len(owners) != len(columns) or not set(owners) <= set(SIDES):
        part.refuse("side_of", f"should give each column one of {', '.join(SIDES)}")
    tables: dict[str, dict[str, np.ndarray]] = {owner: {} for owner in OWNERS}
    for owner, n in zip(OWNERS, (n_users, n_items), strict=True):
        n_values = side.n_values + 1
        if m := len(side.numeric):
            tables[owner]["numeric"] = part.array(f"{owner}.numeric", "float32", (n, m))
        if m := len(side.categorical):
            values = part.codes(f"{owner}.categorical", (n, m), n_values)
            tables[owner]["categorical"] = values
        if m := len(side.multi_valued):
            values = part.codes(f"{owner}.multi_valued", (n, m, ANY), n_values)
            tables[owner]["multi_valued"] = values
    side_of = {column.name: owner for column, owner in zip(columns, owners, strict=True)}
    return KnownFeatures(side_of, np.array([o == "user" for o in owners], dtype=bool), tables)


def _columns(side: SideFeatures) -> list[Column]:
    return [*side.numeric, *side.categorical, *side.multi_valued]


def _group(column: Column) -> str:
    if isinstance(column, NumericColumn):
        return "numeric"
    return "multi_valued" if column.is_multi_valued else "categorical"


def _write_columns(part: PartWriter, columns: Iterable[Column]) -> None:
    columns = list(columns)
    part.put("n_columns", len(columns))
    for k, column in enumerate(columns):
        one = part.part(str(k))
        one.put("position", column.position)
        one.put("kind", column.kind)
        one.put("group", _group(column))
        if isinstance(column, NumericColumn):
            one.array("edges", column.edges)
        else:
            one.array("codes", column.codes)
            write_vocabulary(one.part("vocabulary"), column.vocabulary)


def _read_columns(part: PartReader, names: Sequence[int | str]) -> list[Column]:
    n_columns = part.count("n_columns", len(names))
    return [_read_column(part.part(str(k)), names) for k in range(n_columns)]


def _read_column(part: PartReader, names: Sequence[int | str]) -> Column:
    position = part.count("position", len(names) - 1)
    name = names[position]
    kind = part.choice("kind", *COLUMN_KINDS, None)
    group = part.choice("group", *GROUPS)
    if group == "numeric":
        return NumericColumn(name, position, kind, part.array("edges", "float64", (ANY,)))
    vocabulary = read_vocabulary(part.part("vocabulary"), name)
    codes = part.array("codes", "int64", (len(vocabulary) + 1,))
    return ValuesColumn(name, position, kind, vocabulary, codes, group == GROUPS[2])
