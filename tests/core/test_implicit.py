"""Promises of all recommenders that learn from events."""
# SPDX-License-Identifier: BSD-3-Clause

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, ShuffleSplit
from torch_settings import other_settings, settings_of_torch

import sklrec
from sklrec import EASERecommender, ImplicitMFRecommender, PopularityRecommender
from sklrec.datasets import make_ratings
from sklrec.metrics import make_ranking_scorer, ndcg_at_k

# The score of training rows is 0, and tells whether two models have the same lists.
pytestmark = pytest.mark.filterwarnings("ignore:The model was trained on 100% of the")

X, Y = make_ratings(60, 40, 900, random_state=0)
IDS = X[["user", "item"]]
COUNTS = Y.round().to_numpy()
USERS, ITEMS = np.unique(X["user"]), np.unique(X["item"])
STRANGER = -1
MODELS = {
    "popularity": PopularityRecommender(),
    "decayed": PopularityRecommender(half_life=100.0),
    "ease": EASERecommender(alpha=3),
    "mf": ImplicitMFRecommender(3, random_state=0),
}
every = pytest.mark.parametrize("name", MODELS)


def fit(name, X=X, y=None, weight=None, **params):
    return clone(MODELS[name]).set_params(**params).fit(X, y, weight)


def outputs(model, X=X):
    lists = model.recommend(USERS, 3)
    return [model.decision_function(X), lists["score"].to_numpy(), lists["item"].to_numpy()]


def assert_same(model, other, tolerance=0.0):
    for found, wanted in zip(outputs(model), outputs(other), strict=True):
        assert np.allclose(found, wanted, atol=tolerance, rtol=tolerance)


@every
def test_lists_hold_the_unseen_items_with_the_highest_scores(name):
    model = fit(name)
    seen = set(zip(X["user"], X["item"], strict=True))
    for asked in (USERS[0], USERS[-1], STRANGER):
        pairs = pd.DataFrame({"user": asked, "item": ITEMS, "timestamp": 0})
        scores = pd.Series(model.decision_function(pairs), ITEMS)
        unseen = scores[[(asked, item) not in seen for item in ITEMS]]
        found = model.recommend([asked], 5)
        assert found["score"].to_numpy() == pytest.approx(
            np.sort(unseen)[::-1][:5], rel=1e-5, abs=1e-6
        )
        assert np.allclose(found["score"], unseen[found["item"]], rtol=1e-5, atol=1e-6)


@every
def test_unknown_users_and_users_without_a_positive_get_popular_items(name):
    y = np.where(X["user"] == USERS[0], 1, 3)
    model = fit(name, y=y, threshold=2)
    of_strangers = model.recommend([STRANGER, USERS[0]], exclude_seen=False)
    lists = [of_strangers[of_strangers["user"] == u].drop(columns="user") for u in (-1, USERS[0])]
    assert lists[0].equals(lists[1].reset_index(drop=True))
    popularity = pd.Series(model.item_popularity_, model.encoder_.categories_[1])
    best = popularity.sort_values(ascending=False, kind="stable").index[:10]
    assert lists[0]["item"].tolist() == best.tolist()
    # All these scores are in the same unit, in lists and for pairs.
    asked = pd.DataFrame({"user": STRANGER, "item": best, "timestamp": 0})
    assert np.array_equal(model.decision_function(asked), lists[0]["score"])


@every
def test_an_unknown_item_has_the_score_0(name):
    rows = pd.DataFrame({"user": [USERS[0], STRANGER], "item": -1, "timestamp": 0})
    assert fit(name).decision_function(rows).tolist() == [0, 0]


@every
def test_rows_above_the_threshold_are_positives_and_the_others_stay_seen(name):
    model = fit(name, y=COUNTS, threshold=3)
    good = X[COUNTS > 3]
    other = fit(name, good)
    assert len(good) < len(X)
    assert model.n_ratings_ == len(IDS.drop_duplicates()) > other.n_ratings_
    assert model.n_users_ == len(USERS)
    popularity = dict(zip(model.encoder_.categories_[1], model.item_popularity_, strict=True))
    for item, wanted in zip(other.encoder_.categories_[1], other.item_popularity_, strict=True):
        if name != "decayed":  # ages are those of the latest row
            assert popularity[item] == wanted
    found = model.recommend(USERS, 40)[["user", "item"]]
    assert len(found.merge(IDS)) == 0
    again = fit(name, y=COUNTS + 7, threshold=10)
    assert_same(again, model)


@every
def test_y_is_ignored_without_a_threshold_and_a_confidence(name):
    assert_same(fit(name, y=Y), fit(name))


