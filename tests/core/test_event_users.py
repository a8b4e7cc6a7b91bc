"""Recommenders of events: explanations, and lists of users who are given by their events."""
# SPDX-License-Identifier: BSD-3-Clause

import pickle
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

import sklrec
from sklrec import EASERecommender, ImplicitMFRecommender
from sklrec.datasets import make_ratings

X, Y = make_ratings(60, 40, 900, random_state=0)
X = X[["user", "item"]]
COUNTS = Y.round().to_numpy()
WEIGHT = np.random.default_rng(0).uniform(0.5, 3, len(X))
MODELS = {
    "ease": EASERecommender(alpha=3),
    "mf": ImplicitMFRecommender(3, random_state=0),
    "wide mf": ImplicitMFRecommender(50, alpha=0.1, random_state=0),
}
EVENTS = {
    "rows": ({}, None, None),
    "counts": ({"confidence": "log"}, COUNTS, WEIGHT),
    "ratings": ({"threshold": 3}, COUNTS, WEIGHT),
}
every = pytest.mark.parametrize("name", MODELS)


@cache
def fitted(name, kind="rows"):
    params, y, weight = EVENTS[kind]
    return clone(MODELS[name]).set_params(**params).fit(X, y, weight)


def totals(explained, names=("user", "item")):
    return explained.groupby(list(names), sort=False)["contribution"].sum()


# --- explanations


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 1000),
    alpha=st.sampled_from(["auto", 1e-3, 1.0, 1e3]),
    n_factors=st.sampled_from([None, 1, 4, 128]),  # None is EASE
    kind=st.sampled_from(["rows", "counts", "ratings"]),
    weighted=st.booleans(),
)
def test_contributions_add_up_to_the_score(seed, alpha, n_factors, kind, weighted):
    rng = np.random.default_rng(seed)
    rows = pd.DataFrame({"customer": rng.integers(0, 9, 60), "sku": rng.integers(0, 7, 60)})
    y = rng.integers(1, 6, 60)
    options = {**EVENTS[kind][0], "alpha": alpha, "user": "customer", "item": "sku"}
    if n_factors is None:
        model = EASERecommender(**options)
    else:
        model = ImplicitMFRecommender(n_factors, n_iter=3, random_state=0, **options)
    model.fit(rows, y, rng.uniform(0.01, 100, 60) if weighted else None)
    asked = pd.MultiIndex.from_product([range(10), range(8)], names=list(rows)).to_frame()
    explained = model.explain(asked["customer"], asked["sku"])
    found = totals(explained, asked).to_numpy()
    assert np.abs(found - model.decision_function(asked)).max() <= 1e-6
    has_events = explained["from_sku"].notna()
    assert (explained["kind"] == np.where(has_events, "interaction", "popularity")).all()


@every
@pytest.mark.parametrize("kind", EVENTS)
def test_an_explanation_has_the_positives_of_the_user(name, kind):
    model, user = fitted(name, kind), X["user"].iloc[0]
    explained = model.explain([user, user, -1], [7, 3, 7])
    assert list(explained) == ["user", "item", "from_item", "kind", "contribution"]
    *parts, stranger = (part for _, part in explained.groupby(["user", "item"], sort=False))
    own = X["item"][(X["user"] == user).to_numpy() & ((kind != "ratings") | (COUNTS > 3))]
    for part, item in zip(parts, (7, 3), strict=True):
        assert (part["item"] == item).all()
        assert sorted(part["from_item"]) == sorted(own.unique())
        assert part["contribution"].abs().is_monotonic_decreasing
    assert stranger[["user", "item", "kind"]].to_numpy().tolist() == [[-1, 7, "popularity"]]


