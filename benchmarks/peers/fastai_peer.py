"""fastai's `collab_learner`: products of embeddings, or with layers a network on them."""
# SPDX-License-Identifier: BSD-3-Clause

import pandas as pd
from fastai.collab import CollabDataLoaders, collab_learner
from fastai.torch_core import set_seed

from benchmarks.peers._serve import serve


def pairs(users, items):
    return pd.DataFrame({"user": users, "item": items})


def build(users, items, ratings, scale):
    frame = pairs(users, items).assign(rating=ratings)
    # no row is held out: all models learn from the whole training set
    return CollabDataLoaders.from_df(frame, valid_pct=0.0, seed=0, bs=64), scale


def fit(trainset, n_epochs, lr, wd, **params):
    dls, (low, high) = trainset
    set_seed(0)
    # A sigmoid never reaches its ends, which lie outside the scale for that: at 0 and 5.5 stars.
    ends = low - 1, high + 0.5
    learner = collab_learner(dls, use_nn="layers" in params, y_range=ends, **params)
    with learner.no_bar(), learner.no_logging():
        learner.fit_one_cycle(n_epochs, lr, wd=wd)
    return learner


def predict(learner, asked):
    with learner.no_bar(), learner.no_logging():
        predictions, _ = learner.get_preds(dl=learner.dls.test_dl(asked))
    return predictions.numpy().ravel()  # of one column with a network


if __name__ == "__main__":
    serve(build, fit, predict, pairs)
