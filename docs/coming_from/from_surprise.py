"""What the page shows of Surprise; run with scikit-surprise 1.1.5 on a log in ratings.csv."""
# SPDX-License-Identifier: BSD-3-Clause
# ruff: noqa: B018, E402 - each part is shown with its own imports

import pandas as pd

log = pd.read_csv("ratings.csv")  # user, item, rating, timestamp

# [data]
from surprise import Dataset, Reader

table = log[["user", "item", "rating"]]
scale = Reader(rating_scale=(1, 5))
data = Dataset.load_from_df(table, scale)

# [fit]
from surprise import SVD

trainset = data.build_full_trainset()
svd = SVD(random_state=0).fit(trainset)
svd.predict(uid=1, iid=2).est

# [evaluate]
from surprise.model_selection import cross_validate

scores = cross_validate(svd, data, measures=["rmse"], cv=5)
scores["test_rmse"].mean()

from surprise.model_selection import GridSearchCV

search = GridSearchCV(
    SVD,
    {"n_factors": [8, 32], "reg_all": [0.02, 0.08]},
    measures=["rmse"],
    cv=3,
)
search.fit(data)
search.best_params["rmse"]

# [recommend]
user = trainset.to_inner_uid(1)
seen = {item for item, _ in trainset.ur[user]}
scores = {
    trainset.to_raw_iid(item): svd.estimate(user, item)
    for item in trainset.all_items()
    if item not in seen
}
sorted(scores, key=scores.get, reverse=True)[:10]

# [save]
from surprise import dump

dump.dump("svd.pickle", algo=svd)
_, svd = dump.load("svd.pickle")
