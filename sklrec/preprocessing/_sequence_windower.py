"""SequenceWindower: makes a window over the history of the user for each interaction."""
# SPDX-License-Identifier: BSD-3-Clause

from numbers import Integral, Real
from typing import Any, Self

import numpy as np
import pandas as pd
from sklearn.base import TransformerMixin
from sklearn.utils import check_consistent_length
from sklearn.utils.validation import check_is_fitted

from sklrec._data.checks import (
    TIMESTAMP_KINDS,
    as_codes,
    check_ratings,
    plain_scalar,
)
from sklrec._data.histories import Histories
from sklrec._data.numbers import numbers_of
from sklrec._data.tables import (
    check_interactions,
    named_column,
    resolve_columns,
    resolve_sides,
)
from sklrec._data.timestamps import learn_timestamp, read_timestamps
from sklrec._data.vocabulary import Vocabulary
from sklrec._utils.state.estimators import DeclaredEstimator, in_one_step
from sklrec._utils.state.kinds import Choice, Int, Many, Maybe, Part, Strings
from sklrec._utils.types import Column, Whole
from sklrec._utils.versions import Interval, check_feature_names_in, fit_context
from sklrec.preprocessing._sequence_padder import LARGEST_MAX_LEN

_ENCODER = "Put an IDEncoder in front, for example make_pipeline(IDEncoder(), SequenceWindower())."


