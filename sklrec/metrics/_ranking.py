"""Metrics of ranked lists against the relevant items of each user."""
# SPDX-License-Identifier: BSD-3-Clause

from typing import Any

import pandas as pd

from sklrec.metrics._hits import METRICS
from sklrec.metrics._lists import check_k_and_average, find_hits, summarise


def hit_rate_at_k(
    y_true: Any, y_pred: Any, *, k: int = 10, average: str | None = "macro"
) -> float | pd.Series:
    """Compute the share of users with a relevant item among the first k items.

    The value of a user is 1 if any of the first k items is relevant, otherwise 0.

    Parameters
    ----------
    y_true : DataFrame of shape (n_relevant, n_columns)
        The relevant items of each user, one in each row. The columns of users and items have the
        names of those of `y_pred`, or the names user and item, or are the first two. Anything
        that pandas can convert to such a DataFrame is accepted.
    y_pred : DataFrame of shape (n_recommendations, n_columns)
        Lists as `recommend` returns them: users and items, in the columns of these names or in
        the first two, and a column rank (from 1). Without a column rank, rows are ranked by a
        column score: the highest score comes first, and equal scores stay in the order of the
        rows.
    k : int, default=10
        Number of items at the top of each list that count.
    average : {'macro', None}, default='macro'
        'macro' is the mean over users, with equal weights. None returns the value of each user.

    Returns
    -------
    float or Series of shape (n_users,)
        The hit rate, from 0 to 1. A user of `y_true` without a list
        has the value 0. Lists of users without a relevant item are ignored.

    Raises
    ------
    ValueError
        If a table is empty, lacks a column, or has a missing value or a repeated pair; if the
        ranks of a list are not 1, 2, 3 and so on; or if no user of `y_true` has a list.

    See Also
    --------
    recall_at_k : Share of the relevant items that is found.

    References
    ----------
    Deshpande, Karypis (2004), "Item-Based Top-N Recommendation Algorithms", ACM Transactions on
    Information Systems 22(1), :doi:`10.1145/963770.963776`.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklrec.metrics import hit_rate_at_k
    >>> y_true = pd.DataFrame({"user": ["ann", "ann", "bob"], "item": [1, 2, 3]})
    >>> y_pred = pd.DataFrame(
    ...     {
    ...         "user": ["ann", "ann", "ann", "bob", "bob", "bob"],
    ...         "item": [7, 2, 1, 3, 7, 8],
    ...         "rank": [1, 2, 3, 1, 2, 3],
    ...     }
    ... )
    >>> hit_rate_at_k(y_true, y_pred, k=1)
    0.5
    """
    return _score("hit_rate", y_true, y_pred, k, average)


