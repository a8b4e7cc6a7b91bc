"""Made tables of ratings."""
# SPDX-License-Identifier: BSD-3-Clause

from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
import pandas as pd


@cache
def _made(n_users: int, n_items: int, n_ratings: int) -> tuple[pd.DataFrame, pd.Series]:
    datasets = import_module("sklrec.datasets")
    X, y = datasets.make_ratings(n_users, n_items, n_ratings, step=1, random_state=0)
    return X.reset_index(drop=True), y.reset_index(drop=True)


def plain(n_users: int = 250, n_items: int = 120, n_ratings: int = 6000) -> Any:
    """Users, items and timestamps; no case can change the table of another."""
    return tuple(part.copy() for part in _made(n_users, n_items, n_ratings))


def large() -> Any:  # many more users and items than a batch of 256 has ratings
    return plain(2500, 1500, 10_000)


def string_ids() -> Any:
    X, y = plain()
    return X.assign(user="u" + X["user"].astype(str), item="i" + X["item"].astype(str)), y


def featured() -> Any:
    """Side features of users, items and ratings: numbers, categories, dates, lists, gaps."""
    X, y = plain()
    user, item, hour = X["user"], X["item"], X["timestamp"] // 3600 % 24
    X["age"] = (user * 37 % 61 + 15.0).where(user % 7 != 0)
    X["joined"] = pd.to_datetime(user % 50, unit="D", origin="2020-01-01").where(user % 11 != 0)
    X["studio"] = ("s" + (item % 9).astype(str)).where(item % 10 != 0, None)
    X["tags"] = [["drama", "war"][: 1 + k % 2] if k % 3 else ["comedy"] for k in item]
    X["hour"] = hour.where(hour != 5)
    X["place"] = pd.Categorical(np.where(hour % 2, "home", "train"))
    return X.drop(columns="timestamp"), y


def weights_of(y: Any) -> np.ndarray:
    return 0.5 + np.arange(len(y)) % 4


def with_unknown(X: Any) -> Any:
    """The rows, and some with an unknown user, an unknown item or both."""
    if not isinstance(X, pd.DataFrame) or X["user"].dtype.kind != "i":
        return X
    unknown = [X[:3].assign(user=-1), X[:3].assign(item=-1), X[:2].assign(user=-1, item=-1)]
    return pd.concat([X, *unknown], ignore_index=True)