class SequenceWindower(TransformerMixin, DeclaredEstimator):
    """Turn each interaction into a window over its user's latest items.

    A row of the result holds the codes of the last `max_len` items of its user in time order.
    The last column is the item of the row itself. The items before it are interactions in `fit`
    that are strictly earlier than the row. Rows with fewer items start with zeros.

    A window depends only on its row and on the earlier interactions in `fit`. It does not depend
    on interactions with the same or a later timestamp, or on other rows of `transform`. A pipeline
    with this step is therefore valid under cross-validation with any split.

    Parameters
    ----------
    max_len : int, default=10
        Width of the window, including the item of the row itself.
    user : int or str, default="auto"
        The column of users, by position or by name. "auto" takes the columns named `user` and
        `item` if X has both, and the first two columns if it has neither. If it has one of them,
        name the other column. Users are IDs of any kind.
    item : int or str, default="auto"
        The column of items. Items must be codes from `IDEncoder`: whole numbers from 0 upwards,
        where 0 stands for an unknown item.
    timestamp : int, str, "auto" or None, default="auto"
        The column of timestamps: numbers or datetimes. Datetimes without a time zone are read as
        UTC. "auto" is the column `timestamp` of a DataFrame, if there is one. None takes the
        order of the rows in `fit` as time order.
    ratings : bool, default=False
        Whether to append `max_len` columns with the ratings of the items, from the y of `fit`.
        Padding and the row itself, whose rating is to be predicted, have NaN.

    Attributes
    ----------
    column_indices_ : tuple of int
        The positions of users, items and, if there are any, timestamps.
    vocabulary_ : Vocabulary
        The map from users to their codes.
    timestamp_kind_ : {"numbers", "datetimes", "datetimes with a time zone"} or None
        Kind of the timestamps in `fit`. Those of `transform` must be of the same kind. None
        without timestamps.
    histories_ : Histories
        The interactions of `fit`, by user and in time order.
    n_features_in_ : int
        Number of columns seen during `fit`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns seen during `fit`, if they all are strings.

    See Also
    --------
    SequencePadder : Makes a matrix of existing sequences.
    IDEncoder : Encodes the items.

    Notes
    -----
    Without timestamps, a row has no place in the time order. Its window holds the latest
    interactions of its user in `fit` with other items, as in `SequenceRatingRegressor`. Windows of
    training rows then hold later items too. A score on them says nothing about a forecast.

    Unknown users have no history, so that their window holds only the item of the row. Items of
    one user and timestamp are sorted by code. Unknown items, with the code 0, keep their place
    in a window.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklrec.preprocessing import IDEncoder, SequenceWindower
    >>> log = pd.DataFrame(
    ...     {
    ...         "user": ["ann", "ann", "bob", "ann", "ann"],
    ...         "item": ["Fargo", "Alien", "Alien", "Heat", "Big"],
    ...         "timestamp": [1, 2, 2, 3, 3],
    ...     }
    ... )
    >>> windower = make_pipeline(IDEncoder(), SequenceWindower(max_len=4)).fit(log)
    >>> windower.transform(log)
    array([[0, 0, 0, 1],
           [0, 0, 1, 2],
           [0, 0, 0, 2],
           [0, 1, 2, 3],
           [0, 1, 2, 4]])

    Heat and Big have the same timestamp, so that their windows do not contain each other. Later
    windows contain both. A new film has the code 0, and a new user has no history.

    >>> later = pd.DataFrame(
    ...     {"user": ["ann", "eve"], "item": ["Jaws", "Heat"], "timestamp": [9, 9]}
    ... )
    >>> windower.transform(later)
    array([[2, 3, 4, 0],
           [0, 0, 0, 3]])

    Windows with the ratings of the earlier items:

    >>> rated = make_pipeline(IDEncoder(), SequenceWindower(max_len=3, ratings=True))
    >>> rated.fit(log, [5, 3, 4, 2, 1]).transform(later)
    array([[ 3.,  4.,  0.,  2.,  1., nan],
           [ 0.,  0.,  3., nan, nan, nan]])
    """

    _state = {
        "n_features_in_": Int(size="n_columns"),
        "feature_names_in_": Maybe(Strings("n_columns")),
        "column_indices_": Many(Int(below="n_columns"), "n_roles", into=tuple),
        "timestamp_kind_": Choice(*TIMESTAMP_KINDS, None),
        "vocabulary_": Part(Vocabulary, lambda vocabulary: {"n_users": len(vocabulary)}),
        "histories_": Part(Histories),
    }

    _parameter_constraints: dict = {
        "max_len": [Interval(Integral, 1, None, closed="left")],
        "user": [Interval(Integral, 0, None, closed="left"), str],
        "item": [Interval(Integral, 0, None, closed="left"), str],
        "timestamp": [Interval(Integral, 0, None, closed="left"), str, None],
        "ratings": ["boolean"],
    }

    column_indices_: tuple[int, ...]
    vocabulary_: Vocabulary
    timestamp_kind_: str | None
    histories_: Histories

    def __init__(
        self,
        max_len: Whole = 10,
        *,
        user: Column = "auto",
        item: Column = "auto",
        timestamp: Column | None = "auto",
        ratings: bool = False,
    ):
        self.max_len = max_len
        self.user = user
        self.item = item
        self.timestamp = timestamp
        self.ratings = ratings

    def _check_state(self) -> None:
        if self.max_len > LARGEST_MAX_LEN:
            raise ValueError(f"max_len should be at most {LARGEST_MAX_LEN} in a model file")
        n_columns = 2 + self.histories_.timed
        if len(self.column_indices_) != n_columns or (self.timestamp_kind_ is None) == (
            self.histories_.timed
        ):
            raise ValueError("histories_ should have times if there is a column of timestamps")

    @fit_context(prefer_skip_nested_validation=True)
    @in_one_step
    def fit(self, X: Any, y: Any = None) -> Self:
        """Store the log of interactions.

        Parameters
        ----------
        X : {DataFrame, array-like} of shape (n_samples, n_features)
            The interactions, a row each, in any order.
        y : array-like of shape (n_samples,), default=None
            Their ratings. Only read if `ratings` is set.

        Returns
        -------
        SequenceWindower
            The fitted windower.

        Raises
        ------
        ValueError
            If X lacks a column, if items are not codes, if users are negative numbers, if
            timestamps are missing or infinite, or if `ratings` is set and y is not given.
        TypeError
            If timestamps are neither numbers nor datetimes.

        Warns
        -----
        UserWarning
            If ``timestamp="auto"`` finds no column in an X of more than two columns.
        """
        X = check_interactions(self, X, reset=True)
        ratings = check_ratings(self, y) if self.ratings else np.full(X.shape[0], np.nan)
        check_consistent_length(X, ratings)
        sides = resolve_sides(self, X, user=self.user, item=self.item)
        reads = "transform reads the whole history of a user"
        position, kind = learn_timestamp(self, X, reads)
        columns = resolve_columns(self, sides if position is None else (*sides, position), X)
        users, items, *times = (named_column(self, X, column) for column in columns)
        _check_not_negative(*users)
        vocabulary, codes = Vocabulary.build(*users)
        timestamps = read_timestamps(*times[0]) if times else None

        self.histories_ = Histories(
            codes, _check_item_codes(*items), ratings, timestamps, len(vocabulary) + 1
        )
        self.column_indices_ = columns
        self.vocabulary_ = vocabulary
        self.timestamp_kind_ = kind
        return self

    def transform(self, X: Any) -> Any:
        """Make a window for each interaction.

        Parameters
        ----------
        X : {DataFrame, array-like} of shape (n_samples, n_features)
            Interactions, with the columns that `fit` saw.

        Returns
        -------
        ndarray of shape (n_samples, max_len) or (n_samples, 2 * max_len)
            The windows as int64, or codes and then ratings as float64 if `ratings` is set.
        """
        check_is_fitted(self)
        X = check_interactions(self, X, reset=False)
        (users, name), items, *times = (named_column(self, X, k) for k in self.column_indices_)
        _check_not_negative(users, name)
        codes = self.vocabulary_.codes(users)
        self.vocabulary_.warn_of_kind(users, np.count_nonzero(codes == 0))
        own_items = _check_item_codes(*items)

        histories, n_past = self.histories_, self.max_len - 1
        if times:
            timestamps = read_timestamps(*times[0], self.timestamp_kind_)
            starts = histories.starts[codes][:, np.newaxis]
            ends = starts + histories.count_earlier(codes, timestamps)[:, np.newaxis]
            positions = ends + np.arange(-n_past, 0)  # (n_samples, n_past)
            positions[positions < starts] = -1
        else:
            positions = histories.latest_without(codes, own_items, n_past)
        windows = _windows(histories.items, positions, 0, own_items)
        if not self.ratings:
            return windows
        return np.hstack([windows, _windows(histories.ratings, positions, np.nan, np.nan)])

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Name the columns of the result.

        Parameters
        ----------
        input_features : array-like of str, default=None
            Names of the columns of X, which must be those of `fit`.

        Returns
        -------
        ndarray of str
            `item_lag9` to `item_lag0`, where the number counts interactions backwards. If
            `ratings` is set, `rating_lag9` to `rating_lag0` follow.
        """
        check_is_fitted(self)
        check_feature_names_in(self, input_features, generate_names=False)
        kinds = ["item", "rating"] if self.ratings else ["item"]
        lags = range(self.max_len - 1, -1, -1)
        return np.array([f"{kind}_lag{lag}" for kind in kinds for lag in lags], dtype=object)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.categorical = True
        tags.input_tags.positive_only = True  # codes are not negative
        tags.input_tags.string = True
        tags.target_tags.required = self.ratings is True
        tags.transformer_tags.preserves_dtype = []
        return tags


def _windows(values: np.ndarray, positions: np.ndarray, padding: float, own: Any) -> np.ndarray:
    """Make windows of the values at some positions, padding for -1, and the row's own value."""
    windows = np.empty((positions.shape[0], positions.shape[1] + 1), dtype=values.dtype)
    windows[:, :-1] = np.append(values, np.array(padding, dtype=values.dtype))[positions]
    windows[:, -1] = own
    return windows


