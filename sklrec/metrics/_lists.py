"""Checks of the tables that ranking metrics compare."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Sequence
from numbers import Integral
from typing import Any

import numpy as np
import pandas as pd

from sklrec._data.checks import column_values
from sklrec._data.vocabulary import Vocabulary
from sklrec.metrics._hits import Hits, Pairs, place_in_run


class Interactions:
    """A checked table of users and items, a pair a row.

    Parameters
    ----------
    table : DataFrame or what can become one
        The rows.
    name : str
        What the caller's user calls the table, for messages.
    columns : sequence of str, default=()
        Further columns that it must have.
    repeats : bool, default=False
        Whether a pair may be there twice.
    """

    def __init__(
        self, table: Any, name: str, columns: Sequence[str] = (), *, repeats: bool = False
    ):
        self.name = name
        self.frame = _as_frame(table, name)
        for column in ("user", "item", *columns):
            if self.frame.columns.to_list().count(column) != 1:
                raise ValueError(
                    f"{name} must have one column {column!r}, but its columns are "
                    f"{self.frame.columns.to_list()}. Rename or add it."
                )
        if len(self.frame) == 0:
            raise ValueError(f"{name} is empty: there must be at least one row.")
        self.users, users = self._codes("user")
        self.items, items = self._codes("item")
        self.pairs = Pairs(users, items)
        if not repeats:
            self._refuse_repeats()

    def numbers(self, column: str) -> np.ndarray:
        """Give a column of numbers.

        Parameters
        ----------
        column : str
            The column's name.

        Returns
        -------
        ndarray of shape (n_rows,)
            Its values, in float64.

        Raises
        ------
        ValueError
            If one is missing or no number.
        """
        try:
            values = self.frame[column].to_numpy(np.float64, na_value=np.nan)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"Column {column!r} of {self.name} must hold numbers ({error}). Convert it "
                "first, for example with pandas.to_numeric."
            ) from error
        self._refuse_missing(np.isnan(values), column)
        return values

    def row(self, place: int) -> str:
        """Tell of a row in words.

        Parameters
        ----------
        place : int
            Its position.

        Returns
        -------
        str
            Its user and item.
        """
        user, item = self.frame["user"].iloc[[place]], self.frame["item"].iloc[[place]]
        return f"user {user.tolist()[0]!r} and item {item.tolist()[0]!r}"

    def _codes(self, column: str) -> tuple[Vocabulary, np.ndarray]:
        """The IDs of a column, and where each row's is among them."""
        values = column_values(self.frame, self.frame.columns.get_loc(column))
        self._refuse_missing(np.asarray(pd.isna(values)), column)
        vocabulary, codes = Vocabulary.build(values, column)
        return vocabulary, codes - 1

    def _refuse_missing(self, missing: np.ndarray, column: str) -> None:
        if missing.any():
            raise ValueError(
                f"Column {column!r} of {self.name} is missing or NaN in row {missing.argmax()} "
                f"and in {np.count_nonzero(missing)} of {len(missing)} rows. Drop these rows."
            )

    def _refuse_repeats(self) -> None:
        keys = pd.Index(self.pairs.users * len(self.items) + self.pairs.items)
        if not keys.is_unique:
            repeated = keys.duplicated()
            raise ValueError(
                f"{self.name} has {self.row(int(repeated.argmax()))} more than once, and "
                f"{repeated.sum()} such rows too many. Keep one row of each pair, for example "
                "with drop_duplicates(['user', 'item'])."
            )


def read_lists(y_pred: Any) -> tuple[Interactions, np.ndarray]:
    """Check lists of recommendations.

    Parameters
    ----------
    y_pred : DataFrame or what can become one
        Columns user, item, and rank or score.

    Returns
    -------
    lists : Interactions
        The rows.
    ranks : ndarray of shape (n_rows,)
        Their ranks.

    Raises
    ------
    ValueError
        If they are no lists.
    """
    lists = Interactions(y_pred, "y_pred")
    users = lists.pairs.users
    if "rank" in lists.frame.columns:
        ranks = lists.numbers("rank")
        order = np.lexsort((ranks, users))
        expected = ranks_in_order(users, order)
        wrong = ranks != expected
        if wrong.any():
            user = users[order[wrong[order].argmax()]]
            got = np.sort(ranks[users == user])
            shown = ", ".join(f"{rank:g}" for rank in got[:10]) + (
                ", ..." if len(got) > 10 else ""
            )
            raise ValueError(
                f"The ranks of a user in y_pred must be 1, 2, 3 and so on, each once, but those "
                f"of user {lists.users.ids[[user]].tolist()[0]!r} are {shown}. Drop the column "
                "to rank by a column 'score'."
            )
        return lists, expected
    if "score" in lists.frame.columns:
        return lists, ranks_by_score(users, lists.numbers("score"))
    raise ValueError(
        f"y_pred must have a column 'rank' or 'score', but its columns are "
        f"{lists.frame.columns.to_list()}. Rename or add it."
    )


