"""The Bayesian factorisation machine as an estimator."""
# SPDX-License-Identifier: BSD-3-Clause

import copy
import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import ndtr
from scipy.stats import norm
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
from sklearn.pipeline import make_pipeline

from sklrec import BayesianFMRegressor, IDEncoder, MFRegressor
from sklrec._solvers.gibbs.sampler import Chain
from sklrec.datasets import make_ratings
from sklrec.modules import BayesianFactorizationMachine

X, REAL = make_ratings(60, 40, 1200, random_state=0)
Y = REAL.round()  # stars
IDS = X[["user", "item"]]
TRAIN = np.random.RandomState(0).rand(len(X)) < 0.8
GENRES = np.array(["drama|war", "comedy", "", "war"])
NOBODY, NOTHING = -1, -2  # a user and an item that no fit here sees
LOSSES = ("squared_error", "ordinal")
losses = pytest.mark.parametrize("loss", LOSSES)


def with_side(X):
    """X with side features of all sorts and of all sides, some of them missing."""
    rng = np.random.default_rng(0)
    n_tags = rng.integers(0, 4, len(X))
    return X[["user", "item"]].assign(
        age=np.where(X["user"] % 7 == 0, np.nan, 20.0 + X["user"] % 50),
        job=np.array(["nurse", "pilot", "cook"])[X["user"] % 3],
        genres=GENRES[X["item"] % 4],
        shelf=[[f"s{item % 3}", f"s{item % 5}"] for item in X["item"]],
        day=pd.to_datetime(X["timestamp"], unit="s"),
        tags=[rng.choice(list("abcdef"), n, replace=False).tolist() for n in n_tags],
    )


SIDE = with_side(X)


def fm(loss="squared_error", **options):
    """On an X of users and items alone."""
    defaults = {"n_factors": 4, "loss": loss, "n_iter": 25, "random_state": 0}
    return BayesianFMRegressor(**{**defaults, **options})


def sided(loss="squared_error", **options):
    """On an X with side features."""
    return fm(loss, **{"multi_valued": {"genres": "|"}, **options})


@pytest.fixture(scope="module")
def models():
    return {loss: sided(loss).fit(SIDE, Y) for loss in LOSSES}


@pytest.fixture(scope="module")
def plain():
    return {loss: fm(loss).fit(IDS, Y) for loss in LOSSES}


def rmse(truth, prediction):
    return np.sqrt(np.mean((np.asarray(truth) - prediction) ** 2))


# --- what it learns


@losses
def test_attributes(models, loss):
    model = models[loss]
    assert isinstance(model.module_, BayesianFactorizationMachine)
    assert {side: block.names for side, block in model.side_blocks_.items()} == {
        "user": ["age", "job"],
        "item": ["genres", "shelf"],
        "context": ["day", "tags"],
    }
    assert model.module_.n_draws == 15
    assert model.n_iter_ == len(model.loss_curve_) == 25
    assert model.loss_curve_[-1] < Y.var()
    assert model.global_mean_ == pytest.approx(Y.mean())
    assert model.rating_scale_ == (Y.min(), Y.max())
    assert model.seen_.shape == (X["user"].nunique() + 1, X["item"].nunique() + 1)
    assert not hasattr(model, "validation_curve_")
    assert model.n_features_in_ == 8
    assert list(model.feature_names_in_) == list(SIDE)
    if loss == "ordinal":
        assert np.array_equal(model.stars_, np.unique(Y))


def test_only_stars_have_stars(models):
    assert not hasattr(models["squared_error"], "stars_")
    again = fm("ordinal").fit(IDS, Y).set_params(loss="squared_error").fit(IDS, REAL)
    assert not hasattr(again, "stars_")


def test_draws_are_kept_evenly_and_capped():
    assert fm(n_iter=30, n_draws=5).fit(IDS, Y).module_.n_draws == 5
    assert fm(n_iter=12).fit(IDS, Y).module_.n_draws == 2
    assert fm(n_iter=3, n_burn_in=0).fit(IDS, Y).module_.n_draws == 3


