"""Metrics of ranked lists alone: what they show, and how little known it is."""
# SPDX-License-Identifier: BSD-3-Clause

from typing import Any

import numpy as np
import pandas as pd

from sklrec._data.vocabulary import Vocabulary
from sklrec.metrics._lists import (
    Interactions,
    check_average,
    check_k,
    read_lists,
    summarise,
)


def coverage_at_k(y_pred: Any, catalog: Any, *, k: int = 10) -> float:
    """Compute the share of the catalogue that is recommended to anybody.

    Parameters
    ----------
    y_pred : DataFrame of shape (n_recommendations, n_columns)
        Lists as `recommend` gives them, in the columns user, item and rank (from 1). Without a
        column rank a column score ranks, highest first, equal ones in the order of the rows.
    catalog : array-like of shape (n_items,)
        The IDs of all items that might have been recommended, in any order; repeats do not
        matter, so that the item column of the training data will do.
    k : int, default=10
        How many of each list count.

    Returns
    -------
    float
        The share, from 0 to 1. It grows with the number of lists and with k: compare models on
        the same users.

    Raises
    ------
    ValueError
        If `y_pred` is no table of lists, or has an item that is not in the catalogue.

    See Also
    --------
    novelty_at_k : How little known the recommended items are.

    References
    ----------
    Ge, Delgado-Battenfeld, Jannach (2010), "Beyond Accuracy: Evaluating Recommender Systems by
    Coverage and Serendipity", RecSys, :doi:`10.1145/1864708.1864761`.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklrec.metrics import coverage_at_k
    >>> y_pred = pd.DataFrame({"user": ["ann", "bob"], "item": [7, 7], "rank": [1, 1]})
    >>> coverage_at_k(y_pred, [7, 8, 9, 10])
    0.25
    """
    k = check_k(k)
    lists, ranks = read_lists(y_pred)
    items = Vocabulary.from_values(pd.Index(catalog, tupleize_cols=False), "catalog")
    _look_up(items, lists, "catalog")
    return len(np.unique(lists.pairs.items[ranks <= k])) / len(items)


def novelty_at_k(
    y_pred: Any, X_train: Any, *, k: int = 10, average: str | None = "macro"
) -> float | pd.Series:
    r"""Compute the mean self-information of the recommended items, in bits.

    That of an item is :math:`-\log_2 p_i`, where :math:`p_i` is the share of the training users
    who have interacted with it: 0 for what everybody knows, 1 for what half of them know. A
    user's novelty is the mean over the first k items.

    Parameters
    ----------
    y_pred : DataFrame of shape (n_recommendations, n_columns)
        Lists as `recommend` gives them, in the columns user, item and rank (from 1). Without a
        column rank a column score ranks, highest first, equal ones in the order of the rows.
    X_train : DataFrame of shape (n_interactions, n_columns)
        The interactions that the model was fitted on, in the columns user and item. A pair that
        occurs more than once counts once.
    k : int, default=10
        How many of each list count.
    average : {'macro', None}, default='macro'
        'macro' is the mean over users, each of the same weight; None gives each user's own.

    Returns
    -------
    float or Series of shape (n_users,)
        The novelty of the lists, in bits.

    Raises
    ------
    ValueError
        If a table is not as described, or if `y_pred` has an item that `X_train` has not: its
        self-information would be infinite.

    See Also
    --------
    coverage_at_k : How much of the catalogue is recommended.

    References
    ----------
    Zhou, Kuscsik, Liu, Medo, Wakeling, Zhang (2010), "Solving the Apparent Diversity-Accuracy
    Dilemma of Recommender Systems", PNAS 107(10), :doi:`10.1073/pnas.1000488107`.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklrec.metrics import novelty_at_k
    >>> X_train = pd.DataFrame({"user": [1, 2, 2], "item": [7, 7, 8]})
    >>> y_pred = pd.DataFrame({"user": [1, 2, 2], "item": [8, 7, 8], "rank": [1, 1, 2]})
    >>> novelty_at_k(y_pred, X_train, average=None)
    user
    1    1.0
    2    0.5
    Name: novelty@10, dtype: float64
    """
    k, average = check_k(k), check_average(average)
    lists, ranks = read_lists(y_pred)
    train = Interactions(X_train, "X_train", repeats=True)
    codes = _look_up(train.items, lists, "X_train")
    pairs = pd.unique(train.pairs.users * len(train.items) + train.pairs.items)
    n_users_of_item = np.bincount(pairs % len(train.items), minlength=len(train.items))
    bits = np.log2(len(train.users)) - np.log2(n_users_of_item)
    counts = ranks <= k
    users = lists.pairs.users[counts]
    of_users = np.bincount(users, bits[codes[lists.pairs.items[counts]]]) / np.bincount(users)
    return summarise(of_users, lists.users.ids, f"novelty@{k}", average)


def _look_up(items: Vocabulary, lists: Interactions, where: str) -> np.ndarray:
    """Where the listed items are among those of a catalogue, which must have them all."""
    codes = items.codes(lists.items.ids)
    if not codes.all():
        missing = lists.items.ids[codes == 0]
        raise ValueError(
            f"y_pred recommends items that {where} has not, {missing[:1].tolist()[0]!r} and "
            f"{len(missing) - 1} more: it must have all that the model might recommend."
        )
    return codes - 1
