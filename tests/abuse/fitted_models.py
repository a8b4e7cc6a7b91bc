"""One small estimator of each kind, and ratings for it."""
# SPDX-License-Identifier: BSD-3-Clause

from functools import partial

from sklrec import BayesianFMRegressor, DenseRecRegressor, MFRegressor, SequenceRatingRegressor
from sklrec.datasets import make_ratings

X, Y = make_ratings(30, 20, n_ratings=200, random_state=0)
SMALL = {"n_factors": 3, "random_state": 0}
SWEEPS = {"n_iter": 4, "n_burn_in": 1, "n_draws": 3}
ESTIMATORS = {
    "sgd": partial(MFRegressor, **SMALL, max_epochs=2),
    "implicit": partial(MFRegressor, **SMALL, max_epochs=2, implicit_features=True),
    "adam": partial(MFRegressor, **SMALL, solver="adam", max_epochs=2),
    "als": partial(MFRegressor, **SMALL, solver="als", n_iter=2),
    "gibbs": partial(MFRegressor, **SMALL, solver="gibbs", **SWEEPS),
    "fm": partial(BayesianFMRegressor, **SMALL, **SWEEPS),
    "dense": partial(DenseRecRegressor, **SMALL, hidden_layer_sizes=(4,), max_epochs=1),
    "lstm": partial(SequenceRatingRegressor, **SMALL, hidden_size=3, max_epochs=1),
}
