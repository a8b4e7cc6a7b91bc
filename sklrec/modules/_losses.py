"""Losses of predictions, which training minimises."""
# SPDX-License-Identifier: BSD-3-Clause

import inspect
from abc import abstractmethod
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Efficiency of Huber's estimator for normal errors is 95 % with this factor on the standard
# deviation (Huber 1964, doi:10.1214/aoms/1177703732).
HUBER_FACTOR = 1.345
# Standard deviation of a normal distribution over its median absolute deviation.
ROBUST_STD = 1.4826
# Width of the kink of the pinball loss in training, as a share of the standard deviation of the
# noise, and factor on its slopes. Chosen on held-out parts of the training data of several logs.
SMOOTHING = 1 / 7
SLOPES = 1.5
# Number of steps of a golden-section search: it narrows an interval to 1e-9 of its width.
N_SEARCH_STEPS = 44
# Number of ratings that a function of the user is tried on.
N_TRIED = 64

WANTED = (
    "loss must be a function of predictions and ratings, two tensors of shape (n,), that returns "
    "the loss of each rating in a tensor of shape (n,), or one number for all, and that torch can "
    "differentiate, such as torch.nn.SmoothL1Loss() or "
    "lambda prediction, target: (prediction - target).abs() ** 1.5"
)


class Loss:
    """Loss of each prediction, in units of the ratings, and what training minimises."""

    # Training minimises factor * values / scale^2. The factor gives this the size of a squared
    # error, so that penalties and limits of steps suit all losses.
    factor: float = 1.0

    @abstractmethod
    def values(self, predictions: Tensor, ratings: Tensor) -> Tensor:  # (n,)
        """Compute the loss of each prediction, in units of the ratings."""

    def of_error(self, size: float) -> float:
        """Compute the mean loss of errors of this size in both directions."""
        errors = torch.tensor([size, -size], dtype=torch.float64)
        return self.mean(errors, torch.zeros_like(errors)).item()

    def fitted(self, errors: Tensor, noise: float) -> Self:
        """Choose constants from errors and from the standard deviation of the noise."""
        return self

    def objective(
        self,
        predictions: Tensor,
        ratings: Tensor,
        scale: Tensor,
        dtype: torch.dtype = torch.float32,
    ) -> Tensor:  # (n,)
        """Compute what training minimises, in squared units of the scale."""
        return (self.values(predictions, ratings) * (self.factor / scale.square())).to(dtype)

    def half_slopes(self, errors: Tensor, ratings: Tensor, scale: Tensor) -> Tensor:  # (n,)
        """Compute half the derivatives of the objective by predictions in units of the scale.

        `errors` are predictions minus ratings, in units of the scale."""
        with torch.enable_grad():
            predictions = torch.addcmul(ratings, scale, errors.to(ratings)).requires_grad_()
            total = self.values(predictions, ratings).sum()
            (slopes,) = torch.autograd.grad(total, predictions)
        return (slopes * (self.factor / 2 / scale)).to(errors)

    def mean(self, predictions: Tensor, ratings: Tensor, weights: Tensor | None = None) -> Tensor:
        """Compute the weighted mean loss, in units of the ratings."""
        values = self.values(predictions, ratings)
        return values.mean() if weights is None else (values * weights).sum() / weights.sum()

    def minimiser(
        self, ratings: Tensor, weights: Tensor | None = None, predictions: Tensor | None = None
    ) -> float:
        """Find the constant that gives the least mean loss, or what to add to predictions."""
        predictions = torch.zeros_like(ratings) if predictions is None else predictions
        low, high = (v.item() for v in torch.aminmax(ratings - predictions))
        golden = (5**0.5 - 1) / 2

        def loss(constant: float) -> float:
            return self.mean(predictions + constant, ratings, weights).item()

        a, b = high - golden * (high - low), low + golden * (high - low)
        of_a, of_b = loss(a), loss(b)
        for _ in range(N_SEARCH_STEPS):
            if of_a <= of_b:
                high, b, of_b = b, a, of_a
                a = high - golden * (high - low)
                of_a = loss(a)
            else:
                low, a, of_a = a, b, of_b
                b = low + golden * (high - low)
                of_b = loss(b)
        return (low + high) / 2


