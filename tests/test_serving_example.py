"""The serving example gives the answers of its model, and refuses wrong requests."""
# SPDX-License-Identifier: BSD-3-Clause

import asyncio
import importlib.util
import json
import threading
import warnings
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, as_completed
from itertools import islice
from pathlib import Path

import joblib
import pandas as pd
import pytest
import torch
from fastapi.testclient import TestClient

import sklrec
from sklrec.datasets import make_ratings

APP = Path(__file__).parent.parent / "docs" / "serving" / "app.py"
X, Y = make_ratings(60, 40, 1_000, random_state=0)
X, Y = X[["user", "item"]], Y.clip(1, 5)
NAMED = X.astype(str).set_axis(["customer", "sku"], axis=1)
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def service():
    spec = importlib.util.spec_from_file_location("serving_app", APP)
    module = importlib.util.module_from_spec(spec)
    threads = torch.get_num_threads()
    spec.loader.exec_module(module)
    yield module
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def model():
    return sklrec.BayesianMFRegressor(n_factors=4, n_iter=5).fit(X, Y)


@pytest.fixture
def model_file(model, tmp_path):
    sklrec.save(model, tmp_path / "model.sklrec")
    return tmp_path / "model.sklrec"


@pytest.fixture
def client(service, model_file):
    with TestClient(service.create_app(model_file)) as client:
        yield client


@pytest.fixture
def client_of(service, tmp_path):
    """Make a client of the service of a model."""
    clients = []

    def make(model):
        sklrec.save(model, tmp_path / "other.sklrec")
        clients.append(TestClient(service.create_app(tmp_path / "other.sklrec")))
        return clients[-1].__enter__()

    yield make
    for client in clients:
        client.__exit__(None, None, None)


def result(answer):
    assert answer.status_code == 200, answer.text
    return answer.json()["result"]


def test_the_example_is_short():
    assert len(APP.read_text().splitlines()) < 200


def test_recommendations_are_those_of_the_model(client, model):
    candidates = X["item"].unique()[:20].tolist()
    for options in (
        {"n_items": 4},
        {"candidates": candidates},
        {"candidates": candidates, "exclude_seen": False},
    ):
        answer = client.post("/recommend", json={"users": [3, 999], **options})
        assert result(answer) == model.recommend([3, 999], **options).to_dict("records")


def test_users_who_have_seen_all_candidates_get_nothing(client):
    seen = X.loc[X["user"] == 3, "item"].tolist()
    assert result(client.post("/recommend", json={"users": [3], "candidates": seen})) == []


def test_rows_are_predicted(client, model):
    rows = [{"item": 5, "user": 3}, {"user": 999, "item": 5}, {"user": 3, "item": 999}]
    answer = client.post("/predict", json={"rows": rows})
    assert result(answer) == model.predict(pd.DataFrame(rows)[["user", "item"]]).tolist()


def test_new_users_get_lists_from_their_ratings(client, model):
    rows = [{"user": 777, "item": 5}, {"user": 777, "item": 8}, {"user": 778, "item": 999}]
    answer = client.post("/recommend_for", json={"rows": rows, "ratings": [5, 1, 2], "n_items": 3})
    expected = model.recommend_for(pd.DataFrame(rows), [5, 1, 2], 3)
    assert result(answer) == expected.to_dict("records")
    assert client.get("/health").json()["users"] == 60


@pytest.mark.parametrize(
    "other",
    [
        sklrec.BiasRegressor(),
        sklrec.DenseRecRegressor(max_epochs=1),
        sklrec.ImplicitMFRecommender(n_factors=4),
        sklrec.EASERecommender(),
        sklrec.PopularityRecommender(),
    ],
    ids=lambda model: type(model).__name__,
)
def test_all_models_with_strings_as_ids(client_of, other):
    other.set_params(user="customer", item="sku").fit(NAMED, Y)
    client = client_of(other)
    answer = client.post("/recommend", json={"users": ["3", "new"]})
    assert result(answer) == other.recommend(["3", "new"]).to_dict("records")
    row = {"customer": "new", "sku": "5"}
    for path in ("predict", "recommend_for"):
        answer = client.post(f"/{path}", json={"rows": [row]})
        if not hasattr(other, path):
            assert answer.status_code == 404
            assert f"{type(other).__name__} has no `{path}`" in answer.json()["detail"]
            continue
        found = getattr(other, path)(pd.DataFrame([row]))
        is_table = isinstance(found, pd.DataFrame)
        assert result(answer) == (found.to_dict("records") if is_table else found.tolist())
    assert "must be of type str" in client.post("/recommend", json={"users": [3]}).text


