"""What the page shows of Surprise; run with scikit-surprise 1.1.5 on a log in ratings.csv."""
# SPDX-License-Identifier: BSD-3-Clause
# ruff: noqa: B018, E402, NPY002 - each part is shown with its own imports

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

# [ids]
inner = trainset.to_inner_uid(1)
trainset.to_raw_uid(inner)
svd.pu[inner]

# [lists]
from collections import defaultdict

pairs = trainset.build_anti_testset()
top = defaultdict(list)
for found in svd.test(pairs):
    top[found.uid].append((found.est, found.iid))
for user, rated in top.items():
    top[user] = sorted(rated, reverse=True)[:10]

# [evaluate]
from surprise.model_selection import cross_validate

scores = cross_validate(svd, data, measures=["rmse"], cv=5)
scores["test_rmse"].mean()

# [precision]
from surprise.model_selection import KFold

for train, test in KFold(5, random_state=0).split(data):
    by_user = defaultdict(list)
    for found in svd.fit(train).test(test):
        by_user[found.uid].append((found.est, found.r_ui))
    precision = []
    for rated in by_user.values():
        best = sorted(rated, reverse=True)[:10]
        hits = sum(true >= 4 for _, true in best)
        precision.append(hits / len(best))

# [tune]
from surprise.model_selection import GridSearchCV

search = GridSearchCV(
    SVD,
    {"n_factors": [8, 32], "reg_all": [0.02, 0.08]},
    measures=["rmse"],
    cv=3,
)
search.fit(data)
search.best_params["rmse"]

# [held_out]
import random

from surprise import accuracy

rows = data.raw_ratings
random.shuffle(rows)
n = int(0.9 * len(rows))
data.raw_ratings = rows[:n]
search.fit(data)
best = search.best_estimator["rmse"]
best.fit(data.build_full_trainset())
accuracy.rmse(best.test(data.construct_testset(rows[n:])))

# [training_error]
accuracy.rmse(svd.test(trainset.build_testset()))

# [neighbours]
from surprise import KNNBaseline

options = {"name": "pearson_baseline", "user_based": False}
knn = KNNBaseline(sim_options=options).fit(trainset)
near = knn.get_neighbors(trainset.to_inner_iid(2), k=10)
[trainset.to_raw_iid(item) for item in near]

# [save]
from surprise import dump

dump.dump("svd.pickle", algo=svd)
_, svd = dump.load("svd.pickle")

# [own]
import numpy as np
from surprise import AlgoBase


class ItemMean(AlgoBase):
    def fit(self, trainset):
        AlgoBase.fit(self, trainset)
        self.means = {}
        for item, ratings in trainset.ir.items():
            self.means[item] = np.mean([r for _, r in ratings])
        return self

    def estimate(self, u, i):
        return self.means.get(i, self.trainset.global_mean)


ItemMean().fit(trainset).predict(1, 2).est

# [seed]
random.seed(0)
np.random.seed(0)
cross_validate(SVD(), data, cv=5)
