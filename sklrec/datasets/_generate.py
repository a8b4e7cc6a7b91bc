"""Ratings from a known model, so that the lowest possible error is known."""
# SPDX-License-Identifier: BSD-3-Clause

from numbers import Integral, Real
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import ndtr
from sklearn.utils import Bunch, check_random_state, gen_batches
from sklearn.utils.validation import check_scalar

from sklrec._data.checks import check_booleans
from sklrec._utils.runs import is_new
from sklrec._utils.types import RandomState, RatingScale

CHUNK_ROWS = 1 << 18  # rows computed at once: about 10 MB at 8 factors

# Standard deviations of the parts of a rating, divided by the width of the rating scale. On 1 to 5
# they are 0.32, 0.4 and 0.4, near to estimates from film ratings, and few ratings are clipped.
USER_BIAS, ITEM_BIAS, INTERACTION = 0.08, 0.1, 0.1

# Popularity is (rank / n + KNEE) ** -long_tail. Without the knee, the first item of a Zipf law
# would get more ratings than there are users.
KNEE = 0.02

# Pairs are drawn and repeated ones dropped, which wastes more and more draws of popular pairs.
# Above this share of all pairs another method is faster. After this number of rounds the few
# missing pairs are drawn with equal probabilities.
DENSE_SHARE = 0.25
POPULAR_ROUNDS = 10

START, PERIOD, ACTIVE = 1_000_000_000, 2 * 365 * 86_400, 60 * 86_400  # seconds


