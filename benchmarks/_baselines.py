"""Means and biases: the baselines of every model."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Callable
from itertools import product

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix, diags, hstack
from scipy.sparse.linalg import cg
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import OneHotEncoder

from benchmarks._data import rmse

PENALTIES = [1, 2, 4, 8, 16, 32, 64, 128, 10_000]  # in ratings at the intercept
SHRINKAGE = 5.0  # ratings without deviation that are added to those of each item and each user


def item_means(train: pd.DataFrame, test: pd.DataFrame) -> np.ndarray:
    """Mean rating of each test row's item, shrunk towards the mean of all."""
    mean = train["rating"].mean()
    deviations = (train["rating"] - mean).groupby(train["item"]).agg(["sum", "count"])
    biases = deviations["sum"] / (deviations["count"] + SHRINKAGE)
    return mean + test["item"].map(biases).fillna(0).to_numpy()


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


def ridge_biases(train: pd.DataFrame, seed: int) -> Callable[[pd.DataFrame], np.ndarray]:
    """Ridge regression on one-hot users and items; a tenth of the rows chooses both penalties."""
    known, held_out = train_test_split(train, test_size=0.1, random_state=seed)
    design, fit = ridge(known)
    X, y = design(held_out), held_out["rating"].to_numpy()
    errors = {pair: rmse(y, X @ fit(*pair)) for pair in product(PENALTIES, repeat=2)}
    design, fit = ridge(train)
    weights = fit(*min(errors, key=errors.__getitem__))
    return lambda rows: design(rows) @ weights


def ridge(train: pd.DataFrame) -> tuple[Callable[..., csr_matrix], Callable[..., np.ndarray]]:
    """Functions that make the matrix of some rows, and the weights for a pair of penalties."""
    encoder = OneHotEncoder(handle_unknown="ignore").fit(train[["user", "item"]])

    def design(rows: pd.DataFrame) -> csr_matrix:  # the first column is the intercept
        return hstack([np.ones((len(rows), 1)), encoder.transform(rows[["user", "item"]])], "csr")

    X, sizes = design(train), [1, *map(len, encoder.categories_)]
    gram, target = X.T @ X, X.T @ train["rating"].to_numpy()

    def fit(user_penalty: float, item_penalty: float) -> np.ndarray:
        penalty = np.repeat([0.0, user_penalty, item_penalty], sizes)
        inverse = diags(1 / (gram.diagonal() + penalty))
        weights, _ = cg(gram + diags(penalty), target, rtol=1e-6, M=inverse)
        return weights

    return design, fit
