"""
Ensembles: stacking and voting of rating models
===============================================

scikit-learn's meta-estimators combine rating models. A stack learns weights of the models from
predictions for held-out rows.
"""
# SPDX-License-Identifier: BSD-3-Clause

import matplotlib.pyplot as plt
import pandas as pd
from sklearn.ensemble import StackingRegressor, VotingRegressor
from sklearn.linear_model import RidgeCV
from sklearn.metrics import root_mean_squared_error
from sklearn.model_selection import train_test_split

from sklrec import BayesianMFRegressor, BiasRegressor, DenseRecRegressor, MFRegressor
from sklrec.datasets import fetch_movielens

# %%
X, y = fetch_movielens("100k", return_X_y=True)
X = X[["user", "item"]]
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.2, random_state=0)

# %%
# The mean of the models, and a stack whose last step is a linear regression.
models = [
    ("biases", BiasRegressor()),
    ("factors", MFRegressor(random_state=0)),
    ("dense net", DenseRecRegressor(random_state=0)),
    ("Bayesian", BayesianMFRegressor(n_factors=16, random_state=0)),
]
voting = VotingRegressor(models)
stack = StackingRegressor(models, final_estimator=RidgeCV(), cv=3)

errors = {}
for name, model in [*models, ("voting", voting), ("stack", stack)]:
    rated = model.fit(X_train, y_train).predict(X_test)
    errors[name] = root_mean_squared_error(y_test, rated)
table = pd.Series(errors, name="RMSE").sort_values(ascending=False)
print(table.round(4).to_string())

# %%
weights = pd.Series(stack.final_estimator_.coef_, [name for name, _ in models], name="weight")
print(weights.round(2).to_string())

# %%
axes = table.plot.barh(figsize=(6.5, 3), xlim=(0.89, 0.95), xlabel="RMSE of the test ratings")
axes.figure.set_layout_engine("constrained")
plt.show()
