"""The serving example gives the answers of the model, and refuses wrong requests."""
# SPDX-License-Identifier: BSD-3-Clause

import importlib.util
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from pathlib import Path
from threading import Barrier

import joblib
import pandas as pd
import pytest
import torch
from fastapi.testclient import TestClient

from sklrec import MFRegressor
from sklrec.datasets import make_ratings

APP = Path(__file__).parent.parent / "docs" / "serving" / "app.py"
X, Y = make_ratings(60, 40, 1_000, random_state=0)
X, Y = X[["user", "item"]], Y.clip(1, 5)


@pytest.fixture(scope="module")
def service():
    spec = importlib.util.spec_from_file_location("serving_app", APP)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def model():
    # an automatic rating scale, which `partial_fit` alone would widen
    return MFRegressor(n_factors=4, max_epochs=5, random_state=0).fit(X, Y)


@pytest.fixture(scope="module")
def model_file(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "mf.joblib"
    joblib.dump(model, path)
    return path


@pytest.fixture(scope="module")
def client(service, model_file):
    with TestClient(service.create_app(model_file)) as client:
        yield client


def test_recommendations_are_those_of_the_model(client, model):
    answer = client.post("/recommend", json={"users": [3], "n_items": 4})
    assert answer.status_code == 200
    assert answer.json() == model.recommend([3], 4).to_dict("records")
    candidates = X["item"].unique()[:20].tolist()
    for exclude_seen in (True, False):
        asked = {"users": [3], "exclude_seen": exclude_seen, "candidates": candidates}
        expected = model.recommend([3], exclude_seen=exclude_seen, candidates=candidates)
        assert client.post("/recommend", json=asked).json() == expected.to_dict("records")


def test_users_who_have_seen_all_candidates_get_nothing(client):
    seen = X.loc[X["user"] == 3, "item"].tolist()
    answer = client.post("/recommend", json={"users": [3], "candidates": seen})
    assert (answer.status_code, answer.json()) == (200, [])


def test_pairs_are_predicted(client, model):
    pairs = [{"user": 3, "item": 5}, {"user": 999, "item": 5}, {"user": 3, "item": 999}]
    answer = client.post("/predict", json={"pairs": pairs})
    assert answer.json() == model.predict(pd.DataFrame(pairs)).tolist()


def test_newcomers_get_lists_from_their_ratings(client, model):
    liked = {"ratings": [{"item": 5, "rating": 5}, {"item": 999, "rating": 1}], "n_items": 3}
    found = pd.DataFrame(client.post("/newcomer", json=liked).json())
    taught = copy(model).partial_fit(pd.DataFrame({"user": [60], "item": [5]}), [5.0])
    expected = taught.recommend([60], 3)
    assert found["item"].tolist() == expected["item"].tolist()
    assert found["score"].to_numpy() == pytest.approx(expected["score"])
    assert found["user"].isna().all()
    assert not found["item"].eq(5).any()


def test_health_gives_the_size_of_the_model(client):
    assert client.get("/health").json() == {"users": 60, "items": 40}


@pytest.mark.parametrize(
    ("path", "body", "text"),
    [
        ("/recommend", "{", "JSON decode error"),
        ("/recommend", '{"users": []}', "at least 1 item"),
        ("/recommend", f'{{"users": {[1] * 1_001}}}', "at most 1000 items"),
        ("/recommend", '{"users": ["1"]}', "valid integer"),
        ("/recommend", '{"users": [NaN]}', "valid integer"),
        ("/recommend", '{"users": [1], "n_items": 101}', "less than or equal to 100"),
        ("/recommend", f'{{"users": [{2**63}]}}', f"less than {2**63}"),
        ("/recommend", f'{{"users": [1], "candidates": [{2**63}]}}', f"less than {2**63}"),
        ("/recommend", '{"users": [1], "nonsense": 1}', "Extra inputs are not permitted"),
        ("/recommend", '{"users": [1], "candidates": [999]}', "it did not see 999"),
        ("/predict", '{"pairs": [{"user": 1}]}', "Field required"),
        ("/predict", f'{{"pairs": [{{"user": 3, "item": {2**63}}}]}}', f"less than {2**63}"),
        ("/newcomer", '{"ratings": []}', "at least 1 item"),
        ("/newcomer", '{"ratings": [{"item": 999, "rating": 3}]}', "None of these items is known"),
        ("/newcomer", f'{{"ratings": [{{"item": {2**63}, "rating": 3}}]}}', f"less than {2**63}"),
        ("/newcomer", '{"ratings": [{"item": 5, "rating": 7}]}', "between 1 and 5"),
        ("/newcomer", '{"ratings": [{"item": 5, "rating": NaN}]}', "finite number"),
    ],
)
def test_bad_bodies_are_refused(client, path, body, text):
    answer = client.post(path, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert text in answer.text


def test_the_model_is_loaded_once_and_torch_gets_one_thread(service, model_file, monkeypatch):
    load, loaded = joblib.load, []
    monkeypatch.setattr(joblib, "load", lambda path: loaded.append(path) or load(path))
    monkeypatch.setenv("MODEL", str(model_file))
    app = service.from_environment()
    app.get("/threads")(lambda: torch.get_num_threads())
    assert not loaded
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with TestClient(app) as client:
            for user in range(3):
                client.post("/recommend", json={"users": [user]}).raise_for_status()
            assert client.get("/threads").json() == 1
    finally:
        torch.set_num_threads(before)
    assert loaded == [str(model_file)]


def test_requests_leave_nothing_behind_in_the_model(service, model_file):
    """Tables for looking up IDs would double its size."""
    app, ends = service.create_app(model_file), [-(2**63), 2**63 - 1]
    with TestClient(app) as client:

        def held():
            model = app.state.model
            objects = model, model.encoder_, *model.encoder_.vocabularies_, model.module_
            learned = model.module_.state_dict(), model.seen_, model.rating_scale_
            return [set(vars(each)) for each in objects], joblib.hash(learned)

        before = held()
        for path, body in (
            ("/recommend", {"users": [3, *ends]}),
            ("/recommend", {"users": [3], "candidates": [5, *ends]}),
            ("/recommend", {"users": [2**63]}),
            ("/predict", {"pairs": [{"user": end, "item": end} for end in ends]}),
            ("/predict", {"pairs": [{"user": 3, "item": 2**64}]}),
            ("/newcomer", {"ratings": [{"item": item, "rating": 5} for item in (5, *ends)]}),
            ("/newcomer", {"ratings": [{"item": 5, "rating": 5}, {"item": 2**63, "rating": 1}]}),
        ):
            assert client.post(path, json=body).status_code in (200, 422)
            assert held() == before


def test_threads_do_not_disturb_each_other(client, service, model_file):
    asked = []
    for user in range(8):
        ratings = [{"item": user, "rating": 5}, {"item": user + 8, "rating": 1}]
        asked += [
            ("/recommend", {"users": [user, user + 8, 999]}),
            ("/predict", {"pairs": [{"user": user, "item": item} for item in range(40)]}),
            ("/newcomer", {"ratings": ratings}),
        ]
    alone = [client.post(path, json=body).raise_for_status().json() for path, body in asked]
    # a model just loaded, which has answered no request
    together = Barrier(len(asked))
    with (
        TestClient(service.create_app(model_file)) as fresh,
        ThreadPoolExecutor(len(asked)) as threads,
    ):

        def ask(path, body):
            together.wait(60)
            return [fresh.post(path, json=body).raise_for_status().json() for _ in range(3)]

        found = list(threads.map(ask, *zip(*asked, strict=True)))
    assert found == [[answer] * 3 for answer in alone]
