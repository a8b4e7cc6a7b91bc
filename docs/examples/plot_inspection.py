"""
Look at a model: how it was trained, where it errs, and what it costs
======================================================================

Draw what `sklrec.inspection` draws, of models of MovieLens 100K.
"""
# SPDX-License-Identifier: BSD-3-Clause

import matplotlib.pyplot as plt
from sklearn.model_selection import ShuffleSplit, cross_validate, train_test_split

from sklrec import DenseRecRegressor, MFRegressor
from sklrec.datasets import fetch_movielens
from sklrec.inspection import (
    AccuracyTimeDisplay,
    CalibrationDisplay,
    ErrorByActivityDisplay,
    ItemMapDisplay,
    PredictedRatingsDisplay,
    RankingCurveDisplay,
    TrainingHistoryDisplay,
)

movielens = fetch_movielens("100k")
films = movielens.item_frame.set_index("item")
X_train, X_test, y_train, y_test = train_test_split(
    movielens.data, movielens.target, test_size=0.2, random_state=0
)

# %%
# How the training went. The training error of Adam keeps falling long after the validation error
# has begun to rise; `early_stopping` goes back to the dotted line.
adam = MFRegressor(solver="adam", alpha=0.03, max_epochs=20, early_stopping=True, random_state=0)
TrainingHistoryDisplay.from_estimator(adam.fit(X_train, y_train))

# %%
# What is predicted for each number of stars. A prediction is a mean over all that may come, and
# so nearer to the middle than what comes: the boxes lie flatter than the line.
mf = MFRegressor(random_state=0).fit(X_train, y_train)
PredictedRatingsDisplay.from_estimator(mf, X_test, y_test)

# %%
# For whom the error is large: users who rated little, and films that few have rated.
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.4), layout="constrained", sharey=True)
ErrorByActivityDisplay.from_estimator(mf, X_test, y_test, by="user", ax=left)
ErrorByActivityDisplay.from_estimator(mf, X_test, y_test, by="item", ax=right)

# %%
# Which films are near each other. The genres were not told to the model: it knows ratings alone.
gibbs = MFRegressor(solver="gibbs", n_iter=60, random_state=0).fit(X_train, y_train)
best_known = X_train["item"].value_counts().index[:500]
ItemMapDisplay.from_estimator(
    gibbs, items=best_known, names=films["title"], groups=films["genres"], annotate=12
)

# %%
# Whether a model is as sure as it may be: of the ratings, so many should lie inside the intervals
# as these promise.
CalibrationDisplay.from_estimator(gibbs, X_test, y_test, name="solver='gibbs'")

# %%
# Ranked lists, by their length. Relevant is what a user gave four stars or more.
curves = RankingCurveDisplay.from_estimator(mf, X_test, y_test, threshold=4, name="solver='sgd'")
RankingCurveDisplay.from_estimator(
    gibbs, X_test, y_test, threshold=4, name="solver='gibbs'", ax=curves.ax_
)

# %%
# What accuracy costs, measured by scikit-learn's `cross_validate`.
models = {
    "sgd": MFRegressor(random_state=0),
    "als": MFRegressor(solver="als", random_state=0),
    "gibbs, 30 sweeps": MFRegressor(solver="gibbs", n_iter=30, random_state=0),
    "gibbs, 60 sweeps": MFRegressor(solver="gibbs", n_iter=60, random_state=0),
    "dense": DenseRecRegressor(max_epochs=5, random_state=0),
}
results = {
    name: cross_validate(
        model,
        movielens.data,
        movielens.target,
        cv=ShuffleSplit(1, test_size=0.2, random_state=0),
        scoring="neg_root_mean_squared_error",
    )
    for name, model in models.items()
}
AccuracyTimeDisplay.from_cv_results(results, error_name="RMSE (stars)")
plt.show()
