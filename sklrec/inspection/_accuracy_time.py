"""The picture of what accuracy costs."""
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
    """Models by their error and the time that they take.

    Models that no other one beats in both, the Pareto front, are filled and joined.

    Parameters
    ----------
    seconds : array-like of shape (n_models,)
        The time that each takes, in seconds and positive.
    errors : array-like of shape (n_models,)
        The error of each, the lower the better.
    names : array-like of shape (n_models,)
        What they are called.
    timed : str, default="fit"
        What takes the time.
    error_name : str, default="RMSE (units of the ratings)"
        What the error is, with its unit.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes that were drawn on.
    figure_ : matplotlib Figure
        The figure that they are in.
    scatter_ : matplotlib PathCollection
        The points.
    line_ : matplotlib Line2D
        The front.
    text_ : list of matplotlib Annotation
        The names.
    front_ : ndarray of shape (n_front,)
        Which models are on the front, by increasing time.

    See Also
    --------
    sklearn.model_selection.cross_validate : Measures both.
    TrainingHistoryDisplay : The error of one model, epoch by epoch.

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
        """Draw what `cross_validate` measured of several models.

        Parameters
        ----------
        results : dict of str to dict
            The results of `sklearn.model_selection.cross_validate` by the models' names. Means
            over the folds are drawn.
        score : str, default="test_score"
            The key of the scores of an error, such as `neg_root_mean_squared_error`, which
            scikit-learn gives as negative numbers.
        timed : {'fit', 'score'}, default="fit"
            What takes the time.
        error_name : str, default="RMSE (units of the ratings)"
            What the error is, with its unit.
        ax : matplotlib Axes, default=None
            Where to draw; None makes a new figure.
        scatter_kwargs : dict, default=None
            Style of the points, as of ``Axes.scatter``.
        line_kwargs : dict, default=None
            Style of the front, as of ``Axes.plot``.
        text_kwargs : dict, default=None
            Style of the names, as of ``Axes.annotate``.

        Returns
        -------
        AccuracyTimeDisplay
            The display.

        Raises
        ------
        TypeError
            If the results are no dicts.
        ValueError
            If there is no such score or time, or it is not finite, or if the score is not that of
            an error.
        """
        check_matplotlib(f"{cls.__name__}.from_cv_results")
        if not isinstance(results, Mapping):
            raise TypeError(
                "results must be a dict of what cross_validate returned, by name, got "
                f"{results!r}."
            )
        if not results:
            raise ValueError("results is empty: give what cross_validate returned, by name.")
        measured = []
        for name, result in results.items():
            if not hasattr(result, "keys"):
                raise TypeError(
                    f"The results of {name!r} must be what cross_validate returned, got "
                    f"{result!r}."
                )
            measured.append((_mean(name, result, f"{timed}_time"), -_mean(name, result, score)))
        seconds, errors = np.array(measured).T
        if (errors < 0).any():
            raise ValueError(
                f"{score!r} holds positive numbers, so that it is no negated error. Score by one, "
                "such as scoring='neg_root_mean_squared_error'."
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
        """Draw the points, the front and the names.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None makes a new figure.
        scatter_kwargs : dict, default=None
            Style of the points, as of ``Axes.scatter``.
        line_kwargs : dict, default=None
            Style of the front, as of ``Axes.plot``.
        text_kwargs : dict, default=None
            Style of the names, as of ``Axes.annotate``.

        Returns
        -------
        AccuracyTimeDisplay
            This display.
        """
        seconds, errors = check_numbers(seconds=self.seconds, errors=self.errors)
        if seconds.min() <= 0:
            raise ValueError(f"seconds must be positive, got {seconds.min():g}.")
        names = [str(name) for name in self.names]
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
        _write_plainly(ax)
        ax.grid(alpha=0.3)
        ax.legend()
        self.text_ = label_points(ax, seconds, errors, names, given=text_kwargs)
        return self


def _mean(name: str, result: Mapping[str, Any], key: str) -> float:
    """The mean over the folds."""
    if key not in result:
        there = ", ".join(map(str, result.keys())) or "nothing"
        raise ValueError(f"The results of {name!r} have no {key!r}, only {there}.")
    values = np.asarray(result[key], dtype=np.float64)
    if values.size == 0 or not np.isfinite(values).all():
        raise ValueError(
            f"The results of {name!r} must have finite numbers as {key!r}, got "
            f"{values.tolist()}. NaN is the score of a fold whose fit failed: "
            "cross_validate(..., error_score='raise') tells why."
        )
    return values.mean()


def _front(seconds: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """Which points no other one beats in both, from left to right."""
    order = np.lexsort((errors, seconds))
    lowest_before = np.concatenate([[np.inf], np.minimum.accumulate(errors[order])[:-1]])
    return order[errors[order] < lowest_before]


def _write_plainly(ax: Any) -> None:
    """Write the seconds as 0.5 and 20 rather than as powers of ten, few enough to be read."""
    from matplotlib.ticker import LogLocator, NullFormatter

    shortest, longest = ax.get_xlim()
    steps = (1.0, 2.0, 5.0) if longest < 1000 * shortest else (1.0,)
    ax.xaxis.set_major_locator(LogLocator(subs=steps))
    ax.xaxis.set_major_formatter("{x:g}")
    ax.xaxis.set_minor_formatter(NullFormatter())
