"""One small estimator of each kind, and ratings for it."""
# SPDX-License-Identifier: BSD-3-Clause

import sys
from functools import partial
from pathlib import Path

from sklrec import (
    BayesianMFRegressor,
    BiasRegressor,
    DenseRecRegressor,
    EASERecommender,
    ImplicitMFRecommender,
    MFRegressor,
    ModuleRecRegressor,
    PopularityRecommender,
    SequenceRatingRegressor,
)
from sklrec.datasets import make_ratings

sys.path.append(str(Path(__file__).parent.parent))  # for scripts; pytest has it already
import networks

X, Y = make_ratings(30, 20, n_ratings=200, random_state=0)
SMALL = {"n_factors": 3, "random_state": 0}
BAYESIAN = partial(BayesianMFRegressor, **SMALL, n_iter=4)
LSTM = partial(SequenceRatingRegressor, **SMALL, hidden_size=3, max_epochs=1)
ESTIMATORS = {
    "mf": partial(MFRegressor, **SMALL, max_epochs=2),
    "mf svdpp": partial(MFRegressor, **SMALL, max_epochs=2, svdpp=True),
    "bayesian": BAYESIAN,
    "bayesian sides": partial(BAYESIAN, svdpp=True, side_features="all"),
    "bias": BiasRegressor,
    "dense": partial(DenseRecRegressor, **SMALL, hidden_layer_sizes=(4,), max_epochs=1),
    "lstm": LSTM,
}
# Further kinds, some of which predict no ratings.
OTHERS = {
    "bayesian ordinal": partial(BAYESIAN, loss="ordinal"),
    "lstm alone, both directions": partial(LSTM, alpha=1.0, timestamp=None, bidirectional=True),
    "module": partial(ModuleRecRegressor, networks.Factors, max_epochs=2, random_state=0),
    "implicit mf": partial(ImplicitMFRecommender, **SMALL, n_iter=2),
    "ease": EASERecommender,
    "popularity": PopularityRecommender,
}
