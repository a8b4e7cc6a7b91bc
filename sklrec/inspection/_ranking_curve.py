"""Plot of ranking metrics by the length of the lists."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np

from sklrec._data.checks import check_positive
from sklrec.inspection._drawing import axes_for, style
from sklrec.inspection._inputs import check_name, check_rated, fitted_model
from sklrec.metrics import make_ranking_scorer
from sklrec.metrics._hits import METRICS

LINESTYLES = ("-", "--", ":", "-.")


class RankingCurveDisplay:
    """Plot of ranking metrics by the length k of the lists.

    Parameters
    ----------
    scores : dict of str to array-like of shape (max_k,)
        The scores of each metric for the lengths 1, 2 and so on.
    estimator_name : str, default=None
        Name of the model in the legend.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes of the plot.
    figure_ : matplotlib Figure
        The figure of the axes.
    lines_ : dict of str to matplotlib Line2D
        The line of each metric.

    See Also
    --------
    sklrec.metrics.make_ranking_scorer : Scorer with one k.
    AccuracyTimeDisplay : Errors of models against their time.

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
        """Draw metrics of the recommendations of an estimator.

        Parameters
        ----------
        estimator : estimator instance
            A fitted estimator that recommends, or a `Pipeline` or a search that ends in one.
        X : {DataFrame, array-like} of shape (n_samples, n_features)
            The interactions to find, for example held-out rows.
        y : array-like of shape (n_samples,)
            Their ratings.
        metric : {'hit_rate', 'map', 'mrr', 'ndcg', 'precision', 'recall'} or list, \
                default=('precision', 'recall')
            The metrics to draw.
        max_k : int, default=20
            Length of the longest list.
        threshold : float, default=None
            Lowest rating that makes an item relevant to its user, such as 4 of 5 stars. None makes
            all rows relevant, which needs a y with a single value.
        candidates : {'all', 'rated'}, default='all'
            Whether to rank all items that the model can recommend, or the rows of each user in X.
        name : str, default=None
            Name of the model in the legend. None takes the name of its class.
        ax : matplotlib Axes, default=None
            The axes to draw on. None makes a new figure. Several models can share axes.
        line_kwargs : dict, default=None
            Style of all lines, as in ``Axes.plot``.

        Returns
        -------
        RankingCurveDisplay
            The display.

        Raises
        ------
        ValueError
            If a metric is not listed above, or if no item is relevant.
        """
        model = fitted_model(cls, estimator)
        max_k = check_positive(max_k, "max_k")
        scorer = make_ranking_scorer(metric, max_k, threshold=threshold, candidates=candidates)
        hits, _ = scorer.find(estimator, X, check_rated(X, y))
        within = {k: hits.within(k) for k in range(1, max_k + 1)}
        scores = {
            metric_name: np.array(
                [METRICS[metric_name](near, k).mean() for k, near in within.items()]
            )
            for metric_name in scorer.metrics
        }
        check_name(name)
        name = type(model).__name__ if name is None else name
        return cls(scores, estimator_name=name).plot(ax, line_kwargs=line_kwargs)

    def plot(self, ax: Any = None, *, line_kwargs: dict[str, Any] | None = None) -> Self:
        """Draw the lines: one colour for the model, one line style for each metric.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            The axes to draw on. None makes a new figure. Several models can share axes.
        line_kwargs : dict, default=None
            Style of all lines, as in ``Axes.plot``.

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
            # all lines have the colour and the marker of the first one
            shared = {"color": line.get_color(), "marker": line.get_marker()}
            self.lines_[metric] = line
        ax.set(xlabel="length of the lists, k", ylabel="score, mean over users (0 to 1)")
        ax.set_ylim(bottom=0, auto=True)  # the top adapts to further models
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.legend()
        return self
