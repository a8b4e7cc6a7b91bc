"""Matrices and wide tables of ratings as interactions."""
# SPDX-License-Identifier: BSD-3-Clause

from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import issparse

from sklrec._data.numbers import numbers_of
from sklrec._data.tables import Frame, as_column, listed, read_table
from sklrec._data.vocabulary import Vocabulary


def interactions_from_matrix(
    matrix: Any, *, user_ids: Any = None, item_ids: Any = None
) -> tuple[pd.DataFrame, pd.Series]:
    """Turn a sparse matrix of ratings into interactions, the X and y of the estimators.

    Each stored entry is a rating, also a stored 0, because 0 is a rating on some scales. Call
    ``matrix.eliminate_zeros()`` first if it is none. A stored NaN is no rating.

    Parameters
    ----------
    matrix : sparse matrix or sparse array of shape (n_users, n_items)
        The ratings, in any format of `scipy.sparse`. Rows are users, and columns are items.
    user_ids : array-like of shape (n_users,), default=None
        The ID of each row. None takes the numbers of the rows, from 0.
    item_ids : array-like of shape (n_items,), default=None
        The ID of each column. None takes the numbers of the columns, from 0.

    Returns
    -------
    X : DataFrame of shape (n_ratings, 2)
        Columns user and item, sorted by the row and then by the column of the matrix.
    y : Series of shape (n_ratings,)
        The ratings, in the dtype of the matrix.

    Raises
    ------
    TypeError
        If the matrix is not sparse, or does not hold real numbers.
    ValueError
        If IDs are missing, are repeated or differ in number from the rows or columns, if two
        entries have the same place, or if there is no rating.

    See Also
    --------
    interactions_from_wide : Turns a table with a column for each item into interactions.

    Examples
    --------
    >>> from scipy.sparse import csr_array
    >>> from sklrec.datasets import interactions_from_matrix
    >>> matrix = csr_array([[5, 0, 3], [0, 4, 0]])
    >>> X, y = interactions_from_matrix(matrix, user_ids=["ann", "bob"])
    >>> X.assign(rating=y)
      user  item  rating
    0  ann     0       5
    1  ann     2       3
    2  bob     1       4
    """
    if not issparse(matrix):
        raise TypeError(
            f"matrix must be a sparse matrix of scipy, got {type(matrix).__name__}. For a table "
            "or an array with a column for each item, call interactions_from_wide."
        )
    entries = matrix.tocoo()
    if entries.dtype.kind not in "biuf":
        raise TypeError(f"matrix must hold real numbers, got {entries.dtype}. Convert it first.")
    users = _ids(user_ids, "user_ids", matrix.shape[0])
    items = _ids(item_ids, "item_ids", matrix.shape[1])
    order = np.lexsort((entries.col, entries.row))
    row, column, ratings = (part[order] for part in (entries.row, entries.col, entries.data))
    repeated = np.flatnonzero((row[1:] == row[:-1]) & (column[1:] == column[:-1]))
    if len(repeated):
        first = repeated[0]
        raise ValueError(
            f"matrix has {len(repeated)} entries at places that have one already, such as row "
            f"{row[first]}, column {column[first]}. Keep one rating for each place, or call "
            "matrix.sum_duplicates() if they add up."
        )
    return _interactions(users, items, row, column, ratings)


