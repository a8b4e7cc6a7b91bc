"""Estimators with parameters of every kind, good and bad."""
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
from hypothesis import strategies as st
from life_data import rarely

from sklrec import BayesianFMRegressor, DenseRecRegressor, MFRegressor, SequenceRatingRegressor

NUMBER = st.integers(1, 4)
SCALES = st.sampled_from(["auto", None, (1, 5), [0, 10], (-1e9, 1e9), (-np.inf, np.inf)])
ANY = {
    "random_state": st.integers(0, 3),
    "rating_scale": SCALES,
    "user": st.sampled_from([0, "user", 1]),
    "item": st.sampled_from([1, "item", 0, 2]),
}
MINIBATCH = {
    "max_epochs": st.integers(1, 2),
    "batch_size": st.sampled_from([1, 2, 5, 4096]),
    "lr": st.sampled_from(["auto", 0.1, 1.0, 10.0, 1e6, 1e300, 1e-300]),
    "lr_schedule": st.sampled_from(["linear", "constant"]),
    "alpha": st.sampled_from([0, 0.1, 1.0, 100.0, 1e30, 1e300, 1e-300]),
    "early_stopping": st.sampled_from(["auto", True, False]),
    "validation_fraction": st.sampled_from([0.1, 0.5, 0.99]),
    "n_iter_no_change": NUMBER,
    "tol": st.sampled_from([0.0, 1e-4, 1e300]),
    "warm_start": st.booleans(),
    "init_std": st.sampled_from([0.01, 1.0, 1e-300, 1e30, 1e300]),
}
SAMPLING = {"n_burn_in": st.integers(0, 3), "n_draws": NUMBER, "implicit_features": st.booleans()}
SIDED = {
    "n_bins": NUMBER,
    "categorical_features": st.sampled_from(["from_dtype", [2], ["side0"], [], [True] * 3, [9]]),
    "multi_valued": st.sampled_from([None, {}, {"side0": "|"}, {2: "|"}, {"side1": ""}, {9: "|"}]),
}
PARAMS = {
    "mf": {**ANY, **MINIBATCH, "biased": st.booleans(), "implicit_features": st.booleans()},
    "exact": {
        **ANY,
        **SAMPLING,
        "biased": st.booleans(),
        "warm_start": st.booleans(),
        "n_iter": st.one_of(st.integers(1, 3), st.just("auto")),
        "alpha": st.sampled_from(["auto", 0, 0.0, 1e-300, 1e300, 0.1]),
    },
    "fm": {
        **ANY,
        **SAMPLING,
        **SIDED,
        "loss": st.sampled_from(["squared_error", "ordinal"]),
        "n_iter": NUMBER,
    },
    "dense": {
        **ANY,
        **MINIBATCH,
        **SIDED,
        "hidden_layer_sizes": st.sampled_from([(), (3,), [2, 2]]),
        "products": st.booleans(),
        "biased": st.booleans(),
        "dropout": st.sampled_from([0.0, 0.5, 0.99]),
    },
    "lstm": {
        **ANY,
        **MINIBATCH,
        "hidden_size": NUMBER,
        "bidirectional": st.booleans(),
        "items_only": st.booleans(),
        "dropout": st.sampled_from([0.0, 0.5]),
        "history_dropout": st.sampled_from([0.0, 1.0]),
        "max_len": st.sampled_from([None, 1, 3]),
        "timestamp": st.sampled_from(["auto", None, 2, "timestamp", "side0", 0]),
    },
}
PARAMS["sequences"] = PARAMS["lstm"]
WRONG = st.sampled_from(
    [
        None,
        -1,
        0,
        1.5,
        "x",
        np.nan,
        np.inf,
        [],
        {},
        (5, 1),
        True,
        2.0,
        b"a",
        np.array([1, 2]),
        object,
        (1, 2, 3),
        ("a", "b"),
        (np.nan, 1),
    ]
)
MAKE = {
    "sgd": ("mf", lambda **p: MFRegressor(**{"n_factors": 2, "max_epochs": 2} | p)),
    "adam": (
        "mf",
        lambda **p: MFRegressor(**{"solver": "adam", "n_factors": 3, "max_epochs": 1} | p),
    ),
    "als": (
        "exact",
        lambda **p: MFRegressor(**{"solver": "als", "n_factors": 2, "n_iter": 2} | p),
    ),
    "gibbs": (
        "exact",
        lambda **p: MFRegressor(
            **{"solver": "gibbs", "n_factors": 2, "n_iter": 4, "n_burn_in": 1, "n_draws": 2} | p
        ),
    ),
    "fm": (
        "fm",
        lambda **p: BayesianFMRegressor(
            **{"n_factors": 2, "n_iter": 3, "n_burn_in": 1, "n_draws": 2} | p
        ),
    ),
    "dense": (
        "dense",
        lambda **p: DenseRecRegressor(
            **{"n_factors": 2, "hidden_layer_sizes": (3,), "max_epochs": 1} | p
        ),
    ),
    "lstm": (
        "lstm",
        lambda **p: SequenceRatingRegressor(
            **{"n_factors": 2, "hidden_size": 2, "max_epochs": 1} | p
        ),
    ),
    "sequences": (
        "sequences",
        lambda **p: SequenceRatingRegressor(
            **{"input": "sequences", "n_factors": 2, "hidden_size": 2, "max_epochs": 1} | p
        ),
    ),
}


@st.composite
def parameters(draw, kind, *, right=False):
    """Up to three parameters, one of them sometimes wrong unless all have to be right."""
    known = PARAMS[kind]
    names = draw(st.lists(st.sampled_from(sorted(known)), max_size=3, unique=True))
    params = {name: draw(known[name]) for name in names}
    if not right and rarely(draw, 9):
        params[draw(st.sampled_from([*sorted(known), "n_factors", "device"]))] = draw(WRONG)
    return params