def planted(n=4000, n_users=120, n_items=60, seed=0):
    """Ratings of which side features explain nearly all, and the parts of which they consist."""
    rng = np.random.default_rng(seed)
    users, items = rng.integers(n_users, size=n), rng.integers(n_items, size=n)
    taste, genre = users % 4, items % 3
    effects = rng.normal(0, 0.6, (4, 3))
    mood = rng.choice(["good", "bad", "none"], n)
    hour = rng.uniform(0, 24, n)
    topics = rng.choice(["a|b", "a", "b|c", ""], n)
    parts = {
        "taste": effects[taste, genre],
        "mood": 0.8 * (mood == "good") - 0.8 * (mood == "bad"),
        "hour": np.abs(hour - 12) / 6 - 1,
        "topics": 0.7 * np.char.count(topics.astype(str), "a"),
    }
    frame = pd.DataFrame(
        {
            "user": users,
            "item": items,
            "taste": taste.astype(str),
            "genre": genre.astype(str),
            "mood": mood,
            "hour": hour,
            "topics": topics,
        }
    )
    signal = 3.5 + sum(parts.values())
    return frame, signal + rng.normal(0, 0.3, n)


FRAME, RATINGS = planted()
SEEN_USERS = (FRAME["user"] < 100).to_numpy()


@losses
def test_planted_effects_are_found(loss):
    y = RATINGS if loss == "squared_error" else RATINGS.round()
    train = SEEN_USERS & (np.random.RandomState(0).rand(len(y)) < 0.8)
    test = SEEN_USERS & ~train
    options = {"multi_valued": {"topics": "|"}, "n_iter": 30, "implicit_features": False}
    model = fm(loss, **options).fit(FRAME[train], y[train])
    ids = FRAME[["user", "item"]]
    bare = fm(loss, n_iter=30, implicit_features=False).fit(ids[train], y[train])
    own, without = (
        rmse(y[test], model.predict(FRAME[test])),
        rmse(y[test], bare.predict(ids[test])),
    )
    floor = 0.3 if loss == "squared_error" else (0.3**2 + 1 / 12) ** 0.5
    assert own < 1.12 * floor
    assert without > 1.8 * own
    for column in ("mood", "hour", "topics"):
        mixed = FRAME[test][column].sample(frac=1, random_state=0).to_numpy()
        changed = model.predict(FRAME[test].assign(**{column: mixed}))
        assert rmse(y[test], changed) > 1.3 * own, column
    # who is unknown has a taste nevertheless
    cold = ~SEEN_USERS
    known = rmse(y[cold], model.predict(FRAME[cold]))
    nothing = rmse(y[cold], model.predict(FRAME[cold].assign(taste="unseen")))
    assert known < 1.15 * floor
    assert nothing > 1.1 * known
    assert nothing < rmse(y[cold], y[train].mean())


@losses
def test_who_is_unknown_is_as_users_are_who_rated_something(loss):
    """What known users have of the items that they met belongs to what users are on average."""
    y = RATINGS if loss == "squared_error" else RATINGS.round()
    errors = []
    for flag in (True, False):
        model = fm(loss, n_iter=40, multi_valued={"topics": "|"}, implicit_features=flag)
        model.fit(FRAME[SEEN_USERS], y[SEEN_USERS])
        errors.append(rmse(y[~SEEN_USERS], model.predict(FRAME[~SEEN_USERS])))
    assert errors[0] < 1.07 * errors[1]


def test_an_unknown_item_is_known_by_its_features():
    late = (FRAME["item"] >= 50).to_numpy()
    model = fm(n_iter=30, multi_valued={"topics": "|"}).fit(FRAME[~late], RATINGS[~late])
    known = rmse(RATINGS[late], model.predict(FRAME[late]))
    assert known < 0.38
    assert rmse(RATINGS[late], model.predict(FRAME[late].assign(genre="unseen"))) > 1.3 * known


