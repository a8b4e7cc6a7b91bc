"""Means and biases, which any model has to beat."""
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import pandas as pd

SHRINKAGE = 5.0  # ratings at zero deviation that are added to each item's and each user's own


def item_means(train: pd.DataFrame, test: pd.DataFrame) -> np.ndarray:
    """Mean rating of each test row's item, shrunk towards the mean of all.

    Parameters
    ----------
    train : DataFrame
        Columns `item` and `rating`.
    test : DataFrame
        Column `item`.
    """
    mean = train["rating"].mean()
    deviations = (train["rating"] - mean).groupby(train["item"]).agg(["sum", "count"])
    biases = deviations["sum"] / (deviations["count"] + SHRINKAGE)
    return mean + test["item"].map(biases).fillna(0).to_numpy()


def user_and_item_biases(train: pd.DataFrame, test: pd.DataFrame) -> np.ndarray:
    """Item means plus the mean deviation of each test row's user from them, shrunk towards 0.

    Parameters
    ----------
    train : DataFrame
        Columns `user`, `item` and `rating`.
    test : DataFrame
        Columns `user` and `item`.
    """
    deviations = (train["rating"] - item_means(train, train)).groupby(train["user"])
    biases = deviations.sum() / (deviations.count() + SHRINKAGE)
    return item_means(train, test) + test["user"].map(biases).fillna(0).to_numpy()


def causal_biases(train: pd.DataFrame, test: pd.DataFrame, history: pd.DataFrame) -> np.ndarray:
    """Item means plus the user's mean deviation from them so far, shrunk towards 0.

    Parameters
    ----------
    train : DataFrame
        What the item means are taken from: columns `item` and `rating`.
    test : DataFrame
        Columns `user`, `item` and `timestamp`.
    history : DataFrame
        What is known of the users, columns as in both; each test row reads of it what is
        strictly earlier.
    """
    past = history[["user", "timestamp"]].assign(
        deviation=history["rating"] - item_means(train, history)
    )
    past = past.sort_values("timestamp", kind="stable")
    by_user = past.groupby("user")["deviation"]
    past = past.assign(total=by_user.cumsum(), count=by_user.cumcount() + 1)
    asked = test[["user", "timestamp"]].assign(place=np.arange(len(test)))
    found = pd.merge_asof(
        asked.sort_values("timestamp", kind="stable"),
        past,
        on="timestamp",
        by="user",
        allow_exact_matches=False,
    ).sort_values("place")
    biases = (found["total"] / (found["count"] + SHRINKAGE)).fillna(0)
    return item_means(train, test) + biases.to_numpy()
