"""What the page shows of fastai; run with fastai 2.8.12 on a log in ratings.csv."""
# SPDX-License-Identifier: BSD-3-Clause
# ruff: noqa: E402 - each part is shown with its own imports

import pandas as pd

log = pd.read_csv("ratings.csv")  # user, item, rating, timestamp

# [data]
from fastai.collab import CollabDataLoaders

table = log[["user", "item", "rating"]]
dls = CollabDataLoaders.from_df(table, valid_pct=0.1, seed=0, bs=64)

# [fit]
from fastai.collab import collab_learner

learn = collab_learner(dls, n_factors=50, y_range=(0, 5.5))
learn.fit_one_cycle(5, 5e-3, wd=0.1)

# [predict]
asked = dls.test_dl(table[["user", "item"]][:3])
learn.get_preds(dl=asked)[0]

# [read]
items = dls.classes["item"][1:]  # the first stands for unknown ones
learn.model.bias(items, is_item=True)
learn.model.weight(items, is_item=True)

# [net]
learn = collab_learner(dls, use_nn=True, layers=[64, 32], y_range=(0, 5.5))

# [save]
from fastai.learner import load_learner

learn.export("collab.pkl")
learn = load_learner("collab.pkl")