def test_columns_of_side_features_are_read(client_of):
    age = X["user"] % 7
    other = sklrec.BayesianMFRegressor(n_factors=2, n_iter=3, side_features=["age"])
    other.fit(X.assign(age=age), Y)
    client = client_of(other)
    rows = [{"age": 3.0, "user": 3, "item": 5}, {"age": 2.5, "user": 999, "item": 5}]
    expected = other.predict(pd.DataFrame(rows)[["user", "item", "age"]])
    assert result(client.post("/predict", json={"rows": rows})) == expected.tolist()
    answer = client.post("/predict", json={"rows": [rows[0], {"user": 3, "item": 5}]})
    assert (answer.status_code, "exactly the columns" in answer.text) == (422, True)


PAIR = '{"user": 1, "item": 2}'
MANY_USERS = json.dumps({"users": list(range(1_000)), "n_items": 11})


@pytest.mark.parametrize(
    ("path", "body", "text"),
    [
        ("/recommend", "{", "Invalid JSON"),
        ("/recommend", "[" * 100_000, "Invalid JSON"),
        ("/recommend", '{"users": ["\\ud800"]}', "Invalid JSON"),
        ("/recommend", '{"\\ud800": 1}', "Invalid JSON"),
        ("/recommend", b'{"users": ["\xff"]}', "Invalid JSON"),
        ("/recommend", f'{{"users": [{"9" * 5_000}]}}', "Invalid JSON"),
        ("/recommend", '{"users": []}', "at least 1 item"),
        ("/recommend", f'{{"users": {[1] * 1_001}}}', "at most 1000 items"),
        ("/recommend", MANY_USERS, "at most 909 users"),
        ("/recommend", '{"users": ["1"]}', "'1' must be of type int"),
        ("/recommend", '{"users": [true]}', "valid integer"),
        ("/recommend", '{"users": [NaN]}', "valid integer"),
        ("/recommend", '{"users": [1], "n_items": 101}', "less than or equal to 100"),
        ("/recommend", f'{{"users": [{2**63}]}}', f"less than {2**63}"),
        ("/recommend", f'{{"users": ["{"a" * 201}"]}}', "at most 200 characters"),
        ("/recommend", f'{{"users": [1], "candidates": [{2**63}]}}', f"less than {2**63}"),
        ("/recommend", '{"users": [1], "nonsense": 1}', "Extra inputs are not permitted"),
        ("/recommend", '{"users": [1], "candidates": [999]}', "it did not see 999"),
        ("/predict", '{"rows": [{"user": 1}]}', "exactly the columns ['user', 'item']"),
        ("/predict", '{"rows": [{"user": 1, "item": 1, "age": 1}]}', "exactly the columns"),
        ("/predict", '{"rows": [{"user": 1, "item": 1.5}]}', "1.5 must be of type int"),
        ("/recommend_for", '{"rows": [], "ratings": []}', "at least 1 item"),
        ("/recommend_for", f'{{"rows": [{PAIR}]}}', "Give `ratings` between 1 and 5"),
        ("/recommend_for", f'{{"rows": [{PAIR}], "ratings": []}}', "Give `ratings` between"),
        ("/recommend_for", f'{{"rows": [{PAIR}], "ratings": [3, 3]}}', "inconsistent numbers"),
        ("/recommend_for", f'{{"rows": [{PAIR}], "ratings": [7]}}', "between 1 and 5"),
        ("/recommend_for", f'{{"rows": [{PAIR}], "ratings": [NaN]}}', "finite number"),
    ],
)
def test_bad_bodies_are_refused(client, path, body, text):
    answer = client.post(path, content=body, headers=JSON)
    assert answer.status_code == 422
    assert text in str(answer.json()["detail"])
    assert answer.json()["version"] == client.get("/health").json()["version"]


def test_users_times_candidates_are_limited(client, service, monkeypatch):
    monkeypatch.setattr(service, "MAX_SCORES", 400)
    for users, n_candidates, status in ((10, 40, 200), (11, 40, 422), (11, 20, 200)):
        body = {"users": list(range(users)), "candidates": list(range(n_candidates))}
        assert client.post("/recommend", json=body).status_code == status
    assert client.post("/recommend", json={"users": list(range(11))}).status_code == 422


