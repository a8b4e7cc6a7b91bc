"""
Side features: age, gender, genres and year
===========================================

Columns besides the user and the item are side features. They help most where a user or an item
has few ratings.
"""
# SPDX-License-Identifier: BSD-3-Clause

import matplotlib.pyplot as plt
import pandas as pd
from sklearn.model_selection import cross_val_score

from sklrec import BayesianMFRegressor, BiasRegressor
from sklrec.datasets import fetch_movielens
from sklrec.model_selection import (
    ColdItemShuffleSplit,
    ColdUserShuffleSplit,
    LastInteractionsSplit,
)

# %%
# Join the tables of users and films. A list of genres is a feature with several values.
movielens = fetch_movielens("100k")
films = movielens.item_frame[["item", "year", "genres"]]
films = films.assign(genres=films["genres"].str.split("|"))
people = movielens.user_frame[["user", "age", "gender", "occupation"]]
X = movielens.data.merge(people, on="user", how="left").merge(films, on="item", how="left")
y = movielens.target
print(X.head(3).to_string(index=False))

# %%
# A sample of users keeps the example short. The test rows are the last ratings of each user, all
# ratings of new users, or all ratings of new films.
sample = X["user"] % 3 == 0
X, y = X[sample], y[sample]
splits = {
    "last ratings": LastInteractionsSplit(10, random_state=0),
    "new users": ColdUserShuffleSplit(1, random_state=0),
    "new films": ColdItemShuffleSplit(1, random_state=0),
}
models = {
    "biases": BiasRegressor(),
    "users and films": BayesianMFRegressor(n_factors=8, random_state=0),
    "with side features": BayesianMFRegressor(n_factors=8, side_features="all", random_state=0),
}
rmse = "neg_root_mean_squared_error"
features = X.drop(columns="timestamp")  # the first split alone reads timestamps
errors = {}
for name, model in models.items():
    errors[name] = {}
    for split, cv in splits.items():
        pairs = [next(cv.split(X))]
        errors[name][split] = -cross_val_score(model, features, y, cv=pairs, scoring=rmse)[0]
errors = pd.DataFrame(errors)
print(errors.round(3).to_string())

# %%
axes = errors.plot.bar(rot=0, figsize=(7, 3.5), ylim=(0.8, 1.15), ylabel="RMSE")
axes.legend(ncols=3, loc="upper left")
plt.show()
