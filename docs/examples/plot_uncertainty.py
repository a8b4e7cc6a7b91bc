"""
Uncertainty: prediction intervals and careful recommendations
=============================================================

``return_std=True`` gives the standard deviation of each prediction. It makes prediction intervals,
and lists that avoid items with few ratings.
"""
# SPDX-License-Identifier: BSD-3-Clause

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.model_selection import train_test_split

from sklrec import BayesianMFRegressor
from sklrec.datasets import fetch_movielens

# %%
# Half of the ratings of MovieLens 100K, so that many films have few of them.
X, y = fetch_movielens("100k", return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.5, random_state=0)
model = BayesianMFRegressor(random_state=0).fit(X_train, y_train)
rated, std = model.predict(X_test, return_std=True)

# %%
# How many of the test ratings are inside of the intervals? The standard deviation includes the
# noise of single ratings.
rows = []
for level, width in ((0.5, 0.674), (0.8, 1.282), (0.9, 1.645), (0.95, 1.960)):
    inside = np.abs(y_test - rated) <= width * std
    rows.append((level, inside.mean()))
print(pd.DataFrame(rows, columns=["level", "share inside"]).round(3).to_string(index=False))

# %%
# The fewer ratings a film has, the wider is the interval.
n_ratings = X_test["item"].map(X_train["item"].value_counts()).fillna(0)
labels = ["0", "1-2", "3-5", "6-10", "11-20", "21-50", "51-100", "101-300"]
groups = pd.cut(n_ratings, [-1, 0, 2, 5, 10, 20, 50, 100, 300], labels=labels)
found = pd.DataFrame({"error": np.abs(y_test - rated), "std": std}).groupby(groups, observed=True)
figure, axes = plt.subplots(figsize=(7, 3.5), layout="constrained")
mean_std = found["std"].mean()
axes.plot(mean_std.index, mean_std, "o-", label="mean predicted standard deviation")
rmse = found["error"].agg(lambda errors: np.sqrt(np.mean(errors**2)))
axes.plot(rmse.index, rmse, "s--", label="RMSE of the test ratings")
axes.set(xlabel="Training ratings of the film")
axes.legend()
plt.show()

# %%
# ``n_std=1`` ranks by the prediction minus one standard deviation.
films = fetch_movielens("100k").item_frame.set_index("item")["title"]
counts = X_train["item"].value_counts()
for n_std in (0, 1):
    films_of_user = model.recommend([196], n_items=5, n_std=n_std)["item"]
    table = pd.DataFrame({"film": films_of_user.map(films), "ratings": films_of_user.map(counts)})
    print(f"n_std={n_std}", table.to_string(index=False), sep="\n")