def _check_not_negative(users: Any, name: int | str) -> None:
    """Raise if a user is a negative number, as scikit-learn's tag `positive_only` demands."""
    if users.dtype.kind not in "if":
        return
    if (rows := np.flatnonzero(numbers_of(users, f"Column {name!r}") < 0)).size:
        value = plain_scalar(users[rows[0]])
        raise ValueError(
            f"{_sklearn_message(value)}Column {name!r} holds {value!r} in row {rows[0]}. Users "
            f"that are numbers must be at least 0. {_ENCODER}"
        )


def _check_item_codes(values: Any, name: int | str) -> np.ndarray:
    """Return the codes in the column of items, or raise."""
    codes, valid = as_codes(values)
    if not valid.all():
        row = int(np.argmin(valid))
        value = plain_scalar(values[row])
        raise ValueError(
            f"{_sklearn_message(value)}Column {name!r} holds {value!r} in row {row} where the "
            f"code of an item was expected, a whole number from 0 upwards. {_ENCODER}"
        )
    return codes


def _sklearn_message(value: Any) -> str:
    """First line of the message about an invalid code, in the words of scikit-learn."""
    if np.ndim(value) == 0 and pd.isna(value):
        return "Input X contains NaN.\n"
    if not isinstance(value, Real):
        return ""
    if value < 0:
        return "Negative values in data passed to SequenceWindower.\n"
    return "Input X contains infinity.\n" if value == np.inf else ""
