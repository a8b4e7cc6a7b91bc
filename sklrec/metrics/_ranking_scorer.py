"""A scorer that ranks items for each user and looks for what the user liked."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import is_list_like
from sklearn.utils import check_consistent_length

from sklrec._data.checks import check_ratings
from sklrec._data.vocabulary import Vocabulary
from sklrec.metrics._asked_rows import AskedIDs, read_rows
from sklrec.metrics._hits import METRICS, Hits, Pairs
from sklrec.metrics._lists import check_k, ranks_by_score
from sklrec.preprocessing import IDEncoder


def make_ranking_scorer(
    metric: str | Sequence[str] = "ndcg",
    k: int = 10,
    *,
    threshold: float | None = None,
    candidates: str = "all",
    counts: bool = False,
) -> "RankingScorer":
    """Make a scorer of the lists that a rating model recommends, for `scoring=`.

    The scorer works in `cross_val_score`, `cross_validate`, `GridSearchCV` and their like. It asks
    the fitted model for the best k items of each test user, leaving out what the user rated in
    training, and looks there for the test items that the user liked.

    Parameters
    ----------
    metric : {'hit_rate', 'map', 'mrr', 'ndcg', 'precision', 'recall'} or list, default='ndcg'
        What to compute of the lists; several metrics are computed of the same lists. See
        `ndcg_at_k` and its siblings; gains are 1.
    k : int, default=10
        The length of the lists.
    threshold : float, default=None
        The lowest rating of a test row whose item is relevant to its user, such as 4 of 5 stars.
        None takes all test rows for relevant, which needs a y of one value, as where it only
        says that something was clicked: of ratings you have to say which are good.
    candidates : {'all', 'rated'}, default='all'
        What to rank for each user: all items that the model recommends from; or the user's own
        test items, by what `predict` gives for them. The latter asks which of the things that
        people tried they like better, and not what they will try.
    counts : bool, default=False
        Whether to tell as well how many users were scored (`n_users`), how many of those the
        model did not know (`n_cold_users`), and how many test users were left out for having no
        relevant row (`n_skipped_users`).

    Returns
    -------
    callable
        What takes (estimator, X, y), and gives a number for one metric; with several, or with
        `counts`, a dict of numbers whose keys are such as ``'ndcg@10'``. Greater is better.

    Raises
    ------
    ValueError
        If a parameter is not one of those above.

    See Also
    --------
    ndcg_at_k : The metric, of lists that are there.
    sklearn.metrics.make_scorer : Makes scorers of what is predicted for each row.

    Notes
    -----
    The score is the mean over the test users who have a relevant row. Those whom the model does
    not know are among them, and get what `recommend` gives to strangers. A relevant item that the
    model does not know can never be found and counts as relevant all the same; so does one that
    the user rated in training already. What the user did not rate counts as irrelevant, though
    much of it the user would like: scores over all items are low, and mean something beside
    those of other models on the same split.

    With ``candidates='rated'`` equal predictions are ranked by lot, the same each time. Users
    with few test rows score high whatever the model: a list of one relevant item is perfect.

    The model is the estimator, or the last step of a `Pipeline`, or the best one of a search.
    In a `Pipeline` the steps before it transform X, and `recommend` is called in that space.
    It reads the columns that its parameters `user` and `item` name, by default 0 and 1. Unknown
    users that an `IDEncoder` gave the same code stay different users, and so do items: IDs are
    taken from before such steps as keep columns in place
    (`sklearn.base.OneToOneFeatureMixin`).

    Any estimator that has ``recommend(users, n_items=..., exclude_seen=True)`` will do, if it
    returns a DataFrame as those of this package do. How many users are cold is NaN for one that
    has no `encoder_`. Weights of rows are not used.

    References
    ----------
    Cremonesi, Koren, Turrin (2010), "Performance of Recommender Algorithms on Top-N
    Recommendation Tasks", RecSys, :doi:`10.1145/1864708.1864721`.

    Krichene, Rendle (2020), "On Sampled Metrics for Item Recommendation", KDD,
    :doi:`10.1145/3394486.3403226`: why all items are ranked and not a sample.

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
    metrics: tuple[Any, ...] = tuple(metric) if is_list_like(metric) else (metric,)
    for name in metrics:
        if name not in METRICS:
            raise ValueError(f"metric must be one or more of {', '.join(METRICS)}, got {name!r}.")
    if not metrics:
        raise ValueError(f"metric is empty: give one or more of {', '.join(METRICS)}.")
    if threshold is not None and (not isinstance(threshold, Real) or np.isnan(threshold)):
        raise ValueError(f"threshold must be a rating or None, got {threshold!r}.")
    if candidates not in ("all", "rated"):
        raise ValueError(f"candidates must be 'all' or 'rated', got {candidates!r}.")
    several = not isinstance(metric, str)
    return RankingScorer(metrics, several, check_k(k), threshold, candidates, bool(counts))


