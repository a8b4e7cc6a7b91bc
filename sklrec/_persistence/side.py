"""Side features in a model file: columns, and known values of users and items."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Iterable, Sequence

import numpy as np

from sklrec._data.checks import COLUMN_KINDS
from sklrec._data.features.columns import (
    COLUMN_TYPES,
    INPUTS,
    CategoricalColumn,
    Column,
    NumericColumn,
)
from sklrec._data.features.side_features import (
    OWNERS,
    SIDES,
    KnownFeatures,
    SideBlock,
    SideFeatures,
)
from sklrec._persistence.ids import read_vocabulary, write_vocabulary
from sklrec._persistence.parts import ANY, PartReader, PartWriter


def write_side_features(part: PartWriter, side: SideFeatures) -> None:
    """Write the columns of side features."""
    _write_columns(part, side.columns)


def read_side_features(part: PartReader, names: Sequence[int | str]) -> SideFeatures:
    """Read the columns of side features."""
    side = SideFeatures(_read_columns(part, names))
    for column in side.columns:
        if isinstance(column, CategoricalColumn):
            if not (column.codes.min() >= 0 and column.codes.max() <= side.n_values):
                part.refuse("", f"should have codes from 0 to {side.n_values}")
    return side


def write_side_blocks(part: PartWriter, blocks: dict[str, SideBlock]) -> None:
    """Write the side features of users, items and contexts."""
    for name in SIDES:
        _write_columns(part.part(name), blocks[name].columns)


def read_side_blocks(part: PartReader, names: Sequence[int | str]) -> dict[str, SideBlock]:
    """Read the side features of users, items and contexts."""
    return {name: SideBlock(_read_columns(part.part(name), names)) for name in SIDES}


def write_known_features(part: PartWriter, known: KnownFeatures, side: SideFeatures) -> None:
    """Write the known side features of users and items."""
    side_of = known.side_of or {}
    part.put("side_of", [side_of[column.name] for column in side.columns])
    for owner in OWNERS:
        for name, table in known.tables[owner].items():
            part.array(f"{owner}.{name}", table)


def read_known_features(
    part: PartReader, side: SideFeatures, n_users: int, n_items: int
) -> KnownFeatures:
    """Read the known side features of users and items."""
    columns, owners = side.columns, part.values("side_of", str)
    if len(owners) != len(columns) or not set(owners) <= set(SIDES):
        part.refuse("side_of", f"should give each column one of {', '.join(SIDES)}")
    tables: dict[str, dict[str, np.ndarray]] = {owner: {} for owner in OWNERS}
    for owner, n in zip(OWNERS, (n_users, n_items), strict=True):
        for name, of_input in side.inputs.items():
            if not of_input:
                continue
            place, shape = f"{owner}.{name}", (n, len(of_input))
            lengths = (ANY,) if name == "multi_valued" else ()
            if INPUTS[name].dtype == np.float32:
                tables[owner][name] = part.array(place, "float32", shape)
            else:
                values = part.codes(place, (*shape, *lengths), side.n_values + 1)
                tables[owner][name] = values
    side_of = {column.name: owner for column, owner in zip(columns, owners, strict=True)}
    return KnownFeatures(side_of, np.array([o == "user" for o in owners], dtype=bool), tables)


def _write_columns(part: PartWriter, columns: Iterable[Column]) -> None:
    columns = list(columns)
    part.put("n_columns", len(columns))
    for k, column in enumerate(columns):
        one = part.part(str(k))
        one.put("position", column.position)
        one.put("kind", column.kind)
        types = {value: name for name, value in COLUMN_TYPES.items()}
        one.put("type", types[type(column)])
        if isinstance(column, NumericColumn):
            one.array("edges", column.edges)
        elif isinstance(column, CategoricalColumn):
            one.array("codes", column.codes)
            write_vocabulary(one.part("vocabulary"), column.vocabulary)


def _read_columns(part: PartReader, names: Sequence[int | str]) -> list[Column]:
    n_columns = part.count("n_columns", len(names))
    return [_read_column(part.part(str(k)), names) for k in range(n_columns)]


def _read_column(part: PartReader, names: Sequence[int | str]) -> Column:
    position = part.count("position", len(names) - 1)
    name = names[position]
    kind = part.choice("kind", *COLUMN_KINDS, None)
    column_type = COLUMN_TYPES[part.choice("type", *COLUMN_TYPES)]
    if column_type is NumericColumn:
        return NumericColumn(name, position, kind, part.array("edges", "float64", (ANY,)))
    vocabulary = read_vocabulary(part.part("vocabulary"), name)
    codes = part.array("codes", "int64", (len(vocabulary) + 1,))
    assert issubclass(column_type, CategoricalColumn)
    return column_type(name, position, kind, vocabulary, codes)
