"""Metrics of ranked lists, compared with trec_eval and scikit-learn."""
# SPDX-License-Identifier: BSD-3-Clause

import functools

import numpy as np
import pandas as pd
import pytest
import pytrec_eval
from numpy.testing import assert_allclose
from pandas.testing import assert_series_equal
from sklearn.metrics import ndcg_score

from sklrec.metrics import (
    hit_rate_at_k,
    map_at_k,
    mrr_at_k,
    ndcg_at_k,
    precision_at_k,
    recall_at_k,
)

METRICS = [hit_rate_at_k, map_at_k, mrr_at_k, ndcg_at_k, precision_at_k, recall_at_k]

TRUE = pd.DataFrame({"user": ["ann", "ann", "bob"], "item": [1, 2, 3], "rating": [5, 3, 4]})
PRED = pd.DataFrame(
    {
        "user": ["ann", "ann", "ann", "bob", "bob", "bob"],
        "item": [7, 2, 1, 3, 7, 8],
        "rank": [1, 2, 3, 1, 2, 3],
        "score": [5.0, 4.5, 4.0, 4.0, 3.0, 2.0],
    }
)


@functools.cache
def random_tables(seed, *, ties=False, n_users=60, n_items=40):
    """Relevant rows with ratings 1 to 4, and lists of different lengths, both in random order."""
    rng = np.random.default_rng(seed)
    true, pred = [], []
    for user in range(n_users):
        relevant = rng.permutation(n_items)[: rng.integers(1, 25)]
        true.append(pd.DataFrame({"user": user, "item": relevant}))
        # with ties: lower items come later, the order in which trec_eval breaks ties
        listed = rng.permutation(n_items)[: rng.integers(1, 20)]
        listed = -np.sort(-listed) if ties else listed
        scores = rng.integers(0, 4, len(listed)) if ties else rng.permutation(len(listed))
        pred.append(pd.DataFrame({"user": user, "item": listed, "score": scores}))
    true = pd.concat(true, ignore_index=True)
    true["rating"] = rng.integers(1, 5, len(true))
    # some users have no list, and some lists belong to users without a relevant item
    true, pred = true[true["user"] != 3], pd.concat(pred, ignore_index=True)
    pred = pred[~pred["user"].isin([5, 6])]
    if not ties:
        pred = pred.sample(frac=1, random_state=seed)
    return true.sample(frac=1, random_state=seed), pred


def as_trec(table, column):
    """Table in the form of pytrec_eval; names of items sort like their numbers."""
    return {
        str(user): {
            f"{item:05}": value
            for item, value in zip(rows["item"].tolist(), rows[column].tolist(), strict=True)
        }
        for user, rows in table.groupby("user")
    }


def trec(true, pred, measure, k):
    """Value that trec_eval gives each user, and 0 for a user without a list."""
    relevance = as_trec(true, "rating")
    if measure == "recip_rank":  # which has no limit k, so it gets shortened lists
        order = pred.sort_values(["user", "score"], ascending=[True, False], kind="stable")
        pred, name, key = order.groupby("user").head(k), measure, measure
    else:
        name, key = f"{measure}.{k}", f"{measure}_{k}"
    evaluator = pytrec_eval.RelevanceEvaluator(relevance, {name})
    found = evaluator.evaluate(as_trec(pred, "score"))
    of_users = {user: found.get(user, {}).get(key, 0.0) for user in relevance}
    return pd.Series(of_users, dtype=float)


def by_user(values):
    values = values.copy()
    values.index = values.index.astype(str)
    return values


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("k", [1, 5, 50])
@pytest.mark.parametrize(
    ("metric", "measure", "gain"),
    [
        (precision_at_k, "P", None),
        (recall_at_k, "recall", None),
        (hit_rate_at_k, "success", None),
        (map_at_k, "map_cut", None),
        (mrr_at_k, "recip_rank", None),
        (ndcg_at_k, "ndcg_cut", None),
        (ndcg_at_k, "ndcg_cut", "rating"),
    ],
)
def test_equals_trec_eval(metric, measure, gain, k, ties):
    true, pred = random_tables(k, ties=ties)
    options = {} if gain is None else {"gain": gain}
    ours = by_user(metric(true, pred, k=k, average=None, **options))
    theirs = trec(true if gain else true.assign(rating=1), pred, measure, k)
    if metric is map_at_k:  # trec_eval divides by the number of relevant items, however many
        n_relevant = by_user(true.groupby("user").size())
        theirs = theirs * n_relevant / n_relevant.clip(upper=k)
    assert 0 < theirs.mean() < 1
    assert_allclose(ours, theirs.loc[ours.index], rtol=0, atol=1e-12)
    assert len(ours) == len(theirs)
    assert metric(true, pred, k=k, **options) == pytest.approx(theirs.mean(), abs=1e-12)


