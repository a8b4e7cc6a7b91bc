"""ONNX graphs give the ratings of predict, for any number of rows."""
# SPDX-License-Identifier: BSD-3-Clause

import sys
from functools import partial

import numpy as np
import pytest
import torch
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from torch_settings import other_settings, settings_of_torch

import sklrec.export
from sklrec import (
    BayesianMFRegressor,
    BiasRegressor,
    DenseRecRegressor,
    IDEncoder,
    MFRegressor,
    SequenceRatingRegressor,
    SequenceWindower,
)
from sklrec.datasets import make_ratings
from sklrec.export import onnx_inputs, to_onnx

onnxruntime = pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.needs("torch>=2.8")

SIZES = 1, 7, 1000


@pytest.fixture(scope="module")
def ratings():
    X, y = make_ratings(n_users=60, n_items=40, n_ratings=1500, random_state=0)
    X["genres"] = [["drama", "war"] if item % 3 else ["comedy"] for item in X["item"]]
    X["weekend"] = X["timestamp"] // 86400 % 7 > 4
    X["hour"] = (X["timestamp"] // 3600 % 24).where(X.index % 4 > 0)
    return X, y


@pytest.fixture(scope="module")
def queries(ratings):
    """Rows with known and unknown IDs, and with unknown and missing side features."""
    X = ratings[0].head(1000).copy()
    X.loc[X.index[0::5], "user"] = -1
    X.loc[X.index[0::7], "item"] = -1
    genres = X["genres"].to_list()
    genres[1::9] = [["opera"]] * len(genres[1::9])
    genres[2::9] = [["war", "opera", "comedy", "drama"]] * len(genres[2::9])
    return X.assign(genres=genres)


def session_of(estimator, folder):
    path = folder / "model.onnx"
    to_onnx(estimator, path)
    assert [file.name for file in folder.iterdir()] == ["model.onnx"]
    return onnxruntime.InferenceSession(path)


def assert_parity(session, estimator, X, sizes=SIZES, **history):
    for n in sizes:
        [found] = session.run(["ratings"], onnx_inputs(estimator, X[:n], **history))
        expected = estimator.predict(X[:n], **history).ravel()
        np.testing.assert_allclose(found, expected[~np.isnan(expected)], atol=1e-5, rtol=0)


def test_settings_of_torch_change_nothing_and_stay(ratings, queries, tmp_path):
    mf = MFRegressor(n_factors=4, random_state=0).fit(*ratings)
    with other_settings():
        before = settings_of_torch()
        session = session_of(mf, tmp_path)
        assert settings_of_torch() == before
    assert_parity(session, mf, queries)


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"optimizer": torch.optim.Adam, "biased": False, "svdpp": True, "rating_scale": None},
    ],
)
def test_matrix_factorization(ratings, queries, tmp_path, params):
    mf = MFRegressor(n_factors=4, random_state=0, **params).fit(*ratings)
    if mf.rating_scale is not None:
        mf.rating_scale_ = 2.9, 3.1
    session = session_of(mf, tmp_path)
    assert {axes.name: axes.shape for axes in session.get_inputs()} == {
        "users": ["n"],
        "items": ["n"],
    }
    assert_parity(session, mf, queries)
    [found] = session.run(None, onnx_inputs(mf, queries))
    is_clipped = found.min() == 2.9 and found.max() == 3.1
    assert is_clipped == (mf.rating_scale is not None)


NET = {"n_factors": 4, "max_epochs": 1, "random_state": 0}
LSTM = partial(SequenceRatingRegressor, 2, 3, max_epochs=1, random_state=0)
TIMED = ["user", "item", "timestamp"]


@pytest.mark.parametrize(
    ("estimator", "columns", "sizes"),
    [
        (MFRegressor(**NET), TIMED[:2], SIZES),
        (DenseRecRegressor(**NET), ["user", "item", "hour", "genres", "weekend"], SIZES),
        (LSTM(), TIMED, SIZES),
        (LSTM(items_only=True, bidirectional=True), TIMED[:2], [1, 7, 50]),
    ],
    ids=str,
)
def test_graphs_give_ratings_far_from_0_for_any_number_of_rows(
    ratings, queries, tmp_path, estimator, columns, sizes
):
    X, y = ratings[0][columns][:1200], ratings[1][:1200] + 1e9
    queries = queries[columns]
    session = session_of(estimator.fit(X, y), tmp_path)
    assert_parity(session, estimator, queries, sizes)
    if columns == TIMED:
        history = ratings[0][TIMED], ratings[1] + 1e9
        assert_parity(session, estimator, queries, sizes=[7], history=history)
        shapes = {axes.name: axes.shape for axes in session.get_inputs()}
        of_past = [shapes[f"past_{name}"] for name in ("items", "ratings", "gaps")]
        assert of_past == [["n_sequences", "max_len"]] * 3
        of_rows = [shapes[name] for name in ("lengths", "sequences", "before", "items")]
        assert of_rows == [["n_sequences"], ["n"], ["n"], ["n"]]


