"""Base class of the recommenders that compute a user's scores from the user's positives."""
# SPDX-License-Identifier: BSD-3-Clause

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from scipy.sparse import csr_array
from torch import Tensor

from sklrec._core.choices import Items
from sklrec._core.explain import Contributions, explained
from sklrec._core.implicit import (
    BaseImplicitRecommender,
    has_positives,
    largest_of_pairs,
    with_popularity,
)
from sklrec._core.newcomers import Newcomers
from sklrec._core.predict import fitted_copy
from sklrec._data.seen import WeightedPairs
from sklrec._utils.runtime import own_settings
from sklrec._utils.types import IDList, Whole

# From the positives of a user, (1, n_items + 1), and codes of known items, (n,), to contributions
# of the positives, (n_positives, n).
ValuesOf: TypeAlias = Callable[[csr_array, np.ndarray], np.ndarray]


class BaseEventUsers(BaseImplicitRecommender):
    """Base of the recommenders that compute a user's scores from the user's positives."""

    _state = {**BaseImplicitRecommender._state, "positives_": WeightedPairs()}

    positives_: csr_array

    @abstractmethod
    def _rows_of(self, users: np.ndarray) -> Any:
        """Rows of known users, from which `_scores_of` computes scores."""

    @abstractmethod
    def _solved(self, positives: csr_array) -> Any:
        """Compute such rows from the positives of users, (n_users, n_items + 1)."""

    @abstractmethod
    def _scores_of(self, rows: Any, items: np.ndarray) -> Tensor:
        """Compute the scores of known items, (n_rows, n_items), for some rows."""

    @abstractmethod
    def _contributions(self) -> ValuesOf:
        """Make the function that computes contributions of positives to scores."""

    def _has_list(self, users: np.ndarray) -> np.ndarray:
        return has_positives(self.positives_, users)

    def _all_scores(self, users: np.ndarray, items: np.ndarray) -> Tensor:
        return self._scores_of(self._rows_of(users), items)

    @own_settings()
    def explain(self, users: IDList, items: IDList) -> pd.DataFrame:
        """Explain scores by the positives of the user.

        Parameters
        ----------
        users : array-like of shape (n_pairs,)
            User IDs.
        items : array-like of shape (n_pairs,)
            Item IDs. The score of ``items[k]`` for ``users[k]`` is explained.

        Returns
        -------
        DataFrame of shape (n_contributions, 5)
            The user and the item of a pair, a positive of the user in `fit` (``from_item``), the
            kind of the contribution (``kind``), and the contribution in units of the scores
            (``contribution``). The first columns have the names of the fitted columns, such as
            ``sku`` and ``from_sku``. The pairs have the order of `users`. A pair has a row of the
            kind ``'interaction'`` for each positive of the user, with the strongest first. The
            pair of a user without positives, or of an unknown user, has one row of the kind
            ``'popularity'``. The contributions of a pair add up to `decision_function`.

        Raises
        ------
        ValueError
            If `users` and `items` have different lengths.

        Warns
        -----
        UserWarning
            If IDs are unknown because they are of another kind than the IDs that `fit` saw.

        Notes
        -----
        The model of the items is taken as given, although the positives of the user had a small
        part in it. A contribution may be negative. An unknown item has the score 0, and all
        contributions to it are 0.
        """
        model = fitted_copy(self)
        popularity = np.concatenate([[0.0], model._popularity_scores()])
        values_of = model._contributions()

        def parts(model: Any, user: int, items: np.ndarray) -> Contributions:
            positives = model.positives_[[user]]
            values = np.zeros((positives.nnz, len(items)))
            if positives.nnz:
                values[:, items > 0] = values_of(positives, items[items > 0])
                return Contributions({}, positives.indices, values)
            return Contributions({"popularity": popularity[items]}, positives.indices, values)

        return explained(model, users, items, parts)

    @own_settings()
    def recommend_for(
        self,
        X: Any,
        y: Any = None,
        n_items: Whole = 10,
        *,
        sample_weight: Any = None,
        exclude_seen: bool = True,
        candidates: IDList | Mapping[Any, IDList] | None = None,
        exclude: IDList | Mapping[Any, IDList] | None = None,
    ) -> pd.DataFrame:
        """Recommend items to new or returning users from their events.

        The scores of each user are computed exactly, given the model of the items. The estimator
        stays as it is and is not copied. Several threads may call this method at once.

        Parameters
        ----------
        X : {DataFrame, array-like} of shape (n_samples, n_features)
            All events of the users, columns as in `fit`. Only these count, also for users that
            `fit` saw. Events with unknown items do not count.
        y : array-like of shape (n_samples,), default=None
            Ratings or counts. Used only with `threshold` or `confidence`, as in `fit`.
        n_items : int, default=10
            Number of items for each user, or fewer if not enough items are left.
        sample_weight : array-like of shape (n_samples,), default=None
            Factor of the weight of each row, as in `fit`.
        exclude_seen : bool, default=True
            Whether to leave out the items of the user in X, and those that the user had in `fit`.
        candidates : array-like, dict or DataFrame, default=None
            The items to choose from, as in `recommend`.
        exclude : array-like, dict or DataFrame, default=None
            Items never to recommend, as in `recommend`.

        Returns
        -------
        DataFrame of shape (n_recommendations, 4)
            As in `recommend`. The users have the order of their first rows in X. A user without a
            positive of a known item gets the list by popularity.

        Raises
        ------
        ValueError
            If X, y or another argument is not valid, or if y is missing and `threshold` or
            `confidence` is set.

        Warns
        -----
        UserWarning
            If items are unknown because their IDs are of another kind than the IDs that `fit` saw.
        """
        model = fitted_copy(self)
        X, y, weight = model._read_events(X, y, sample_weight, reset=False)
        new = Newcomers.read(model, X)
        counts = model._is_positive(y) & (new.items > 0)
        users, items, weight = (values[counts] for values in (new.users, new.items, weight))
        shape = len(new.ids), model.seen_.shape[1]
        positives = largest_of_pairs(users, items, weight, shape).astype(np.float32)
        has_list = has_positives(positives, np.arange(len(new.ids)))
        rows = model._solved(positives[has_list])
        places = np.cumsum(has_list) - 1  # of users among these rows

        def scores(some: slice, items: Items) -> Tensor:
            own, codes = places[some][has_list[some]], items.codes
            return with_popularity(
                model, has_list[some], codes, lambda: model._scores_of(rows[own], codes)
            )

        return new.lists(model, scores, n_items, exclude_seen, candidates, exclude)
