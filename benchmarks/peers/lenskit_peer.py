"""LensKit's `BiasedMFScorer`, with its own bias model for unknown users and items."""
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import pandas as pd
from lenskit.als import BiasedMFScorer
from lenskit.batch import predict as batch_predict
from lenskit.data import from_interactions_df
from lenskit.pipeline import predict_pipeline
from lenskit.training import TrainingOptions

from benchmarks.peers._serve import serve


def pairs(users, items):
    return pd.DataFrame({"user_id": users, "item_id": items})


def build(users, items, ratings, scale):
    return from_interactions_df(pairs(users, items).assign(rating=ratings))


def fit(trainset, **params):
    pipeline = predict_pipeline(BiasedMFScorer(**params))
    pipeline.train(trainset, TrainingOptions(rng=0))
    return pipeline


def predict(pipeline, asked):
    found = batch_predict(pipeline, asked, n_jobs=1).to_df()
    found = found.drop_duplicates(["user_id", "item_id"]).set_index(["user_id", "item_id"])
    return found["score"].reindex(pd.MultiIndex.from_frame(asked)).to_numpy(np.float64)


if __name__ == "__main__":
    serve(build, fit, predict, pairs)
