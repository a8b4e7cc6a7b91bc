"""What the long runs have found, each in a few lines."""
# SPDX-License-Identifier: BSD-3-Clause

import warnings

import numpy as np
import pandas as pd
import pytest

from sklrec import BayesianFMRegressor, DenseRecRegressor, MFRegressor, SequenceRatingRegressor

IDS = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])


@pytest.mark.parametrize("solver", ["sgd", "adam", "als", "gibbs"])
def test_scores_lie_inside_a_scale_that_float32_cannot_tell(solver):
    y = 1e9 + np.array([1.0, 2, 3, 4])
    recommended = (
        MFRegressor(2, solver=solver, random_state=0)
        .fit(IDS, y)
        .recommend([0, 1], exclude_seen=False)
    )
    assert recommended["score"].between(1e9 + 1, 1e9 + 4).all()


@pytest.mark.parametrize("solver", ["sgd", "adam", "als", "gibbs"])
def test_a_spread_of_next_to_nothing(solver):
    """Whose inverse float32 does not know: as if all ratings that count were the same."""
    model = MFRegressor(2, solver=solver, random_state=0)
    predictions = model.fit(IDS, [3.0, 3, 3, 4], sample_weight=[1, 1, 1, 1e-300]).predict(IDS)
    assert np.isfinite(predictions).all()
    assert predictions[:3] == pytest.approx(3, abs=0.3)


@pytest.mark.parametrize("lr", [1e31, 1e300])
@pytest.mark.parametrize("Estimator", [MFRegressor, DenseRecRegressor, SequenceRatingRegressor])
def test_a_learning_rate_beyond_float32(Estimator, lr):
    with pytest.raises(ValueError, match=r"'lr' .* a float in the range \(0\.0, 1e\+30\]"):
        Estimator(lr=lr).fit(IDS, [1, 2, 3, 4])


@pytest.mark.parametrize("large", [1.1e18, -1e38, 1e300])
@pytest.mark.parametrize(
    "Estimator", [MFRegressor, BayesianFMRegressor, DenseRecRegressor, SequenceRatingRegressor]
)
def test_ratings_whose_squares_are_beyond_float32(Estimator, large):
    with pytest.raises(ValueError, match=r"^y holds ratings of up to 1e\+18 in size, got .*Divid"):
        Estimator().fit(IDS, [1, large, 2, 3])


def test_large_ratings_of_padded_sequences():
    X = np.array([[1, 2], [2, 1]])
    model = SequenceRatingRegressor(input="sequences", items_only=True, max_epochs=1)
    with pytest.raises(ValueError, match=r"^y holds ratings of up to 1e\+18 in size, got 1e\+20"):
        model.fit(X, [[1.0, np.nan], [2.0, 1e20]])


def test_bayesian_factors_of_ratings_far_from_0():
    model = MFRegressor(2, solver="gibbs", biased=False, random_state=0)
    with pytest.raises(ValueError, match=r"much farther from 0 than from each other\. Subtract"):
        model.fit(np.zeros((4, 2), int), [1e15] * 4)


def test_users_of_a_sequence_model_have_no_factors():
    X = pd.DataFrame(IDS, columns=["user", "item"])
    model = SequenceRatingRegressor(max_epochs=1, random_state=0).fit(X, [1, 2, 3, 4])
    with pytest.raises(ValueError, match="similar_users compares the factors of users, of which"):
        model.similar_users([0])


def test_a_history_of_others():
    """Of whose rows none are read, so that their timestamps say nothing of their kind."""
    X = pd.DataFrame({"user": ["a", "b"], "item": [1, 2], "timestamp": [1, 2]})
    model = SequenceRatingRegressor(max_epochs=1, random_state=0).fit(X, [1, 2])
    past = np.array([["c", 1, 3], ["c", 2, 4]], dtype=object)
    past = pd.DataFrame(past, columns=X.columns)
    found = model.predict(X, history=(past, [1, 2]))
    assert np.isfinite(found).all()


def test_ids_that_are_half_a_surrogate_pair():
    X = pd.DataFrame({"user": ["\ud800", "b"], "item": ["a\udfff", "c"]}, dtype=object)
    model = MFRegressor(2, random_state=0).fit(X, [1, 2])
    found = model.recommend(["\ud800"], candidates=["a\udfff", "c"], exclude_seen=False)
    assert sorted(found["item"]) == ["a\udfff", "c"]
    assert model.similar_items(["a\udfff"])["similar_item"].tolist() == ["c"]


def test_parameters_are_checked_before_a_model_is_trained_further():
    X = np.array([[0, 0], [1, 0], [0, 1]])
    mf = MFRegressor(2, solver="adam", max_epochs=1).fit(X, [1, 2, 3])
    with pytest.raises(ValueError, match="The 'lr' parameter of MFRegressor must be"):
        mf.set_params(lr=1e300).partial_fit(X, [1, 2, 3])


def test_weights_that_float32_cannot_tell_from_0():
    weight = [5, 1, 2, 5e-324]
    model = MFRegressor(2, batch_size=1, max_epochs=2, random_state=0)
    model.fit(IDS, [1, 2, 3, 4], X_val=IDS, y_val=[1, 2, 3, 4], sample_weight_val=weight)
    assert np.isfinite(model.validation_curve_).all()
    assert np.isfinite(model.fit(IDS, [1, 2, 3, 4], sample_weight=weight).loss_curve_).all()


@pytest.mark.parametrize("size", [5e-324, 1e308])
def test_weights_mean_the_same_whatever_their_size(size):
    model = MFRegressor(2, random_state=0)
    wanted = model.fit(IDS, [1, 2, 3, 4]).loss_curve_
    assert model.fit(IDS, [1, 2, 3, 4], sample_weight=[size] * 4).loss_curve_ == wanted


def test_numbers_where_fit_saw_no_list_of_values():
    X = pd.DataFrame({"user": [0, 1], "item": 0, "tags": np.nan})
    model = BayesianFMRegressor(2, multi_valued={"tags": "|"}, n_iter=3, n_burn_in=1, n_draws=2)
    model.fit(X, [1, 2])
    text = r"'tags' held nothing in fit but now holds numbers, .* Convert it to lists or strings\."
    with pytest.raises(ValueError, match=text):
        model.predict(X.assign(tags=0.5))


@pytest.mark.parametrize("action", ["error", "ignore"])
@pytest.mark.filterwarnings("ignore")
def test_ids_whose_equality_fails(action):
    users = [pd.Series(pair, dtype=object) for pair in ([(1,)], [pd.Series([0])])]
    known, unknown = (pd.DataFrame({"user": user, "item": 0}) for user in users)
    model = MFRegressor(2).fit(pd.concat([known, known]), [1, 2])
    with warnings.catch_warnings():
        warnings.simplefilter(action)
        with pytest.raises(TypeError, match=r"Column 'user' holds (.|\n)*, which cannot be an ID"):
            model.predict(unknown)