def test_implicit_features_are_learned_from():
    """Two kinds of users, whose ratings of what one of them never rated tell nothing else."""
    rng = np.random.default_rng(0)
    users = np.repeat(np.arange(200), 8)
    kind = users % 2
    items = rng.integers(0, 20, len(users)) + 20 * kind  # each kind meets items of its own
    y = 3 + np.where(kind == 0, 1.0, -1.0) + rng.normal(0, 0.5, len(users))
    asked = np.arange(len(users)) % 8 < 6  # of each user, only two ratings are trained on
    shared = 40 + rng.integers(0, 5, len(users))
    items = np.where(asked & (rng.random(len(users)) < 0.5), shared, items)
    frame = pd.DataFrame({"user": users, "item": items})
    train = ~asked
    errors = [
        rmse(
            y[asked], fm(implicit_features=flag).fit(frame[train], y[train]).predict(frame[asked])
        )
        for flag in (True, False)
    ]
    assert errors[0] < 0.97 * errors[1]


def test_without_side_features_it_is_as_good_as_matrix_factorisation():
    options = {"n_factors": 4, "n_iter": 60, "implicit_features": True, "random_state": 0}
    one = BayesianFMRegressor(**options).fit(IDS[TRAIN], REAL[TRAIN])
    other = MFRegressor(solver="gibbs", **options).fit(IDS[TRAIN], REAL[TRAIN])
    errors = [rmse(REAL[~TRAIN], model.predict(IDS[~TRAIN])) for model in (one, other)]
    assert errors[0] == pytest.approx(errors[1], abs=0.01)


# --- uncertainty


@losses
def test_intervals_and_stars_are_calibrated(loss):
    X, y, truth = make_ratings(
        120,
        80,
        5000,
        step=None if loss == "squared_error" else 1,
        return_truth=True,
        random_state=1,
    )
    X["weekend"] = X.pop("timestamp") // 86400 % 7 > 4
    train = np.random.RandomState(1).rand(len(X)) < 0.7
    model = fm(loss, n_iter=70, rating_scale=None).fit(X[train], y[train])
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
        own = (chances > low) & (chances < high)
        assert is_star[own].mean() == pytest.approx(chances[own].mean(), abs=0.06)
    likelihood = np.log((chances * is_star).sum(1)).mean()
    middles = np.concatenate([[-np.inf], model.stars_[:-1] + 0.5, [np.inf]])
    gaussian = np.diff(ndtr((middles - ratings[:, None]) / std[:, None]))
    assert likelihood > np.log((gaussian * is_star).sum(1)).mean() - 0.02


@losses
def test_of_the_unknown_less_is_known(models, loss):
    rows = SIDE[:300]
    known = models[loss].predict(rows, return_std=True)[1]
    for unknown in ({"user": NOBODY}, {"item": NOTHING}, {"user": NOBODY, "item": NOTHING}):
        std = models[loss].predict(rows.assign(**unknown), return_std=True)[1]
        assert (std > known).mean() > (0.95 if loss == "squared_error" else 0.8)
        assert std.mean() > known.mean()


@losses
def test_a_mean_is_that_of_predict(models, loss):
    ratings, std = models[loss].predict(SIDE, return_std=True)
    assert np.array_equal(ratings, models[loss].predict(SIDE))
    assert ratings.dtype == std.dtype == np.float64
    assert ratings.shape == std.shape == (len(SIDE),)
    assert (std > 0).all()


def test_stars_have_probabilities(models):
    model = models["ordinal"]
    chances = model.predict_rating_proba(SIDE)
    assert chances.dtype == np.float64
    assert chances.shape == (len(SIDE), len(model.stars_))
    assert np.allclose(chances.sum(1), 1)
    assert (chances >= 0).all()
    assert np.allclose(chances @ model.stars_, model.predict(SIDE), atol=1e-5)
    likely = chances[np.arange(len(Y)), np.searchsorted(model.stars_, Y)]
    assert likely.mean() > 0.4


def test_noise_alone_gives_no_probabilities(models):
    assert not hasattr(models["squared_error"], "predict_rating_proba")
    text = "loss='squared_error' gives no probabilities of stars. Fit with loss='ordinal'"
    with pytest.raises(AttributeError, match=text):
        _ = models["squared_error"].predict_rating_proba
    for name in ("partial_fit", "fold_in"):
        with pytest.raises(AttributeError, match=f"BayesianFMRegressor has no {name}"):
            getattr(models["squared_error"], name)
    assert hasattr(BayesianFMRegressor(loss="ordinal"), "predict_rating_proba")


