"""Penalties that are learned from the ratings: biases in closed form say how noisy they are."""
# SPDX-License-Identifier: BSD-3-Clause

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sklrec._data.features.columns import N_BINS
from sklrec._solvers.least_squares.biases import Log, Solution, Variances, fit_biases
from sklrec._solvers.stored import StoredInteractions
from sklrec._solvers.tensors import PARTNERS as SIDES
from sklrec._solvers.tensors import InteractionTensors
from sklrec._utils.state.kinds import Int, Plain
from sklrec.modules._svdpp import OTHER_SIDE

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


@dataclass(frozen=True)
class LearnedPenalties:
    """What a fit of biases says about the ratings, in squared units of the ratings."""

    user_penalty: float  # of a bias: variance of the noise over that of the biases
    item_penalty: float
    noise_variance: float
    loss: float  # mean squared training error of the biases
    n_ratings: int  # from which the values were learned

    _state = {
        **dict.fromkeys(
            ("user_penalty", "item_penalty", "noise_variance", "loss"), Plain(float, low=0)
        ),
        "n_ratings": Int(),
    }


@torch.no_grad()
def learn_penalties(module: Any, data: Any, *, start: bool) -> LearnedPenalties:
    """Fit biases to the ratings; with `start`, set mean and biases of a module to them."""
    fit = _fit_stored if isinstance(data, StoredInteractions) else _fit_in_memory
    (mean, *biases), found, loss = fit(data, module.n_users, module.n_items)
    if start:
        module.global_mean.fill_(mean)
        for side, values in zip(OTHER_SIDE, biases, strict=True):
            table = getattr(module, f"{side}_biases")
            table[1:] = torch.from_numpy(values / module.scale.item()).to(table)
    return LearnedPenalties(
        found.user_penalty, found.item_penalty, found.noise_variance, loss, len(data)
    )


def _fit_in_memory(
    data: InteractionTensors, n_users: int, n_items: int
) -> tuple[Solution, Variances, float]:
    """Fit biases to ratings in memory; return also their mean squared error."""
    columns = data.X["users"] - 1, data.X["items"] - 1, data.y, data.weights
    log = Log(*(values.cpu().numpy() for values in columns))
    solution, found = fit_biases(log, n_users, n_items)
    return solution, found, float(np.average(_errors(log, solution) ** 2, weights=log.weights))


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
    (mean, *_), found = fit_biases(part, n_read, n_items)
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
    """Penalties of the rows of a matrix factorisation, once for each of their ratings."""

    def __init__(
        self,
        learned: LearnedPenalties,
        counts: dict[str, Tensor],  # number of ratings of each row, by side
        scale: float,
        power: float,  # of the mean squared error that the strength falls with
        has_terms: bool = False,  # of SVD++
    ):
        self.learned, self._power, self._has_terms = learned, power, has_terms
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
            of_row = PER_ROW[self._has_terms]
            found[f"{side}_factors"] = strength * (PER_RATING + of_row / n)
            for name, of_row in PER_ROW_OF_TERMS.items():
                found[f"{other}_{name}"] = strength * (PER_RATING_OF_TERMS + of_row / n)
        return found


class DensePenalties(RowPenalties):
    """Penalties of the rows of a dense net, once for each of their ratings."""

    def _of_factors(self, strength: float) -> dict[str, Tensor]:
        # The numbers of a side feature are spread evenly over its bins.
        n = self._counts["user"]
        counts = self._counts | {"bin": n.sum() / N_BINS}
        found = {
            f"{side}_factors": strength * (DENSE_PER_RATING + DENSE_PER_ROW / n)
            for side, n in counts.items()
        }
        return found | {"layers": torch.full_like(n[0], strength * DENSE_LAYERS)}
