"""The picture of what is predicted for each rating."""
# SPDX-License-Identifier: BSD-3-Clause

from typing import Any, Self

import numpy as np

from sklrec._core.recommend import check_positive
from sklrec.inspection._drawing import COLORS, GREY, axes_for, check_matplotlib, style
from sklrec.inspection._inputs import check_numbers, check_rated, fitted_regressor

# What lies inside the whiskers, in percent.
WHISKERS = (5, 95)


class PredictedRatingsDisplay:
    """Predicted against actual ratings: a distribution for each actual rating.

    Ratings are few different numbers, so that a point for each row would hide most of them. A box
    holds the middle half of the predictions for one actual rating, the line in it is their
    median, and its whiskers hold nine tenths of them.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        The actual ratings.
    y_pred : array-like of shape (n_samples,)
        What was predicted.
    n_bins : int, default=10
        Of more different actual ratings than that, intervals are drawn: so many, and equally
        wide.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes that were drawn on.
    figure_ : matplotlib Figure
        The figure that they are in.
    boxes_ : dict of str to list
        The artists of the boxes, as ``Axes.bxp`` gives them.
    line_ : matplotlib Line2D
        Where predictions would be without an error.
    groups_ : ndarray of shape (n_groups,)
        The actual ratings, or the middles of the intervals, that have a box each.
    counts_ : ndarray of shape (n_groups,)
        Number of rows in each box.

    See Also
    --------
    ErrorByActivityDisplay : For whom the error is large.
    sklearn.metrics.PredictionErrorDisplay : A point for each row, for targets that are measured.

    Notes
    -----
    The boxes of a good model are still flatter than the line. A prediction is a mean over all
    that may come, so that it is nearer to the middle than what comes.

    Examples
    --------
    >>> from sklrec import MFRegressor
    >>> from sklrec.datasets import make_ratings
    >>> from sklrec.inspection import PredictedRatingsDisplay
    >>> X, y = make_ratings(
    ...     n_users=100, n_items=50, n_ratings=2000, step=1, random_state=0
    ... )
    >>> mf = MFRegressor(n_factors=8, random_state=0).fit(X[:1500], y[:1500])
    >>> display = PredictedRatingsDisplay.from_estimator(mf, X[1500:], y[1500:])
    >>> display.groups_
    array([1., 2., 3., 4., 5.])
    """

    def __init__(self, y_true: Any, y_pred: Any, *, n_bins: int = 10):
        self.y_true = y_true
        self.y_pred = y_pred
        self.n_bins = n_bins

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        n_bins: int = 10,
        ax: Any = None,
        box_kwargs: dict[str, Any] | None = None,
        line_kwargs: dict[str, Any] | None = None,
    ) -> Self:
        """Draw what an estimator predicts for rated interactions.

        Parameters
        ----------
        estimator : estimator instance
            A fitted regressor, or a `Pipeline` or a search that ends in one.
        X : {DataFrame, array-like} of shape (n_samples, n_features)
            The interactions, such as held-out ones.
        y : array-like of shape (n_samples,)
            Their ratings.
        n_bins : int, default=10
            Of more different actual ratings than that, intervals are drawn: so many, and equally
            wide.
        ax : matplotlib Axes, default=None
            Where to draw; None makes a new figure.
        box_kwargs : dict, default=None
            Style of the boxes, as of ``matplotlib.patches.Patch``.
        line_kwargs : dict, default=None
            Style of the line without an error, as of ``Axes.plot``.

        Returns
        -------
        PredictedRatingsDisplay
            The display.

        Raises
        ------
        TypeError
            If the estimator does not predict.
        """
        check_matplotlib(f"{cls.__name__}.from_estimator")
        fitted_regressor(estimator)
        y = check_rated(X, y)
        return cls.from_predictions(
            y,
            estimator.predict(X),
            n_bins=n_bins,
            ax=ax,
            box_kwargs=box_kwargs,
            line_kwargs=line_kwargs,
        )

    @classmethod
    def from_predictions(
        cls,
        y_true: Any,
        y_pred: Any,
        *,
        n_bins: int = 10,
        ax: Any = None,
        box_kwargs: dict[str, Any] | None = None,
        line_kwargs: dict[str, Any] | None = None,
    ) -> Self:
        """Draw predictions that are there already.

        Parameters
        ----------
        y_true : array-like of shape (n_samples,)
            The actual ratings.
        y_pred : array-like of shape (n_samples,)
            What was predicted.
        n_bins : int, default=10
            Of more different actual ratings than that, intervals are drawn: so many, and equally
            wide.
        ax : matplotlib Axes, default=None
            Where to draw; None makes a new figure.
        box_kwargs : dict, default=None
            Style of the boxes, as of ``matplotlib.patches.Patch``.
        line_kwargs : dict, default=None
            Style of the line without an error, as of ``Axes.plot``.

        Returns
        -------
        PredictedRatingsDisplay
            The display.
        """
        check_matplotlib(f"{cls.__name__}.from_predictions")
        y_true, y_pred = check_numbers(y_true=y_true, y_pred=y_pred)
        display = cls(y_true, y_pred, n_bins=check_positive(n_bins, "n_bins"))
        return display.plot(ax, box_kwargs=box_kwargs, line_kwargs=line_kwargs)

    def plot(
        self,
        ax: Any = None,
        *,
        box_kwargs: dict[str, Any] | None = None,
        line_kwargs: dict[str, Any] | None = None,
    ) -> Self:
        """Draw the boxes.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None makes a new figure.
        box_kwargs : dict, default=None
            Style of the boxes, as of ``matplotlib.patches.Patch``.
        line_kwargs : dict, default=None
            Style of the line without an error, as of ``Axes.plot``.

        Returns
        -------
        PredictedRatingsDisplay
            This display.
        """
        y_true, y_pred = check_numbers(y_true=self.y_true, y_pred=self.y_pred)
        n_bins = check_positive(self.n_bins, "n_bins")
        ax = axes_for(self, ax)
        from matplotlib.cbook import boxplot_stats

        group, middles = _groups(y_true, n_bins)
        there, group, self.counts_ = np.unique(group, return_inverse=True, return_counts=True)
        self.groups_ = middles[there]
        stats = boxplot_stats([y_pred[group == k] for k in range(len(there))], whis=WHISKERS)
        gap = np.diff(self.groups_).min(initial=np.inf)
        self.boxes_ = ax.bxp(
            stats,
            positions=self.groups_,
            widths=0.6 * (gap if np.isfinite(gap) else 1.0),
            showfliers=False,
            patch_artist=True,
            boxprops=style("patches.Patch", box_kwargs, facecolor="#A6CEE3", edgecolor=COLORS[0]),
            medianprops={"color": COLORS[0], "linewidth": 2},
            whiskerprops={"color": COLORS[0]},
            capprops={"color": COLORS[0]},
            manage_ticks=False,
        )
        ends = self.groups_[[0, -1]]
        options = style("lines.Line2D", line_kwargs, color=GREY, linestyle="--", label="no error")
        self.line_ = ax.plot(ends, ends, **options | {"marker": ""})[0]
        ax.set_xticks(
            self.groups_,
            [f"{at:.3g}\n{n:,}" for at, n in zip(self.groups_, self.counts_, strict=True)],
        )
        ax.set(
            xlabel="actual rating, and number of rows",
            ylabel="predicted rating: median, middle 50% and 90%",
        )
        ax.grid(axis="y", alpha=0.3)
        ax.legend(loc="upper left")
        return self


def _groups(y_true: np.ndarray, n_bins: int) -> tuple[np.ndarray, np.ndarray]:
    """In which group each row is, and the middles of all groups."""
    values, group = np.unique(y_true, return_inverse=True)
    if len(values) <= n_bins:
        return group, values
    edges = np.linspace(values[0], values[-1], n_bins + 1)
    return np.searchsorted(edges[1:-1], y_true, side="right"), (edges[1:] + edges[:-1]) / 2