def test_a_loss_that_was_set_after_the_fit_gives_no_probabilities():
    model = fm().fit(IDS, Y).set_params(loss="ordinal")
    with pytest.raises((AttributeError, NotFittedError, ValueError), match="loss='ordinal'"):
        model.predict_rating_proba(IDS)


# --- each prediction is of its row


@losses
def test_a_prediction_is_a_function_of_its_row(models, loss, monkeypatch):
    model = models[loss]
    strange = SIDE.assign(user=np.where(np.arange(len(SIDE)) % 5, SIDE["user"], NOBODY))
    whole, rows = (
        model.predict(strange, return_std=True),
        np.random.RandomState(0).permutation(400),
    )
    for _ in range(2):
        some = model.predict(strange.iloc[rows], return_std=True)
        assert np.array_equal(some[0], whole[0][rows])
        assert np.array_equal(some[1], whole[1][rows])
        assert np.array_equal(model.predict(strange.iloc[rows]), whole[0][rows])
        monkeypatch.setattr(BayesianFMRegressor, "_predict_rows", 37)
    for row in range(3):
        assert np.array_equal(model.predict(strange[row : row + 1]), whole[0][row : row + 1])


def test_probabilities_are_functions_of_their_rows(models, monkeypatch):
    whole = models["ordinal"].predict_rating_proba(SIDE)
    rows = np.random.RandomState(0).permutation(len(SIDE))[:333]
    assert np.array_equal(models["ordinal"].predict_rating_proba(SIDE.iloc[rows]), whole[rows])
    monkeypatch.setattr(BayesianFMRegressor, "_predict_rows", 23)
    assert np.array_equal(models["ordinal"].predict_rating_proba(SIDE.iloc[rows]), whole[rows])


@losses
def test_the_order_of_several_values_does_not_matter(models, loss):
    turned = SIDE.assign(
        tags=[set(tags) for tags in SIDE["tags"]],
        shelf=[shelf[::-1] for shelf in SIDE["shelf"]],
        genres=[" | ".join(genres.split("|")[::-1]) for genres in SIDE["genres"]],
    )
    assert np.array_equal(models[loss].predict(turned), models[loss].predict(SIDE))


@losses
def test_what_fit_did_not_see_counts_as_missing(models, loss):
    unseen = SIDE.assign(job="astronaut", genres="western", tags=[["z"]] * len(SIDE))
    missing = SIDE.assign(job=None, genres="", tags=[[]] * len(SIDE))
    assert np.array_equal(models[loss].predict(unseen), models[loss].predict(missing))


def test_of_known_users_too_features_are_those_of_the_rows(models):
    before = models["squared_error"].predict(SIDE)
    other = SIDE["job"].map({"nurse": "pilot", "pilot": "cook", "cook": "nurse"})
    assert not np.allclose(models["squared_error"].predict(SIDE.assign(job=other)), before)


# --- recommending


@losses
def test_scores_are_those_of_predict(plain, loss):
    users = IDS["user"].unique()[:3].tolist()
    found = plain[loss].recommend([*users, NOBODY], n_items=7)
    assert len(found) == 28
    expected = plain[loss].predict(found[["user", "item"]])
    assert np.allclose(found["score"], expected, atol=1e-4)
    seen = set(zip(IDS["user"], IDS["item"], strict=True))
    assert not seen & set(zip(found["user"], found["item"], strict=True))
    everything = plain[loss].recommend(users[:1], n_items=1000, exclude_seen=False)
    assert len(everything) == IDS["item"].nunique()
    assert everything["score"].is_monotonic_decreasing


