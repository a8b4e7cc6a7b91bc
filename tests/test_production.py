"""New users and new data end to end: fitted in the morning, a stream at noon, newcomers served."""
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.metrics import root_mean_squared_error

from sklrec import MFRegressor, SequenceRatingRegressor
from sklrec.datasets import make_ratings
from sklrec.metrics import ndcg_at_k
from sklrec.model_selection import LastInteractionsSplit

IDS, TIMED = ["user", "item"], ["user", "item", "timestamp"]
CHUNK = 1_500
SOLVERS = {
    "sgd": MFRegressor(n_factors=8, random_state=0),
    "adam": MFRegressor(solver="adam", n_factors=8, random_state=0),
    "als": MFRegressor(solver="als", n_factors=8, random_state=0),
    "gibbs": MFRegressor(solver="gibbs", n_factors=8, n_iter=40, random_state=0),
    "implicit features": MFRegressor(
        solver="als", n_factors=8, implicit_features=True, random_state=0
    ),
}


class Day:
    """A log in parts: of the morning, of noon, and what newcomers rate in the afternoon."""

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
    """The stream of noon, written as Parquet and read in chunks."""
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path_factory.mktemp("day") / "noon.parquet"
    day.noon.to_parquet(path, index=False)
    batches = parquet.ParquetFile(path).iter_batches(batch_size=CHUNK)
    return [batch.to_pandas() for batch in batches]


def take_in(model, chunks):
    """Learn what is new of known users; give also a copy that has those who are new."""
    waiting = []
    for chunk in chunks:
        known = chunk["user"].isin(model.encoder_.categories_[0])
        if hasattr(model, "partial_fit"):
            model.partial_fit(chunk.loc[known, IDS], chunk.loc[known, "rating"])
        waiting.append(chunk[~known])
    newcomers = pd.concat(waiting)
    newcomers = newcomers[newcomers["item"].isin(model.encoder_.categories_[1])]
    return model.fold_in(newcomers[IDS], newcomers["rating"]), newcomers


@pytest.fixture(scope="module", params=SOLVERS)
def served(request, day, chunks):
    """What does not know the newcomers, what does, and what they have rated."""
    model = clone(SOLVERS[request.param]).fit(day.morning[IDS], day.morning["rating"])
    return model, *take_in(model, chunks)


def test_the_stream_arrives_whole_and_in_chunks(day, chunks):
    assert len(chunks) > 1
    assert max(map(len, chunks)) == CHUNK
    pd.testing.assert_frame_equal(pd.concat(chunks, ignore_index=True), day.noon)


def test_ratings_of_newcomers_are_predicted_better_than_those_of_strangers(day, served):
    before, after, _ = served
    unknown, known = (day.error(model.predict(day.afternoon[IDS])) for model in (before, after))
    assert known < 0.9 * unknown


def test_newcomers_get_lists_of_their_own_that_beat_popularity(day, served):
    before, after, rated = served
    users = day.afternoon["user"].unique()
    lists = after.recommend(users)
    assert (lists.groupby("user").size() == 10).all()
    assert lists.merge(rated, on=IDS).empty
    assert before.recommend(users)["item"].nunique() <= 10 < lists["item"].nunique()
    # Of the ratings that were put aside, the best third is what should come first.
    best = day.afternoon.groupby("user")["rating"].rank(pct=True) > 2 / 3
    liked = day.afternoon[best]
    popularity = day.morning["item"].value_counts()
    tried = day.afternoon.groupby("user")["item"].agg(list).to_dict()
    by_taste = after.recommend(users, candidates=tried)
    by_popularity = day.afternoon.assign(score=day.afternoon["item"].map(popularity))
    strangers = before.recommend(users, candidates=tried)
    taste, popular, strange = (
        ndcg_at_k(liked, of, k=3) for of in (by_taste, by_popularity, strangers)
    )
    assert taste > strange + 0.02
    assert taste > popular + 0.05


def test_the_one_that_is_served_meanwhile_does_not_change(day, served):
    before, after, rated = served
    assert not np.isin(rated["user"], before.encoder_.categories_[0]).any()
    row = day.morning[IDS][:50]
    np.testing.assert_allclose(before.predict(row), after.predict(row), atol=1e-6)


@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_a_stream_teaches_new_items_without_harm_to_known_users(day, chunks, solver):
    model = clone(SOLVERS[solver]).fit(day.morning[IDS], day.morning["rating"])
    error = root_mean_squared_error(day.morning["rating"], model.predict(day.morning[IDS]))
    late = day.noon["item"].max()
    assert late not in model.encoder_.categories_[1]
    for chunk in chunks:
        known = chunk["user"].isin(day.morning["user"])
        model.partial_fit(chunk.loc[known, IDS], chunk.loc[known, "rating"])
    assert late in model.encoder_.categories_[1]
    after = root_mean_squared_error(day.morning["rating"], model.predict(day.morning[IDS]))
    assert after < 1.02 * error


def test_a_warm_start_needs_fewer_sweeps(day):
    everything = pd.concat([day.morning, day.noon])
    X, y = everything[IDS], everything["rating"]
    afternoon = day.afternoon[IDS]
    anew = clone(SOLVERS["als"]).fit(X, y)
    short = clone(SOLVERS["als"]).set_params(n_iter=2)
    warm = clone(SOLVERS["als"]).fit(day.morning[IDS], day.morning["rating"])
    warm.set_params(warm_start=True, n_iter=2).fit(X, y)
    full, cold, warm = (
        day.error(model.predict(afternoon)) for model in (anew, short.fit(X, y), warm)
    )
    assert warm < 1.01 * full < cold


def test_histories_serve_newcomers_without_training(day, chunks):
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
