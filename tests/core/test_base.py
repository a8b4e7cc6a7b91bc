"""Training, prediction and validation that all rating estimators share, shown by MFRegressor."""
# SPDX-License-Identifier: BSD-3-Clause

import copy
import pickle
import random
import warnings

import numpy as np
import pandas as pd
import pytest
import sklearn
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
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


def test_predictions_are_float64_in_one_dimension(fitted):
    for n in (1, 2, 1000):
        predicted = fitted.predict(X[:n])
        assert predicted.shape == (n,)
        assert predicted.dtype == np.float64
        assert predicted.flags.writeable


@settings(deadline=None, derandomize=True, database=None, max_examples=100)
@given(st.lists(st.integers(0, len(X) - 1), min_size=1, max_size=70))
def test_a_prediction_depends_only_on_its_own_row(fitted, rows):
    """Subsets, permutations and repetitions give the same numbers bit for bit."""
    assert np.array_equal(fitted.predict(X.iloc[rows]), fitted.predict(X)[rows])


@pytest.mark.parametrize("n_factors", [1, 3, 16, 100])
@pytest.mark.parametrize("block", [1, 7, 999, 1000])
def test_the_number_of_rows_at_once_changes_no_prediction(n_factors, block, monkeypatch):
    model = mf(n_factors=n_factors, init_std=0.3, max_epochs=1).fit(X, Y)
    whole = model.predict(X)
    monkeypatch.setattr("sklrec._core.predict.ROWS_AT_ONCE", block)
    assert np.array_equal(model.predict(X), whole)


def test_a_missing_id_is_found_in_its_row_beyond_the_first_block(fitted, monkeypatch):
    monkeypatch.setattr("sklrec._core.predict.ROWS_AT_ONCE", 100)
    wrong = X.astype({"item": object})
    wrong.iloc[850, 1] = None
    with pytest.raises(ValueError, match="Column 'item' holds None in row 850"):
        fitted.predict(wrong)


def test_ids_of_another_kind_give_one_warning_for_each_column(fitted, monkeypatch):
    monkeypatch.setattr("sklrec._core.predict.ROWS_AT_ONCE", 100)
    with pytest.warns(UserWarning) as caught:
        predicted = fitted.predict(X.assign(user=X["user"].astype(str)))
    assert [str(w.message) for w in caught] == [
        "Column 'user' was fitted on integers (such as "
        f"{X['user'].iloc[0]}) but got strings (such as '{X['user'].iloc[0]}'): 100.0% of 1000 "
        "rows are unknown. Convert it first, for example with .astype(int)."
    ]
    assert np.array_equal(predicted, fitted.predict(X.assign(user=-1)))


def test_normal_use_gives_no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for optimizer in (None, ADAM):
            model = mf(optimizer=optimizer).fit(X, Y, WEIGHT, X_val=X, y_val=Y)
            model.partial_fit(X, Y).predict(X.assign(user=-1, item=-1))
            model.recommend([X["user"].iloc[0]])
            pickle.loads(pickle.dumps(model)).predict(X)


@pytest.mark.parametrize("n_threads", [1, 2])
def test_the_number_of_threads_does_not_change(n_threads):
    before = torch.get_num_threads()
    torch.set_num_threads(n_threads)
    try:
        mf().fit(X, Y).predict(X)
        assert torch.get_num_threads() == n_threads
    finally:
        torch.set_num_threads(before)


# --- the rating scale


def test_the_automatic_scale_is_the_range_of_the_ratings():
    y = Y.clip(2, 4)
    model = mf(alpha=0.0, n_factors=32, max_epochs=60, lr=0.05).fit(X, y)
    assert model.rating_scale_ == (2, 4)
    predicted = model.predict(X)
    assert predicted.min() == 2
    assert predicted.max() == 4


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


@each_optimizer
def test_only_the_proportions_of_weights_matter(optimizer):
    one, thousand, none = (
        mf(optimizer=optimizer).fit(X, Y, weight).predict(X)
        for weight in (WEIGHT, 1000 * WEIGHT, None)
    )
    assert thousand == pytest.approx(one, rel=1e-4)
    assert not np.allclose(none, one, rtol=1e-3)


@pytest.mark.parametrize("weight", [np.ones(len(Y)), np.full(len(Y), 0.3), 7])
def test_equal_weights_change_nothing(weight, predictions):
    assert np.array_equal(mf().fit(X, Y, weight).predict(X), predictions)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_rows_of_weight_0_are_ignored(method):
    counts = X["user"] > 5
    weight = np.where(counts, WEIGHT, 0)
    weighted = getattr(mf(), method)(X, Y + 100 * ~counts, weight)
    dropped = getattr(mf(), method)(X[counts], Y[counts], WEIGHT[counts])
    assert np.array_equal(weighted.predict(X), dropped.predict(X))
    assert weighted.encoder_.categories_[0].min() > 5
    assert weighted.rating_scale_ == dropped.rating_scale_
    assert weighted.seen_.nnz == counts.sum()


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


