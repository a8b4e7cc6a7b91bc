"""New users and new data: a fit in the morning, a stream of ratings at noon, new users served."""
# SPDX-License-Identifier: BSD-3-Clause

from copy import copy

import pandas as pd
import pytest
from sklearn.metrics import root_mean_squared_error

from sklrec import MFRegressor, SequenceRatingRegressor
from sklrec.datasets import make_ratings
from sklrec.model_selection import LastInteractionsSplit

IDS, TIMED = ["user", "item"], ["user", "item", "timestamp"]
CHUNK = 1_500


class Day:
    """A log in parts: of the morning, of noon, and the later ratings of new users."""

    def __init__(self):
        X, y = make_ratings(600, 120, n_ratings=24_000, random_state=0)
        log = X.assign(rating=y)
        newcomer = log["user"] % 5 == 0
        late_item = log["item"] == log["item"].max()
        self.morning = log[~newcomer & ~late_item]
        _, last = next(LastInteractionsSplit(10, random_state=0).split(log[newcomer]))
        self.afternoon = log[newcomer].iloc[last]
        self.afternoon = self.afternoon[self.afternoon["item"].isin(self.morning["item"])]
        known = log[~newcomer & late_item]
        eleven = log[newcomer].drop(self.afternoon.index)
        self.noon = pd.concat([known, eleven]).sort_values("timestamp", ignore_index=True)

    def error(self, predicted):
        return root_mean_squared_error(self.afternoon["rating"], predicted)


@pytest.fixture(scope="module")
def day():
    return Day()


@pytest.fixture(scope="module")
def chunks(day, tmp_path_factory):
    """Chunks of the stream of noon, read from a Parquet file."""
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path_factory.mktemp("day") / "noon.parquet"
    day.noon.to_parquet(path, index=False)
    batches = parquet.ParquetFile(path).iter_batches(batch_size=CHUNK)
    return [batch.to_pandas() for batch in batches]


@pytest.fixture(scope="module")
def morning_model(day):
    return MFRegressor(n_factors=8, random_state=0).fit(day.morning[IDS], day.morning["rating"])


@pytest.fixture(scope="module")
def taught(morning_model, chunks):
    """A copy that learned the stream, in three passes."""
    model = copy(morning_model)
    for chunk in 3 * chunks:
        model.partial_fit(chunk[IDS], chunk["rating"])
    return model


def test_ratings_of_new_users_are_predicted_better_after_partial_fit(day, morning_model, taught):
    unknown, known = (day.error(m.predict(day.afternoon[IDS])) for m in (morning_model, taught))
    assert known < 0.93 * unknown


def test_new_users_get_different_lists_without_what_they_rated(day, morning_model, taught):
    users = day.afternoon["user"].unique()
    lists = taught.recommend(users)
    assert (lists.groupby("user").size() == 10).all()
    assert lists.merge(day.noon, on=IDS).empty
    assert morning_model.recommend(users)["item"].nunique() == 10 < lists["item"].nunique()


def test_new_items_are_learned_without_harm_to_known_users(day, morning_model, taught):
    late = day.noon["item"].max()
    assert late not in morning_model.encoder_.categories_[1]
    assert late in taught.encoder_.categories_[1]
    truth, rows = day.morning["rating"], day.morning[IDS]
    before, after = (
        root_mean_squared_error(truth, model.predict(rows)) for model in (morning_model, taught)
    )
    assert after < 1.02 * before


def test_a_warm_start_needs_fewer_epochs(day, morning_model):
    everything = pd.concat([day.morning, day.noon])
    X, y = everything[IDS], everything["rating"]
    anew = MFRegressor(n_factors=8, random_state=0).fit(X, y)
    cold = MFRegressor(n_factors=8, max_epochs=2, random_state=0).fit(X, y)
    warm = copy(morning_model).set_params(warm_start=True, max_epochs=2).fit(X, y)
    anew, cold, warm = (day.error(m.predict(day.afternoon[IDS])) for m in (anew, cold, warm))
    assert warm < cold
    assert warm < 1.05 * anew


def test_histories_serve_new_users_without_training(day, chunks):
    model = SequenceRatingRegressor(n_factors=8, max_epochs=5, random_state=0)
    model.fit(day.morning[TIMED], day.morning["rating"])
    asked = day.afternoon[TIMED]
    past = pd.concat([day.morning, *chunks])
    informed = model.predict(asked, history=(past[TIMED], past["rating"]))
    assert day.error(informed) < 0.97 * day.error(model.predict(asked))
    users = day.afternoon["user"].unique()
    before = model.recommend(users)
    for chunk in chunks:
        model.partial_fit(chunk[TIMED], chunk["rating"])
    after = model.recommend(users)
    assert before["item"].nunique() == 10 < after["item"].nunique()
    assert after.merge(day.noon, on=IDS).empty
