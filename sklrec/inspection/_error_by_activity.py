"""The picture of the error by how much is known of a user or an item."""
# SPDX-License-Identifier: BSD-3-Clause

import warnings
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Self

import numpy as np

from sklrec.inspection._drawing import COLORS, GREY, MARKERS, axes_for, check_matplotlib, style
from sklrec.inspection._inputs import check_choice, check_numbers, check_rated, fitted_model
from sklrec.metrics._test_rows import read_rows

SIDES = ("user", "item")


class ErrorByActivityDisplay:
    """Error by the number of training ratings of the user, or of the item.

    A mean over all rows is a mean over those of whom much is known. This shows what newcomers
    get, and whether a model is biased for some: RMSE, mean absolute error and the mean of what
    was actual less what was predicted, in bins.

    Parameters
    ----------
    bins : list of str
        What the bins are called.
    n_samples : array-like of shape (n_bins,)
        Number of rows in each.
    rmse : array-like of shape (n_bins,)
        Root mean squared error in each, in units of the ratings; NaN in an empty one.
    mae : array-like of shape (n_bins,)
        Mean absolute error, in units of the ratings.
    mean_residual : array-like of shape (n_bins,)
        Mean of actual less predicted ratings.
    by : {'user', 'item'}, default='user'
        Whose training ratings were counted.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes that were drawn on.
    figure_ : matplotlib Figure
        The figure that they are in.
    lines_ : dict of str to matplotlib Line2D
        The lines ``'rmse'``, ``'mae'`` and ``'mean_residual'``.
    zero_line_ : matplotlib Line2D
        Where the mean residual should be.

    See Also
    --------
    PredictedRatingsDisplay : What is predicted for each rating.
    sklrec.model_selection.ColdUserKFold : Splits in which all test users are unknown.

    Examples
    --------
    >>> from sklrec import MFRegressor
    >>> from sklrec.datasets import make_ratings
    >>> from sklrec.inspection import ErrorByActivityDisplay
    >>> X, y = make_ratings(n_users=100, n_items=50, n_ratings=2000, random_state=0)
    >>> mf = MFRegressor(n_factors=8, random_state=0).fit(X[:1000], y[:1000])
    >>> display = ErrorByActivityDisplay.from_estimator(mf, X[1000:], y[1000:], by="user")
    >>> display.bins
    ['3-9', '10-29']
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
            A fitted estimator of this package, a `Pipeline` that ends in one, or a search for the
            best of them. It knows the training ratings by its `seen_`.
        X : {DataFrame, array-like} of shape (n_samples, n_features)
            The interactions, such as held-out ones.
        y : array-like of shape (n_samples,)
            Their ratings.
        by : {'user', 'item'}, default='user'
            Whose training ratings to count: how active the user was, or how popular the item.
        edges : array-like of int, default=None
            The smallest count of each bin, increasing. None is 1, 3, 10, 30 and so on. Users
            or items that `fit` did not see have a bin of their own.
        ax : matplotlib Axes, default=None
            Where to draw; None makes a new figure.
        line_kwargs : dict, default=None
            Style of all three lines, as of ``Axes.plot``.

        Returns
        -------
        ErrorByActivityDisplay
            The display.

        Raises
        ------
        ValueError
            If the estimator has no `seen_`.
        """
        check_matplotlib(f"{cls.__name__}.from_estimator")
        check_choice("by", by, SIDES)
        model = fitted_model(estimator)
        if not hasattr(model, "seen_"):
            raise ValueError(
                f"{type(model).__name__} has no seen_, by which training ratings are counted. "
                "Give an estimator of this package that was fitted to interactions, or use "
                "from_predictions with counts of your own."
            )
        y = check_rated(X, y)
        predicted = estimator.predict(X)
        with warnings.catch_warnings():  # predict has said it
            warnings.filterwarnings("ignore", "X does not have valid feature names", UserWarning)
            asked = read_rows(estimator, X)[1 + SIDES.index(by)]
        codes = model.encoder_.vocabularies_[SIDES.index(by)].codes(asked.seen)
        which = model.seen_.nonzero()[SIDES.index(by)]
        counts = np.bincount(which, minlength=model.seen_.shape[SIDES.index(by)])[codes]
        counts[asked.is_lost] = 0
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
        """Draw the error of predictions that are there already.

        Parameters
        ----------
        y_true : array-like of shape (n_samples,)
            The actual ratings.
        y_pred : array-like of shape (n_samples,)
            What was predicted.
        counts : array-like of shape (n_samples,)
            How many training ratings the row's user, or item, has; 0 if it is unknown.
        by : {'user', 'item'}, default='user'
            Whose training ratings were counted.
        edges : array-like of int, default=None
            The smallest count of each bin, increasing. None is 1, 3, 10, 30 and so on. Rows whose
            count is 0 have a bin of their own.
        ax : matplotlib Axes, default=None
            Where to draw; None makes a new figure.
        line_kwargs : dict, default=None
            Style of all three lines, as of ``Axes.plot``.

        Returns
        -------
        ErrorByActivityDisplay
            The display.
        """
        check_matplotlib(f"{cls.__name__}.from_predictions")
        check_choice("by", by, SIDES)
        y_true, y_pred, counts = check_numbers(y_true=y_true, y_pred=y_pred, counts=counts)
        if counts.min() < 0:
            raise ValueError(f"counts must not be negative, got {counts.min():g}.")
        edges = _check_edges(edges, counts.max())
        bins = np.searchsorted(edges, counts, side="right")
        shown = slice(bins.min(), bins.max() + 1)  # empty bins only between others
        n_samples = np.bincount(bins, minlength=len(edges) + 1)[shown]
        residuals = y_true - y_pred

        def mean(values: np.ndarray) -> np.ndarray:
            sums = np.bincount(bins, values, len(edges) + 1)[shown]
            return np.divide(sums, n_samples, out=np.full(len(sums), np.nan), where=n_samples > 0)

        display = cls(
            _names(edges)[shown],
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
            Where to draw; None makes a new figure.
        line_kwargs : dict, default=None
            Style of all three lines, as of ``Axes.plot``.

        Returns
        -------
        ErrorByActivityDisplay
            This display.
        """
        ax = axes_for(self, ax)
        lines = {
            "rmse": "RMSE",
            "mae": "mean absolute error",
            "mean_residual": "mean of actual less predicted",
        }
        self.lines_ = {}
        for (name, label), color, marker in zip(lines.items(), COLORS, MARKERS, strict=False):
            options = style("lines.Line2D", line_kwargs, label=label, color=color, marker=marker)
            self.lines_[name] = ax.plot(np.arange(len(self.bins)), getattr(self, name), **options)[
                0
            ]
        self.zero_line_ = ax.axhline(0, color=GREY, linewidth=1, zorder=1)
        ax.set_xticks(
            np.arange(len(self.bins)),
            [f"{name}\n{n:,}" for name, n in zip(self.bins, self.n_samples, strict=True)],
        )
        ax.margins(x=0.08)
        ax.set(
            xlabel=f"training ratings of the {self.by}, and number of rows",
            ylabel="error (units of the ratings)",
        )
        ax.grid(axis="y", alpha=0.3)
        ax.legend()
        return self


def _check_edges(edges: Any, highest: float) -> np.ndarray:
    """The smallest count of each bin, the first of which is 1."""
    if edges is None:
        decades = 10 ** np.arange(1 + int(np.log10(max(highest, 1))))
        return np.column_stack([decades, 3 * decades]).ravel()
    edges = np.asarray(edges)
    if edges.ndim != 1 or len(edges) == 0 or edges.dtype.kind not in "iu":
        raise ValueError(f"edges must be a list of whole numbers, got {edges.tolist()!r}.")
    if edges[0] < 1 or (np.diff(edges) <= 0).any():
        raise ValueError(f"edges must increase, from 1 or more, got {edges.tolist()!r}.")
    return edges if edges[0] == 1 else np.concatenate([[1], edges])


def _names(edges: np.ndarray) -> list[str]:
    """What the bins are called, that of the unknown first."""
    names = ["unknown"]
    for first, after in pairwise(edges):
        names.append(f"{first:,}" if after == first + 1 else f"{first:,}-{after - 1:,}")
    return [*names, f"≥ {edges[-1]:,}"]