@every
def test_a_repeated_pair_is_one_positive_with_the_largest_weight(name):
    more = pd.concat([X, X[:100], X[:50]], ignore_index=True)
    assert_same(fit(name, more), fit(name))
    counts = np.concatenate([COUNTS, COUNTS[:100] - 1, np.zeros(50)])
    repeated, once = (
        fit(name, more, counts, confidence="log"),
        fit(name, X, COUNTS, confidence="log"),
    )
    if name != "decayed":
        assert_same(repeated, once)
    assert not np.allclose(outputs(once)[0], outputs(fit(name))[0])


@every
def test_confidence_weighs_a_positive_as_its_sample_weight_does(name):
    model = fit(name, y=COUNTS, confidence="log", threshold=2)
    good = COUNTS > 2
    weight = 1 + np.log1p(COUNTS)
    other = fit(name, y=good, weight=weight, threshold=0)
    assert_same(model, other)


@every
def test_rows_of_weight_0_are_not_read(name):
    weight = np.where(X["user"] == USERS[0], 0.0, 2.0)
    model = fit(name, weight=weight)
    assert USERS[0] not in model.encoder_.categories_[0]
    kept = weight > 0
    assert_same(model, fit(name, X[kept], weight=weight[kept]))


@every
def test_ids_of_another_kind_are_warned_of(name):
    model = fit(name)
    with pytest.warns(UserWarning, match="user"):
        model.recommend([str(USERS[0])])
    with pytest.warns(UserWarning, match="item"):
        model.decision_function(X[:5].astype({"item": str}))


@every
def test_the_order_of_rows_and_the_names_of_ids_do_not_matter(name):
    order = np.random.default_rng(0).permutation(len(X))
    if name != "mf":  # the codes decide the random start
        assert np.allclose(
            fit(name, X.iloc[order]).decision_function(X),
            fit(name).decision_function(X),
            atol=1e-6,
        )
    renamed = X.assign(user="u" + X["user"].astype(str), item=X["item"] + 0.5)
    scores = fit(name, renamed).decision_function(renamed)
    assert np.array_equal(scores, fit(name).decision_function(X))


@every
@pytest.mark.parametrize(
    "table",
    [
        pl.from_pandas,
        lambda X: pa.Table.from_pandas(X, preserve_index=False),
        lambda X: X.convert_dtypes(),
        lambda X: X.astype(object),
        lambda X: X[["timestamp", "item", "user"]],
    ],
    ids=["polars", "pyarrow", "nullable", "objects", "other order"],
)
def test_tables_of_all_kinds_give_the_same_model(name, table):
    model, wanted = fit(name, table(X)), fit(name)
    assert np.array_equal(model.decision_function(table(X)), wanted.decision_function(X))
    assert model.score(table(X[:50])) == wanted.score(X[:50])


@every
def test_columns_are_given_by_position_and_by_name(name):
    turned = X[["item", "timestamp", "user"]].rename(columns={"item": "sku", "user": "who"})
    wanted = fit(name).decision_function(X)
    by_name = fit(name, turned, user="who", item="sku")
    assert np.array_equal(by_name.decision_function(turned), wanted)
    places = {"user": 2, "item": 0}
    if "timestamp" in MODELS[name].get_params():
        places["timestamp"] = 1
    array = turned.to_numpy()
    assert np.array_equal(fit(name, array, **places).decision_function(array), wanted)


@every
def test_settings_of_torch_change_nothing_and_stay(name, tmp_path):
    wanted, usual = outputs(fit(name)), settings_of_torch()
    with other_settings():
        before = settings_of_torch()
        model = fit(name)
        sklrec.save(model, tmp_path / "model")
        found = outputs(sklrec.load(tmp_path / "model"))
        assert model.score(X[:9]) == 0
        assert settings_of_torch() == before != usual
    for values, expected in zip(found, wanted, strict=True):
        assert np.array_equal(values, expected)


@every
def test_saved_and_pickled_models_give_the_same(name, tmp_path):
    model = fit(name, y=COUNTS, threshold=2, confidence="log")
    sklrec.save(model, tmp_path / "model")
    for other in (sklrec.load(tmp_path / "model"), pickle.loads(pickle.dumps(model))):
        assert_same(other, model)
        assert (other.seen_ != model.seen_).nnz == 0
        assert other.score(X[:50], Y[:50]) == model.score(X[:50], Y[:50])


