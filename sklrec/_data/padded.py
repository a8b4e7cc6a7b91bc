"""Padded sequences as users hand them over: checks, and their way into histories."""
# SPDX-License-Identifier: BSD-3-Clause

from typing import Any

import numpy as np
from sklearn.utils.validation import check_array, validate_data

from sklrec._data.checks import check_ratings, refuse_path, refuse_too_large
from sklrec._data.codes import as_codes
from sklrec._data.histories import Histories

# Codes up to here are believed, however few there are.
LARGEST_CODE = 1_000_000


def check_sequences(estimator: Any, X: Any, *, reset: bool) -> np.ndarray:
    """Check that X holds numbers in rows of equal width.

    Parameters
    ----------
    estimator : estimator instance
        The estimator that was given X; learns or knows `n_features_in_`.
    X : array-like of shape (n_sequences, n_features)
        The padded sequences.
    reset : bool
        True in `fit`, False where X must look as it did in `fit`.

    Returns
    -------
    ndarray of shape (n_sequences, n_features)
        X as float64.

    Raises
    ------
    ValueError
        If X is ragged, empty, or not of numbers.
    TypeError
        If X is the path of a file.
    """
    refuse_path(X)
    try:
        array = check_array(X, dtype=np.float64, ensure_all_finite=False, estimator=estimator)
    except ValueError as error:
        if "inhomogeneous" in str(error) or "sequence" in str(error):
            raise ValueError(
                f"{type(estimator).__name__} with input='sequences' takes sequences of equal "
                "length, and X is ragged. Pad them with SequencePadder."
            ) from error
        raise
    validate_data(estimator, X, reset=reset, skip_check_array=True)
    return array


def has_ratings(X: np.ndarray, y: np.ndarray) -> bool:
    """Tell whether the second half of X's columns holds the ratings of the items in the first.

    Parameters
    ----------
    X : ndarray of shape (n_sequences, n_features)
        The padded sequences.
    y : ndarray of shape (n_sequences,) or (n_sequences, max_len)
        The ratings to be predicted.

    Returns
    -------
    bool
        True if y is as wide as half of X, or if y is one rating a sequence and the rating of the
        last item is NaN throughout, as it has to be.

    Raises
    ------
    ValueError
        If y has another shape.
    """
    width = X.shape[1]
    if y.ndim == 1:
        return width % 2 == 0 and bool(np.isnan(X[:, -1]).all())
    if y.ndim != 2 or y.shape[1] not in (width, width / 2):
        half = f" or {width // 2}" if width % 2 == 0 else ""
        raise ValueError(
            f"y must hold one rating a sequence, shape ({len(X)},), for the last position, or one "
            f"a position, shape ({len(X)}, {width}{half}), with NaN where nothing is to be "
            f"predicted; X has shape {X.shape}, and y came with shape {y.shape}."
        )
    return y.shape[1] != width


def split_columns(X: np.ndarray, with_ratings: bool) -> tuple[np.ndarray, np.ndarray | None]:
    """Take padded sequences apart into item codes and ratings, and check both.

    Parameters
    ----------
    X : ndarray of shape (n_sequences, n_features)
        The padded sequences.
    with_ratings : bool
        Whether the second half of the columns holds ratings.

    Returns
    -------
    items : ndarray of shape (n_sequences, max_len)
        Item codes, 0 for padding or an unknown item.
    ratings : ndarray of shape (n_sequences, max_len) or None
        The ratings; NaN where none is known.

    Raises
    ------
    ValueError
        If codes are not whole numbers from 0 upwards, or if ratings are infinite.
    """
    max_len = X.shape[1] // 2 if with_ratings else X.shape[1]
    codes, valid = as_codes(X[:, :max_len].ravel())
    if not valid.all():
        row, column = divmod(int(np.argmin(valid)), max_len)
        raise ValueError(
            "Sequences hold item codes, whole numbers from 1 upwards, and 0 for padding, got "
            f"{X[row, column]:g} in row {row}, column {column}. Encode the items with "
            "IDEncoder before they are made into sequences."
        )
    ratings = X[:, max_len:] if with_ratings else None
    if ratings is not None and np.isinf(ratings).any():
        row, column = np.argwhere(np.isinf(ratings))[0]
        raise ValueError(
            f"Past ratings must be finite, or NaN where none is known, got "
            f"{ratings[row, column]:g} in row {row}, column {max_len + column}."
        )
    return codes.reshape(len(X), max_len), ratings


