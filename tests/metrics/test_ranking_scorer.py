"""The scorer of ranked lists, alone and in the tools of scikit-learn."""
# SPDX-License-Identifier: BSD-3-Clause

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn import config_context
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.compose import ColumnTransformer
from sklearn.dummy import DummyRegressor
from sklearn.model_selection import GridSearchCV, cross_val_score, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OrdinalEncoder

from sklrec import DenseRecRegressor, IDEncoder, MFRegressor, SequenceRatingRegressor
from sklrec.datasets import make_ratings
from sklrec.metrics import make_ranking_scorer, ndcg_at_k, recall_at_k
from sklrec.model_selection import GlobalTimeSplit, LastInteractionsSplit

METRICS = ["hit_rate", "map", "mrr", "ndcg", "precision", "recall"]


class Listed(RegressorMixin, BaseEstimator):
    """Recommend the same items to all users, without seen items, and record the calls."""

    def __init__(self, items=(), user=0, item=1):
        self.items = items
        self.user = user
        self.item = item

    def fit(self, X, y):
        X = pd.DataFrame(np.asarray(X, dtype=object))
        self.seen_ = set(zip(X[self.user], X[self.item], strict=True))
        self.calls_ = []
        return self

    def predict(self, X):
        places = {item: place for place, item in enumerate(self.items)}
        items = pd.DataFrame(np.asarray(X, dtype=object))[self.item]
        return np.array([-places.get(item, 99) for item in items], dtype=float)

    def recommend(self, users, n_items=10, *, exclude_seen=True):
        self.calls_.append((list(users), n_items, exclude_seen))
        found = []
        for user in users:
            items = [item for item in self.items if (user, item) not in self.seen_][:n_items]
            found += [(user, item, rank) for rank, item in enumerate(items, start=1)]
        return pd.DataFrame(found, columns=["user", "item", "rank"]).assign(score=0.0)


def rows(*pairs):
    return pd.DataFrame(pairs, columns=["user", "item"])


TRAIN = rows(("ann", "a"), ("bob", "b"), ("cid", "c"))
LISTED = Listed(["a", "b", "c", "d", "e"]).fit(TRAIN, [5, 5, 5])

# ann finds b and d (her list is b c d e), bob nothing (c is bad), eve is new and finds a
TEST = rows(("ann", "b"), ("ann", "d"), ("ann", "z"), ("bob", "c"), ("eve", "a"))
RATINGS = np.array([4, 5, 4, 3, 4.5])


@pytest.fixture(scope="module")
def ratings():
    return make_ratings(120, 60, n_ratings=2400, random_state=0)


@pytest.fixture(scope="module")
def split(ratings):
    return next(GlobalTimeSplit(1, test_size=0.3).split(ratings[0]))


def a_model(**params):
    return MFRegressor(**{"n_factors": 4, "max_epochs": 3, "random_state": 0, **params})


def fitted(model, ratings, split):
    return model.fit(*(values.iloc[split[0]] for values in ratings))


def held_out(ratings, split):
    return [values.iloc[split[1]] for values in ratings]


def test_scores_computed_by_hand():
    LISTED.calls_.clear()
    scores = make_ranking_scorer(METRICS, 3, threshold=4, counts=True)(LISTED, TEST, RATINGS)
    assert LISTED.calls_ == [(["ann", "eve"], 3, True)]  # one call for all metrics
    gain = 1 + 1 / np.log2(3) + 1 / 2
    assert scores == pytest.approx(
        {
            "hit_rate@3": 1,
            "map@3": ((1 + 2 / 3) / 3 + 1) / 2,
            "mrr@3": 1,
            "ndcg@3": ((1 + 1 / 2) / gain + 1) / 2,
            "precision@3": (2 / 3 + 1 / 3) / 2,
            "recall@3": (2 / 3 + 1) / 2,
            "n_users": 2,
            "n_cold_users": np.nan,
            "n_skipped_users": 1,
        },
        nan_ok=True,
    )
    assert type(scores["n_users"]) is type(scores["n_skipped_users"]) is int
    seen = Listed(["a"]).fit(TRAIN, [5, 5, 5])  # no item is left for ann
    assert make_ranking_scorer(threshold=4)(seen, rows(("ann", "b")), [5]) == 0


