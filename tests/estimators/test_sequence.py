"""SequenceRatingRegressor: histories, training, and both forms of its input."""
# SPDX-License-Identifier: BSD-3-Clause

import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from skorch.callbacks import Callback

from sklrec import (
    IDEncoder,
    MFRegressor,
    SequencePadder,
    SequenceRatingRegressor,
    SequenceWindower,
)
from sklrec.datasets import make_ratings
from sklrec.metrics import neg_masked_root_mean_squared_error_scorer
from sklrec.modules import LSTMRating, ResidualLSTMRating


def made_log(n_users=12, n_items=20, n_rows=300, seed=0):
    """Make an unordered log with many equal timestamps."""
    rng = np.random.RandomState(seed)
    X = pd.DataFrame(
        {
            "user": rng.randint(n_users, size=n_rows),
            "item": rng.randint(n_items, size=n_rows) + 100,
            "timestamp": rng.randint(40, size=n_rows) * 10,
        }
    ).drop_duplicates(["user", "item"], ignore_index=True)
    return X, rng.randint(1, 6, size=len(X)).astype(float)


def padded(n=80, width=5, n_items=9, seed=0, ratings=True):
    """Make padded sequences of 1 to `width` items, and their ratings."""
    rng = np.random.RandomState(seed)
    items = rng.randint(1, n_items + 1, size=(n, width))
    lengths = rng.randint(1, width + 1, size=n)
    is_item = np.arange(width) >= width - lengths[:, None]
    stars = np.where(is_item, rng.randint(1, 6, size=(n, width)), np.nan)
    items = np.where(is_item, items, 0)
    return (np.hstack([items, stars]) if ratings else items), stars


X, Y = made_log()
SEQUENCES, STARS = padded()
KINDS = {
    "default": {},
    "plain": {"alpha": 10.0},
    "plain bidirectional": {"alpha": 10.0, "bidirectional": True},
    "bidirectional": {"bidirectional": True},
    "items_only": {"items_only": True},
    "both": {"items_only": True, "bidirectional": True},
}


def sequence(**params):
    defaults = {"n_factors": 4, "hidden_size": 3, "max_epochs": 2, "random_state": 0}
    return SequenceRatingRegressor(**{**defaults, **params})


def of_sequences(**params):
    return sequence(input="sequences", **params)


@pytest.fixture(scope="module")
def models():
    """Fitted models, which tests do not change."""
    return {name: sequence(**params).fit(X, Y) for name, params in KINDS.items()}


@pytest.fixture(scope="module")
def padded_model():
    return of_sequences().fit(SEQUENCES, STARS)


each = pytest.mark.parametrize("kind", KINDS)
causal = pytest.mark.parametrize("kind", ["default", "plain", "items_only"])


# --- what a prediction may read


@causal
@pytest.mark.parametrize("now", [50, 200, 350])
def test_later_ratings_do_not_change_earlier_predictions(models, kind, now):
    rng = np.random.RandomState(now)
    later = X["timestamp"] >= now
    other, ratings = X.copy(), Y.copy()
    other.loc[later, "item"] = rng.permutation(X.loc[later, "item"])
    ratings[later] = rng.permutation(Y[later])
    rows = X[X["timestamp"] <= now]
    model = models[kind]
    before = model.predict(rows, history=(X, Y))
    assert np.array_equal(before, model.predict(rows))  # fit stored the same history
    assert np.array_equal(before, model.predict(rows, history=(other, ratings)))
    after = X[X["timestamp"] > now]
    changed = model.predict(after, history=(other, ratings)) != model.predict(after)
    assert changed.mean() > 0.3