def interactions_from_wide(
    table: Any, *, user: str | None = None
) -> tuple[pd.DataFrame, pd.Series]:
    """Turn a table with a row for each user and a column for each item into interactions.

    Missing values are no ratings. The table is what ``DataFrame.pivot`` makes of ratings.

    Parameters
    ----------
    table : DataFrame or ndarray of shape (n_users, n_items)
        The ratings: a table of pandas, polars, pyarrow or narwhals, or an array with NaN where
        there is no rating. The names of the columns are the IDs of the items. Polars and pyarrow
        have strings as names.
    user : str, default=None
        The name of the column with the IDs of the users. None takes the column ``user``, if
        there is one, and otherwise the index of a DataFrame of pandas, or the numbers of the
        rows of an array, from 0.

    Returns
    -------
    X : DataFrame of shape (n_ratings, 2)
        Columns user and item, in the order of the rows and then of the columns of the table.
    y : Series of shape (n_ratings,)
        The ratings as float64.

    Raises
    ------
    ValueError
        If the table has no column and no index of users, if IDs are missing or repeated, if a
        column of an item does not hold numbers, or if there is no rating.

    See Also
    --------
    interactions_from_matrix : Turns a sparse matrix into interactions.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklrec.datasets import interactions_from_wide
    >>> table = pd.DataFrame({"tea": [5, None], "rum": [3, 4]}, index=["ann", "bob"])
    >>> X, y = interactions_from_wide(table)
    >>> X.assign(rating=y)
      user item  rating
    0  ann  tea     5.0
    1  ann  rum     3.0
    2  bob  rum     4.0
    """
    if isinstance(table, np.ndarray | list):
        # pandas cannot make strings of half of a surrogate pair.
        table = pd.DataFrame(table, dtype=object if isinstance(table, list) else None)
    frame = read_table(table)
    if not isinstance(frame, Frame):
        raise ValueError(
            "table must have a row for each user and a column for each item, got "
            f"{type(table).__name__}. Pass a DataFrame or a two-dimensional array."
        )
    place = _place_of_users(frame, user)
    items = [k for k in range(frame.shape[1]) if k != place]
    users = frame.native.index if place is None else frame.column(place)
    ratings = np.column_stack([np.zeros((len(frame), 0)), *(_numbers(frame, k) for k in items)])
    row, column = np.nonzero(~np.isnan(ratings))
    return _interactions(
        _ids(users, "user", len(frame)),
        _ids([frame.names[k] for k in items], "items", len(items)),
        row,
        column,
        ratings[row, column],
    )


def _place_of_users(frame: Frame, user: str | None) -> int | None:
    """Position of the column of users, or None if the index of pandas holds them."""
    if user is None and "user" not in frame.names and isinstance(frame.native, pd.DataFrame):
        return None
    name = "user" if user is None else user
    if name not in frame.names:
        raise ValueError(
            f"table has no column {name!r} with the IDs of users: its columns are "
            f"{listed(frame.names)}. Give user= the name of this column."
        )
    return frame.names.index(name)


def _numbers(frame: Frame, position: int) -> np.ndarray:
    """Ratings of one item as float64, or raise."""
    try:
        return numbers_of(frame.column(position), "It")
    except ValueError as error:
        raise ValueError(
            f"Each column of table must hold the ratings of an item, but column "
            f"{frame.names[position]!r} holds no numbers ({error}). Give user= the name of the "
            "column of users, and drop other columns."
        ) from error


def _ids(values: Any, name: str, n: int) -> Any:
    """IDs of rows or columns, checked."""
    if values is None:
        return np.arange(n)
    values = as_column(values)
    if len(values) != n:
        raise ValueError(f"{name} must hold {n} IDs, got {len(values)}.")
    n_different = len(Vocabulary.from_values(values, name))
    if n_different < n:
        raise ValueError(
            f"{name} holds {n_different} different IDs for {n} rows or columns. Give each one an "
            "ID of its own."
        )
    return values


def _interactions(
    users: Any, items: Any, row: np.ndarray, column: np.ndarray, ratings: np.ndarray
) -> tuple[pd.DataFrame, pd.Series]:
    """Make X and y from the places of ratings."""
    is_rating = ~np.isnan(ratings) if ratings.dtype.kind == "f" else np.ones(len(ratings), bool)
    if not is_rating.any():
        raise ValueError("There is no rating. Give a matrix or a table with at least one.")
    users, items = users[row[is_rating]], items[column[is_rating]]
    X = pd.DataFrame({"user": pd.Series(users), "item": pd.Series(items)})
    return X, pd.Series(ratings[is_rating], name="rating")
