"""The picture of ranked lists by their length."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np

from sklrec._core.recommend import check_positive
from sklrec.inspection._drawing import axes_for, check_matplotlib, style
from sklrec.inspection._inputs import check_rated, fitted_model, name_of
from sklrec.metrics import make_ranking_scorer
from sklrec.metrics._hits import METRICS

LINESTYLES = ("-", "--", ":", "-.")


class RankingCurveDisplay:
    """Metrics of ranked lists by the length k of the lists.

    Parameters
    ----------
    scores : dict of str to array-like of shape (max_k,)
        The scores of each metric for the lengths 1, 2 and so on.
    estimator_name : str, default=None
        What the legend calls the model.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes that were drawn on.
    figure_ : matplotlib Figure
        The figure that they are in.
    lines_ : dict of str to matplotlib Line2D
        The line of each metric.

    See Also
    --------
    sklrec.metrics.make_ranking_scorer : The same for one k, and what is ranked for whom.
    AccuracyTimeDisplay : Models by their error and what they cost.

    Examples
    --------
    >>> from sklrec import MFRegressor
    >>> from sklrec.datasets import make_ratings
    >>> from sklrec.inspection import RankingCurveDisplay
    >>> X, y = make_ratings(n_users=100, n_items=50, n_ratings=2000, random_state=0)
    >>> train, test = slice(0, 1500), slice(1500, None)
    >>> mf = MFRegressor(n_factors=8, random_state=0).fit(X[train], y[train])
    >>> display = RankingCurveDisplay.from_estimator(mf, X[test], y[test], threshold=4)
    >>> svdpp = MFRegressor(n_factors=8, svdpp=True, random_state=0).fit(X[train], y[train])
    >>> both = RankingCurveDisplay.from_estimator(
    ...     svdpp, X[test], y[test], threshold=4, name="SVD++", ax=display.ax_
    ... )
    >>> len(both.ax_.lines)
    4
    """

    def __init__(self, scores: Mapping[str, Any], *, estimator_name: str | None = None):
        self.scores = scores
        self.estimator_name = estimator_name

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        metric: str | Sequence[str] = ("precision", "recall"),
        max_k: int = 20,
        threshold: float | None = None,
        candidates: str = "all",
        name: str | None = None,
        ax: Any = None,
        line_kwargs: dict[str, Any] | None = None,
    ) -> Self:
        """Draw metrics of the lists that an estimator recommends.

        Parameters
        ----------
        estimator : estimator instance
            A fitted estimator that recommends, or a `Pipeline` or a search that ends in one.
        X : {DataFrame, array-like} of shape (n_samples, n_features)
            The interactions to find, such as held-out ones.
        y : array-like of shape (n_samples,)
            Their ratings.
        metric : {'hit_rate', 'map', 'mrr', 'ndcg', 'precision', 'recall'} or list, \
                default=('precision', 'recall')
            What to compute of the lists.
        max_k : int, default=20
            The length of the longest list.
        threshold : float, default=None
            The lowest rating whose item is relevant to its user, such as 4 of 5 stars. None takes
            all rows for relevant, which needs a y of one value.
        candidates : {'all', 'rated'}, default='all'
            Whether to rank all items that the model recommends from, or each user's rows of X.
        name : str, default=None
            What the legend calls the model; None takes the name of its class.
        ax : matplotlib Axes, default=None
            Where to draw; None makes a new figure. Several models can share one.
        line_kwargs : dict, default=None
            Style of all lines, as of ``Axes.plot``.

        Returns
        -------
        RankingCurveDisplay
            The display.

        Raises
        ------
        ValueError
            If a metric is not one of those above, or nothing is relevant to anybody.
        """
        check_matplotlib(f"{cls.__name__}.from_estimator")
        model = fitted_model(estimator)
        max_k = check_positive(max_k, "max_k")
        scorer = make_ranking_scorer(metric, max_k, threshold=threshold, candidates=candidates)
        hits, _ = scorer.find(estimator, X, check_rated(X, y))
        within = {k: hits.within(k) for k in range(1, max_k + 1)}
        scores = {
            of_list: np.array([METRICS[of_list](found, k).mean() for k, found in within.items()])
            for of_list in scorer.metrics
        }
        display = cls(scores, estimator_name=name_of(model, name))
        return display.plot(ax, line_kwargs=line_kwargs)

    def plot(self, ax: Any = None, *, line_kwargs: dict[str, Any] | None = None) -> Self:
        """Draw the lines: a colour for the model, a dash for each metric.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None makes a new figure. Several models can share one.
        line_kwargs : dict, default=None
            Style of all lines, as of ``Axes.plot``.

        Returns
        -------
        RankingCurveDisplay
            This display.
        """
        ax = axes_for(self, ax)
        self.lines_: dict[str, Any] = {}
        shared: dict[str, Any] = {}
        for place, (metric, scores) in enumerate(self.scores.items()):
            words = metric.replace("_", " ") + "@k"
            options = style(
                "lines.Line2D",
                line_kwargs,
                linestyle=LINESTYLES[place % len(LINESTYLES)],
                markersize=4,
                label=f"{self.estimator_name}: {words}" if self.estimator_name else words,
            )
            line = ax.plot(np.arange(1, len(scores) + 1), scores, **shared | options)[0]
            # the first line takes the next colour of the axes, and the others follow it
            shared = {"color": line.get_color(), "marker": line.get_marker()}
            self.lines_[metric] = line
        ax.set(xlabel="length of the lists, k", ylabel="score, mean over users (0 to 1)")
        ax.set_ylim(bottom=0, auto=True)  # the top is free for the next model
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.grid(alpha=0.3)
        ax.legend()
        return self
