"""Base class of the estimators that learn from events and rank items."""
# SPDX-License-Identifier: BSD-3-Clause

from abc import abstractmethod
from collections.abc import Callable
from numbers import Real
from typing import Any, Self

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor

from sklrec._core.predict import by_blocks, fitted_copy
from sklrec._core.readers import PairReader, learn_ids, n_ids
from sklrec._core.recommender import BaseRecommender
from sklrec._core.rows import check_sum_of_weights, check_X, read_rows
from sklrec._utils.runs import is_new
from sklrec._utils.runtime import own_settings
from sklrec._utils.state.estimators import in_one_step
from sklrec._utils.state.kinds import Array
from sklrec._utils.versions import Interval, StrOptions, fit_context
from sklrec.metrics._ranking_scorer import RankingScorer

# Sums of weights outside this range overflow or vanish in float32.
SUM_OF_WEIGHTS = 1e-10, 1e20
# Length of the lists that `score` measures.
LIST_LENGTH = 10


class ScoreReader(PairReader):
    """Reads users and items. The estimator computes the scores."""

    @torch.no_grad()
    def scores(self, model: Any, users: np.ndarray, items: np.ndarray, **options: Any) -> Tensor:
        has_list = model._has_list(users)
        return with_popularity(
            model, has_list, items, lambda: model._all_scores(users[has_list], items)
        )


