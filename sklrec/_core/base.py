"""What all rating estimators share: validation, encoding, training, prediction in batches."""
# SPDX-License-Identifier: BSD-3-Clause

from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
from functools import partial
from numbers import Integral
from typing import Any, Self

import numpy as np
import torch
from scipy.sparse import csr_array
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.callback import CallbackSupportMixin
from sklearn.model_selection import train_test_split
from sklearn.utils import check_consistent_length, check_random_state
from sklearn.utils.validation import check_is_fitted

from sklrec._data.checks import (
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
from sklrec._data.vocabulary import Vocabulary
from sklrec._solvers.base import FitResult, Solver, WarmStart
from sklrec._solvers.callbacks import ATTRIBUTES_OF_A_RUNNING_FIT, notify_sklearn_callbacks
from sklrec._solvers.distributed import accelerate_device
from sklrec._solvers.net import RatingNet
from sklrec._solvers.tensors import InteractionTensors
from sklrec._utils.devices import is_there, on_cpu, this_or_cpu, with_float64
from sklrec._utils.rng import new_generator
from sklrec._utils.threads import threads_for
from sklrec._utils.warnings import warn
from sklrec.datasets._chunks import ChunkedRatings
from sklrec.modules._rating_module import RatingModule
from sklrec.preprocessing import IDEncoder

# What the module takes of some rows, by the names of its arguments.
Inputs = dict[str, np.ndarray]


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


class BaseRatingRegressor(CallbackSupportMixin, RegressorMixin, BaseEstimator):
    """Base of the estimators that predict the ratings of interactions.

    A subclass brings its parameters, `_new_module` and `_new_solver`; also `_learn` and `_inputs`
    if it reads more than users and items.
    """

    # Rows that predict computes at once: enough to keep torch busy, little enough that what it
    # gathers stays in the processor's cache.
    _predict_rows = 16_384

    _parameter_constraints = {
        "user": [Interval(Integral, 0, None, closed="left"), str],
        "item": [Interval(Integral, 0, None, closed="left"), str],
        "rating_scale": [StrOptions({"auto"}), tuple, list, None],
        "device": [str, torch.device],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    # Those that can go on with a model, or hold out rows, have parameters of these names.
    warm_start = False
    early_stopping: bool | float | str = False
    max_epochs: int
    _takes_accelerate = False

    encoder_: IDEncoder
    module_: Any  # a RatingModule
    net_: RatingNet
    rating_scale_: tuple[float, float] | None
    loss_curve_: list[float]
    validation_curve_: list[float]

    @abstractmethod
    def _new_module(
        self, y: np.ndarray, weight: np.ndarray, generator: torch.Generator
    ) -> RatingModule:
        """Make the untrained module, sized by the encoder."""

    @fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X,
        y=None,
        sample_weight=None,
        *,
        X_val=None,
        y_val=None,
        sample_weight_val=None,
    ):
        """Fit the model to rated interactions.

        Parameters
        ----------
        X : {DataFrame, array-like} of shape (n_samples, n_features)
            The interactions, a row each, with a column of user IDs and one of item IDs:
            strings, integers or anything hashable. `MFRegressor` also takes ratings that come
            in chunks, such as `sklrec.datasets.ParquetRatings`, as X and y in one.
        y : array-like of shape (n_samples,), default=None
            The ratings. To be left out only if X has them in it.
        sample_weight : array-like of shape (n_samples,), default=None
            Weight of each rating, not negative; only their proportions matter. Rows of
            weight 0 are as good as absent: their IDs stay unknown.
        X_val : {DataFrame, array-like} of shape (n_val, n_features), default=None
            Interactions to measure the validation loss on after each epoch, and to stop
            early by unless ``early_stopping=False``; in chunks too, if X is. Behind an
            encoder in a Pipeline they have to be encoded too: see ``transform_input`` of
            `sklearn.pipeline.Pipeline`.
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
            If X, y or a parameter is not valid. The estimator is then as it was before.
        KeyboardInterrupt
            If Ctrl-C ended the training; the estimator holds the model of the steps so far.

        Warns
        -----
        UserWarning
            If IDs of `X_val` are of another kind than those of `X`, or if the training was
            interrupted.
        """
        with notify_sklearn_callbacks(self, X, y, sample_weight):
            if isinstance(X, ChunkedRatings):
                return self._fit_chunks(X, y, sample_weight, X_val, y_val, sample_weight_val)
            with unchanged_on_failure(self):
                previous = copy(self) if self.warm_start and hasattr(self, "module_") else None
                X, y, weight = self._check_rated(X, y, sample_weight, reset=previous is None)
                self._refuse_too_few(int(np.count_nonzero(~np.isnan(y))))
                rng = self._new_rng()
                generator = new_generator(rng)
                stopping = self._stops_early(X_val)
                inputs = self._learn(X, y, weight, previous)
                valid = self._check_validation(X_val, y_val, sample_weight_val)
                if valid is not None:
                    X_valid, *valid = valid
                    valid_inputs = self._inputs(X_valid)
                    self._warn_of_kind(X_valid, valid_inputs)
                    valid = valid_inputs, *valid
                elif stopping:
                    parts = train_test_split(
                        np.arange(len(y)), test_size=self._share_held_out(), random_state=rng
                    )
                    (inputs, y, weight), valid = (
                        (_take(inputs, part), y[part], weight[part]) for part in parts
                    )
                rated = inputs, y, weight
                interrupted = self._train(
                    rated, valid, generator, previous, early_stopping=stopping
                )
            return self._or_interrupt(interrupted)

    def _n_steps(self) -> int:
        """How many epochs or sweeps a fit has at most."""
        return self.max_epochs

    def _fit_chunks(
        self,
        source: ChunkedRatings,
        y,
        sample_weight,
        X_val,
        y_val,
        sample_weight_val,
    ) -> Self:
        """Fit the model to ratings that come in chunks."""
        raise ValueError(
            f"{type(self).__name__} needs all ratings at once and cannot be fitted to them in "
            "chunks. Use MFRegressor, or pass X and y as a whole."
        )

    def _new_rng(self) -> np.random.RandomState:
        """What all that is random in a fit is drawn from."""
        return check_random_state(self.random_state)

    def _refuse_too_few(self, n_ratings: int) -> None:
        """Raise if there is nothing to learn from."""
        if n_ratings < 2:
            raise ValueError(
                f"Found array with {n_ratings} sample(s) while a minimum of 2 is required by "
                f"{type(self).__name__}: 1 sample has no other to be compared with."
            )

    def _stops_early(self, X_val: Any) -> bool:
        """Whether the training stops by the validation loss."""
        if self.early_stopping == "auto":
            return X_val is not None
        return bool(self.early_stopping)

    def _share_held_out(self) -> float:
        """Share of the training data that early stopping holds out."""
        return 0.1 if self.early_stopping in (True, "auto") else float(self.early_stopping)

    def predict(self, X):
        """Predict the ratings of interactions.

        A user or item that `fit` did not see gets the best estimate there is without it.

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
        return self._predicted(X)

    def _predicted(self, X) -> np.ndarray:
        """What `predict` gives."""
        check_is_fitted(self)
        X = self._check_X(X, reset=False)
        return self._clip(self._by_blocks(X, self._predict_inputs))

    def _predicted_with_std(self, X) -> tuple[np.ndarray, np.ndarray]:
        """What `predict` gives with ``return_std=True``, where the module knows it."""
        check_is_fitted(self)
        found = self._by_blocks(self._check_X(X, reset=False), self._moments)
        return self._clip(found[:, 0].copy()), found[:, 1]

    def _by_blocks(self, X: Any, compute: Callable[[Inputs], np.ndarray]) -> np.ndarray:
        """Compute something of checked rows, at most `_predict_rows` at once, in float64."""
        n_unknown = np.zeros(2, dtype=int)
        found = np.empty(0)
        for first in range(0, max(1, X.shape[0]), self._predict_rows):
            inputs = self._inputs(X, slice(first, first + self._predict_rows))
            n_unknown += _count_unknown(inputs)
            part = compute(inputs)
            if first == 0:
                found = np.empty((X.shape[0], *part.shape[1:]))
            found[first : first + len(part)] = part
        self._warn_of_kind(X, n_unknown)
        return found

    def _predict_inputs(self, inputs: Inputs) -> np.ndarray:
        """Ratings of at most `_predict_rows` rows, not clipped."""
        return self._call(self.module_, inputs).cpu().numpy()

    def _moments(self, inputs: Inputs) -> np.ndarray:
        """Means and standard deviations of at most `_predict_rows` rows, not clipped."""
        return torch.stack(self._call(self.module_.moments, inputs), 1).cpu().numpy()

    def _call(self, compute: Callable[..., Any], inputs: Inputs) -> Any:
        """Let a module compute something of at most `_predict_rows` rows."""
        device = self.module_.global_mean.device
        with torch.inference_mode(), threads_for(len(inputs["users"]), self.module_.width):
            return compute(**{name: torch.from_numpy(v).to(device) for name, v in inputs.items()})

    def _clip(self, ratings: np.ndarray) -> np.ndarray:
        """Clip ratings, in place, to the rating scale."""
        if self.rating_scale_ is not None:
            ratings.clip(*self.rating_scale_, out=ratings)
        return ratings

    def _check_X(self, X: Any, *, reset: bool) -> Any:
        """Check the shape of X; `reset` is whether it is the first of a fit."""
        if isinstance(X, ChunkedRatings):
            raise ValueError(
                f"Only fit reads a whole {type(X).__name__}, and X_val only if X is such too. "
                "Pass one chunk at a time: for X, y, sample_weight in ratings."
            )
        return check_interactions(self, X, reset=reset)

    def _check_y(self, y: Any, *, y_name: str) -> np.ndarray:
        """Check ratings; NaN, where it is allowed, is none."""
        return check_ratings(self, y, input_name=y_name)

    def _check_rated(self, X, y, sample_weight, *, reset: bool, y_name: str = "y"):
        """Check interactions and ratings, and drop rows without a rating or of weight 0."""
        X, y, weight = self._check_rows(
            X, y, sample_weight, reset=reset, y_name=y_name, allow_all_zero_weights=False
        )
        if sample_weight is not None and len(weight):
            weight = weight / weight.max()  # lest their sum overflows
            weight /= weight.mean()
        return X, y, weight

    def _check_rows(
        self,
        X,
        y,
        sample_weight,
        *,
        reset: bool,
        y_name: str = "y",
        allow_all_zero_weights: bool = True,
    ):
        """The same of some rows alone, whose weights are then as they were."""
        X = self._check_X(X, reset=reset)
        y = self._check_y(y, y_name=y_name)
        check_consistent_length(X, y)
        weight = np.ones(len(y))
        if sample_weight is not None:
            weight = check_sample_weight(
                sample_weight,
                X,
                dtype=np.float64,
                ensure_non_negative=True,
                allow_all_zero_weights=allow_all_zero_weights,
            )
        # Beside the largest weight, what is 0 in float32 would be one in the training.
        is_weighed = (weight / (weight.max(initial=0.0) or 1.0)).astype(np.float32) > 0
        counts = is_weighed & ~np.isnan(y).reshape(len(y), -1).all(axis=1)
        if not counts.all():
            X, y, weight = take_rows(X, counts), y[counts], weight[counts]
        return X, y, weight

    def _has_validation(self, X_val, y_val, sample_weight_val) -> bool:
        """Whether there is validation data; raise if there is but a part of it."""
        given = {"X_val": X_val, "y_val": y_val, "sample_weight_val": sample_weight_val}
        missing = [name for name in ("X_val", "y_val") if given[name] is None]
        present = [name for name in given if given[name] is not None]
        if present and missing:
            raise ValueError(f"{present[0]} is provided, but {missing[0]} was not provided.")
        return bool(present)

    def _check_validation(self, X_val, y_val, sample_weight_val):
        if not self._has_validation(X_val, y_val, sample_weight_val):
            return None
        return self._check_rated(X_val, y_val, sample_weight_val, reset=False, y_name="y_val")

    def _or_interrupt(self, interrupted: bool):
        """This estimator, or the Ctrl-C that the training caught so as to keep what it had."""
        if interrupted:
            raise KeyboardInterrupt
        return self

    def _warn_of_kind(self, X, unknown: Inputs | np.ndarray) -> None:
        """Warn if IDs are unknown since they are of another kind than those that were learned."""
        n_unknown = _count_unknown(unknown) if isinstance(unknown, dict) else unknown
        for (vocabulary, values), n in zip(self._id_columns(X), n_unknown.tolist(), strict=True):
            if message := vocabulary.kind_mismatch(values, n):
                warn(message)

    def _learn(self, X, y: np.ndarray, weight: np.ndarray, previous: Self | None) -> Inputs:
        """Learn what holds for all rows, and give what the module takes of them.

        `previous` is this estimator as it was, if the training goes on with its model. What it
        holds must not change, so that it can come back if the training fails.
        """
        self.rating_scale_ = self._new_rating_scale(y, previous is not None)
        columns = self._find_columns(X, previous)
        if previous is None:
            self.encoder_ = IDEncoder(columns=columns).fit(X)
        else:
            self.encoder_ = copy(previous.encoder_).partial_fit(X)
        inputs = self._inputs(X)
        self.seen_ = self._new_seen(inputs["users"], inputs["items"], previous)
        return inputs

    def _find_columns(self, X, previous: Self | None) -> tuple[int, ...]:
        """The positions of the users' and the items' column."""
        columns = resolve_columns(self, (self.user, self.item), X)
        if previous is not None and columns != previous.encoder_.column_indices_:
            raise ValueError(
                f"user={self.user!r} and item={self.item!r} are other columns than those of the "
                "model that the training goes on with. Set them back, or fit with "
                "warm_start=False."
            )
        return columns

    def _train(
        self,
        rated: tuple[Inputs, np.ndarray, np.ndarray],
        valid: tuple[Inputs, np.ndarray, np.ndarray] | None,
        generator: torch.Generator,
        previous: Self | None,
        **changes: Any,
    ) -> bool:
        """Train a new module, or go on with the one before; give whether Ctrl-C ended it."""
        device = self._check_device()
        before = self._start_module(*rated[1:], generator, previous)
        self.module_.to(device)
        data = self._training_data(*rated, previous).to(device)
        valid_data = None if valid is None else self._validation_data(*valid, data).to(device)
        snapshot = partial(self._snapshot, previous, valid is not None)
        solver = self._new_solver(**changes, snapshot=snapshot)
        outcome = solver.train(self.module_, data, valid_data, generator, before)
        self._record(outcome, previous, with_validation=valid is not None)
        return outcome.interrupted

    def _start_module(
        self,
        y: np.ndarray,
        weight: np.ndarray,
        generator: torch.Generator,
        previous: Self | None,
    ) -> WarmStart | None:
        """Make the module that is to be trained; give what its training goes on from."""
        self.module_ = self._new_module(y, weight, generator)
        return None

    def _snapshot(
        self, previous: Self | None, has_validation: bool, module: RatingModule, outcome: FitResult
    ) -> Self:
        """Fitted copy of this estimator with a module that is not yet trained to the end."""
        fitted = copy(self)
        for name in ATTRIBUTES_OF_A_RUNNING_FIT & set(vars(fitted)):
            delattr(fitted, name)
        fitted.module_ = module
        fitted._record(outcome, previous, with_validation=has_validation)
        return fitted

    def _record(self, outcome: FitResult, previous: Self | None, *, with_validation: bool) -> None:
        """Learn how the training went."""
        for name in {"net_", "validation_curve_"} & set(vars(self)):  # an earlier fit's
            delattr(self, name)
        if outcome.net is not None:
            self.net_ = outcome.net
        self.loss_curve_ = (previous.loss_curve_ if previous else []) + outcome.loss_curve
        self.n_iter_ = len(self.loss_curve_)
        if with_validation:
            earlier = getattr(previous, "validation_curve_", [])
            self.validation_curve_ = earlier + outcome.validation_curve

    @abstractmethod
    def _new_solver(self, **changes: Any) -> Solver:
        """Make the solver, with `changes` to what the parameters say."""

    def _inputs(self, X, rows: slice = slice(None)) -> Inputs:
        """What the module takes of some rows."""
        users, items = (
            vocabulary.codes(values[rows], first_row=rows.start or 0)
            for vocabulary, values in self._id_columns(X)
        )
        return {"users": users, "items": items}

    def _id_columns(self, X) -> list[tuple[Vocabulary, Any]]:
        """The vocabulary and the values of the users' column, and those of the items'."""
        encoder = self.encoder_
        return [
            (vocabulary, column_values(X, position))
            for vocabulary, position in zip(
                encoder.vocabularies_, encoder.column_indices_, strict=True
            )
        ]

    def _training_data(
        self, inputs: Inputs, y: np.ndarray, weight: np.ndarray, previous: Self | None
    ) -> InteractionTensors:
        """Rows to train on, as tensors."""
        return _tensors(inputs, y, weight)

    def _validation_data(
        self, inputs: Inputs, y: np.ndarray, weight: np.ndarray, training: InteractionTensors
    ) -> InteractionTensors:
        """Rows to measure the validation loss on, as tensors."""
        return _tensors(inputs, y, weight)

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

    def _new_seen(self, users: np.ndarray, items: np.ndarray, previous: Self | None) -> csr_array:
        """Which item codes (columns) each user code (row) has interacted with."""
        n_users, n_items = (len(v) + 1 for v in self.encoder_.vocabularies_)
        # Sorted as single numbers, in half the time that csr_array takes for pairs.
        pairs = users * np.int64(n_items) + items
        pairs.sort()
        pairs = pairs[np.concatenate(([True], pairs[1:] != pairs[:-1]))]
        bounds = np.searchsorted(pairs, np.arange(n_users + 1) * np.int64(n_items))
        columns = (pairs % n_items).astype(np.int32)
        seen = csr_array(
            (np.ones(len(columns), bool), columns, bounds.astype(np.int32)), (n_users, n_items)
        )
        return self._with_seen_before(seen, previous)

    def _with_seen_before(self, seen: csr_array, previous: Self | None) -> csr_array:
        """Add what was seen in the fits that this one goes on from."""
        if previous is not None:
            before = previous.seen_.copy()
            before.resize(seen.shape)
            seen = seen + before
        return seen

    def _check_device(self) -> torch.device:
        if self.device == "accelerate":
            if self._takes_accelerate:
                return accelerate_device()
            raise ValueError(
                f"{type(self).__name__} trains in one process, on a device of torch such as 'cpu' "
                "or 'cuda', got device='accelerate'. Set one of those; DenseRecRegressor and "
                "SequenceRatingRegressor train in several processes."
            )
        if not is_there(self.device):
            there = ["cpu"]
            if torch.cuda.is_available():
                there += [f"cuda:{k}" for k in range(torch.cuda.device_count())]
            if torch.backends.mps.is_available():
                there.append("mps")
            raise ValueError(
                f"device={str(self.device)!r} is not there on this machine; there is "
                f"{', '.join(there)}."
            )
        device = torch.device(self.device)
        return with_float64(device) if self._needs_float64() else device

    def _needs_float64(self) -> bool:
        """Whether the training takes more than float32."""
        return False

    def __copy__(self):
        # By way of a pickle the module would go to the CPU and back.
        copied = object.__new__(type(self))
        copied.__dict__.update(vars(self))
        return copied

    def __getstate__(self):
        state = dict(super().__getstate__())
        if "net_" in state:
            # The net holds the module: in a pickle too it should be there once.
            del state["module_"]
        elif "module_" in state:
            device = self.module_.global_mean.device
            if device.type != "cpu":  # machines without such a device should read it too
                state["module_"], state["_device"] = on_cpu(self.module_), str(device)
        return state

    def __setstate__(self, state):
        state = dict(state)
        device = state.pop("_device", "cpu")
        super().__setstate__(state)
        if "net_" in state:
            self.module_ = self.net_.module_
        elif device != "cpu":
            self.module_.to(this_or_cpu(device))

    @property
    def global_mean_(self):
        """Weighted mean of the training ratings."""
        return self.module_.global_mean.item()

    @property
    def n_users_(self):
        """Number of known users."""
        return len(self.encoder_.vocabularies_[0])

    @property
    def n_ratings_(self):
        """Number of pairs of a user and an item that have been seen together."""
        return self.seen_.nnz

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.categorical = True
        tags.input_tags.string = True
        # IDs as such carry no order: a model of them need not fit a function of numbers.
        tags.regressor_tags.poor_score = True
        return tags


def mean_and_scale(y: np.ndarray, weight: np.ndarray) -> tuple[float, float]:
    """Give the ratings' weighted mean and standard deviation, 1 in place of 0.

    Parameters
    ----------
    y : ndarray of shape (n,)
        The ratings.
    weight : ndarray of shape (n,)
        Their weights.

    Returns
    -------
    tuple of (float, float)
        What a module takes as ``global_mean`` and ``scale``.
    """
    mean = np.average(y, weights=weight)
    std = np.sqrt(np.average((y - mean) ** 2, weights=weight))
    # What is 0 in float32 cannot be divided by.
    return float(mean), float(std) if std >= np.finfo(np.float32).tiny else 1.0


def _tensors(inputs: Inputs, y: np.ndarray, weight: np.ndarray) -> InteractionTensors:
    return InteractionTensors(
        {name: torch.from_numpy(of_rows) for name, of_rows in inputs.items()},
        torch.from_numpy(y.astype(np.float32)),
        # Weights that are all alike change nothing.
        None if np.ptp(weight) == 0 else torch.from_numpy(weight.astype(np.float32)),
    )


def _take(inputs: Inputs, rows: np.ndarray) -> Inputs:
    """What the module takes of some of the rows."""
    return {name: of_rows[rows] for name, of_rows in inputs.items()}


def _count_unknown(inputs: Inputs) -> np.ndarray:
    """How many rows have an unknown user, and how many an unknown item."""
    return np.array([np.count_nonzero(inputs[name] == 0) for name in ("users", "items")])
