"""What the page shows of LensKit; run with lenskit 2025.8.1 on a log in ratings.csv."""
# SPDX-License-Identifier: BSD-3-Clause
# ruff: noqa: E402 - each part is shown with its own imports

import pandas as pd

log = pd.read_csv("ratings.csv")  # user, item, rating, timestamp

# [data]
from lenskit.data import from_interactions_df

table = log.rename(columns={"user": "user_id", "item": "item_id"})
data = from_interactions_df(table)

# [fit]
from lenskit.als import BiasedMFScorer
from lenskit.batch import predict
from lenskit.pipeline import predict_pipeline

model = predict_pipeline(BiasedMFScorer(embedding_size=32))
model.train(data)
predict(model, table[:3], n_jobs=1).to_df()

# [evaluate]
from lenskit.metrics import RMSE, RunAnalysis
from lenskit.splitting import crossfold_records

errors = []
for split in crossfold_records(data, 5, rng=0):
    model.train(split.train)
    rated = predict(model, split.test, n_jobs=1)
    analysis = RunAnalysis(RMSE())
    result = analysis.measure(rated, split.test)
    errors.append(result.global_metrics()["RMSE"])

# [recommend]
from lenskit.als import ImplicitMFScorer
from lenskit.batch import recommend
from lenskit.pipeline import topn_pipeline

lists = topn_pipeline(ImplicitMFScorer(embedding_size=32))
lists.train(data)
recommend(lists, [1], n=10, n_jobs=1).to_df()

# [metrics]
from lenskit.metrics import NDCG
from lenskit.splitting import LastN, crossfold_users

split = next(crossfold_users(data, 5, LastN(5), rng=0))
lists.train(split.train)
recs = recommend(lists, split.test.keys(), n=10, n_jobs=1)
analysis = RunAnalysis(NDCG(10))
analysis.measure(recs, split.test).list_summary()
