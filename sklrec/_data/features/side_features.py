"""Side features: the columns of X that hold no IDs, as arrays for the models."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Any

import numpy as np

from sklrec._data.checks import NUMBERS
from sklrec._data.features.columns import COLUMN_TYPES, INPUTS, N_BINS, Column, learn_column
from sklrec._data.numbers import numbers_of
from sklrec._data.tables import Rows, Table, column_values, resolve_columns
from sklrec._utils.state.kinds import NAME, Array, Choice, Many, Maybe, Part, Record
from sklrec._utils.warnings import warn

OWNERS = ("user", "item")
SIDES = (*OWNERS, "context")
COLUMNS = Many(Part(COLUMN_TYPES))


class SideFeatures:
    """Immutable map of columns of X to the arrays that a network takes."""

    _state = {"columns": COLUMNS}

    def __init__(self, columns: Iterable[Column] = ()):
        columns = sorted(columns, key=lambda column: column.position)
        self.inputs = {name: tuple(c for c in columns if c.input == name) for name in INPUTS}
        self.columns = sum(self.inputs.values(), ())
        self.numeric, self.categorical, self.multi_valued = self.inputs.values()

    @classmethod
    def _from_state(cls, columns: list[Column]) -> "SideFeatures":
        side = cls(columns)
        for column in side.columns:
            if max(getattr(column, "codes", (0,))) > side.n_values:
                raise ValueError(f"{column.name!r} should have codes from 0 to {side.n_values}")
        return side

    def __repr__(self) -> str:
        named = {name: [c.name for c in columns] for name, columns in self.inputs.items()}
        return f"<SideFeatures {', '.join(f'{k}={v}' for k, v in named.items())}>"

    @property
    def n_values(self) -> int:
        """Number of values of all categorical and multi-valued columns."""
        return sum(column.n_values for column in self.columns)

    @property
    def lengths(self) -> dict[str, int]:
        """Lengths in a network, by the names of its arguments."""
        of_inputs = {f"n_{name}": len(columns) for name, columns in self.inputs.items()}
        return {**of_inputs, "n_values": self.n_values, "n_bins": N_BINS}

    @classmethod
    def learn(
        cls,
        estimator: Any,
        X: Table,
        id_positions: Sequence[int],
        *,
        categorical_features: Any = "from_dtype",
        columns: Any = "all",
        weight: np.ndarray | None = None,  # (n_rows,), 1 if None
        y: np.ndarray | None = None,  # (n_rows,), ratings that no column may equal
    ) -> "SideFeatures":
        """Learn the given columns, or all columns that hold no IDs."""
        categorical = _categorical_positions(estimator, categorical_features, X)
        names = getattr(estimator, "feature_names_in_", range(X.shape[1]))
        learned: list[Column] = []
        n_values = 0
        for position in _feature_positions(estimator, columns, X, id_positions):
            values, as_category = column_values(X, position), position in categorical
            column = learn_column(
                names[position], position, values, n_values, as_category=as_category, weight=weight
            )
            if y is not None and column.kind == NUMBERS:
                _warn_of_ratings(values, column.name, y)
            n_values += column.n_values
            learned.append(column)
        return cls(learned)

    def extend(self, X: Table) -> "SideFeatures":
        """Add new values of categorical and multi-valued columns; quantiles stay."""
        n_values = self.n_values
        columns = []
        for column in self.columns:
            grown = column.extend(column_values(X, column.position), n_values)
            n_values += grown.n_values - column.n_values
            columns.append(grown)
        return SideFeatures(columns)

    def arrays(self, X: Table, rows: Rows = slice(None)) -> dict[str, np.ndarray]:
        """Arrays (n_rows, n_columns[, max_values]) of the inputs that have columns."""
        arrays = {}
        for name, columns in self.inputs.items():
            encoded = [column.encode(*_cells(column, X, rows)) for column in columns]
            if encoded and encoded[0].ndim > 1:
                width = max(codes.shape[1] for codes in encoded)
                encoded = [_pad_left(codes, width) for codes in encoded]
            if encoded:
                arrays[name] = np.stack(encoded, axis=1).astype(INPUTS[name].dtype, copy=False)
        return arrays


class SideBlock:
    """Immutable map of columns to rows of a table, with weights.

    The first row of each column stands for missing and unknown values. A category has one row,
    the values of a multi-valued cell share a weight, and a number lies between the rows of two
    quantiles.
    """

    _state = {"columns": COLUMNS}

    def __init__(self, columns: Iterable[Column] = ()):
        self.columns = tuple(columns)
        self.names = [column.name for column in self.columns]
        self.sizes = [column.n_rows for column in self.columns]

    def __repr__(self) -> str:
        return f"<SideBlock {self.names}>"

    def arrays(self, X: Table, rows: Rows = slice(None)) -> tuple[np.ndarray, np.ndarray]:
        """Rows of the table for each row of X, and their weights, both (n_rows, n)."""
        n_rows = len(column_values(X, 0)[rows])
        values, weights = [np.zeros((n_rows, 0), np.int64)], [np.zeros((n_rows, 0), np.float32)]
        for column, start in zip(self.columns, accumulate(self.sizes, initial=0), strict=False):
            found, shares = column.rows(*_cells(column, X, rows))
            values.append(start + found)
            weights.append(shares.astype(np.float32))
        return np.concatenate(values, axis=1), np.concatenate(weights, axis=1)


def assign_sides(
    side_features: SideFeatures, X: Table, users: np.ndarray, items: np.ndarray
) -> dict[str, SideBlock]:
    """Assign columns to users or items if constant in all rows of each, else to the context."""
    first = {}
    if side_features.columns:
        first = {"user": _first_rows(users), "item": _first_rows(items)}
    found: dict[str, list[Column]] = {side: [] for side in SIDES}
    for column in sorted(side_features.columns, key=lambda column: column.position):
        arrays = SideBlock([column]).arrays(X)
        sides = [s for s, row in first.items() if all((a[row] == a).all() for a in arrays)]
        found[[*sides, "context"][0]].append(column)
    return {side: SideBlock(columns) for side, columns in found.items()}


def _tables(owner: str) -> Record:
    n_rows, below = f"n_{owner}s+1", "n_values+1"
    return Record(
        {
            "numeric": Maybe(Array("float32", (n_rows, "n_numeric"))),
            "categorical": Maybe(Array("int64", (n_rows, "n_categorical"), below)),
            "multi_valued": Maybe(Array("int64", (n_rows, "n_multi_valued", None), below)),
        }
    )


class KnownFeatures:
    """Immutable tables of side features, with a row for each code of users and of items."""

    _state = {
        "names": Many(NAME, "n"),
        "sides": Many(Choice(*SIDES), "n"),
        "of_users": Array("bool", ("n",)),
        "tables": Record({owner: _tables(owner) for owner in OWNERS}),
    }

    def __init__(
        self,
        side_of: dict[Any, str] | None = None,  # 'user', 'item' or 'context' by column name
        of_users: np.ndarray | None = None,  # (n_columns,) of bool, columns by input
        tables: dict[str, dict[str, np.ndarray]] | None = None,  # for each owner; row 0 is missing
    ):
        self.side_of = side_of
        self.of_users = np.zeros(0, bool) if of_users is None else of_users
        self.tables = tables or {side: {} for side in OWNERS}

    @classmethod
    def _from_state(cls, names: list[Any], sides: list[str], **state: Any) -> "KnownFeatures":
        return cls(dict(zip(names, sides, strict=True)), **state)

    @property
    def names(self) -> list[Any]:
        """Names of the columns."""
        return list(self.side_of or {})

    @property
    def sides(self) -> list[str]:
        """Sides of the columns."""
        return list((self.side_of or {}).values())

    def __repr__(self) -> str:
        return f"<KnownFeatures {self.side_of or {}}>"

    def rows(self, side: str, codes: np.ndarray) -> dict[str, np.ndarray]:
        """Side features of users or items, as arrays for a network."""
        return {name: table[codes] for name, table in self.tables[side].items()}

    def extend(
        self, side_features: SideFeatures, X: Table, codes: dict[str, np.ndarray]
    ) -> "KnownFeatures":
        """Learn or replace the side features of users and items; columns keep their side."""
        side_of = self.side_of
        if side_of is None:
            blocks = assign_sides(side_features, X, codes["user"], codes["item"])
            side_of = {name: side for side, block in blocks.items() for name in block.names}
        tables: dict[str, dict[str, np.ndarray]] = {owner: {} for owner in OWNERS}
        for owner, known in self.tables.items():
            of_rows = codes[owner]
            last_codes, from_end = np.unique(of_rows[::-1], return_index=True)
            latest = side_features.arrays(X, len(of_rows) - 1 - from_end)
            for name, values in latest.items():
                missing = INPUTS[name]
                values[:, [side_of[c.name] != owner for c in side_features.inputs[name]]] = missing
                tables[owner][name] = _updated(known.get(name), last_codes, values, missing)
        of_users = [side_of[column.name] == "user" for column in side_features.columns]
        return KnownFeatures(side_of, np.array(of_users, dtype=bool), tables)


def _updated(
    table: np.ndarray | None, codes: np.ndarray, rows: np.ndarray, missing: Any
) -> np.ndarray:
    """Copy of a table with the rows of some codes replaced or added."""
    before = np.full((0, *rows.shape[1:]), missing) if table is None else table
    if rows.ndim > 2:  # multi-valued
        width = max(before.shape[2], rows.shape[2])
        before, rows = _pad_left(before, width), _pad_left(rows, width)
    n_rows = max(len(before), codes.max(initial=0) + 1)  # row 0 is for unknown IDs
    grown = np.full((n_rows, *rows.shape[1:]), missing)
    grown[: len(before)] = before
    grown[codes] = rows
    return grown


def _pad_left(codes: np.ndarray, width: int) -> np.ndarray:
    """Codes with zeros in front, along the last axis."""
    padding = [(0, 0)] * (codes.ndim - 1)
    return np.pad(codes, [*padding, (width - codes.shape[-1], 0)])


def _cells(column: Column, X: Table, rows: Rows) -> tuple[Any, int]:
    """Values of a column in some rows, and the number of the first row."""
    first_row = (rows.start or 0) if isinstance(rows, slice) else 0
    return column_values(X, column.position)[rows], first_row


def _warn_of_ratings(values: Any, name: int | str, y: np.ndarray) -> None:
    """Warn if a column equals the ratings, unless they are all the same."""
    if y.min() < y.max() and np.array_equal(numbers_of(values, repr(name)), y):
        warn(
            f"Column {name!r} of X equals y, so that the model reads the ratings that it should "
            "predict. Drop the column from X."
        )


def _first_rows(codes: np.ndarray) -> np.ndarray:
    """First row with the same code, for each row."""
    first, inverse = np.unique(codes, return_index=True, return_inverse=True)[1:]
    return first[inverse]


def _categorical_positions(estimator: Any, features: Any, X: Any) -> set[int]:
    """Positions of the columns to read as categorical, whatever they hold."""
    if isinstance(features, str):  # "from_dtype"
        return set()
    if np.ndim(np.asarray(features, dtype=object)) != 1:
        raise ValueError(
            "categorical_features must be 'from_dtype' or a list of positions, of names or of "
            f"one boolean for each column of X, got {features!r}."
        )
    features = list(features)  # np.asarray would turn positions beside names into names
    if all(isinstance(feature, bool | np.bool_) for feature in features):
        if len(features) != X.shape[1]:
            raise ValueError(
                f"categorical_features, as a mask, must have {X.shape[1]} booleans, one for each "
                f"column of X, got {len(features)}."
            )
        features = np.flatnonzero(features).tolist()
    return set(resolve_columns(estimator, features, X))


def _feature_positions(
    estimator: Any, columns: Any, X: Any, id_positions: Sequence[int]
) -> list[int]:
    """Positions of the columns of side features, in increasing order."""
    if columns is None:
        return []
    if isinstance(columns, str):  # "all"
        return [position for position in range(X.shape[1]) if position not in id_positions]
    positions = resolve_columns(estimator, list(columns), X)
    for column, position in zip(columns, positions, strict=True):
        if position in id_positions:
            raise ValueError(
                f"side_features names column {column!r}, which holds the IDs of users or items. "
                "Name other columns."
            )
    return sorted(set(positions))
