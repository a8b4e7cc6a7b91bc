"""BayesianMFRegressor: uncertainty in lists, explanations, and lists of newcomers."""
# SPDX-License-Identifier: BSD-3-Clause

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sklrec
from sklrec import BayesianMFRegressor
from sklrec.datasets import make_ratings

X, Y = make_ratings(60, 40, 1200, random_state=0)
Y = Y.round().to_numpy()
RNG = np.random.default_rng(0)
SIDE = X[["user", "item"]].assign(
    age=20.0 + X["user"] % 30, genre=np.array(["a", "b", "c"])[X["item"] % 3]
)
CONTEXT = SIDE.assign(day=RNG.integers(0, 5, len(X)))
KINDS = {
    "plain": ({}, SIDE),
    "svdpp": ({"svdpp": True}, SIDE),
    "sides": ({"side_features": ["age", "genre"]}, SIDE),
    "sides svdpp": ({"side_features": ["age", "genre"], "svdpp": True}, SIDE),
    "context": ({"side_features": "all"}, CONTEXT),
    "ordinal": ({"loss": "ordinal", "side_features": ["age", "genre"]}, SIDE),
}
EXPLAINED = ["plain", "svdpp", "sides", "sides svdpp"]
SOLVED = [*EXPLAINED, "context"]
NEW = RNG.choice(len(X), 12, replace=False)  # rows of two new users


def bayes(**options):
    defaults = {"n_factors": 3, "random_state": 0, "rating_scale": None, "n_iter": 8}
    return BayesianMFRegressor(**{**defaults, **options})


@pytest.fixture(scope="module")
def models():
    return {kind: bayes(**options).fit(rows, Y) for kind, (options, rows) in KINDS.items()}


def newcomers(kind):
    rows = KINDS[kind][1].iloc[NEW]
    return rows.assign(user=np.arange(12) % 2 + 900), Y[NEW]


# --- uncertainty


