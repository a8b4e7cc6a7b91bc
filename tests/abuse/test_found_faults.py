"""Faults that the random tests have found, each in a few lines."""
# SPDX-License-Identifier: BSD-3-Clause

import warnings

import numpy as np
import pandas as pd
import pytest
import torch

from sklrec import BayesianMFRegressor, DenseRecRegressor, MFRegressor, SequenceRatingRegressor

IDS = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
STARS = [1.0, 2.0, 3.0, 4.0]
MF_LIKE = [
    MFRegressor(2, random_state=0),
    MFRegressor(2, optimizer=torch.optim.Adam, random_state=0),
    BayesianMFRegressor(2, random_state=0),
]
NEURAL = [MFRegressor, DenseRecRegressor, SequenceRatingRegressor]
PADDED = SequenceRatingRegressor(input="sequences", items_only=True, max_epochs=1)
SEQUENCE = SequenceRatingRegressor(max_epochs=1, random_state=0)

REFUSED = {
    **{
        f"ratings whose squares are beyond float32: {cls.__name__}, {large}": (
            lambda cls=cls, large=large: cls().fit(IDS, [1, large, 2, 3]),
            r"^y must hold ratings of at most 1e\+18 in size, got .*Divid",
        )
        for cls in (*NEURAL, BayesianMFRegressor)
        for large in (1.1e18, -1e38, 1e300)
    },
    "large ratings of padded sequences": (
        lambda: PADDED.fit([[1, 2], [2, 1]], [[1.0, np.nan], [2.0, 1e20]]),
        r"^y must hold ratings of at most 1e\+18 in size, got 1e\+20",
    ),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_refused(fault):
    call, message = REFUSED[fault]
    with pytest.raises(ValueError, match=message):
        call()


def predict(model, y=STARS, X=IDS, **weights):
    return model.fit(X, y, **weights).predict(X)


def predict_history_of_other_users():
    X = pd.DataFrame({"user": ["a", "b"], "item": [1, 2], "timestamp": [1, 2]})
    past = pd.DataFrame([["c", 1, 3], ["c", 2, 4]], columns=X.columns, dtype=object)
    return SEQUENCE.fit(X, [1, 2]).predict(X, history=(past, [1, 2]))


def validation_curve(weight):
    model = MFRegressor(2, batch_size=1, max_epochs=2, random_state=0)
    model.fit(IDS, STARS, X_val=IDS, y_val=STARS, sample_weight_val=weight)
    return [*model.validation_curve_, *model.fit(IDS, STARS, sample_weight=weight).loss_curve_]


FINITE = {
    "history of other users": predict_history_of_other_users,
    "weights that are 0 in float32": lambda: validation_curve([5, 1, 2, 5e-324]),
    **{
        f"variance that is 0 in float32: {model}": lambda model=model: predict(
            model, [3.0, 3, 3, 4], sample_weight=[1, 1, 1, 1e-300]
        )
        for model in MF_LIKE
    },
}


@pytest.mark.parametrize("fault", FINITE)
def test_finite(fault):
    assert np.isfinite(FINITE[fault]()).all()


@pytest.mark.parametrize("model", MF_LIKE, ids=str)
def test_scores_are_inside_a_rating_scale_that_float32_rounds(model):
    found = model.fit(IDS, 1e9 + np.array(STARS)).recommend([0, 1], exclude_seen=False)
    assert found["score"].between(1e9 + 1, 1e9 + 4).all()


@pytest.mark.parametrize("action", ["error", "ignore"])
@pytest.mark.filterwarnings("ignore")
def test_ids_without_a_usable_equality(action):
    users = [pd.Series(pair, dtype=object) for pair in ([(1,)], [pd.Series([0])])]
    known, unknown = (pd.DataFrame({"user": user, "item": 0}) for user in users)
    model = MFRegressor(2).fit(pd.concat([known, known]), [1, 2])
    with warnings.catch_warnings():
        warnings.simplefilter(action)
        with pytest.raises(TypeError, match=r"Column 'user' holds (.|\n)*, which cannot be an ID"):
            model.predict(unknown)


def test_strings_that_arrow_cannot_hold():
    odd = np.array(["\ud800", "a"] * 3, dtype=object)  # half of a pair of code units
    X = pd.DataFrame({0: odd, 1: list("xxyyzz"), 2: odd}, dtype=object)
    for table in (X, X.to_numpy()):
        ratings = DenseRecRegressor(max_epochs=1, random_state=0).fit(table, [1, 2] * 3)
        assert np.isfinite(ratings.predict(table)).all()
