"""Training, prediction and validation that all rating estimators share, shown by MFRegressor."""
# SPDX-License-Identifier: BSD-3-Clause

import pickle
import random

import numpy as np
import pandas as pd
import pytest
import sklearn
import torch
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.utils import check_random_state
from skorch.callbacks import Callback

from sklrec import IDEncoder, MFRegressor
from sklrec.datasets import make_ratings

X, Y = make_ratings(60, 40, 1000, random_state=0)
ADAM = torch.optim.Adam
WEIGHT = np.random.default_rng(0).uniform(0.1, 3, len(Y))
FIRST, SECOND = slice(None, 600), slice(600, None)


each_optimizer = pytest.mark.parametrize("optimizer", [None, ADAM])


def mf(**options):
    return MFRegressor(**{"n_factors": 4, "max_epochs": 3, "random_state": 0, **options})


@pytest.fixture(scope="module")
def predictions():
    return mf().fit(X, Y).predict(X)


# --- predictions


@pytest.fixture(scope="module")
def fitted():
    return mf(init_std=0.3).fit(X, Y)


def test_a_missing_id_is_found_in_its_row_beyond_the_first_block(fitted):
    wrong = pd.concat([X.astype({"item": object})] * 20)
    wrong.iloc[16_850, 1] = None
    with pytest.raises(ValueError, match="Column 'item' holds None in row 16850"):
        fitted.predict(wrong)


def test_ids_of_another_kind_give_one_warning_for_each_column(fitted):
    with pytest.warns(UserWarning) as caught:
        predicted = fitted.predict(pd.concat([X.assign(user=X["user"].astype(str))] * 20))
    assert [str(w.message) for w in caught] == [
        "Column 'user' was fitted on integers (such as "
        f"{X['user'].iloc[0]}) but got strings (such as '{X['user'].iloc[0]}'): 100.0% of 20000 "
        "rows are unknown. Convert it first, for example with .astype(int)."
    ]
    assert np.array_equal(predicted, np.tile(fitted.predict(X.assign(user=-1)), 20))


# --- the rating scale


def test_without_a_scale_predictions_are_not_clipped():
    options = {"alpha": 0.0, "n_factors": 32, "max_epochs": 60, "lr": 0.05}
    free = mf(rating_scale=None, **options).fit(X, Y)
    assert free.rating_scale_ is None
    predicted = free.predict(X)
    assert predicted.max() > Y.max()
    clipped = mf(**options).fit(X, Y).predict(X)
    assert np.array_equal(clipped, predicted.clip(Y.min(), Y.max()))


@pytest.mark.parametrize("rating_scale", [(0, 10), [0, 10], (np.float32(0), np.int64(10))])
def test_later_ratings_must_lie_in_an_explicit_scale(rating_scale):
    model = mf(rating_scale=rating_scale).fit(X, Y)
    with pytest.raises(ValueError, match="Ratings must lie inside"):
        model.partial_fit(X, Y + 8)
    assert model.partial_fit(X, Y).rating_scale_ == (0.0, 10.0)
    assert all(type(bound) is float for bound in model.rating_scale_)


def test_later_ratings_widen_an_automatic_scale():
    model = mf().fit(X, Y.clip(2, 4)).partial_fit(X, Y.clip(1, 3))
    assert model.rating_scale_ == (1, 4)
    model.set_params(warm_start=True).fit(X, Y.clip(3, 5))
    assert model.rating_scale_ == (1, 5)
    model.set_params(warm_start=False).fit(X, Y.clip(3, 5))
    assert model.rating_scale_ == (3, 5)


# --- weights