def ranks_by_score(users: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Rank each user's rows by decreasing score, equal ones in the order of the rows.

    Parameters
    ----------
    users : ndarray of shape (n_rows,)
        Codes of users.
    scores : ndarray of shape (n_rows,)
        The scores.

    Returns
    -------
    ndarray of shape (n_rows,)
        Ranks from 1.
    """
    return ranks_in_order(users, np.lexsort((-scores, users)))


def ranks_in_order(users: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Number each user's rows in a given order.

    Parameters
    ----------
    users : ndarray of shape (n_rows,)
        Codes of users.
    order : ndarray of shape (n_rows,)
        The rows' positions, sorted by user and then as wanted.

    Returns
    -------
    ndarray of shape (n_rows,)
        Numbers from 1.
    """
    ranks = np.empty(len(users), dtype=np.int64)
    ranks[order] = 1 + place_in_run(users[order])
    return ranks


def compare(y_true: Any, y_pred: Any, gain: str | None = None) -> tuple[Hits, Any]:
    """Find what is relevant in lists of recommendations.

    Parameters
    ----------
    y_true : DataFrame or what can become one
        Columns user and item: what is relevant to whom.
    y_pred : DataFrame or what can become one
        Columns user, item, and rank or score.
    gain : str, default=None
        The column of `y_true` that holds gains; None stands for 1 each.

    Returns
    -------
    hits : Hits
        What was found, of the users who have something relevant.
    users : ndarray or ExtensionArray of shape (n_users,)
        Who they are.

    Raises
    ------
    ValueError
        If the tables are not what was asked for.
    """
    truth = Interactions(y_true, "y_true", () if gain is None else (gain,))
    lists, ranks = read_lists(y_pred)
    gains = np.ones(len(truth.frame)) if gain is None else _gains(truth, gain)
    relevant = gains > 0
    # Users without anything relevant get -1, which matches nothing; the others 0, 1 and so on.
    there = np.zeros(len(truth.users), dtype=bool)
    there[truth.pairs.users[relevant]] = True
    code = np.where(there, np.cumsum(there) - 1, -1)
    # Whom and what the lists name, by the codes of y_true; -1 is what it has not.
    users = (truth.users.codes(lists.users.ids) - 1)[lists.pairs.users]
    items = (truth.items.codes(lists.items.ids) - 1)[lists.pairs.items]
    if (users < 0).all():
        raise ValueError(
            f"y_pred has no list for any user of y_true: its users are such as "
            f"{lists.users.ids[:1].tolist()[0]!r}, those of y_true such as "
            f"{truth.users.ids[:1].tolist()[0]!r}. Recommend to the users of y_true, and see "
            "that their IDs are of one kind."
        )
    known = (users >= 0) & (items >= 0)
    hits = Hits.find(
        int(there.sum()),
        Pairs(code[truth.pairs.users[relevant]], truth.pairs.items[relevant]),
        gains[relevant],
        Pairs(code[users[known]], items[known]),
        ranks[known],
    )
    return hits, truth.users.ids_of(np.flatnonzero(there) + 1)


def check_k(k: Any) -> int:
    """Check the length of lists.

    Parameters
    ----------
    k : int
        The length.

    Returns
    -------
    int
        The same.

    Raises
    ------
    ValueError
        If it is no integer of at least 1.
    """
    if not isinstance(k, Integral) or isinstance(k, bool) or k < 1:
        raise ValueError(f"k must be an integer of at least 1, got {k!r}.")
    return int(k)


def _as_frame(table: Any, name: str) -> pd.DataFrame:
    if isinstance(table, pd.DataFrame):
        return table
    try:
        return pd.DataFrame(table)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{name} must be a DataFrame, or what pandas can make one of, got "
            f"{type(table).__name__} ({error})."
        ) from error


def _gains(truth: Interactions, gain: str) -> np.ndarray:
    gains = truth.numbers(gain)
    wrong = ~((gains >= 0) & np.isfinite(gains))
    if wrong.any():
        raise ValueError(
            f"Gains must be finite and not negative, but column {gain!r} of y_true holds "
            f"{gains[wrong][0]:g} for {truth.row(int(wrong.argmax()))}."
        )
    if not gains.any():
        raise ValueError(
            f"Column {gain!r} of y_true holds 0 only: nothing is relevant to anybody."
        )
    return gains


def check_average(average: Any) -> str | None:
    """Check whether a mean is wanted.

    Parameters
    ----------
    average : {'macro', None}
        What was asked for.

    Returns
    -------
    str or None
        The same.

    Raises
    ------
    ValueError
        If it is neither.
    """
    if average not in ("macro", None):
        raise ValueError(
            f"average must be 'macro', for the mean over users, or None, for each user's own, "
            f"got {average!r}."
        )
    return average


def summarise(
    of_users: np.ndarray, users: Any, name: str, average: str | None
) -> float | pd.Series:
    """Give each user's own value or their mean.

    Parameters
    ----------
    of_users : ndarray of shape (n_users,)
        The values.
    users : ndarray or ExtensionArray of shape (n_users,)
        Whose they are.
    name : str
        What they are.
    average : {'macro', None}
        Whether the mean is wanted.

    Returns
    -------
    float or Series of shape (n_users,)
        The mean, or the values with the users as index.
    """
    if average is not None:
        return float(of_users.mean())
    return pd.Series(of_users, pd.Index(users, name="user", tupleize_cols=False), name=name)