@every
def test_threads_that_recommend_during_a_fit_see_one_model(name):
    model = fit(name)
    wanted = [outputs(fit(name)), outputs(fit(name, X[:500]))]
    with ThreadPoolExecutor(2) as pool:
        fits = pool.submit(lambda: [model.fit(X[:500] if k % 2 else X) for k in range(10)])
        while not fits.done():
            scores = model.recommend(USERS[:1], 3)["score"].tolist()
            assert any(np.allclose(scores, one[1][:3], rtol=1e-5) for one in wanted)
        fits.result()


@every
def test_score_is_the_ndcg_of_lists_without_seen_items(name):
    test, train = X[:200], X[200:]
    model = fit(name, train)
    lists = model.recommend(test["user"].unique(), 10)
    assert model.score(test) == pytest.approx(ndcg_at_k(test, lists, k=10))
    assert model.score(test, Y[:200]) == model.score(test)
    of_good = fit(name, train, Y[200:], threshold=3)
    good = make_ranking_scorer(threshold=3 + 1e-9)(of_good, test, Y[:200])
    assert of_good.score(test, Y[:200]) == pytest.approx(good)
    with pytest.raises(ValueError, match=r"threshold=3 reads the ratings or counts .* y is None"):
        of_good.score(test)
    with pytest.raises(ValueError, match="No row is a positive: the largest y is 1"):
        of_good.score(test, np.ones(200))


@pytest.mark.parametrize(
    ("name", "grid"),
    [
        ("popularity", {"half_life": [None, 10.0]}),
        ("ease", {"alpha": [1e-3, 10.0]}),
        ("mf", {"alpha": [1e-3, 10.0], "n_factors": [2]}),
    ],
)
@pytest.mark.parametrize("y", [None, COUNTS], ids=["events", "ratings"])
def test_a_grid_search_finds_the_best_score(name, grid, y):
    model = clone(MODELS[name]).set_params(threshold=None if y is None else 2)
    search = GridSearchCV(model, grid, cv=ShuffleSplit(2, random_state=0)).fit(X, y)
    scores = search.cv_results_["mean_test_score"]
    assert search.best_score_ == scores.max() > scores.min()


@every
def test_one_row_is_enough(name):
    model = fit(name, X[:1])
    assert model.recommend([X["user"].iloc[0]], exclude_seen=False)["item"].tolist() == [
        X["item"].iloc[0]
    ]
    assert len(model.recommend([X["user"].iloc[0]])) == 0
    assert np.isfinite(model.decision_function(X[:1])).all()


@every
def test_an_error_leaves_what_was_learned(name):
    model = fit(name)
    learned = dict(vars(model))
    for bad in (X.assign(user=None), X[["user"]], X[:0]):
        with pytest.raises(ValueError):
            model.fit(bad)
    with pytest.raises(ValueError, match="sample_weight"):
        model.fit(X, sample_weight=-np.ones(len(X)))
    assert vars(model) == learned
    with pytest.raises(NotFittedError):
        clone(model).recommend([1])


@every
def test_constant_counts_weigh_all_positives_alike(name):
    constant = fit(name, y=np.full(len(X), 5.0), confidence="log")
    assert_same(constant, fit(name, weight=np.full(len(X), 1 + np.log1p(5.0))), 1e-6)


@every
@pytest.mark.parametrize(
    ("params", "y", "weight", "message"),
    [
        ({"threshold": 3}, None, None, r"threshold=3 reads the .* but y is None. Pass y, or set"),
        ({"confidence": "log"}, None, None, "confidence='log' reads the ratings or counts"),
        ({"confidence": "log"}, -COUNTS, None, r"counts of at least 0 in y, got -\d in row 0"),
        ({"threshold": 9}, COUNTS, None, "the largest y is 5, and threshold=9 wants values above"),
        ({"threshold": 3}, COUNTS[:-1], None, "inconsistent numbers of samples"),
        ({"threshold": 3}, COUNTS * np.nan, None, "NaN"),
        ({"threshold": 3}, ["x"] * len(X), None, "must be numeric, got 'x'"),
        ({"confidence": "root"}, COUNTS, None, "The 'confidence' parameter"),
        ({}, None, np.full(len(X), 1e30), "sum of the sample weights must lie between 1e-10 and"),
        ({}, None, np.zeros(len(X)), "weights"),
    ],
)
def test_bad_input_raises(name, params, y, weight, message):
    with pytest.raises(ValueError, match=message):
        fit(name, X, y, weight, **params)


@every
def test_fitting_does_not_change_what_was_passed(name):
    given = copy.deepcopy((X, COUNTS))
    fit(name, *given, threshold=2, confidence="log")
    assert given[0].equals(X) and np.array_equal(given[1], COUNTS)