def test_a_weight_of_two_is_like_a_repeated_row():
    weight = np.where(np.arange(len(Y)) % 3 == 0, 2, 1)
    repeated = np.repeat(np.arange(len(Y)), weight)
    # One batch and small steps make both the same, up to the sum of the weights.
    options = {"max_epochs": 30, "alpha": 0.1, "batch_size": 10_000, "rating_scale": None}
    step = 1e-3 * weight.mean()  # weights are scaled to a mean of 1
    weighted = mf(**options, lr=step).fit(X, Y, weight)
    expected = mf(**options, lr=1e-3).fit(X.iloc[repeated], Y.iloc[repeated]).predict(X)
    assert weighted.predict(X) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(
    "as_given", [list, pd.Series, lambda w: pd.Series(w, index=np.arange(len(w))[::-1])]
)
def test_weights_are_matched_by_position(as_given):
    expected = mf().fit(X, Y, WEIGHT).predict(X)
    assert np.array_equal(mf().fit(X, Y, as_given(WEIGHT)).predict(X), expected)


# --- validation data


def test_the_validation_curve_of_unknown_rows_is_the_error_of_the_mean():
    strangers = X.assign(user=-1, item=-1)
    model = mf(early_stopping=False).fit(X, Y, X_val=strangers, y_val=Y)
    # The mean of the biases is not the mean of the ratings.
    wanted = np.mean((Y - model.global_mean_) ** 2)
    assert model.validation_curve_ == pytest.approx([wanted] * 3, rel=1e-5)
    assert not hasattr(model.partial_fit(X, Y), "validation_curve_")


def test_validation_rows_of_weight_0_are_ignored():
    weight = np.where(np.arange(len(Y)) < 10, 1, 0)
    options = {"early_stopping": False, "batch_size": 100}
    model = mf(**options).fit(X, Y, X_val=X, y_val=Y, sample_weight_val=weight)
    other = mf(**options).fit(X, Y, X_val=X[:10], y_val=Y[:10])
    assert model.validation_curve_ == other.validation_curve_


def test_neither_the_net_nor_the_estimator_keeps_the_data():
    model = mf(early_stopping=True, n_factors=1, max_epochs=1)
    X, y = make_ratings(50, 50, 2000, random_state=0)
    many = pd.concat([X] * 50)
    model.fit(many, np.tile(y, 50))
    assert len(pickle.dumps(model)) < 100_000
    assert len(pickle.dumps(model.net_)) < 100_000


# --- continued training


@each_optimizer
def test_partial_fit_takes_new_users_and_items(optimizer):
    model = mf(optimizer=optimizer, init_std=0.1).fit(X, Y)
    old = [ids.copy() for ids in model.encoder_.categories_]
    seen = model.seen_.nnz
    new = pd.DataFrame({"user": [900, 901, X["user"][0]], "item": [700, 701, 700]})
    new = new.assign(timestamp=0)
    assert np.unique(model.predict(new[:2])).size == 1  # two strangers
    before = model.predict(new)
    for _ in range(30):
        model.partial_fit(new, [5, 1, 5])
    after = model.predict(new)
    assert np.isfinite(model.predict(X)).all()
    assert after[0] > before[0] + 0.3
    assert after[1] < before[1] - 0.3
    for ids, known, more in zip(
        model.encoder_.categories_, old, ([900, 901], [700, 701]), strict=True
    ):
        assert ids.tolist() == known.tolist() + more
    n, mean, _ = model.rating_statistics_
    assert n == pytest.approx(len(Y) + 90)
    assert mean == pytest.approx((Y.sum() + 30 * 11) / n)
    assert model.seen_.shape == (len(old[0]) + 3, len(old[1]) + 3)
    assert model.seen_.nnz == seen + 3
    assert model.n_iter_ == 33


def test_partial_fit_moves_only_the_rows_of_its_users():
    model = mf().fit(X, Y)
    before = model.user_factors_.copy()
    model.partial_fit(X[:1], Y[:1])
    moved = np.abs(model.user_factors_ - before).max(1) > 1e-6  # the rest is rounding
    assert moved.nonzero()[0].tolist() == [0]


def test_partial_fit_starts_a_model_even_with_one_row():
    model = mf().partial_fit(X[:1], Y[:1])
    assert model.predict(X[:1]) == [Y[0]]
    model.partial_fit(X[1:2], Y[1:2]).partial_fit(X[SECOND], Y[SECOND])
    assert model.n_iter_ == 3
    assert np.isfinite(model.predict(X)).all()


