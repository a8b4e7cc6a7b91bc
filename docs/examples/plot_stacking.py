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

from sklrec import BayesianMFRegressor, BiasRegressor, MFRegressor
from sklrec.datasets import fetch_movielens

# %%
# The ratings of every third user keep the example short.
X, y = fetch_movielens("100k", return_X_y=True)
sample = X["user"] % 3 == 0
X, y = X.loc[sample, ["user", "item"]], y[sample]
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.2, random_state=0)

# %%
# The mean of the models, and a stack whose last step is a linear regression.
models = [
    ("biases", BiasRegressor()),
    ("factors", MFRegressor(random_state=0)),
    ("SVD++", MFRegressor(svdpp=True, random_state=0)),
    ("Bayesian", BayesianMFRegressor(n_factors=16, random_state=0)),
]
voting = VotingRegressor(models).fit(X_train, y_train)
stack = StackingRegressor(models, final_estimator=RidgeCV(), cv=3).fit(X_train, y_train)
fitted = {**voting.named_estimators_, "voting": voting, "stack": stack}
errors = {
    name: root_mean_squared_error(y_test, model.predict(X_test)) for name, model in fitted.items()
}
table = pd.Series(errors, name="RMSE").sort_values(ascending=False)
print(table.round(4).to_string())

# %%
# The stack gives most weight to the best model.
weights = pd.Series(stack.final_estimator_.coef_, [name for name, _ in models], name="weight")
print(weights.round(2).to_string())

# %%
axes = table.plot.barh(figsize=(6.5, 3), xlabel="RMSE of the test ratings")
axes.set_xlim(0.99 * table.min(), 1.01 * table.max())
axes.figure.set_layout_engine("constrained")
plt.show()
