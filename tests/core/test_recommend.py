"""Recommendations and similar items."""
# SPDX-License-Identifier: BSD-3-Clause

import copy
import functools
import re

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sklrec import BiasRegressor, MFRegressor, SequenceRatingRegressor
from sklrec.datasets import make_ratings
from sklrec.metrics import novelty_at_k, recall_at_k

X, Y = make_ratings(30, 40, 500, random_state=0)
X = X.assign(item=X["item"] + 100)
USERS, ITEMS = np.unique(X["user"]), np.unique(X["item"])
STRANGER = 999


def mf(**options):
    defaults = {"n_factors": 4, "max_epochs": 3, "init_std": 0.3, "random_state": 0}
    return MFRegressor(**{**defaults, **options})


@pytest.fixture(scope="module", params=["biased", "factors alone"])
def fitted(request):
    return mf(rating_scale=None, biased=request.param == "biased").fit(X, Y)


def assert_recommends(found, expected):
    assert list(found.columns) == ["user", "item", "rank", "score"]
    assert found["score"].dtype == np.float64
    assert found.index.equals(pd.RangeIndex(len(expected)))
    for column in ("user", "item", "rank"):
        assert found[column].tolist() == expected[column].tolist()
    assert found["score"].to_numpy() == pytest.approx(expected["score"], rel=1e-5)


def test_lists_of_many_users_and_items_are_those_of_few(fitted):
    n = 2_000  # 2.4 million scores, too many for one block
    for method, ids in ((fitted.recommend, USERS), (fitted.similar_items, ITEMS)):
        one, many = method(ids, 2), method(np.tile(ids, n), 2)
        for column in one:
            assert np.array_equal(many[column], np.tile(one[column], n))


@functools.cache
def fitted_without_scale(biased):
    return mf(rating_scale=None, biased=biased).fit(X, Y)


def with_small_whole_numbers(seed, biased):
    """A model with so few different scores that most are tied."""
    model = copy.deepcopy(fitted_without_scale(biased))
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for table in model.module_.parameters():
            table[1:] = torch.randint(-1, 2, table[1:].shape, generator=rng).float()
        model.module_.scale.fill_(1.0)
        model.module_.global_mean.fill_(0.0)
    return model


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**20),
    biased=st.booleans(),
    n_items=st.integers(1, 45),
    exclude_seen=st.booleans(),
    per_user=st.booleans(),
    exclusions=st.sampled_from(["none", "list", "dict", "table"]),
    data=st.data(),
)
def test_ties_seen_items_candidates_and_exclusions_equal_brute_force(
    seed, biased, n_items, exclude_seen, per_user, exclusions, data
):
    model = with_small_whole_numbers(seed, biased)
    users = data.draw(st.lists(st.sampled_from([*USERS, STRANGER]), min_size=1, max_size=6))
    some = st.lists(st.sampled_from(ITEMS), min_size=1, max_size=30)
    candidates = {user: data.draw(some) for user in users} if per_user else data.draw(some)
    few = st.lists(st.sampled_from([*ITEMS, 77]), max_size=15)
    unwanted = {user: data.draw(few) for user in [*users[1:], USERS[0]]}
    if exclusions == "list":
        unwanted = dict.fromkeys(users, unwanted[USERS[0]])
    pairs = [(user, item) for user, items in unwanted.items() for item in items]
    exclude = {
        "none": None,
        "list": unwanted.get(users[0]),
        "dict": unwanted,
        "table": pd.DataFrame(pairs, columns=["user", "item"], dtype=int),
    }[exclusions]
    found = model.recommend(
        users, n_items, exclude_seen=exclude_seen, candidates=candidates, exclude=exclude
    )
    expected = []
    ordered = model.encoder_.categories_[1]
    for user in users:
        own = ordered[np.isin(ordered, candidates[user] if per_user else candidates)]
        if exclude_seen:
            own = own[~np.isin(own, X.loc[X["user"] == user, "item"])]
        if exclude is not None:
            own = own[~np.isin(own, unwanted.get(user, []))]
        asked = pd.DataFrame({"user": user, "item": own, "timestamp": 0})
        asked["score"] = model.predict(asked) if len(own) else 0.0
        best = asked.sort_values("score", ascending=False, kind="stable").head(n_items)
        expected.append(best.assign(rank=np.arange(1, len(best) + 1)))
    assert_recommends(found, pd.concat(expected))