# --- random numbers


def test_a_random_state_gives_another_model_each_time():
    rng = np.random.RandomState(0)
    first, second = (mf(random_state=rng).fit(X, Y).predict(X) for _ in range(2))
    assert not np.array_equal(first, second)
    again = mf(random_state=np.random.RandomState(0)).fit(X, Y).predict(X)
    assert np.array_equal(first, again)


NUMPYS = check_random_state(None)  # the global one


def global_states():
    name, keys, *rest = NUMPYS.get_state()
    return random.getstate(), (name, keys.tolist(), *rest), torch.get_rng_state().tolist()


def test_without_a_seed_only_the_global_state_of_numpy_is_used():
    state = NUMPYS.get_state()
    try:
        models = []
        for _ in range(2):
            NUMPYS.seed(5)
            before = global_states()
            models.append(mf(random_state=None).fit(X, Y).predict(X))
            assert global_states()[0] == before[0]
            assert global_states()[2] == before[2]
        assert np.array_equal(*models)
        assert not np.array_equal(mf(random_state=None).fit(X, Y).predict(X), models[0])
    finally:
        NUMPYS.set_state(state)


# --- kinds of data


@pytest.mark.parametrize("dtype", [int, bool, np.float32, "Int64", "Float64", object])
def test_ratings_may_be_any_numbers(dtype):
    y = (Y > 3).astype(int)
    expected = mf().fit(X, y.astype(float)).predict(X)
    model = mf(device=torch.device("cpu", 0)).fit(X, y.astype(dtype))
    assert np.array_equal(model.predict(X), expected)


# --- scikit-learn's machinery


@pytest.mark.parametrize(
    "wrapped",
    [lambda mf: make_pipeline(IDEncoder(), mf), lambda mf: GridSearchCV(mf, {"n_factors": [4]})],
    ids=["Pipeline", "GridSearchCV"],
)
def test_weights_are_routed(wrapped):
    with sklearn.config_context(enable_metadata_routing=True):
        model = mf().set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        predicted = wrapped(model).fit(X, Y, sample_weight=WEIGHT).predict(X)
    assert np.array_equal(predicted, mf().fit(X, Y, WEIGHT).predict(X))


def test_validation_data_are_transformed_and_routed_through_a_pipeline():
    train, test = (X[FIRST], Y[FIRST]), {"X_val": X[SECOND], "y_val": Y[SECOND]}
    expected = mf().fit(*train, **test)
    with sklearn.config_context(enable_metadata_routing=True):
        model = mf().set_fit_request(X_val=True, y_val=True)
        steps = [("encode", IDEncoder()), ("model", model)]
        pipeline = Pipeline(steps, transform_input=["X_val"]).fit(*train, **test)
    assert pipeline["model"].validation_curve_ == expected.validation_curve_


def test_a_fit_keeps_what_a_user_or_a_callback_has_set():
    class Noted(MFRegressor):
        def fit(self, X, y):
            self.n_rows_ = len(y)
            return super().fit(X, y)

    class Marks(Callback):
        def on_epoch_end(self, net, **kwargs):
            model.set_params(alpha=0.5)

    model = Noted(max_epochs=1, callbacks=[Marks()])
    model.note = "first"
    assert model.fit(X, Y).fit(X[:50], Y[:50]).n_rows_ == 50
    assert (model.note, model.alpha) == ("first", 0.5)


def test_a_pickle_of_a_changed_model_can_be_read():
    model = mf().fit(X, Y)
    model.module_.half()
    changes = {"seen_": None, "validation_curve_": None, "loss_curve_": []}
    vars(model).update(changes, rating_scale_=(0.0, np.inf))
    again = pickle.loads(pickle.dumps(model))
    for name in [*changes, "rating_scale_"]:
        assert getattr(again, name) == getattr(model, name)
    assert again.module_.item_factors.weight.dtype == model.module_.item_factors.weight.dtype
