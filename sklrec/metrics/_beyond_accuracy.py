"""Metrics of ranked lists without relevant items: coverage of the catalogue and novelty."""
# SPDX-License-Identifier: BSD-3-Clause

from typing import Any

import numpy as np
import pandas as pd

from sklrec._data.checks import check_positive
from sklrec._data.vocabulary import Vocabulary
from sklrec.metrics._lists import Interactions, check_k_and_average, read_lists, summarise


def coverage_at_k(y_pred: Any, catalog: Any, *, k: int = 10) -> float:
    """Compute the share of the catalogue that is recommended to at least one user.

    Parameters
    ----------
    y_pred : DataFrame of shape (n_recommendations, n_columns)
        Lists as `recommend` returns them: users and items, in the columns of these names or in
        the first two, and a column rank (from 1). Without a column rank, rows are ranked by a
        column score: the highest score comes first, and equal scores stay in the order of the
        rows.
    catalog : array-like of shape (n_items,)
        IDs of all items that the model could recommend, in any order. Repeats do not matter, so
        the item column of the training data can be used.
    k : int, default=10
        Number of items at the top of each list that count.

    Returns
    -------
    float
        The share, from 0 to 1. It grows with the number of lists and with k, so compare models
        on the same users.

    Raises
    ------
    ValueError
        If `y_pred` is not a table of lists, or has an item that is not in the catalogue.

    See Also
    --------
    novelty_at_k : Mean self-information of the recommended items.

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
    k = check_positive(k, "k")
    lists, ranks = read_lists(y_pred)
    items = Vocabulary.from_values(catalog, "catalog")
    _look_up(items, lists, "catalog")
    return len(np.unique(lists.pairs.items[ranks <= k])) / len(items)


def novelty_at_k(
    y_pred: Any, X_train: Any, *, k: int = 10, average: str | None = "macro"
) -> float | pd.Series:
    r"""Compute the mean self-information of the recommended items, in bits.

    The self-information of an item is :math:`-\log_2 p_i`, where :math:`p_i` is the share of the
    training users who have interacted with it. It is 0 for an item that all users know, and 1 for
    an item that half of the users know. The novelty of a user is the mean over the first k items.

    Parameters
    ----------
    y_pred : DataFrame of shape (n_recommendations, n_columns)
        Lists as `recommend` returns them: users and items, in the columns of these names or in
        the first two, and a column rank (from 1). Without a column rank, rows are ranked by a
        column score: the highest score comes first, and equal scores stay in the order of the
        rows.
    X_train : DataFrame of shape (n_interactions, n_columns)
        The interactions that the model was fitted on. The columns of users and items have the
        names of those of `y_pred`, or the names user and item, or are the first two. A pair that
        occurs more than once counts once.
    k : int, default=10
        Number of items at the top of each list that count.
    average : {'macro', None}, default='macro'
        'macro' is the mean over users, with equal weights. None returns the value of each user.

    Returns
    -------
    float or Series of shape (n_users,)
        The novelty of the lists, in bits.

    Raises
    ------
    ValueError
        If a table is not as described, or if `y_pred` has an item that `X_train` does not have.
        The self-information of such an item would be infinite.

    See Also
    --------
    coverage_at_k : Share of the catalogue that is recommended.

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
    k = check_k_and_average(k, average)
    lists, ranks = read_lists(y_pred)
    train = Interactions(X_train, "X_train", like=lists, may_repeat=True)
    codes = _look_up(train.items, lists, "X_train")
    n_users_of_item = np.bincount(train.pairs.items[~train.pairs.is_repeat()])
    near = lists.pairs.take(ranks <= k)
    n_users = n_users_of_item[codes[near.items - 1]]
    bits = np.log2(len(train.users)) - np.log2(n_users)  # (n_near,)
    users = near.users - 1
    novelty = np.bincount(users, bits) / np.bincount(users)
    everyone = lists.index_of(np.arange(1, len(novelty) + 1))
    return summarise(novelty, everyone, f"novelty@{k}", average)


def _look_up(items: Vocabulary, lists: Interactions, where: str) -> np.ndarray:
    """Return the codes of the listed items in a catalogue, or raise if one is missing."""
    codes = items.codes(lists.items.ids)
    if not codes.all():
        missing = lists.items.ids[codes == 0]
        raise ValueError(
            f"y_pred recommends {len(missing)} items that {where} does not have, such as "
            f"{missing[:1].tolist()[0]!r}. Add them to {where}."
        )
    return codes
