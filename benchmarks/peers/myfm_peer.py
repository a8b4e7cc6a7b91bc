"""myFM: a Bayesian factorisation machine on one-hot IDs."""
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
from myfm import MyFMRegressor
from sklearn.preprocessing import OneHotEncoder

from benchmarks.peers._serve import serve


def build(users, items, ratings, scale):
    encoder = OneHotEncoder(handle_unknown="ignore")
    return encoder, encoder.fit_transform(np.column_stack([users, items])), ratings


def fit(trainset, n_iter, **params):
    encoder, X, y = trainset
    sizes = [len(ids) for ids in encoder.categories_]
    model = MyFMRegressor(random_seed=0, **params).fit(X, y, n_iter=n_iter, group_shapes=sizes)
    return encoder, model


def predict(fitted, asked):
    encoder, model = fitted
    return model.predict(encoder.transform(np.column_stack(asked)))


if __name__ == "__main__":
    serve(build, fit, predict)
