"""Penalties that are learned from the ratings, and settings of each epoch that follow them."""
# SPDX-License-Identifier: BSD-3-Clause

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from skorch.callbacks import Callback
from torch import Tensor

from sklrec._data.features.columns import N_BINS
from sklrec._solvers.least_squares.biases import Log, fit_biases
from sklrec._solvers.rowwise import RowwiseSGD
from sklrec._solvers.tensors import InteractionTensors
from sklrec.modules._pair_module import Penalty
from sklrec.modules._svdpp import OTHER_SIDE, TERM_PENALTY, SVDPlusPlus

# Penalty on the factors of a row with n ratings: s (A n + C). s is the variance of the noise, and
# falls with the cube of the training error, to `LEAST` of it.
PER_RATING = 0.075
PER_ROW = 4.5
PER_ROW_OF_BIAS_TERMS = 30.0
POWER = 1.5  # of the mean squared error
LEAST = 0.03
N_FIRST_EPOCHS = 2
# The same of a dense net, for users, items, values and bins of side features. s falls with the
# root of the mean squared error.
DENSE_PER_RATING = 0.07
DENSE_PER_ROW = 7.0
DENSE_POWER = 0.5
# Factor on the loads of `RowwiseSGD` if there are SVD++ terms. Own rows and terms of both sides
# move at once and correct the same errors, so that each must move less.
TERMS_LOAD_FACTOR = 2.5
# A training has diverged if its loss is this many times that of its start.
DIVERGED = 4.0


class Diverged(Exception):
    """A training whose loss is far above that of its start, or not finite."""


@dataclass(frozen=True)
class LearnedPenalties:
    """What a fit of biases says about the ratings, in squared units of the ratings."""

    user_penalty: float  # of a bias: variance of the noise over that of the biases
    item_penalty: float
    noise_variance: float
    loss: float  # mean squared training error of the biases
    n_ratings: int  # from which the values were learned


@torch.no_grad()
def learn_penalties(module: Any, data: InteractionTensors, *, start: bool) -> LearnedPenalties:
    """Fit biases to the ratings; with `start`, set mean and biases of a module to them."""
    columns = data.X["users"] - 1, data.X["items"] - 1, data.y, data.weights
    log = Log(*(values.cpu().numpy() for values in columns))
    (mean, *biases), found = fit_biases(log, module.n_users, module.n_items)
    if start:
        module.global_mean.fill_(mean)
        for side, values in zip(OTHER_SIDE, biases, strict=True):
            table = getattr(module, f"{side}_biases")
            table[1:] = torch.from_numpy(values / module.scale.item()).to(table)
    errors = log.y - mean - biases[0][log.users] - biases[1][log.items]
    return LearnedPenalties(
        found.user_penalty,
        found.item_penalty,
        found.noise_variance,
        float(np.average(errors**2, weights=log.weights)),
        len(log.y),
    )


class RowPenalties:
    """Penalties of the rows of a matrix factorisation, once for each of their ratings."""

    _power = POWER

    def __init__(
        self,
        learned: LearnedPenalties,
        counts: dict[str, Tensor],  # number of ratings of each row, by side
        scale: float,
    ):
        self.learned = learned
        self._counts = {side: n.clamp(min=1e-6) for side, n in counts.items()}
        self._noise = learned.noise_variance / scale**2

    def after(self, losses: list[float]) -> dict[str, Tensor]:
        """Penalties of the tables after epochs with these losses."""
        strength = self._noise
        if len(losses) >= N_FIRST_EPOCHS and self.learned.loss > 0:
            strength *= min(1.0, max(LEAST, (losses[-1] / self.learned.loss) ** self._power))
        of_biases = {"user": self.learned.user_penalty, "item": self.learned.item_penalty}
        found = {f"{side}_biases": c / self._counts[side] for side, c in of_biases.items()}
        return found | self._of_factors(strength)

    def _of_factors(self, strength: float) -> dict[str, Tensor]:
        """Penalties of the tables of factors."""
        found = {}
        for side, other in OTHER_SIDE.items():
            n = self._counts[side]
            found[f"{side}_factors"] = strength * (PER_RATING + PER_ROW / n)
            for name, of_row in (("terms", PER_ROW), ("bias_terms", PER_ROW_OF_BIAS_TERMS)):
                found[f"{other}_{name}"] = TERM_PENALTY * strength * (PER_RATING + of_row / n)
        return found