def test_a_user_who_has_seen_all_candidates_gets_none(fitted):
    user = USERS[0]
    seen = X.loc[X["user"] == user, "item"].unique()
    found = fitted.recommend([user], candidates=seen)
    assert found.shape == (0, 4)
    assert list(found.columns) == ["user", "item", "rank", "score"]
    assert fitted.recommend([user, STRANGER], candidates=seen)["user"].unique() == [STRANGER]


def test_scores_lie_in_the_rating_scale():
    model = mf(rating_scale=(1, 5), alpha=0.0, init_std=1.0).fit(X, Y)
    scores = model.recommend(USERS, 40)["score"]
    assert scores.max() == 5
    assert scores.min() >= 1
    free = model.set_params(rating_scale=None).fit(X, Y).recommend(USERS, 40)["score"]
    assert np.array_equal(scores, free.clip(1, 5))


@pytest.mark.parametrize(
    "as_given",
    [list, tuple, np.array, pd.Series, pd.Index, lambda users: pd.array(users, dtype="Int64")],
)
def test_users_may_be_any_list(fitted, as_given):
    expected = fitted.recommend(USERS[:3].tolist())
    pd.testing.assert_frame_equal(
        fitted.recommend(as_given(USERS[:3].tolist())), expected, check_dtype=False
    )


@pytest.mark.parametrize(
    "as_ids",
    [
        lambda column: column.map("n{}".format),
        lambda column: column.map("n{}".format).astype("category"),
        lambda column: [("n", value) for value in column],
    ],
    ids=["str", "category", "tuple"],
)
def test_recommended_ids_have_the_kind_of_the_fitted_ids(as_ids):
    plain = mf().fit(X, Y)
    named = X.assign(user=as_ids(X["user"]), item=as_ids(X["item"]))
    model = mf().fit(named, Y)
    rows = [3, 8]
    found = model.recommend(list(named["user"].iloc[rows]), n_items=4)
    expected = plain.recommend(X["user"].iloc[rows], n_items=4)
    names = dict(zip(X["item"], named["item"], strict=True))
    assert found["item"].tolist() == [names[item] for item in expected["item"]]
    assert found["score"].tolist() == expected["score"].tolist()
    similar = model.similar_items([named["item"].iloc[0]], 3)
    expected = plain.similar_items([X["item"].iloc[0]], 3)
    assert similar["similar_item"].tolist() == [names[item] for item in expected["similar_item"]]


def test_partial_fit_adds_to_what_was_seen():
    model = mf().fit(X, Y)
    user = USERS[0]
    item = model.recommend([user], n_items=1)["item"].item()
    new = pd.DataFrame({"user": [user, STRANGER], "item": [item, 555], "timestamp": 0})
    model.partial_fit(new, [5, 5])
    assert item not in model.recommend([user], 1000)["item"].tolist()
    assert 555 in model.recommend([user], 1000)["item"].tolist()
    assert 555 not in model.recommend([STRANGER], 1000)["item"].tolist()
    seen_before = X.loc[X["user"] == user, "item"].tolist()
    assert not set(seen_before) & set(model.recommend([user], 1000)["item"])


# --- candidates and exclusions by user, and names of columns

