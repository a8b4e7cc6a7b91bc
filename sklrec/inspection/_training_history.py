"""Plot of the training and validation error in each epoch."""
# SPDX-License-Identifier: BSD-3-Clause

from typing import Any, Self

import numpy as np

from sklrec._data.checks import check_choice
from sklrec.inspection._drawing import COLORS, GREY, axes_for, style
from sklrec.inspection._inputs import fitted_model

LABELS = {
    "rmse": "RMSE (units of the ratings)",
    "mse": "mean squared error (squared units of the ratings)",
    "loss": "mean loss",
}


class TrainingHistoryDisplay:
    """Plot of the training and validation error in each epoch.

    A vertical line marks the epoch with the lowest validation error. After early stopping, the
    model has the parameters of this epoch.

    Parameters
    ----------
    loss : array-like of shape (n_epochs,)
        Mean squared error, or mean of another loss, of the training ratings in each epoch, such
        as `loss_curve_`; NaN if it is not known.
    validation_loss : array-like of shape (n_validated,), default=None
        The same for the validation data after each of the last `n_validated` epochs.
    unit : str, default="epoch"
        Unit of the horizontal axis, such as "epoch" or "sweep".

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes of the plot.
    figure_ : matplotlib Figure
        The figure of the axes.
    line_ : matplotlib Line2D
        The training error.
    validation_line_ : matplotlib Line2D or None
        The validation error, if there is any.
    best_line_ : matplotlib Line2D or None
        The mark at the lowest validation error.
    best_epoch_ : int or None
        The epoch with the lowest validation error, counted from 1.

    See Also
    --------
    PredictedRatingsDisplay : Distribution of predictions for each rating.
    sklearn.model_selection.LearningCurveDisplay : Error by the number of training rows.

    Examples
    --------
    >>> from sklrec import MFRegressor
    >>> from sklrec.datasets import make_ratings
    >>> from sklrec.inspection import TrainingHistoryDisplay
    >>> X, y = make_ratings(n_users=100, n_items=50, n_ratings=2000, random_state=0)
    >>> mf = MFRegressor(n_factors=8, early_stopping=True, random_state=0).fit(X, y)
    >>> display = TrainingHistoryDisplay.from_estimator(mf)
    >>> display.best_epoch_ == 1 + mf.validation_curve_.index(min(mf.validation_curve_))
    True
    """

    def __init__(self, loss: Any, *, validation_loss: Any = None, unit: str = "epoch"):
        self.loss = loss
        self.validation_loss = validation_loss
        self.unit = unit

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        kind: str = "auto",
        ax: Any = None,
        line_kwargs: dict[str, Any] | None = None,
        best_kwargs: dict[str, Any] | None = None,
    ) -> Self:
        """Draw the training of an estimator.

        Parameters
        ----------
        estimator : estimator instance
            A fitted estimator of this package, or a `Pipeline` or a search that ends in one.
        kind : {'auto', 'rmse', 'mse', 'loss'}, default='auto'
            Whether to draw the root of the mean squared error, in units of the ratings, the mean
            squared error itself, or the mean of another loss. ``'auto'`` is ``'rmse'``, or
            ``'loss'`` for an estimator that minimised another loss.
        ax : matplotlib Axes, default=None
            The axes to draw on. None makes a new figure.
        line_kwargs : dict, default=None
            Style of both lines, as in ``Axes.plot``.
        best_kwargs : dict, default=None
            Style of the mark at the best epoch, as in ``Axes.axvline``.

        Returns
        -------
        TrainingHistoryDisplay
            The display.

        Raises
        ------
        TypeError
            If the estimator has no `loss_curve_`.
        """
        model = fitted_model(cls, estimator, needs="loss_curve_")
        check_choice("kind", kind, ("auto", *LABELS))
        if kind == "auto":
            is_squared = getattr(model, "loss", "squared_error") in ("squared_error", "ordinal")
            kind = "rmse" if is_squared else "loss"
        validation_loss = getattr(model, "validation_curve_", None)
        unit = "epoch" if hasattr(model, "max_epochs") else "sweep"
        display = cls(model.loss_curve_, validation_loss=validation_loss, unit=unit)
        return display.plot(ax, kind=kind, line_kwargs=line_kwargs, best_kwargs=best_kwargs)

    def plot(
        self,
        ax: Any = None,
        *,
        kind: str = "rmse",
        line_kwargs: dict[str, Any] | None = None,
        best_kwargs: dict[str, Any] | None = None,
    ) -> Self:
        """Draw the lines.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            The axes to draw on. None makes a new figure.
        kind : {'rmse', 'mse', 'loss'}, default='rmse'
            Whether to draw the root of the mean squared error, in units of the ratings, the mean
            squared error itself, or the mean of another loss.
        line_kwargs : dict, default=None
            Style of both lines, as in ``Axes.plot``.
        best_kwargs : dict, default=None
            Style of the mark at the best epoch, as in ``Axes.axvline``.

        Returns
        -------
        TrainingHistoryDisplay
            This display.
        """
        check_choice("kind", kind, tuple(LABELS))
        loss = self._errors("loss", kind)
        validation = self._errors("validation_loss", kind)
        if len(loss) == 0 or len(validation) > len(loss):
            raise ValueError(
                f"loss must have a value for each {self.unit}, got {len(loss)} values and "
                f"{len(validation)} validation losses."
            )
        ax = axes_for(self, ax)
        epochs = np.arange(1, len(loss) + 1)
        self.line_ = self._line(ax, epochs, loss, "training", COLORS[0], "o", line_kwargs)
        self.validation_line_ = self.best_line_ = self.best_epoch_ = None
        if len(validation):
            validated = epochs[-len(validation) :]
            self.validation_line_ = self._line(
                ax, validated, validation, "validation", COLORS[1], "s", line_kwargs
            )
            if np.isfinite(validation).any():
                lowest = np.nanargmin(validation)
                self.best_epoch_ = int(validated[lowest])
                label = f"lowest: {validation[lowest]:.4g} in {self.unit} {self.best_epoch_}"
                options = style(
                    "lines.Line2D", best_kwargs, color=GREY, linestyle=":", label=label, zorder=1
                )
                self.best_line_ = ax.axvline(self.best_epoch_, **options)
        ax.set(xlabel=self.unit, ylabel=LABELS[kind])
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.legend()
        return self

    def _errors(self, name: str, kind: str) -> np.ndarray:
        given = getattr(self, name)
        loss = np.asarray([] if given is None else given, dtype=np.float64)
        if loss.ndim != 1 or (kind != "loss" and (loss < 0).any()):
            raise ValueError(
                f"{name} must be a list of mean squared errors, not negative, got {given!r:.100}."
            )
        return np.sqrt(loss) if kind == "rmse" else loss

    @staticmethod
    def _line(ax, x, y, label, color, marker, given) -> Any:
        marker = marker if len(x) <= 50 else ""  # more markers would hide the line
        defaults = {"color": color, "marker": marker, "markersize": 4}
        return ax.plot(x, y, **style("lines.Line2D", given, label=label, **defaults))[0]
