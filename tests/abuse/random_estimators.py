"""Estimators with random parameters, valid and invalid."""
# SPDX-License-Identifier: BSD-3-Clause

from functools import partial

import numpy as np
import torch
from hypothesis import strategies as st
from random_data import rarely

from sklrec import (
    BayesianMFRegressor,
    BiasRegressor,
    DenseRecRegressor,
    MFRegressor,
    SequenceRatingRegressor,
)

NUMBER = st.integers(1, 4)
PENALTY = st.sampled_from(["auto", 1, 0.1, 100.0, 1e-10, 1e10])
SHARED = {
    "random_state": st.integers(0, 3),
    "rating_scale": st.sampled_from(
        ["auto", None, (1, 5), [0, 10], (-1e9, 1e9), (-np.inf, np.inf)]
    ),
    "user": st.sampled_from([0, "user", 1]),
    "item": st.sampled_from([1, "item", 0, 2]),
}
MINIBATCH = {
    "max_epochs": st.integers(1, 2),
    "batch_size": st.sampled_from([1, 2, 5, 4096]),
    "lr": st.sampled_from(["auto", 0.1, 1.0, 10.0, 1e6, 1e300, 1e-300]),
    "alpha": st.sampled_from([0, 0.1, 1.0, 100.0, 1e30, 1e300, 1e-300]),
    "optimizer": st.sampled_from([None, torch.optim.Adam, torch.optim.SGD]),
    "early_stopping": st.sampled_from(["auto", True, False, 0.1, 0.5, 0.99]),
    "warm_start": st.booleans(),
    "init_std": st.sampled_from([0.01, 1.0, 1e-300, 1e30, 1e300]),
}
CATEGORICAL = st.sampled_from(["from_dtype", [2], ["side0"], [], [True] * 3, [9]])
SEQUENCE = {
    **SHARED,
    **MINIBATCH,
    "hidden_size": NUMBER,
    "bidirectional": st.booleans(),
    "items_only": st.booleans(),
    "dropout": st.sampled_from([0.0, 0.5]),
    "timestamp": st.sampled_from(["auto", None, 2, "timestamp", "side0", 0]),
}
PARAMS = {
    "mf": {**SHARED, **MINIBATCH, "biased": st.booleans(), "svdpp": st.booleans()},
    "bayesian": {
        **SHARED,
        "n_iter": NUMBER,
        "svdpp": st.booleans(),
        "loss": st.sampled_from(["squared_error", "ordinal"]),
        "side_features": st.sampled_from([None, "all", [2], ["side0"], [], [9], ["user"]]),
        "categorical_features": CATEGORICAL,
    },
    "bias": {
        **{name: values for name, values in SHARED.items() if name != "random_state"},
        "user_penalty": PENALTY,
        "item_penalty": PENALTY,
    },
    "dense": {
        **SHARED,
        **MINIBATCH,
        "categorical_features": CATEGORICAL,
        "hidden_layer_sizes": st.sampled_from([(), (3,), [2, 2]]),
        "products": st.booleans(),
        "biased": st.booleans(),
        "dropout": st.sampled_from([0.0, 0.5, 0.99]),
    },
    "lstm": SEQUENCE,
    "padded": SEQUENCE,
}
INVALID = st.sampled_from(
    [
        *(None, -1, 0, 1.5, "x", np.nan, np.inf, [], {}, (5, 1), True, 2.0, b"a", object),
        *(np.array([1, 2]), (1, 2, 3), ("a", "b"), (np.nan, 1)),
    ]
)
SMALL_BAYESIAN = {"n_factors": 2, "n_iter": 3}
SMALL_SEQUENCE = {"n_factors": 2, "hidden_size": 2, "max_epochs": 1}
DEFAULTS = {
    "mf": (MFRegressor, {"n_factors": 2, "max_epochs": 2}),
    "bayesian": (BayesianMFRegressor, {**SMALL_BAYESIAN, "side_features": "all"}),
    "bias": (BiasRegressor, {}),
    "dense": (DenseRecRegressor, {"n_factors": 2, "hidden_layer_sizes": (3,), "max_epochs": 1}),
    "lstm": (SequenceRatingRegressor, SMALL_SEQUENCE),
    "padded": (SequenceRatingRegressor, {**SMALL_SEQUENCE, "input": "sequences"}),
}
MAKE = {kind: partial(cls, **params) for kind, (cls, params) in DEFAULTS.items()}


@st.composite
def parameters(draw, kind, *, are_valid=False):
    """Up to three parameters; one is sometimes invalid unless all must be valid."""
    known = PARAMS[kind]
    names = draw(st.lists(st.sampled_from(sorted(known)), max_size=3, unique=True))
    params = {name: draw(known[name]) for name in names}
    if not are_valid and rarely(draw, 9):
        others = [] if kind == "bias" else ["n_factors", "device"]
        params[draw(st.sampled_from([*sorted(known), *others]))] = draw(INVALID)
    return params
