"""Plot of predicted against actual ratings."""
# SPDX-License-Identifier: BSD-3-Clause

from typing import Any, Self

import numpy as np

from sklrec._data.checks import check_positive
from sklrec.inspection._drawing import COLORS, GREY, axes_for, check_matplotlib, style
from sklrec.inspection._inputs import check_numbers, check_rated, fitted_model

WHISKERS = (5, 95)  # percentiles


class PredictedRatingsDisplay:
    """Plot of the distribution of predictions for each actual rating.

    Ratings have few different values, so a point for each row would hide other points. A box has
    the middle 50 % of the predictions for one actual rating. The line in it is the median, and the
    whiskers cover 90 % of the predictions.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        The actual ratings.
    y_pred : array-like of shape (n_samples,)
        The predicted ratings.
    n_bins : int, default=10
        Maximum number of boxes. If there are more different actual ratings, they are put into so
        many intervals of equal width.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes of the plot.
    figure_ : matplotlib Figure
        The figure of the axes.
    boxes_ : dict of str to list
        The artists of the boxes, from ``Axes.bxp``.
    line_ : matplotlib Line2D
        Line of predictions without an error.
    groups_ : ndarray of shape (n_groups,)
        The actual ratings, or the middles of the intervals, of the boxes.
    counts_ : ndarray of shape (n_groups,)
        Number of rows in each box.

    See Also
    --------
    ErrorByActivityDisplay : Error by the activity of users or items.
    sklearn.metrics.PredictionErrorDisplay : One point for each row.

    Notes
    -----
    The boxes of a good model are flatter than the line. A prediction is a mean of ratings,
    so it is nearer to the middle of the scale than the actual rating.

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
        """Draw the predictions of an estimator for rated interactions.

        Parameters
        ----------
        estimator : estimator instance
            A fitted regressor, or a `Pipeline` or a search that ends in one.
        X : {DataFrame, array-like} of shape (n_samples, n_features)
            The interactions, for example held-out rows.
        y : array-like of shape (n_samples,)
            Their ratings.
        n_bins : int, default=10
            Maximum number of boxes. If there are more different actual ratings, they are put into
            so many intervals of equal width.
        ax : matplotlib Axes, default=None
            The axes to draw on. None makes a new figure.
        box_kwargs : dict, default=None
            Style of the boxes, as in ``matplotlib.patches.Patch``.
        line_kwargs : dict, default=None
            Style of the line of predictions without an error, as in ``Axes.plot``.

        Returns
        -------
        PredictedRatingsDisplay
            The display.

        Raises
        ------
        TypeError
            If the estimator has no `predict`.
        """
        check_matplotlib(f"{cls.__name__}.from_estimator")
        fitted_model(estimator, needs="predict")
        y, styles = check_rated(X, y), {"box_kwargs": box_kwargs, "line_kwargs": line_kwargs}
        return cls.from_predictions(y, estimator.predict(X), n_bins=n_bins, ax=ax, **styles)

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
        """Draw given predictions.

        Parameters
        ----------
        y_true : array-like of shape (n_samples,)
            The actual ratings.
        y_pred : array-like of shape (n_samples,)
            The predicted ratings.
        n_bins : int, default=10
            Maximum number of boxes. If there are more different actual ratings, they are put into
            so many intervals of equal width.
        ax : matplotlib Axes, default=None
            The axes to draw on. None makes a new figure.
        box_kwargs : dict, default=None
            Style of the boxes, as in ``matplotlib.patches.Patch``.
        line_kwargs : dict, default=None
            Style of the line of predictions without an error, as in ``Axes.plot``.

        Returns
        -------
        PredictedRatingsDisplay
            The display.
        """
        y_true, y_pred = check_numbers(y_true=y_true, y_pred=y_pred)
        display = cls(y_true, y_pred, n_bins=n_bins)
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
            The axes to draw on. None makes a new figure.
        box_kwargs : dict, default=None
            Style of the boxes, as in ``matplotlib.patches.Patch``.
        line_kwargs : dict, default=None
            Style of the line of predictions without an error, as in ``Axes.plot``.

        Returns
        -------
        PredictedRatingsDisplay
            This display.
        """
        y_true, y_pred = check_numbers(y_true=self.y_true, y_pred=self.y_pred)
        n_bins = check_positive(self.n_bins, "n_bins")
        ax = axes_for(self, ax, grid="y")
        from matplotlib.cbook import boxplot_stats

        group, middles = _groups(y_true, n_bins)
        used, self.counts_ = np.unique(group, return_counts=True)
        self.groups_ = middles[used]
        stats = boxplot_stats([y_pred[group == k] for k in used], whis=WHISKERS)
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
        ticks = [f"{at:.3g}\n{n:,}" for at, n in zip(self.groups_, self.counts_, strict=True)]
        ax.set_xticks(self.groups_, ticks)
        ax.set(
            xlabel="actual rating, and number of rows",
            ylabel="predicted rating: median, middle 50% and 90%",
        )
        ax.legend(loc="upper left")
        return self


def _groups(y_true: np.ndarray, n_bins: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the group of each row, and the middles of all groups."""
    values, group = np.unique(y_true, return_inverse=True)
    if len(values) <= n_bins:
        return group, values
    edges = np.linspace(values[0], values[-1], n_bins + 1)
    return np.searchsorted(edges[1:-1], y_true, side="right"), (edges[1:] + edges[:-1]) / 2