def make_ratings(
    n_users: int = 1000,
    n_items: int = 500,
    n_ratings: int = 20_000,
    *,
    n_factors: int = 8,
    noise: float = 0.5,
    long_tail: float = 1.0,
    rating_scale: RatingScale = (1, 5),
    step: float | None = None,
    timestamps: bool = True,
    return_truth: bool = False,
    as_frame: bool = True,
    random_state: RandomState = None,
) -> Any:
    """Generate ratings from known biases and factors (regression).

    A rating is a sum: the middle of the rating scale, the bias of the user, the bias of the item,
    the product of their factors, and Gaussian noise. The sum is rounded to `step` and clipped to
    the scale. User and item IDs count from 0 and are the row numbers of the tables of biases and
    factors. No (user, item) pair occurs twice. Some users and items may have no rating.

    Without rounding and clipping, no model can have a root mean squared error below `noise`.
    Rounding adds about `step ** 2 / 12` to the mean squared error, and clipping reduces it a
    little. So the lowest possible error is about `sqrt(noise ** 2 + step ** 2 / 12)`.
    `return_truth` returns the best possible predictions and their error, with rounding and
    clipping.

    Parameters
    ----------
    n_users : int, default=1000
        The number of users.
    n_items : int, default=500
        The number of items.
    n_ratings : int, default=20000
        The number of ratings, at most `n_users * n_items`.
    n_factors : int, default=8
        The number of factors. With 0 there are only biases.
    noise : float, default=0.5
        The standard deviation of the noise, in units of the rating scale.
    long_tail : float, default=1.0
        Inequality of the popularity of items, and of the activity of users, from 0 to 10. An item
        of relative rank r (0 to 1) is drawn in proportion to `(r + 0.02) ** -long_tail`. With 0
        all items are drawn equally often; with 1 the most popular item is drawn about 13 times as
        often as the average. The nearer `n_ratings` is to the number of all pairs, the smaller is
        the inequality. The rank does not depend on the ID or on the bias.
    rating_scale : tuple of (float, float), default=(1, 5)
        The lowest and the highest rating.
    step : float or None, default=None
        The distance between two possible ratings, such as 1 for whole and 0.5 for half stars. It
        must divide the rating scale. None makes ratings continuous.
    timestamps : bool, default=True
        Whether X has a timestamp column: seconds since 1970-01-01 UTC, int64. Each user is active
        for 60 days within two years. The ratings do not depend on the time.
    return_truth : bool, default=False
        Whether to return the biases and factors as well.
    as_frame : bool, default=True
        If True, X is a DataFrame and y a Series; if False, both are arrays.
    random_state : int, RandomState instance or None, default=None
        Seed of the ratings. Pass an int to get the same ratings in each call.

    Returns
    -------
    X : DataFrame or ndarray of shape (n_ratings, 3)
        The columns user, item and, with `timestamps`, timestamp, all int64, in random order.
    y : Series or ndarray of shape (n_ratings,)
        The ratings.
    truth : :class:`~sklearn.utils.Bunch`
        Only if `return_truth=True`. Dictionary-like object, with the following attributes.

        global_mean : float
            The middle of the rating scale.
        user_biases : ndarray of shape (n_users,)
            The biases of the users.
        item_biases : ndarray of shape (n_items,)
            The biases of the items.
        user_factors : ndarray of shape (n_users, n_factors)
            The factors of the users.
        item_factors : ndarray of shape (n_items, n_factors)
            The factors of the items.
        expected : ndarray of shape (n_ratings,)
            The expectation of the rating of each row: the best possible prediction.
        rmse : float
            The root mean squared error of `expected`: the lowest error on these rows for a model
            that does not overfit their noise.

    Raises
    ------
    ValueError
        If there are fewer different pairs than ratings, or `step` does not divide the scale.

    See Also
    --------
    fetch_movielens : Real ratings.

    Notes
    -----
    Ratings are made in chunks, so memory depends on the rows only. The result has 32 bytes for
    each row. The peak is 40 bytes, or 60 if `n_ratings` is more than a quarter of all pairs. Ten
    million rows take some seconds.

    Examples
    --------
    >>> from sklrec.datasets import make_ratings
    >>> X, y, truth = make_ratings(100, 50, 2000, step=1, return_truth=True, random_state=0)
    >>> X.shape, list(X.columns)
    ((2000, 3), ['user', 'item', 'timestamp'])
    >>> sorted(y.unique().tolist())
    [1.0, 2.0, 3.0, 4.0, 5.0]
    >>> round(truth.rmse, 1)
    0.6
    """
    for name, value in {"n_users": n_users, "n_items": n_items, "n_ratings": n_ratings}.items():
        check_scalar(value, name, Integral, min_val=1, max_val=2**31)
    check_scalar(n_factors, "n_factors", Integral, min_val=0, max_val=2**31)
    check_booleans(timestamps=timestamps, return_truth=return_truth, as_frame=as_frame)
    _check_finite(noise, "noise", min_val=0)
    _check_finite(long_tail, "long_tail", min_val=0, max_val=10)
    low, high = _check_rating_scale(rating_scale, step)
    if n_ratings > n_users * n_items:
        raise ValueError(
            f"n_ratings={n_ratings} is more than the {n_users * n_items} different pairs of "
            f"{n_users} users and {n_items} items. Give fewer ratings, or more users or items."
        )

    # random_state as in scikit-learn, but the newer and faster generator of NumPy.
    rng = np.random.default_rng(check_random_state(random_state).randint(2**31, size=4))
    user, item = np.divmod(_draw_pairs(n_users, n_items, n_ratings, long_tail, rng), n_items)

    span = high - low
    factor_scale = np.sqrt(INTERACTION * span / np.sqrt(max(n_factors, 1)))
    truth = Bunch(
        global_mean=(low + high) / 2,
        user_biases=rng.normal(0, USER_BIAS * span, n_users),
        item_biases=rng.normal(0, ITEM_BIAS * span, n_items),
        user_factors=rng.normal(0, factor_scale, (n_users, n_factors)),
        item_factors=rng.normal(0, factor_scale, (n_items, n_factors)),
    )
    rating = np.empty(n_ratings)
    expected = np.empty(n_ratings if return_truth else 0)
    for rows in gen_batches(n_ratings, CHUNK_ROWS):
        signal = _signal(truth, user[rows], item[rows])
        noisy = signal + noise * rng.standard_normal(len(signal))
        rating[rows] = _to_scale(noisy, low, high, step)
        if return_truth:
            expected[rows] = _expectation(signal, noise, low, high, step)

    columns = {"user": user, "item": item}
    if timestamps:
        columns["timestamp"] = _draw_timestamps(user, n_users, rng)
    X = pd.DataFrame(columns, copy=False) if as_frame else np.column_stack([*columns.values()])
    y = pd.Series(rating, name="rating", copy=False) if as_frame else rating
    if not return_truth:
        return X, y
    truth.expected = expected
    truth.rmse = float(np.sqrt(np.mean(np.square(rating - expected))))
    return X, y, truth


def _check_finite(value, name: str, **bounds) -> None:
    check_scalar(value, name, Real, **bounds)
    if not np.isfinite(value):
        raise ValueError(f"{name} must be a finite number, got {value}.")


def _check_rating_scale(rating_scale, step) -> tuple[float, float]:
    try:
        low, high = map(float, rating_scale)
    except (TypeError, ValueError):
        low = high = np.nan
    if not (np.isfinite(low) and np.isfinite(high) and low < high):
        raise ValueError(
            "rating_scale must be a pair (lowest, highest) of finite numbers, got "
            f"{rating_scale!r}."
        )
    if step is not None:
        _check_finite(step, "step", min_val=0, include_boundaries="neither")
        n_steps = (high - low) / step
        if not np.isclose(n_steps, max(round(n_steps), 1)):
            raise ValueError(
                f"step must divide the rating scale, but rating_scale={rating_scale} has a width "
                f"of {n_steps:g} times step={step}."
            )
    return low, high


