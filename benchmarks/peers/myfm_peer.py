"""myFM: a Bayesian factorisation machine on one-hot IDs, and on who rated what."""
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
from myfm import MyFMRegressor, RelationBlock
from scipy.sparse import csr_matrix, hstack, identity, vstack
from sklearn.preprocessing import OneHotEncoder, normalize

from benchmarks.peers._serve import serve


def build(users, items, ratings, scale):
    pairs = np.column_stack([users, items])
    encoder = OneHotEncoder(handle_unknown="ignore").fit(pairs)
    return encoder, pairs, ratings


def fit(trainset, n_iter, implicit=False, **params):
    encoder, pairs, ratings = trainset
    sizes = [len(ids) for ids in encoder.categories_]
    model = MyFMRegressor(random_seed=0, **params)
    if not implicit:
        X = encoder.transform(pairs)
        return encoder, None, model.fit(X, ratings, n_iter=n_iter, group_shapes=sizes)
    tables = described(encoder, pairs)
    shapes = [sizes[0], sizes[1], sizes[1], sizes[0]]
    blocks = blocks_of(encoder, tables, pairs)
    model.fit(None, ratings, X_rel=blocks, n_iter=n_iter, group_shapes=shapes)
    return encoder, tables, model


def described(encoder, pairs):
    """Each user by their ID and the items they rated, items likewise; last a row for others."""
    rows, columns = (known_or_last(encoder, pairs, side) for side in (0, 1))
    n_users, n_items = (len(ids) for ids in encoder.categories_)
    met = csr_matrix((np.ones(len(rows)), (rows, columns)), (n_users, n_items))
    tables = []
    for own, others in ((n_users, met), (n_items, met.T.tocsr())):
        # rows of unit length: each entry is one by the root of their number
        table = hstack([identity(own, format="csr"), normalize(others, norm="l2")])
        tables.append(vstack([table, csr_matrix((1, table.shape[1]))], format="csr"))
    return tables


def known_or_last(encoder, pairs, side):
    """Places of IDs among those that were seen, and the one after them for others."""
    ids = encoder.categories_[side]
    places = np.searchsorted(ids, pairs[:, side]).clip(max=len(ids) - 1)
    return np.where(ids[places] == pairs[:, side], places, len(ids))


def blocks_of(encoder, tables, pairs):
    return [
        RelationBlock(known_or_last(encoder, pairs, side), table)
        for side, table in enumerate(tables)
    ]


def predict(fitted, asked):
    encoder, tables, model = fitted
    pairs = np.column_stack(asked)
    if tables is None:
        return model.predict(encoder.transform(pairs))
    return model.predict(None, blocks_of(encoder, tables, pairs))


if __name__ == "__main__":
    serve(build, fit, predict)
