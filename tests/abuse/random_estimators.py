"""Estimators with random parameters, valid and invalid."""
# SPDX-License-Identifier: BSD-3-Clause

from functools import partial
from numbers import Integral

import numpy as np
import torch
from hypothesis import strategies as st
from random_data import rarely
from sklearn.utils._param_validation import Interval, StrOptions

from sklrec import (
    BayesianMFRegressor,
    BiasRegressor,
    DenseRecRegressor,
    MFRegressor,
    SequenceRatingRegressor,
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
COLUMNS = st.sampled_from([0, 1, 2, "user", "item", "side0", "timestamp"])
NUMBERS = 0, 1e-300, 1e-10, 0.01, 0.1, 0.5, 0.99, 1.0, 10.0, 100.0, 1e6, 1e10, 1e30, 1e300
SPECIAL = {
    "random_state": st.integers(0, 3),
    "user": COLUMNS,
    "item": COLUMNS,
    "timestamp": st.sampled_from(["auto", None, 2, "timestamp", "side0", 0]),
    "rating_scale": st.sampled_from(
        ["auto", None, (1, 5), [0, 10], (-1e9, 1e9), (-np.inf, np.inf)]
    ),
    "optimizer": st.sampled_from([None, torch.optim.Adam, torch.optim.SGD]),
    "batch_size": st.sampled_from([1, 2, 5, 4096]),
    "hidden_layer_sizes": st.sampled_from([(), (3,), [2, 2]]),
    "side_features": st.sampled_from([None, "all", [2], ["side0"], [], [9], ["user"]]),
    "categorical_features": st.sampled_from(["from_dtype", [2], ["side0"], [], [True] * 3, [9]]),
}
FIXED = {"n_factors", "input", "device", "callbacks", "verbose"}


def values_of(constraints):
    """Valid values of a parameter."""
    found = []
    for constraint in constraints:
        if isinstance(constraint, StrOptions):
            found += sorted(constraint.options)
        elif isinstance(constraint, Interval):
            numbers = range(1, 5) if constraint.type is Integral else NUMBERS
            found += [number for number in numbers if number in constraint]
        elif constraint in (None, "boolean"):
            found += [None] if constraint is None else [False, True]
    return st.sampled_from(found)


PARAMS = {
    kind: {
        name: SPECIAL[name] if name in SPECIAL else values_of(constraints)
        for name, constraints in cls._parameter_constraints.items()
        if name not in FIXED
    }
    for kind, (cls, _) in DEFAULTS.items()
}
INVALID = st.sampled_from(
    [
        *(None, -1, 0, 1.5, "x", np.nan, np.inf, [], {}, (5, 1), True, 2.0, b"a", object),
        *(np.array([1, 2]), (1, 2, 3), ("a", "b"), (np.nan, 1)),
    ]
)


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
