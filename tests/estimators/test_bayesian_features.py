"""BayesianMFRegressor with side features and with ordinal ratings."""
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import pandas as pd
import pytest
from scipy.special import ndtr
from scipy.stats import norm

from sklrec import BayesianMFRegressor
from sklrec._data.tables import read_table
from sklrec.datasets import make_ratings

X, REAL = make_ratings(60, 40, 1200, random_state=0)
Y = REAL.round()  # stars
IDS = X[["user", "item"]]
GENRES = [["drama", "war"], ("comedy",), [], {"war"}]
LOSSES = ("squared_error", "ordinal")
losses = pytest.mark.parametrize("loss", LOSSES)


def with_side(X):
    """Add side features of every kind and side, with missing values."""
    rng = np.random.default_rng(0)
    n_tags = rng.integers(0, 4, len(X))
    return X[["user", "item"]].assign(
        age=np.where(X["user"] % 7 == 0, np.nan, 20.0 + X["user"] % 50),
        job=np.array(["nurse", "pilot", "cook"])[X["user"] % 3],
        genres=[GENRES[item % 4] for item in X["item"]],
        shelf=[[f"s{item % 3}", f"s{item % 5}"] for item in X["item"]],
        day=pd.to_datetime(X["timestamp"], unit="s"),
        tags=[rng.choice(list("abcdef"), n, replace=False).tolist() for n in n_tags],
    )


SIDE = with_side(X)


def bayes(loss="squared_error", **options):
    defaults = {"n_factors": 4, "svdpp": True, "random_state": 0}
    return BayesianMFRegressor(loss=loss, **{**defaults, **options})


def sided(loss="squared_error", **options):
    return bayes(loss, **{"side_features": "all", **options})


@pytest.fixture(scope="module")
def models():
    return {loss: sided(loss).fit(SIDE, Y) for loss in LOSSES}


def rmse(truth, prediction):
    return np.sqrt(np.mean((np.asarray(truth) - prediction) ** 2))


# --- what it learns


@losses
def test_attributes(models, loss):
    model = models[loss]
    assert {side: block.names for side, block in model.side_blocks_.items()} == {
        "user": ["age", "job"],
        "item": ["genres", "shelf"],
        "context": ["day", "tags"],
    }
    assert model.n_iter_ == len(model.loss_curve_) <= 20 + (loss == "ordinal")
    assert model.loss_curve_[-1] < Y.var()
    assert model.global_mean_ == pytest.approx(Y.mean())
    assert model.rating_scale_ == (Y.min(), Y.max())
    assert model.seen_.shape == (X["user"].nunique() + 1, X["item"].nunique() + 1)
    assert not hasattr(model, "validation_curve_")
    assert model.n_features_in_ == 8
    assert list(model.feature_names_in_) == list(SIDE)
    if loss == "ordinal":
        assert np.array_equal(model.stars_, np.unique(Y))


@pytest.mark.parametrize(
    "columns", [["job", "tags"], [7, 3], np.array(["tags", "job"]), ("job", 7)]
)
def test_side_features_may_be_chosen_by_name_or_position(columns):
    model = bayes(side_features=columns, n_iter=2).fit(SIDE, Y)
    assert model.side_blocks_["user"].names == ["job"]
    assert model.side_blocks_["context"].names == ["tags"]
    chosen = SIDE[["user", "item", "job", "tags"]]
    expected = sided(n_iter=2).fit(chosen, Y).predict(chosen)
    assert np.array_equal(model.predict(SIDE.assign(age="ignored")), expected)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (["job", "no"], "Column 'no' was asked for, but X has no column of that name"),
        ([2, 8], "Column 8 was asked for, but X has 8 columns"),
        (["job", 3], "Columns 'job' and 3 are one and the same"),
        (["user"], "side_features names column 'user', which holds the IDs of users or items"),
        ([2, 1], "side_features names column 1, which holds the IDs of users or items"),
        (
            "job",
            "The 'side_features' parameter of BayesianMFRegressor must be a str among",
        ),
        (5, "The 'side_features' parameter of BayesianMFRegressor must be"),
    ],
)
def test_bad_side_features_are_refused(columns, message):
    with pytest.raises(ValueError, match=message):
        bayes(side_features=columns).fit(SIDE, Y)


