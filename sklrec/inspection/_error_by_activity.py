"""Plot of the error by the number of training ratings."""
# SPDX-License-Identifier: BSD-3-Clause

import warnings
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Self

import numpy as np

from sklrec._data.checks import check_choice
from sklrec.inspection._drawing import COLORS, GREY, MARKERS, axes_for, style
from sklrec.inspection._inputs import check_numbers, check_rated, fitted_model
from sklrec.metrics._test_rows import read_rows

SIDES = ("user", "item")


class ErrorByActivityDisplay:
    """Plot of the error by the number of training ratings of the user, or of the item.

    Most rows belong to active users and popular items, so they dominate a mean over all rows. This
    plot shows the error for new users and items too: the RMSE, the mean absolute error, and the
    mean of actual minus predicted ratings, in bins.

    Parameters
    ----------
    bins : list of str
        Names of the bins.
    n_samples : array-like of shape (n_bins,)
        Number of rows in each bin.
    rmse : array-like of shape (n_bins,)
        Root mean squared error in units of the ratings, NaN in an empty bin.
    mae : array-like of shape (n_bins,)
        Mean absolute error, in units of the ratings.
    mean_residual : array-like of shape (n_bins,)
        Mean of actual minus predicted ratings.
    by : {'user', 'item'}, default='user'
        Side whose training ratings were counted.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes of the plot.
    figure_ : matplotlib Figure
        The figure of the axes.
    lines_ : dict of str to matplotlib Line2D
        The lines ``'rmse'``, ``'mae'`` and ``'mean_residual'``.
    zero_line_ : matplotlib Line2D
        Line at 0, the mean residual of an unbiased model.

    See Also
    --------
    PredictedRatingsDisplay : Distribution of predictions for each rating.
    sklrec.model_selection.ColdUserKFold : Splits in which all test users are unknown.

    Examples
    --------
    >>> from sklrec import MFRegressor
    >>> from sklrec.datasets import make_ratings
    >>> from sklrec.inspection import ErrorByActivityDisplay
    >>> X, y = make_ratings(n_users=100, n_items=50, n_ratings=2000, random_state=0)
    >>> mf = MFRegressor(n_factors=8, random_state=0).fit(X[:1000], y[:1000])
    >>> display = ErrorByActivityDisplay.from_estimator(mf, X[1000:], y[1000:], by="user")
    >>> "10-29" in display.bins
    True
    """

    def __init__(
        self,
        bins: Sequence[str],
        n_samples: Any,
        *,
        rmse: Any,
        mae: Any,
        mean_residual: Any,
        by: str = "user",
    ):
        self.bins = bins
        self.n_samples = n_samples
        self.rmse = rmse
        self.mae = mae
        self.mean_residual = mean_residual
        self.by = by

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        by: str = "user",
        edges: Any = None,
        ax: Any = None,
        line_kwargs: dict[str, Any] | None = None,
    ) -> Self:
        """Draw the error of an estimator on rated interactions.

        Parameters
        ----------
        estimator : estimator instance
            A fitted estimator of this package, or a `Pipeline` or a search that ends in one.
            Its `seen_` holds the training pairs.
        X : {DataFrame, array-like} of shape (n_samples, n_features)
            The interactions, for example held-out rows.
        y : array-like of shape (n_samples,)
            Their ratings.
        by : {'user', 'item'}, default='user'
            Side whose training ratings to count: the activity of the user, or the popularity of
            the item.
        edges : array-like of int, default=None
            The smallest count of each bin, increasing. None is 1, 3, 10, 30 and so on. Unknown
            users or items have a separate bin.
        ax : matplotlib Axes, default=None
            The axes to draw on. None makes a new figure.
        line_kwargs : dict, default=None
            Style of all three lines, as in ``Axes.plot``.

        Returns
        -------
        ErrorByActivityDisplay
            The display.

        Raises
        ------
        TypeError
            If the estimator has no `seen_`.
        """
        check_choice("by", by, SIDES)
        model = fitted_model(cls, estimator, needs="seen_")
        y = check_rated(X, y)
        predicted = estimator.predict(X)
        side = SIDES.index(by)
        with warnings.catch_warnings():  # predict has already warned
            warnings.filterwarnings("ignore", "X does not have valid feature names", UserWarning)
            ids = read_rows(estimator, X)[1 + side]
        codes = model.encoder_.vocabularies_[side].codes(ids.seen)
        n_rated = np.bincount(model.seen_.nonzero()[side], minlength=model.seen_.shape[side])
        counts = np.where(ids.is_lost, 0, n_rated[codes])
        return cls.from_predictions(
            y, predicted, counts, by=by, edges=edges, ax=ax, line_kwargs=line_kwargs
        )

    @classmethod
    def from_predictions(
        cls,
        y_true: Any,
        y_pred: Any,
        counts: Any,
        *,
        by: str = "user",
        edges: Any = None,
        ax: Any = None,
        line_kwargs: dict[str, Any] | None = None,
    ) -> Self:
        """Draw the error of given predictions.

        Parameters
        ----------
        y_true : array-like of shape (n_samples,)
            The actual ratings.
        y_pred : array-like of shape (n_samples,)
            The predicted ratings.
        counts : array-like of shape (n_samples,)
            Number of training ratings of the user, or of the item, of each row; 0 if unknown.
        by : {'user', 'item'}, default='user'
            Side whose training ratings were counted.
        edges : array-like of int, default=None
            The smallest count of each bin, increasing. None is 1, 3, 10, 30 and so on. Rows with
            the count 0 have a separate bin.
        ax : matplotlib Axes, default=None
            The axes to draw on. None makes a new figure.
        line_kwargs : dict, default=None
            Style of all three lines, as in ``Axes.plot``.

        Returns
        -------
        ErrorByActivityDisplay
            The display.
        """
        check_choice("by", by, SIDES)
        y_true, y_pred, counts = check_numbers(y_true=y_true, y_pred=y_pred, counts=counts)
        if counts.min() < 0:
            raise ValueError(f"counts must not be negative, got {counts.min():g}.")
        edges = _check_edges(edges, counts.max())
        bins = np.searchsorted(edges, counts, side="right")
        first, last = bins.min(), bins.max()  # without empty bins at the ends
        n_samples = np.bincount(bins - first)
        residuals = y_true - y_pred

        def mean(values: np.ndarray) -> np.ndarray:
            with np.errstate(invalid="ignore"):  # the mean of an empty bin is 0 / 0, so NaN
                return np.bincount(bins - first, values) / n_samples

        display = cls(
            _names(edges)[first : last + 1],
            n_samples,
            rmse=np.sqrt(mean(residuals**2)),
            mae=mean(np.abs(residuals)),
            mean_residual=mean(residuals),
            by=by,
        )
        return display.plot(ax, line_kwargs=line_kwargs)

    def plot(self, ax: Any = None, *, line_kwargs: dict[str, Any] | None = None) -> Self:
        """Draw the lines.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            The axes to draw on. None makes a new figure.
        line_kwargs : dict, default=None
            Style of all three lines, as in ``Axes.plot``.

        Returns
        -------
        ErrorByActivityDisplay
            This display.
        """
        ax = axes_for(self, ax, grid="y")
        places = np.arange(len(self.bins))
        lines = {
            "rmse": "RMSE",
            "mae": "mean absolute error",
            "mean_residual": "mean of actual minus predicted",
        }
        self.lines_ = {}
        for (name, label), color, marker in zip(lines.items(), COLORS, MARKERS, strict=False):
            options = style("lines.Line2D", line_kwargs, label=label, color=color, marker=marker)
            (self.lines_[name],) = ax.plot(places, getattr(self, name), **options)
        self.zero_line_ = ax.axhline(0, color=GREY, linewidth=1, zorder=1)
        ticks = [f"{name}\n{n:,}" for name, n in zip(self.bins, self.n_samples, strict=True)]
        ax.set_xticks(places, ticks)
        ax.margins(x=0.08)
        ax.set(
            xlabel=f"training ratings of the {self.by}, and number of rows",
            ylabel="error (units of the ratings)",
        )
        ax.legend()
        return self


def _check_edges(edges: Any, highest: float) -> np.ndarray:
    """Check the smallest count of each bin, or choose counts; the first one is 1."""
    if edges is None:
        decades = 10 ** np.arange(1 + int(np.log10(max(highest, 1))))
        return np.column_stack([decades, 3 * decades]).ravel()
    edges = np.asarray(edges)
    if edges.ndim != 1 or len(edges) == 0 or edges.dtype.kind not in "iu":
        raise ValueError(f"edges must be a list of whole numbers, got {edges.tolist()!r}.")
    if edges[0] < 1 or (np.diff(edges) <= 0).any():
        raise ValueError(f"edges must be at least 1 and increase, got {edges.tolist()!r}.")
    return edges if edges[0] == 1 else np.concatenate([[1], edges])


def _names(edges: np.ndarray) -> list[str]:
    """Return the names of the bins; the first one is for unknown users or items."""
    names = ["unknown"]
    for first, after in pairwise(edges):
        names.append(f"{first:,}" if after == first + 1 else f"{first:,}-{after - 1:,}")
    return [*names, f"≥ {edges[-1]:,}"]