class DensePenalties(RowPenalties):
    """Penalties of the rows of a dense net, once for each of their ratings."""

    _power = DENSE_POWER

    def _of_factors(self, strength: float) -> dict[str, Tensor]:
        # The numbers of a side feature are spread evenly over its bins.
        counts = self._counts | {"bin": self._counts["user"].sum() / N_BINS}
        return {
            f"{side}_factors": strength * (DENSE_PER_RATING + DENSE_PER_ROW / n)
            for side, n in counts.items()
        }


class RowLoads:
    """Changes of the gradients of the rows of a matrix factorisation when they move by 1."""

    # For each rating in a batch this is the squared norm of the partner's row, plus the penalty.
    # The norms are those at the start of an epoch. Within an epoch a norm may grow to the size of
    # the targets: 1, or more without a global mean.

    def __init__(
        self,
        data: Any,
        counts: dict[str, Tensor],
        shares: dict[str, float],  # of the ratings of a row that come in one batch
        term_share: float,  # of all ratings between two steps of the terms
        floor: float,
    ):
        self._data, self._counts, self._shares = data, counts, shares
        self._term_share, self._floor = term_share, floor

    def find(self, module: Any, alpha: Penalty) -> dict[str, Tensor]:
        """Loads of the rows of all tables."""
        has_terms = isinstance(module, SVDPlusPlus)
        own = module.own if has_terms else module
        norms = module.squared_norms()
        factor = TERMS_LOAD_FACTOR if has_terms else 1.0
        path = "own." if has_terms else ""

        def penalty(name: str, of_float: float = 1.0) -> float | Tensor:
            return alpha[name] if isinstance(alpha, dict) else of_float * alpha

        loads, of_rows = {}, {}
        for side, other in OTHER_SIDE.items():
            n, share = self._counts[side], self._shares[side]
            of_rows[side] = n * self._mean_norms(side, norms[other])
            of_factors = of_rows[side] + n * penalty(f"{side}_factors")
            loads[f"{path}{side}_factors.weight"] = factor * share * of_factors
            if own.biased:
                of_biases = n * (1 + penalty(f"{side}_biases"))
                loads[f"{path}{side}_biases"] = factor * share * of_biases
        if has_terms:
            for side, bound in module.term_loads(of_rows).items():
                of_terms = bound + self._counts[OTHER_SIDE[side]] * penalty(
                    f"{side}_terms", TERM_PENALTY
                )
                loads[f"{side}_terms"] = factor * self._term_share * of_terms
        return loads

    def _mean_norms(self, side: str, norms: Tensor) -> float | Tensor:
        """Mean squared norm of the partners of each row, each at least the floor."""
        if not bool((norms > self._floor).any()):
            return self._floor
        sums = self._data.row_weights(f"{side}s", len(self._counts[side]), norms.clamp(self._floor))
        return sums / self._data.row_weights(f"{side}s", len(sums)).clamp(min=1e-6)


class EpochSettings(Callback):
    """Set penalties and limits of steps for each epoch, and raise if the training diverges."""

    def __init__(
        self,
        penalties: RowPenalties | None,
        loads: RowLoads | None,
        largest_loss: float,
        losses: list[float],  # of the epochs of earlier fits
    ):
        self.penalties, self.loads, self.largest_loss = penalties, loads, largest_loss
        self.losses = list(losses)

    def on_epoch_begin(self, net, **kwargs):
        if self.penalties is not None:
            net.alpha = self.penalties.after(self.losses)
        if self.loads is not None:
            assert isinstance(net.optimizer_, RowwiseSGD)
            net.optimizer_.set_loads(self.loads.find(net.module_, net.alpha))

    def on_epoch_end(self, net, **kwargs):
        self.losses.append(net.history[-1]["train_loss"])
        if not self.losses[-1] <= self.largest_loss:
            raise Diverged