@dataclass(frozen=True, repr=False)
class RankingScorer:
    """What `make_ranking_scorer` makes.

    Parameters
    ----------
    metrics : tuple of str
        What to compute.
    several : bool
        Whether to give a dict even if it is one metric.
    k : int
        The length of the lists.
    threshold : float or None
        The lowest rating that is relevant.
    candidates : {'all', 'rated'}
        What to rank.
    counts : bool
        Whether to count users.
    """

    metrics: tuple[str, ...]
    several: bool
    k: int
    threshold: float | None
    candidates: str
    counts: bool

    def __repr__(self) -> str:
        metric = list(self.metrics) if self.several else self.metrics[0]
        options = f", threshold={self.threshold}"
        if self.candidates != "all":
            options += f", candidates={self.candidates!r}"
        if self.counts:
            options += ", counts=True"
        return f"make_ranking_scorer({metric!r}, k={self.k}{options})"

    def __call__(self, estimator: Any, X: Any, y: Any) -> float | dict[str, float]:
        """Score a fitted estimator.

        Parameters
        ----------
        estimator : estimator instance
            The fitted estimator.
        X : {DataFrame, array-like} of shape (n_samples, n_features)
            Test interactions.
        y : array-like of shape (n_samples,)
            Their ratings.

        Returns
        -------
        float or dict
            The score, or the scores and counts by their names.
        """
        hits, counts = self.find(estimator, X, y)
        hits = hits.within(self.k)
        scores: dict[str, float] = {
            f"{name}@{self.k}": float(METRICS[name](hits, self.k).mean()) for name in self.metrics
        }
        if self.several or self.counts:
            return scores | counts
        return scores.popitem()[1]

    def find(self, estimator: Any, X: Any, y: Any) -> tuple[Hits, dict[str, float]]:
        """Find what is relevant in the lists of a fitted estimator.

        Parameters
        ----------
        estimator : estimator instance
            The fitted estimator.
        X : {DataFrame, array-like} of shape (n_samples, n_features)
            Test interactions.
        y : array-like of shape (n_samples,)
            Their ratings.

        Returns
        -------
        hits : Hits
            What was found, at least within k.
        counts : dict of str to float
            The counts of users; empty if they were not asked for.
        """
        relevant = self._relevant(X, y)
        model, users, items = read_rows(estimator, X)
        # Users who have nothing relevant are left out; the others get codes without gaps.
        scored = np.zeros(users.codes.max() + 1, dtype=bool)
        scored[users.codes[relevant]] = True
        user_codes = np.where(scored, np.cumsum(scored) - 1, -1)[users.codes]
        n_scored = int(scored.sum())
        # A pair that is there twice is relevant if one of its rows is.
        wanted, _ = _distinct(user_codes, items.codes, np.flatnonzero(relevant))
        asked = np.flatnonzero(user_codes >= 0)
        if self.candidates == "rated":
            listed, ranks = _own_items(user_codes, items.codes, asked, estimator.predict(X))
        else:
            first_rows = asked[np.unique(user_codes[asked], return_index=True)[1]]
            listed, ranks = _recommended(model, users.seen[first_rows], items, self.k)
        hits = Hits.find(n_scored, wanted, np.ones(len(wanted.users)), listed, ranks)
        counts: dict[str, float] = {}
        if self.counts:
            counts["n_users"] = n_scored
            counts["n_cold_users"] = _count_cold(model, users, user_codes, asked)
            counts["n_skipped_users"] = len(scored) - n_scored
        return hits, counts

    def _relevant(self, X: Any, y: Any) -> np.ndarray:
        """Which rows tell of something that their user liked."""
        y = check_ratings(self, y)
        check_consistent_length(X, y)
        if self.threshold is None:
            if (y != y[0]).any():
                raise ValueError(
                    f"y has ratings from {y.min():g} to {y.max():g}, and which of them are good "
                    "is not said. Give the lowest good one as threshold, such as threshold=4 for "
                    "4 stars of 5."
                )
            return np.ones(len(y), dtype=bool)
        relevant = y >= self.threshold
        if not relevant.any():
            raise ValueError(
                f"No rating of y reaches threshold={self.threshold:g}, the highest being "
                f"{y.max():g}: nothing is relevant to anybody. Give a lower threshold, or score "
                "more rows."
            )
        return relevant


