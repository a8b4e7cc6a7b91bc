"""A scorer that ranks items for each user and looks for the relevant items."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import is_list_like
from sklearn.utils import check_consistent_length

from sklrec._data.checks import check_choice, check_positive, check_ratings
from sklrec._data.pair_columns import pair_positions
from sklrec._data.vocabulary import Vocabulary
from sklrec._utils.warnings import warn
from sklrec.metrics import _ranking
from sklrec.metrics._hits import METRICS, Hits, Pairs
from sklrec.metrics._lists import ranks_by_score
from sklrec.metrics._test_rows import RowIDs, read_rows
from sklrec.preprocessing import IDEncoder

MOST = 0.9  # share of relevant rows
_FUNCTIONS = {getattr(_ranking, f"{name}_at_k"): name for name in METRICS}


def make_ranking_scorer(
    metric: str | Callable[..., Any] | Sequence[Any] = "ndcg",
    k: int = 10,
    *,
    threshold: float | None,
    candidates: str = "all",
    counts: bool = False,
) -> "RankingScorer":
    """Make a scorer of the lists that a model recommends, for `scoring=`.

    The scorer works in `cross_val_score`, `cross_validate`, `GridSearchCV` and similar tools. It
    asks the fitted model for the best k items of each test user, without the items that the user
    rated in training. In these lists it looks for the relevant test items of the user.

    Parameters
    ----------
    metric : {'hit_rate', 'map', 'mrr', 'ndcg', 'precision', 'recall'}, callable or list, \
            default='ndcg'
        The metrics to compute: names, or functions such as `ndcg_at_k`. Several metrics are
        computed from the same lists. All gains are 1.
    k : int, default=10
        Length of the lists.
    threshold : float or None
        Lowest rating that makes an item relevant to its user, such as 4 of 5 stars. None makes
        all test rows relevant. This needs a y with a single value, as for clicks. There is no
        default: of ratings, you have to say which are good.
    candidates : {'all', 'rated'}, default='all'
        Items to rank for each user. 'all' ranks all items that the model can recommend. 'rated'
        ranks the test items of the user by their predictions. It measures which of the rated
        items the user prefers, and not which items the user will choose.
    counts : bool, default=False
        Whether to return numbers of users as well: the scored users (`n_users`), the scored users
        that the model does not know (`n_cold_users`), and the test users without a relevant row,
        which are not scored (`n_skipped_users`).

    Returns
    -------
    callable
        Function of (estimator, X, y). It returns a number for one metric. With several metrics,
        or with `counts`, it returns a dict of numbers with keys such as ``'ndcg@10'``. Greater is
        better.

    Raises
    ------
    ValueError
        If a parameter has a value that is not listed above.

    Warns
    -----
    UserWarning
        By the scorer, if the model was trained on most of the relevant rows, and leaves their
        items out of its lists.

    See Also
    --------
    ndcg_at_k : The metric for given lists.
    sklearn.metrics.make_scorer : Makes scorers of the predictions of rows.

    Notes
    -----
    The score is the mean over the test users who have a relevant row. Users that the model does
    not know are included, with the list that `recommend` gives to unknown users. Two kinds of
    relevant items can never be found, but still count as relevant: items that the model does not
    know, and items that the user has already rated in training. Items that the user did not rate
    count as irrelevant, although the user would like many of them. Scores over all items are
    therefore low. Compare them only with other models on the same split.

    With ``candidates='rated'`` equal predictions are ranked in random order, the same in each
    call. Users with few test rows get high scores from any model: a list of one relevant item is
    perfect.

    The model is the estimator, the last step of a `Pipeline`, or the best model of a search. In a
    `Pipeline` the steps before it transform X, and `recommend` is called in the transformed space.
    The scorer reads the columns in the model's parameters `user` and `item`, by default "auto".
    Unknown users that an `IDEncoder` gave the same code stay different users, and so do items: the
    scorer takes IDs from before the steps that keep columns in place
    (`sklearn.base.OneToOneFeatureMixin`).

    Any estimator with ``recommend(users, n_items=..., exclude_seen=True)`` can be scored if it
    returns a DataFrame like the estimators of this package. `n_cold_users` is NaN for an estimator
    without `encoder_`. Sample weights are not used.

    References
    ----------
    Cremonesi, Koren, Turrin (2010), "Performance of Recommender Algorithms on Top-N
    Recommendation Tasks", RecSys, :doi:`10.1145/1864708.1864721`.

    Krichene, Rendle (2020), "On Sampled Metrics for Item Recommendation", KDD,
    :doi:`10.1145/3394486.3403226` (reasons to rank all items and not a sample).

    Examples
    --------
    >>> from sklearn.model_selection import cross_val_score
    >>> from sklrec import MFRegressor
    >>> from sklrec.datasets import make_ratings
    >>> from sklrec.metrics import make_ranking_scorer
    >>> from sklrec.model_selection import LastInteractionsSplit
    >>> X, y = make_ratings(200, 50, n_ratings=2000, random_state=0)
    >>> cv = LastInteractionsSplit(3)
    >>> mf = MFRegressor(n_factors=4, random_state=0)
    >>> scores = cross_val_score(mf, X, y, cv=cv, scoring=make_ranking_scorer(threshold=4))
    >>> bool(0 < scores[0] < 1)
    True
    """
    given: Any = metric if is_list_like(metric) else (metric,)
    metrics = tuple(_FUNCTIONS.get(m, m) if callable(m) else m for m in given)
    for name in metrics:
        check_choice("metric", name, tuple(METRICS))
    if not metrics:
        raise ValueError(f"metric is empty. Give one or more of {', '.join(METRICS)}.")
    if threshold is not None and (not isinstance(threshold, Real) or np.isnan(threshold)):
        raise ValueError(f"threshold must be a rating or None, got {threshold!r}.")
    if not isinstance(counts, bool | np.bool_):
        raise ValueError(f"counts must be True or False, got {counts!r:.100}.")
    check_choice("candidates", candidates, ("all", "rated"))
    k, is_one = check_positive(k, "k"), not is_list_like(metric)
    return RankingScorer(metrics, is_one, k, threshold, candidates, bool(counts))


@dataclass(frozen=True, repr=False)
class RankingScorer:
    """Scorer that `make_ranking_scorer` returns."""

    metrics: tuple[str, ...]
    is_one: bool  # whether to return a number and not a dict
    k: int
    threshold: float | None
    candidates: str
    counts: bool

    def __repr__(self) -> str:
        metric = self.metrics[0] if self.is_one else list(self.metrics)
        return (
            f"make_ranking_scorer({metric!r}, k={self.k}, threshold={self.threshold}, "
            f"candidates={self.candidates!r}, counts={self.counts})"
        )

    def __call__(self, estimator: Any, X: Any, y: Any) -> float | dict[str, float]:
        """Score a fitted estimator on test interactions and their ratings."""
        hits, counts = self.find(estimator, X, y)
        hits = hits.within(self.k)
        scores: dict[str, float] = {
            f"{name}@{self.k}": float(METRICS[name](hits, self.k).mean()) for name in self.metrics
        }
        if self.is_one and not self.counts:
            return scores.popitem()[1]
        return scores | counts

    def find(self, estimator: Any, X: Any, y: Any) -> tuple[Hits, dict[str, float]]:
        """Find the relevant items in the lists of a fitted estimator, and count users."""
        relevant = self._relevant(X, y)
        model, users, items = read_rows(estimator, X)
        # A repeated pair is relevant if one of its rows is.
        wanted, _ = _distinct(users, items, np.flatnonzero(relevant))
        # Users without a relevant item are not scored.
        rows = np.flatnonzero(np.isin(users.codes, wanted.users))
        if self.candidates == "rated":
            listed, ranks = _rank_rated(users, items, rows, estimator.predict(X))
        else:
            listed, ranks = _recommended(model, users, items, rows, self.k)
            _warn_of_training_rows(model, users, items, np.flatnonzero(relevant))
        hits = Hits.find(wanted, np.ones(len(wanted.users)), listed, ranks)
        counts: dict[str, float] = {}
        if self.counts:
            counts["n_users"] = hits.n_users
            counts["n_cold_users"] = _count_cold(model, users, rows)
            counts["n_skipped_users"] = int(users.codes.max()) - hits.n_users
        return hits, counts

    def _relevant(self, X: Any, y: Any) -> np.ndarray:
        """Return a mask of the relevant rows."""
        y = check_ratings(self, y)
        check_consistent_length(X, y)
        if self.threshold is None:
            if (y != y[0]).any():
                raise ValueError(
                    f"y has ratings from {y.min():g} to {y.max():g}, but threshold is None. Give "
                    "the lowest good rating as threshold, such as threshold=4 for 4 stars of 5."
                )
            return np.ones(len(y), dtype=bool)
        relevant = y >= self.threshold
        if not relevant.any():
            raise ValueError(
                f"No rating of y reaches threshold={self.threshold:g}, so no item is relevant: "
                f"the highest rating is {y.max():g}. Give a lower threshold, or score more rows."
            )
        return relevant


def _distinct(users: RowIDs, items: RowIDs, rows: np.ndarray) -> tuple[Pairs, np.ndarray]:
    """Return the different pairs in some rows, and the first row of each pair."""
    pairs = Pairs(users.codes, items.codes)
    rows = rows[~pairs.take(rows).is_repeat()]
    return pairs.take(rows), rows


def _rank_rated(
    users: RowIDs, items: RowIDs, rows: np.ndarray, predictions: Any
) -> tuple[Pairs, np.ndarray]:
    """Rank the test items of each user by their predictions."""
    # Random order: if rows were sorted by rating, the best would win among equal predictions.
    drawn = np.random.RandomState(0).permutation(rows)
    pairs, drawn = _distinct(users, items, drawn)
    return pairs, ranks_by_score(pairs.users, np.asarray(predictions)[drawn])


def _recommended(
    model: Any, users: RowIDs, items: RowIDs, rows: np.ndarray, k: int
) -> tuple[Pairs, np.ndarray]:
    """Return the test items that the model recommends to the users of some rows, and the ranks."""
    if not hasattr(model, "recommend"):
        raise TypeError(
            f"{type(model).__name__} has no method recommend, which ranks all items. Score a "
            "model that has one, such as MFRegressor, or set candidates='rated' to rank the test "
            "items of each user by their predictions."
        )
    # Users that are equal to the model share a list.
    codes, first = np.unique(users.codes[rows], return_index=True)
    user_vocabulary, as_seen = Vocabulary.build(users.seen[rows[first]], "user")
    lists = model.recommend(user_vocabulary.ids, n_items=k, exclude_seen=True)
    sides = pair_positions(lists.columns, "The table that recommend returns")
    listed_users, listed_items = (lists.iloc[:, position] for position in sides)
    item_vocabulary, item_codes = Vocabulary.build(items.seen[~items.is_lost], "item")
    _, first = np.unique(item_codes, return_index=True)
    item_vocabulary.check_same_kind(listed_items, "in the lists", "in X")
    found = item_vocabulary.codes(listed_items) - 1
    is_tested = found >= 0
    shared = pd.DataFrame(
        {
            "as_seen": user_vocabulary.codes(listed_users)[is_tested],
            "item": items.codes[~items.is_lost][first][found[is_tested]],
            "rank": lists["rank"].to_numpy()[is_tested],
        }
    )
    listed = pd.DataFrame({"user": codes, "as_seen": as_seen}).merge(shared)
    return Pairs(listed["user"].to_numpy(), listed["item"].to_numpy()), listed["rank"].to_numpy()


def _warn_of_training_rows(model: Any, users: RowIDs, items: RowIDs, rows: np.ndarray) -> None:
    """Warn if the model has seen most of the relevant rows, whose items it leaves out."""
    encoder = getattr(model, "encoder_", None)
    if not (isinstance(encoder, IDEncoder) and hasattr(model, "seen_")):
        return
    codes = (
        vocabulary.codes(side.seen[rows])
        for vocabulary, side in zip(encoder.vocabularies_, (users, items), strict=True)
    )
    share = np.asarray(model.seen_[tuple(codes)]).mean()
    if share > MOST:
        warn(
            f"The model was trained on {share:.0%} of the {len(rows)} relevant rows. Its lists "
            "leave out what a user has rated in training, so the score cannot be much above 0. "
            "Score other rows, or rank the rated items with "
            "make_ranking_scorer(candidates='rated')."
        )


def _count_cold(model: Any, users: RowIDs, rows: np.ndarray) -> int | float:
    """Count the users in some rows that the model does not know; NaN without an encoder."""
    encoder = getattr(model, "encoder_", None)
    if not isinstance(encoder, IDEncoder):
        return np.nan
    unknown = encoder.vocabularies_[0].codes(users.seen[rows]) == 0
    return len(np.unique(users.codes[rows][unknown | users.is_lost[rows]]))
