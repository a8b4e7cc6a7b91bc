"""implicit's `AlternatingLeastSquares` on the rated pairs; it does not read the ratings."""
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import pandas as pd
from implicit.als import AlternatingLeastSquares
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from benchmarks._measure import THREADS
from benchmarks.peers._serve import serve


def build(users, items, ratings, scale):
    user_codes, user_ids = pd.factorize(users)
    item_codes, item_ids = pd.factorize(items)
    there = np.ones(len(users), dtype=np.float32)
    shape = len(user_ids), len(item_ids)
    matrix = csr_matrix((there, (user_codes, item_codes)), shape)
    return pd.Index(user_ids), pd.Index(item_ids), matrix


def fit(trainset, **params):
    users, items, matrix = trainset
    model = AlternatingLeastSquares(**{"random_state": 0, "num_threads": THREADS, **params})
    with threadpool_limits(1, "blas"):  # it has threads of its own, and warns of BLAS's
        model.fit(matrix, show_progress=False)
    return model, users, items


def predict(fitted, asked):
    """Preference of each pair; 0 if the user or the item is unknown."""
    model, *indexes = fitted
    users, items = (index.get_indexer(ids) for index, ids in zip(indexes, asked, strict=True))
    found = np.einsum("ij,ij->i", model.user_factors[users], model.item_factors[items])
    return np.where((users < 0) | (items < 0), 0, found)


if __name__ == "__main__":
    serve(build, fit, predict)
