"""The picture of how a training went."""
# SPDX-License-Identifier: BSD-3-Clause

from typing import Any, Self

import numpy as np

from sklrec.inspection._drawing import COLORS, GREY, axes_for, check_matplotlib, style
from sklrec.inspection._inputs import check_choice, fitted_model

LABELS = {
    "rmse": "RMSE (units of the ratings)",
    "mse": "mean squared error (squared units of the ratings)",
}


class TrainingHistoryDisplay:
    """Training and validation error, epoch by epoch.

    The epoch with the lowest validation error is marked. After early stopping the model is that of
    this epoch.

    Parameters
    ----------
    loss : array-like of shape (n_epochs,)
        Mean squared error of the training ratings in each epoch, such as `loss_curve_`. NaN
        where there is none.
    validation_loss : array-like of shape (n_validated,), default=None
        The same of the validation data after each of the last `n_validated` epochs.
    unit : str, default="epoch"
        What is counted, such as "epoch" or "sweep".

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes that were drawn on.
    figure_ : matplotlib Figure
        The figure that they are in.
    line_ : matplotlib Line2D
        The training error.
    validation_line_ : matplotlib Line2D or None
        The validation error, if there is any.
    best_line_ : matplotlib Line2D or None
        The mark at its lowest.
    best_epoch_ : int or None
        Where that is, the first epoch being 1.

    See Also
    --------
    PredictedRatingsDisplay : What a model predicts for each rating.
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
        kind: str = "rmse",
        ax: Any = None,
        line_kwargs: dict[str, Any] | None = None,
        best_kwargs: dict[str, Any] | None = None,
    ) -> Self:
        """Draw how the training of an estimator went.

        Parameters
        ----------
        estimator : estimator instance
            A fitted estimator of this package, a `Pipeline` that ends in one, or a search for the
            best of them.
        kind : {'rmse', 'mse'}, default='rmse'
            Whether to draw the root of the mean squared error, in units of the ratings, or the
            mean squared error itself.
        ax : matplotlib Axes, default=None
            Where to draw; None makes a new figure.
        line_kwargs : dict, default=None
            Style of both lines, as of ``Axes.plot``.
        best_kwargs : dict, default=None
            Style of the mark at the best epoch, as of ``Axes.axvline``.

        Returns
        -------
        TrainingHistoryDisplay
            The display.

        Raises
        ------
        ValueError
            If the estimator keeps no `loss_curve_`.
        """
        check_matplotlib(f"{cls.__name__}.from_estimator")
        model = fitted_model(estimator)
        if not hasattr(model, "loss_curve_"):
            raise ValueError(
                f"{type(model).__name__} has no loss_curve_, by which its training could be "
                "drawn. Give an estimator of this package."
            )
        display = cls(
            model.loss_curve_,
            validation_loss=getattr(model, "validation_curve_", None),
            unit=_unit(model),
        )
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
            Where to draw; None makes a new figure.
        kind : {'rmse', 'mse'}, default='rmse'
            Whether to draw the root of the mean squared error, in units of the ratings, or the
            mean squared error itself.
        line_kwargs : dict, default=None
            Style of both lines, as of ``Axes.plot``.
        best_kwargs : dict, default=None
            Style of the mark at the best epoch, as of ``Axes.axvline``.

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
                f"There must be a training loss for each {self.unit}, got {len(loss)} of them and "
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
        ax.grid(alpha=0.3)
        ax.legend()
        return self

    def _errors(self, name: str, kind: str) -> np.ndarray:
        given = getattr(self, name)
        loss = np.asarray([] if given is None else given, dtype=np.float64)
        if loss.ndim != 1 or (loss < 0).any():
            raise ValueError(
                f"{name} must be a list of mean squared errors, none of them negative, got "
                f"{given!r:.100}."
            )
        return np.sqrt(loss) if kind == "rmse" else loss

    @staticmethod
    def _line(ax, x, y, label, color, marker, given) -> Any:
        few = len(x) <= 50  # beyond that, markers would hide the line
        defaults = {"color": color, "marker": marker if few else "", "markersize": 4}
        return ax.plot(x, y, **style("lines.Line2D", given, label=label, **defaults))[0]


def _unit(model: Any) -> str:
    """Unit of a model's training: epochs of minibatches, or sweeps."""
    return "epoch" if hasattr(model, "max_epochs") else "sweep"
