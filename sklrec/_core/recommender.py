"""Base class of the estimators that recommend items."""
# SPDX-License-Identifier: BSD-3-Clause

from abc import abstractmethod
from collections.abc import Callable, Mapping
from numbers import Integral
from typing import Any, Literal

import numpy as np
import pandas as pd
from torch import Tensor

from sklrec._core.predict import fitted_copy
from sklrec._core.readers import PairReader
from sklrec._core.recommend import recommended, similar
from sklrec._data.seen import SeenPairs
from sklrec._utils.conditional import missing_if
from sklrec._utils.state.estimators import DeclaredEstimator, Fitted
from sklrec._utils.state.kinds import Int, Maybe, Strings
from sklrec._utils.types import IDList, Whole
from sklrec._utils.versions import Interval
from sklrec.preprocessing import IDEncoder


def _numbers_of_ids(encoder: IDEncoder) -> dict[str, int]:
    users, items = encoder.vocabularies_
    return {"n_users": len(users), "n_items": len(items)}


def _lacks_factors(side: str) -> Callable[[Any], str | None]:
    """Make a function that tells why a model cannot compare users or items."""

    def reason(estimator: Any) -> str | None:
        if side in estimator._sides_with_factors:
            return None
        return (
            f"{type(estimator).__name__} has no similar_{side}s: it compares {side}s by their "
            "factors, which this model does not have. Use MFRegressor, or for events "
            "ImplicitMFRecommender."
        )

    return reason


class BaseRecommender(DeclaredEstimator):
    """Base of the estimators that recommend items to users by their IDs."""

    _state = {
        "n_features_in_": Int(size="n_columns"),
        "feature_names_in_": Maybe(Strings("n_columns")),
        "encoder_": Fitted(IDEncoder, _numbers_of_ids),
        "seen_": SeenPairs(),
    }

    _parameter_constraints: dict[str, list[Any]] = {
        "user": [Interval(Integral, 0, None, closed="left"), str],
        "item": [Interval(Integral, 0, None, closed="left"), str],
    }

    # What differs between estimators.
    _reader: Any = PairReader()
    _sides_with_factors: tuple[str, ...] = ("user", "item")

    encoder_: IDEncoder
    module_: Any

    @abstractmethod
    def _output(self, scores: np.ndarray) -> np.ndarray:
        """Convert the scores that rank items to the scores of the table, possibly in place."""

    @abstractmethod
    def _vectors(self, side: str) -> Tensor:
        """Vectors by which known users or items are compared, on the CPU."""

    def recommend(
        self,
        users: IDList | None = None,
        n_items: Whole = 10,
        *,
        exclude_seen: bool = True,
        candidates: IDList | Mapping[Any, IDList] | None = None,
        exclude: IDList | Mapping[Any, IDList] | None = None,
    ) -> pd.DataFrame:
        """Recommend the items with the highest scores.

        Parameters
        ----------
        users : array-like of shape (n_users,), default=None
            User IDs. An unknown user gets the items that are rated highest, or are most popular,
            regardless of the user. ``None`` means all known users, or the users of `candidates`
            if these differ by user.
        n_items : int, default=10
            Number of items for each user, or fewer if not enough items are left.
        exclude_seen : bool, default=True
            Whether to leave out the items that the user had in `fit` and `partial_fit`.
        candidates : array-like, dict or DataFrame, default=None
            The items to choose from. ``None`` means all known items. A list of IDs is the same
            for all users. A dict maps each user of `users` to a list of IDs. A table with a user
            and an item in each row, such as the result of `recommend` of another model, has the
            items of each user: see Notes. A table of items without a column of users describes
            items, which may be unknown, by all side features of items that the model reads.
        exclude : array-like, dict or DataFrame, default=None
            Items never to recommend: a list of IDs, or a dict or a table by user as for
            `candidates`. Items that are no candidates are ignored, and so are users who are not
            asked for.

        Returns
        -------
        DataFrame of shape (n_recommendations, 4)
            The user, the item, the rank (from 1) and the score. The score is the predicted
            rating, or that of `decision_function` for recommenders of events. The first two
            columns have the names of the fitted columns, or the names user and item if the fitted
            columns have no names. The users have the order of `users`. Items with the same score
            have the order of ``encoder_.categories_[1]``, or that of a table of items.

        Raises
        ------
        ValueError
            If a candidate without side features is not a known item, or if a user of `users` is
            missing in a dict of candidates. Also if users are of another kind than those of
            `candidates` or `exclude`.

        Warns
        -----
        UserWarning
            If users, or the items of `exclude`, are unknown because their IDs are of another kind
            than the IDs that `fit` saw.

        Notes
        -----
        A user without candidates, such as one with an empty list or with no row in a table, gets
        no rows.

        The columns of a table have the names of the fitted columns, or the names ``user`` and
        ``item``, or are the first two. The other columns of a table by user are ignored.
        """
        model = fitted_copy(self)
        return recommended(model, users, n_items, exclude_seen, candidates, exclude)

    @missing_if(_lacks_factors("item"))
    def similar_items(
        self, items: IDList, n_items: Whole = 10, metric: Literal["cosine", "dot"] = "cosine"
    ) -> pd.DataFrame:
        """Find the items whose factors are most similar; `BiasRegressor` has no factors.

        Parameters
        ----------
        items : array-like of shape (n,)
            Known item IDs.
        n_items : int, default=10
            Number of similar items for each item, or fewer if there are not enough items.
        metric : {'cosine', 'dot'}, default='cosine'
            The cosine of the factors of the two items, from -1 to 1, or their dot product. The
            dot product grows with the size of the factors.

        Returns
        -------
        DataFrame of shape (n_similar, 4)
            The item, the similar item, the rank (from 1) and the score (by `metric`). The first
            two columns have the name of the fitted column, such as ``sku`` and ``similar_sku``,
            or are ``item`` and ``similar_item`` if the fitted columns have no names.

        Raises
        ------
        ValueError
            If an item is unknown.
        """
        return similar(fitted_copy(self), "item", items, n_items, metric)

    @missing_if(_lacks_factors("user"))
    def similar_users(
        self, users: IDList, n_users: Whole = 10, metric: Literal["cosine", "dot"] = "cosine"
    ) -> pd.DataFrame:
        """Find the users whose factors are most similar, if the model has factors of users.

        Parameters
        ----------
        users : array-like of shape (n,)
            Known user IDs.
        n_users : int, default=10
            Number of similar users for each user, or fewer if there are not enough users.
        metric : {'cosine', 'dot'}, default='cosine'
            The cosine of the factors of the two users, from -1 to 1, or their dot product. The
            dot product grows with the size of the factors.

        Returns
        -------
        DataFrame of shape (n_similar, 4)
            The user, the similar user, the rank (from 1) and the score (by `metric`). The first
            two columns have the name of the fitted column, such as ``sku`` and ``similar_sku``,
            or are ``user`` and ``similar_user`` if the fitted columns have no names.

        Raises
        ------
        ValueError
            If a user is unknown.
        """
        return similar(fitted_copy(self), "user", users, n_users, metric)

    @property
    def n_users_(self) -> int:
        """Number of known users."""
        return len(self.encoder_.vocabularies_[0])

    @property
    def n_items_(self) -> int:
        """Number of known items."""
        return self.module_.n_items

    @property
    def n_ratings_(self) -> int:
        """Number of different pairs of a user and an item in the training data."""
        return self.seen_.nnz

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.categorical = True
        tags.input_tags.string = True
        return tags
