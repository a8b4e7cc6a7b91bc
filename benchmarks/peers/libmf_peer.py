"""LIBMF through its Python binding."""
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import pandas as pd
from libmf import mf

from benchmarks._measure import THREADS
from benchmarks.peers._serve import serve


def build(users, items, ratings, scale):
    user_codes, user_ids = pd.factorize(users)
    item_codes, item_ids = pd.factorize(items)
    triples = np.column_stack([user_codes, item_codes, ratings])
    return pd.Index(user_ids), pd.Index(item_ids), triples


def fit(trainset, **params):
    users, items, triples = trainset
    model = mf.MF(nr_threads=THREADS, quiet=True, **params)
    model.fit(triples)
    return model, users, items


def predict(fitted, asked):
    model, *indexes = fitted
    # A code past the last row makes LIBMF give the mean. Its `predict` reads column by column.
    codes = [index.get_indexer(ids) for index, ids in zip(indexes, asked, strict=True)]
    codes = [
        np.where(code < 0, len(index), code) for index, code in zip(indexes, codes, strict=True)
    ]
    return model.predict(np.asfortranarray(np.column_stack(codes)))


if __name__ == "__main__":
    serve(build, fit, predict)
