"""sklrec's estimators; the encoding of the IDs is a part of their fit."""
# SPDX-License-Identifier: BSD-3-Clause

import pandas as pd

import sklrec
from benchmarks._data import split_genres
from benchmarks.peers._serve import serve


def pairs(users, items, **side):
    return split_genres(pd.DataFrame({"user": users, "item": items, **side}))


def build(users, items, ratings, scale, **side):
    return pairs(users, items, **side), ratings


def fit(trainset, estimator="MFRegressor", **params):
    return getattr(sklrec, estimator)(**{"random_state": 0, **params}).fit(*trainset)


def predict(model, X):
    return model.predict(X)


if __name__ == "__main__":
    serve(build, fit, predict, pairs)
