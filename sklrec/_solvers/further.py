"""Training on further ratings, in which earlier ratings keep their weight."""
# SPDX-License-Identifier: BSD-3-Clause

from typing import Any

import numpy as np
import torch
from skorch.callbacks import Callback
from torch import Tensor

from sklrec._solvers.base import WarmStart
from sklrec._solvers.fitted_loss import predicted, pseudo_errors
from sklrec._solvers.least_squares.biases import further_biases
from sklrec._solvers.penalties import LearnedPenalties
from sklrec._solvers.tensors import InteractionTensors, padded, sum_of_weights
from sklrec.modules._losses import Loss
from sklrec.modules._rating_module import RatingModule

# Weight of the prior of a bias, in ratings, if `alpha` is a number. Chosen on held-out parts of
# streams of four logs.
PRIOR_WEIGHT = 3.0


@torch.no_grad()
def update_biases(
    module: Any,
    data: InteractionTensors,
    n_ratings: dict[str, np.ndarray],  # earlier ones of each row, by side
    learned: LearnedPenalties | None,
    loss: Loss,
) -> None:
    """Add to mean and biases what explains the errors of further ratings."""
    predictions, ratings, _ = predicted(module, data)
    tables = [module.user_biases, module.item_biases]
    weights = [
        padded(n_ratings[side], table.detach().cpu().double())[1:].numpy()
        for side, table in zip(("user", "item"), tables, strict=True)
    ]
    penalties = PRIOR_WEIGHT, PRIOR_WEIGHT
    if learned is not None:
        penalties = learned.user_penalty, learned.item_penalty
    log = data.log(pseudo_errors(loss, predictions, ratings))
    mean, *changes = further_biases(log, (weights[0], weights[1]), penalties)
    module.global_mean += mean
    for table, values in zip(tables, changes, strict=True):
        table[1:] += torch.from_numpy(values / module.scale.item()).to(table)


class KeepEarlier(Callback):
    """After each epoch, move rows back by the share of their earlier ratings."""

    # An optimiser such as Adam moves a row by about the learning rate, whether it had no rating
    # before or a thousand. Chunks of ratings that are sorted by their size would then teach a
    # model the last ratings only. The square root of the share of the further ratings was as good
    # as five times the share, on streams in five orders. Layers that all ratings share move by
    # the share itself: with the root, a model of sequences forgot the earlier chunks.

    def __init__(self, data: InteractionTensors, previous: WarmStart, is_rowwise: bool):
        self.data, self.previous = data, previous
        self.is_rowwise = is_rowwise  # the optimiser itself counts earlier ratings

    @torch.no_grad()
    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        tables = [(n, p) for n, p in net.module_.named_parameters() if p.requires_grad]
        self.start_ = {name: (p.clone(), self._moved(net.module_, name, p)) for name, p in tables}

    @torch.no_grad()
    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        for name, (start, moved) in self.start_.items():
            table = net.module_.get_parameter(name)
            table.copy_(start.lerp(table, moved))

    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        del self.data, self.previous, self.start_

    def _moved(self, module: RatingModule, name: str, table: Tensor) -> Tensor | float:
        """Compute the part of the change of each row that is kept."""
        if module.has_biases and name.endswith("biases"):
            return 0.0  # `update_biases` computed them
        if self.is_rowwise:
            return 1.0
        side, inputs = module._tables_of_codes().get(name, ("", ()))
        if side not in self.previous.n_ratings:
            n = len(self.data)
            # Plain nets learn by steps what other models know from biases or histories.
            is_plain = not any(hasattr(module, name) for name in ("item_biases", "users"))
            share = n / (n + self.previous.weight)
            return share**0.5 if is_plain else share
        further = sum_of_weights(self.data, inputs, len(table))
        earlier = padded(self.previous.n_ratings[side], further)
        moved = (further / (further + earlier).clamp(min=1e-12)).sqrt()
        return moved.view(-1, *[1] * (table.ndim - 1)).to(table.dtype)
