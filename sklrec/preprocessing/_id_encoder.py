"""IDEncoder: encodes columns of IDs."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Callable, Iterable, Iterator
from math import ceil
from numbers import Integral
from typing import Any, Literal, Self

import numpy as np
from sklearn.base import OneToOneFeatureMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from sklrec._data.checks import kind_of_output
from sklrec._data.output_tables import with_columns
from sklrec._data.tables import (
    POSITIONS,
    Table,
    check_interactions,
    column_values,
    named_column,
    resolve_columns,
    resolve_sides,
)
from sklrec._data.vocabulary import Vocabulary
from sklrec._utils.conditional import missing_if
from sklrec._utils.state.estimators import DeclaredEstimator, in_one_step
from sklrec._utils.state.kinds import Int, Many, Maybe, Part, Strings
from sklrec._utils.types import Whole
from sklrec._utils.versions import Interval, RealNotInt, StrOptions, fit_context

__all__ = ["IDEncoder"]

N_IDS_SHOWN = 10


def _why_no_partial_fit(encoder: Any) -> str | None:
    """Reason why an encoder has no `partial_fit`."""
    if encoder.min_frequency is None:
        return None
    return (
        f"partial_fit sees only some of the rows and cannot apply min_frequency="
        f"{encoder.min_frequency!r}. Set min_frequency=None, or call fit with all rows."
    )


class IDEncoder(OneToOneFeatureMixin, TransformerMixin, DeclaredEstimator):
    """Encode columns of IDs as the codes 1 to n, and unknown IDs as 0.

    Only the given columns change. All others stay unchanged and in their place, so that the
    next step of a pipeline can read timestamps and side features. The result for a DataFrame is
    a DataFrame with the same index and column names, and the result for an array is an array.

    IDs are strings, numbers, bytes, dates, times, tuples of these, or a mixture. Two IDs are the
    same if they are equal in Python: 196 equals 196.0, but not "196". Codes follow the order of
    first appearance.

    Parameters
    ----------
    columns : array-like of int or str, or "auto", default="auto"
        The columns that hold IDs, each by its position, counted from 0, or by its name. "auto"
        takes the columns named `user` and `item` if X has both, and the first two columns if it
        has neither. If it has one of them, name the columns.
    handle_unknown : {"use_encoded_value", "error"}, default="use_encoded_value"
        Treatment of IDs that `fit` did not see: `transform` gives them the code 0, or raises
        an error that names them.
    min_frequency : int or float, default=None
        Smallest number of rows of an ID that gets a code of its own. A float between 0 and 1 is
        a share of the rows. Rarer IDs get the code 0, like unknown IDs. None keeps all IDs.

    Attributes
    ----------
    categories_ : list of ndarray
        For each of `columns` the IDs that have a code, in the order of their codes: the ID at
        position k has the code k + 1.
    infrequent_categories_ : list of ndarray
        For each of `columns` the IDs that are rarer than `min_frequency`.
    vocabularies_ : list of Vocabulary
        For each of `columns` the map from IDs to codes and back.
    column_indices_ : tuple of int
        The positions of `columns`.
    n_features_in_ : int
        Number of columns seen during `fit`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns seen during `fit`, if they all are strings.

    See Also
    --------
    sklearn.preprocessing.OrdinalEncoder : Encodes all columns, in sorted order.

    Notes
    -----
    `fit` makes a hash table of each column, and `transform` looks up IDs in this table. Nothing
    is sorted. A column of the pandas dtype `category` is faster, since only its categories are
    looked up.

    `transform` warns if its IDs are of another kind than the IDs of `fit`, for example the string
    "196" instead of the number 196. The warning contains the share of unknown rows.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklrec.preprocessing import IDEncoder
    >>> X = pd.DataFrame({"user": ["ann", "bob", "ann"], "item": [7, 7, 9], "day": [1, 2, 3]})
    >>> encoder = IDEncoder().fit(X)
    >>> encoder.transform(X)
       user  item  day
    0     1     1    1
    1     2     1    2
    2     1     2    3
    >>> new = pd.DataFrame({"user": ["eve", "bob"], "item": [9, 8], "day": [4, 5]})
    >>> encoder.transform(new)
       user  item  day
    0     0     2    4
    1     2     0    5
    >>> encoder.inverse_transform(encoder.transform(new))
       user  item  day
    0  None     9    4
    1   bob  None    5
    """

    _state = {
        "n_features_in_": Int(size="n_columns"),
        "feature_names_in_": Maybe(Strings("n_columns")),
        "column_indices_": Many(Int(below="n_columns"), "n_vocabularies", into=tuple),
        "vocabularies_": Many(Part(Vocabulary), "n_vocabularies"),
    }

    _parameter_constraints: dict = {
        "columns": ["array-like", StrOptions({"auto"})],
        "handle_unknown": [StrOptions({"use_encoded_value", "error"})],
        "min_frequency": [
            Interval(Integral, 1, None, closed="left"),
            Interval(RealNotInt, 0, 1, closed="neither"),
            None,
        ],
    }

    vocabularies_: list[Vocabulary]
    column_indices_: tuple[int, ...]

    def __init__(
        self,
        columns: Iterable[int | str] = "auto",
        *,
        handle_unknown: Literal["use_encoded_value", "error"] = "use_encoded_value",
        min_frequency: Whole | float | None = None,
    ):
        self.columns = columns
        self.handle_unknown = handle_unknown
        self.min_frequency = min_frequency

    @fit_context(prefer_skip_nested_validation=True)
    @in_one_step
    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn the IDs in the given columns.

        Parameters
        ----------
        X : {DataFrame, array-like} of shape (n_samples, n_features)
            The interactions, a row each.
        y : None
            Ignored. Pipelines pass it.

        Returns
        -------
        IDEncoder
            The fitted encoder.
        """
        _, self.vocabularies_ = self._learn(X, Vocabulary.from_values)
        return self

    @fit_context(prefer_skip_nested_validation=True)
    @in_one_step
    def fit_transform(self, X: Any, y: Any = None) -> Any:
        """Learn the IDs and encode them, in one pass over the data.

        Parameters
        ----------
        X : {DataFrame, array-like} of shape (n_samples, n_features)
            The interactions, a row each.
        y : None
            Ignored. Pipelines pass it.

        Returns
        -------
        DataFrame or ndarray of shape (n_samples, n_features)
            X with codes in place of the IDs.
        """
        X, learned = self._learn(X, Vocabulary.build)
        self.vocabularies_ = [vocabulary for vocabulary, _ in learned]
        return self._replace(X, [codes for _, codes in learned], kind_of_output(self))

    @missing_if(_why_no_partial_fit)
    @fit_context(prefer_skip_nested_validation=True)
    @in_one_step
    def partial_fit(self, X: Any, y: Any = None) -> Self:
        """Add the IDs that are new; those already known keep their codes.

        With `min_frequency` there is no `partial_fit`, because only `fit` sees all rows and can
        count IDs.

        Parameters
        ----------
        X : {DataFrame, array-like} of shape (n_samples, n_features)
            More interactions, a row each.
        y : None
            Ignored. Pipelines pass it.

        Returns
        -------
        IDEncoder
            The encoder.
        """
        if not hasattr(self, "vocabularies_"):
            return self.fit(X)
        X = check_interactions(self, X, reset=False)
        grown = []
        for vocabulary, values in self._id_columns(X):
            grown.append(vocabulary.extend(values))
            if grown[-1] is not vocabulary:
                n_unknown = np.count_nonzero(vocabulary.codes(values) == 0)
                vocabulary.warn_of_kind(values, n_unknown)
        self.vocabularies_ = grown
        return self

    def transform(self, X: Any) -> Any:
        """Encode IDs.

        Parameters
        ----------
        X : {DataFrame, array-like} of shape (n_samples, n_features)
            Interactions, with the columns that `fit` saw.

        Returns
        -------
        DataFrame or ndarray of shape (n_samples, n_features)
            X with codes in place of the IDs. An array is int64 if X holds integers or only
            columns of IDs. Otherwise its dtype keeps the values of the other columns.
        """
        check_is_fitted(self)
        X = check_interactions(self, X, reset=False)
        codes = []
        for vocabulary, values in self._id_columns(X):
            codes.append(vocabulary.codes(values))
            vocabulary.warn_of_kind(values, np.count_nonzero(codes[-1] == 0))
            if self.handle_unknown == "error":
                _check_known(vocabulary, values, codes[-1])
        return self._replace(X, codes, kind_of_output(self))

    def inverse_transform(self, X: Any) -> Any:
        """Turn codes back into IDs.

        Parameters
        ----------
        X : {DataFrame, array-like} of shape (n_samples, n_features)
            Result of `transform`: codes, and the other columns.

        Returns
        -------
        DataFrame or ndarray of shape (n_samples, n_features)
            X with IDs in place of their codes, and None in place of 0. A column of a
            DataFrame has the dtype of `fit`, or `object` if it holds None.
        """
        check_is_fitted(self)
        X = check_interactions(self, X, reset=False)
        ids = [vocabulary.ids_of(codes) for vocabulary, codes in self._id_columns(X)]
        return self._replace(X, ids, "default")

    @property
    def categories_(self) -> list[np.ndarray]:
        """The IDs that have a code, in the order of their codes, for each column."""
        return [vocabulary.ids for vocabulary in self.vocabularies_]

    @property
    def infrequent_categories_(self) -> list[np.ndarray]:
        """The IDs that are rarer than `min_frequency`, for each column."""
        return [np.asarray(vocabulary.rare) for vocabulary in self.vocabularies_]

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.categorical = True
        tags.input_tags.string = True
        tags.transformer_tags.preserves_dtype = []
        return tags

    def _learn(self, X: Any, learn: Callable[..., Any]) -> tuple[Any, list[Any]]:
        """Check X, and return it and what a function learns from each of its ID columns."""
        is_auto = isinstance(self.columns, str)
        columns = list(POSITIONS if is_auto else self.columns)
        if not columns:
            raise ValueError("columns is empty: give the position or name of a column of IDs.")
        X = check_interactions(self, X, reset=True, min_features=len(columns))
        if is_auto:
            self.column_indices_ = resolve_sides(self, X, user="auto", item="auto")
        else:
            self.column_indices_ = resolve_columns(self, columns, X)
        min_frequency = 1 if self.min_frequency is None else self.min_frequency
        if not isinstance(min_frequency, Integral):
            min_frequency = ceil(min_frequency * X.shape[0])
        id_columns = (named_column(self, X, position) for position in self.column_indices_)
        return X, [learn(values, name, int(min_frequency)) for values, name in id_columns]

    def _id_columns(self, X: Any) -> Iterator[tuple[Vocabulary, Any]]:
        """Pair the vocabularies with the values of their columns."""
        columns = (column_values(X, position) for position in self.column_indices_)
        return zip(self.vocabularies_, columns, strict=True)

    def _replace(self, X: Table, columns: list[Any], kind: str) -> Any:
        """Copy of a table with other values in its ID columns."""
        replaced = dict(zip(self.column_indices_, columns, strict=True))
        return with_columns(X, replaced, kind)


def _check_known(vocabulary: Vocabulary, values: Any, codes: np.ndarray) -> None:
    """Raise if `fit` did not see an ID."""
    unseen = vocabulary.unseen(values[codes == 0]).tolist()
    if unseen:
        more = f" and {len(unseen) - N_IDS_SHOWN} more" if len(unseen) > N_IDS_SHOWN else ""
        raise ValueError(
            f"Found unknown categories {unseen[:N_IDS_SHOWN]}{more} in column "
            f"{vocabulary.name!r} during transform. Fit on data that has these IDs, or set "
            "handle_unknown='use_encoded_value' to give them the code 0."
        )