@losses
def test_recommendations_know_the_features_of_fit(loss):
    side = SIDE.drop(columns=["day", "tags"])
    model = sided(loss).fit(side, Y)
    user = side["user"].iloc[0]
    found = model.recommend([user], n_items=10, exclude_seen=False)
    of_user = side[side["user"] == user].iloc[0][["age", "job"]]
    of_item = side.drop_duplicates("item").set_index("item").loc[found["item"]]
    rows = found[["user", "item"]].assign(
        age=of_user["age"],
        job=of_user["job"],
        genres=of_item["genres"].to_numpy(),
        shelf=of_item["shelf"].to_numpy(),
    )
    assert np.allclose(found["score"], model.predict(rows), atol=1e-4)


@losses
def test_recommendations_are_of_contexts_of_which_nothing_is_known(models, loss):
    user = SIDE["user"].iloc[0]
    found = models[loss].recommend([user, NOBODY], n_items=5, exclude_seen=False)
    of_user = SIDE[SIDE["user"] == user].iloc[0][["age", "job"]]
    of_item = SIDE.drop_duplicates("item").set_index("item").loc[found["item"]]
    known = (found["user"] == user).to_numpy()
    rows = found[["user", "item"]].assign(
        age=np.where(known, of_user["age"], np.nan),
        job=np.where(known, of_user["job"], None),
        genres=of_item["genres"].to_numpy(),
        shelf=of_item["shelf"].to_numpy(),
        day=pd.NaT,
        tags=[[]] * len(found),
    )
    assert np.allclose(found["score"], models[loss].predict(rows), atol=1e-4)
    assert len(models[loss].similar_items([SIDE["item"].iloc[0]], n_items=3)) == 3


@losses
@pytest.mark.parametrize("flag", [True, False])
def test_who_is_similar_is_so_by_features_too(loss, flag):
    """Here a user's taste and an item's genre explain all that users and items tell."""
    y = RATINGS if loss == "squared_error" else RATINGS.round()
    model = fm(loss, n_iter=20, multi_valued={"topics": "|"}, implicit_features=flag)
    model.fit(FRAME, y)
    items = model.similar_items(np.arange(60), n_items=5)
    assert (items["item"] % 3 == items["similar_item"] % 3).mean() > 0.95
    users = model.similar_users(np.arange(120), n_users=5)
    assert (users["user"] % 4 == users["similar_user"] % 4).mean() > 0.95


# --- hard data


HARD = {
    "constant": np.full(len(Y), 3.0),
    "1 to 100": np.asarray(Y) * 20,
    "-10 to 10": np.asarray(Y) * 5 - 15,
    "tiny": np.asarray(Y) * 1e-6,
    "two": (np.asarray(Y) > 3) * 1.0,
    "uneven": np.array([0, 1, 2, 5, 11, 12])[Y.astype(int)],
    "far": np.asarray(Y) + 1e6,
}


@losses
@pytest.mark.parametrize("name", HARD)
def test_hard_ratings_are_no_trouble(loss, name):
    y = HARD[name]
    model = fm(loss, n_iter=15).fit(IDS, y)
    ratings, std = model.predict(IDS, return_std=True)
    assert np.isfinite(ratings).all()
    assert np.isfinite(std).all()
    assert np.std(ratings - y) <= 0.95 * np.std(y) + 1e-9
    assert ratings.min() >= y.min()
    assert ratings.max() <= y.max()
    strange = model.predict(IDS.assign(user=NOBODY, item=NOTHING), return_std=True)
    assert np.isfinite(strange).all()


def test_real_numbers_of_any_scale_are_predicted_alike():
    one = fm(rating_scale=None).fit(IDS, REAL).predict(IDS, return_std=True)
    other = fm(rating_scale=None).fit(IDS, 25 * REAL - 80).predict(IDS, return_std=True)
    # what float32 rounds away, the sweeps make larger
    assert rmse(other[0], 25 * one[0] - 80) < 0.05 * np.std(other[0])
    assert rmse(other[1], 25 * one[1]) < 0.05 * np.mean(other[1])


def test_stars_of_any_name_are_predicted_alike():
    one, other = fm("ordinal").fit(IDS, Y), fm("ordinal").fit(IDS, 20 * Y - 60)
    assert np.allclose(one.predict_rating_proba(IDS), other.predict_rating_proba(IDS), atol=1e-3)


