"""Checks of the tables that ranking metrics compare."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from sklrec._data.checks import check_choice, check_positive
from sklrec._data.numbers import numbers_of
from sklrec._data.pair_columns import pair_positions
from sklrec._data.tables import Frame, read_table
from sklrec._data.vocabulary import Vocabulary
from sklrec._utils.runs import place_in_run
from sklrec.metrics._hits import Hits, Pairs


class Interactions:
    """A checked table with a user and an item in each row."""

    def __init__(
        self,
        table: Any,
        name: str,
        *,
        like: "Interactions | None" = None,
        may_repeat: bool = False,
    ):
        self.name = name  # of the parameter, for messages
        self.frame = _read_frame(table, name)
        if len(self.frame) == 0:
            raise ValueError(f"{name} is empty. Give a table with at least one row.")
        # Columns of the same names as those of the lists, if this table has both.
        wanted = [] if like is None else like.columns
        wanted = wanted if set(wanted) <= set(self.frame.names) else []
        positions = pair_positions(self.frame.names, name, wanted)
        self.columns: list[Any] = [self.frame.names[position] for position in positions]
        (self.users, user_codes), (self.items, item_codes) = map(self._codes, positions)
        self.pairs = Pairs(user_codes, item_codes)
        if not may_repeat:
            self._check_no_repeats()

    def numbers(self, column: str) -> np.ndarray:
        """Return a column of numbers as float64."""
        values = self.frame.column(self._position(column))
        values = numbers_of(values, f"Column {column!r} of {self.name}")
        self._check_none_missing(np.isnan(values), column)
        return values

    def index_of(self, users: np.ndarray) -> pd.Index:
        """IDs of users by their codes, with the name of their column."""
        return pd.Index(self.users.ids_of(users), name=self.columns[0], tupleize_cols=False)

    def describe_row(self, row: int) -> str:
        """Name the user and the item of a row, for messages."""
        user, item = self.pairs.users[row], self.pairs.items[row]
        return (
            f"user {self.users.ids[user - 1 : user].tolist()[0]!r} and item "
            f"{self.items.ids[item - 1 : item].tolist()[0]!r}"
        )

    def _position(self, column: str) -> int:
        found = self.frame.names
        if not isinstance(column, str):
            raise TypeError(f"A column is given by its name, a string, got {column!r:.100}.")
        if found.count(column) != 1:
            raise ValueError(
                f"{self.name} must have one column {column!r}, but its columns are {found}. "
                "Rename or add it."
            )
        return found.index(column)

    def _codes(self, position: int) -> tuple[Vocabulary, np.ndarray]:
        """Return the IDs of a column, and the code of each row."""
        values, column = self.frame.column(position), self.frame.names[position]
        self._check_none_missing(np.asarray(pd.isna(values)), column)
        return Vocabulary.build(values, column)

    def _check_none_missing(self, missing: np.ndarray, column: Any) -> None:
        if missing.any():
            raise ValueError(
                f"Column {column!r} of {self.name} has {np.count_nonzero(missing)} missing values "
                f"in {len(missing)} rows, the first in row {missing.argmax()}. Drop these rows."
            )

    def _check_no_repeats(self) -> None:
        repeated = self.pairs.is_repeat()
        if repeated.any():
            raise ValueError(
                f"{self.name} has {repeated.sum()} rows that repeat an earlier pair, such as "
                f"{self.describe_row(int(repeated.argmax()))}. Keep one row of each pair, for "
                f"example with drop_duplicates({self.columns})."
            )


def _read_frame(table: Any, name: str) -> Frame:
    """Table with columns, or what pandas can convert to one."""
    found = table if isinstance(table, Mapping) else read_table(table)
    if isinstance(found, Frame):
        return found
    try:
        return read_table(pd.DataFrame(found))
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{name} must be a DataFrame, or something that pandas can convert to one, got "
            f"{type(table).__name__} ({error})."
        ) from error


def read_lists(y_pred: Any) -> tuple[Interactions, np.ndarray]:
    """Check lists of recommendations, and return them and the rank of each row in its list."""
    lists = Interactions(y_pred, "y_pred")
    users = lists.pairs.users
    if "rank" in lists.frame.names:
        ranks = lists.numbers("rank")
        expected = ranks_by_score(users, -ranks)
        wrong = ranks != expected
        if wrong.any():
            user = users[wrong].min()
            got = np.sort(ranks[users == user])
            shown = ", ".join(f"{rank:g}" for rank in got[:10]) + ", ..." * (len(got) > 10)
            raise ValueError(
                f"The ranks of a user in y_pred must be 1, 2, 3 and so on, each once, but the "
                f"ranks of user {lists.users.ids[[user - 1]].tolist()[0]!r} are {shown}. Drop the "
                "column to rank by a column 'score'."
            )
        return lists, expected
    if "score" in lists.frame.names:
        return lists, ranks_by_score(users, lists.numbers("score"))
    raise ValueError(
        f"y_pred must have a column 'rank' or 'score', but its columns are "
        f"{lists.frame.names}. Rename or add it."
    )


def ranks_by_score(users: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Rank the rows of each user by falling score, and rows of equal score in their order."""
    order = np.lexsort((-scores, users))
    ranks = np.empty(len(users), dtype=np.int64)
    ranks[order] = 1 + place_in_run(users[order])
    return ranks