@pytest.mark.parametrize("as_array", [False, True])
def test_validation_data_do_not_change_the_model(as_array):
    given = (X.to_numpy(), Y.to_numpy()) if as_array else (X, Y)
    train, (X_val, y_val) = ([part[rows] for part in given] for rows in (FIRST, SECOND))
    plain = mf().fit(*train)
    observed = mf(early_stopping=False).fit(*train, X_val=X_val, y_val=y_val)
    assert np.array_equal(observed.predict(given[0]), plain.predict(given[0]))
    assert len(observed.validation_curve_) == 3
    assert not hasattr(observed.partial_fit(*train), "validation_curve_")
    strangers = X.assign(user=-1, item=-1)
    model = mf(early_stopping=False).fit(X, Y, X_val=strangers, y_val=Y)
    assert model.validation_curve_ == pytest.approx([Y.var(ddof=0)] * 3, rel=1e-5)


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


def test_warm_start_continues_where_fit_ended():
    model = mf(warm_start=True).fit(X, Y)
    once = copy.deepcopy(model)
    model.fit(X, Y)
    assert model.n_iter_ == len(model.loss_curve_) == 6
    assert model.loss_curve_[:3] == once.loss_curve_
    assert model.loss_curve_[3] < once.loss_curve_[-1]
    cold = mf().fit(X, Y).fit(X, Y)
    assert cold.n_iter_ == 3
    assert np.array_equal(cold.predict(X), once.predict(X))


def test_warm_start_keeps_the_codes_of_old_ids():
    model = mf(warm_start=True).fit(X[FIRST], Y[FIRST])
    old = [ids.copy() for ids in model.encoder_.categories_]
    model.fit(X.assign(user=X["user"] + 30), Y)
    for ids, known in zip(model.encoder_.categories_, old, strict=True):
        assert np.array_equal(ids[: len(known)], known)
    assert model.module_.n_users == len(model.encoder_.categories_[0]) > len(old[0])


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


@each_optimizer
@pytest.mark.parametrize("early_stopping", [False, True])
def test_the_same_seed_gives_the_same_model(optimizer, early_stopping):
    options = {"optimizer": optimizer, "early_stopping": early_stopping, "batch_size": 100}
    models = [mf(**options).fit(X, Y) for _ in range(2)]
    tables = [model.module_.state_dict() for model in models]
    assert all(torch.equal(tables[0][name], tables[1][name]) for name in tables[0])
    assert models[0].loss_curve_ == models[1].loss_curve_
    other = mf(**{**options, "random_state": 1}).fit(X, Y)
    assert not np.array_equal(other.predict(X), models[0].predict(X))


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


@each_optimizer
def test_global_random_states_do_not_change(optimizer):
    before = global_states()
    model = mf(optimizer=optimizer, early_stopping=True).fit(X, Y)
    model.partial_fit(X.assign(user=X["user"] + 7), Y).predict(X)
    model.recommend([1])
    assert global_states() == before


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


def test_arrays_and_lists_give_the_same_as_a_frame(predictions):
    array = X.to_numpy()
    assert np.array_equal(mf().fit(array, Y.to_numpy()).predict(array), predictions)
    assert np.array_equal(mf().fit(array.tolist(), Y.tolist()).predict(array), predictions)
    assert np.array_equal(mf().fit(array.astype(float), Y).predict(array), predictions)


@pytest.mark.parametrize(
    "as_ids",
    [
        lambda column: column.astype(str),
        lambda column: column.astype(str).astype(object),
        lambda column: column.astype(str).astype("category"),
        lambda column: column.astype("category"),
        lambda column: column.astype("Int64"),
        lambda column: column.astype(np.int8),
        lambda column: column.astype(float),
        lambda column: pd.to_datetime(column, unit="D"),
        lambda column: [("ID", value) for value in column],
        lambda column: [value if value % 2 else str(value) for value in column],
    ],
    ids="str object str-category category Int64 int8 float datetime tuple mixed".split(),
)
def test_ids_may_be_of_any_kind(as_ids, predictions):
    given = X.assign(user=as_ids(X["user"]), item=as_ids(X["item"]))
    model = mf().fit(given, Y)
    assert np.array_equal(model.predict(given), predictions)
    assert model.n_features_in_ == 3


@pytest.mark.parametrize(
    ("columns", "user", "item"),
    [
        (["user", "item", "timestamp"], "user", "item"),
        (["timestamp", "item", "user"], "user", "item"),
        (["timestamp", "item", "user"], 2, 1),
        (["item", "timestamp", "user"], "user", 0),
        (["user", "item"], 0, 1),
    ],
)
def test_columns_by_name_and_by_position(columns, user, item, predictions):
    given = X[columns]
    assert np.array_equal(mf(user=user, item=item).fit(given, Y).predict(given), predictions)