TABLES = {
    "pandas": lambda table: table,
    "polars": pl.from_pandas,
    "pyarrow": lambda table: pa.Table.from_pandas(table, preserve_index=False),
    "other names": lambda table: table.set_axis(["u", "i", "rank", "score"], axis=1),
    "other order": lambda table: table[["score", "item", "user"]],
    "array": lambda table: table[["user", "item"]].to_numpy(),
}
of_tables = pytest.mark.parametrize("convert", TABLES.values(), ids=TABLES)


def listed(table):
    """Items of each user, in the order of the table."""
    return {user: items.tolist() for user, items in table.groupby("user")["item"]}


@of_tables
def test_candidates_and_exclusions_may_be_a_table_of_another_model(fitted, convert):
    other = BiasRegressor().fit(X, Y)
    proposed = other.recommend([*USERS, STRANGER], n_items=6)
    best = fitted.recommend(n_items=2, candidates=convert(proposed))
    by_user = {user: [] for user in [*USERS, STRANGER]} | listed(proposed)
    expected = fitted.recommend([*USERS, STRANGER], n_items=2, candidates=by_user)
    assert_recommends(best.sort_values(["user", "rank"], ignore_index=True), expected)
    rest = listed(fitted.recommend(USERS, 100, exclude=convert(proposed)))
    for user, items in listed(fitted.recommend(USERS, 100)).items():
        assert rest.get(user, []) == [item for item in items if item not in by_user[user]]


def test_no_users_means_all_known_users_in_blocks(fitted, monkeypatch):
    wanted = fitted.recommend(fitted.encoder_.categories_[0], 3, exclude=ITEMS[:5])
    monkeypatch.setattr("sklrec._core.recommend.SCORES_AT_ONCE", 100)
    found = fitted.recommend(n_items=3, exclude=ITEMS[:5])
    assert_recommends(found, wanted)
    assert not set(found["item"]) & set(ITEMS[:5])


def test_a_user_without_candidates_gets_no_rows(fitted):
    first, second = USERS[:2]
    found = fitted.recommend([first, second], candidates={first: [], second: ITEMS[:9]})
    assert_recommends(found, fitted.recommend([second], candidates=ITEMS[:9]))
    assert fitted.recommend([first], candidates={first: []}).shape == (0, 4)
    table = pd.DataFrame({"user": second, "item": ITEMS[:9]})
    assert_recommends(fitted.recommend([first, second], candidates=table), found)
    assert_recommends(fitted.recommend(candidates=table), found)
    assert fitted.recommend([first], candidates=table[:0]).shape == (0, 4)
    assert fitted.recommend([first], exclude=ITEMS).shape == (0, 4)


def test_exclusions_that_are_unknown_are_ignored(fitted):
    wanted = fitted.recommend(USERS, 3)
    for exclude in ([], [77], {}, {STRANGER: [101]}, {USERS[0]: [77]}, {USERS[0]: []}):
        assert_recommends(fitted.recommend(USERS, 3, exclude=exclude), wanted)
    with pytest.warns(UserWarning, match="Column 'item' was fitted on integers .* got strings"):
        assert_recommends(fitted.recommend(USERS, 3, exclude=["film"]), wanted)


@pytest.mark.parametrize("reverse", [False, True])
def test_columns_have_the_fitted_names(reverse):
    names = {"user": "customer", "item": "sku"}
    renamed = X.rename(columns=names)[["sku", "customer"] if reverse else ["customer", "sku"]]
    plain, named = mf().fit(X, Y), mf(user="customer", item="sku").fit(renamed, Y)
    lists = named.recommend(n_items=3)
    assert_recommends(
        lists.set_axis(["user", "item", "rank", "score"], axis=1), plain.recommend(n_items=3)
    )
    assert list(lists)[:2] == ["customer", "sku"]
    assert list(named.similar_items(ITEMS[:1]))[:2] == ["sku", "similar_sku"]
    assert list(named.similar_users(USERS[:1]))[:2] == ["customer", "similar_customer"]
    assert list(mf().fit(X.to_numpy(), Y).recommend([1]))[:2] == ["user", "item"]
    liked, lists = renamed[Y >= 4], named.recommend(exclude_seen=False)
    own = recall_at_k(liked, lists, average=None)
    assert own.index.name == "customer"
    plain_lists = plain.recommend(exclude_seen=False)
    assert own.tolist() == recall_at_k(X[Y >= 4], plain_lists, average=None).tolist()
    assert novelty_at_k(lists, renamed) == novelty_at_k(plain_lists, X)