def find_hits(y_true: Any, y_pred: Any, gain: str | None = None) -> tuple[Hits, pd.Index]:
    """Find the relevant items in the lists, and return these hits and the IDs of the users."""
    lists, ranks = read_lists(y_pred)
    truth = Interactions(y_true, "y_true", like=lists)
    gains = np.ones(len(truth.frame)) if gain is None else _check_gains(truth, gain)
    is_relevant = gains > 0
    relevant = truth.pairs.take(is_relevant)
    # The lists in the codes of y_true; 0 stands for what y_true does not have.
    users = truth.users.codes(lists.users.ids)[lists.pairs.users - 1]
    items = truth.items.codes(lists.items.ids)[lists.pairs.items - 1]
    if not users.any():
        raise ValueError(
            f"y_pred has no list for any user of y_true. An example of its users is "
            f"{lists.users.ids[:1].tolist()[0]!r}, and of the users of y_true "
            f"{truth.users.ids[:1].tolist()[0]!r}. Recommend to the users of y_true, with IDs of "
            "the same kind."
        )
    truth.items.check_same_kind(lists.items.ids, "in y_pred", "in y_true")
    truth.items.warn_of_kind(lists.items.ids, np.count_nonzero(items == 0))
    hits = Hits.find(
        relevant, _scaled(gains[is_relevant], relevant.users), Pairs(users, items), ranks
    )
    return hits, truth.index_of(np.unique(relevant.users))


def check_k_and_average(k: Any, average: Any) -> int:
    """Check the parameters of all metrics, and return the length of lists as an int."""
    check_choice("average", average, ("macro", None))
    return check_positive(k, "k")


def summarise(
    values: np.ndarray, users: pd.Index, name: str, average: str | None
) -> float | pd.Series:
    """Return the mean over users, or a Series of the values by user."""
    return pd.Series(values, users, name=name) if average is None else float(values.mean())


def _scaled(gains: np.ndarray, users: np.ndarray) -> np.ndarray:
    """Divide the gains of each user by a power of 2, so that sums of large ones are finite."""
    largest = np.zeros(users.max() + 1)
    np.maximum.at(largest, users, gains)
    return np.ldexp(gains, -np.frexp(largest)[1][users])


def _check_gains(truth: Interactions, gain: str) -> np.ndarray:
    """Return the column of gains, or raise."""
    gains = truth.numbers(gain)
    wrong = ~((gains >= 0) & np.isfinite(gains))
    if wrong.any():
        raise ValueError(
            f"Gains must be finite and not negative, but column {gain!r} of y_true holds "
            f"{gains[wrong][0]:g} for {truth.describe_row(int(wrong.argmax()))}."
        )
    if not gains.any():
        raise ValueError(
            f"Column {gain!r} of y_true holds only 0, so no item is relevant. Give a positive "
            "gain to relevant items."
        )
    return gains