@pytest.mark.parametrize("many", [False, True], ids=["one rating", "all ratings"])
def test_inputs_of_padded_sequences(ratings, many):
    X, y = ratings
    columns = X[["user", "item", "timestamp"]]
    windows = SequenceWindower(max_len=5, ratings=True).fit(columns, y).transform(columns)
    windows = np.asarray(windows, dtype=float)
    if many:
        y = windows[:, 5:].copy()
        y[:, -1] = ratings[1]
        y[windows[:, :5] == 0] = np.nan
    lstm = SequenceRatingRegressor(
        n_factors=4, hidden_size=3, input="sequences", max_epochs=1, random_state=0
    )
    lstm.fit(windows, y)
    inputs = onnx_inputs(lstm, windows[:9])
    expected = lstm.predict(windows[:9])
    n_ratings = np.count_nonzero(~np.isnan(expected))
    assert {len(inputs[name]) for name in ("sequences", "before", "items")} == {n_ratings}
    # The graph computes what the module does, so this only checks the inputs.
    module = {name: torch.from_numpy(values) for name, values in inputs.items()}
    found = lstm.module_(**module).detach().numpy().clip(*lstm.rating_scale_)
    np.testing.assert_allclose(found, expected[~np.isnan(expected)], atol=1e-5)
    with pytest.raises(ValueError, match="got a history with input='sequences'"):
        onnx_inputs(lstm, windows, history=(windows, y))


def test_the_old_file_stays_if_the_export_fails(ratings, tmp_path, monkeypatch):
    mf = MFRegressor(n_factors=4, random_state=0).fit(*ratings)
    path = tmp_path / "model.onnx"
    path.write_bytes(b"before")
    monkeypatch.setattr(sklrec.export, "MAX_BYTES", 1000)
    with pytest.raises(ValueError, match=r"holds at most 1,000 bytes, .* Fit with fewer n_fact"):
        to_onnx(mf, path)
    assert path.read_bytes() == b"before"


def test_the_path_is_checked_before_the_export(ratings, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.export, "export", None)
    mf = MFRegressor(n_factors=2, max_epochs=1).fit(*ratings)
    with pytest.raises(FileNotFoundError, match=r"no_folder/model\.onnx"):
        to_onnx(mf, tmp_path / "no_folder" / "model.onnx")
    with pytest.raises(IsADirectoryError):
        to_onnx(mf, tmp_path)


@pytest.mark.parametrize("name", ["onnx", "onnxscript"])
def test_an_error_names_the_missing_package(ratings, tmp_path, monkeypatch, name):
    mf = MFRegressor(n_factors=4, random_state=0).fit(*ratings)
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=rf"to_onnx requires {name}\. .*sklrec\[onnx\]"):
        to_onnx(mf, tmp_path / "model.onnx")


def test_an_error_names_the_version_of_torch(ratings, tmp_path, monkeypatch):
    mf = MFRegressor(n_factors=4, max_epochs=1).fit(*ratings)
    monkeypatch.delattr(torch.onnx, "ops")  # as in torch 2.7
    with pytest.raises(ImportError, match=r"requires torch 2\.8 .*, but torch 2.* is installed\."):
        to_onnx(mf, tmp_path / "model.onnx")


def test_unfitted_and_other_estimators_are_refused(ratings, tmp_path):
    with pytest.raises(NotFittedError):
        to_onnx(MFRegressor(), tmp_path / "model.onnx")
    with pytest.raises(NotFittedError):
        onnx_inputs(MFRegressor(), ratings[0])
    for other in (
        *(Ridge(), BayesianMFRegressor(), BiasRegressor()),
        make_pipeline(IDEncoder(), MFRegressor()),
    ):
        with pytest.raises(TypeError, match=f"to_onnx exports .*, got {type(other).__name__}"):
            to_onnx(other, tmp_path / "model.onnx")
    with pytest.raises(TypeError, match=r"to_onnx exports .*, got the class MFRegressor"):
        to_onnx(MFRegressor, tmp_path / "model.onnx")
    with pytest.raises(ValueError, match="MFRegressor reads no history, got one"):
        mf = MFRegressor(n_factors=2, random_state=0).fit(*ratings)
        onnx_inputs(mf, ratings[0], history=ratings)
    assert not list(tmp_path.iterdir())