def test_further_columns_are_not_used(predictions):
    junk = X.assign(timestamp=[{"a": None}, "b"] * 500, more=np.nan)
    model = mf().fit(junk, Y)
    assert np.array_equal(model.predict(junk.assign(timestamp=0, more="c")), predictions)


@pytest.mark.parametrize("as_array", [False, True])
def test_the_data_do_not_change(as_array):
    given, y, weight = X.copy(), Y.copy(), WEIGHT.copy()
    if as_array:
        given, y = given.to_numpy(), y.to_numpy()
        for values in (given, y, weight):
            values.flags.writeable = False
    model = mf().fit(given, y, weight, X_val=given, y_val=y, sample_weight_val=weight)
    model.partial_fit(given, y, weight)
    model.predict(given)
    assert np.array_equal(given, X)
    assert np.array_equal(y, Y)
    assert np.array_equal(weight, WEIGHT)
    if not as_array:
        pd.testing.assert_frame_equal(given, X)


@pytest.mark.parametrize("dtype", [int, bool, np.float32, "Int64", "Float64", object])
def test_ratings_may_be_any_numbers(dtype):
    y = (Y > 3).astype(int)
    expected = mf().fit(X, y.astype(float)).predict(X)
    model = mf(device=torch.device("cpu", 0)).fit(X, y.astype(dtype))
    assert np.array_equal(model.predict(X), expected)


# --- degenerate data


@each_optimizer
@pytest.mark.parametrize(
    "change",
    [
        lambda X, y: (X, y * 0 + 3.7),
        lambda X, y: (X.assign(user=1), y),
        lambda X, y: (X.assign(item=1), y),
        lambda X, y: (X.assign(user=1, item=1), y),
        lambda X, y: (X.assign(user=1, item=1), y * 0),
        lambda X, y: (X.assign(user=np.arange(len(X))), y),
        lambda X, y: (X.assign(user=np.arange(len(X)), item=np.arange(len(X))), y),
        lambda X, y: (pd.concat([X, X, X]), np.tile(y, 3)),
        lambda X, y: (pd.concat([X] * 100), np.tile(y, 100)),
        lambda X, y: (X[:2], y[:2]),
    ],
    ids=[
        "all equal",
        "one user",
        "one item",
        "one user and one item",
        "one cell, all 0",
        "one rating a user",
        "one rating a user and an item",
        "each thrice",
        "each a hundred times",
        "two rows",
    ],
)
def test_degenerate_data_are_fitted_finitely(change, optimizer):
    given, y = change(X, Y)
    model = mf(optimizer=optimizer, rating_scale=None, max_epochs=20).fit(given, y)
    predicted = model.predict(given)
    assert np.isfinite(predicted).all()
    error = np.sqrt(np.mean((predicted - y) ** 2))
    assert error <= 1.01 * np.std(y) + 1e-2  # never much worse than the mean
    assert np.isfinite(model.partial_fit(given, y).predict(X)).all()


# --- scikit-learn's machinery


@pytest.mark.parametrize("encoder", [IDEncoder(), IDEncoder(columns=("user", "item"))])
def test_an_encoder_in_front_changes_nothing(encoder, predictions):
    pipeline = make_pipeline(encoder, mf()).fit(X, Y)
    assert np.array_equal(pipeline.predict(X), predictions)
    strangers = X.assign(user=-X["user"] - 1)
    assert np.array_equal(pipeline.predict(strangers), mf().fit(X, Y).predict(strangers))
    strings = X.astype({"user": str, "item": str})
    assert np.array_equal(pipeline.fit(strings, Y).predict(strings), predictions)


def test_an_encoder_in_front_takes_arrays(predictions):
    array = X.to_numpy()
    pipeline = make_pipeline(IDEncoder(), mf()).fit(array, Y)
    assert np.array_equal(pipeline.predict(array), predictions)


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


def pickled(model):
    return pickle.loads(pickle.dumps(model))


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, pickled])
def test_a_copy_is_independent(copied):
    model = mf(early_stopping=True, batch_size=100).fit(X, Y)
    expected, loss = model.predict(X), list(model.loss_curve_)
    other = copied(model)
    assert other.recommend([1, 2]).equals(model.recommend([1, 2]))
    # The net is not pickled.
    assert hasattr(other, "net_") == (copied is copy.copy)
    other.partial_fit(X.assign(user=X["user"] + 500), Y)
    assert np.array_equal(model.predict(X), expected)
    assert model.loss_curve_ == loss == model.net_.history[:, "train_loss"]


def test_callbacks_are_not_copied():
    class Counter(Callback):
        epochs = 0

        def on_epoch_end(self, net, **kwargs):
            self.epochs += 1

    counter = Counter()
    model = mf(callbacks=[counter]).fit(X, Y)
    assert counter.epochs == 3
    assert model.callbacks == [counter]
