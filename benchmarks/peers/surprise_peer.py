"""Surprise's `SVD`."""
# SPDX-License-Identifier: BSD-3-Clause

import pandas as pd
from surprise import SVD, Dataset, Reader

from benchmarks.peers._serve import serve


def pairs(users, items):
    return list(zip(users.tolist(), items.tolist(), [0.0] * len(users), strict=True))


def build(users, items, ratings, scale):
    frame = pd.DataFrame({"user": users, "item": items, "rating": ratings})
    return Dataset.load_from_df(frame, Reader(rating_scale=scale)).build_full_trainset()


def fit(trainset, **params):
    return SVD(**{"random_state": 0, **params}).fit(trainset)


def predict(model, asked):
    return [prediction.est for prediction in model.test(asked)]


if __name__ == "__main__":
    serve(build, fit, predict, pairs)