@pytest.mark.parametrize("y", [np.full(len(Y), 3.0), np.asarray(Y)])
def test_of_what_is_constant_one_is_sure(y):
    model = fm("ordinal", n_iter=15).fit(IDS, y)
    chances = model.predict_rating_proba(IDS[:5])
    assert chances.shape == (5, len(np.unique(y)))
    assert np.allclose(chances.sum(1), 1)


def test_real_numbers_are_no_stars():
    with pytest.raises(
        ValueError, match=r"such as the stars 1 to 5, got 1190 different ones\. Rou"
    ):
        fm("ordinal").fit(IDS, REAL)
    assert len(np.unique(REAL)) == 1190


@losses
def test_more_factors_than_rows_and_an_item_of_everyone(loss):
    few = pd.DataFrame({"user": [1, 2, 3, 1, 2], "item": [7, 7, 7, 8, 9], "x": list("abcab")})
    for y in ([1, 2, 3, 4, 5], [1, 2, 1, 2, 1]):
        model = fm(loss, n_factors=20, n_iter=60).fit(few, y)
        assert np.isfinite(model.predict(few, return_std=True)).all()
        assert np.isfinite(model.predict(few.assign(user=9, x="d"), return_std=True)).all()


@losses
@pytest.mark.parametrize(
    "weight", [np.where(Y == 1, 1e-12, 1), np.where(np.arange(len(Y)) < 3, 1e6, 1)]
)
def test_hard_weights_are_no_trouble(loss, weight):
    model = fm(loss, n_iter=20).fit(IDS, Y, sample_weight=weight)
    assert np.isfinite(model.predict(IDS, return_std=True)).all()


def test_features_of_no_use_are_no_trouble():
    useless = IDS.assign(constant=1.0, nothing=np.nan, none=None, own=np.arange(len(IDS)) * 1e12)
    model = fm(n_iter=12).fit(useless, Y)
    assert np.isfinite(model.predict(useless, return_std=True)).all()
    assert model.side_blocks_["user"].names == ["constant", "nothing", "none"]
    later = useless.assign(nothing=7.0, none="a")
    assert np.array_equal(model.predict(later), model.predict(useless))


# --- weights


@losses
def test_rows_of_weight_zero_are_as_good_as_absent(loss):
    own = TRAIN & (SIDE["user"] != 3).to_numpy()
    zero = sided(loss).fit(SIDE, Y, sample_weight=own.astype(float))
    absent = sided(loss).fit(SIDE[own], Y[own])
    assert np.array_equal(zero.predict(SIDE), absent.predict(SIDE))
    assert 3 not in zero.encoder_.categories_[0]


@losses
def test_weights_are_proportions_and_count(loss):
    weight = np.random.RandomState(0).rand(len(Y)) + 0.5
    one, ten = (fm(loss).fit(IDS, Y, sample_weight=w * weight).predict(IDS) for w in (1, 10))
    assert np.allclose(one, ten, atol=1e-3)
    assert not np.allclose(one, fm(loss).fit(IDS, Y).predict(IDS), atol=1e-3)


@losses
def test_what_weighs_more_is_fitted_better(loss):
    heavy = X["user"] % 2 == 0
    errors = []
    for weight in (heavy, ~heavy):
        model = fm(loss, n_iter=40).fit(IDS, Y, sample_weight=np.where(weight, 1, 0.05))
        errors.append(rmse(Y[heavy], model.predict(IDS)[heavy]))
    assert errors[0] < errors[1]


# --- as an estimator


@losses
def test_fits_repeat_and_copies_predict_the_same(models, loss):
    model, expected = models[loss], models[loss].predict(SIDE, return_std=True)
    for same in (
        sided(loss).fit(SIDE, Y),
        clone(model).fit(SIDE, Y),
        pickle.loads(pickle.dumps(model)),
        copy.deepcopy(model),
    ):
        assert np.array_equal(same.predict(SIDE, return_std=True), expected)
    other = sided(loss, random_state=1).fit(SIDE, Y)
    assert not np.array_equal(other.predict(SIDE), expected[0])


