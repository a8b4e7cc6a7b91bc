"""One small estimator of each kind, and ratings for it."""
# SPDX-License-Identifier: BSD-3-Clause

from functools import partial

from sklrec import (
    BayesianMFRegressor,
    BiasRegressor,
    DenseRecRegressor,
    MFRegressor,
    SequenceRatingRegressor,
)
from sklrec.datasets import make_ratings

X, Y = make_ratings(30, 20, n_ratings=200, random_state=0)
SMALL = {"n_factors": 3, "random_state": 0}
BAYESIAN = partial(BayesianMFRegressor, **SMALL, n_iter=4)
ESTIMATORS = {
    "mf": partial(MFRegressor, **SMALL, max_epochs=2),
    "mf svdpp": partial(MFRegressor, **SMALL, max_epochs=2, svdpp=True),
    "bayesian": BAYESIAN,
    "bayesian sides": partial(BAYESIAN, svdpp=True, side_features="all"),
    "bias": BiasRegressor,
    "dense": partial(DenseRecRegressor, **SMALL, hidden_layer_sizes=(4,), max_epochs=1),
    "lstm": partial(SequenceRatingRegressor, **SMALL, hidden_size=3, max_epochs=1),
}