@every
def test_contributions_are_those_of_the_equations(name):
    model = fitted(name, "counts")
    user, items = X["user"].iloc[0], model.encoder_.categories_[1]
    explained = model.explain([user] * len(items), items)
    found = explained.pivot(index="from_item", columns="item", values="contribution")
    row = model.positives_.toarray()[model.encoder_.vocabularies_[0].codes([user])[0], 1:]
    own = np.flatnonzero(row)
    if name == "ease":
        wanted = row[own, None] * model.item_weights_[own]
    else:
        Q, w = model.item_factors_.astype(np.float64), model.unobserved_weight_
        penalty = model.alpha_ * (row.sum() + w * len(Q))
        A = w * Q.T @ Q + Q.T * row @ Q + penalty * np.eye(Q.shape[1])
        wanted = (row[:, None] * Q @ np.linalg.solve(A, Q.T))[own]
    assert len(found) == len(own)
    assert np.allclose(found.loc[items[own], items], wanted, rtol=1e-4, atol=1e-6)


@every
def test_explanations_are_the_same_after_loading(name, tmp_path):
    model = fitted(name)
    sklrec.save(model, tmp_path / "model")
    wanted = model.explain([1, 2, -1], [3, 4, 5])
    for same in (sklrec.load(tmp_path / "model"), pickle.loads(pickle.dumps(model))):
        assert_frame_equal(same.explain([1, 2, -1], [3, 4, 5]), wanted)


@every
@pytest.mark.parametrize(
    ("users", "items", "message"),
    [
        ([1], [1, 2], "users and items must have the same length, got 1 and 2"),
        (1, [1], r"users must be a list of IDs, got 1\. Pass \[1\]"),
        ([], [], "users must hold at least one ID"),
    ],
)
def test_explain_checks_its_pairs(name, users, items, message):
    with pytest.raises(ValueError, match=message):
        fitted(name).explain(users, items)
    with pytest.raises(NotFittedError):
        MODELS[name].explain(users, items)


# --- users who are given by their events


@every
@pytest.mark.parametrize("kind", EVENTS)
@pytest.mark.parametrize("exclude_seen", [True, False])
def test_the_events_of_a_known_user_give_the_list_of_recommend(name, kind, exclude_seen):
    model, (_, y, weight) = fitted(name, kind), EVENTS[kind]
    before = pickle.dumps(model)
    order = np.random.default_rng(1).permutation(len(X))
    rows = X.iloc[order].reset_index(drop=True)
    given = (rows, None if y is None else y[order])
    options = {"n_items": 40, "exclude_seen": exclude_seen, "exclude": [1, 2]}
    weights = None if weight is None else weight[order]
    found = model.recommend_for(*given, sample_weight=weights, **options)
    wanted = model.recommend(rows["user"].unique(), **options)
    assert len(found) == len(wanted) > 900
    assert found["user"].equals(wanted["user"])
    assert np.allclose(found["score"], wanted["score"], rtol=1e-5, atol=1e-6)
    both = found.merge(wanted, on=["user", "item"])
    assert np.allclose(both["score_x"], both["score_y"], rtol=1e-5, atol=1e-6)
    assert len(both) == len(found)
    assert (found["item"] == wanted["item"]).mean() > 0.99  # others have the same score
    assert pickle.dumps(model) == before


@every
def test_a_new_user_gets_the_list_of_a_known_one_with_the_same_events(name):
    model, user = fitted(name), X["user"].iloc[0]
    own = X[X["user"] == user]
    found = model.recommend_for(own.assign(user="new"), candidates=[5, 6, 7, 8, 9])
    wanted = model.recommend([user], candidates=[5, 6, 7, 8, 9])
    assert (found["user"] == "new").all()
    assert_frame_equal(found.drop(columns="user"), wanted.drop(columns="user"))


@every
def test_only_the_given_events_of_a_returning_user_count(name):
    model, user = fitted(name), X["user"].iloc[0]
    own = X[X["user"] == user]
    returning = model.recommend_for(own[:3], n_items=40)
    stranger = model.recommend_for(own[:3].assign(user=-1), n_items=40)
    assert set(returning["item"]) == set(X["item"]) - set(own["item"])
    assert set(stranger["item"]) == set(X["item"]) - set(own["item"][:3])
    both = returning.merge(stranger, on="item")
    assert np.array_equal(both["score_x"], both["score_y"])
    assert len(model.recommend_for(own[:3], n_items=40, exclude_seen=False)) == 40