def test_the_global_state_of_numpy_seeds_where_nothing_else_does():
    found = []
    for seed in (0, 0, 1):
        np.random.seed(seed)  # noqa: NPY002
        found.append(fm(random_state=None, n_iter=12).fit(IDS, Y).predict(IDS))
    assert np.array_equal(found[0], found[1])
    assert not np.array_equal(found[0], found[2])


def test_the_global_state_of_torch_is_left_alone():
    state = torch.random.get_rng_state()
    fm(n_iter=12).fit(IDS, Y).predict(IDS)
    assert torch.equal(torch.random.get_rng_state(), state)


@losses
def test_it_is_tuned_like_any_other(loss):
    search = GridSearchCV(sided(loss, n_iter=12), {"n_factors": [1, 3]}, cv=2).fit(SIDE, Y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.best_estimator_.module_.n_factors in (1, 3)
    scores = cross_val_score(
        fm(loss, n_iter=20), IDS, Y, cv=KFold(2), scoring="neg_root_mean_squared_error"
    )
    assert (scores > -Y.std()).all()


def test_parameters_are_stored_as_they_are():
    params = sided(n_factors=3, device="cpu").get_params()
    assert BayesianFMRegressor(**params).get_params() == params
    assert "warm_start" not in params


@losses
def test_behind_an_encoder_it_is_the_same(models, loss):
    pipe = make_pipeline(IDEncoder(), sided(loss)).fit(SIDE, Y)
    assert np.array_equal(pipe.predict(SIDE), models[loss].predict(SIDE))


def test_columns_may_be_anywhere_and_X_an_array():
    frame = pd.DataFrame(
        {"x": SIDE["job"], "movie": IDS["item"], "viewer": IDS["user"], "age": SIDE["age"]}
    )
    by_name = fm(user="viewer", item="movie").fit(frame, Y)
    array = frame.to_numpy(dtype=object)
    by_place = fm(user=2, item=1).fit(array, Y.to_numpy())
    assert np.array_equal(by_name.predict(frame), by_place.predict(array))
    assert by_name.side_blocks_["user"].names == ["x", "age"]
    assert by_place.side_blocks_["user"].names == [0, 3]


def test_numbers_may_be_categories():
    frame = IDS.assign(code=X["user"] % 3)
    model = fm(categorical_features=["code"], n_iter=12).fit(frame, Y)
    assert model.side_blocks_["user"].sizes == [4]
    assert fm(n_iter=12, n_bins=1).fit(frame, Y).side_blocks_["user"].sizes == [3]


@losses
def test_the_validation_curve_is_that_of_the_mean_so_far(loss):
    model = sided(loss, n_draws=1000, rating_scale=None)
    model.fit(SIDE[TRAIN], Y[TRAIN], X_val=SIDE[~TRAIN], y_val=Y[~TRAIN])
    error = np.mean((Y[~TRAIN] - model.predict(SIDE[~TRAIN])) ** 2)
    assert model.validation_curve_[-1] == pytest.approx(error, rel=1e-3)
    assert len(model.validation_curve_) == model.n_iter_ == 25
    without = sided(loss, n_draws=1000, rating_scale=None).fit(SIDE[TRAIN], Y[TRAIN])
    assert np.array_equal(without.predict(SIDE), model.predict(SIDE))


@pytest.mark.parametrize("after", [0, 1, 5, 14])
@losses
def test_ctrl_c_leaves_what_there_is(loss, after, monkeypatch):
    sweep, counted = Chain.sweep, iter(range(1000))

    def interrupted(self):
        if next(counted) == after:
            raise KeyboardInterrupt
        return sweep(self)

    monkeypatch.setattr(Chain, "sweep", interrupted)
    model = sided(loss)
    with pytest.warns(UserWarning, match=f"interrupted after {after} whole sweeps of 25"):
        with pytest.raises(KeyboardInterrupt):
            model.fit(SIDE, Y)
    assert model.n_iter_ == after
    assert model.module_.n_draws == max(1, after - 10)
    assert np.isfinite(model.predict(SIDE, return_std=True)).all()


def test_each_fit_is_one_of_its_own():
    model = fm()
    assert not hasattr(model, "partial_fit")
    assert not hasattr(model, "fold_in")
    assert not hasattr(model.fit(IDS, Y), "net_")
    again = model.fit(IDS, Y).predict(IDS)
    assert np.array_equal(fm().fit(IDS, Y).predict(IDS), again)


def test_a_failed_fit_changes_nothing():
    model = sided().fit(SIDE, Y)
    before = vars(model).copy()
    with pytest.raises(ValueError, match="n_burn_in=30 leaves nothing of n_iter=25 sweeps"):
        model.set_params(n_burn_in=30).fit(IDS.assign(genres="a"), Y)
    assert vars(model) == {**before, "n_burn_in": 30}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"age": "old"}, "Column 'age' held numbers in fit but now holds strings, such as 'old'"),
        ({"job": 7}, "Column 'job' held strings in fit but now holds numbers, such as 7 in row 0"),
        ({"tags": "a"}, "Column 'tags' held lists in fit but now holds strings"),
        ({"day": 1.0}, "Column 'day' held datetimes in fit but now holds numbers"),
        ({"age": np.inf}, "Column 'age' holds inf in row 0, and a side feature must be finite"),
    ],
)
@losses
def test_columns_of_another_type_are_refused(models, loss, change, message):
    with pytest.raises(ValueError, match=message):
        models[loss].predict(SIDE.assign(**change))
    with pytest.raises(ValueError, match=message):
        models[loss].predict(SIDE.assign(**change), return_std=True)


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ({"loss": "poisson"}, ValueError, "The 'loss' parameter of BayesianFMRegressor must be a"),
        ({"n_factors": 0}, ValueError, "The 'n_factors' parameter of BayesianFMRegressor must be"),
        ({"n_iter": 5}, ValueError, "n_burn_in=10 leaves nothing of n_iter=5 sweeps"),
        ({"n_draws": 0}, ValueError, "The 'n_draws' parameter of BayesianFMRegressor must be an"),
        ({"n_bins": 0}, ValueError, "The 'n_bins' parameter of BayesianFMRegressor must be an"),
        ({"multi_valued": {"age": "|"}}, ValueError, "multi_valued gives a separator for column"),
        ({"categorical_features": ["no"]}, ValueError, "X has no column of that name"),
        ({"rating_scale": (2, 3)}, ValueError, r"Ratings must lie inside rating_scale=\(2, 3\)"),
        ({"device": "nowhere"}, ValueError, "device='nowhere' is not there on this machine"),
    ],
)
def test_wrong_parameters_are_refused(params, error, message):
    with pytest.raises(error, match=message):
        fm(**params).fit(SIDE, Y)


