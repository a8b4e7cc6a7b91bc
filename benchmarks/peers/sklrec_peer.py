"""sklrec's estimators; the encoding of the IDs is a part of their fit."""
# SPDX-License-Identifier: BSD-3-Clause

import pandas as pd

from benchmarks._data import split_genres
from benchmarks._models import Model, make
from benchmarks.peers._serve import serve


def pairs(users, items, **side):
    return split_genres(pd.DataFrame({"user": users, "item": items, **side}))


def build(users, items, ratings, scale, **side):
    return pairs(users, items, **side), ratings


def fit(trainset, **params):
    return make(Model("", "sklrec", params)).fit(*trainset)


def predict(model, X):
    return model.predict(X)


if __name__ == "__main__":
    serve(build, fit, predict, pairs)
