"""What the page shows of implicit; run with implicit 0.7.3 on a log in ratings.csv."""
# SPDX-License-Identifier: BSD-3-Clause
# ruff: noqa: E402 - each part is shown with its own imports

import pandas as pd

log = pd.read_csv("ratings.csv")  # user, item, rating, timestamp

# [data]
from scipy.sparse import csr_matrix

users, user_ids = pd.factorize(log["user"])
items, item_ids = pd.factorize(log["item"])
weights = [1.0] * len(log)
matrix = csr_matrix((weights, (users, items)))

# [fit]
from implicit.als import AlternatingLeastSquares

als = AlternatingLeastSquares(factors=32, random_state=0)
als.fit(matrix, show_progress=False)

# [recommend]
user = user_ids.get_loc(1)
found, scores = als.recommend(user, matrix[user], N=10)
item_ids[found]

# [options]
everyone = range(len(user_ids))
als.recommend(
    everyone,
    matrix[everyone],
    N=10,
    filter_items=[0, 1],
)
als.recommend(user, matrix[user], items=[3, 4, 5], N=2)

# [similar]
found, scores = als.similar_items(item_ids.get_loc(2), N=10)
item_ids[found]

# [new_user]
liked = item_ids.get_indexer([2, 3])
row = csr_matrix(
    ([1.0, 1.0], ([0, 0], liked)),
    shape=(1, len(item_ids)),
)
found, scores = als.recommend(0, row, N=10, recalculate_user=True)

# [explain]
total, top, _ = als.explain(user, matrix, item_ids.get_loc(2), N=5)

# [evaluate]
from implicit.evaluation import (
    ranking_metrics_at_k,
    train_test_split,
)

train, test = train_test_split(matrix, random_state=0)
als.fit(train, show_progress=False)
ranking_metrics_at_k(als, train, test, K=10)["ndcg"]

# [save]
from implicit.cpu.als import AlternatingLeastSquares as ALS

als.save("als.npz")
als = ALS.load("als.npz")