def _distinct(users: np.ndarray, items: np.ndarray, rows: np.ndarray) -> tuple[Pairs, np.ndarray]:
    """The pairs in some rows, each once, and in which row each is first."""
    keys = pd.Index(users[rows] * (items.max() + 1) + items[rows])
    rows = rows[~keys.duplicated()]
    return Pairs(users[rows], items[rows]), rows


def _own_items(
    users: np.ndarray, items: np.ndarray, rows: np.ndarray, predictions: Any
) -> tuple[Pairs, np.ndarray]:
    """The test items of each user, and their ranks."""
    # Rows may be sorted by rating: the first of equal predictions must not win for that.
    drawn = np.random.RandomState(0).permutation(rows)
    pairs, drawn = _distinct(users, items, drawn)
    return pairs, ranks_by_score(pairs.users, np.asarray(predictions)[drawn])


def _recommended(model: Any, users: Any, items: AskedIDs, k: int) -> tuple[Pairs, np.ndarray]:
    """The test items that the model recommends to each of some users, and their ranks."""
    if not hasattr(model, "recommend"):
        raise TypeError(
            f"{type(model).__name__} has no method recommend, by which all items are ranked. "
            "Score a model that has one, such as MFRegressor, or set candidates='rated', which "
            "ranks each user's test items by what predict gives."
        )
    # Users who look the same to the model share a list.
    user_vocabulary, as_seen = Vocabulary.build(users, "user")
    lists = model.recommend(user_vocabulary.ids, n_items=k, exclude_seen=True)
    item_vocabulary, codes = Vocabulary.build(items.seen[~items.lost], "item")
    _, first = np.unique(codes, return_index=True)
    found = item_vocabulary.codes(lists["item"]) - 1
    is_asked = found >= 0
    shared = pd.DataFrame(
        {
            "as_seen": user_vocabulary.codes(lists["user"])[is_asked],
            "item": items.codes[~items.lost][first][found[is_asked]],
            "rank": lists["rank"].to_numpy()[is_asked],
        }
    )
    own = pd.DataFrame({"user": np.arange(len(users)), "as_seen": as_seen}).merge(shared)
    return Pairs(own["user"].to_numpy(), own["item"].to_numpy()), own["rank"].to_numpy()


def _count_cold(model: Any, users: AskedIDs, codes: np.ndarray, rows: np.ndarray) -> int | float:
    """How many of the users in some rows the model does not know; NaN if it does not tell."""
    encoder = getattr(model, "encoder_", None)
    if not isinstance(encoder, IDEncoder):
        return np.nan
    unknown = encoder.vocabularies_[0].codes(users.seen[rows]) == 0
    return len(np.unique(codes[rows][unknown | users.lost[rows]]))
