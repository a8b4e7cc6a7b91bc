"""Plot of the calibration of predicted standard deviations."""
# SPDX-License-Identifier: BSD-3-Clause

from inspect import signature
from typing import Any, Self

import numpy as np
from scipy.special import ndtri

from sklrec._data.numbers import numbers_of
from sklrec.inspection._drawing import GREY, axes_for, style
from sklrec.inspection._inputs import check_name, check_numbers, check_rated, fitted_model

LEVELS = np.linspace(0.05, 0.95, 19)


class CalibrationDisplay:
    """Plot of the share of ratings inside the predicted intervals.

    A prediction with a standard deviation is a Gaussian. Its central intervals hold the rating
    with a known probability, the nominal coverage. Below the diagonal, fewer ratings are inside,
    so the predicted standard deviations are too small. Above it they are too large.

    Parameters
    ----------
    nominal : array-like of shape (n_levels,)
        Nominal coverages, between 0 and 1.
    observed : array-like of shape (n_levels,)
        Shares of ratings inside the intervals.
    estimator_name : str, default=None
        Name of the model in the legend.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes of the plot.
    figure_ : matplotlib Figure
        The figure of the axes.
    line_ : matplotlib Line2D
        The observed coverage.
    diagonal_ : matplotlib Line2D
        Observed coverage of a calibrated model.

    See Also
    --------
    sklrec.BayesianMFRegressor : A model that has `return_std`.
    sklrec.BiasRegressor : A simpler model that has `return_std`.

    Notes
    -----
    Ratings have few different values, so a narrow interval often holds no possible rating. The
    upper levels show the calibration best.

    Examples
    --------
    >>> from sklrec import BayesianMFRegressor
    >>> from sklrec.datasets import make_ratings
    >>> from sklrec.inspection import CalibrationDisplay
    >>> X, y = make_ratings(n_users=100, n_items=50, n_ratings=2000, random_state=0)
    >>> bayesian = BayesianMFRegressor(random_state=0)
    >>> bayesian = bayesian.fit(X[:1500], y[:1500])
    >>> display = CalibrationDisplay.from_estimator(bayesian, X[1500:], y[1500:])
    >>> bool(abs(display.observed - display.nominal).max() < 0.1)
    True
    """

    def __init__(self, nominal: Any, observed: Any, *, estimator_name: str | None = None):
        self.nominal = nominal
        self.observed = observed
        self.estimator_name = estimator_name

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        levels: Any = None,
        name: str | None = None,
        ax: Any = None,
        line_kwargs: dict[str, Any] | None = None,
    ) -> Self:
        """Draw the coverage of an estimator on rated interactions.

        Parameters
        ----------
        estimator : estimator instance
            A fitted estimator whose `predict` has `return_std`, or a `Pipeline` or a search that
            ends in one.
        X : {DataFrame, array-like} of shape (n_samples, n_features)
            Held-out interactions. On training rows the coverage would be too high.
        y : array-like of shape (n_samples,)
            Their ratings.
        levels : array-like of shape (n_levels,), default=None
            Nominal coverages, between 0 and 1. None is 0.05, 0.1 and so on up to 0.95.
        name : str, default=None
            Name of the model in the legend. None takes the name of its class.
        ax : matplotlib Axes, default=None
            The axes to draw on. None makes a new figure. Several models can share axes.
        line_kwargs : dict, default=None
            Style of the line, as in ``Axes.plot``.

        Returns
        -------
        CalibrationDisplay
            The display.

        Raises
        ------
        TypeError
            If the estimator has no `predict`.
        ValueError
            If `predict` has no `return_std`.
        """
        model = fitted_model(cls, estimator, needs="predict")
        if "return_std" not in signature(model.predict).parameters:
            raise ValueError(
                f"{type(model).__name__}.predict has no return_std, so it predicts no intervals. "
                "Use BayesianMFRegressor or BiasRegressor."
            )
        y = check_rated(X, y)
        # predict of a search does not pass return_std on
        best = getattr(estimator, "best_estimator_", estimator)
        y_pred, y_std = best.predict(X, return_std=True)
        name = type(model).__name__ if name is None else name
        return cls.from_predictions(
            y, y_pred, y_std, levels=levels, name=name, ax=ax, line_kwargs=line_kwargs
        )

    @classmethod
    def from_predictions(
        cls,
        y_true: Any,
        y_pred: Any,
        y_std: Any,
        *,
        levels: Any = None,
        name: str | None = None,
        ax: Any = None,
        line_kwargs: dict[str, Any] | None = None,
    ) -> Self:
        """Draw the coverage of given predictions.

        Parameters
        ----------
        y_true : array-like of shape (n_samples,)
            The actual ratings.
        y_pred : array-like of shape (n_samples,)
            The predicted ratings.
        y_std : array-like of shape (n_samples,)
            The predicted standard deviations of the ratings.
        levels : array-like of shape (n_levels,), default=None
            Nominal coverages, between 0 and 1. None is 0.05, 0.1 and so on up to 0.95.
        name : str, default=None
            Name of the model in the legend.
        ax : matplotlib Axes, default=None
            The axes to draw on. None makes a new figure. Several models can share axes.
        line_kwargs : dict, default=None
            Style of the line, as in ``Axes.plot``.

        Returns
        -------
        CalibrationDisplay
            The display.
        """
        check_name(name)
        y_true, y_pred, y_std = check_numbers(y_true=y_true, y_pred=y_pred, y_std=y_std)
        if y_std.min() < 0:
            raise ValueError(f"y_std must not be negative, got {y_std.min():g}.")
        nominal = LEVELS.copy() if levels is None else numbers_of(levels, "levels")
        if nominal.ndim != 1 or len(nominal) == 0 or not ((nominal > 0) & (nominal < 1)).all():
            raise ValueError(f"levels must be a list of numbers between 0 and 1, got {levels!r}.")
        widths = ndtri((1 + nominal) / 2)
        errors = np.abs(y_true - y_pred)
        observed = np.array([np.mean(errors <= width * y_std) for width in widths])
        return cls(nominal, observed, estimator_name=name).plot(ax, line_kwargs=line_kwargs)

    def plot(self, ax: Any = None, *, line_kwargs: dict[str, Any] | None = None) -> Self:
        """Draw the line.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            The axes to draw on. None makes a new figure. Several models can share axes.
        line_kwargs : dict, default=None
            Style of the line, as in ``Axes.plot``.

        Returns
        -------
        CalibrationDisplay
            This display.
        """
        ax = axes_for(self, ax)
        diagonals = [line for line in ax.lines if line.get_gid() == "calibrated"]
        options = style("lines.Line2D", line_kwargs, markersize=4, label=self.estimator_name)
        self.line_ = ax.plot(self.nominal, self.observed, **options)[0]
        if not diagonals:  # all models on these axes share one
            look = {"color": GREY, "linestyle": "--", "label": "calibrated", "gid": "calibrated"}
            diagonals = [ax.axline((0, 0), slope=1, **look)]
        self.diagonal_ = diagonals[0]
        ax.set(
            xlim=(0, 1),
            ylim=(0, 1),
            xlabel="nominal coverage of the interval",
            ylabel="share of ratings inside the interval",
        )
        ax.set_aspect("equal")
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_formatter("{x:.0%}")
        ax.legend(loc="upper left")
        return self
