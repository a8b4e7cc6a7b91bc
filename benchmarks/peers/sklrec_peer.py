"""sklrec's `MFRegressor`; encoding the IDs is a part of its fit."""
# SPDX-License-Identifier: BSD-3-Clause

import pandas as pd

from benchmarks.peers._serve import serve
from sklrec import MFRegressor


def pairs(users, items):
    return pd.DataFrame({"user": users, "item": items})


def build(users, items, ratings, scale):
    return pairs(users, items), ratings


def fit(trainset, **params):
    return MFRegressor(**{"random_state": 0, **params}).fit(*trainset)


def predict(model, X):
    return model.predict(X)


if __name__ == "__main__":
    serve(build, fit, predict, pairs)