@pytest.mark.parametrize("kind", ["plain", "svdpp", "sides"])
def test_lists_rank_by_the_mean_less_deviations_of_the_posterior(models, kind):
    model = models[kind]
    users = [*model.encoder_.categories_[0][:5], -1]
    for n_std in (0.0, 2.0, -1.0):
        found = model.recommend(users, 40, exclude_seen=False, n_std=n_std)
        rows = found[["user", "item"]].assign(
            age=found["user"].map(SIDE.groupby("user")["age"].first()),
            genre=np.array(["a", "b", "c"])[found["item"] % 3],
        )
        mean, std = model.predict(rows, return_std=True)
        codes = model.encoder_.vocabularies_[0].codes(rows["user"])
        noise = model.module_.noise_variance * model.module_.user_noise[codes]
        deviation = np.sqrt(std**2 - model.module_.scale.item() ** 2 * noise.numpy())
        assert np.allclose(found["score"], mean - n_std * deviation, atol=1e-5)
        falls = found.groupby("user")["score"].diff().dropna()
        assert (falls <= 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_uncertain_items_come_later(kind):
    options, rows = KINDS[kind]
    rare = rows["item"] < 10
    few = np.flatnonzero(~rare | (np.arange(len(rows)) % 12 == 0))
    model = bayes(**options).fit(rows.iloc[few], Y[few])
    shares = [
        (model.recommend(n_items=10, exclude_seen=False, n_std=n_std)["item"] < 10).mean()
        for n_std in (-2.0, 0.0, 2.0)
    ]
    assert shares[0] > shares[1] > shares[2]


def test_lowered_scores_lie_in_the_rating_scale():
    model = bayes(rating_scale=(1, 5)).fit(SIDE, Y)
    assert model.recommend(n_std=20)["score"].min() == 1


@pytest.mark.parametrize("n_std", ["2", None, np.nan, np.inf, True, [1]])
def test_numbers_of_deviations_are_checked(models, n_std):
    for call in (models["plain"].recommend, lambda **o: models["plain"].recommend_for(X, Y, **o)):
        with pytest.raises((ValueError, TypeError), match="n_std must be a finite number, got"):
            call(n_std=n_std)


# --- explanations


def totals(explained):
    pair = explained.columns[:2].to_list()
    return explained.groupby(pair, sort=False)["contribution"].sum()


@settings(max_examples=10, deadline=None)
@given(
    seed=st.integers(0, 1000),
    svdpp=st.booleans(),
    weighted=st.booleans(),
    offset=st.sampled_from([0.0, 1e6]),
)
def test_contributions_add_up_to_the_prediction(seed, svdpp, weighted, offset):
    rng = np.random.default_rng(seed)
    rows = pd.DataFrame({"customer": rng.integers(0, 9, 60), "sku": rng.integers(0, 7, 60)})
    y = rng.integers(1, 6, 60) + offset
    weight = rng.uniform(0.1, 3, 60) if weighted else None
    model = bayes(svdpp=svdpp, n_iter=3).fit(rows, y, weight)
    asked = rows.drop_duplicates().head(20)
    asked = pd.concat([asked, asked[:2].assign(sku=99), asked[2:4].assign(customer=99)])
    asked = asked.drop_duplicates()
    explained = model.explain(asked["customer"], asked["sku"])
    found = totals(explained) - model.predict(asked)
    assert np.abs(found).max() <= 1e-6
    assert (explained["kind"] == "interaction").equals(explained["from_sku"].notna())


@pytest.mark.parametrize("kind", EXPLAINED)
def test_an_explanation_has_the_ratings_of_the_user(models, kind):
    user = SIDE["user"].iloc[0]
    explained = models[kind].explain([user, user], [3, 7])
    assert list(explained) == ["user", "item", "from_item", "kind", "rating", "contribution"]
    assert explained["item"].unique().tolist() == [3, 7]
    for item, part in explained.groupby("item"):
        assert part["kind"].tolist()[:3] == ["mean", "item", "user"]
        assert part["contribution"].iloc[0] == pytest.approx(Y.mean())
        own = part[part["kind"] == "interaction"]
        wanted = pd.Series(Y, SIDE["item"])[(SIDE["user"] == user).to_numpy()]
        wanted = wanted.groupby(level=0).mean()  # repeated pairs
        assert own.set_index("from_item")["rating"].sort_index().tolist() == wanted.tolist()
        assert own["contribution"].abs().is_monotonic_decreasing, item


@pytest.mark.parametrize("kind", EXPLAINED)
def test_a_changed_rating_changes_its_own_contribution_only(models, kind):
    rows, y = newcomers(kind)
    changed = y + 2.0 * (np.arange(12) == 0)
    one, other = (
        models[kind].fold_in(rows, ratings).explain([900] * 40, np.arange(40)).set_index("item")
        for ratings in (y, changed)
    )
    keys = ["kind", "from_item"]
    one, other = (
        table.reset_index().sort_values(["item", *keys], kind="stable") for table in (one, other)
    )
    is_changed = (one["from_item"] == rows["item"].iloc[0]).to_numpy()
    change = other["contribution"].to_numpy() - one["contribution"].to_numpy()
    assert np.abs(change[~is_changed]).max() < 1e-9
    assert np.abs(change[is_changed]).min() > 1e-4


def test_new_ratings_replace_those_of_an_earlier_fit(models):
    model = bayes(warm_start=True).fit(SIDE, Y).fit(SIDE[:600], Y[:600])
    users, counts = np.unique(
        SIDE[["user", "item"]][:600].drop_duplicates()["user"], return_counts=True
    )
    explained = model.explain(users, [3] * len(users))
    assert explained["rating"].notna().sum() == counts.sum()
    ordinal = bayes().fit(SIDE, Y).set_params(loss="ordinal").fit(SIDE, Y)
    assert not hasattr(ordinal, "user_ratings_")


def test_explanations_are_the_same_after_loading(models, tmp_path):
    for kind in EXPLAINED:
        model = models[kind].fold_in(*newcomers(kind))
        wanted = model.explain([900, 901, 5], [1, 2, 3])
        sklrec.save(model, tmp_path / "model")
        for same in (sklrec.load(tmp_path / "model"), pickle.loads(pickle.dumps(model))):
            pd.testing.assert_frame_equal(same.explain([900, 901, 5], [1, 2, 3]), wanted)


def test_ratings_take_eight_bytes_each(models):
    ratings = models["plain"].user_ratings_
    n = len(SIDE[["user", "item"]].drop_duplicates())
    whole = bayes().fit(SIDE.drop_duplicates(["user", "item"]), np.arange(n) % 5 + 1.0)
    arrays = whole.user_ratings_.items, whole.user_ratings_.ratings
    assert sum(array.nbytes for array in arrays) == 8 * n
    assert whole.user_ratings_.weights is None
    assert len(ratings.items) == n


@pytest.mark.parametrize("kind", ["context", "ordinal"])
def test_models_that_are_not_linear_in_the_ratings_are_not_explained(models, kind):
    with pytest.raises(ValueError, match="explain needs loss='squared_error' and no side feat"):
        models[kind].explain([1], [1])


@pytest.mark.parametrize(
    ("users", "items", "message"),
    [
        ([1], [1, 2], "users and items must have the same length, got 1 and 2"),
        (1, [1], r"users must be a list of IDs, got 1\. Pass \[1\]"),
        ([1], None, "items must be a list of IDs, got None"),
        ([], [], "users must hold at least one ID"),
        ([None], [1], "Column 'user' holds None"),
    ],
)
def test_explain_checks_its_pairs(models, users, items, message):
    with pytest.raises(ValueError, match=message):
        models["plain"].explain(users, items)


# --- newcomers


@pytest.mark.parametrize("kind", SOLVED)
def test_newcomers_get_the_lists_of_a_folded_copy(models, kind):
    model, (rows, y) = models[kind], newcomers(kind)
    before = pickle.dumps(model)
    weight = np.arange(12) % 3 + 0.5
    options = {"n_items": 7, "n_std": 0.5, "exclude": [1, 2]}
    found = model.recommend_for(rows, y, sample_weight=weight, **options)
    folded = model.fold_in(rows, y, sample_weight=weight)
    wanted = folded.recommend(rows["user"].unique(), **options)
    pd.testing.assert_frame_equal(found, wanted, atol=1e-6, rtol=0)
    assert pickle.dumps(model) == before


def test_only_the_given_ratings_of_a_returning_user_count(models):
    model, user = models["plain"], SIDE["user"].iloc[0]
    own = (SIDE["user"] == user).to_numpy()
    rows, y = SIDE[own].assign(user=user), Y[own]
    returning = model.recommend_for(rows[:3], y[:3], 40)
    stranger = model.recommend_for(rows[:3].assign(user=999), y[:3], 40)
    assert set(returning["item"]) == set(SIDE["item"]) - set(rows["item"])
    assert set(stranger["item"]) == set(SIDE["item"]) - set(rows["item"][:3])
    both = returning.merge(stranger, on="item")
    assert np.allclose(both["score_x"], both["score_y"], atol=1e-9)
    everything = model.recommend_for(rows[:3], y[:3], 40, exclude_seen=False)
    assert set(everything["item"]) == set(SIDE["item"])


def test_an_unknown_item_counts_as_an_average_one(models):
    model = models["plain"]
    row = SIDE[:1].assign(user=999)
    scores = [
        model.recommend_for(row.assign(item=item), [rating], 40, exclude_seen=False)
        .set_index("item")["score"]
        .sort_index()
        for item in (row["item"].iloc[0], 777)
        for rating in (1, 5)
    ]
    known, unknown = scores[1] - scores[0], scores[3] - scores[2]
    assert unknown.min() > 0
    assert unknown.std() < 0.5 * known.std()


def test_many_threads_recommend_to_newcomers(models):
    model = models["svdpp"]
    requests = [SIDE[k : k + 5].assign(user=1000 + k) for k in range(0, 100, 5)]
    wanted = [model.recommend_for(rows, Y[:5]) for rows in requests]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda rows: model.recommend_for(rows, Y[:5]), requests))
    for one, other in zip(found, wanted, strict=True):
        pd.testing.assert_frame_equal(one, other)


