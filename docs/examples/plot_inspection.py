"""
Inspection: plots of models of MovieLens 100K
=============================================

All displays of `sklrec.inspection`: training history, errors, item map, calibration, ranking
curves, and accuracy against time.
"""
# SPDX-License-Identifier: BSD-3-Clause

import matplotlib.pyplot as plt
import torch
from sklearn.model_selection import ShuffleSplit, cross_validate, train_test_split

from sklrec import BayesianMFRegressor, DenseRecRegressor, MFRegressor
from sklrec.datasets import fetch_movielens
from sklrec.inspection import (
    AccuracyTimeDisplay,
    CalibrationDisplay,
    ErrorByActivityDisplay,
    PredictedRatingsDisplay,
    RankingCurveDisplay,
    TrainingHistoryDisplay,
)

movielens = fetch_movielens("100k")
X_train, X_test, y_train, y_test = train_test_split(
    movielens.data, movielens.target, test_size=0.2, random_state=0
)

# %%
# Training history. With a weak penalty the training error keeps falling after the validation error
# has begun to rise. `early_stopping` goes back to the dotted line.
adam = MFRegressor(
    optimizer=torch.optim.Adam, alpha=0.03, max_epochs=20, early_stopping=True, random_state=0
)
TrainingHistoryDisplay.from_estimator(adam.fit(X_train, y_train))

# %%
# Predicted ratings for each number of stars. A prediction is a mean over possible ratings, and
# therefore nearer to the middle: the boxes rise less than the line.
mf = MFRegressor(random_state=0).fit(X_train, y_train)
PredictedRatingsDisplay.from_estimator(mf, X_test, y_test)

# %%
# Errors by activity: they are large for users with few ratings, and for films with few ratings.
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.4), layout="constrained", sharey=True)
ErrorByActivityDisplay.from_estimator(mf, X_test, y_test, by="user", ax=left)
ErrorByActivityDisplay.from_estimator(mf, X_test, y_test, by="item", ax=right)

# %%
# Calibration: the share of ratings inside the predicted intervals should be the nominal share.
bayesian = BayesianMFRegressor(random_state=0).fit(X_train, y_train)
CalibrationDisplay.from_estimator(bayesian, X_test, y_test, name="Bayesian MF")

# %%
# Ranking metrics by the length of the list. Items with four stars or more are relevant.
curves = RankingCurveDisplay.from_estimator(mf, X_test, y_test, threshold=4, name="MF")
RankingCurveDisplay.from_estimator(
    bayesian, X_test, y_test, threshold=4, name="Bayesian MF", ax=curves.ax_
)

# %%
# Accuracy against time, measured by scikit-learn's `cross_validate`.
models = {
    "MF": MFRegressor(random_state=0),
    "Bayesian, 5 sweeps": BayesianMFRegressor(n_iter=5, random_state=0),
    "Bayesian, 20 sweeps": BayesianMFRegressor(random_state=0),
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