def map_at_k(
    y_true: Any, y_pred: Any, *, k: int = 10, average: str | None = "macro"
) -> float | pd.Series:
    r"""Compute the mean average precision of the first k items.

    The average precision of a user is

    .. math:: \frac{1}{\min(n, k)} \sum_{r \le k,\; r \text{ relevant}} \text{precision@}r

    over the ranks r of relevant items, where n is the number of items that are relevant to the
    user. The divisor min(n, k) gives the best possible list the value 1. Other programs divide by
    n (``trec_eval``) or by the number of relevant items found.

    Parameters
    ----------
    y_true : DataFrame of shape (n_relevant, n_columns)
        The relevant items of each user, one in each row. The columns of users and items have the
        names of those of `y_pred`, or the names user and item, or are the first two. Anything
        that pandas can convert to such a DataFrame is accepted.
    y_pred : DataFrame of shape (n_recommendations, n_columns)
        Lists as `recommend` returns them: users and items, in the columns of these names or in
        the first two, and a column rank (from 1). Without a column rank, rows are ranked by a
        column score: the highest score comes first, and equal scores stay in the order of the
        rows.
    k : int, default=10
        Number of items at the top of each list that count.
    average : {'macro', None}, default='macro'
        'macro' is the mean over users, with equal weights. None returns the value of each user.

    Returns
    -------
    float or Series of shape (n_users,)
        The mean average precision, from 0 to 1. A user of `y_true` without a list
        has the value 0. Lists of users without a relevant item are ignored.

    Raises
    ------
    ValueError
        If a table is empty, lacks a column, or has a missing value or a repeated pair; if the
        ranks of a list are not 1, 2, 3 and so on; or if no user of `y_true` has a list.

    See Also
    --------
    ndcg_at_k : Discounts by the logarithm of the rank.

    References
    ----------
    Buckley, Voorhees (2000), "Evaluating Evaluation Measure Stability", SIGIR,
    :doi:`10.1145/345508.345543`.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklrec.metrics import map_at_k
    >>> y_true = pd.DataFrame({"user": ["ann", "ann", "bob"], "item": [1, 2, 3]})
    >>> y_pred = pd.DataFrame(
    ...     {
    ...         "user": ["ann", "ann", "ann", "bob", "bob", "bob"],
    ...         "item": [7, 2, 1, 3, 7, 8],
    ...         "rank": [1, 2, 3, 1, 2, 3],
    ...     }
    ... )
    >>> map_at_k(y_true, y_pred, k=2, average=None)
    user
    ann    0.25
    bob    1.00
    Name: map@2, dtype: float64
    """
    return _score("map", y_true, y_pred, k, average)


def mrr_at_k(
    y_true: Any, y_pred: Any, *, k: int = 10, average: str | None = "macro"
) -> float | pd.Series:
    """Compute the mean reciprocal rank of the first relevant item.

    The reciprocal rank of a user is 1 / r, where r is the rank of the first relevant item. It is 0
    if none of the first k items is relevant.

    Parameters
    ----------
    y_true : DataFrame of shape (n_relevant, n_columns)
        The relevant items of each user, one in each row. The columns of users and items have the
        names of those of `y_pred`, or the names user and item, or are the first two. Anything
        that pandas can convert to such a DataFrame is accepted.
    y_pred : DataFrame of shape (n_recommendations, n_columns)
        Lists as `recommend` returns them: users and items, in the columns of these names or in
        the first two, and a column rank (from 1). Without a column rank, rows are ranked by a
        column score: the highest score comes first, and equal scores stay in the order of the
        rows.
    k : int, default=10
        Number of items at the top of each list that count.
    average : {'macro', None}, default='macro'
        'macro' is the mean over users, with equal weights. None returns the value of each user.

    Returns
    -------
    float or Series of shape (n_users,)
        The mean reciprocal rank, from 0 to 1. A user of `y_true` without a list
        has the value 0. Lists of users without a relevant item are ignored.

    Raises
    ------
    ValueError
        If a table is empty, lacks a column, or has a missing value or a repeated pair; if the
        ranks of a list are not 1, 2, 3 and so on; or if no user of `y_true` has a list.

    See Also
    --------
    map_at_k : Counts all relevant items.

    References
    ----------
    Voorhees, Tice (2000), "Building a Question Answering Test Collection", SIGIR,
    :doi:`10.1145/345508.345577`.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklrec.metrics import mrr_at_k
    >>> y_true = pd.DataFrame({"user": ["ann", "ann", "bob"], "item": [1, 2, 3]})
    >>> y_pred = pd.DataFrame(
    ...     {
    ...         "user": ["ann", "ann", "ann", "bob", "bob", "bob"],
    ...         "item": [7, 2, 1, 3, 7, 8],
    ...         "rank": [1, 2, 3, 1, 2, 3],
    ...     }
    ... )
    >>> mrr_at_k(y_true, y_pred)
    0.75
    """
    return _score("mrr", y_true, y_pred, k, average)


