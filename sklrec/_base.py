"""What all rating estimators share: validation, encoding, training, prediction in batches."""
# SPDX-License-Identifier: BSD-3-Clause

import warnings
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import copy, deepcopy
from dataclasses import replace
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_array
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.model_selection import train_test_split
from sklearn.utils import check_consistent_length, check_random_state
from sklearn.utils.validation import check_is_fitted

from sklrec._net import InteractionTensors, RatingNet
from sklrec._solvers import MINIBATCH_SOLVERS, MinibatchSolver
from sklrec._threads import threads_for
from sklrec._validation import (
    Interval,
    StrOptions,
    check_interactions,
    check_ratings,
    check_sample_weight,
    column_values,
    fit_context,
    resolve_columns,
    take_rows,
)
from sklrec._vocabulary import Vocabulary
from sklrec.modules import MatrixFactorization
from sklrec.preprocessing import IDEncoder

# Rows that predict looks up at once: enough to keep torch busy, little enough that what it
# gathers stays in the processor's cache.
PREDICT_ROWS = 16_384


@contextmanager
def unchanged_on_failure(estimator: BaseEstimator) -> Iterator[None]:
    """Give an estimator its old attributes back if it cannot be fitted.

    Parameters
    ----------
    estimator : estimator instance
        The estimator that is being fitted.
    """
    before = vars(estimator).copy()
    try:
        yield
    except BaseException:
        vars(estimator).clear()
        vars(estimator).update(before)
        raise


