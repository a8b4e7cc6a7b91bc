"""What the errors of metrics and their scorer say, word for word."""
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import pandas as pd
import pytest
from sklearn.dummy import DummyRegressor

from sklrec import MFRegressor
from sklrec.metrics import (
    coverage_at_k,
    make_ranking_scorer,
    masked_root_mean_squared_error,
    ndcg_at_k,
    novelty_at_k,
)

NAN, INF = np.nan, np.inf
TRUE = pd.DataFrame({"user": [1, 1, 2], "item": ["a", "b", "a"], "gain": [1.0, 2.0, 0.0]})
PRED = pd.DataFrame({"user": [1, 1, 2], "item": ["a", "c", "d"], "rank": [1, 2, 1]})
RATED = pd.DataFrame({"user": [1, 1, 2, 2], "item": [1, 2, 1, 2]})


def masked(y_true, y_pred, weight=None):
    return lambda: masked_root_mean_squared_error(y_true, y_pred, sample_weight=weight)


def ranked(true=TRUE, pred=PRED, **options):
    return lambda: ndcg_at_k(true, pred, **options)


def scored(y, *, model=None, **options):
    model = model or MFRegressor(max_epochs=1, random_state=0).fit(RATED, [1, 2, 3, 5])
    return lambda: make_ranking_scorer("ndcg", **options)(model, RATED, y)


MESSAGES = {
    masked([1, 2], [[1], [2]]): "y_true has the shape (2,) but y_pred has (2, 1): there must be "
    "one prediction for each rating, known or not.",
    masked([1, INF], [1, 2]): "Input y_true contains infinity, first at row 1: a rating is a "
    "finite number, or NaN where it is not known.",
    masked([NAN], [1]): "y_true holds NaN only: there is no known rating to compare predictions "
    "with. Score rows that have one.",
    masked([[1, 2]], [[1, -INF]]): "y_pred holds -inf where y_true has a rating, first at row 0, "
    "column 1 and at 1 of 2 such places: every known rating needs a finite prediction.",
    masked([1, NAN], [1, 2], [0, 1]): "The known ratings have the sample_weight 0 all together: "
    "give one of them a weight.",
    lambda: coverage_at_k(PRED, ["a"]): "y_pred recommends items that catalog has not, 'c' and 1 "
    "more: it must have all that the model might recommend.",
    lambda: novelty_at_k(PRED, TRUE): "y_pred recommends items that X_train has not, 'c' and 1 "
    "more: it must have all that the model might recommend.",
    ranked(pred=PRED.drop(columns="rank")): "y_pred must have a column 'rank' or 'score', but its "
    "columns are ['user', 'item']. Rename or add it.",
    ranked(pred=PRED.assign(user=["x", "x", "y"])): "y_pred has no list for any user of y_true: "
    "its users are such as 'x', those of y_true such as 1. Recommend to the users of y_true, and "
    "see that their IDs are of one kind.",
    ranked(k=0): "k must be an integer of at least 1, got 0.",
    ranked(TRUE.assign(gain=[1, 2, -1]), gain="gain"): "Gains must be finite and not negative, "
    "but column 'gain' of y_true holds -1 for user 2 and item 'a'.",
    ranked(TRUE.assign(gain=0), gain="gain"): "Column 'gain' of y_true holds 0 only: nothing is "
    "relevant to anybody.",
    ranked(average="micro"): "average must be 'macro', for the mean over users, or None, for "
    "each user's own, got 'micro'.",
    ranked(TRUE[:0]): "y_true is empty: there must be at least one row.",
    ranked(TRUE.assign(item=["a", None, None])): "Column 'item' of y_true is missing or NaN in "
    "row 1 and in 2 of 3 rows. Drop these rows.",
    ranked(pd.concat([TRUE, TRUE])): "y_true has user 1 and item 'a' more than once, and 3 such "
    "rows too many. Keep one row of each pair, for example with drop_duplicates(['user', "
    "'item']).",
    ranked(pred=PRED.assign(rank=[1, 3, 1])): "The ranks of a user in y_pred must be 1, 2, 3 and "
    "so on, each once, but those of user 1 are 1, 3. Drop the column to rank by a column "
    "'score'.",
    ranked(TRUE.drop(columns="user")): "y_true must have one column 'user', but its columns are "
    "['item', 'gain']. Rename or add it.",
    ranked(TRUE.assign(gain=["x", "y", "z"]), gain="gain"): "Column 'gain' of y_true must hold "
    "numbers (could not convert string to float: 'x'). Convert it first, for example with "
    "pandas.to_numeric.",
    lambda: make_ranking_scorer([]): "metric is empty: give one or more of hit_rate, map, mrr, "
    "ndcg, precision, recall.",
    lambda: make_ranking_scorer("auc"): "metric must be one or more of hit_rate, map, mrr, ndcg, "
    "precision, recall, got 'auc'.",
    lambda: make_ranking_scorer("ndcg", threshold="4"): "threshold must be a rating or None, got "
    "'4'.",
    lambda: make_ranking_scorer("ndcg", candidates="seen"): "candidates must be 'all' or 'rated', "
    "got 'seen'.",
    scored([5, 4, 1, 1], threshold=9): "No rating of y reaches threshold=9, the highest being 5: "
    "nothing is relevant to anybody. Give a lower threshold, or score more rows.",
    scored([5, 4, 1, 1]): "y has ratings from 1 to 5, and which of them are good is not said. "
    "Give the lowest good one as threshold, such as threshold=4 for 4 stars of 5.",
    scored([1] * 4, model=DummyRegressor().fit(RATED, [1] * 4)): "DummyRegressor has no method "
    "recommend, by which all items are ranked. Score a model that has one, such as MFRegressor, "
    "or set candidates='rated', which ranks each user's test items by what predict gives.",
}


@pytest.mark.parametrize(("call", "message"), MESSAGES.items(), ids=range(len(MESSAGES)))
def test_what_an_error_says(call, message):
    with pytest.raises((TypeError, ValueError)) as told:
        call()
    assert str(told.value) == message
