"""The serving example answers as the model does, and refuses what it should."""
# SPDX-License-Identifier: BSD-3-Clause

import importlib.util
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
from fastapi.testclient import TestClient

from sklrec import MFRegressor
from sklrec.datasets import make_ratings

APP = Path(__file__).parent.parent / "docs" / "serving" / "app.py"
X, Y = make_ratings(60, 40, 1_000, random_state=0)
X, Y = X[["user", "item"]], Y.clip(1, 5)


@pytest.fixture(scope="module")
def model():
    return MFRegressor(n_factors=4, max_epochs=5, rating_scale=(1, 5), random_state=0).fit(X, Y)


@pytest.fixture(scope="module")
def client(model, tmp_path_factory):
    spec = importlib.util.spec_from_file_location("serving_app", APP)
    app = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(app)
    path = tmp_path_factory.mktemp("model") / "mf.joblib"
    joblib.dump(model, path)
    with TestClient(app.create_app(path)) as client:
        yield client


def test_it_recommends_what_the_model_does(client, model):
    answer = client.post("/recommend", json={"users": [3, 999], "n_items": 4})
    assert answer.status_code == 200
    expected = model.recommend([3, 999], 4).to_dict("records")
    assert answer.json() == expected
    options = {"users": [3], "n_items": 2, "exclude_seen": False, "candidates": [1, 2, 3]}
    found = pd.DataFrame(client.post("/recommend", json=options).json())
    assert found["item"].isin([1, 2, 3]).all()
    assert len(found) == 2


def test_it_rates_pairs(client, model):
    pairs = [{"user": 3, "item": 5}, {"user": 999, "item": 5}]
    answer = client.post("/predict", json={"pairs": pairs})
    assert answer.json() == model.predict(pd.DataFrame(pairs)).tolist()


def test_it_knows_newcomers_by_their_ratings(client, model):
    liked = {"ratings": [{"item": 5, "rating": 5}, {"item": 999, "rating": 1}], "n_items": 3}
    found = pd.DataFrame(client.post("/newcomer", json=liked).json())
    expected = model.fold_in(pd.DataFrame({"user": [60], "item": [5]}), [5.0]).recommend([60], 3)
    assert found["item"].tolist() == expected["item"].tolist()
    assert found["score"].to_numpy() == pytest.approx(expected["score"])
    assert found["user"].isna().all()
    assert not found["item"].eq(5).any()


def test_it_is_well(client):
    assert client.get("/health").json() == {"users": 60, "items": 40}


@pytest.mark.parametrize(
    ("path", "body", "text"),
    [
        ("/recommend", {}, "Field required"),
        ("/recommend", {"users": []}, "at least 1 item"),
        ("/recommend", {"users": ["x"]}, "valid integer"),
        ("/recommend", {"users": [1], "n_items": 0}, "greater than or equal to 1"),
        ("/recommend", {"users": [1], "nonsense": 1}, "Extra inputs are not permitted"),
        ("/recommend", {"users": [1], "candidates": [999]}, "it did not see 999"),
        ("/predict", {"pairs": [{"user": 1}]}, "Field required"),
        ("/newcomer", {"ratings": [{"item": 999, "rating": 3}]}, "None of these items is known"),
        ("/newcomer", {"ratings": [{"item": 5, "rating": 7}]}, "inside rating_scale"),
        ("/newcomer", {"ratings": [{"item": 5, "rating": "NaN"}]}, "finite number"),
    ],
)
def test_bad_bodies_are_refused(client, path, body, text):
    answer = client.post(path, json=body)
    assert answer.status_code == 422
    assert text in answer.text


def test_threads_do_not_disturb_each_other(client, model):
    users = np.arange(24) % 12

    def ask(user):
        rated = {"ratings": [{"item": int(user), "rating": 5}], "n_items": 3}
        client.post("/newcomer", json=rated)
        return client.post("/recommend", json={"users": [int(user)], "n_items": 5}).json()

    with ThreadPoolExecutor(24) as threads:
        found = list(threads.map(ask, users))
    for user, rows in zip(users, found, strict=True):
        assert rows == model.recommend([user], 5).to_dict("records")
