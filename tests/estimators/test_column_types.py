"""A new kind of side feature: one class and one entry in `COLUMN_TYPES`."""
# SPDX-License-Identifier: BSD-3-Clause

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest

from sklrec import BayesianMFRegressor, DenseRecRegressor
from sklrec._data.checks import DATETIMES
from sklrec._data.features.columns import COLUMN_TYPES, Column
from sklrec.datasets import make_ratings


@dataclass(frozen=True)
class HourColumn(Column):
    """Datetimes, of which only the hour of the day counts."""

    input = "numeric"
    readable = frozenset({DATETIMES})
    n_rows = 25

    @classmethod
    def suits(cls, values, kind, *, as_category):
        return kind == DATETIMES and not as_category

    @classmethod
    def learn(cls, name, position, kind, values, n_before, weight):
        return cls(name, position, kind)

    def encode(self, values, first_row):
        times = pd.DatetimeIndex(self.checked(values, first_row)[0])
        return (times.hour.to_numpy(dtype=float, na_value=np.nan) - 12) / 3  # at most 16 bins

    def rows(self, values, first_row):
        hours = np.nan_to_num(13 + 3 * self.encode(values, first_row)).round()
        return hours.astype(int)[:, np.newaxis], np.ones((len(values), 1))


X, y = make_ratings(n_users=60, n_items=40, n_ratings=1500, random_state=0)
X = X.assign(timestamp=pd.to_datetime(X["timestamp"], unit="s"), place=X["item"] % 3)
# The hour of the day changes ratings by one star.
y = y + (X["timestamp"].dt.hour >= 12) - 0.5


@pytest.mark.parametrize(
    "model",
    [
        DenseRecRegressor(n_factors=4, lr=0.05, random_state=0),
        BayesianMFRegressor(n_factors=4, side_features="all", random_state=0),
    ],
    ids=["dense", "bayesian"],
)
def test_a_new_kind_of_column_serves_both_models(monkeypatch, model):
    plain = model.fit(X, y).score(X, y)
    monkeypatch.setitem(COLUMN_TYPES, "hour", HourColumn)
    model.fit(X, y)
    assert model.score(X, y) > plain
    days_later = X.assign(timestamp=X["timestamp"] + pd.Timedelta(days=500))
    assert np.array_equal(model.predict(days_later), model.predict(X))
    hours_later = X.assign(timestamp=X["timestamp"] + pd.Timedelta(hours=12))
    is_morning = X["timestamp"].dt.hour < 12
    difference = model.predict(hours_later) - model.predict(X)
    assert (difference[is_morning] > 0).mean() > 0.9
    missing = model.predict(X.assign(timestamp=pd.NaT))
    assert np.isfinite(missing).all()
    with pytest.raises(ValueError, match="held datetimes in fit but now holds numbers"):
        model.predict(X.assign(timestamp=0))


def test_a_named_column_stays_categorical(monkeypatch):
    monkeypatch.setitem(COLUMN_TYPES, "hour", HourColumn)
    model = DenseRecRegressor(max_epochs=1, categorical_features=["timestamp"]).fit(X, y)
    assert [column.name for column in model.side_features_.categorical] == ["timestamp"]