def planted(n=4000, n_users=120, n_items=60, seed=0):
    """Make ratings that depend on side features, with little noise."""
    rng = np.random.default_rng(seed)
    users, items = rng.integers(n_users, size=n), rng.integers(n_items, size=n)
    taste, genre = users % 4, items % 3
    effects = rng.normal(0, 0.6, (4, 3))
    mood = rng.choice(["good", "bad", "none"], n)
    hour = rng.uniform(0, 24, n)
    topics = rng.choice(["a|b", "a", "b|c", "c"], n)
    signal = 3.5 + effects[taste, genre] + 0.8 * (mood == "good") - 0.8 * (mood == "bad")
    signal += np.abs(hour - 12) / 6 - 1 + 0.7 * np.char.count(topics.astype(str), "a")
    frame = pd.DataFrame(
        {
            "user": users,
            "item": items,
            "taste": taste.astype(str),
            "genre": genre.astype(str),
            "mood": mood,
            "hour": hour,
            "topics": pd.Series(topics).str.split("|"),
        }
    )
    return frame, signal + rng.normal(0, 0.3, n)


FRAME, RATINGS = planted()
SEEN_USERS = (FRAME["user"] < 100).to_numpy()


def planted_ratings(loss):
    return RATINGS if loss == "squared_error" else RATINGS.round()


@pytest.mark.parametrize(("loss", "svdpp"), [("squared_error", False), ("ordinal", True)])
def test_side_features_explain_ratings_of_known_and_unknown_users(loss, svdpp):
    y = planted_ratings(loss)
    train = SEEN_USERS & (np.random.RandomState(0).rand(len(y)) < 0.8)
    test, unknown = SEEN_USERS & ~train, ~SEEN_USERS
    model = sided(loss, svdpp=svdpp).fit(FRAME[train], y[train])
    bare = bayes(loss, svdpp=svdpp).fit(FRAME[train], y[train])
    error = rmse(y[test], model.predict(FRAME[test]))
    floor = 0.3 if loss == "squared_error" else (0.3**2 + 1 / 12) ** 0.5
    assert error < 1.12 * floor
    assert rmse(y[test], bare.predict(FRAME[test])) > 1.8 * error
    for column in ("mood", "hour", "topics"):
        shuffled = FRAME[test][column].sample(frac=1, random_state=0).to_numpy()
        changed = model.predict(FRAME[test].assign(**{column: shuffled}))
        assert rmse(y[test], changed) > 1.3 * error, column
    known = rmse(y[unknown], model.predict(FRAME[unknown]))
    unseen = rmse(y[unknown], model.predict(FRAME[unknown].assign(taste="unseen")))
    assert known < 1.15 * floor
    assert 1.1 * known < unseen < rmse(y[unknown], y[train].mean())


def test_side_features_explain_ratings_of_an_unknown_item():
    late = (FRAME["item"] >= 50).to_numpy()
    model = sided().fit(FRAME[~late], RATINGS[~late])
    known = rmse(RATINGS[late], model.predict(FRAME[late]))
    assert known < 0.38
    assert rmse(RATINGS[late], model.predict(FRAME[late].assign(genre="unseen"))) > 1.3 * known


# --- uncertainty


@losses
def test_intervals_and_stars_are_calibrated(loss):
    X, y, truth = make_ratings(
        120, 80, 5000, step=1 if loss == "ordinal" else None, return_truth=True, random_state=1
    )
    X["weekend"] = X.pop("timestamp") // 86400 % 7 > 4
    train = np.random.RandomState(1).rand(len(X)) < 0.7
    model = sided(loss, rating_scale=None).fit(X[train], y[train])
    ratings, std = model.predict(X[~train], return_std=True)
    assert rmse(y[~train], ratings) < 1.3 * rmse(y[~train], truth.expected[~train])
    if loss == "squared_error":
        off = np.abs(y[~train] - ratings) / std
        for share in (0.5, 0.8, 0.95):
            assert np.mean(off < norm.ppf(0.5 + share / 2)) == pytest.approx(share, abs=0.03)
        return
    assert std.mean() == pytest.approx(rmse(y[~train], ratings), rel=0.06)
    chances = model.predict_rating_proba(X[~train])
    is_star = y[~train].to_numpy()[:, None] == model.stars_
    assert chances.mean(0) == pytest.approx(is_star.mean(0), abs=0.03)
    for low, high in ((0.05, 0.2), (0.2, 0.4), (0.4, 0.6)):
        between = (chances > low) & (chances < high)
        assert is_star[between].mean() == pytest.approx(chances[between].mean(), abs=0.06)
    likelihood = np.log((chances * is_star).sum(1)).mean()
    middles = np.concatenate([[-np.inf], model.stars_[:-1] + 0.5, [np.inf]])
    gaussian = np.diff(ndtr((middles - ratings[:, None]) / std[:, None]))
    assert likelihood > np.log((gaussian * is_star).sum(1)).mean() - 0.02