class BaseImplicitRecommender(BaseRecommender):
    """Base of the estimators that learn from events, and rank items for users."""

    _state = {
        **BaseRecommender._state,
        "item_popularity_": Array("float64", ("n_items",)),
    }

    _parameter_constraints = {
        **BaseRecommender._parameter_constraints,
        "threshold": [Interval(Real, None, None, closed="neither"), None],
        "confidence": [StrOptions({"log"}), None],
    }

    _reader = ScoreReader()

    threshold: float | None
    confidence: str | None
    item_popularity_: np.ndarray

    @abstractmethod
    def _learn(self, positives: csr_array) -> None:
        """Set the other fitted attributes; positives is (n_users + 1, n_items + 1)."""

    @abstractmethod
    def _has_list(self, users: np.ndarray) -> np.ndarray:
        """Whether users have scores of their own; others have scores by popularity."""

    @abstractmethod
    def _all_scores(self, users: np.ndarray, items: np.ndarray) -> Tensor:
        """Compute the scores of all pairs of such users and known items."""

    @abstractmethod
    def _pair_scores(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Compute the score of each pair of such a user and a known item."""

    def _age_weights(self, X: Any) -> np.ndarray | float:
        """Factors of the weights of rows, by their time."""
        return 1.0

    @fit_context(prefer_skip_nested_validation=True)
    @own_settings()
    @in_one_step
    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Fit the model to events, or to ratings above a threshold.

        Parameters
        ----------
        X : {DataFrame, array-like} of shape (n_samples, n_features)
            The events, one per row, with a column of user IDs and a column of item IDs.
        y : array-like of shape (n_samples,), default=None
            Ratings or counts. Used only with `threshold` or `confidence`, and required then.
        sample_weight : array-like of shape (n_samples,), default=None
            Factor of the weight of each row, not negative. Rows of weight 0 are ignored: their
            IDs stay unknown.

        Returns
        -------
        object
            The fitted estimator.

        Raises
        ------
        ValueError
            If X, y or a parameter is not valid, or if no row is a positive. The estimator stays
            unchanged.
        """
        for name in self._state.keys() & vars(self).keys():  # of an earlier fit
            delattr(self, name)
        X, y, weight = self._read_events(X, y, sample_weight, reset=True)
        is_positive = self._find_positives(y)
        codes = learn_ids(self, X, None)
        weight = (weight * self._age_weights(X))[is_positive]
        users, items = (codes[name][is_positive] for name in ("users", "items"))
        positives = largest_of_pairs(users, items, weight, self.seen_.shape)
        self.item_popularity_ = np.asarray(positives.sum(axis=0)).ravel()[1:]
        self._learn(positives)
        return self

    def decision_function(self, X: Any) -> np.ndarray:
        """Compute the scores by which `recommend` ranks, for pairs of a user and an item.

        Only the order of the scores of one user has a meaning.

        Parameters
        ----------
        X : {DataFrame, array-like} of shape (n_samples, n_features)
            The pairs, columns as in `fit`.

        Returns
        -------
        ndarray of shape (n_samples,)
            The scores as float64. Each depends only on its own row. A user that `fit` did not
            see, or without a positive, has scores by popularity. An item that `fit` did not see
            has the score 0.

        Warns
        -----
        UserWarning
            If IDs are unknown because they are of another kind than the IDs that `fit` saw.
        """
        model = fitted_copy(self)

        popularity = np.concatenate([[0.0], model._popularity_scores()])

        def compute(users: np.ndarray, items: np.ndarray) -> np.ndarray:
            found = popularity[items]
            rows = np.flatnonzero(model._has_list(users) & (items > 0))
            if len(rows):
                found[rows] = model._pair_scores(users[rows], items[rows])
            return found

        return by_blocks(model, X, compute)

    def score(self, X: Any, y: Any = None) -> float:
        """Compute the NDCG of the best 10 items for each user, against the items in X.

        The lists leave out the items that the user had in `fit`. The score is the mean over the
        users in X who have a positive row there. Unknown users are included, with the list by
        popularity.

        Parameters
        ----------
        X : {DataFrame, array-like} of shape (n_samples, n_features)
            Other events than those of `fit`, columns as in `fit`.
        y : array-like of shape (n_samples,), default=None
            Ratings or counts. Used only with `threshold`: rows with y above it are positives.

        Returns
        -------
        float
            From 0 to 1. Greater is better.

        Raises
        ------
        ValueError
            If no row of X is a positive, or if y is missing and `threshold` is set.

        Warns
        -----
        UserWarning
            If `fit` saw most of the rows. Its lists leave out their items.

        See Also
        --------
        sklrec.metrics.make_ranking_scorer : Scorers of other metrics.
        """
        model = fitted_copy(self)
        X = check_X(model, X, reset=False)
        if model.threshold is None:
            is_positive = np.ones(X.shape[0], dtype=bool)
        else:
            is_positive = model._find_positives(model._values(X, y))
        scorer = RankingScorer(("ndcg",), True, LIST_LENGTH, 1.0, "all", False)
        found: Any = scorer(model, X, is_positive.astype(np.float64))
        return float(found)

    def _values(self, X: Any, y: Any) -> np.ndarray:
        """Check y, or replace it by zeros if it is not used."""
        used = [name for name in ("threshold", "confidence") if getattr(self, name) is not None]
        if not used:
            return np.zeros(X.shape[0])
        if y is None:
            value = getattr(self, used[0])
            raise ValueError(
                f"{used[0]}={value!r} reads the ratings or counts of the rows, but y is None. "
                f"Pass y, or set {used[0]}=None, which makes every row a positive."
            )
        values = self._reader.check_y(self, y, input_name="y")
        if self.confidence is not None and (values < 0).any():
            row = int((values < 0).argmax())
            raise ValueError(
                f"confidence={self.confidence!r} needs counts of at least 0 in y, got "
                f"{values[row]:g} in row {row}. Drop these rows, or set confidence=None."
            )
        return values

    def _read_events(
        self, X: Any, y: Any, sample_weight: Any, *, reset: bool
    ) -> tuple[Any, np.ndarray, np.ndarray]:
        """Check rows, drop those of weight 0, and compute the weights of positives."""
        X = check_X(self, X, reset=reset)
        X, y, weight = read_rows(
            self, X, self._values(X, y), sample_weight, reset=reset, allow_all_zero_weights=False
        )
        check_sum_of_weights(weight, SUM_OF_WEIGHTS)
        return X, y, weight if self.confidence is None else weight * (1 + np.log1p(y))

    def _is_positive(self, y: np.ndarray) -> np.ndarray:
        """Return a mask of the positive rows."""
        return np.ones(len(y), dtype=bool) if self.threshold is None else y > self.threshold

    def _find_positives(self, y: np.ndarray) -> np.ndarray:
        """Return a mask of the positive rows, or raise if there is none."""
        is_positive = self._is_positive(y)
        if not is_positive.any():
            raise ValueError(
                f"No row is a positive: the largest y is {y.max():g}, and threshold="
                f"{self.threshold:g} wants values above it. Give a lower threshold."
            )
        return is_positive

    def _popularity_scores(self) -> np.ndarray:
        """Scores of the known items for users without positives: shares of the users."""
        return self.item_popularity_ / self.n_users_

    def _output(self, scores: np.ndarray) -> np.ndarray:
        return scores

    @property
    def n_items_(self) -> int:
        """Number of known items."""
        return n_ids(self)[1]


def largest_of_pairs(
    users: np.ndarray, items: np.ndarray, weight: np.ndarray, shape: tuple[int, int]
) -> csr_array:
    """Make the matrix of the largest weight of each pair of codes."""
    keys = users * np.int64(shape[1]) + items
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    first = np.flatnonzero(is_new(keys))
    largest = np.maximum.reduceat(weight[order], first)
    rows, columns = np.divmod(keys[first], shape[1])
    starts = np.searchsorted(rows, np.arange(shape[0] + 1))
    return csr_array((largest, columns.astype(np.int32), starts.astype(np.int32)), shape)


def with_popularity(
    model: Any, has_list: np.ndarray, items: np.ndarray, compute: Callable[[], Tensor]
) -> Tensor:
    """Compute the scores of the users with scores of their own, and fill in the popularity."""
    if has_list.all():
        return compute()
    popularity = torch.from_numpy(model._popularity_scores()[items - 1])
    found = popularity.repeat(len(has_list), 1)
    if has_list.any():
        found[torch.from_numpy(has_list)] = compute().to(found)
    return found


def has_positives(positives: csr_array, rows: np.ndarray) -> np.ndarray:
    """Return a mask of the rows that have positives."""
    return np.asarray(positives.indptr[rows + 1] > positives.indptr[rows])
