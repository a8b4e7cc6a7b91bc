"""Penalties that are learned from the ratings, and the settings of each epoch."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from skorch.callbacks import Callback
from torch import Tensor

from sklrec._data.features.columns import N_BINS
from sklrec._solvers.least_squares.biases import Variances, fit_biases
from sklrec._solvers.least_squares.pairs import Log, RatedPairs, Solution
from sklrec._solvers.rowwise import RowwiseSGD
from sklrec._solvers.stored import StoredInteractions
from sklrec._solvers.tensors import PARTNERS as SIDES
from sklrec._utils.state.kinds import Int, Plain
from sklrec.modules._losses import SQUARED_ERROR
from sklrec.modules._matrix_factorization import OTHER_SIDE
from sklrec.modules._rating_module import Penalty
from sklrec.modules._svdpp import TERM_PENALTY, SVDPlusPlus

# Penalty on the factors of a row with n ratings: s (A n + C). s is the variance of the noise, and
# falls with a power of the mean squared training error, to `LEAST` of it. The terms of SVD++ have
# the same with larger A and C.
PER_RATING = 0.1
PER_ROW = {False: 1.5, True: 3.0}  # without and with SVD++ terms
PER_RATING_OF_TERMS = 0.5
PER_ROW_OF_TERMS = {"terms": 100.0, "bias_terms": 150.0}
# The power for `RowwiseSGD`. Adam fits the training ratings so closely that s has to stay.
POWER, POWER_OF_OTHERS = 1.5, 0.0
LEAST = 0.03
N_FIRST_EPOCHS = 2
# The same of a dense net, for users, items, values and bins of side features. s falls with the
# root of the mean squared error.
DENSE_PER_RATING = 0.07
DENSE_PER_ROW = 7.0
DENSE_POWER = 0.5
# Penalty on the layers for each rating, times s. Large layers would let small embeddings have
# large effects, at little penalty.
DENSE_LAYERS = 1e-4
# Ratings in files: largest number of them, as whole users, that penalties are learned from, and
# passes over all of them that compute the biases.
LEARNED_FROM = 100_000
N_PASSES = 6
# Factor on the loads of biases and terms if there are SVD++ terms. Both sides' biases and terms
# move at once and correct the same errors, so that each must move less.
TERMS_LOAD_FACTOR = 2.5
# A training has diverged if its loss is this many times that of its start or of the mean rating.
DIVERGED = 4.0


@dataclass(frozen=True)
class LearnedPenalties:
    """What a fit of biases says about the ratings, in squared units of the ratings."""

    user_penalty: float  # of a bias: variance of the noise over that of the biases
    item_penalty: float
    noise_variance: float
    loss: float  # mean training loss of the biases, in units of the ratings
    n_ratings: int  # from which the values were learned
    loss_name: str = repr(SQUARED_ERROR)

    _state = {
        **dict.fromkeys(
            ("user_penalty", "item_penalty", "noise_variance", "loss"), Plain(float, low=0)
        ),
        "n_ratings": Int(),
        "loss_name": Plain(str),
    }


@torch.no_grad()
def learn_penalties(module: Any, data: Any, *, start: bool) -> LearnedPenalties:
    """Fit biases to the ratings; with `start`, set mean and biases of a module to them."""
    if isinstance(data, StoredInteractions):
        (mean, *biases), found, loss = _fit_stored(data, module.n_users, module.n_items)
    else:
        pairs = RatedPairs.of(data.log(), (module.n_users, module.n_items))
        solution, found = fit_biases(pairs)
        loss = pairs.mean_square(solution)
        mean, *biases = solution
    if start:
        module.global_mean.fill_(mean)
        for side, values in zip(OTHER_SIDE, biases, strict=True):
            table = getattr(module, f"{side}_biases")
            table[1:] = torch.from_numpy(values / module.scale.item()).to(table)
    return LearnedPenalties(
        found.user_penalty, found.item_penalty, found.noise_variance, loss, len(data)
    )


def _fit_stored(
    data: StoredInteractions, n_users: int, n_items: int
) -> tuple[Solution, Variances, float]:
    """Fit biases to ratings in files, with the penalties of a part of the users."""
    sizes = n_users, n_items
    n_ratings = [
        data.row_weights(name, n + 1)[1:].double().numpy()
        for name, n in zip(SIDES, sizes, strict=True)
    ]
    order = np.random.RandomState(0).permutation(n_users)
    n_read = max(1, int((np.cumsum(n_ratings[0][order]) <= LEARNED_FROM).sum()))
    codes = np.full(n_users, -1)
    codes[order[:n_read]] = np.arange(n_read)
    parts = []
    for log in data.logs():
        rows = codes[log.users] >= 0
        parts.append([codes[log.users[rows]], *(values[rows] for values in log[1:])])
    part = Log(*map(np.concatenate, zip(*parts, strict=True)))
    (mean, *_), found = fit_biases(RatedPairs.of(part, (n_read, n_items)))
    penalties = found.user_penalty, found.item_penalty
    # Each pass solves for the biases of one side, and for the mean.
    biases, loss = [np.zeros(n) for n in sizes], 0.0
    for step in range(N_PASSES + 1):
        side = (step + 1) % 2  # items first
        sums, squares, total = np.zeros(sizes[side]), 0.0, 0.0
        for log in data.logs():
            weighted = log.weights * (errors := _errors(log, (mean, biases[0], biases[1])))
            sums += np.bincount(log[side], weighted, sizes[side])
            squares, total = squares + weighted @ errors, total + log.weights.sum()
        loss = squares / total
        if step < N_PASSES:
            n = n_ratings[side]
            mean += (step_of_mean := sums.sum() / total)
            sums += n * (biases[side] - step_of_mean)
            biases[side] = sums / (n + penalties[side])
    return (mean, biases[0], biases[1]), found, float(loss)


def _errors(log: Log, solution: Solution) -> np.ndarray:
    mean, user, item = solution
    return log.y - mean - user[log.users] - item[log.items]


class RowPenalties:
    """Penalties of the rows of all tables, once for each of their ratings."""

    def __init__(
        self,
        learned: LearnedPenalties,
        counts: dict[str, Tensor],  # number of ratings of each row, by side
        scale: float,
        power: float,  # of the mean loss that the strength falls with
        of_factors: Callable[[dict[str, Tensor], float], dict[str, Tensor]],
    ):
        self.learned, self._power, self._of_factors = learned, power, of_factors
        self._counts = {side: n.clamp(min=1e-6) for side, n in counts.items()}
        self._noise = learned.noise_variance / scale**2

    def after(self, losses: list[float]) -> dict[str, Tensor]:
        """Penalties of the tables after epochs with these losses."""
        strength = self._noise
        if len(losses) >= N_FIRST_EPOCHS and self.learned.loss > 0:
            share = max(0.0, losses[-1]) / self.learned.loss
            strength *= min(1.0, max(LEAST, share**self._power))
        of_biases = {"user": self.learned.user_penalty, "item": self.learned.item_penalty}
        found = {f"{side}_biases": c / self._counts[side] for side, c in of_biases.items()}
        return found | self._of_factors(self._counts, strength)


def of_factors(
    counts: dict[str, Tensor], strength: float, *, has_terms: bool
) -> dict[str, Tensor]:
    """Compute the penalties of the factors of a matrix factorisation, and of SVD++ terms."""
    found = {}
    for side, other in OTHER_SIDE.items():
        n = counts[side]
        found[f"{side}_factors"] = strength * (PER_RATING + PER_ROW[has_terms] / n)
        for name, of_row in PER_ROW_OF_TERMS.items():
            found[f"{other}_{name}"] = strength * (PER_RATING_OF_TERMS + of_row / n)
    return found


def of_embeddings(counts: dict[str, Tensor], strength: float) -> dict[str, Tensor]:
    """Compute the penalties of the embeddings and layers of a dense net."""
    # The numbers of a side feature are spread evenly over its bins.
    n_ratings = counts["user"].sum()
    found = {
        f"{side}_factors": strength * (DENSE_PER_RATING + DENSE_PER_ROW / n)
        for side, n in (counts | {"bin": n_ratings / N_BINS}).items()
    }
    return found | {"layers": torch.full_like(n_ratings, strength * DENSE_LAYERS)}


class Diverged(Exception):
    """A training whose loss is far above that of its start, or not finite."""


@dataclass(frozen=True)
class RowLoads:
    """Changes of the gradients of the rows of a matrix factorisation when they move by 1."""

    # For each rating in a batch this is the squared norm of the partner's row, plus the penalty.
    # The norms are those at the start of an epoch. Within an epoch a norm may grow to the size of
    # the targets: 1, or more without a global mean.

    data: Any
    counts: dict[str, Tensor]  # number of ratings of each row, by side
    shares: dict[str, float]  # of the ratings of a row that come in one batch
    term_share: float  # of all ratings between two steps of the terms
    size: float  # of the targets

    def find(self, module: Any, alpha: Penalty) -> dict[str, Tensor]:
        """Compute the loads of the rows of all tables, by the names of the parameters."""
        has_terms = isinstance(module, SVDPlusPlus)
        own, path = (module.own, "own.") if has_terms else (module, "")
        factor = TERMS_LOAD_FACTOR if has_terms else 1.0
        norms = module._squared_norms()

        def penalty(table: str, of_number: float = 1.0) -> float | Tensor:
            return alpha[table] if isinstance(alpha, dict) else of_number * alpha

        loads, of_rows = {}, {}
        for side, other in OTHER_SIDE.items():
            n, mean_norms = self.counts[side], self._mean_norms(side, norms[other])
            of_rows[side] = n * mean_norms
            # A batch that moves a row holds at least one of its ratings.
            in_batch = torch.maximum(n * self.shares[side], n.clamp(max=1))
            of_rating = mean_norms + penalty(f"{side}_factors")
            loads[f"{path}{side}_factors.weight"] = in_batch * of_rating
            if own.biased:
                of_rating = 1 + penalty(f"{side}_biases")
                loads[f"{path}{side}_biases"] = factor * in_batch * of_rating
        if has_terms:
            for side, bound in module.term_loads(of_rows).items():
                n = self.counts[OTHER_SIDE[side]]
                columns = [
                    (bound + n * penalty(f"{side}_{name}", TERM_PENALTY)).unsqueeze(1)
                    for name in ("terms", "bias_terms")[: 1 + own.biased]
                ]
                columns[0] = columns[0].expand(-1, own.n_factors)
                of_terms = torch.cat(columns, 1)  # (n_rows, n_factors + biased)
                loads[f"{side}_terms"] = factor * self.term_share * of_terms
        return loads

    def _mean_norms(self, side: str, norms: Tensor) -> float | Tensor:
        """Mean squared norm of the partners of each row, each at least the size of the targets."""
        if bool((norms <= self.size).all()):
            return self.size
        codes, n_rows = f"{side}s", len(self.counts[side])
        sums = self.data.row_weights(codes, n_rows, norms.clamp(min=self.size))
        means = sums / self.data.row_weights(codes, n_rows)
        return means.nan_to_num(self.size)  # of rows that have only earlier ratings


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
