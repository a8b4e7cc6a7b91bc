"""Base class of the rating estimators: validation, encoding, training and prediction."""
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
from sklrec._data.seen import SeenPairs
from sklrec._data.statistics import RatingStatistics
from sklrec._data.vocabulary import Vocabulary
from sklrec._solvers.base import FitResult, Solver, WarmStart
from sklrec._solvers.callbacks import ATTRIBUTES_OF_A_RUNNING_FIT, notify_sklearn_callbacks
from sklrec._solvers.distributed import accelerate_device
from sklrec._solvers.net import RatingNet
from sklrec._solvers.tensors import InteractionTensors, sum_of_weights
from sklrec._utils.devices import is_there
from sklrec._utils.rng import new_generator
from sklrec._utils.state.estimators import DeclaredEstimator, Fitted
from sklrec._utils.state.kinds import (
    NUMBER,
    Floats,
    Int,
    Many,
    Maybe,
    Optional,
    Strings,
)
from sklrec._utils.threads import threads_for
from sklrec._utils.warnings import warn
from sklrec.datasets._chunks import ChunkedRatings
from sklrec.modules._rating_module import INPUTS_OF_TABLES, RatingModule
from sklrec.preprocessing import IDEncoder

# A further rating that widens an automatic rating scale is far outside if the gap between it and
# the other ratings is wider than this number of times the range of the others.
FAR = 10.0


def _numbers_of_ids(encoder: IDEncoder) -> dict[str, int]:
    users, items = encoder.vocabularies_
    return {"n_users": len(users), "n_items": len(items)}


# Arrays for some rows, by the names of the module's arguments.
Inputs = dict[str, np.ndarray]


@contextmanager
def unchanged_on_failure(estimator: BaseEstimator) -> Iterator[None]:
    """Restore the attributes of an estimator if the code inside raises."""
    before = vars(estimator).copy()
    try:
        yield
    except BaseException:
        vars(estimator).clear()
        vars(estimator).update(before)
        raise


