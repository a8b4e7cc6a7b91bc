"""The items that may be recommended to each user: `candidates`, `exclude` and seen items."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from numbers import Number
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from pandas.api.types import is_list_like
from scipy.sparse import csr_array

from sklrec._data.pair_columns import pair_positions
from sklrec._data.tables import Frame, as_column, read_table
from sklrec._data.vocabulary import Vocabulary
from sklrec._utils.forks import cached_property


class PairsByUser(NamedTuple):
    """Item IDs of users, from a dict or a table."""

    of_users: np.ndarray  # (n_users,), number of each user's list from 1, 0 without a list
    lists: np.ndarray  # (n_pairs,), number of the list
    items: Any  # (n_pairs,), IDs

    def matrix(self, columns: np.ndarray, n_columns: int) -> csr_array:
        """Make the boolean matrix (n_lists + 1, n_columns) of the pairs; -1 is no column."""
        n_lists = max(self.of_users.max(initial=0), self.lists.max(initial=0))
        there = columns >= 0
        cells = self.lists[there], columns[there]
        values = np.ones(np.count_nonzero(there), dtype=bool)
        return csr_array((values, cells), (n_lists + 1, n_columns))


@dataclass(frozen=True)
class Items:
    """Items to choose from, and the candidates and exclusions of each user."""

    codes: np.ndarray  # (n_items,), 0 for items that fit did not see
    vocabulary: Vocabulary  # of the model
    ids: Any = None  # (n_items,), only of items with side features
    features: dict[str, Any] = field(default_factory=dict)  # arguments of the reader's scores
    # The number of the list of each user, and (n_lists + 1, n_items) of the lists' items.
    allowed: tuple[np.ndarray, csr_array] | None = None
    excluded: tuple[np.ndarray, csr_array] | None = None

    def __len__(self) -> int:
        return len(self.codes)

    def ids_of(self, places: np.ndarray) -> Any:
        """IDs of the items in some places."""
        if self.ids is None:
            return self.vocabulary.ids_of(self.codes[places])
        return self.ids[places]

    @cached_property
    def _place_of_code(self) -> np.ndarray:
        places = np.full(len(self.vocabulary) + 1, -1)
        places[self.codes] = np.arange(len(self))
        places[0] = -1
        return places

    def places_of_codes(self, codes: np.ndarray) -> np.ndarray:
        """Places of the items with some codes, -1 for others."""
        return self._place_of_code[codes]

    def places_of(self, ids: Any) -> np.ndarray:
        """Places of items by their IDs, -1 for others."""
        if self.ids is not None:
            return Vocabulary(self.ids, self.vocabulary.name).codes(ids) - 1
        codes = self.vocabulary.codes(ids)
        self.vocabulary.warn_of_kind(ids, np.count_nonzero(codes == 0))
        return self.places_of_codes(codes)

    def without(self, places: np.ndarray) -> "Items":
        """Drop the items in some places."""
        keep = np.ones(len(self), dtype=bool)
        keep[places[places >= 0]] = False
        allowed = None if self.allowed is None else (self.allowed[0], self.allowed[1][:, keep])
        ids = None if self.ids is None else self.ids[keep]
        features = {name: _rows(values, keep) for name, values in self.features.items()}
        codes = self.codes[keep]
        return replace(self, codes=codes, ids=ids, features=features, allowed=allowed)

    def is_candidate(self, users: slice) -> np.ndarray | None:
        """Mask (n_users, n_items) of the candidates of some users, None if all items are."""
        if self.allowed is None:
            return None
        numbers, lists = self.allowed
        return lists[numbers[users]].toarray()

    def n_excluded(self, n_users: int) -> np.ndarray:
        """Number of items of the model that each user may not get."""
        found = np.full(n_users, len(self.vocabulary) - len(self))
        if self.excluded is not None:
            numbers, lists = self.excluded
            found += np.diff(lists.indptr)[numbers]
        return found

    def left_out(
        self, users: slice | np.ndarray, seen: csr_array | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Find the pairs of a user and an item that are excluded or seen."""
        none = np.zeros(0, dtype=np.int64)
        parts = [(none, none)]
        if self.excluded is not None:
            numbers, lists = self.excluded
            parts.append(lists[numbers[users]].nonzero())
        if seen is not None:
            rows = np.repeat(np.arange(seen.shape[0]), np.diff(seen.indptr))
            places = self.places_of_codes(seen.indices)
            there = places >= 0
            parts.append((rows[there], places[there]))
        of_users, of_items = zip(*parts, strict=True)
        return np.concatenate(of_users), np.concatenate(of_items)