@every
def test_users_without_a_positive_of_a_known_item_get_popular_items(name):
    model = fitted(name, "ratings")
    popular = model.recommend([-1], exclude_seen=False)
    liked = X["item"].iloc[COUNTS.argmax()]
    rows = [["new", 777], ["other", liked], ["third", liked]]
    found = model.recommend_for(
        pd.DataFrame(rows, columns=["user", "item"]), [5, 1, 5], exclude_seen=False
    )
    assert found["user"].unique().tolist() == ["new", "other", "third"]
    lists = [found[found["user"] == user].reset_index(drop=True) for user in ("new", "other")]
    for found_list in lists:
        assert_frame_equal(found_list.drop(columns="user"), popular.drop(columns="user"))
    alone = model.recommend_for(pd.DataFrame(rows[:1], columns=["user", "item"]), [5])
    assert_frame_equal(alone, lists[0])
    third = found[found["user"] == "third"]
    assert not np.allclose(third["score"], popular["score"])
    one = model.recommend_for(
        pd.DataFrame(rows[2:], columns=["user", "item"]), [5], exclude_seen=False
    )
    assert np.allclose(one["score"], third["score"], rtol=1e-6)


@every
def test_repeated_events_count_once_with_the_largest_weight(name):
    model = fitted(name, "counts")
    rows = X[:5].assign(user=-1)
    wanted = model.recommend_for(rows, COUNTS[:5])
    twice = pd.concat([rows, rows], ignore_index=True)
    found = model.recommend_for(twice, [*COUNTS[:5], *np.zeros(5)])
    assert_frame_equal(found, wanted)
    assert not found.equals(model.recommend_for(twice, [*COUNTS[:5], *np.full(5, 90)]))


@every
def test_many_threads_recommend_to_newcomers(name):
    model = fitted(name)
    requests = [X[k : k + 5].assign(user=1000 + k) for k in range(0, 100, 5)]
    wanted = [model.recommend_for(rows) for rows in requests]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(model.recommend_for, requests))
    for one, other in zip(found, wanted, strict=True):
        assert_frame_equal(one, other)


@every
@pytest.mark.parametrize(
    ("kind", "X", "y", "options", "message"),
    [
        ("ratings", X[:2], None, {}, r"threshold=3 reads the .* but y is None. Pass y, or"),
        ("counts", X[:2], None, {}, "confidence='log' reads the ratings or counts"),
        ("counts", X[:2], [1, -1], {}, r"at least 0 in y, got -1 in row 1"),
        ("ratings", X[:2], [1, 2, 3], {}, "inconsistent numbers of samples"),
        ("ratings", X[:2], [1, np.nan], {}, "NaN"),
        ("rows", X[:0], None, {}, "0 sample"),
        ("rows", X[["user"]], None, {}, "feature names should match|features"),
        ("rows", X[:2].assign(item=None), None, {}, "Column 'item' holds None"),
        ("rows", X[:2], None, {"n_items": 0}, "n_items must be an integer of at least 1"),
        ("rows", X[:2], None, {"sample_weight": [0, 0]}, "weight"),
        ("rows", X[:2], None, {"sample_weight": [1, -1]}, "weight"),
        ("rows", X[:2], None, {"candidates": [777]}, "candidates must be items that fit saw"),
    ],
)
def test_recommend_for_checks_its_input(name, kind, X, y, options, message):
    model = fitted(name, kind)
    with pytest.raises(ValueError, match=message):
        model.recommend_for(X, y, **options)
    with pytest.raises(NotFittedError):
        clone(model).recommend_for(X, y, **options)