def ndcg_at_k(
    y_true: Any,
    y_pred: Any,
    *,
    k: int = 10,
    gain: str | None = None,
    average: str | None = "macro",
) -> float | pd.Series:
    r"""Compute the normalised discounted cumulative gain of the first k items.

    The discounted cumulative gain (DCG) of a user is

    .. math:: \text{DCG@}k = \sum_{r=1}^{k} \frac{g_r}{\log_2(r + 1)}

    where :math:`g_r` is the gain of the item at rank r, and 0 if it is not relevant. It is divided
    by the DCG of the best possible list, which has the items with the highest gains first.

    Parameters
    ----------
    y_true : DataFrame of shape (n_relevant, n_columns)
        The relevant items of each user, one in each row, with a column `gain` if it is named. The
        columns of users and items have the names of those of `y_pred`, or the names user and
        item, or are the first two. Anything that pandas can convert to such a DataFrame is
        accepted.
    y_pred : DataFrame of shape (n_recommendations, n_columns)
        Lists as `recommend` returns them: users and items, in the columns of these names or in
        the first two, and a column rank (from 1). Without a column rank, rows are ranked by a
        column score: the highest score comes first, and equal scores stay in the order of the
        rows.
    k : int, default=10
        Number of items at the top of each list that count.
    gain : str, default=None
        The column of `y_true` that holds gains: the value of each item to the user. Gains are not
        negative, and 0 for items that are not relevant. None gives 1 to each row.
    average : {'macro', None}, default='macro'
        'macro' is the mean over users, with equal weights. None returns the value of each user.

    Returns
    -------
    float or Series of shape (n_users,)
        The normalised gain, from 0 to 1. A user of `y_true` without a list
        has the value 0. Lists of users without a relevant item are ignored.

    Raises
    ------
    ValueError
        If a table is empty, lacks a column, or has a missing value or a repeated pair; if the
        ranks of a list are not 1, 2, 3 and so on; or if no user of `y_true` has a list.

    See Also
    --------
    sklearn.metrics.ndcg_score : NDCG of a matrix of scores; averages the gains of equal scores.
    map_at_k : Discounts by precision.

    References
    ----------
    Järvelin, Kekäläinen (2002), "Cumulated Gain-Based Evaluation of IR Techniques", ACM
    Transactions on Information Systems 20(4), :doi:`10.1145/582415.582418`.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklrec.metrics import ndcg_at_k
    >>> y_true = pd.DataFrame({"user": ["ann", "ann", "bob"], "item": [1, 2, 3]})
    >>> y_pred = pd.DataFrame(
    ...     {
    ...         "user": ["ann", "ann", "ann", "bob", "bob", "bob"],
    ...         "item": [7, 2, 1, 3, 7, 8],
    ...         "rank": [1, 2, 3, 1, 2, 3],
    ...     }
    ... )
    >>> round(ndcg_at_k(y_true, y_pred), 3)
    0.847

    Exponential gains (2 to the power of the rating, minus 1) are a column like any other:

    >>> y_true["worth"] = 2.0 ** pd.Series([5, 3, 4]) - 1
    >>> round(ndcg_at_k(y_true, y_pred, gain="worth"), 3)
    0.781
    """
    return _score("ndcg", y_true, y_pred, k, average, gain)