@losses
def test_before_fit_there_is_nothing(loss):
    for ask in ("predict", "recommend", "similar_items"):
        with pytest.raises(NotFittedError, match="is not fitted yet"):
            getattr(fm(loss), ask)(IDS)
    with pytest.raises(NotFittedError, match="is not fitted yet"):
        fm(loss).predict(IDS, return_std=True)
    with pytest.raises(NotFittedError, match="is not fitted yet"):
        fm("ordinal").predict_rating_proba(IDS)


@pytest.mark.parametrize("ask", ["predict", "std", "probabilities"])
def test_ids_of_another_kind_are_warned_of_where_they_were_given(plain, ask):
    model, texts = plain["ordinal"], IDS.astype(str)
    with pytest.warns(UserWarning, match="was fitted on integers .* but got strings") as caught:
        if ask == "predict":
            model.predict(texts)
        elif ask == "std":
            model.predict(texts, return_std=True)
        else:
            model.predict_rating_proba(texts)
    assert {warning.filename for warning in caught} == {__file__}


def test_nothing_is_printed_or_warned_of(capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for loss in LOSSES:
            model = sided(loss, n_iter=12).fit(SIDE, Y)
            model.predict(SIDE, return_std=True)
            model.recommend([SIDE["user"].iloc[0]])
    assert capsys.readouterr().out == ""
    fm(n_iter=12, verbose=1).fit(IDS, Y)
    assert "sweep" in capsys.readouterr().err
