"""Plot of the errors of models against their time."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np

from sklrec.inspection._drawing import (
    COLORS,
    GREY,
    axes_for,
    check_matplotlib,
    label_points,
    style,
)
from sklrec.inspection._inputs import check_numbers


class AccuracyTimeDisplay:
    """Plot of the errors of models against their time.

    The Pareto front is filled and joined by a line: its models are not worse than any other model
    in both error and time.

    Parameters
    ----------
    seconds : array-like of shape (n_models,)
        Time of each model in seconds, positive.
    errors : array-like of shape (n_models,)
        Error of each model; lower is better.
    names : array-like of shape (n_models,)
        Names of the models.
    timed : str, default="fit"
        Name of the timed step, for the label of the axis.
    error_name : str, default="RMSE (units of the ratings)"
        Name of the error, with its unit.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes of the plot.
    figure_ : matplotlib Figure
        The figure of the axes.
    scatter_ : matplotlib PathCollection
        The points.
    line_ : matplotlib Line2D
        The Pareto front.
    text_ : list of matplotlib Annotation
        The names.
    front_ : ndarray of shape (n_front,)
        Models on the Pareto front, by increasing time.

    See Also
    --------
    sklearn.model_selection.cross_validate : Measures error and time.
    TrainingHistoryDisplay : Error of one model in each epoch.

    Examples
    --------
    >>> from sklearn.model_selection import cross_validate
    >>> from sklrec import MFRegressor
    >>> from sklrec.datasets import make_ratings
    >>> from sklrec.inspection import AccuracyTimeDisplay
    >>> X, y = make_ratings(n_users=100, n_items=50, n_ratings=2000, random_state=0)
    >>> models = {f"{k} factors": MFRegressor(k, random_state=0) for k in (4, 8)}
    >>> results = {
    ...     name: cross_validate(model, X, y, cv=3, scoring="neg_root_mean_squared_error")
    ...     for name, model in models.items()
    ... }
    >>> display = AccuracyTimeDisplay.from_cv_results(results)
    >>> [text.get_text() for text in display.text_]
    ['4 factors', '8 factors']
    """

    def __init__(
        self,
        seconds: Any,
        errors: Any,
        names: Sequence[str],
        *,
        timed: str = "fit",
        error_name: str = "RMSE (units of the ratings)",
    ):
        self.seconds = seconds
        self.errors = errors
        self.names = names
        self.timed = timed
        self.error_name = error_name

    @classmethod
    def from_cv_results(
        cls,
        results: Mapping[str, Mapping[str, Any]],
        *,
        score: str = "test_score",
        timed: str = "fit",
        error_name: str = "RMSE (units of the ratings)",
        ax: Any = None,
        scatter_kwargs: dict[str, Any] | None = None,
        line_kwargs: dict[str, Any] | None = None,
        text_kwargs: dict[str, Any] | None = None,
    ) -> Self:
        """Draw results of `cross_validate` for several models.

        Parameters
        ----------
        results : dict of str to dict
            Results of `sklearn.model_selection.cross_validate` by the names of the models. The
            plot shows means over the folds.
        score : str, default="test_score"
            Key of the scores. They are negative errors, such as `neg_root_mean_squared_error`.
        timed : {'fit', 'score'}, default="fit"
            The timed step.
        error_name : str, default="RMSE (units of the ratings)"
            Name of the error, with its unit.
        ax : matplotlib Axes, default=None
            The axes to draw on. None makes a new figure.
        scatter_kwargs : dict, default=None
            Style of the points, as in ``Axes.scatter``.
        line_kwargs : dict, default=None
            Style of the Pareto front, as in ``Axes.plot``.
        text_kwargs : dict, default=None
            Style of the names, as in ``Axes.annotate``.

        Returns
        -------
        AccuracyTimeDisplay
            The display.

        Raises
        ------
        TypeError
            If the results are not dicts.
        ValueError
            If a score or a time is missing or not finite, or if the score is not a negative
            error.
        """
        check_matplotlib(f"{cls.__name__}.from_cv_results")
        if not isinstance(results, Mapping):
            raise TypeError(
                "results must be a dict with the results of cross_validate by name, got "
                f"{results!r}."
            )
        if not results:
            raise ValueError("results is empty. Give the results of cross_validate by name.")
        measured = []
        for name, result in results.items():
            if not hasattr(result, "keys"):
                raise TypeError(
                    f"The results of {name!r} must be a dict from cross_validate, got {result!r}."
                )
            measured.append((_mean(name, result, f"{timed}_time"), -_mean(name, result, score)))
        seconds, errors = np.array(measured).T
        if (errors < 0).any():
            raise ValueError(
                f"{score!r} must hold negative errors, but has positive numbers. Use a scoring "
                "such as 'neg_root_mean_squared_error'."
            )
        display = cls(seconds, errors, list(results), timed=timed, error_name=error_name)
        return display.plot(
            ax, scatter_kwargs=scatter_kwargs, line_kwargs=line_kwargs, text_kwargs=text_kwargs
        )

    def plot(
        self,
        ax: Any = None,
        *,
        scatter_kwargs: dict[str, Any] | None = None,
        line_kwargs: dict[str, Any] | None = None,
        text_kwargs: dict[str, Any] | None = None,
    ) -> Self:
        """Draw the points, the Pareto front and the names.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            The axes to draw on. None makes a new figure.
        scatter_kwargs : dict, default=None
            Style of the points, as in ``Axes.scatter``.
        line_kwargs : dict, default=None
            Style of the Pareto front, as in ``Axes.plot``.
        text_kwargs : dict, default=None
            Style of the names, as in ``Axes.annotate``.

        Returns
        -------
        AccuracyTimeDisplay
            This display.
        """
        seconds, errors = check_numbers(seconds=self.seconds, errors=self.errors)
        if seconds.min() <= 0:
            raise ValueError(f"seconds must be positive, got {seconds.min():g}.")
        names = list(map(str, self.names))
        if len(names) != len(seconds):
            raise ValueError(f"There are {len(seconds)} models, but {len(names)} names.")
        ax = axes_for(self, ax)
        self.front_ = _front(seconds, errors)
        fill = np.full(len(seconds), "white", dtype=object)
        fill[self.front_] = COLORS[0]
        options = style(
            "lines.Line2D",
            line_kwargs,
            color=GREY,
            linestyle="--",
            drawstyle="steps-post",
            marker="o",
            markerfacecolor=COLORS[0],
            markeredgecolor=COLORS[0],
            label="Pareto front",
            zorder=1,
        )
        self.line_ = ax.plot(seconds[self.front_], errors[self.front_], **options)[0]
        options = style(
            "collections.PathCollection", scatter_kwargs, edgecolor=COLORS[0], facecolor=fill, s=36
        )
        self.scatter_ = ax.scatter(seconds, errors, zorder=3, **options)
        ax.set(xscale="log", xlabel=f"time to {self.timed} (seconds)", ylabel=self.error_name)
        ax.margins(0.15)
        _set_ticks(ax)
        ax.legend()
        self.text_ = label_points(ax, seconds, errors, names, text_kwargs)
        return self


def _mean(name: str, result: Mapping[str, Any], key: str) -> float:
    """Return the mean over the folds."""
    if key not in result:
        raise ValueError(f"The results of {name!r} have no {key!r}, only {[*result.keys()]}.")
    values = np.asarray(result[key], dtype=np.float64)
    if values.size == 0 or not np.isfinite(values).all():
        raise ValueError(
            f"The results of {name!r} must have finite numbers as {key!r}, got "
            f"{values.tolist()}. NaN is the score of a fold whose fit failed. "
            "cross_validate(..., error_score='raise') shows the error."
        )
    return values.mean()


def _front(seconds: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """Return the points of the Pareto front, by increasing time."""
    order = np.lexsort((errors, seconds))
    lowest_before = np.concatenate([[np.inf], np.minimum.accumulate(errors[order])[:-1]])
    return order[errors[order] < lowest_before]


def _set_ticks(ax: Any) -> None:
    """Label the seconds as 0.5 or 20, and not as powers of ten."""
    from matplotlib.ticker import LogLocator, NullFormatter

    shortest, longest = ax.get_xlim()
    steps = (1.0, 2.0, 5.0) if longest < 1000 * shortest else (1.0,)
    ax.xaxis.set_major_locator(LogLocator(subs=steps))
    ax.xaxis.set_major_formatter("{x:g}")
    ax.xaxis.set_minor_formatter(NullFormatter())