def _draw_pairs(
    n_users: int, n_items: int, n_pairs: int, long_tail: float, rng: np.random.Generator
) -> np.ndarray:
    """Draw different pairs in random order, each as user * n_items + item."""
    user_by_rank, item_by_rank = rng.permutation(n_users), rng.permutation(n_items)
    if n_pairs > DENSE_SHARE * n_users * n_items:
        # A weighted draw without replacement: draw an exponential time for each pair, with its
        # weight as the rate, and take the pairs with the shortest times (Efraimidis, Spirakis
        # 2006, doi:10.1016/j.ipl.2005.11.003).
        arrival = rng.exponential(size=(n_users, n_items))
        arrival /= _popularity(n_users, long_tail)[np.argsort(user_by_rank), None]
        arrival /= _popularity(n_items, long_tail)[np.argsort(item_by_rank)]
        # The order of a partition depends on the processor.
        pairs = np.sort(np.argpartition(arrival, n_pairs - 1, axis=None)[:n_pairs])
        rng.shuffle(pairs)
        return pairs

    pairs = np.empty(0, dtype=np.int64)
    n_rounds = 0
    while len(pairs) < n_pairs:
        tail = long_tail if n_rounds < POPULAR_ROUNDS else 0.0
        n_missing = n_pairs - len(pairs)
        drawn = np.empty(n_missing + n_missing // 8 + 8, dtype=np.int64)
        for rows in gen_batches(len(drawn), CHUNK_ROWS):
            n = rows.stop - rows.start
            drawn[rows] = user_by_rank[_draw_ranks(n_users, n, tail, rng)] * n_items
            drawn[rows] += item_by_rank[_draw_ranks(n_items, n, tail, rng)]
        pairs = np.concatenate([pairs, drawn])
        pairs.sort()  # np.unique hashes and takes far longer
        pairs = pairs[is_new(pairs)]
        n_rounds += 1
    rng.shuffle(pairs)
    return pairs[:n_pairs]


def _popularity(n: int, long_tail: float) -> np.ndarray:
    """Return the weights of the ranks 0 to n - 1."""
    return (np.arange(n) / n + KNEE) ** -long_tail


def _draw_ranks(n: int, size: int, long_tail: float, rng: np.random.Generator) -> np.ndarray:
    """Draw ranks in proportion to popularity, by the inverse of the distribution function."""
    u = rng.random(size)
    if long_tail == 0:
        r = u
    elif long_tail == 1:
        r = KNEE * ((1 + 1 / KNEE) ** u - 1)
    else:
        a, b = KNEE ** (1 - long_tail), (1 + KNEE) ** (1 - long_tail)
        r = (a + u * (b - a)) ** (1 / (1 - long_tail)) - KNEE
    return np.minimum((r * n).astype(np.int64), n - 1)


def _signal(truth: Bunch, user: np.ndarray, item: np.ndarray) -> np.ndarray:
    """Compute the ratings before noise, rounding and clipping."""
    product = np.einsum("ij,ij->i", truth.user_factors[user], truth.item_factors[item])
    return truth.global_mean + truth.user_biases[user] + truth.item_biases[item] + product


def _to_scale(values: np.ndarray, low: float, high: float, step: float | None) -> np.ndarray:
    if step is not None:
        values = low + step * np.rint((values - low) / step)
    return np.clip(values, low, high)


def _expectation(
    signal: np.ndarray, noise: float, low: float, high: float, step: float | None
) -> np.ndarray:
    """Compute the expectation of `_to_scale(signal + Gaussian noise)`."""
    if noise == 0:
        return _to_scale(signal, low, high, step)
    if step is not None:
        # The rating rises by a step with the probability that the noisy value is above its middle.
        middles = np.arange(low + step / 2, high, step)
        return low + step * sum(ndtr((signal - middle) / noise) for middle in middles)
    return low + noise * (_excess((signal - low) / noise) - _excess((signal - high) / noise))


def _excess(z: np.ndarray) -> np.ndarray:
    """Compute the expectation of max(z + standard Gaussian noise, 0)."""
    return z * ndtr(z) + np.exp(-z * z / 2) / np.sqrt(2 * np.pi)


def _draw_timestamps(user: np.ndarray, n_users: int, rng: np.random.Generator) -> np.ndarray:
    start = rng.integers(START, START + PERIOD - ACTIVE, n_users)
    timestamp = rng.integers(0, ACTIVE, len(user))
    timestamp += start[user]
    return timestamp