def sent(client, next_part, headers=()):
    """Send a request, part by part, and give the messages of the answer."""
    messages = []

    async def receive():
        await asyncio.sleep(0.001)
        return next_part()

    async def send(message):
        messages.append(message)

    headers = [(b"content-type", b"application/json"), *headers]
    scope = {"type": "http", "method": "POST", "path": "/recommend", "query_string": b""}
    client.portal.call(client.app, {**scope, "headers": headers}, receive, send)
    return messages[0]["status"], dict(messages[0]["headers"])


def test_large_bodies_are_not_read_whole(client):
    """Bodies come in parts without Content-Length, and this one has no end."""
    parts = []

    def next_part():
        parts.append(b"x" * 65_536)
        return {"type": "http.request", "body": parts[-1], "more_body": True}

    status, headers = sent(client, next_part)
    assert (status, headers[b"connection"]) == (413, b"close")
    assert len(parts) == 5  # 4 parts are the limit


def test_bodies_that_stop_are_refused(client):
    status, _ = sent(client, lambda: {"type": "http.disconnect"})
    assert status == 408


def test_slow_bodies_are_refused(client, service, monkeypatch):
    monkeypatch.setattr(service, "READ_SECONDS", 0)
    part = {"type": "http.request", "body": b"", "more_body": True}
    assert sent(client, lambda: part)[0] == 408


@pytest.fixture
def gate(service, monkeypatch):
    """Large requests wait at this gate."""
    gate, recommend = threading.Event(), service.Served.recommend

    def gated(self, asked):
        assert len(asked.users) <= service.FEW or gate.wait(5)
        return recommend(self, asked)

    gated.__name__ = "recommend"
    monkeypatch.setattr(service.Served, "recommend", gated)
    yield gate
    gate.set()


def test_small_requests_are_answered_and_others_refused_while_large_ones_run(
    gate, client, service
):
    client.app.state.large = service.Pool(2, 3)
    large = {"users": list(range(50))}
    with ThreadPoolExecutor(9) as threads:
        futures = [threads.submit(client.post, "/recommend", json=large) for _ in range(9)]
        try:
            first = [future.result() for future in islice(as_completed(futures), 4)]
            assert [answer.status_code for answer in first] == [503] * 4
            assert {answer.headers["Retry-After"] for answer in first} == {"1"}
            for user in range(20):
                assert result(client.post("/recommend", json={"users": [user]}))
            assert client.get("/health").status_code == 200
            assert sum(future.done() for future in futures) == 4
        finally:
            gate.set()
        statuses = Counter(future.result().status_code for future in futures)
    assert statuses == {200: 5, 503: 4}
    assert client.post("/recommend", json=large).status_code == 200


def test_the_service_loads_a_new_file(client, model_file):
    before = client.get("/health").json()
    other = sklrec.EASERecommender().fit(X)
    sklrec.save(other, model_file)
    assert client.get("/health").json() == before
    version = client.post("/reload").json()["version"]
    assert version != before["version"]
    answer = client.post("/recommend", json={"users": [3]})
    assert answer.json()["version"] == version
    assert result(answer) == other.recommend([3]).to_dict("records")
    expected = {"version": version, "model": "EASERecommender", "users": 60, "items": 40}
    assert client.get("/health").json() == expected


def test_a_bad_file_keeps_the_old_model(client, model, model_file):
    before = client.get("/health").json()
    encoder, dated = sklrec.IDEncoder().fit(X), X.assign(user=pd.to_datetime(X["user"]))
    unnamed = sklrec.BiasRegressor().fit(X.to_numpy(), Y)
    files = [(encoder, "fitted to a DataFrame"), (unnamed, "fitted to a DataFrame")]
    files.append((sklrec.BiasRegressor().fit(dated, Y), "integers or strings"))
    for bad, text in [*files, (None, "model.sklrec")]:
        if bad is None:
            model_file.write_bytes(model_file.read_bytes()[:-1])
        else:
            sklrec.save(bad, model_file)
        answer = client.post("/reload")
        assert (answer.status_code, text in answer.json()["detail"]) == (409, True)
        assert client.get("/health").json() == before
    model_file.unlink()
    assert client.post("/reload").status_code == 409
    found = result(client.post("/recommend", json={"users": [3]}))
    assert found == model.recommend([3]).to_dict("records")