def _rows(values: Any, keep: np.ndarray) -> Any:
    """Keep some rows of an array, or of each array of a dict."""
    if isinstance(values, dict):
        return {name: part[keep] for name, part in values.items()}
    return values[keep]


def choose_items(model: Any, users: Any, candidates: Any, exclude: Any) -> Items:
    """Read the items that may be recommended to users."""
    vocabulary = model.encoder_.vocabularies_[1]
    table = _table_of(candidates)
    if candidates is None:
        items = Items(np.arange(1, len(vocabulary) + 1), vocabulary)
    elif table is not None and _is_by_item(model, table):
        items = _described_items(model, table)
    elif table is None and not isinstance(candidates, Mapping):
        ids = read_ids(candidates, "candidates")
        items = Items(np.unique(_known_items(vocabulary, ids)), vocabulary)
    else:
        pairs = _pairs_by_user(model, candidates, table, "candidates", users)
        found = _known_items(vocabulary, pairs.items)
        codes, columns = np.unique(found, return_inverse=True)
        allowed = pairs.of_users, pairs.matrix(columns, len(codes))
        items = Items(codes, vocabulary, allowed=allowed)
    if exclude is None:
        return items
    table = _table_of(exclude)
    if table is None and not isinstance(exclude, Mapping):
        return items.without(items.places_of(read_ids(exclude, "exclude", may_be_empty=True)))
    pairs = _pairs_by_user(model, exclude, table, "exclude", users)
    excluded = pairs.matrix(items.places_of(pairs.items), len(items))
    return replace(items, excluded=(pairs.of_users, excluded))


def users_of(model: Any, candidates: Any) -> Any:
    """IDs of the users of candidates by user, or else of all known users."""
    if isinstance(candidates, Mapping):
        return as_column(list(candidates))
    table = _table_of(candidates)
    vocabulary = model.encoder_.vocabularies_[0]
    if table is None or _is_by_item(model, table):
        return vocabulary.ids_of(np.arange(1, len(vocabulary) + 1))
    values = table.column(_positions(model, table, "candidates")[0])
    return Vocabulary.from_values(values, vocabulary.name)._ids


def _pairs_by_user(
    model: Any, given: Any, table: Frame | None, name: str, users: Any
) -> PairsByUser:
    """Read the items of each user, from a dict of lists or from a table of pairs."""
    vocabulary, of_items = model.encoder_.vocabularies_
    if table is not None:
        of_pairs, items = (table.column(k) for k in _positions(model, table, name))
        known, lists = Vocabulary.build(of_pairs, vocabulary.name)
        known.check_same_kind(users, "in users", f"in {name}")
        return PairsByUser(known.codes(users), lists, items)
    if given and len(users):
        keys = Vocabulary.from_values(as_column(list(given)), vocabulary.name)
        keys.check_same_kind(users, "in users", f"in {name}")
    asked = users.tolist()
    if name == "candidates":
        missing = [user for user in asked if user not in given]
        if missing:
            raise ValueError(
                "candidates must have a list of items for each user, got none for "
                f"{missing[0]!r}. Give that user a list, which may be empty."
            )
    numbers = {user: k for k, user in enumerate(dict.fromkeys(u for u in asked if u in given), 1)}
    found = {u: read_ids(given[u], f"{name}[{u!r}]", may_be_empty=True) for u in numbers}
    filled = [pd.Series(ids, dtype=ids.dtype) for ids in found.values() if len(ids)]
    items = pd.concat(filled, ignore_index=True) if filled else of_items.ids_of(np.zeros(0, int))
    lists = np.repeat(np.arange(1, len(found) + 1), [len(ids) for ids in found.values()])
    of_users = np.fromiter((numbers.get(user, 0) for user in asked), np.int64, len(asked))
    return PairsByUser(of_users, lists, as_column(items))


