"""The constants of a loss and of a model that suit the training data."""
# SPDX-License-Identifier: BSD-3-Clause

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from sklrec._solvers.base import WarmStart
from sklrec._solvers.penalties import LearnedPenalties
from sklrec._solvers.stored import StoredInteractions
from sklrec.modules import MatrixFactorization
from sklrec.modules._losses import CallableLoss, Loss, SquaredError

# Number of rows that are predicted at once, and of rows in files that constants come from. Files
# hold the rows in random order.
ROWS_AT_ONCE = 2**14
LARGEST_SAMPLE = 2**20


@torch.no_grad()
def fit_loss(
    loss: Loss,
    module: Any,
    data: Any,
    penalties: LearnedPenalties | None,
    previous: WarmStart | None,
) -> tuple[Loss, LearnedPenalties | None]:
    """Give a loss its constants, set or move the constant of a module, and measure the start."""
    name = repr(loss)
    is_start = previous is None or (penalties is not None and penalties.loss_name != name)
    if isinstance(loss, SquaredError) and (previous is None or not is_start):
        return loss, penalties
    # A new module that knows nothing yet starts at a constant.
    is_empty = previous is None and penalties is None and not module.has_static_part
    mean = module.global_mean if is_empty else None
    predictions, ratings, weights = predicted(module, data, mean)
    noise = 0.0 if penalties is None else penalties.noise_variance**0.5
    errors = ratings - predictions
    fitted = loss.fitted(errors, noise or module.scale.item())
    if isinstance(fitted, CallableLoss):
        fitted.to(ratings.device)
        fitted.check(predictions, ratings, has_weights=weights is not None)
        fitted.resize(predictions, ratings)
    constant: Tensor = getattr(module, module.constant)
    if is_start:
        step = fitted.minimiser(ratings, weights, predictions)
        constant += step
        if is_empty and isinstance(module, MatrixFactorization) and not module.biased:
            module.start_at(constant)
        if penalties is not None:
            of_start = fitted.mean(predictions + step, ratings, weights).item()
            penalties = replace(penalties, loss=max(0.0, of_start), loss_name=name)
    elif not module.has_biases:  # otherwise `update_biases` moves the constant
        assert previous is not None
        before = predictions if module.constant == "offset" else constant.expand_as(ratings)
        steps = pseudo_errors(fitted, before, ratings)
        step = SquaredError().minimiser(steps, weights)  # the mean
        constant += step * len(data) / (len(data) + previous.weight)
    return fitted, penalties


def pseudo_errors(loss: Loss, predictions: Tensor, ratings: Tensor) -> Tensor:
    """Compute the errors whose squares have the slopes of a loss, in units of the ratings."""
    # A step of least squares on them is a step of Newton's method. At a minimum of the loss their
    # mean is 0, for any number of ratings.
    return -loss.half_slopes(predictions - ratings, ratings, torch.ones_like(ratings[0]))


@torch.no_grad()
def predicted(
    module: Any, data: Any, constant: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return the predictions, or a constant in their place, with the ratings and weights."""
    module.eval()
    found: list[tuple[Any, ...]] = []
    n_left = LARGEST_SAMPLE if isinstance(data, StoredInteractions) else len(data)
    for inputs, ratings in data.batches(ROWS_AT_ONCE):
        weights = inputs.pop("sample_weight", None)
        of_batch = module(**inputs) if constant is None else constant.expand_as(ratings)
        found.append((of_batch, ratings, weights))
        if (n_left := n_left - len(ratings)) <= 0:
            break
    predictions, of_all, weights = zip(*found, strict=True)
    has_weights = weights[0] is not None
    return torch.cat(predictions), torch.cat(of_all), torch.cat(weights) if has_weights else None
