"""Base class of the rating estimators."""
# SPDX-License-Identifier: BSD-3-Clause

from abc import abstractmethod
from numbers import Integral, Real
from tempfile import TemporaryDirectory
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import RegressorMixin

from sklrec._core.callback_params import CallbackParameters
from sklrec._core.chunks import Chunks
from sklrec._core.fit import Plan, fit_model
from sklrec._core.predict import clipped, predicted
from sklrec._core.recommender import BaseRecommender
from sklrec._core.rows import Rows, Table
from sklrec._data.checks import STATISTICS, RatingStatistics
from sklrec._solvers.base import Solver
from sklrec._solvers.net import RatingNet
from sklrec._solvers.steps import notify_sklearn_callbacks
from sklrec._utils.conditional import missing_if
from sklrec._utils.state.kinds import Floats, Int, Maybe, Optional
from sklrec._utils.versions import (
    CallbackSupportMixin,
    Interval,
    RealNotInt,
    StrOptions,
    fit_context,
)
from sklrec.datasets._chunks import ChunkedRatings
from sklrec.modules._losses import LOSSES
from sklrec.modules._rating_module import RatingModule

# Constraints of the parameters of estimators that skorch trains.
TRAINING_CONSTRAINTS = {
    "max_epochs": [Interval(Integral, 1, None, closed="left")],
    # float32 cannot hold larger steps
    "lr": [StrOptions({"auto"}), Interval(Real, 0, 1e30, closed="right")],
    "batch_size": [Interval(Integral, 1, None, closed="left")],
    "alpha": [StrOptions({"auto"}), Interval(Real, 0, None, closed="left")],
    "loss": [StrOptions({*LOSSES, "quantile"}), callable],
    "quantile": [Interval(Real, 0, 1, closed="neither")],
    "optimizer": [type, None],
    "early_stopping": [
        "boolean",
        StrOptions({"auto"}),
        Interval(RealNotInt, 0, 1, closed="neither"),
    ],
    "warm_start": ["boolean"],
    "callbacks": [list, None],
}