def _described_items(model: Any, table: Frame) -> Items:
    """Read items with their side features, which fit may not have seen."""
    users, vocabulary = model.encoder_.vocabularies_
    if not model._reader.item_features(model):
        raise ValueError(
            f"candidates is a table of items without a column {users.name!r} of users, "
            f"but this {type(model).__name__} reads no side features of items. Pass a "
            "list of item IDs."
        )
    ids = table.column(table.names.index(vocabulary.name))
    own, _ = Vocabulary.build(ids, vocabulary.name)
    if len(own) < len(ids):
        repeated = ids[pd.Series(ids, dtype=ids.dtype).duplicated()].tolist()[0]
        raise ValueError(
            f"candidates describes the item {repeated!r} more than once. Keep one row of each "
            f"item, for example with drop_duplicates({vocabulary.name!r})."
        )
    codes = vocabulary.codes(ids)
    vocabulary.warn_of_kind(ids, np.count_nonzero(codes == 0))
    return Items(codes, vocabulary, ids, model._reader.features_of_items(model, table))


def _table_of(given: Any) -> Frame | None:
    """Read a table, or return None for lists and dicts."""
    is_list = isinstance(given, Sequence) or len(getattr(given, "shape", (0, 0))) == 1
    if given is None or is_list or isinstance(given, Mapping):
        return None
    found = read_table(given)
    if isinstance(found, np.ndarray) and found.ndim == 2:
        return read_table(pd.DataFrame(found))
    return found if isinstance(found, Frame) else None


def _is_by_item(model: Any, table: Frame) -> bool:
    """Whether a table has the items of the model, and no column of its users."""
    user, item = (vocabulary.name for vocabulary in model.encoder_.vocabularies_)
    return isinstance(item, str) and item in table.names and user not in table.names


def _positions(model: Any, table: Frame, name: str) -> tuple[int, int]:
    names = [vocabulary.name for vocabulary in model.encoder_.vocabularies_]
    return pair_positions(table.names, name, names)


def _known_items(vocabulary: Vocabulary, items: Any) -> np.ndarray:
    codes = vocabulary.codes(items)
    if not codes.all():
        unknown = items[codes == 0][:1].tolist()[0]
        raise ValueError(
            f"candidates must be items that fit saw, and it did not see {unknown!r}. Pass "
            "IDs that are among encoder_.categories_[1]."
        )
    return codes


def read_ids(values: Any, name: str, *, may_be_empty: bool = False) -> Any:
    """Read a list of IDs as a one-dimensional array; messages call it `name`."""
    if not is_list_like(values):
        is_scalar = isinstance(values, str | bytes | Number | date | np.generic)
        is_id = is_scalar and not pd.isna(values)
        advice = f"[{values!r}]" if is_id else "a list, an array or a column of IDs"
        raise ValueError(f"{name} must be a list of IDs, got {values!r:.200}. Pass {advice}.")
    is_table = len(getattr(values, "shape", (0,))) != 1
    if is_table or not (isinstance(values, Sequence) or hasattr(values, "__array__")):
        raise ValueError(
            f"{name} must be a list or a column of IDs, got a {type(values).__name__}. Pass "
            f"{'one of its columns' if is_table else f'list({name})'}."
        )
    if len(values) == 0 and not may_be_empty:
        raise ValueError(f"{name} must hold at least one ID, got none.")
    return as_column(values)