def test_probabilities_of_stars_agree_with_predict_and_the_ratings(models):
    model = models["ordinal"]
    chances = model.predict_rating_proba(SIDE)
    assert chances.dtype == np.float64
    assert chances.shape == (len(SIDE), len(model.stars_))
    assert np.allclose(chances.sum(1), 1)
    assert (chances >= 0).all()
    assert np.allclose(chances @ model.stars_, model.predict(SIDE), atol=1e-5)
    likely = chances[np.arange(len(Y)), np.searchsorted(model.stars_, Y)]
    assert likely.mean() > 0.4


def test_methods_that_a_model_lacks_say_why(models):
    model = models["squared_error"]
    for name, text in (
        ("predict_rating_proba", "loss='squared_error' gives no probabilities of ratings. Fit wi"),
        ("partial_fit", "BayesianMFRegressor has no partial_fit: a sweep goes through"),
        ("nonsense", "'BayesianMFRegressor' object has no attribute 'nonsense'"),
    ):
        assert not hasattr(model, name)
        with pytest.raises(AttributeError, match=text):
            getattr(model, name)
    assert not hasattr(model, "stars_")
    assert hasattr(BayesianMFRegressor(loss="ordinal"), "predict_rating_proba")
    with pytest.raises(ValueError, match="The model was fitted with another loss and has no prob"):
        bayes().fit(IDS, Y).set_params(loss="ordinal").predict_rating_proba(IDS)


def test_predict_reads_the_features_of_known_users_from_its_rows(models):
    other = SIDE["job"].map({"nurse": "pilot", "pilot": "cook", "cook": "nurse"})
    changed = models["squared_error"].predict(SIDE.assign(job=other))
    assert not np.allclose(changed, models["squared_error"].predict(SIDE))


@pytest.mark.parametrize(("svdpp", "side"), [(False, "item"), (True, "user")])
def test_fold_in_reads_side_features(svdpp, side):
    late = (FRAME[side] >= FRAME[side].max() - 9).to_numpy()
    model = sided(svdpp=svdpp).fit(FRAME[~late], RATINGS[~late])
    shown = late & (np.random.RandomState(0).rand(len(FRAME)) < 0.1)
    rest = late & ~shown
    folded = model.fold_in(FRAME[shown], RATINGS[shown])
    errors = [rmse(RATINGS[rest], m.predict(FRAME[rest])) for m in (model, folded)]
    assert errors[1] < 1.03 * errors[0]  # the side features say all
    bare = FRAME.assign(**dict.fromkeys(FRAME.columns[2:]))
    without = model.fold_in(bare[shown], RATINGS[shown])
    assert rmse(RATINGS[rest], without.predict(FRAME[rest])) > 1.01 * errors[1]
    recommended = folded.recommend([FRAME["user"].iloc[0]], n_items=3, exclude_seen=False)
    assert len(recommended) == 3


@losses
def test_a_warm_start_takes_new_values_of_side_features(loss):
    y = planted_ratings(loss)
    early = (FRAME["mood"] != "none").to_numpy() & (FRAME["user"] < 100).to_numpy()
    model = sided(loss, warm_start=True).fit(FRAME[early], y[early]).fit(FRAME, y)
    cold = sided(loss).fit(FRAME, y)
    assert np.std(model.predict(FRAME) - cold.predict(FRAME)) < 0.05
    assert model.side_blocks_["context"].sizes == cold.side_blocks_["context"].sizes