def test_names_that_lists_need_are_not_taken_from_X():
    lists = mf(user="rank", item="score").fit(X.set_axis(["rank", "score", "time"], axis=1), Y)
    assert list(lists.recommend([1])) == ["user", "item", "rank", "score"]


# --- similar items


def test_similarity_is_the_cosine_of_factors(fitted):
    factors = fitted.item_factors_.astype(np.float64)
    directions = factors / np.linalg.norm(factors, axis=1, keepdims=True)
    cosines = pd.DataFrame(directions @ directions.T, *[fitted.encoder_.categories_[1]] * 2)
    asked = [ITEMS[5], ITEMS[0], ITEMS[5]]
    found = fitted.similar_items(asked, n_items=6)
    assert list(found.columns) == ["item", "similar_item", "rank", "score"]
    assert found["item"].tolist() == np.repeat(asked, 6).tolist()
    assert found["rank"].tolist() == [1, 2, 3, 4, 5, 6] * 3
    expected = [cosines[item].drop(item).nlargest(6) for item in asked]
    assert found["similar_item"].tolist() == np.concatenate([e.index for e in expected]).tolist()
    assert found["score"].to_numpy() == pytest.approx(np.concatenate(expected), abs=1e-6)
    assert found["score"].dtype == np.float64


def test_users_are_similar_by_their_factors(fitted):
    found = fitted.similar_users(USERS[:3], n_users=4, metric="dot")
    assert list(found.columns) == ["user", "similar_user", "rank", "score"]
    products = fitted.module_.user_factors.weight.detach().numpy()[1:].astype(float)
    products = products @ products.T
    np.fill_diagonal(products, -np.inf)
    known = fitted.encoder_.categories_[0]
    for user in USERS[:3]:
        own, row = found[found["user"] == user], known.tolist().index(user)
        best = np.argsort(-products[row])[:4]
        assert own["similar_user"].tolist() == known[best].tolist()
        assert own["score"].to_numpy() == pytest.approx(products[row, best], rel=1e-4)


def test_a_single_item_has_no_similar_items():
    model = mf().fit(X.assign(item=7), Y)
    assert model.similar_items([7]).shape == (0, 4)
    assert model.recommend([STRANGER])["item"].tolist() == [7]


@pytest.mark.parametrize(
    ("model", "name"),
    [
        (BiasRegressor(), "similar_items"),
        (BiasRegressor(), "similar_users"),
        (SequenceRatingRegressor(n_factors=2, max_epochs=1), "similar_users"),
    ],
)
def test_models_without_factors_have_no_similar_ids(model, name):
    model.fit(X, Y)
    assert not hasattr(model, name)
    with pytest.raises(AttributeError, match=f"Regressor has no {name}.*Use MFRegressor"):
        getattr(model, name)


# --- errors


