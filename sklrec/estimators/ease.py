"""Item-item regression as a recommender."""
# SPDX-License-Identifier: BSD-3-Clause

from numbers import Real
from typing import Literal

import numpy as np
import torch

from sklrec._core.event_users import BaseEventUsers
from sklrec._solvers.ease import item_weights
from sklrec._utils.state.kinds import Array, Plain
from sklrec._utils.types import Auto, Column
from sklrec._utils.versions import Interval, StrOptions

# Penalty for weights of 1. On validation parts the best one was 400 on MovieLens 100K and foodcom,
# 200 on ml-latest-small, 30 on goodbooks and 100 (of 100 and 400) on lastfm-plays. Penalties from
# 100 to 400 lose at most 6 %. The article found 200 to 1000 on larger logs.
ITEM_PENALTY = 200.0


class EASERecommender(BaseEventUsers):
    r"""Item-item regression in closed form, for catalogues whose pairs of items fit in memory.

    The score of an item for a user is a sum over the user's positives,

    .. math:: s_{ui} = \sum_j x_{uj} B_{ji}

    with weights :math:`x` of the positives and an item-item matrix :math:`B` with zeros on its
    diagonal. It minimises

    .. math:: \|X - X B\|^2 + \alpha \|B\|^2

    exactly. There is no random number and no other setting than the penalty.

    Parameters
    ----------
    alpha : float or 'auto', default='auto'
        The penalty. ``'auto'`` is 200 times the mean squared weight of the positives.
    threshold : float, default=None
        Rows with y above this value are positives. ``None`` makes every row a positive.
    confidence : {'log'}, default=None
        ``'log'`` gives a positive the weight 1 + log(1 + y), for counts y of at least 0. ``None``
        gives it the weight 1.
    user : int or str, default='auto'
        Position or name of the column of user IDs. ``'auto'`` takes the columns named ``user``
        and ``item`` if X has both, and the first two columns if it has neither. If it has one of
        them, name the other column.
    item : int or str, default='auto'
        Position or name of the column of item IDs.

    Attributes
    ----------
    item_weights_ : ndarray of shape (n_items_, n_items_)
        The matrix :math:`B` in float32. Row j has the weights of item j in the scores of all
        items, in the order of ``encoder_.categories_[1]``.
    positives_ : csr_array of shape (n_users + 1, n_items + 1)
        Weight of each positive, by user code and item code.
    alpha_ : float
        The penalty.
    item_popularity_ : ndarray of shape (n_items_,)
        Sum of the weights of the positives of each item.
    encoder_ : IDEncoder
        Maps IDs to codes. The ID in place k of ``categories_`` has the code k + 1.
    seen_ : csr_array of shape (n_users + 1, n_items + 1)
        Pairs of a user code and an item code that `fit` has seen, positive or not.
    n_users_ : int
        Number of known users.
    n_items_ : int
        Number of known items.
    n_ratings_ : int
        Number of pairs of a user and an item that were seen together.
    n_features_in_ : int
        Number of columns of X.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the columns of X. Only if all are strings.

    See Also
    --------
    ImplicitMFRecommender : For large catalogues.
    PopularityRecommender : The baseline.

    Notes
    -----
    **Memory.** The matrix takes 4 bytes for each pair of items: 0.37 GiB for 10,000 items, and
    9.3 GiB for 50,000. The fit needs no second copy, except with a small penalty: then it computes
    in float64 and needs three times as much. If the memory that is free does not suffice, `fit`
    raises ValueError before it computes. The time grows with the cube of the number of items.

    **Positives.** Repeated rows of a pair are one positive, with the largest weight of these
    rows. Rows that are no positives, because of `threshold`, still make their user and item
    known, and `recommend` leaves the item out of the lists of that user. Weights are factors of
    the entries of X.

    **Unknown users**, and users without a positive, get the list by popularity. Their scores are
    `item_popularity_` divided by the number of users. `recommend_for` ranks for new users by
    their events.

    **Similar items.** `similar_items` compares the columns of `item_weights_`: two items are
    similar if the same items predict them.

    References
    ----------
    Steck (2019), "Embarrassingly Shallow Autoencoders for Sparse Data",
    :doi:`10.1145/3308558.3313710`.

    Examples
    --------
    >>> from sklrec import EASERecommender
    >>> X = [["ann", "tea"], ["ann", "milk"], ["bob", "tea"], ["bob", "milk"], ["cat", "rum"]]
    >>> X += [["dan", "tea"], ["eve", "rum"], ["eve", "lime"]]
    >>> model = EASERecommender(alpha=1).fit(X)
    >>> model.recommend(["dan", "cat"], n_items=1).round(2)
      user  item  rank  score
    0  dan  milk     1   0.50
    1  cat  lime     1   0.33
    """

    _sides_with_factors = ("item",)

    _state = {
        **BaseEventUsers._state,
        "item_weights_": Array("float32", ("n_items", "n_items")),
        "alpha_": Plain(float, low=0),
    }

    _parameter_constraints = {
        **BaseEventUsers._parameter_constraints,
        "alpha": [StrOptions({"auto"}), Interval(Real, 0, None, closed="neither")],
    }

    def __init__(
        self,
        alpha: float | Auto = "auto",
        *,
        threshold: float | None = None,
        confidence: Literal["log"] | None = None,
        user: Column = "auto",
        item: Column = "auto",
    ):
        self.alpha = alpha
        self.threshold = threshold
        self.confidence = confidence
        self.user = user
        self.item = item

    def _learn(self, positives):
        self.positives_ = positives.astype(np.float32)
        usual = ITEM_PENALTY * float(np.mean(positives.data**2))
        self.alpha_ = usual if self.alpha == "auto" else float(self.alpha)
        self.item_weights_ = item_weights(self.positives_[1:, 1:], self.alpha_)

    def _rows_of(self, users):
        return self.positives_[users]

    def _solved(self, positives):
        return positives

    def _scores_of(self, rows, items):
        weights = self.item_weights_
        if len(items) < len(weights):
            weights = weights[:, items - 1]
        return torch.from_numpy(rows[:, 1:] @ weights)

    def _contributions(self):
        def values_of(positives, items):
            weights = self.item_weights_[np.ix_(positives.indices - 1, items - 1)]
            return positives.data[:, np.newaxis] * weights.astype(np.float64)

        return values_of

    def _pair_scores(self, users, items):
        history = self.positives_[users]
        rows = np.repeat(np.arange(len(users)), np.diff(history.indptr))
        weights = self.item_weights_[history.indices - 1, items[rows] - 1]
        terms = history.data * weights.astype(np.float64)
        return np.bincount(rows, terms, len(users))

    def _vectors(self, side):
        return torch.from_numpy(self.item_weights_).T
