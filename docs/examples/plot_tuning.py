"""
Hyperparameter tuning: successive halving over epochs
=====================================================

Twenty settings start with two epochs. Only the better ones get more. The search costs a fraction
of one that trains all settings to the end.
"""
# SPDX-License-Identifier: BSD-3-Clause

import matplotlib.pyplot as plt
import pandas as pd
from scipy.stats import loguniform, randint
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.metrics import root_mean_squared_error
from sklearn.model_selection import HalvingRandomSearchCV

from sklrec import MFRegressor
from sklrec.datasets import fetch_movielens
from sklrec.model_selection import GlobalTimeSplit

# %%
# The last fifth of MovieLens 100K is for the final score, and the search does not see it.
X, y = fetch_movielens("100k", return_X_y=True)
train, test = next(GlobalTimeSplit(1, test_size=0.2).split(X))
X_train, y_train = X.iloc[train], y.iloc[train]

# %%
# The learning rate falls to 0 over the epochs, in short trainings too.
search = HalvingRandomSearchCV(
    MFRegressor(random_state=0),
    {"lr": loguniform(0.02, 0.3), "n_factors": randint(8, 100), "biased": [True, False]},
    n_candidates=20,
    resource="max_epochs",
    min_resources=2,
    max_resources=18,
    factor=3,
    scoring="neg_root_mean_squared_error",
    cv=GlobalTimeSplit(1, test_size=0.2),
    random_state=0,
).fit(X_train, y_train)
print("epochs:", search.n_resources_, "settings:", search.n_candidates_)

# %%
# The defaults and the found setting, on the last fifth. A search that beats the defaults on its
# own validation part need not beat them here.
models = {"defaults": MFRegressor(random_state=0).fit(X_train, y_train), "found": search}
for name, model in models.items():
    print(f"{name:9}{root_mean_squared_error(y.iloc[test], model.predict(X.iloc[test])):.4f}")
print(search.best_params_)

# %%
results = pd.DataFrame(search.cv_results_)
figure, axes = plt.subplots(figsize=(7, 3.5), layout="constrained")
for _, rows in results.groupby("iter"):
    label = f"{rows['n_resources'].iloc[0]} epochs"
    axes.scatter(rows["param_lr"].astype(float), -rows["mean_test_score"], label=label)
axes.set(xscale="log", xlabel="Learning rate", ylabel="RMSE of the validation part")
axes.legend()
plt.show()
