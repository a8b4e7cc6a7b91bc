"""Settings of each epoch: penalties of rows, limits of steps, and a check of the loss."""
# SPDX-License-Identifier: BSD-3-Clause

from typing import Any

import torch
from skorch.callbacks import Callback
from torch import Tensor

from sklrec._solvers.penalties import RowPenalties
from sklrec._solvers.rowwise import RowwiseSGD
from sklrec.modules._pair_module import Penalty
from sklrec.modules._svdpp import OTHER_SIDE, TERM_PENALTY, SVDPlusPlus

# Factor on the loads of biases and terms if there are SVD++ terms. Both sides' biases and terms
# move at once and correct the same errors, so that each must move less.
TERMS_LOAD_FACTOR = 2.5
# A training has diverged if its loss is this many times that of its start or of the mean rating.
DIVERGED = 4.0


class Diverged(Exception):
    """A training whose loss is far above that of its start, or not finite."""


class RowLoads:
    """Changes of the gradients of the rows of a matrix factorisation when they move by 1."""

    # For each rating in a batch this is the squared norm of the partner's row, plus the penalty.
    # The norms are those at the start of an epoch. Within an epoch a norm may grow to the size of
    # the targets: 1, or more without a global mean.

    def __init__(
        self,
        data: Any,
        counts: dict[str, Tensor],  # number of ratings of each row, by side
        shares: dict[str, float],  # of the ratings of a row that come in one batch
        term_share: float,  # of all ratings between two steps of the terms
        size: float,  # of the targets
    ):
        self._data, self._counts, self._shares = data, counts, shares
        self._term_share, self._size = term_share, size

    def find(self, module: Any, alpha: Penalty) -> dict[str, Tensor]:
        """Compute the loads of the rows of all tables, by the names of the parameters."""
        has_terms = isinstance(module, SVDPlusPlus)
        own, path = (module.own, "own.") if has_terms else (module, "")
        factor = TERMS_LOAD_FACTOR if has_terms else 1.0
        norms = module.squared_norms()

        def penalty(table: str, of_number: float = 1.0) -> float | Tensor:
            return alpha[table] if isinstance(alpha, dict) else of_number * alpha

        loads, of_rows = {}, {}
        for side, other in OTHER_SIDE.items():
            n, mean_norms = self._counts[side], self._mean_norms(side, norms[other])
            of_rows[side] = n * mean_norms
            # A batch that moves a row holds at least one of its ratings.
            in_batch = torch.maximum(n * self._shares[side], n.clamp(max=1))
            of_rating = mean_norms + penalty(f"{side}_factors")
            loads[f"{path}{side}_factors.weight"] = in_batch * of_rating
            if own.biased:
                of_rating = 1 + penalty(f"{side}_biases")
                loads[f"{path}{side}_biases"] = factor * in_batch * of_rating
        if has_terms:
            for side, bound in module.term_loads(of_rows).items():
                n = self._counts[OTHER_SIDE[side]]
                columns = [
                    (bound + n * penalty(f"{side}_{name}", TERM_PENALTY)).unsqueeze(1)
                    for name in ("terms", "bias_terms")[: 1 + own.biased]
                ]
                columns[0] = columns[0].expand(-1, own.n_factors)
                of_terms = torch.cat(columns, 1)  # (n_rows, n_factors + biased)
                loads[f"{side}_terms"] = factor * self._term_share * of_terms
        return loads

    def _mean_norms(self, side: str, norms: Tensor) -> float | Tensor:
        """Mean squared norm of the partners of each row, each at least the size of the targets."""
        if bool((norms <= self._size).all()):
            return self._size
        codes, n_rows = f"{side}s", len(self._counts[side])
        sums = self._data.row_weights(codes, n_rows, norms.clamp(min=self._size))
        means = sums / self._data.row_weights(codes, n_rows)
        return means.nan_to_num(self._size)  # of rows that have only earlier ratings


class EpochSettings(Callback):
    """Set penalties and limits of steps for each epoch, and raise if the training diverges."""

    def __init__(
        self,
        penalties: RowPenalties | None,
        loads: RowLoads | None,
        typical_loss: float,
        losses: list[float],  # of the epochs of earlier fits
    ):
        self.penalties, self.loads, self.typical_loss = penalties, loads, typical_loss
        self.losses = list(losses)
        self.largest_loss = float("inf")

    def on_epoch_begin(self, net, **kwargs):
        if self.penalties is not None:
            net.alpha = self.penalties.after(self.losses)
        if self.loads is not None:
            assert isinstance(net.optimizer_, RowwiseSGD)
            net.optimizer_.set_loads(self.loads.find(net.module_, net.alpha))

    def on_epoch_end(self, net, **kwargs):
        self.losses.append(net.history[-1]["train_loss"])
        if self.largest_loss == float("inf"):
            # The first batch was rated before any step. A start may be far off on purpose.
            at_start = net.history[-1, "batches", 0, "train_loss"]
            self.largest_loss = DIVERGED * max(self.typical_loss, at_start)
        if not self.losses[-1] <= self.largest_loss:
            raise Diverged

    def on_train_end(self, net, **kwargs):
        self.penalties = self.loads = None  # so that a pickle of the net does not hold the data
        net.alpha = 0.0