def test_a_warm_start_gives_side_features_to_their_users():
    # The first half of the users have no rows in the second fit.
    late = (SIDE["user"] > SIDE["user"].median()).to_numpy()
    model = bayes(side_features=["job", "age"], warm_start=True).fit(SIDE, Y)
    model.fit(SIDE[late], Y[late])
    rows = SIDE[late].drop_duplicates("user")
    codes = model.encoder_.vocabularies_[0].codes(rows["user"])
    values, weights = model.side_blocks_["user"].arrays(read_table(rows))
    assert np.array_equal(model.module_.user_values[codes], values)
    assert np.array_equal(model.module_.user_weights[codes], weights)


@pytest.mark.parametrize(("svdpp", "n_users"), [(True, 1), (False, 2), (True, 30)])
def test_a_context_beside_terms_that_explain_the_users(svdpp, n_users):
    rng = np.random.RandomState(0)
    user, item, day = (rng.randint(0, n, 1200) for n in (n_users, 300, 2))
    y = 3 * rng.randn(30)[user] + rng.randn(300)[item] / 2 + day + rng.randn(1200) / 10
    names = {f"name{k}": user // k for k in (1, 2, 7, 15)}
    frame = pd.DataFrame({"user": user, "item": item, "day": day, **names}).astype(str)
    model = sided(svdpp=svdpp, n_factors=8).fit(frame, y)
    ratings, std = model.predict(frame, return_std=True)
    assert rmse(y, ratings) < 0.4
    assert np.isfinite(std).all()
    effect = model.predict(frame.assign(day="1")) - model.predict(frame.assign(day="0"))
    assert np.median(effect) == pytest.approx(1, abs=0.1)


# --- recommending


@pytest.mark.parametrize(("loss", "svdpp"), [("squared_error", True), ("ordinal", False)])
def test_similar_users_and_items_have_the_same_features(loss, svdpp):
    model = sided(loss, svdpp=svdpp).fit(FRAME, planted_ratings(loss))
    items = model.similar_items(np.arange(60), n_items=5)
    assert (items["item"] % 3 == items["similar_item"] % 3).mean() > 0.95
    users = model.similar_users(np.arange(120), n_users=5)
    assert (users["user"] % 4 == users["similar_user"] % 4).mean() > 0.95


# --- hard data


def test_the_unit_of_stars_does_not_matter():
    one, other = (bayes("ordinal").fit(IDS, y).predict_rating_proba(IDS) for y in (Y, 20 * Y - 60))
    assert np.allclose(one, other, atol=1e-3)


def test_an_ordinal_model_refuses_too_many_distinct_ratings():
    with pytest.raises(ValueError, match=f"the stars 1 to 5, got {REAL.nunique()} different ones"):
        bayes("ordinal").fit(IDS, REAL)


def test_constant_and_empty_features_have_no_effect():
    useless = IDS.assign(constant=1.0, nothing=np.nan, none=None, own=np.arange(len(IDS)) * 1e12)
    model = sided().fit(useless, Y)
    assert np.isfinite(model.predict(useless, return_std=True)).all()
    assert model.side_blocks_["user"].names == ["constant", "nothing", "none"]
    later = useless.assign(nothing=7.0, none="a")
    assert np.array_equal(model.predict(later), model.predict(useless))


def test_columns_may_come_in_any_order_and_from_an_array():
    columns = {"x": SIDE["job"], "movie": IDS["item"], "viewer": IDS["user"], "age": X["user"] % 3}
    frame = pd.DataFrame(columns)
    by_name = sided(user="viewer", item="movie", categorical_features=["age"]).fit(frame, Y)
    array = frame.to_numpy(dtype=object)
    by_place = sided(user=2, item=1, categorical_features=[3]).fit(array, Y.to_numpy())
    assert np.array_equal(by_name.predict(frame), by_place.predict(array))
    assert by_name.side_blocks_["user"].names == ["x", "age"]
    assert by_place.side_blocks_["user"].names == [0, 3]
    assert by_name.side_blocks_["user"].sizes == [4, 4]  # a row for each value and one for none