@dataclass(frozen=True)
class SquaredError(Loss):
    """Squared error."""

    def values(self, predictions, ratings):
        return (predictions - ratings).square()

    def objective(self, predictions, ratings, scale, dtype=torch.float32):
        return ((predictions - ratings) / scale).to(dtype).square()

    def half_slopes(self, errors, ratings, scale):
        return errors

    def minimiser(self, ratings, weights=None, predictions=None):
        errors = ratings if predictions is None else ratings - predictions
        mean = errors.mean() if weights is None else errors.dot(weights.to(errors)) / weights.sum()
        return mean.item()


@dataclass(frozen=True)
class PinballLoss(Loss):
    r"""Error times the quantile if a prediction is too low, else times 1 minus the quantile."""

    # Koenker, Bassett (1978), doi:10.2307/1913643. Training smooths the kink at 0, as He et al.
    # (2023), doi:10.1016/j.jeconom.2021.07.010: the slope is that of a logistic function.
    # Errors are larger for new ratings than for the training ratings. Without the
    # smoothing, which is as if predictions had errors of its width, the quantiles 0.1 and 0.9 held
    # 73 to 78 % of new ratings between them in place of 80 %.
    quantile: float
    noise: float = 1.0  # standard deviation of the noise, in units of the ratings

    def fitted(self, errors, noise):
        return replace(self, noise=noise)

    @property
    def factor(self) -> float:  # type: ignore[override]
        """Factor that gives the slopes about the variance of squared-error slopes."""
        # The slopes of the pinball loss are -q with probability q, and 1 - q otherwise. The factor
        # lies between the one of equal variance, and that of equal curvature at normal errors.
        q, normal = self.quantile, NormalDist()
        return SLOPES * 2 * self.noise * normal.pdf(normal.inv_cdf(q)) / (q * (1 - q))

    @property
    def _width(self) -> float:
        return SMOOTHING * self.noise

    def values(self, predictions, ratings):
        errors = predictions - ratings
        return torch.where(errors > 0, 1 - self.quantile, self.quantile) * errors.abs()

    def objective(self, predictions, ratings, scale, dtype=torch.float32):
        errors = predictions - ratings
        smooth = self._width * F.softplus(errors / self._width) - self.quantile * errors
        return (smooth * (self.factor / scale.square())).to(dtype)

    def half_slopes(self, errors, ratings, scale):
        shares = torch.sigmoid(errors * (scale / self._width).to(errors))
        return (shares - self.quantile) * (self.factor / 2 / scale).to(errors)

    def minimiser(self, ratings, weights=None, predictions=None):
        errors = ratings if predictions is None else ratings - predictions
        return weighted_quantile(errors, self.quantile, weights)


@dataclass(frozen=True)
class AbsoluteError(PinballLoss):
    """Absolute error: twice the pinball loss of the median."""

    quantile: float = 0.5

    def values(self, predictions, ratings):
        return (predictions - ratings).abs()


@dataclass(frozen=True)
class HuberLoss(Loss):
    """Half the squared error up to a size of the error, and linear beyond it."""

    delta: float = float("inf")  # in units of the ratings

    @property
    def factor(self) -> float:  # type: ignore[override]
        """Factor that gives the curvature of the squared error at normal errors."""
        return 2 / 0.82  # 82 % of them are not cut

    def fitted(self, errors, noise):
        std = ROBUST_STD * (errors - errors.median()).abs().median().item()
        std = std or errors.std(correction=0).item() or noise
        return replace(self, delta=HUBER_FACTOR * std)

    def values(self, predictions, ratings):
        size = (predictions - ratings).abs()
        inside = size.clamp(max=self.delta)
        return inside * (size - inside / 2)

    def half_slopes(self, errors, ratings, scale):
        delta = self.delta / scale.item()
        return errors.clamp(-delta, delta) * (self.factor / 2)


