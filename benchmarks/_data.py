"""Logs as tables with columns `user`, `item` and `rating`, and errors of predictions."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.model_selection import KFold

Fold = tuple[pd.DataFrame, pd.DataFrame]
USER_FEATURES, ITEM_FEATURES = ["age", "gender", "occupation"], ["genres", "year"]
SHUFFLED = "KFold(5, shuffle=True, random_state=0)"


def movielens() -> pd.DataFrame:
    """MovieLens 100K in the order of its file."""
    from sklrec.datasets import fetch_movielens

    X, y = fetch_movielens("100k", return_X_y=True)
    return X[["user", "item"]].assign(rating=np.asarray(y, dtype=np.float64))


def described_movielens() -> pd.DataFrame:
    """MovieLens 100K with timestamps, side features, `day`, and `session`: the day of a user."""
    from sklrec.datasets import fetch_movielens

    data = fetch_movielens("100k")
    log = data.data.assign(rating=data.target)
    log = log.merge(data.user_frame[["user", *USER_FEATURES]], on="user", how="left")
    log = log.merge(data.item_frame[["item", *ITEM_FEATURES]], on="item", how="left")
    day = (log["timestamp"] // 86_400).astype(str)
    session = log["user"].astype(str) + "_" + day
    return log.assign(year=log["year"].astype(np.float64), day=day, session=session)


def made(n_users: int, n_items: int, n_ratings: int, timestamps: bool = False) -> pd.DataFrame:
    """A made log; some users and items have many ratings, and most have few."""
    from sklrec.datasets import make_ratings

    X, y = make_ratings(n_users, n_items, n_ratings, timestamps=timestamps, random_state=0)
    return X.assign(rating=np.asarray(y, dtype=np.float64))


def grown_size(n_ratings: int) -> tuple[int, int]:
    """Numbers of users and items for n ratings, about those of the MovieLens files."""
    return n_ratings // 100, round(5 * n_ratings**0.5)


def grown(n_ratings: int, *, timestamps: bool = False) -> pd.DataFrame:
    return made(*grown_size(n_ratings), n_ratings, timestamps)


def split_genres(X: pd.DataFrame) -> pd.DataFrame:
    """Turn the text of the genres into lists, if there is such a column."""
    return X.assign(genres=X["genres"].str.split("|")) if "genres" in X else X


def read_log(
    path: str | Path, user: str, item: str, rating: str, timestamp: str | None = None
) -> pd.DataFrame:
    """Ratings of a CSV file or a zip; repeated pairs become one row, with mean and last time."""
    columns = {user: "user", item: "item", rating: "rating"}
    columns |= {} if timestamp is None else {timestamp: "timestamp"}
    found = list(pd.read_csv(path, nrows=0).columns)
    if missing := [name for name in columns if name not in found]:
        raise ValueError(
            f"{path} has no column {', '.join(map(repr, missing))}; it has "
            f"{', '.join(map(repr, found))}. Name them with --user, --item and --rating."
        )
    log = pd.read_csv(path, usecols=list(columns)).rename(columns=columns)
    of_pairs = log.groupby(["user", "item"], sort=False, as_index=False)
    return of_pairs.agg({"rating": "mean"} | ({"timestamp": "max"} if timestamp else {}))


def folds(log: pd.DataFrame, *, shuffle: bool) -> Iterator[Fold]:
    """Five folds; without shuffling, those of MovieLens 100K are the published u1 to u5."""
    splitter = KFold(5, shuffle=shuffle, random_state=0 if shuffle else None)
    for train, test in splitter.split(log):
        yield log.iloc[train], log.iloc[test]


def rmse(truth: np.ndarray, prediction: np.ndarray) -> float:
    return float(np.sqrt(np.mean((truth - prediction) ** 2)))


def mae(truth: np.ndarray, prediction: np.ndarray) -> float:
    return float(np.mean(np.abs(truth - prediction)))