class BaseRatingRegressor(CallbackSupportMixin, RegressorMixin, DeclaredEstimator):
    """Base of the estimators that predict the ratings of interactions."""

    # Rows that predict computes at once: many enough to keep torch busy, and few enough that the
    # gathered factors fit into the processor's cache.
    _predict_rows = 16_384

    _state = {
        "n_features_in_": Int(size="n_columns"),
        "feature_names_in_": Maybe(Strings("n_columns")),
        "rating_scale_": Optional(Many(NUMBER, 2, into=tuple)),
        "loss_curve_": Floats("n_iter"),
        "validation_curve_": Maybe(Floats()),
        "n_iter_": Int(size="n_iter"),
        "encoder_": Fitted(IDEncoder, _numbers_of_ids),
        "seen_": SeenPairs(),
    }
    _not_kept = ("net_",)

    _parameter_constraints = {
        "user": [Interval(Integral, 0, None, closed="left"), str],
        "item": [Interval(Integral, 0, None, closed="left"), str],
        "rating_scale": [StrOptions({"auto"}), tuple, list, None],
        "device": [str, torch.device],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    # Defaults for estimators that do not have these parameters.
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
        self, statistics: RatingStatistics, generator: torch.Generator
    ) -> RatingModule:
        """Make the untrained module for the IDs of the encoder and for ratings."""

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
            The interactions, one per row, with a column of user IDs and a column of item IDs.
            `MFRegressor` also takes ratings in chunks, such as
            `sklrec.datasets.ParquetRatings`. They hold both X and y.
        y : array-like of shape (n_samples,), default=None
            The ratings. Required, unless X holds ratings in chunks.
        sample_weight : array-like of shape (n_samples,), default=None
            Weight of each rating, not negative. Only the proportions of the weights matter,
            except in `BiasRegressor` and `BayesianMFRegressor`. Rows of weight 0 are ignored:
            their IDs stay unknown.
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
            If IDs of `X_val` are of another kind than the IDs of `X`, if the training was
            interrupted, or if a rating far outside an automatic rating scale widens the scale of
            the fit that this one continues, or of earlier chunks.
        """
        with notify_sklearn_callbacks(self, X, y, sample_weight):
            if isinstance(X, ChunkedRatings):
                return self._fit_chunks(X, y, sample_weight, X_val, y_val, sample_weight_val)
            with unchanged_on_failure(self):
                previous = copy(self) if self.warm_start and hasattr(self, "module_") else None
                X, y, weight = self._check_rated(X, y, sample_weight, reset=previous is None)
                self._check_enough_ratings(int(np.count_nonzero(~np.isnan(y))))
                rng = self._new_rng()
                generator = new_generator(rng)
                stopping = self._stops_early(X_val)
                inputs = self._learn(X, y, weight, previous)
                valid = None
                if self._has_validation(X_val, y_val, sample_weight_val):
                    X_val, *valid = self._check_rated(
                        X_val, y_val, sample_weight_val, reset=False, y_name="y_val"
                    )
                    valid = self._inputs(X_val), *valid
                    self._warn_of_kind(X_val, valid[0])
                elif stopping:
                    parts = train_test_split(
                        np.arange(len(y)), test_size=self._held_out_share(), random_state=rng
                    )
                    (inputs, y, weight), valid = (
                        (_take(inputs, part), y[part], weight[part]) for part in parts
                    )
                interrupted = self._train(
                    RatingStatistics.of(y, weight),
                    partial(self._training_data, inputs, y, weight, previous),
                    None if valid is None else partial(self._validation_data, *valid),
                    generator,
                    previous,
                    early_stopping=stopping,
                )
            return self._raise_if_interrupted(interrupted)

    def _n_steps(self) -> int:
        """Maximum number of epochs or sweeps of a fit."""
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
            f"{type(self).__name__} needs all ratings at once and cannot be fitted to ratings in "
            "chunks. Use MFRegressor, or pass all rows as X and y."
        )

    def _new_rng(self) -> np.random.RandomState:
        """Make the random state from which a fit draws all random numbers."""
        return check_random_state(self.random_state)

    def _check_enough_ratings(self, n_ratings: int) -> None:
        """Raise if there are too few ratings to learn from."""
        if n_ratings < 2:
            raise ValueError(
                f"Found array with {n_ratings} sample(s) while a minimum of 2 is required by "
                f"{type(self).__name__}. Pass more rated interactions."
            )

    def _stops_early(self, X_val: Any) -> bool:
        """Whether the validation loss can stop the training."""
        if self.early_stopping == "auto":
            return X_val is not None
        return bool(self.early_stopping)

    def _held_out_share(self) -> float:
        """Share of the rows that early stopping holds out."""
        return 0.1 if self.early_stopping in (True, "auto") else float(self.early_stopping)

    def predict(self, X):
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
        return self._predicted(X)

    def _predicted(self, X) -> np.ndarray:
        """Predict ratings, for subclasses that override `predict`."""
        check_is_fitted(self)
        X = self._check_X(X, reset=False)
        return self._clip(self._by_blocks(X, self._predict_inputs))

    def _predicted_with_std(self, X) -> tuple[np.ndarray, np.ndarray]:
        """Predict ratings and their standard deviations."""
        check_is_fitted(self)
        found = self._by_blocks(self._check_X(X, reset=False), self._moments)
        return self._clip(found[:, 0].copy()), found[:, 1]

    def _by_blocks(self, X: Any, compute: Callable[[Inputs], np.ndarray]) -> np.ndarray:
        """Compute values for checked rows in float64, at most `_predict_rows` rows at once."""
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
        """Compute ratings before clipping."""
        return self._call(self.module_, inputs).cpu().numpy()

    def _moments(self, inputs: Inputs) -> np.ndarray:
        """Compute means, before clipping, and standard deviations."""
        return torch.stack(self._call(self.module_.moments, inputs), 1).cpu().numpy()  # (n, 2)

    def _call(self, compute: Callable[..., Any], inputs: Inputs) -> Any:
        """Call a method of the module with arrays of rows."""
        device = self.module_.global_mean.device
        with torch.inference_mode(), threads_for(len(inputs["users"]), self.module_.width):
            return compute(**{name: torch.from_numpy(v).to(device) for name, v in inputs.items()})

    def _clip(self, ratings: np.ndarray) -> np.ndarray:
        """Clip ratings, in place, to the rating scale."""
        if self.rating_scale_ is not None:
            ratings.clip(*self.rating_scale_, out=ratings)
        return ratings

    def _check_X(self, X: Any, *, reset: bool) -> Any:
        """Check X; with `reset`, store its number and names of columns."""
        if isinstance(X, ChunkedRatings):
            raise ValueError(
                f"Only X of fit may be a whole {type(X).__name__}, and X_val if X is one too. "
                "Pass one chunk at a time: for X, y, sample_weight in ratings."
            )
        return check_interactions(self, X, reset=reset)

    def _check_y(self, y: Any, *, y_name: str) -> np.ndarray:
        """Check ratings; a subclass may allow NaN for missing ratings."""
        return check_ratings(self, y, input_name=y_name)

    def _check_rated(self, X, y, sample_weight, *, reset: bool, y_name: str = "y"):
        """Check rows, drop rows without rating or weight, and scale the weights to a mean of 1,
        in float32."""
        X, y, weight = self._check_rows(
            X, y, sample_weight, reset=reset, y_name=y_name, allow_all_zero_weights=False
        )
        if sample_weight is not None and len(weight):
            weight = weight / weight.max()  # so that their sum does not overflow
            weight /= weight.mean()
        return X, y, weight.astype(np.float32)

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
        """Check rows, drop rows without rating or weight, and keep the weights as they are."""
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
        # The training uses float32, where a weight far below the largest one becomes 0.
        is_kept = (weight / (weight.max(initial=0.0) or 1.0)).astype(np.float32) > 0
        is_kept &= ~np.isnan(y).reshape(len(y), -1).all(axis=1)
        if not is_kept.all():
            X, y, weight = take_rows(X, is_kept), y[is_kept], weight[is_kept]
        return X, y, weight

    def _has_validation(self, X_val, y_val, sample_weight_val) -> bool:
        """Whether validation data were passed; raise if X_val or y_val is missing."""
        given = {"X_val": X_val, "y_val": y_val, "sample_weight_val": sample_weight_val}
        missing = [name for name in ("X_val", "y_val") if given[name] is None]
        present = [name for name in given if given[name] is not None]
        if present and missing:
            raise ValueError(f"{present[0]} is provided, but {missing[0]} was not provided.")
        return bool(present)

    def _raise_if_interrupted(self, interrupted: bool):
        """Return self, or raise the KeyboardInterrupt that the training held back."""
        if interrupted:
            raise KeyboardInterrupt
        return self

    def _warn_of_kind(self, X, unknown: Inputs | np.ndarray) -> None:
        """Warn if IDs are unknown because they are of another kind than the known IDs."""
        n_unknown = _count_unknown(unknown) if isinstance(unknown, dict) else unknown
        for (vocabulary, values), n in zip(self._id_columns(X), n_unknown.tolist(), strict=True):
            if message := vocabulary.kind_mismatch(values, n):
                warn(message)

    def _learn(self, X, y: np.ndarray, weight: np.ndarray, previous: Self | None) -> Inputs:
        """Set the fitted attributes that do not need training, and return the module's inputs."""
        # Attributes of previous must not change: a failed fit restores them.
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
        """Find the positions of the columns of users and items."""
        columns = resolve_columns(self, (self.user, self.item), X)
        if previous is not None and columns != previous.encoder_.column_indices_:
            raise ValueError(
                f"user={self.user!r} and item={self.item!r} are other columns than those of the "
                "model that the training continues. Set them back, or fit with warm_start=False."
            )
        return columns

    def _train(
        self,
        statistics: RatingStatistics,
        training_data: Callable[[], Any],
        validation_data: Callable[[Any], Any] | None,  # called with the training data
        generator: torch.Generator,
        previous: Self | None,
        **changes: Any,
    ) -> bool:
        """Train a module, new or continued, and return whether Ctrl-C ended the training."""
        device = self._check_device()
        before = None
        if previous is None:
            self.module_ = self._new_module(statistics, generator)
        else:
            before = self._continue_from(previous, generator)
        self.module_.to(device)
        data = training_data().to(device)
        self._clear_absent_rows(data, previous)
        valid = None if validation_data is None else validation_data(data).to(device)
        snapshot = partial(self._snapshot, previous, valid is not None)
        solver = self._new_solver(**changes, snapshot=snapshot)
        outcome = solver.train(self.module_, data, valid, generator, before)
        self._record(outcome, previous, with_validation=valid is not None)
        return outcome.interrupted

    @torch.no_grad()
    def _clear_absent_rows(self, data: Any, previous: Self | None) -> None:
        """Set the new rows that no training row reads to 0, like the row of unknown codes."""
        before = {} if previous is None else dict(previous.module_.named_parameters())
        weights: dict[tuple[str, ...], torch.Tensor] = {}
        for name, table in self.module_.named_parameters():
            _, inputs = INPUTS_OF_TABLES.get(name.partition("_")[0], ("", ()))
            if not inputs:
                continue
            if inputs not in weights:
                weights[inputs] = sum_of_weights(data, inputs, len(table))
            n_before = len(before.get(name, ()))
            table[n_before:][weights[inputs][n_before:] == 0] = 0

    def _continue_from(self, previous: Self, generator: torch.Generator) -> WarmStart:
        """Set the module to a larger copy of the previous one, and return its training state."""
        raise NotImplementedError

    def _snapshot(
        self, previous: Self | None, has_validation: bool, module: RatingModule, outcome: FitResult
    ) -> Self:
        """Make a fitted copy of this estimator with a module in the middle of its training."""
        fitted = copy(self)
        for name in ATTRIBUTES_OF_A_RUNNING_FIT & set(vars(fitted)):
            delattr(fitted, name)
        fitted.module_ = module
        fitted._record(outcome, previous, with_validation=has_validation)
        return fitted

    def _record(self, outcome: FitResult, previous: Self | None, *, with_validation: bool) -> None:
        """Set the fitted attributes that describe the training."""
        for name in {"net_", "validation_curve_"} & set(vars(self)):  # of an earlier fit
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
        """Make the solver from the parameters, with `changes`."""

    def _inputs(self, X, rows: slice = slice(None)) -> Inputs:
        """Make the arrays that the module takes for some rows."""
        users, items = (
            vocabulary.codes(values[rows], first_row=rows.start or 0)
            for vocabulary, values in self._id_columns(X)
        )
        return {"users": users, "items": items}

    def _id_columns(self, X) -> list[tuple[Vocabulary, Any]]:
        """Pair the vocabularies of users and items with the values of their columns."""
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
        """Make the tensors to train on."""
        # Weights of 1 change nothing. The copies are writable, as torch wants it.
        is_weighted = bool((weight != 1).any())
        return InteractionTensors(
            inputs, torch.tensor(y), torch.tensor(weight) if is_weighted else None
        )

    def _validation_data(
        self, inputs: Inputs, y: np.ndarray, weight: np.ndarray, training: InteractionTensors
    ) -> InteractionTensors:
        """Make the tensors for the validation loss."""
        return self._training_data(inputs, y, weight, None)

    def _new_rating_scale(self, y: np.ndarray, continuing: bool) -> tuple[float, float] | None:
        if self.rating_scale is None:
            return None
        if isinstance(self.rating_scale, str):
            low, high = float(y.min()), float(y.max())
            if continuing and self.rating_scale_ is not None:
                before = self.rating_scale_
                low, high = min(low, before[0]), max(high, before[1])
                if far := _far_ratings(y, *before):
                    warn(
                        f"The rating {far[0]:g} is far outside the rating scale so far, from "
                        f"{before[0]:g} to {before[1]:g}, and widens it. If it is an error, drop "
                        "it, and set the lowest and the highest rating, such as "
                        "rating_scale=(1, 5)."
                    )
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
        """Make the matrix of which user code (row) interacted with which item code (column)."""
        n_users, n_items = (len(v) + 1 for v in self.encoder_.vocabularies_)
        # Sorting single numbers takes half the time that csr_array needs for pairs.
        pairs = users * np.int64(n_items) + items
        pairs.sort()
        pairs = pairs[np.concatenate(([True], pairs[1:] != pairs[:-1]))]
        bounds = np.searchsorted(pairs, np.arange(n_users + 1) * np.int64(n_items))
        columns = (pairs % n_items).astype(np.int32)
        seen = csr_array(
            (np.ones(len(columns), bool), columns, bounds.astype(np.int32)), (n_users, n_items)
        )
        return self._with_previous_seen(seen, previous)

    def _with_previous_seen(self, seen: csr_array, previous: Self | None) -> csr_array:
        """Add the interactions of the fits that this fit continues."""
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
            available = ["cpu"]
            if torch.cuda.is_available():
                available += [f"cuda:{k}" for k in range(torch.cuda.device_count())]
            if torch.backends.mps.is_available():
                available.append("mps")
            raise ValueError(
                f"device={str(self.device)!r} is not available on this machine. Set one of: "
                f"{', '.join(available)}."
            )
        return torch.device(self.device)

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
        """Number of different pairs of a user and an item in the training data."""
        return self.seen_.nnz

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.categorical = True
        tags.input_tags.string = True
        # IDs have no order, and scikit-learn's check wants a function of numbers to be fitted.
        tags.regressor_tags.poor_score = True
        return tags


def _take(inputs: Inputs, rows: np.ndarray) -> Inputs:
    """Select rows of the module's inputs."""
    return {name: of_rows[rows] for name, of_rows in inputs.items()}


def _far_ratings(y: np.ndarray, low: float, high: float) -> list[float]:
    """Find ratings far outside of an earlier range, at its end of a wide gap between ratings."""
    # A gap of ten widths does not occur if the first ratings are 4.5 and 5, and the next one is
    # 0.5. Counts that grow by a factor have no such gap either, unless one is alone.
    values = np.unique(np.concatenate([[low, high], y]))
    first, last = (low, high) if low < high else (values[0], values[-1])
    ends, starts = values[1:], values[:-1]
    is_far_above = (starts >= high) & (starts > first) & (ends - starts > FAR * (starts - first))
    is_far_below = (ends <= low) & (ends < last) & (ends - starts > FAR * (last - ends))
    return [*ends[is_far_above].tolist(), *starts[is_far_below].tolist()]


def _count_unknown(inputs: Inputs) -> np.ndarray:
    """Count the rows with an unknown user and the rows with an unknown item."""
    return np.array([np.count_nonzero(inputs[name] == 0) for name in ("users", "items")])