def test_the_old_model_answers_while_a_file_is_loaded(client, model_file, monkeypatch):
    before, started, gate = client.get("/health").json(), threading.Event(), threading.Event()
    sklrec.save(sklrec.BiasRegressor().fit(X, Y), model_file)
    load = sklrec.load

    def gated(*args, **options):
        started.set()
        assert gate.wait(5)
        return load(*args, **options)

    monkeypatch.setattr(sklrec, "load", gated)
    with ThreadPoolExecutor(1) as threads:
        future = threads.submit(client.post, "/reload")
        try:
            assert started.wait(5)
            answer = client.post("/recommend", json={"users": [3]})
            assert (answer.status_code, answer.json()["version"]) == (200, before["version"])
            again = client.post("/reload")
            assert (again.status_code, again.headers["Retry-After"]) == (503, "1")
        finally:
            gate.set()
        assert future.result().json()["version"] != before["version"]
    assert client.get("/health").json()["model"] == "BiasRegressor"


def test_a_file_that_changes_while_it_is_loaded_is_refused(client, model_file, monkeypatch):
    load = sklrec.load

    def changed(path, **options):
        found = load(path, **options)
        sklrec.save(sklrec.BiasRegressor().fit(X, Y), path)
        return found

    monkeypatch.setattr(sklrec, "load", changed)
    answer = client.post("/reload")
    assert (answer.status_code, "changed while" in answer.json()["detail"]) == (409, True)


def test_the_file_is_loaded_once_and_torch_gets_one_thread(service, model_file, monkeypatch):
    load, loaded = sklrec.load, []
    monkeypatch.setattr(
        sklrec, "load", lambda path, **options: loaded.append(path) or load(path, **options)
    )
    monkeypatch.setenv("MODEL", str(model_file))
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with warnings.catch_warnings(), TestClient(service.from_environment()) as client:
            for user in range(3):
                result(client.post("/recommend", json={"users": [user]}))
            pool = client.app.state.small
            assert client.portal.call(pool.run, torch.get_num_threads) == 1
    finally:
        torch.set_num_threads(before)
    assert loaded == [str(model_file)]


def test_requests_leave_nothing_behind_in_the_model(client):
    """Tables for looking up IDs would double its size."""
    model, ends = client.app.state.served.model, [-(2**63), 2**63 - 1]

    def held():
        objects = model, model.encoder_, *model.encoder_.vocabularies_, model.module_
        learned = model.module_.state_dict(), model.seen_, model.rating_scale_
        return [set(vars(each)) for each in objects], joblib.hash(learned)

    before = held()
    rows = [{"user": end, "item": end} for end in ends]
    for path, body in (
        ("/recommend", {"users": [3, *ends]}),
        ("/recommend", {"users": [3], "candidates": [5, *ends]}),
        ("/recommend", {"users": [2**63]}),
        ("/predict", {"rows": [{"user": 3, "item": 5}, *rows]}),
        ("/recommend_for", {"rows": rows, "ratings": [5, 1]}),
        ("/recommend_for", {"rows": [{"user": 3, "item": 5}], "ratings": [5]}),
    ):
        assert client.post(path, json=body).status_code in (200, 422)
        assert held() == before


def test_a_crowd_with_hostile_bodies_gets_right_answers_or_is_told_to_wait(client, service):
    client.app.state.small = service.Pool(2, 8)
    hostile = ["[" * 100_000, " " * 300_000, '{"users": [1e999]}', '{"users": 1', "\x00"]
    new_users = [
        ("/recommend_for", {"rows": [{"user": 100, "item": n}], "ratings": [5]}, False)
        for n in range(24)
    ]
    usual = [
        ("/recommend", {"users": [n]}, False)
        if n % 2
        else ("/predict", {"rows": [{"user": n, "item": m} for m in range(40)]}, False)
        for n in range(60)
    ]
    asked = new_users + usual * 3
    for place in range(24, len(asked), 20):
        asked[place] = ("/recommend", hostile[place // 20 % len(hostile)], True)

    def ask(path, body, is_hostile):
        content = body if is_hostile else json.dumps(body)
        answer = client.post(path, content=content, headers=JSON)
        return answer.status_code, answer.json().get("result")

    alone = [ask(*one) for one in asked]
    with ThreadPoolExecutor(24) as threads:
        found = list(threads.map(ask, *zip(*asked, strict=True)))
    for (_, _, is_hostile), expected, answer in zip(asked, alone, found, strict=True):
        assert expected[0] in ((413, 422) if is_hostile else (200,))
        assert answer == expected or (answer == (503, None) and not is_hostile)
    assert client.app.state.small.left == 10