@pytest.mark.parametrize(
    ("kind", "X", "y", "options", "message"),
    [
        ("ordinal", SIDE[:2], Y[:2], {}, "recommend_for takes ratings as numbers, but the model"),
        ("plain", SIDE[:2], Y[:3], {}, "inconsistent numbers of samples"),
        ("plain", SIDE[:2], None, {}, "requires y to be passed, but the target y is None"),
        ("plain", SIDE[["user"]][:2], Y[:2], {}, "feature names should match|features"),
        ("plain", SIDE[:0], Y[:0], {}, "0 sample"),
        ("plain", SIDE[:2], Y[:2], {"n_items": 0}, "n_items must be an integer of at least 1"),
        ("plain", SIDE[:2], Y[:2], {"sample_weight": [0, 0]}, "weight"),
        ("plain", SIDE[:2], Y[:2], {"candidates": [777]}, "candidates must be items that fit saw"),
    ],
)
def test_recommend_for_checks_its_input(models, kind, X, y, options, message):
    with pytest.raises(ValueError, match=message):
        models[kind].recommend_for(X, y, **options)


def test_ratings_of_newcomers_lie_in_a_given_scale():
    model = bayes(rating_scale=(1, 5)).fit(SIDE, Y)
    with pytest.raises(ValueError, match=r"Ratings must lie inside rating_scale=\(1, 5\), got 7"):
        model.recommend_for(SIDE[:1], [7])