@pytest.mark.parametrize("k", [1, 3, 10])
def test_ndcg_of_any_gains_equals_scikit_learn(k):
    rng = np.random.default_rng(k)
    gains, scores = rng.exponential(size=(2, 30, 12))
    gains[rng.random(gains.shape) < 0.5] = 0
    gains[:, 0] += 0.1
    user, item = np.indices(gains.shape).reshape(2, -1)
    true = pd.DataFrame({"user": user, "item": item, "gain": gains.ravel()})
    pred = pd.DataFrame({"user": user, "item": item, "score": scores.ravel()})
    ours = ndcg_at_k(true, pred, k=k, gain="gain")
    assert ours == pytest.approx(ndcg_score(gains, scores, k=k, ignore_ties=True), abs=1e-12)


@pytest.mark.parametrize("metric", METRICS)
def test_ranks_scores_and_orders_of_rows_agree(metric):
    true, pred = random_tables(0)
    expected = metric(true, pred, average=None)
    ranked = pred.assign(rank=pred.groupby("user")["score"].rank(ascending=False))
    # a rank takes precedence over a score
    assert_series_equal(metric(true, ranked.assign(score=0), average=None), expected)
    shuffled = ranked.sample(frac=1, random_state=1)
    assert_series_equal(metric(true, shuffled, average=None), expected)
    turned = metric(true[::-1], pred, average=None).loc[expected.index]
    assert_series_equal(turned, expected, rtol=1e-14)


@pytest.mark.parametrize(
    ("metric", "k", "values"),
    [
        (hit_rate_at_k, 1, [0, 1]),
        (map_at_k, 1, [0, 1]),
        (map_at_k, 3, [(1 / 2 + 2 / 3) / 2, 1]),
        (mrr_at_k, 10, [1 / 2, 1]),
        (precision_at_k, 10, [2 / 10, 1 / 10]),
        (recall_at_k, 2, [1 / 2, 1]),
    ],
)
def test_values_computed_by_hand(metric, k, values):
    own = metric(TRUE, PRED, k=k, average=None)
    assert_allclose(own, values, rtol=1e-15)
    assert (own.index.to_list(), own.index.name) == (["ann", "bob"], "user")
    assert metric(TRUE, PRED, k=k) == own.mean()
    assert type(metric(TRUE, PRED, k=k)) is float


def test_users_without_relevant_items_are_ignored_and_users_without_a_list_get_0():
    strangers = pd.DataFrame({"user": ["eve", "eve"], "item": [1, 2], "rank": [1, 2]})
    assert recall_at_k(TRUE, pd.concat([PRED, strangers])) == 1
    assert recall_at_k(TRUE, PRED[PRED["user"] == "bob"]) == 0.5


def test_gains_of_zero_are_not_relevant():
    true = pd.DataFrame({"user": [1, 1, 2, 3], "item": [1, 2, 1, 1], "gain": [0.0, 2, 0, 1]})
    pred = pd.DataFrame({"user": [1, 1, 2, 3], "item": [1, 2, 1, 1], "rank": [1, 2, 1, 1]})
    own = ndcg_at_k(true, pred, gain="gain", average=None)
    assert own.to_dict() == pytest.approx({1: 1 / np.log2(3), 3: 1})


@pytest.mark.parametrize(
    "users", [["1", "2"], [1.5, 2.5], [("a", 1), ("b", 2)], pd.Categorical(["x", "y"])]
)
def test_ids_of_any_kind(users):
    true = pd.DataFrame({"user": users, "item": ["a", "b"]})
    pred = pd.DataFrame({"user": users, "item": ["a", "a"], "rank": [1, 1]})
    assert hit_rate_at_k(true, pred, average=None).to_list() == [1, 0]


@pytest.mark.parametrize("convert", [dict, lambda table: table.to_dict("records")])
def test_tables_that_pandas_can_convert(convert):
    assert ndcg_at_k(convert(TRUE), convert(PRED)) == ndcg_at_k(TRUE, PRED)