class BaseRatingRegressor(RegressorMixin, BaseEstimator):
    """Base of the estimators that predict the ratings of interactions.

    A subclass brings its parameters, `_new_module` and `_grow_module`.
    """

    _parameter_constraints = {
        "user": [Interval(Integral, 0, None, closed="left"), str],
        "item": [Interval(Integral, 0, None, closed="left"), str],
        "max_epochs": [Interval(Integral, 1, None, closed="left")],
        "lr": [StrOptions({"auto"}), Interval(Real, 0, None, closed="neither")],
        "lr_schedule": [StrOptions({"linear", "constant"})],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "optimizer": [type, None],
        "early_stopping": ["boolean", StrOptions({"auto"})],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "rating_scale": [StrOptions({"auto"}), tuple, list, None],
        "warm_start": ["boolean"],
        "callbacks": [list, None],
        "device": [str, torch.device],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    encoder_: IDEncoder
    module_: MatrixFactorization
    net_: RatingNet
    rating_scale_: tuple[float, float] | None
    validation_curve_: list[float]

    @abstractmethod
    def _new_module(self, y: np.ndarray, weight: np.ndarray, generator: torch.Generator) -> Any:
        """Make the untrained module, sized by the encoder."""

    @abstractmethod
    def _grow_module(self, generator: torch.Generator) -> None:
        """Give `module_` rows for the IDs that are new in the encoder."""

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, sample_weight=None, *, X_val=None, y_val=None, sample_weight_val=None):
        """Fit the model to rated interactions.

        Parameters
        ----------
        X : {DataFrame, array-like} of shape (n_samples, n_features)
            The interactions, a row each, with a column of user IDs and one of item IDs:
            strings, integers or anything hashable.
        y : array-like of shape (n_samples,)
            The ratings.
        sample_weight : array-like of shape (n_samples,), default=None
            Weight of each rating, not negative; only their proportions matter. Rows of
            weight 0 are as good as absent: their IDs stay unknown.
        X_val : {DataFrame, array-like} of shape (n_val, n_features), default=None
            Interactions to measure the validation loss on after each epoch, and to stop
            early by unless ``early_stopping=False``. Behind an encoder in a Pipeline they
            have to be encoded too: see ``transform_input`` of `sklearn.pipeline.Pipeline`.
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
            If X, y or a parameter is not what was asked for; the estimator is then as it
            was before.
        KeyboardInterrupt
            If Ctrl-C ended the training; the estimator holds the model of the steps so far.

        Warns
        -----
        UserWarning
            If IDs of `X_val` are of another kind than those of `X`, or if the training was
            interrupted.
        """
        with unchanged_on_failure(self):
            seen = self.seen_ if self.warm_start and hasattr(self, "module_") else None
            X, y, weight = self._check_rated(X, y, sample_weight, reset=seen is None)
            if len(y) < 2:
                raise ValueError(
                    f"Found array with {len(y)} sample(s) while a minimum of 2 is required by "
                    f"{type(self).__name__}: 1 sample has no other to be compared with."
                )
            rng = check_random_state(self.random_state)
            generator = torch.Generator().manual_seed(int(rng.randint(2**31 - 1)))
            stopping = self.early_stopping is True or (
                self.early_stopping == "auto" and X_val is not None
            )
            valid = self._check_validation(X_val, y_val, sample_weight_val)
            rated = self._learn(X, y, weight, seen)
            if valid is not None:
                codes = self._codes(valid[0])
                self._warn_of_kind(valid[0], [int(np.count_nonzero(c == 0)) for c in codes])
                valid = (*codes, *valid[1:])
            elif stopping:
                parts = train_test_split(
                    *rated, test_size=self.validation_fraction, random_state=rng
                )
                rated, valid = parts[::2], parts[1::2]
            self._train(rated, valid, generator, seen, early_stopping=stopping)
        return self._or_interrupt()

    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y, sample_weight=None):
        """Train for one epoch on further interactions.

        The first call starts a model; later ones go on with it. Users and items that were
        not there before get rows of their own. The learning rate is constant, but with
        ``solver="sgd"`` the more ratings a user or item has had, the less further ones move
        it; a few passes teach the model new users without harm to what it knows. The global
        mean stays that of the first call. An automatic rating scale widens with what comes.

        Parameters
        ----------
        X : {DataFrame, array-like} of shape (n_samples, n_features)
            The interactions, columns as at the first call.
        y : array-like of shape (n_samples,)
            The ratings.
        sample_weight : array-like of shape (n_samples,), default=None
            Weight of each rating, not negative; only their proportions matter.

        Returns
        -------
        object
            The estimator.
        """
        with unchanged_on_failure(self):
            seen = self.seen_ if hasattr(self, "module_") else None
            X, y, weight = self._check_rated(X, y, sample_weight, reset=seen is None)
            rng = check_random_state(self.random_state)
            generator = torch.Generator().manual_seed(int(rng.randint(2**31 - 1)))
            rated = self._learn(X, y, weight, seen)
            self._train(rated, None, generator, seen, max_epochs=1, lr_schedule="constant")
        return self._or_interrupt()

    def predict(self, X):
        """Predict the ratings of interactions.

        A user or item that `fit` did not see gets the best estimate there is without it;
        if both are unknown that is the global mean.

        Parameters
        ----------
        X : {DataFrame, array-like} of shape (n_samples, n_features)
            The interactions, columns as in `fit`.

        Returns
        -------
        ndarray of shape (n_samples,)
            The ratings as float64, inside the rating scale. Each depends on its own row
            alone.

        Warns
        -----
        UserWarning
            If IDs are unknown because they are of another kind than those that `fit` saw.
        """
        check_is_fitted(self)
        X = check_interactions(self, X, reset=False)
        columns = self._id_columns(X)
        ratings = np.empty(X.shape[0])
        n_unknown = np.zeros(2, dtype=int)
        for first in range(0, len(ratings), PREDICT_ROWS):
            rows = slice(first, first + PREDICT_ROWS)
            codes = [
                vocabulary.codes(values[rows], first_row=first) for vocabulary, values in columns
            ]
            n_unknown += [np.count_nonzero(c == 0) for c in codes]
            ratings[rows] = self._predict_codes(*codes)
        self._warn_of_kind(X, n_unknown.tolist())
        if self.rating_scale_ is not None:
            ratings.clip(*self.rating_scale_, out=ratings)
        return ratings

    def _predict_codes(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Ratings of pairs of codes, not clipped."""
        device = next(self.module_.parameters()).device
        codes = {"users": users, "items": items}
        with torch.inference_mode(), threads_for(PREDICT_ROWS, self.module_.n_factors):
            inputs = {name: torch.from_numpy(c).to(device) for name, c in codes.items()}
            return self.module_(**inputs).cpu().numpy()

    def _check_rated(self, X, y, sample_weight, *, reset: bool, y_name: str = "y"):
        """Check interactions and ratings, and drop the rows of weight 0."""
        X = check_interactions(self, X, reset=reset)
        y = check_ratings(self, y, input_name=y_name)
        check_consistent_length(X, y)
        if sample_weight is None:
            return X, y, np.ones(len(y))
        weight = check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
        counts = weight > 0
        if not counts.all():
            X, y, weight = take_rows(X, counts), y[counts], weight[counts]
        return X, y, weight / weight.mean()

    def _check_validation(self, X_val, y_val, sample_weight_val):
        given = {"X_val": X_val, "y_val": y_val, "sample_weight_val": sample_weight_val}
        missing = [name for name in ("X_val", "y_val") if given[name] is None]
        present = [name for name in given if given[name] is not None]
        if not present:
            return None
        if missing:
            raise ValueError(f"{present[0]} is provided, but {missing[0]} was not provided.")
        return self._check_rated(X_val, y_val, sample_weight_val, reset=False, y_name="y_val")

    def _or_interrupt(self):
        """This estimator, or the Ctrl-C that the training caught so as to keep what it had."""
        if self.net_.interrupted_:
            raise KeyboardInterrupt
        return self

    def _warn_of_kind(self, X, n_unknown: list[int]) -> None:
        """Warn if IDs are unknown since they are of another kind than those that were learned."""
        for (vocabulary, values), n in zip(self._id_columns(X), n_unknown, strict=True):
            if message := vocabulary.kind_mismatch(values, n):
                warnings.warn(message, UserWarning, stacklevel=3)

    def _learn(
        self, X, y: np.ndarray, weight: np.ndarray, seen: csr_array | None
    ) -> list[np.ndarray]:
        """Learn what holds for all rows, and give user codes, item codes, ratings and weights."""
        self.rating_scale_ = self._new_rating_scale(y, seen is not None)
        if seen is None:
            columns = resolve_columns(self, (self.user, self.item), X)
            self.encoder_ = IDEncoder(columns=columns).fit(X)
        else:  # a copy, so that the old encoder can come back if the training fails
            self.encoder_ = copy(self.encoder_).partial_fit(X)
        users, items = self._codes(X)
        self.seen_ = self._new_seen(users, items, seen)
        return [users, items, y, weight]

    def _train(
        self,
        rated: Sequence[np.ndarray],
        valid: Sequence[np.ndarray] | None,
        generator: torch.Generator,
        seen: csr_array | None,
        **changes: Any,
    ) -> None:
        """Train a new module, or go on with the one that has seen `seen`."""
        device = self._check_device()
        users, items, y, weight = rated
        if seen is None:
            self.module_ = self._new_module(y, weight, generator)
        else:  # a copy again
            self.module_ = deepcopy(self.module_)
            self._grow_module(generator)
        self.module_.to(device)
        data = self._tensors(users, items, y, weight).to(device)
        valid_data = None if valid is None else self._tensors(*valid).to(device)
        solver = self._new_solver(**changes)
        previous = None
        if seen is not None:
            previous = self.net_, {"user": seen.sum(axis=1), "item": seen.sum(axis=0)}
        self.net_ = solver.train(self.module_, data, valid_data, generator, previous)
        history = self.net_.history
        self.n_iter_ = len(history)
        self.loss_curve_ = [float(epoch["train_loss"]) for epoch in history]
        if hasattr(self, "validation_curve_"):  # an earlier fit's
            del self.validation_curve_
        if valid is not None:
            self.validation_curve_ = [
                float(epoch["valid_loss"]) for epoch in history if "valid_loss" in epoch
            ]

    def _new_solver(self, **changes: Any) -> MinibatchSolver:
        optimizer, reduction, auto_lr = MINIBATCH_SOLVERS[self.solver]
        if self.optimizer is not None:
            optimizer, reduction, auto_lr = self.optimizer, *MINIBATCH_SOLVERS["adam"][1:]
            if not issubclass(optimizer, torch.optim.Optimizer):
                raise TypeError(
                    "optimizer must be None or a subclass of torch.optim.Optimizer, such as "
                    f"torch.optim.AdamW, got {optimizer!r}."
                )
        solver = MinibatchSolver(
            optimizer=optimizer,
            reduction=reduction,
            lr=auto_lr(self.max_epochs) if self.lr == "auto" else self.lr,
            max_epochs=self.max_epochs,
            batch_size=self.batch_size,
            lr_schedule=self.lr_schedule,
            alpha=self.alpha,
            callbacks=self.callbacks,
            verbose=int(self.verbose),
            n_iter_no_change=self.n_iter_no_change,
            tol=self.tol,
            early_stopping=False,
        )
        return replace(solver, **changes)

    def _codes(self, X) -> list[np.ndarray]:
        """The codes of the users and those of the items."""
        return [vocabulary.codes(values) for vocabulary, values in self._id_columns(X)]

    def _id_columns(self, X) -> list[tuple[Vocabulary, Any]]:
        """The vocabulary and the values of the users' column, and those of the items'."""
        encoder = self.encoder_
        return [
            (vocabulary, column_values(X, position))
            for vocabulary, position in zip(
                encoder.vocabularies_, encoder.column_indices_, strict=True
            )
        ]

    def _tensors(self, users, items, y, weight) -> InteractionTensors:
        return InteractionTensors(
            {"users": torch.from_numpy(users), "items": torch.from_numpy(items)},
            torch.from_numpy(y.astype(np.float32)),
            # Weights that are all alike change nothing.
            None if np.ptp(weight) == 0 else torch.from_numpy(weight.astype(np.float32)),
        )

    def _new_rating_scale(self, y: np.ndarray, continuing: bool) -> tuple[float, float] | None:
        if self.rating_scale is None:
            return None
        if isinstance(self.rating_scale, str):
            low, high = float(y.min()), float(y.max())
            if continuing and self.rating_scale_ is not None:
                low, high = min(low, self.rating_scale_[0]), max(high, self.rating_scale_[1])
            return low, high
        try:
            low, high = (float(bound) for bound in self.rating_scale)
        except (TypeError, ValueError):
            low, high = np.nan, np.nan
        if not low < high:
            raise ValueError(
                "rating_scale must be 'auto', None or the lowest and the highest rating, such as "
                f"(1, 5), got {self.rating_scale!r}."
            )
        outside = np.flatnonzero((y < low) | (y > high))
        if len(outside):
            raise ValueError(
                f"Ratings must lie inside rating_scale={self.rating_scale!r}, got "
                f"{y[outside[0]]:g} in row {outside[0]} and {len(outside)} such rows in all. Drop "
                "them, give a wider rating_scale, or set rating_scale='auto'."
            )
        return low, high

    def _new_seen(
        self, users: np.ndarray, items: np.ndarray, before: csr_array | None
    ) -> csr_array:
        """Which item codes (columns) each user code (row) has interacted with."""
        n_users, n_items = (len(v) + 1 for v in self.encoder_.vocabularies_)
        seen = csr_array((np.ones(len(users), bool), (users, items)), (n_users, n_items))
        if before is not None:
            before = before.copy()
            before.resize(seen.shape)
            seen = seen + before
        return seen

    def _check_device(self) -> torch.device:
        try:
            device = torch.device(self.device)
            torch.empty(0, device=device)
        except (RuntimeError, AssertionError, NotImplementedError) as error:
            there = ["cpu"]
            if torch.cuda.is_available():
                there += [f"cuda:{k}" for k in range(torch.cuda.device_count())]
            if torch.backends.mps.is_available():
                there.append("mps")
            raise ValueError(
                f"device={str(self.device)!r} is not there on this machine; there is "
                f"{', '.join(there)}."
            ) from error
        return device

    def __getstate__(self):
        # The net holds the module: in a pickle too it should be there once.
        shared = {"module_"} if "net_" in vars(self) else set()
        return {k: v for k, v in super().__getstate__().items() if k not in shared}

    def __setstate__(self, state):
        super().__setstate__(state)
        if "net_" in state:
            self.module_ = self.net_.module_

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.categorical = True
        tags.input_tags.string = True
        # IDs as such carry no order: a model of them need not fit a function of numbers.
        tags.regressor_tags.poor_score = True
        return tags
