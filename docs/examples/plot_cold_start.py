"""
Cold start: how many ratings a new user needs
=============================================

A model has never seen a fifth of the users. It learns their first ratings, without a new fit, and
predicts their other ratings.
"""
# SPDX-License-Identifier: BSD-3-Clause

import matplotlib.pyplot as plt
import pandas as pd
from sklearn.metrics import root_mean_squared_error

from sklrec import BayesianMFRegressor
from sklrec.datasets import fetch_movielens
from sklrec.model_selection import ColdUserShuffleSplit, LastInteractionsSplit

# %%
# A fifth of the users is held out. Of these, all ratings but the last ten are known later.
X, y = fetch_movielens("100k", return_X_y=True)
train, new = next(ColdUserShuffleSplit(1, random_state=0).split(X))
X_new, y_new = X.iloc[new], y.iloc[new]
known, test = next(LastInteractionsSplit(10, random_state=0).split(X_new))
X_test, y_test = X_new.iloc[test], y_new.iloc[test]
X_known = X_new.iloc[known].sort_values("timestamp", kind="stable")
X_known = X_known[X_known["item"].isin(X["item"].iloc[train])]  # new users of known items
rank = X_known.groupby("user").cumcount()

# %%
# ``fold_in`` returns a copy of the model that knows the new users. Items do not change.
model = BayesianMFRegressor(random_state=0).fit(X.iloc[train], y.iloc[train])
errors = {0: root_mean_squared_error(y_test, model.predict(X_test))}
for n_ratings in (1, 2, 5, 10, 20, 50):
    first = X_known[rank < n_ratings]
    informed = model.fold_in(first, y[first.index])
    errors[n_ratings] = root_mean_squared_error(y_test, informed.predict(X_test))
table = pd.DataFrame({"ratings of each new user": errors.keys(), "RMSE": errors.values()})
print(table.to_string(index=False, float_format="{:.3f}".format))

# %%
# The first two ratings of a user do not help here. From about five on, each further one does.
figure, axes = plt.subplots(figsize=(6, 3.5), layout="constrained")
axes.plot([str(n) for n in errors], list(errors.values()), "o-")
axes.set(xlabel="Ratings of each new user that the model knows", ylabel="RMSE of later ratings")
plt.show()