@pytest.mark.parametrize(
    ("true", "pred", "message"),
    [
        (TRUE.drop(columns="user"), PRED, r"y_true must have one column 'user', but its columns"),
        (TRUE, PRED.drop(columns="item"), r"y_pred must have one column 'item', but its columns"),
        (TRUE, PRED[["user", "item"]], r"y_pred must have a column 'rank' or 'score', but its"),
        (TRUE, pd.concat([PRED, PRED[["user"]]], axis=1), r"must have one column 'user'"),
        (TRUE[:0], PRED, r"y_true is empty\. Give a table with at least one row"),
        (TRUE, PRED[:0], r"y_pred is empty\. Give a table"),
        (7, PRED, r"y_true must be a DataFrame, or something .* got int"),
        (
            pd.concat([TRUE, TRUE[:1]]),
            PRED,
            r"y_true has 1 rows that repeat an earlier pair, such as user 'ann' and item 1\. Keep",
        ),
        (TRUE, PRED.assign(item=1), r"y_pred has 4 rows that repeat an earlier pair, "),
        (TRUE, PRED.assign(rank=[1, 3, 4, 1, 2, 3]), r"ranks of user 'ann' are 1, 3, 4\. Drop"),
        (TRUE, PRED.assign(rank=[1, 2, 3, 2, 2, 1]), r"ranks of user 'bob' are 1, 2, 2\."),
        (TRUE, PRED.assign(rank=[0, 1, 2, 0, 1, 2]), r"must be 1, 2, 3 and so on, each once"),
        (TRUE, PRED.assign(rank=[1, 2.5, 3, 1, 2, 3]), r"ranks of user 'ann' are 1, 2\.5, 3"),
        (TRUE, PRED.assign(rank=[1, 2, np.nan] * 2), r"Column 'rank' of y_pred has .* in row 2\."),
        (TRUE, PRED.assign(rank="first"), r"Column 'rank' of y_pred must be numeric"),
        (
            TRUE,
            PRED.drop(columns="rank").assign(score=[np.nan, 1, 2, 3, 4, 5]),
            r"Column 'score' of y_pred has 1 missing values in 6 rows, the first in row 0",
        ),
        (TRUE.assign(user=["ann", None, "bob"]), PRED, r"Column 'user' of y_true has 1 missing"),
        (
            TRUE.assign(user=[1, 1, 2]),
            PRED,
            r"y_pred has no list for any user of y_true\. An example of its users is 'ann', and "
            r"of the users of y_true 1\. Recommend",
        ),
    ],
)
def test_bad_tables_are_refused(true, pred, message):
    with pytest.raises(ValueError, match=message):
        recall_at_k(true, pred)


@pytest.mark.parametrize(
    ("gains", "message"),
    [
        (None, r"y_true must have one column 'gain'"),
        ([1, -1, 1], r"not negative, but column 'gain' of y_true holds -1 for user 'ann' and"),
        ([1, np.inf, 1], r"Gains must be finite"),
        ([1, np.nan, 1], r"Column 'gain' of y_true has 1 missing .* in row 1"),
        ([0, 0, 0], r"Column 'gain' of y_true holds only 0"),
        (["good", "bad", "bad"], r"Column 'gain' of y_true must be numeric"),
    ],
)
def test_bad_gains_are_refused(gains, message):
    true = TRUE if gains is None else TRUE.assign(gain=gains)
    with pytest.raises(ValueError, match=message):
        ndcg_at_k(true, PRED, gain="gain")


@pytest.mark.parametrize("metric", METRICS)
def test_parameters_of_all_metrics(metric):
    assert metric(TRUE, PRED, average=None).name.endswith("@10")
    for k in (0, -1, 2.0, "10", None, True):
        with pytest.raises(ValueError, match="k must be an integer of at least 1, got"):
            metric(TRUE, PRED, k=k)
    with pytest.raises(ValueError, match=r"average must be one of 'macro', None, got 'micro'"):
        metric(TRUE, PRED, average="micro")


def test_the_tables_stay_as_they_are():
    true, pred = TRUE.copy(), PRED.copy()
    ndcg_at_k(true, pred, gain="rating")
    assert true.equals(TRUE)
    assert pred.equals(PRED)
