"""
Monitoring: drift, unknown IDs and coverage
===========================================

A model is fitted once and then used for twelve weeks. Each week shows whether it is still good:
the error of its predictions, the share of unknown users and items, and the coverage of its lists.
"""
# SPDX-License-Identifier: BSD-3-Clause

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.metrics import root_mean_squared_error

from sklrec import MFRegressor
from sklrec.datasets import make_ratings
from sklrec.metrics import coverage_at_k

# %%
# A generated log, with random weeks. In its last six weeks ratings fall slowly, and 5 % more rows
# of each week are of new items: the item IDs of these rows are changed.
X, y = make_ratings(1_000, 500, n_ratings=60_000, random_state=0)
log = X.assign(rating=y)
log["week"] = np.random.default_rng(0).integers(-11, 13, len(log))
age = (log["week"] - 6).clip(lower=0)
log["rating"] -= 0.05 * age
is_new = log.groupby("week").cumcount() % 20 < age
log["item"] = log["item"].where(~is_new, log["item"] + 1_000)

# %%
# The model is fitted to the first twelve weeks. Later weeks have numbers from 1.
ids = ["user", "item"]
past = log[log["week"] <= 0]
model = MFRegressor(random_state=0).fit(past[ids], past["rating"])
users, items = model.encoder_.categories_


def weekly_figures(rows):
    predicted = model.predict(rows[ids])
    lists = model.recommend(rows["user"].unique(), n_items=10)
    return {
        "mean error": (rows["rating"] - predicted).mean(),
        "RMSE": root_mean_squared_error(rows["rating"], predicted),
        "unknown users": 1 - rows["user"].isin(users).mean(),
        "unknown items": 1 - rows["item"].isin(items).mean(),
        "coverage": coverage_at_k(lists, items),
    }


weeks = log[log["week"] > 0].groupby("week")
figures = pd.DataFrame({week: weekly_figures(rows) for week, rows in weeks}).T
print(figures.round(3).to_string())

# %%
# Alerts: a figure is more than three standard deviations from its mean of the first six weeks.
usual = figures.loc[:6]
is_alert = (figures - usual.mean()).abs() > 3 * usual.std()
for week, row in is_alert.iterrows():
    if row.any():
        print(f"week {week}: {', '.join(figures.columns[row])}")

# %%
chosen = ["mean error", "RMSE", "unknown items"]
lines = figures[chosen].plot(subplots=True, figsize=(7, 5), marker="o", legend=False)
for axes, name in zip(lines, chosen, strict=True):
    axes.set(ylabel=name, xlabel="Weeks since the fit")
    axes.axvspan(6.5, 12, alpha=0.1)
plt.show()