MUST_BE_LIST = r"{} must be a list of IDs, got {}. Pass [{}]."
OTHER = ". Pass a list, an array or a column of IDs."
NO_LIST = "{} must be a list or a column of IDs, got a {}. Pass {}."
NOT_POSITIVE = "n_items must be an integer of at least 1, got {}"
NOT_SEEN = "fit saw, and it did not see 77. Pass IDs that are among encoder_.categories_[1]."


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m.recommend("ann"), MUST_BE_LIST.format("users", "'ann'", "'ann'")),
        (lambda m: m.recommend(4), MUST_BE_LIST.format("users", 4, 4)),
        *(
            (lambda m, wrong=wrong: m.recommend(wrong), f"got {shown}{OTHER}")
            for wrong, shown in ((len, "<built-in function len>"), (np.nan, "nan"))
        ),
        (lambda m: m.similar_items(None), f"items must be a list of IDs, got None{OTHER}"),
        (lambda m: m.recommend({4}), NO_LIST.format("users", "set", "list(users)")),
        (
            lambda m: m.recommend(u for u in [4]),
            NO_LIST.format("users", "generator", "list(users)"),
        ),
        (lambda m: m.recommend(X), NO_LIST.format("users", "DataFrame", "one of its columns")),
        (
            lambda m: m.recommend([1], exclude_seen="no"),
            "exclude_seen must be True or False, got 'no'",
        ),
        (lambda m: m.recommend([]), "users must hold at least one ID, got none"),
        (lambda m: m.recommend([1, None]), "Input X contains NaN.\nColumn 'user' holds "),
        (lambda m: m.recommend([1], n_items=0), NOT_POSITIVE.format(0)),
        (lambda m: m.recommend([1], n_items=2.5), NOT_POSITIVE.format(2.5)),
        (
            lambda m: m.recommend([1], candidates=[ITEMS[0], 77]),
            f"candidates must be items that {NOT_SEEN}",
        ),
        (
            lambda m: m.recommend([1], candidates=[]),
            "candidates must hold at least one ID, got none",
        ),
        (lambda m: m.recommend([1], candidates=7), MUST_BE_LIST.format("candidates", 7, 7)),
        (
            lambda m: m.recommend([1, 2], candidates={1: [ITEMS[0]]}),
            "candidates must have a list of items for each user, got none for 2",
        ),
        (
            lambda m: m.recommend([1], candidates={1: 7}),
            "candidates[1] must be a list of IDs, got",
        ),
        (
            lambda m: m.recommend([1], candidates={"1": [ITEMS[0]]}),
            "Column 'user' holds integers (such as 1) in users but strings (such as '1') in cand",
        ),
        (
            lambda m: m.recommend([1], exclude={"1": [ITEMS[0]]}),
            "Column 'user' holds integers (such as 1) in users but strings (such as '1') in excl",
        ),
        (
            lambda m: m.recommend(candidates=pd.DataFrame({"user": [1], "film": [101]})),
            "candidates must have one column 'item', but its columns are ['user', 'film']",
        ),
        (
            lambda m: m.recommend([1], exclude=pd.DataFrame({"rank": [1], "score": [101]})),
            "exclude must have a column of users and a column of items, named 'user' and 'item'",
        ),
        (
            lambda m: m.recommend([1], candidates=pd.DataFrame({"item": [101], "year": [1999]})),
            "MFRegressor reads no side features of items. Pass a list of item IDs.",
        ),
        (lambda m: m.recommend([1], exclude=7), MUST_BE_LIST.format("exclude", 7, 7)),
        (
            lambda m: m.recommend([1], exclude="film"),
            MUST_BE_LIST.format("exclude", "'film'", "'film'"),
        ),
        (
            lambda m: m.recommend([1], exclude=[None]),
            "Input X contains NaN.\nColumn 'item' holds ",
        ),
        (
            lambda m: m.similar_items([ITEMS[0], 77]),
            f"similar_items compares items that {NOT_SEEN}",
        ),
        (
            lambda m: m.similar_users([USERS[0]], metric="euclidean"),
            "metric must be one of 'cosine', 'dot', got 'euclidean'",
        ),
        (lambda m: m.similar_items("film"), MUST_BE_LIST.format("items", "'film'", "'film'")),
        (lambda m: m.similar_items([ITEMS[0]], n_items=-1), NOT_POSITIVE.format(-1)),
    ],
)
def test_bad_input_is_refused(fitted, call, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        call(fitted)
