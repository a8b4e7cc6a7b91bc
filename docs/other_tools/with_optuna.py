"""What the page shows of Optuna; run with optuna 5.0.0 on MovieLens 100K."""
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import optuna
from sklearn.metrics import root_mean_squared_error

from sklrec import MFRegressor
from sklrec.datasets import fetch_movielens
from sklrec.model_selection import GlobalTimeSplit

X, y = fetch_movielens("100k", return_X_y=True)


def objective(trial):
    model = MFRegressor(
        n_factors=trial.suggest_int("n_factors", 8, 64, log=True),
        lr=trial.suggest_float("lr", 0.02, 0.2, log=True),
        max_epochs=trial.suggest_int("max_epochs", 5, 20),
        random_state=0,
    )
    errors = []
    for k, (train, test) in enumerate(GlobalTimeSplit(3).split(X)):
        model.fit(X.iloc[train], y.iloc[train])
        errors.append(root_mean_squared_error(y.iloc[test], model.predict(X.iloc[test])))
        trial.report(np.mean(errors), step=k)
        if trial.should_prune():  # the first splits are worse than those of other trials
            raise optuna.TrialPruned
    return np.mean(errors)


study = optuna.create_study(
    sampler=optuna.samplers.TPESampler(seed=0),
    pruner=optuna.pruners.MedianPruner(n_startup_trials=3),
)
study.optimize(objective, n_trials=12)
best = MFRegressor(random_state=0, **study.best_params).fit(X, y)
