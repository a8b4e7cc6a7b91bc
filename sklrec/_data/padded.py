"""Padded sequences: checks, and conversion to histories."""
# SPDX-License-Identifier: BSD-3-Clause

from typing import Any

import numpy as np
from sklearn.utils.validation import check_array, validate_data

from sklrec._data.checks import as_codes, check_rating_size, check_ratings
from sklrec._data.histories import Histories
from sklrec._data.tables import check_two_dimensional, read_table, unmasked

# Larger item codes need a proportionate number of items.
LARGEST_CODE = 1_000_000


def check_sequences(estimator: Any, X: Any, *, reset: bool) -> np.ndarray:
    """Check padded sequences, and return them as float64."""
    check_two_dimensional(read_table(X))  # raises for what is no table
    try:
        array = check_array(
            unmasked(X), dtype=np.float64, ensure_all_finite=False, estimator=estimator
        )
    except ValueError as error:
        if "inhomogeneous" in str(error) or "sequence" in str(error):
            raise ValueError(
                f"{type(estimator).__name__} with input='sequences' takes sequences of equal "
                "length, and X is ragged. Pad them with SequencePadder."
            ) from error
        raise
    validate_data(estimator, X, reset=reset, skip_check_array=True)
    return array


def has_ratings(
    X: np.ndarray,  # (n_sequences, n_features)
    y: np.ndarray,  # (n_sequences,) or (n_sequences, max_len)
) -> bool:
    """Whether the second half of X's columns holds the ratings of the items in the first half."""
    width = X.shape[1]
    if y.ndim == 1:  # the rating of the last item, which is to be predicted, must be NaN
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
    """Split padded sequences into item codes and ratings, each (n_sequences, max_len)."""
    max_len = X.shape[1] // 2 if with_ratings else X.shape[1]
    codes, valid = as_codes(X[:, :max_len].ravel())
    if not valid.all():
        row, column = divmod(int(np.argmin(valid)), max_len)
        raise ValueError(
            "Sequences hold item codes, whole numbers from 1 upwards, and 0 for padding, got "
            f"{X[row, column]:g} in row {row}, column {column}. Encode the items with "
            "IDEncoder before you make sequences."
        )
    ratings = X[:, max_len:] if with_ratings else None
    if ratings is not None and np.isinf(ratings).any():
        row, column = np.argwhere(np.isinf(ratings))[0]
        raise ValueError(
            f"Past ratings must be finite, or NaN where none is known, got "
            f"{ratings[row, column]:g} in row {row}, column {max_len + column}."
        )
    return codes.reshape(len(X), max_len), ratings


def to_histories(
    items: np.ndarray,  # (n_sequences, max_len), 0 for padding or unknown items
    ratings: np.ndarray | None,  # (n_sequences, max_len), NaN if not known
) -> tuple[Histories, np.ndarray]:
    """Rows without padding, and the number of interactions before each position."""
    if ratings is None:
        ratings = np.full(items.shape, np.nan)
    is_present = (items != 0) | ~np.isnan(ratings)
    places = np.cumsum(is_present, axis=1) - is_present
    row, column = np.nonzero(is_present)
    histories = Histories(row, items[row, column], ratings[row, column], None, len(items))
    return histories, places


def check_sequence_ratings(estimator: Any, y: Any, *, input_name: str = "y") -> np.ndarray:
    """Check one rating, or one rating per position, for each sequence; NaN is no rating."""
    if np.ndim(y) < 2 or np.shape(y)[1] == 1:
        return check_ratings(estimator, y, input_name=input_name)
    y = check_array(
        unmasked(y),
        dtype=np.float64,
        ensure_all_finite="allow-nan",
        input_name=input_name,
        estimator=estimator,
    )
    if np.isnan(y).all():
        raise ValueError(
            f"{input_name} holds no rating: all of it is NaN. Give at least one rating."
        )
    check_rating_size(y, input_name)
    return y


def check_item_codes(X: np.ndarray, items: np.ndarray) -> None:
    """Raise if the items look like IDs, or the second half of X's columns like a mask."""
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
    """Rows and columns of the positions whose ratings are to be predicted."""
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