def to_histories(items: np.ndarray, ratings: np.ndarray | None) -> tuple[Histories, np.ndarray]:
    """Drop the padding, and make each row a history.

    Parameters
    ----------
    items : ndarray of shape (n_sequences, max_len)
        Item codes, 0 for padding.
    ratings : ndarray of shape (n_sequences, max_len) or None
        Ratings; NaN where none is known.

    Returns
    -------
    histories : Histories
        The rows. An unknown item, of code 0, is there if its rating is known.
    places : ndarray of shape (n_sequences, max_len)
        How many interactions of its history stand before each position.
    """
    if ratings is None:
        ratings = np.full(items.shape, np.nan)
    there = (items != 0) | ~np.isnan(ratings)
    places = np.cumsum(there, axis=1) - there
    row, column = np.nonzero(there)
    histories = Histories(row, items[row, column], ratings[row, column], None, len(items))
    return histories, places


def check_sequence_ratings(estimator: Any, y: Any, *, input_name: str = "y") -> np.ndarray:
    """Check the ratings of sequences.

    Parameters
    ----------
    estimator : estimator instance
        The estimator, for messages.
    y : array-like of shape (n_sequences,) or (n_sequences, max_len)
        The ratings to be predicted; in the second form NaN where there is nothing to predict.
    input_name : str, default="y"
        What the caller's user called the ratings.

    Returns
    -------
    ndarray of shape (n_sequences,) or (n_sequences, max_len)
        The ratings as float64.

    Raises
    ------
    ValueError
        If y is infinite or without any rating.
    """
    if np.ndim(y) < 2 or np.shape(y)[1] == 1:
        return check_ratings(estimator, y, input_name=input_name)
    y = check_array(
        y,
        dtype=np.float64,
        ensure_all_finite="allow-nan",
        input_name=input_name,
        estimator=estimator,
    )
    if np.isnan(y).all():
        raise ValueError(f"{input_name} holds no rating: all of it is NaN.")
    refuse_too_large(y, input_name)
    return y


def refuse_what_are_no_codes(X: np.ndarray, items: np.ndarray) -> None:
    """Raise if the items look like IDs, or further columns of X like a mask.

    Parameters
    ----------
    X : ndarray of shape (n_sequences, n_features)
        The padded sequences.
    items : ndarray of shape (n_sequences, max_len)
        The item codes in it.

    Raises
    ------
    ValueError
        If the largest code is out of all proportion, or if the second half of the columns is
        but the mask of the first.
    """
    largest = int(items.max())
    if largest > LARGEST_CODE and largest > 100 * items.size:
        raise ValueError(
            f"The largest item code is {largest}, though X holds {items.size} of them: these look "
            "like IDs, and the model would need a row for each number up to there. Encode the "
            "items with IDEncoder before they are made into sequences."
        )
    half = X.shape[1] // 2
    if half > 1 and np.array_equal(X[:, half:], X[:, :half] != 0):
        raise ValueError(
            "The second half of X's columns is the mask of the first, and would be taken for "
            "items. Make the sequences with SequencePadder(mask=False)."
        )


def rated_positions(items: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find the positions whose ratings are to be predicted.

    Parameters
    ----------
    items : ndarray of shape (n_sequences, max_len)
        Item codes, 0 for padding.
    y : ndarray of shape (n_sequences,) or (n_sequences, max_len)
        The ratings.

    Returns
    -------
    row : ndarray of shape (n_ratings,)
        Their sequences.
    column : ndarray of shape (n_ratings,)
        Their columns.

    Raises
    ------
    ValueError
        If the rating of padding is to be predicted. A few sequences that end in code 0 may end in
        an unknown item.
    """
    if y.ndim == 1:
        row, column = np.arange(len(items)), np.full(len(items), items.shape[1] - 1)
        padding = items[:, -1] == 0
        if 2 * padding.sum() > len(items):
            raise ValueError(
                "One rating a sequence is that of the item in the last column, and "
                f"{padding.sum()} of {len(items)} sequences end in padding (code 0). Pad with "
                "padding='pre', or give one rating a position."
            )
        return row, column
    row, column = np.nonzero(~np.isnan(y))
    padding = np.flatnonzero(items[row, column] == 0)
    if len(padding):
        raise ValueError(
            f"y has ratings where X is padding (code 0), {len(padding)} in all, the first in row "
            f"{row[padding[0]]}, column {column[padding[0]]}. Set these ratings to NaN."
        )
    return row, column