def precision_at_k(
    y_true: Any, y_pred: Any, *, k: int = 10, average: str | None = "macro"
) -> float | pd.Series:
    """Compute the share of the first k items that are relevant.

    A list with fewer than k items counts as if irrelevant items followed.

    Parameters
    ----------
    y_true : DataFrame of shape (n_relevant, n_columns)
        The relevant items of each user, one in each row. The columns of users and items have the
        names of those of `y_pred`, or the names user and item, or are the first two. Anything
        that pandas can convert to such a DataFrame is accepted.
    y_pred : DataFrame of shape (n_recommendations, n_columns)
        Lists as `recommend` returns them: users and items, in the columns of these names or in
        the first two, and a column rank (from 1). Without a column rank, rows are ranked by a
        column score: the highest score comes first, and equal scores stay in the order of the
        rows.
    k : int, default=10
        Number of items at the top of each list that count.
    average : {'macro', None}, default='macro'
        'macro' is the mean over users, with equal weights. None returns the value of each user.

    Returns
    -------
    float or Series of shape (n_users,)
        The precision, from 0 to 1. A user of `y_true` without a list
        has the value 0. Lists of users without a relevant item are ignored.

    Raises
    ------
    ValueError
        If a table is empty, lacks a column, or has a missing value or a repeated pair; if the
        ranks of a list are not 1, 2, 3 and so on; or if no user of `y_true` has a list.

    See Also
    --------
    recall_at_k : Share of the relevant items that is found.

    References
    ----------
    Herlocker, Konstan, Terveen, Riedl (2004), "Evaluating Collaborative Filtering Recommender
    Systems", ACM Transactions on Information Systems 22(1), :doi:`10.1145/963770.963772`.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklrec.metrics import precision_at_k
    >>> y_true = pd.DataFrame({"user": ["ann", "ann", "bob"], "item": [1, 2, 3]})
    >>> y_pred = pd.DataFrame(
    ...     {
    ...         "user": ["ann", "ann", "ann", "bob", "bob", "bob"],
    ...         "item": [7, 2, 1, 3, 7, 8],
    ...         "rank": [1, 2, 3, 1, 2, 3],
    ...     }
    ... )
    >>> precision_at_k(y_true, y_pred, k=2)
    0.5
    """
    return _score("precision", y_true, y_pred, k, average)


def recall_at_k(
    y_true: Any, y_pred: Any, *, k: int = 10, average: str | None = "macro"
) -> float | pd.Series:
    """Compute the share of the relevant items that are among the first k items.

    The best possible value is less than 1 for users with more than k relevant items.

    Parameters
    ----------
    y_true : DataFrame of shape (n_relevant, n_columns)
        The relevant items of each user, one in each row. The columns of users and items have the
        names of those of `y_pred`, or the names user and item, or are the first two. Anything
        that pandas can convert to such a DataFrame is accepted.
    y_pred : DataFrame of shape (n_recommendations, n_columns)
        Lists as `recommend` returns them: users and items, in the columns of these names or in
        the first two, and a column rank (from 1). Without a column rank, rows are ranked by a
        column score: the highest score comes first, and equal scores stay in the order of the
        rows.
    k : int, default=10
        Number of items at the top of each list that count.
    average : {'macro', None}, default='macro'
        'macro' is the mean over users, with equal weights. None returns the value of each user.

    Returns
    -------
    float or Series of shape (n_users,)
        The recall, from 0 to 1. A user of `y_true` without a list
        has the value 0. Lists of users without a relevant item are ignored.

    Raises
    ------
    ValueError
        If a table is empty, lacks a column, or has a missing value or a repeated pair; if the
        ranks of a list are not 1, 2, 3 and so on; or if no user of `y_true` has a list.

    See Also
    --------
    precision_at_k : Share of the list that is relevant.
    hit_rate_at_k : Whether a relevant item is found.

    References
    ----------
    Herlocker, Konstan, Terveen, Riedl (2004), "Evaluating Collaborative Filtering Recommender
    Systems", ACM Transactions on Information Systems 22(1), :doi:`10.1145/963770.963772`.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklrec.metrics import recall_at_k
    >>> y_true = pd.DataFrame({"user": ["ann", "ann", "bob"], "item": [1, 2, 3]})
    >>> y_pred = pd.DataFrame(
    ...     {
    ...         "user": ["ann", "ann", "ann", "bob", "bob", "bob"],
    ...         "item": [7, 2, 1, 3, 7, 8],
    ...         "rank": [1, 2, 3, 1, 2, 3],
    ...     }
    ... )
    >>> recall_at_k(y_true, y_pred, k=2)
    0.75
    """
    return _score("recall", y_true, y_pred, k, average)


def _score(
    metric: str, y_true: Any, y_pred: Any, k: int, average: str | None, gain: str | None = None
) -> float | pd.Series:
    k = check_k_and_average(k, average)
    hits, users = find_hits(y_true, y_pred, gain)
    return summarise(METRICS[metric](hits.within(k), k), users, f"{metric}@{k}", average)
