"""PopularityRecommender."""
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import pandas as pd
import pytest

from sklrec import PopularityRecommender

ROWS = [("ann", "tea", 0), ("bob", "tea", 10), ("bob", "rum", 20), ("cat", "rum", 20)]
ROWS += [("bob", "tea", 0), ("dan", "gin", 20)]
X = pd.DataFrame(ROWS, columns=["user", "item", "timestamp"])


def test_popularity_is_the_number_of_users():
    model = PopularityRecommender().fit(X)
    assert model.encoder_.categories_[1].tolist() == ["tea", "rum", "gin"]
    assert model.item_popularity_.tolist() == [2, 2, 1]
    weighted = PopularityRecommender().fit(X, sample_weight=[1, 2, 3, 4, 0.5, 0.25])
    assert weighted.item_popularity_.tolist() == [3, 7, 0.25]


@pytest.mark.parametrize(
    "times",
    [
        X["timestamp"],
        X["timestamp"] - 1e6,
        pd.to_datetime(X["timestamp"], unit="s"),
        pd.to_datetime(X["timestamp"], unit="s", utc=True).astype(object),
    ],
    ids=["integers", "floats", "datetimes", "zoned datetimes"],
)
def test_an_event_of_the_age_of_the_half_life_counts_half(times):
    log = X.assign(timestamp=times)
    model = PopularityRecommender(half_life=10).fit(log)
    assert np.allclose(model.item_popularity_, [0.25 + 0.5, 2, 1])
    moved = log.rename(columns={"timestamp": "time"})
    other = PopularityRecommender(10, "time").fit(moved)
    assert np.array_equal(other.item_popularity_, model.item_popularity_)
    assert model.recommend(["eve"])["item"].tolist() == ["rum", "gin", "tea"]


def test_a_half_life_needs_valid_timestamps():
    model = PopularityRecommender(half_life=10)
    with pytest.raises(ValueError, match="X has no column named 'timestamp'"):
        model.fit(X[["user", "item"]])
    with pytest.raises(ValueError, match="Column 'timestamp' holds nan in row 1"):
        model.fit(X.assign(timestamp=[1, None, 2, 3, 4, 5]).astype({"timestamp": object}))
    for half_life in (0, -1.0, np.inf, "1 day"):
        with pytest.raises(ValueError, match="The 'half_life' parameter"):
            model.set_params(half_life=half_life).fit(X)
    assert PopularityRecommender().fit(X.assign(timestamp=None)).n_items_ == 3  # not read


def test_very_old_events_count_nothing():
    model = PopularityRecommender(half_life=1e-300).fit(X)
    assert model.item_popularity_.tolist() == [0, 2, 1]


def test_there_are_no_similar_items():
    with pytest.raises(AttributeError, match=r"no similar_items: .* Use MFRegressor, or for ev"):
        PopularityRecommender().fit(X).similar_items(["tea"])