class CallableLoss(Loss):
    """Loss that a function of predictions and ratings computes."""

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor]):
        self.function = function
        self._of_each = _without_reduction(function)
        self._tried = 1.0  # size of the loss when it was tried

    def __repr__(self) -> str:
        name = getattr(self.function, "__qualname__", type(self.function).__name__)
        return f"CallableLoss({name})"  # without the address, which differs between processes

    def of_error(self, size):
        return self._tried  # a loss need not be a function of errors

    def to(self, device: torch.device) -> None:
        """Move a module to the device of the training."""
        if isinstance(self._of_each, nn.Module):
            self._of_each.to(device)

    def values(self, predictions, ratings):
        values = self._of_each(predictions, ratings)
        return values.expand(ratings.shape) if values.ndim == 0 else values

    def check(self, predictions: Tensor, ratings: Tensor, *, has_weights: bool) -> None:
        """Try the function on a few ratings, and raise if it cannot be minimised."""
        predictions, ratings = predictions[:N_TRIED].detach().clone(), ratings[:N_TRIED]
        with torch.enable_grad():
            predictions.requires_grad_()
            try:
                values = self._of_each(predictions, ratings)
            except Exception as error:
                kind = TypeError if isinstance(error, TypeError) else ValueError
                raise kind(
                    f"{WANTED}. {self.function!r} raised {type(error).__name__}: {error}"
                ) from error
            if not isinstance(values, Tensor):
                raise TypeError(f"{WANTED}. {self.function!r} returned {values!r:.100}.")
            if values.ndim > 0 and values.shape != ratings.shape:
                raise ValueError(
                    f"{WANTED}. {self.function!r} returned the shape {tuple(values.shape)} for "
                    f"{len(ratings)} ratings."
                )
            if values.ndim == 0 and has_weights:
                raise ValueError(
                    f"{self.function!r} returns one number for a batch, which sample_weight "
                    "cannot weight. Let the loss return a tensor of shape (n,), or leave "
                    "sample_weight out."
                )
            if not values.requires_grad:
                raise ValueError(
                    f"{WANTED}. {self.function!r} returned a tensor without a gradient: compute "
                    "it from the prediction by functions of torch."
                )
            (slopes,) = torch.autograd.grad(values.sum(), predictions)
        for name, found in (("a loss", values), ("a gradient", slopes)):
            if not bool(found.isfinite().all()):
                raise ValueError(
                    f"{WANTED}. {self.function!r} gave {name} that is not finite, for predictions "
                    f"such as {predictions[0].item():g} of ratings such as {ratings[0].item():g}."
                )
        self._tried = abs(values.mean().item()) or 1.0

    def resize(self, predictions: Tensor, ratings: Tensor) -> None:
        """Set the factor that gives the slopes the mean square of squared-error slopes."""
        self.factor = 1.0
        errors = predictions - ratings
        slopes = self.half_slopes(errors, ratings, torch.ones_like(ratings[0]))
        ratio = (errors.norm() / slopes.norm()).item()
        self.factor = ratio if 0 < ratio < float("inf") else 1.0


def _without_reduction(function: Any) -> Callable[[Tensor, Tensor], Tensor]:
    """Let a loss of torch return the loss of each rating, and not their mean."""
    if isinstance(function, nn.Module):
        function = deepcopy(function)
        if hasattr(function, "reduction"):
            function.reduction = "none"
        return function
    try:
        has_reduction = "reduction" in inspect.signature(function).parameters
    except (TypeError, ValueError):  # of some functions in C
        has_reduction = False
    if not has_reduction:
        return function
    return lambda predictions, ratings: function(predictions, ratings, reduction="none")


def weighted_quantile(values: Tensor, quantile: float, weights: Tensor | None = None) -> float:
    """Compute the middle of the values that minimise the weighted pinball loss."""
    values, order = values.sort()
    weights = torch.ones_like(values) if weights is None else weights.to(values)[order]
    shares = weights.cumsum(0) / weights.sum()
    # Sums that should be equal differ by rounding.
    bounds = torch.tensor([quantile - 1e-9, quantile + 1e-9], dtype=shares.dtype).to(shares)
    places = torch.searchsorted(shares, bounds).clamp(max=len(values) - 1)
    return values[places].mean().item()


SQUARED_ERROR = SquaredError()
LOSSES = {"squared_error": SQUARED_ERROR, "absolute_error": AbsoluteError(), "huber": HuberLoss()}


def loss_of(loss: Any, quantile: float) -> Loss:
    """Make the loss of a parameter `loss`."""
    if callable(loss):
        return CallableLoss(loss)
    return PinballLoss(quantile) if loss == "quantile" else LOSSES[loss]