@causal
def test_only_strictly_earlier_ratings_are_read(models, kind):
    rows, earlier = X[X["timestamp"] == 200], X["timestamp"] < 200
    whole = models[kind].predict(rows, history=(X, Y))
    changed = np.where(earlier, Y, 9 - Y)
    assert np.array_equal(models[kind].predict(rows, history=(X, changed)), whole)
    part = models[kind].predict(rows, history=(X[earlier], Y[earlier]))
    assert np.allclose(part, whole, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", ["bidirectional", "plain bidirectional", "both"])
def test_a_bidirectional_model_does_not_read_the_row_itself(models, kind):
    model, rows = models[kind], X.iloc[[7, 50]]
    known = model.predict(rows, history=(X, Y))
    for number, row in enumerate(rows.index):
        others = X.index != row
        if kind != "both":
            changed = model.predict(rows, history=(X, np.where(others, Y, 9 - Y)))
            assert changed[number] == known[number]
        # The lengths of histories differ, so that the results are equal up to float32's precision.
        without = model.predict(rows.iloc[[number]], history=(X[others], Y[others]))
        assert np.allclose(without, known[number], rtol=0, atol=1e-5)
    later = X["timestamp"] > rows["timestamp"].max()
    assert not np.allclose(model.predict(rows, history=(X[~later], Y[~later])), known, atol=1e-4)


@each
def test_without_timestamps_it_reads_all_other_items_of_the_user(kind):
    model = sequence(timestamp=None, **KINDS[kind]).fit(X, Y)
    rows = X.iloc[[3, 40, 41]]
    known = model.predict(rows)
    for number, row in enumerate(rows.index):
        own = X.index == row
        as_if = model.predict(rows, history=(X, np.where(own, 9 - Y, Y)))
        assert as_if[number] == known[number]
        without = model.predict(rows, history=(X[~own], Y[~own]))
        assert np.isclose(without[number], known[number], rtol=0, atol=1e-5)
    assert np.array_equal(model.predict(rows.assign(timestamp=0)), known)


@each
@given(data=st.data())
@settings(max_examples=10)
def test_a_prediction_depends_only_on_its_row(models, kind, data):
    whole = models[kind].predict(X)
    rows = data.draw(st.lists(st.integers(0, len(X) - 1), min_size=1, max_size=30))
    assert np.array_equal(models[kind].predict(X.iloc[rows]), whole[rows])


@causal
def test_rows_and_histories_may_come_in_any_order(models, kind):
    order = np.random.RandomState(0).permutation(len(X))
    known, shuffled = models[kind].predict(X), (X.iloc[order], Y[order])
    assert np.array_equal(models[kind].predict(X, history=shuffled), known)
    by_time = np.argsort(X["timestamp"])
    model = sequence(**KINDS[kind]).fit(X.iloc[by_time], Y[by_time])
    assert np.array_equal(model.predict(shuffled[0]), model.predict(X)[order])


@pytest.mark.parametrize("kind", ["default", "plain"])
def test_a_history_replaces_that_of_fit_and_serves_new_users(models, kind):
    model, user = models[kind], X["user"].iloc[0]
    own = X["user"] == user
    row = pd.DataFrame({"user": [user], "item": [105], "timestamp": [999]})
    unknown = model.predict(row.assign(user=777))
    assert model.predict(row) != unknown
    assert model.predict(row, history=(X[~own], Y[~own])) == unknown
    assert np.array_equal(model.predict(row, history=(X[:0], Y[:0])), unknown)
    served = model.predict(row.assign(user=777), history=(X[own].assign(user=777), Y[own]))
    assert np.array_equal(served, model.predict(row))


def test_of_a_long_history_only_the_nearest_ratings_are_read():
    n = 1200
    log = pd.DataFrame({"user": 1, "item": np.arange(n) % 7, "timestamp": np.arange(n)})
    ratings = np.tile([1.0, 5.0, 3.0], n // 3)
    model = sequence(max_epochs=1).fit(log, ratings)
    row = pd.DataFrame({"user": [1], "item": [3], "timestamp": [n]})
    known = model.predict(row)
    far, near = np.arange(n) < n - 1024, np.arange(n) == n - 500
    assert np.array_equal(model.predict(row, history=(log, np.where(far, 2.0, ratings))), known)
    assert not np.array_equal(model.predict(row, history=(log, np.where(near, 2, ratings))), known)


# --- the log


@pytest.mark.parametrize(
    "convert",
    [
        lambda t: pd.to_datetime(t, unit="s"),
        lambda t: pd.to_datetime(t, unit="s", utc=True).dt.tz_convert("Asia/Tokyo"),
        lambda t: t.astype(float),
    ],
    ids=["naive", "aware", "float"],
)
def test_numbers_and_datetimes_are_the_same_timestamps(models, convert):
    other = X.assign(timestamp=convert(X["timestamp"]))
    model = sequence().fit(other, Y)
    assert np.allclose(model.predict(other), models["default"].predict(X), rtol=0, atol=1e-5)


def test_the_timestamp_column_may_have_any_name_or_position(models):
    expected = models["default"].predict(X)
    renamed = X.rename(columns={"timestamp": "when"})
    assert np.array_equal(sequence(timestamp="when").fit(renamed, Y).predict(renamed), expected)
    array = X.to_numpy()
    assert np.array_equal(sequence(timestamp=2).fit(array, Y).predict(array), expected)
    untimed = sequence(timestamp=None).fit(X, Y).predict(X)
    warnings.simplefilter("ignore")  # restored by pytest after the test
    assert np.array_equal(sequence().fit(renamed, Y).predict(renamed), untimed)
    assert np.array_equal(sequence().fit(array, Y).predict(array), untimed)


def test_bad_timestamps_and_those_of_another_kind_are_refused(models):
    with pytest.raises(ValueError, match="'timestamp' holds inf in row 0"):
        sequence().fit(X.assign(timestamp=np.inf), Y)
    with pytest.raises(TypeError, match="Timestamps are all numbers or all datetimes, with"):
        sequence().fit(X.assign(timestamp="yesterday"), Y)
    dates = X.assign(timestamp=pd.to_datetime(X["timestamp"], unit="s"))
    for rows, history in ((dates, None), (X, (dates, Y))):
        with pytest.raises(ValueError, match="'timestamp' was fitted on numbers but got dateti"):
            models["default"].predict(rows, history=history)


def test_a_missing_timestamp_column_is_an_error_or_a_warning():
    renamed = X.rename(columns={"timestamp": "when"})
    with pytest.raises(ValueError, match="Column 'timestamp' was asked for"):
        sequence(timestamp="timestamp").fit(renamed, Y)
    for log in (X.to_numpy(), renamed):
        with pytest.warns(UserWarning, match="timestamp='auto' found no column named 'timestamp'"):
            sequence().fit(log, Y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sequence(timestamp=None).fit(X.to_numpy(), Y)
        sequence().fit(X.to_numpy()[:, :2], Y)


def test_timestamps_may_be_far_apart():
    times = np.linspace(-(2.0**62), 2.0**62, len(X)).astype(np.int64)
    far = X.assign(timestamp=times)
    assert np.isfinite(sequence().fit(far, Y).predict(far)).all()


@pytest.mark.parametrize(
    ("history", "message"),
    [
        (X, r"history must be a pair \(X_past, y_past\)"),
        (5, "history must be a pair"),
        ((X, Y[:5]), "inconsistent numbers of samples"),
        ((X.drop(columns="item"), Y), "feature names"),
        ((X, np.where(np.arange(len(Y)) == 3, np.nan, Y)), "the first in row 3"),
    ],
)
def test_bad_histories_are_refused(models, history, message):
    with pytest.raises(ValueError, match=message):
        models["default"].predict(X, history=history)


def test_ids_of_another_kind_are_warned_of_in_a_history(models):
    users, items = X.assign(user=X["user"].astype(str)), X.assign(item=X["item"].astype(str))
    for column, rows, past in (("user", users, X), ("item", X, items), ("item", items, X)):
        with pytest.warns(UserWarning, match=f"Column '{column}' was fitted on integers"):
            models["default"].predict(rows, history=(past, Y))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # fit need not know the users of a history
        served = models["default"].predict(users, history=(users, Y))
    assert np.array_equal(served, models["default"].predict(X))


def test_a_history_after_an_encoder_is_encoded(models):
    pipe = make_pipeline(IDEncoder(), sequence()).fit(X, Y)
    past = X["timestamp"] < 300
    expected = models["default"].predict(X, history=(X[past], Y[past]))
    history = pipe[:-1].transform(X[past]), Y[past]
    assert np.array_equal(pipe.predict(X, history=history), expected)


def test_the_fitted_model_decides_how_predict_reads():
    model = sequence(bidirectional=True).fit(X, Y)
    known = model.predict(X)
    assert np.array_equal(model.set_params(bidirectional=False).predict(X), known)
    model.set_params(input="sequences", warm_start=True)
    for method in (model.predict, lambda X: model.fit(X, Y)):
        with pytest.raises(ValueError, match="fitted with input='interactions'"):
            method(X)


def test_one_estimator_may_be_fitted_to_either_input():
    model = sequence().fit(X, Y).set_params(input="sequences").fit(SEQUENCES, STARS)
    assert not hasattr(model, "encoder_")
    model.fit(SEQUENCES, STARS, X_val=SEQUENCES, y_val=STARS)
    model.set_params(input="interactions").fit(X, Y, X_val=X, y_val=Y)
    assert model.predict(X).shape == Y.shape
    assert not hasattr(model, "with_ratings_")


# --- training


def drifting_log(seed=0):
    """Make ratings of users whose mean drifts, so that only recent ratings are informative."""
    rng = np.random.RandomState(seed)
    n_users, length = 100, 40
    drift = np.cumsum(rng.normal(scale=0.5, size=(n_users, length)), axis=1)
    items = np.stack([rng.permutation(60)[:length] for _ in range(n_users)])
    ratings = 3 + drift + rng.normal(scale=0.2, size=drift.shape)
    log = pd.DataFrame(
        {
            "user": np.repeat(np.arange(n_users), length),
            "item": items.ravel(),
            "timestamp": np.tile(np.arange(length), n_users),
        }
    )
    return log, ratings.ravel()


def test_it_follows_drift_and_later_ratings_help():
    log, ratings = drifting_log()
    test = np.random.RandomState(0).rand(len(log)) < 0.2
    errors = []
    for model in (
        MFRegressor(random_state=0),
        SequenceRatingRegressor(max_epochs=12, random_state=0),
        SequenceRatingRegressor(bidirectional=True, max_epochs=12, random_state=0),
    ):
        predictions = model.fit(log[~test], ratings[~test]).predict(log[test])
        errors.append(np.sqrt(np.mean((ratings[test] - predictions) ** 2)))
    assert errors[1] < 0.75 * errors[0]
    assert errors[2] < 0.95 * errors[1]


def test_a_static_part_beats_the_lstm_alone_and_serves_new_users_from_their_history():
    log, ratings = make_ratings(200, 100, 6000, random_state=0)
    ratings = ratings.to_numpy()
    is_new = (log["user"] % 10 == 0).to_numpy()
    late = log.groupby("user")["timestamp"].rank(pct=True).to_numpy() > 0.7
    known = ~is_new & ~late
    errors = {}
    for alpha in ("auto", 10.0):
        model = SequenceRatingRegressor(alpha=alpha, random_state=0)
        model.fit(log[known], ratings[known])
        for group in (~is_new & late, is_new & late):
            found = model.predict(log[group], history=(log, ratings))
            errors.setdefault(alpha, []).append(np.sqrt(np.mean((ratings[group] - found) ** 2)))
    assert errors["auto"][0] < errors[10.0][0]
    assert errors["auto"][1] < errors[10.0][1]
    assert errors["auto"][1] < 1.1 * errors["auto"][0]  # new users are not worse off


def test_the_noise_is_learned_in_squared_units_of_the_ratings(models):
    noise = models["default"].noise_variance_
    assert 0.3 * np.var(Y) < noise < 1.5 * np.var(Y)
    tenfold = sequence().fit(X, 10 * Y)
    assert tenfold.noise_variance_ == pytest.approx(100 * noise, rel=1e-3)
    for kind in ("plain", "items_only"):
        with pytest.raises(AttributeError, match="Fit with alpha='auto'"):
            models[kind].noise_variance_  # noqa: B018


def test_a_number_for_alpha_or_padded_sequences_have_no_static_part(models, padded_model):
    assert isinstance(models["default"].module_, ResidualLSTMRating)
    for model in (models["plain"], models["items_only"], padded_model):
        assert type(model.module_) is LSTMRating
    same = of_sequences(alpha=10.0).fit(SEQUENCES, STARS)
    assert np.array_equal(same.predict(SEQUENCES), padded_model.predict(SEQUENCES), equal_nan=True)


def test_too_many_factors_for_a_static_part_are_refused():
    with pytest.raises(ValueError, match="at most 32 of them, got n_factors=33"):
        sequence(n_factors=33).fit(X, Y)
    assert sequence(n_factors=33, alpha=1.0).fit(X, Y).item_factors_.shape[1] == 33
    factors = SequenceRatingRegressor(max_epochs=1).fit(X, Y).item_factors_
    assert factors.shape == (X["item"].nunique(), 16)


@pytest.mark.parametrize("alphas", [("auto", 10.0), (10.0, "auto")])
def test_further_training_keeps_or_lacks_the_static_part(alphas):
    model = sequence(alpha=alphas[0], warm_start=True).fit(X, Y).set_params(alpha=alphas[1])
    for method in (model.fit, model.partial_fit):
        with pytest.raises(ValueError, match=r"continues a model with(out)? a static part"):
            method(X, Y)


def test_new_ratings_of_an_item_move_it_and_repeated_ones_do_not():
    model = sequence().fit(X, Y)
    item = X["item"].iloc[0]
    more = pd.DataFrame({"user": range(50, 62), "item": item, "timestamp": 500})
    rows = pd.DataFrame({"user": [99], "item": [item], "timestamp": [600]})
    before = model.predict(rows)
    model.partial_fit(more, np.full(12, 5.0))
    moved = model.predict(rows)
    assert moved > before
    model.partial_fit(more, np.full(12, 5.0))
    assert np.array_equal(model.predict(rows), moved)  # no user: the LSTM has no part in it


def test_validation_rows_read_only_earlier_ratings():
    train, valid = X["timestamp"] < 200, X["timestamp"] >= 200
    model = sequence(max_epochs=4, early_stopping=False)
    model.fit(X[train], Y[train], X_val=X[valid], y_val=Y[valid])
    error = np.mean((np.clip(model.predict(X[valid]), 1, 5) - Y[valid]) ** 2)
    # The predictions of the curve are not clipped.
    assert model.validation_curve_[-1] == pytest.approx(error, rel=0.02)
    assert len(model.histories_.items) == train.sum()


@pytest.mark.parametrize("timestamp", ["auto", None])
def test_held_out_rows_are_part_of_the_histories(timestamp):
    model = sequence(early_stopping=True, max_epochs=3, timestamp=timestamp).fit(X, Y)
    assert len(model.validation_curve_) == model.n_iter_
    assert len(model.histories_.items) == len(X)


@pytest.mark.parametrize("timestamp", ["auto", None])
def test_partial_fit_adds_users_items_and_histories(timestamp):
    first, second = X["timestamp"] < 200, X["timestamp"] >= 200
    more = X[second].assign(item=X["item"] + 10, user=X["user"] + 6)
    model = sequence(timestamp=timestamp).fit(X[first], Y[first])
    n_before = model.n_items_
    model.partial_fit(more, Y[second])
    assert model.n_items_ > n_before
    kept = more.merge(X[first], how="left", on=["user", "item"], indicator=True)
    replaced = 0 if timestamp else (kept["_merge"] == "both").sum()
    assert len(model.histories_.items) == len(X) - replaced
    assert model.n_iter_ == 3
    assert np.isfinite(model.predict(X)).all()
    if timestamp:
        stored = pd.concat([X[first], more]), np.r_[Y[first], Y[second]]
        assert np.array_equal(model.predict(X, history=stored), model.predict(X))


@pytest.mark.parametrize("timestamp", ["auto", None])
def test_repeated_rows_are_read_once_and_never_by_themselves(timestamp):
    class Batches(Callback):
        def on_batch_begin(self, net, batch=None, training=None, **kwargs):
            batches.append(batch)

    batches = []
    model = sequence(timestamp=timestamp, callbacks=[Batches()]).fit(X, Y).partial_fit(X, Y)
    assert len(model.histories_.items) == len(X)
    assert batches
    for inputs, ratings in batches:
        for row, before, item, rating in zip(
            *(inputs[name].tolist() for name in ("sequences", "before", "items")),
            ratings.tolist(),
            strict=True,
        ):
            read = inputs["past_items"][row, :before], inputs["past_ratings"][row, :before]
            assert (item, rating) not in list(zip(*(v.tolist() for v in read), strict=True))


@pytest.mark.parametrize(("timestamp", "alpha"), [("auto", "auto"), (None, 1.0)])
def test_repeated_rows_do_no_harm(timestamp, alpha):
    ratings, stars = make_ratings(100, 60, 3000, step=1, random_state=0)
    train = np.random.RandomState(0).permutation(3000)
    train, test = train[:2400], train[2400:]
    errors = []
    for rows in (train, np.r_[train[::-1], train]):
        model = SequenceRatingRegressor(4, alpha=alpha, timestamp=timestamp, random_state=0)
        model.fit(ratings.iloc[rows], stars.iloc[rows])
        assert len(model.histories_.items) == len(train)
        errors.append(model.predict(ratings.iloc[test]) - stars.iloc[test])
    once, twice = (np.sqrt(np.mean(error**2)) for error in errors)
    assert once < 0.9 * stars.std()
    assert twice < 1.05 * once  # a training that reads copies has 1.3 times the error


def test_the_penalty_counts_all_ratings_so_far():
    model = sequence(warm_start=True, alpha=10.0).fit(X[:20], Y[:20])
    assert model.module_.n_ratings == 20
    assert model.fit(X, Y).module_.n_ratings == len(X)
    assert model.partial_fit(X, Y).module_.n_ratings == len(X)
    model = sequence(alpha=10.0).fit(X, Y)
    counts = X["item"].value_counts().reindex(model.encoder_.categories_[1]).to_numpy()
    # Each rating looks its item up twice: in the history and as a target.
    assert np.array_equal(model.module_.n_lookups.numpy(), np.r_[0, 2 * counts])
    model = of_sequences().fit(SEQUENCES, STARS)
    first, n_rated = model.module_.n_lookups, np.count_nonzero(~np.isnan(STARS))
    assert first.sum() == 2 * n_rated
    model.partial_fit(SEQUENCES, STARS)
    assert torch.equal(model.module_.n_lookups, 2 * first)
    assert model.module_.n_ratings == 2 * n_rated


# --- recommending


@each
def test_scores_of_recommendations_are_predictions_for_later_rows(models, kind):
    users = [3, 5, -1]
    recommended = models[kind].recommend(users, n_items=4)
    assert recommended["user"].unique().tolist() == users
    rows = recommended[["user", "item"]].assign(timestamp=X["timestamp"].max() + 1)
    assert np.allclose(models[kind].predict(rows), recommended["score"], rtol=0, atol=2e-2)
    seen = set(zip(X["user"], X["item"], strict=True))
    assert not seen & set(zip(rows["user"], rows["item"], strict=True))
    assert len(models[kind].similar_items([105], n_items=3)) == 3


# --- padded sequences


def test_one_rating_for_each_sequence_is_that_of_the_last_item():
    items, stars = padded(ratings=False)
    model = of_sequences(items_only=True).fit(items, stars[:, -1])
    ratings = model.predict(items)
    assert ratings.shape == (len(items),)
    front = np.hstack([np.zeros((len(items), 1), int), items])[:, 1:]
    assert np.array_equal(model.predict(front), ratings)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_positions_with_items_are_predicted_and_scored(bidirectional):
    model = of_sequences(bidirectional=bidirectional).fit(SEQUENCES, STARS)
    ratings = model.predict(SEQUENCES)
    assert np.array_equal(np.isnan(ratings), np.isnan(STARS))
    known = ~np.isnan(STARS)
    assert model.score(SEQUENCES, STARS) == r2_score(STARS[known], ratings[known])
    weight = np.arange(len(STARS)) + 1.0
    spread = np.broadcast_to(weight[:, None], STARS.shape)[known]
    expected = r2_score(STARS[known], ratings[known], sample_weight=spread)
    assert model.score(SEQUENCES, STARS, sample_weight=weight) == pytest.approx(expected)


@pytest.mark.parametrize("position", range(5))
def test_a_position_reads_only_ratings_before_it(position, padded_model):
    known = padded_model.predict(SEQUENCES)
    changed = SEQUENCES.copy()
    changed[:, 5 + position :] = 6 - changed[:, 5 + position :]
    other = padded_model.predict(changed)
    earlier = slice(None, position + 1)
    assert np.array_equal(other[:, earlier], known[:, earlier], equal_nan=True)
    assert position == 4 or not np.allclose(other, known, equal_nan=True)


def test_padding_changes_nothing():
    items, ratings = SEQUENCES[:, :5], SEQUENCES[:, 5:]
    wide = np.hstack([np.zeros((80, 3)), items, np.full((80, 3), np.nan), ratings])
    front = of_sequences().fit(SEQUENCES, STARS)
    padded_more = of_sequences().fit(wide, np.hstack([np.full((80, 3), np.nan), STARS]))
    assert padded_more.loss_curve_ == front.loss_curve_
    assert np.array_equal(
        padded_more.predict(wide)[:, 3:], front.predict(SEQUENCES), equal_nan=True
    )
    # Padding after the sequences instead of before.
    order = np.argsort(items == 0, axis=1, kind="stable")
    moved = [np.take_along_axis(part, order, axis=1) for part in (items, ratings, STARS)]
    behind = of_sequences().fit(np.hstack(moved[:2]), moved[2])
    assert behind.loss_curve_ == front.loss_curve_


def test_windows_of_a_log_give_the_predictions_of_the_log():
    log = X.sort_values(["user", "timestamp", "item"]).drop_duplicates(["user", "timestamp"])
    ratings = Y[log.index]
    encoder = IDEncoder().fit(log)
    coded = encoder.transform(log)
    windows = SequenceWindower(max_len=30, ratings=True).fit(coded, ratings).transform(coded)
    model = sequence(timestamp=None, alpha=10.0).fit(coded, ratings)
    other = of_sequences().fit(windows, ratings)
    other.module_.load_state_dict(model.module_.state_dict())
    other.rating_scale_ = model.rating_scale_
    # A large unit of time makes all gaps 0, as they are in padded sequences.
    timed = sequence(alpha=10.0).fit(coded, ratings)
    timed.module_.load_state_dict(model.module_.state_dict())
    timed.time_unit_ = 1e12
    assert np.allclose(other.predict(windows), timed.predict(coded), rtol=0, atol=1e-5)


def test_sequences_may_come_from_other_transformers():
    pipe = make_pipeline(IDEncoder(), SequenceWindower(max_len=4, ratings=True), of_sequences())
    scores = cross_val_score(
        pipe, X, Y, cv=3, scoring="neg_root_mean_squared_error", error_score="raise"
    )
    assert (scores > -3).all()
    rare = IDEncoder(min_frequency=9)
    pipe = make_pipeline(rare, SequenceWindower(max_len=4, ratings=True), of_sequences()).fit(X, Y)
    assert (pipe[:-1].transform(X)[:, 3] == 0).any()  # some sequences end in an unknown item
    assert np.isfinite(pipe.predict(X)).all()
    ragged, targets = [[1, 2], [3], [2, 2, 1], [1]] * 5, [3.0, 4.0, 2.0, 5.0] * 5
    pipe = make_pipeline(SequencePadder(), of_sequences(items_only=True)).fit(ragged, targets)
    assert pipe.predict([[2, 1], [3]]).shape == (2,)


def test_past_ratings_far_from_0_are_as_precise_as_those_near_0():
    far = SEQUENCES + 1e9 * (np.arange(10) >= 5)
    found = of_sequences().fit(far, STARS + 1e9).predict(far) - 1e9
    np.testing.assert_allclose(
        found, of_sequences().fit(SEQUENCES, STARS).predict(SEQUENCES), atol=1e-3
    )


def test_missing_ratings_are_masked_in_search_and_cross_validation():
    search = GridSearchCV(
        of_sequences(),
        {"hidden_size": [2, 4]},
        scoring=neg_masked_root_mean_squared_error_scorer,
        cv=2,
        error_score="raise",
    ).fit(SEQUENCES, STARS)
    assert -3 < search.best_score_ < 0


def test_unseen_codes_are_unknown_items(padded_model):
    other = SEQUENCES.copy()
    other[:, 4] = 77
    ratings = padded_model.predict(other)
    assert np.isfinite(ratings[:, 4]).all()
    assert np.array_equal(ratings[:, :4], padded_model.predict(SEQUENCES)[:, :4], equal_nan=True)
    last = of_sequences(items_only=True).fit(SEQUENCES[:, :5], STARS[:, 4])
    zero = SEQUENCES[:, :5].copy()
    zero[:, 4] = 0
    assert np.array_equal(last.predict(other[:, :5]), last.predict(zero))


def test_sequences_without_a_rating_are_dropped():
    few = np.where(np.arange(len(STARS))[:, None] < 10, STARS, np.nan)
    model = of_sequences(early_stopping=True).fit(SEQUENCES, few)
    assert np.isfinite(model.validation_curve_).all()
    alone = of_sequences().fit(SEQUENCES[:10], few[:10])
    assert np.array_equal(
        of_sequences().fit(SEQUENCES, few).predict(SEQUENCES),
        alone.predict(SEQUENCES),
        equal_nan=True,
    )
    full = np.flatnonzero((~np.isnan(STARS)).all(axis=1))[:1]
    one = of_sequences().fit(SEQUENCES[full], STARS[full])
    assert one.predict(SEQUENCES[full]).shape == (1, 5)


def test_all_ratings_have_the_same_number_of_columns():
    message = r"predicts 5 rating\(s\) for each sequence, but ratings came with shape \(80,\)"
    model = of_sequences(warm_start=True).fit(SEQUENCES, STARS)
    with pytest.raises(ValueError, match=message):
        model.fit(SEQUENCES, STARS[:, 4])
    with pytest.raises(ValueError, match=message):
        of_sequences().fit(SEQUENCES, STARS, X_val=SEQUENCES, y_val=STARS[:, 4])


def test_score_takes_every_shape_of_y_that_fit_takes(models, padded_model):
    known = models["default"].score(X, Y)
    assert models["default"].score(X, Y.astype(int)) == known
    assert models["default"].score(X, Y, history=(X, Y)) == known
    assert models["default"].score(X, Y, history=(X[:5], Y[:5])) != known
    known = padded_model.score(SEQUENCES, STARS)
    assert padded_model.score(SEQUENCES, pd.DataFrame(STARS)) == known
    for y in (STARS[:, :3], STARS[:, 4]):
        with pytest.raises(ValueError, match="y must have the shape of the predictions, "):
            padded_model.score(SEQUENCES, y)


def test_partial_fit_adds_items_of_sequences():
    sequences, stars = padded(n_items=5)
    model = of_sequences().fit(sequences, stars)
    more, more_stars = padded(n_items=12, seed=1)
    model.partial_fit(more, more_stars)
    assert model.n_items_ == 12
    assert np.isfinite(model.predict(more)[~np.isnan(more_stars)]).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda X, y: (-X, y), "whole numbers from 1 upwards, and 0 for padding, got -"),
        (lambda X, y: (X + 0.5, y), "whole numbers from 1 upwards"),
        (lambda X, y: (np.where(X == 3, np.nan, X), y), "got nan in row"),
        (lambda X, y: ([[1, 2], [3]], [1.0, 2.0]), "Pad them with SequencePadder"),
        (lambda X, y: (X, y[:, :3]), "y must hold one rating a sequence"),
        (lambda X, y: (X, y[:10]), "inconsistent numbers of samples"),
        (lambda X, y: (X, np.full_like(y, np.nan)), "y holds no rating: all of it is NaN"),
        (lambda X, y: (X, np.where(np.isnan(y), 3.0, y)), "y has ratings where X is padding"),
        (lambda X, y: (X[:, ::-1], y[:, -1]), "end in padding .* Pad with padding='pre'"),
        (lambda X, y: (X * 10**9, y), "these look like IDs"),
        (lambda X, y: (X * 1e17, y), "whole numbers from 1 upwards"),
        (lambda X, y: (np.hstack([X, X > 0]), y[:, -1]), r"SequencePadder\(mask=False"),
        (lambda X, y: (X, np.where(y == 3, np.inf, y)), "infinity"),
        (lambda X, y: (X[:0], y[:0]), "0 sample"),
        (lambda X, y: (X[:1], y[:1, -1]), "minimum of 2 is required"),
    ],
)
def test_bad_sequences_are_refused(change, message):
    items, stars = padded(ratings=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match=message):
            of_sequences(items_only=True).fit(*change(items, stars))


def test_missing_and_infinite_past_ratings_are_refused():
    items, stars = padded(ratings=False)
    with pytest.raises(ValueError, match=r"Append the ratings.*or set items_only=True"):
        of_sequences().fit(items, stars)
    sequences = SEQUENCES.copy()
    sequences[3, 7] = np.inf
    with pytest.raises(ValueError, match="Past ratings must be finite, or NaN"):
        of_sequences().fit(sequences, stars)
    with pytest.raises(TypeError, match=r"got a path instead: 'log\.csv'\. Read the file first"):
        of_sequences(items_only=True).fit("log.csv", [3.0])


def test_a_model_of_sequences_has_no_histories_and_recommends_nothing(padded_model):
    with pytest.raises(ValueError, match="history is for input='interactions'"):
        padded_model.predict(SEQUENCES, history=(SEQUENCES, STARS))
    for method in (padded_model.recommend, padded_model.similar_items):
        with pytest.raises(ValueError, match="Recommending needs input="):
            method([1])