@pytest.mark.parametrize("model", [MFRegressor, DenseRecRegressor, SequenceRatingRegressor])
def test_scores_equal_the_metrics_of_recommended_lists(model, ratings, split):
    model = fitted(model(n_factors=4, max_epochs=2, random_state=0), ratings, split)
    X, y = held_out(ratings, split)
    liked = X[y >= 4]
    lists = model.recommend(liked["user"].unique(), n_items=5)
    scores = make_ranking_scorer(["ndcg", "recall"], k=5, threshold=4)(model, X, y)
    assert scores["ndcg@5"] == pytest.approx(ndcg_at_k(liked, lists, k=5), abs=1e-15)
    assert scores["recall@5"] == pytest.approx(recall_at_k(liked, lists, k=5), abs=1e-15)
    assert 0 < scores["recall@5"] < 1


def test_counts_of_users(ratings, split):
    model = fitted(a_model(), ratings, split)
    X, y = held_out(ratings, split)
    strangers = X.head(40).assign(user=[1000 + k // 2 for k in range(40)])
    X, y = pd.concat([X, strangers], ignore_index=True), np.append(y, [1.0, 5.0] * 20)
    scores = make_ranking_scorer(threshold=4, counts=True)(model, X, y)
    liked = set(X["user"][y >= 4])
    cold = liked - set(model.encoder_.categories_[0])
    assert len(cold) >= 20
    assert scores["n_users"] == len(liked)
    assert scores["n_cold_users"] == len(cold)
    assert scores["n_skipped_users"] == X["user"].nunique() - len(liked)


@pytest.mark.parametrize("as_frame", [True, False])
@pytest.mark.parametrize("candidates", ["all", "rated"])
def test_a_pipeline_equals_its_model_alone(ratings, split, as_frame, candidates):
    X, y = ratings
    X = X[["user", "item"]].map(lambda number: f"id {number}")
    # strangers, each with several items, and unknown items, of which one user likes several
    train, test = split
    test_X = X.iloc[test].copy()
    test_X.iloc[:30, 0] = [f"stranger {k // 6}" for k in range(30)]
    test_X.iloc[20:50, 1] = [f"novelty {k}" for k in range(30)]
    train_X, train_y, test_y = X.iloc[train], y.iloc[train], y.iloc[test]
    if not as_frame:
        train_X, test_X = train_X.to_numpy(), test_X.to_numpy()
    scorer = make_ranking_scorer(METRICS, 5, threshold=4, candidates=candidates, counts=True)
    alone = scorer(a_model().fit(train_X, train_y), test_X, test_y)
    pipeline = make_pipeline(IDEncoder(), "passthrough", a_model()).fit(train_X, train_y)
    assert alone["n_cold_users"] >= 5
    assert scorer(pipeline, test_X, test_y) == pytest.approx(alone, abs=1e-12)


def test_pipelines_with_other_encoders_and_arrays_between_steps(ratings, split):
    X, y = ratings
    X, test_X = X[["user", "item"]], held_out(ratings, split)[0][["user", "item"]]
    y, test_y = y.iloc[split[0]], held_out(ratings, split)[1]
    test_X = test_X.assign(user=test_X["user"].where(test_X["user"] > 20, -test_X["user"] - 1))
    scorer = make_ranking_scorer(threshold=4, counts=True)
    alone = scorer(a_model().fit(X.iloc[split[0]], y), test_X, test_y)
    assert alone["n_cold_users"] > 1
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, dtype=int)
    swap = FunctionTransformer(lambda X: np.asarray(X)[:, ::-1])
    for steps in ([encoder], [swap, encoder]):
        user, item = (0, 1) if len(steps) == 1 else (1, 0)
        pipeline = make_pipeline(*steps, a_model(user=user, item=item)).fit(X.iloc[split[0]], y)
        scores = scorer(pipeline, test_X, test_y)
        assert (scores["n_users"], scores["n_cold_users"]) == (
            alone["n_users"],
            alone["n_cold_users"],
        )
        assert 0 < scores["ndcg@10"] < 1


def test_columns_by_name_and_position(ratings, split):
    X, y = ratings
    other = X[["timestamp", "item", "user"]]
    scorer = make_ranking_scorer(threshold=4)
    expected = scorer(fitted(a_model(), ratings, split), *held_out(ratings, split))
    for columns in ({"user": "user", "item": "item"}, {"user": 2, "item": 1}):
        model = fitted(a_model(**columns), (other, y), split)
        assert scorer(model, *held_out((other, y), split)) == expected
    # a step that does not keep columns in place
    select = ColumnTransformer([("ids", "passthrough", [2, 1])])
    pipeline = fitted(make_pipeline(select, a_model()), (other, y), split)
    assert scorer(pipeline, *held_out((other, y), split)) == expected


def test_rare_items_cannot_be_found_and_rare_users_are_cold():
    X = rows(("ann", "a"), ("bob", "a"), ("ann", "rare"), ("bob", "b"), ("cid", "b"))
    pipeline = make_pipeline(IDEncoder(min_frequency=2), a_model()).fit(X, [3, 4, 5, 4, 3])
    scorer = make_ranking_scorer(["recall"], 5, threshold=4, counts=True)
    # the model recommends code 0 to bob: it stands for all rare items, so it is not a hit
    assert 0 in pipeline[-1].recommend([2])["item"].to_list()
    assert scorer(pipeline, rows(("bob", "rare"), ("bob", "odd")), [5, 5])["recall@5"] == 0
    assert scorer(pipeline, rows(("cid", "a"), ("eve", "a")), [5, 5])["n_cold_users"] == 2


def test_rated_candidates_are_ranked_by_predict(ratings, split):
    model = fitted(a_model(), ratings, split)
    X, y = held_out(ratings, split)
    liked = X[y >= 4]
    lists = X[["user", "item"]].assign(score=model.predict(X))
    scorer = make_ranking_scorer("ndcg", 3, threshold=4, candidates="rated")
    assert scorer(model, X, y) == pytest.approx(ndcg_at_k(liked, lists, k=3), abs=1e-12)
    nested = scorer(GridSearchCV(a_model(), {"n_factors": [4]}, cv=2).fit(X, y), X, y)
    assert nested > 0


def test_of_equal_predictions_the_first_row_has_no_advantage():
    X = pd.DataFrame({"user": np.repeat(np.arange(400), 4), "item": np.tile(np.arange(4), 400)})
    y = np.tile([5, 1, 1, 1], 400)
    constant = DummyRegressor().fit(X, y)
    scorer = make_ranking_scorer("precision", 1, threshold=4, candidates="rated")
    assert scorer(constant, X, y) == pytest.approx(1 / 4, abs=0.07)
    assert scorer(constant, X, y) == scorer(constant, X, y)


def test_a_pair_that_occurs_twice_is_relevant_if_one_of_its_rows_is():
    X = rows(("ann", "b"), ("ann", "b"), ("ann", "c"))
    for candidates in ("all", "rated"):
        scorer = make_ranking_scorer("recall", 1, threshold=4, candidates=candidates)
        assert scorer(LISTED, X, [2, 4, 1]) == 1
        assert scorer(LISTED, X, [5, 4, 4]) == 1 / 2


def test_without_a_threshold_all_rows_of_a_constant_y_are_relevant():
    X = rows(("ann", "b"), ("bob", "c"))
    assert make_ranking_scorer("hit_rate", 2, threshold=None)(LISTED, X, [1, 1]) == 1
    with pytest.raises(ValueError, match=r"y has ratings from 1 to 5, but .*threshold=4 for 4 st"):
        make_ranking_scorer(threshold=None)(LISTED, X, [1, 5])
    # In cross_val_score, an error of the scorer would only be a NaN.
    with pytest.raises(TypeError, match="required keyword-only argument: 'threshold'"):
        make_ranking_scorer()


def test_functions_name_metrics():
    by_name = make_ranking_scorer(["ndcg", "recall"], 3, threshold=4)
    assert make_ranking_scorer([ndcg_at_k, "recall"], 3, threshold=4) == by_name
    assert make_ranking_scorer(ndcg_at_k, threshold=4) == make_ranking_scorer(threshold=4)


def test_training_rows_cause_a_warning(ratings, split):
    model = fitted(a_model(), ratings, split)
    X, y = (values.iloc[split[0]] for values in ratings)
    scorer = make_ranking_scorer(threshold=4)
    with pytest.warns(UserWarning, match=r"trained on 100% of the \d+ relevant rows.*'rated'"):
        assert scorer(model, X, y) == 0
    with warnings.catch_warnings(action="error"):
        scorer(model, *held_out(ratings, split))
        make_ranking_scorer(threshold=4, candidates="rated")(model, X, y)


def test_in_cross_validation_and_search(ratings):
    X, y = ratings
    cv = LastInteractionsSplit(5)
    scorer = make_ranking_scorer("ndcg", 5, threshold=4)
    (train, test) = next(cv.split(X))
    by_hand = scorer(a_model().fit(X.iloc[train], y.iloc[train]), X.iloc[test], y.iloc[test])
    assert cross_val_score(a_model(), X, y, cv=cv, scoring=scorer).tolist() == [by_hand]

    several = make_ranking_scorer(["ndcg", "recall"], 5, threshold=4, counts=True)
    found = cross_validate(
        a_model(), X, y, cv=cv, scoring=several, return_train_score=True, error_score="raise"
    )
    assert found["test_ndcg@5"] == [by_hand]
    assert found["test_n_cold_users"] == [0]
    assert found["train_recall@5"] == [0]  # a training row is never recommended

    pipeline = make_pipeline(IDEncoder(), a_model())
    grid = {"mfregressor__n_factors": [1, 4]}
    search = GridSearchCV(pipeline, grid, cv=cv, scoring=scorer).fit(X, y)
    assert search.cv_results_["mean_test_score"][1] == pytest.approx(by_hand, abs=1e-12)
    assert search.score(X, y) == 0
    assert scorer(search, X.iloc[test], y.iloc[test]) == scorer(
        search.best_estimator_, X.iloc[test], y.iloc[test]
    )


def test_weights_are_not_routed_to_the_scorer(ratings):
    X, y = ratings
    weight = np.random.default_rng(0).uniform(1, 2, len(y))
    options = {"cv": LastInteractionsSplit(5), "scoring": make_ranking_scorer(threshold=4)}
    with config_context(enable_metadata_routing=True):
        model = a_model().set_fit_request(sample_weight=True)
        weighted = cross_val_score(model, X, y, params={"sample_weight": weight}, **options)
    assert 0 < weighted[0] < 1


def test_scorers_can_be_compared_pickled_and_cloned():
    scorer = make_ranking_scorer(["ndcg"], 5, threshold=4, candidates="rated", counts=True)
    assert repr(scorer) == (
        "make_ranking_scorer(['ndcg'], k=5, threshold=4, candidates='rated', counts=True)"
    )
    assert pickle.loads(pickle.dumps(scorer)) == scorer
    assert clone(GridSearchCV(a_model(), {}, scoring=scorer)).scoring == scorer
    assert hash(scorer) == hash(clone(scorer, safe=False))
    assert scorer != make_ranking_scorer(["ndcg"], 6, threshold=4)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"metric": "auc"}, "metric must be one of 'hit_rate', 'map', 'mrr', .* got 'auc'"),
        ({"metric": ["ndcg", "auc"]}, "got 'auc'"),
        ({"metric": len}, r"metric must be one of .*, got <built-in function len>"),
        ({"metric": 3}, r"metric must be one of .*, got 3\."),
        ({"metric": []}, "metric is empty. Give one or more of hit_rate"),
        ({"k": 0}, "k must be an integer of at least 1, got 0"),
        ({"threshold": "4"}, "threshold must be a rating or None, got '4'"),
        ({"threshold": np.nan}, "threshold must be a rating or None, got nan"),
        ({"candidates": [1, 2]}, r"candidates must be one of 'all', 'rated', got \[1, 2\]"),
    ],
)
def test_bad_parameters_are_refused(params, message):
    with pytest.raises(ValueError, match=message):
        make_ranking_scorer(**{"threshold": 4, **params})


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (
            [1, 2, 3, 3, 3],
            r"No rating of y reaches threshold=4, so no item is relevant: the highest rating is 3",
        ),
        ([5, 5, np.nan, 5, 5], "contains NaN"),
        ([5, 5], "inconsistent numbers of samples"),
        (None, "requires y to be passed"),
    ],
)
def test_bad_ratings_are_refused(y, message):
    with pytest.raises(ValueError, match=message):
        make_ranking_scorer(threshold=4)(LISTED, TEST, y)


def test_models_without_recommend_are_refused(ratings):
    X, y = ratings
    scorer = make_ranking_scorer(threshold=4)
    with pytest.raises(
        TypeError, match=r"DummyRegressor has no method recommend, which .*'rated'"
    ):
        scorer(DummyRegressor().fit(X, y), X, y)
    codes = np.arange(60).reshape(20, 3) % 7 + 1
    lstm = SequenceRatingRegressor(
        input="sequences", items_only=True, n_factors=2, hidden_size=2, max_epochs=1
    )
    lstm.fit(codes, np.tile([4.0, 5.0], 10))
    with pytest.raises(ValueError, match="Recommending needs input='interactions'"):
        scorer(lstm, codes, np.tile([4.0, 5.0], 10))
