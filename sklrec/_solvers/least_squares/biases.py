"""Global mean and two biases by penalised least squares, in NumPy and SciPy."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.linalg import LinearOperator, cg

from sklrec._solvers.least_squares.pairs import (
    Log,
    Part,
    RatedPairs,
    Solution,
    sums_of_sides,
)
from sklrec._utils.forks import cached_property

Penalty: TypeAlias = float | np.ndarray  # one for all rows of a side, or one for each

# Penalties at the start of the search, and factors of its steps: coarse, then fine.
FIRST_PENALTY = 4.0
SEARCH_STEPS = (4.0, 2.0, 2.0**0.5)
# A step must lower the error by this share. Rounding then does not decide between equal penalties.
MIN_GAIN = 1e-7
SMALLEST_PENALTY, LARGEST_PENALTY = 1e-3, 1e6
# Largest number of pairs of a user and an item that the search looks at, as whole users.
SEARCH_PAIRS = 100_000
# Largest effect of a rating on its own prediction.
MAX_LEVERAGE = 0.999
# Weight of ratings from which the variance of a noise or of unknown rows is estimated.
MIN_WEIGHT = 50.0


@dataclass(frozen=True)
class Variances:
    """Penalties, and variances in squared units of the ratings."""

    user_penalty: float
    item_penalty: float
    noise_variance: float
    unknown_user_variance: float  # of the bias of a user without ratings
    unknown_item_variance: float


class BiasEquations:
    """Normal equations of the penalised squared error, with the users eliminated."""

    # The mean m and the biases minimise
    #   sum of w_ui (r_ui - m - b_u - b_i)^2 + sum of c_u b_u^2 + sum of c_i b_i^2.
    # The unknowns of the equations are the biases of the items and the mean.

    def __init__(self, pairs: RatedPairs):
        self.pairs = pairs
        self.by_user, self.by_item = pairs.by_user, pairs.by_user.T
        self.user_weight, self.item_weight = sums_of_sides(self.by_user)
        weighted = pairs.with_values(self.by_user.data * pairs.means)
        self.user_sum, self.item_sum = sums_of_sides(weighted)
        self.total = float(self.user_weight.sum())

    def solve(
        self,
        user_penalty: Penalty,
        item_penalty: Penalty,
        mean_penalty: float = 0.0,
        *,
        start: Solution | None = None,
        rtol: float = 1e-12,
    ) -> Solution:
        """Compute the mean and the biases by conjugate gradients."""
        n = len(self.item_weight)
        share = 1 / (self.user_weight + user_penalty)
        diagonal = np.append(self.item_weight + item_penalty, self.total + mean_penalty)

        def product(x: np.ndarray) -> np.ndarray:
            items, mean = x[:n], x[n]
            users = share * (self.by_user @ items + self.user_weight * mean)
            of_items = self.item_weight * mean - self.by_item @ users
            of_mean = self.item_weight @ items - self.user_weight @ users
            return diagonal * x + np.append(of_items, of_mean)

        users = share * self.user_sum
        right = np.append(
            self.item_sum - self.by_item @ users,
            self.user_sum.sum() - self.user_weight @ users,
        )
        shape = (n + 1, n + 1)
        found, _ = cg(
            LinearOperator(shape, product),
            right,
            None if start is None else np.append(start[2], start[0]),
            rtol=rtol,
            maxiter=500,
            M=LinearOperator(shape, lambda x: x / diagonal),
        )
        item, mean = found[:n], float(found[n])
        user = share * (self.user_sum - self.user_weight * mean - self.by_user @ item)
        return mean, user, item

    def left_out(
        self, solution: Solution, user_penalty: float, item_penalty: float
    ) -> Iterator[tuple[Part, np.ndarray]]:
        """Approximate the weighted squared errors of pairs in fits without one unit of weight."""
        # The error is e / (1 - h). With the users eliminated and only the diagonal D of the items'
        # equations, the leverage is
        #   h = 1 / A_u + (1 - w_ui / A_u)^2 / D_i + sum over j != i of (w_uj / A_u)^2 / D_j,
        #   A_u = w_u + c_u,  D_i = w_i + c_i - sum over u of w_ui^2 / A_u.
        # Two leverages 1 / (w + c), as if the sides were independent, choose penalties with an
        # RMSE of 1.474 in place of 1.463 on a log where many users have one or two ratings.
        share = 1 / (self.user_weight + user_penalty)
        diagonal = 1 / (self.item_weight + item_penalty - self.squares.T @ share)
        of_user = share + share**2 * (self.squares @ diagonal)
        for part in self.pairs.parts():
            own = (1 - part.weights * (2 * share)[part.users]) * diagonal[part.items]
            kept = 1 - np.minimum(of_user[part.users] + own, MAX_LEVERAGE)
            yield part, part.squares(solution) / kept**2

    @cached_property
    def squares(self) -> csr_array:
        """Squared weights of the pairs."""
        weights = self.by_user.data
        if (weights == 1).all():
            return self.by_user
        return self.pairs.with_values(weights**2)  # (n_users, n_items)

    def for_search(self) -> "BiasEquations":
        """Give the equations of some whole users if there are many ratings."""
        # Pairs, not rows, so that a repeated row equals a row of weight 2.
        n_pairs = np.diff(self.by_user.indptr)
        if n_pairs.sum() <= SEARCH_PAIRS:
            return self
        order = self._order_of_users()
        n_users = max(1, int((np.cumsum(n_pairs[order]) <= SEARCH_PAIRS).sum()))
        return BiasEquations(self.pairs.of_users(order[:n_users]))

    def _order_of_users(self) -> np.ndarray:
        """Order the users by hashes of their ratings, which the order of rows does not change."""
        # Codes have the order of the rows. Rounding removes the effect of the order on sums.
        users_of_items = np.bincount(self.by_user.indices, minlength=len(self.item_weight))
        users, items = (
            _mixed((np.round(sums / weight, 6) + 0.0).view(np.uint64) + _mixed(n_pairs))
            for sums, weight, n_pairs in (
                (self.user_sum, self.user_weight, np.diff(self.by_user.indptr)),
                (self.item_sum, self.item_weight, users_of_items),
            )
        )
        pattern = self.pairs.with_values(np.ones(len(self.by_user.data), np.uint64))
        return np.argsort(_mixed(users + pattern @ items), kind="stable")


def fit_biases(
    pairs: RatedPairs, user_penalty: float | None = None, item_penalty: float | None = None
) -> tuple[Solution, Variances]:
    """Fit biases; leave-one-out errors choose a penalty that is None."""
    equations = BiasEquations(pairs)
    penalties = _choose_penalties(equations.for_search(), (user_penalty, item_penalty))
    solution = equations.solve(*penalties)
    centre, scale = pairs.centre, pairs.scale
    noise, *unknown = (scale**2 * v for v in _variances(equations, solution, penalties))
    mean, user, item = solution
    return (centre + scale * mean, scale * user, scale * item), Variances(
        *penalties, noise, *unknown
    )


def _mixed(values: np.ndarray) -> np.ndarray:
    """Hash integers, by the last steps of MurmurHash3."""
    values = values.astype(np.uint64)
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        values = (values ^ (values >> np.uint64(33))) * np.uint64(factor)
    return values ^ (values >> np.uint64(33))


def _variances(
    equations: BiasEquations, solution: Solution, penalties: Sequence[float]
) -> tuple[float, float, float]:
    """Estimate the variances of the noise and of the biases of unknown users and items."""
    # Weight of the other ratings of the pair's user and of its item. Without any, the pair says
    # nothing about the noise: with such pairs the noise was three times too high on one log.
    others = equations.user_weight - 1, equations.item_weight - 1
    known = [weight > 1e-9 for weight in others]
    of_bias = [
        1 / (np.maximum(weight, 0) + penalty)
        for weight, penalty in zip(others, penalties, strict=True)
    ]  # variances of the biases without the pair, as multiples of the noise
    of_noise = np.zeros((2, 2))  # of all pairs, and of those with two known sides
    of_unknown = np.zeros((2, 3))  # of pairs with an unknown user, and with an unknown item
    for part, squares in equations.left_out(solution, *penalties):
        codes, weights = (part.users, part.items), part.weights
        is_known = [of_side[k] for of_side, k in zip(known, codes, strict=True)]
        spread = [of_side[k] for of_side, k in zip(of_bias, codes, strict=True)]
        standardised = squares / (1 + spread[0] + spread[1])
        both = is_known[0] & is_known[1]
        of_noise += [
            [weights.sum(), standardised.sum()],
            [weights[both].sum(), standardised[both].sum()],
        ]
        for side, other in ((0, 1), (1, 0)):
            pairs = ~is_known[side] & is_known[other]
            stated = weights[pairs] * (1 + spread[other][pairs])
            of_unknown[side] += weights[pairs].sum(), squares[pairs].sum(), stated.sum()
    weight, total = of_noise[int(of_noise[1, 0] >= MIN_WEIGHT)]
    noise = float(total / weight)
    unknown = []
    for penalty, (weight, total, stated) in zip(penalties, of_unknown, strict=True):
        variance = noise / penalty
        if weight >= MIN_WEIGHT:
            # At least that of a row with one rating, which is known better.
            variance = max(noise / (1 + penalty), float((total - noise * stated) / weight))
        unknown.append(variance)
    return noise, unknown[0], unknown[1]


def _choose_penalties(
    equations: BiasEquations, given: tuple[float | None, float | None]
) -> tuple[float, float]:
    """Search for the penalties with the least mean squared leave-one-out error."""
    if None not in given:
        return given[0], given[1]  # type: ignore[return-value]
    penalties = [FIRST_PENALTY if g is None else g for g in given]
    solution = None

    def loss(candidates: Sequence[float]) -> float:
        nonlocal solution
        solution = equations.solve(*candidates, start=solution, rtol=1e-6)
        found = equations.left_out(solution, *candidates)
        return float(sum(squares.sum() for _, squares in found) / equations.total)

    best = loss(penalties)
    for step in SEARCH_STEPS:
        moves = [(k, f) for k in (0, 1) if given[k] is None for f in (step, 1 / step)]
        n_failed = 0  # in a row
        while n_failed < len(moves):
            side, factor = moves[0]
            candidate = list(penalties)
            candidate[side] *= factor
            is_inside = SMALLEST_PENALTY < candidate[side] < LARGEST_PENALTY
            if is_inside and (found := loss(candidate)) < best * (1 - MIN_GAIN):
                best, penalties, n_failed = found, candidate, 0
            else:
                moves = moves[1:] + moves[:1]
                n_failed += 1
    return penalties[0], penalties[1]


def further_biases(
    log: Log,  # its y are the errors of the earlier fit
    earlier: tuple[np.ndarray, np.ndarray],  # sums of weights of users and of items
    penalties: tuple[float, float],
) -> Solution:
    """Compute the changes by penalised least squares over the earlier and the further ratings."""
    # The earlier fit is a minimum of the penalised error of the earlier ratings, which changes of
    # the mean by m and of the biases by x_u and x_i increase by
    #   sum over earlier ratings of w (m + x_u + x_i)^2 + sum of c_u x_u^2 + sum of c_i x_i^2.
    # If the ratings of each user are spread over the items like the ratings of all users, the
    # first sum depends only on the weights n of the rows and of all ratings, N:
    #   sum of n_u x_u^2 + sum of n_i x_i^2 + N (m^2 + 2 m X + 2 m Y + 2 X Y),
    #   X = sum of n_u x_u / N,  Y = sum of n_i x_i / N.
    # Without the products, biases would not make up for a change of the mean: a log in the order
    # of its ratings then gave an RMSE of 1.24 in place of 0.95.
    user_weight, item_weight = earlier
    n_users, n_items = len(user_weight), len(item_weight)
    users, items, y, weights = log
    total = user_weight.sum()

    def sums(values: np.ndarray) -> np.ndarray:  # (1 + n_users + n_items,)
        of_users, of_items = (
            np.bincount(codes, values, n) for codes, n in ((users, n_users), (items, n_items))
        )
        return np.concatenate([[values.sum()], of_users, of_items])

    right = sums(weights * y)
    both = sums(weights) + np.concatenate([[total], user_weight, item_weight])
    diagonal = both + np.repeat([0.0, *penalties], [1, n_users, n_items])
    by_user = csr_array((weights, (users, items)), (n_users, n_items))
    by_item = by_user.T
    parts = [1, 1 + n_users]

    def product(x: np.ndarray) -> np.ndarray:
        mean, user, item = np.split(x, parts)
        _, of_users, of_items = np.split(both, parts)
        X, Y = user_weight @ user / total, item_weight @ item / total
        of_mean = of_users @ user + of_items @ item
        return diagonal * x + np.concatenate(
            [
                [of_mean],
                of_users * mean + user_weight * Y + by_user @ item,
                of_items * mean + item_weight * X + by_item @ user,
            ]
        )

    shape = (len(right), len(right))
    found, _ = cg(
        LinearOperator(shape, product),
        right,
        rtol=1e-10,
        maxiter=500,
        M=LinearOperator(shape, lambda x: x / diagonal),
    )
    mean, user, item = np.split(found, parts)
    return float(mean[0]), user, item