class BaseRatingRegressor(
    CallbackSupportMixin, RegressorMixin, CallbackParameters, BaseRecommender
):
    """Base of the estimators that predict the ratings of interactions."""

    _state = {
        **BaseRecommender._state,
        "rating_scale_": Optional(Floats(2, tuple)),
        "rating_statistics_": STATISTICS,
        "loss_curve_": Floats("n_iter"),
        "validation_curve_": Maybe(Floats()),
        "n_iter_": Int(size="n_iter"),
    }
    _not_kept = ("net_",)

    _parameter_constraints = {
        **BaseRecommender._parameter_constraints,
        "rating_scale": [StrOptions({"auto"}), tuple, list, None],
        "device": [str, torch.device],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    # Defaults for estimators that do not have these parameters.
    warm_start = False
    early_stopping: bool | float | str = False
    # What differs between estimators.
    _takes_accelerate = False
    _takes_chunks: Any = False
    _needs_float64 = False
    # Bounds of the sum of the weights if their size matters; otherwise their mean becomes 1.
    _sum_of_weights: tuple[float, float] | None = None

    net_: RatingNet
    rating_scale_: tuple[float, float] | None
    rating_statistics_: RatingStatistics
    loss_curve_: list[float]
    validation_curve_: list[float]

    @abstractmethod
    def _new_module(self, rows: Rows) -> RatingModule:
        """Make the untrained module for the IDs of the encoder."""

    @abstractmethod
    def _continued_module(self, previous: Any, rows: Rows) -> RatingModule:
        """Make a larger copy of the module of a fitted estimator."""

    @abstractmethod
    def _new_solver(self, plan: Plan) -> Solver:
        """Make the solver from the parameters."""

    def _why_no_partial_fit(self) -> str | None:
        """Reason why the estimator has no `partial_fit`, or None if it has one."""
        return None

    @fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: Any,
        y: Any = None,
        sample_weight: Any = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
    ) -> Self:
        """Fit the model to rated interactions.

        Parameters
        ----------
        X : {DataFrame, array-like} of shape (n_samples, n_features)
            The interactions, one per row, with a column of user IDs and a column of item IDs.
            `MFRegressor` also takes ratings in chunks, such as
            `sklrec.datasets.ParquetRatings`. They hold both X and y.
        y : array-like of shape (n_samples,), default=None
            The ratings. Required, unless X holds ratings in chunks.
        sample_weight : array-like of shape (n_samples,), default=None
            Weight of each rating, not negative. Only the proportions of the weights matter,
            except in `BiasRegressor` and `BayesianMFRegressor`. Rows of weight 0 are ignored:
            their IDs stay unknown. SVD++ terms (``svdpp=True``) ignore the size of other weights.
        X_val : {DataFrame, array-like} of shape (n_val, n_features), default=None
            Interactions for the validation loss, which is computed after each epoch. Early
            stopping uses it, unless ``early_stopping=False``. If X is in chunks, `X_val` may be
            in chunks too. In a Pipeline with an encoder, `X_val` must be encoded too: see
            ``transform_input`` of `sklearn.pipeline.Pipeline`.
        y_val : array-like of shape (n_val,), default=None
            The ratings of `X_val`.
        sample_weight_val : array-like of shape (n_val,), default=None
            Weight of each rating of `y_val`.

        Returns
        -------
        object
            The fitted estimator.

        Raises
        ------
        ValueError
            If X, y or a parameter is not valid. The estimator stays unchanged.
        KeyboardInterrupt
            If Ctrl-C ended the training. The estimator keeps the model trained so far.

        Warns
        -----
        UserWarning
            If IDs of `X_val` are of another kind than the IDs of `X`, or if the training was
            interrupted. Also if a rating far outside an automatic rating scale widens the scale of
            the fit that this one continues, or of earlier chunks.
        """
        with notify_sklearn_callbacks(self, X, y, sample_weight):
            data = X, y, sample_weight, X_val, y_val, sample_weight_val
            if not isinstance(X, ChunkedRatings):
                return fit_model(self, Table(*data))
            with TemporaryDirectory(prefix="sklrec-") as folder:
                return fit_model(self, Chunks(folder, *data))

    @missing_if(lambda estimator: estimator._why_no_partial_fit())
    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Continue the model with further interactions, or start one.

        `BayesianMFRegressor`, and `MFRegressor` with ``svdpp=True``, have no `partial_fit`.

        New users and items get rows of their own. The mean and the scale of all ratings so far
        are computed, and what was learned is converted to them. If the model has biases, least
        squares compute the mean and the biases, in which earlier ratings keep their weight. Then
        one epoch trains factors and layers, if the model has any, with a constant learning rate.
        The notes of the class tell more. An automatic rating scale widens with the new ratings.

        Parameters
        ----------
        X : {DataFrame, array-like} of shape (n_samples, n_features)
            The interactions, columns as at the first call.
        y : array-like of shape (n_samples,)
            The ratings.
        sample_weight : array-like of shape (n_samples,), default=None
            Weight of each rating, not negative. Only the proportions of the weights matter,
            except in `BiasRegressor`.

        Returns
        -------
        object
            The estimator.

        Raises
        ------
        ValueError
            If X, y or a parameter is not valid. The estimator stays unchanged.

        Warns
        -----
        UserWarning
            If a rating far outside an automatic rating scale widens it.
        """
        return fit_model(self, Table(X, y, sample_weight, is_partial=True))

    def predict(self, X: Any) -> np.ndarray:
        """Predict the ratings of interactions.

        An unknown user or item gets the prediction for an average one.

        Parameters
        ----------
        X : {DataFrame, array-like} of shape (n_samples, n_features)
            The interactions, columns as in `fit`.

        Returns
        -------
        ndarray of shape (n_samples,)
            The ratings as float64, inside the rating scale. Each depends only on its own row.

        Warns
        -----
        UserWarning
            If IDs are unknown because they are of another kind than the IDs that `fit` saw.
        """
        return predicted(self, X)

    def _output(self, scores):
        zero, scale = self.module_.zero.item(), self.module_.scale.item()
        return clipped(self, zero + scale * scores)

    def _vectors(self, side):
        return self.module_._vectors(side)[1:]

    @property
    def global_mean_(self) -> float:
        """Weighted mean of the training ratings."""
        return self.module_.global_mean.item()

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        # IDs have no order, and scikit-learn's check wants a function of numbers to be fitted.
        tags.regressor_tags.poor_score = True
        return tags
