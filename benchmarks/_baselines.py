"""Means and biases: the baselines of every model."""
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import pandas as pd

SHRINKAGE = 5.0  # ratings without deviation that are added to those of each item and each user


def item_means(train: pd.DataFrame, test: pd.DataFrame) -> np.ndarray:
    """Mean rating of each test row's item, shrunk towards the mean of all."""
    mean = train["rating"].mean()
    deviations = (train["rating"] - mean).groupby(train["item"]).agg(["sum", "count"])
    biases = deviations["sum"] / (deviations["count"] + SHRINKAGE)
    return mean + test["item"].map(biases).fillna(0).to_numpy()


def user_and_item_biases(train: pd.DataFrame, test: pd.DataFrame) -> np.ndarray:
    """Item means plus the shrunken mean deviation of the user of each test row."""
    deviations = (train["rating"] - item_means(train, train)).groupby(train["user"])
    biases = deviations.sum() / (deviations.count() + SHRINKAGE)
    return item_means(train, test) + test["user"].map(biases).fillna(0).to_numpy()


def causal_biases(train: pd.DataFrame, test: pd.DataFrame, history: pd.DataFrame) -> np.ndarray:
    """Item means plus the deviation of the user in strictly earlier rows of `history`."""
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
