"""Popularity of items as a recommender."""
# SPDX-License-Identifier: BSD-3-Clause

from numbers import Integral, Real
from typing import Literal

import numpy as np

from sklrec._core.implicit import BaseImplicitRecommender
from sklrec._data.checks import NUMBERS
from sklrec._data.tables import named_column
from sklrec._data.timestamps import need_timestamp, read_timestamps, timestamp_kind
from sklrec._utils.types import Column
from sklrec._utils.versions import Interval

NANOSECONDS = 1e9  # in a second


class PopularityRecommender(BaseImplicitRecommender):
    r"""Recommend the items with the most users: the baseline of all recommenders.

    The score of an item is the number of users with a positive for it. With `half_life` an event
    counts less, the older it is:

    .. math:: s_i = \sum_u w_{ui} \, 2^{-(t - t_{ui}) / h}

    with the time :math:`t_{ui}` of the event, the time :math:`t` of the latest event in `fit`,
    and the half-life :math:`h`.

    Parameters
    ----------
    half_life : float, default=None
        Age at which an event counts half, in the unit of the timestamps if these are numbers,
        and in seconds if they are datetimes. ``None`` ignores the time.
    timestamp : int or str, default='auto'
        Position or name of the column of timestamps. ``'auto'`` takes the column named
        ``timestamp``. Only `half_life` uses it.
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
    item_popularity_ : ndarray of shape (n_items_,)
        Sum of the weights of the positives of each item, in the order of
        ``encoder_.categories_[1]``.
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
    ImplicitMFRecommender : Lists that differ by user.
    EASERecommender : Lists that differ by user, for smaller catalogues.

    Notes
    -----
    **Positives.** Repeated rows of a pair are one positive, with the largest weight of these
    rows: with `half_life`, that of the latest one. Rows that are no positives, because of
    `threshold`, still make their user and item known, and `recommend` leaves the item out of the
    lists of that user.

    **Scores.** All users have the same scores, known or not. Lists differ because `recommend`
    leaves out the items that a user has seen.

    References
    ----------
    Ji et al. (2020), "A Re-visit of the Popularity Baseline in Recommender Systems",
    :doi:`10.1145/3397271.3401233`.

    Examples
    --------
    >>> from sklrec import PopularityRecommender
    >>> X = [["ann", "tea"], ["bob", "tea"], ["bob", "rum"], ["cat", "rum"], ["dan", "rum"]]
    >>> model = PopularityRecommender().fit(X)
    >>> model.recommend(["ann", "eve"], n_items=2)
      user item  rank  score
    0  ann  rum     1    3.0
    1  eve  rum     1    3.0
    2  eve  tea     2    2.0
    """

    _sides_with_factors = ()

    _parameter_constraints = {
        **BaseImplicitRecommender._parameter_constraints,
        "half_life": [Interval(Real, 0, None, closed="neither"), None],
        "timestamp": [Interval(Integral, 0, None, closed="left"), str],
    }

    def __init__(
        self,
        half_life: float | None = None,
        timestamp: Column = "auto",
        *,
        threshold: float | None = None,
        confidence: Literal["log"] | None = None,
        user: Column = "auto",
        item: Column = "auto",
    ):
        self.half_life = half_life
        self.timestamp = timestamp
        self.threshold = threshold
        self.confidence = confidence
        self.user = user
        self.item = item

    def _age_weights(self, X):
        if self.half_life is None:
            return 1.0
        values, name = named_column(self, X, need_timestamp(self, self.timestamp, X))
        times = read_timestamps(values, name)
        age = (times.max() - times).astype(np.float64)
        if timestamp_kind(values, name) != NUMBERS:
            age /= NANOSECONDS
        return 0.5 ** (age / self.half_life)

    def _learn(self, positives):
        pass

    def _popularity_scores(self):
        return self.item_popularity_

    def _has_list(self, users):
        return np.zeros(len(users), dtype=bool)
