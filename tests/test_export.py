"""ONNX graphs give the ratings of predict, for any number of rows."""
# SPDX-License-Identifier: BSD-3-Clause

import sys

import numpy as np
import pytest
import torch
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline

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

SIZES = 1, 7, 1000


@pytest.fixture(scope="module")
def ratings():
    X, y = make_ratings(n_users=60, n_items=40, n_ratings=1500, random_state=0)
    X["genres"] = [["drama", "war"] if item % 3 else ["comedy"] for item in X["item"]]
    X["weekend"] = X["timestamp"] // 86400 % 7 > 4
    return X, y


@pytest.fixture(scope="module")
def queries(ratings):
    """Rows with known and unknown IDs, and with unknown and missing side features."""
    X = ratings[0].head(1000).copy()
    X.loc[X.index[0::5], "user"] = -1
    X.loc[X.index[0::7], "item"] = -1
    X["timestamp"] = X["timestamp"].astype(float)
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


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"optimizer": torch.optim.Adam, "biased": False, "rating_scale": None},
        {"svdpp": True},
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


@pytest.mark.parametrize(
    "estimator",
    [
        MFRegressor(n_factors=4, random_state=0),
        SequenceRatingRegressor(n_factors=4, hidden_size=3, max_epochs=1, random_state=0),
    ],
    ids=["MFRegressor", "SequenceRatingRegressor"],
)
def test_graphs_keep_the_precision_of_ratings_far_from_0(ratings, tmp_path, estimator):
    X, y = ratings[0][["user", "item", "timestamp"]], ratings[1] + 1e9
    assert_parity(session_of(estimator.fit(X, y), tmp_path), estimator, X)


def test_dense_net_with_side_features(ratings, queries, tmp_path):
    X, y = ratings
    X = X.astype({"timestamp": float})
    X.loc[X.index[::4], "timestamp"] = np.nan
    dense = DenseRecRegressor(n_factors=4, max_epochs=2, random_state=0).fit(X, y)
    assert_parity(session_of(dense, tmp_path), dense, queries.assign(timestamp=X["timestamp"]))


def test_lstm_over_histories(ratings, queries, tmp_path):
    X, y = ratings
    lstm = SequenceRatingRegressor(n_factors=4, hidden_size=3, max_epochs=1, random_state=0)
    lstm.fit(X[:1200], y[:1200])
    session = session_of(lstm, tmp_path)
    assert {axes.name: axes.shape for axes in session.get_inputs()} == {
        "past_items": ["n_sequences", "max_len"],
        "past_ratings": ["n_sequences", "max_len"],
        "past_gaps": ["n_sequences", "max_len"],
        "lengths": ["n_sequences"],
        "sequences": ["n"],
        "before": ["n"],
        "items": ["n"],
    }
    assert_parity(session, lstm, queries)
    assert_parity(session, lstm, queries, sizes=[7], history=(X, y))


@pytest.mark.parametrize("params", [{"bidirectional": True}, {"alpha": 10.0}], ids=str)
def test_lstm_over_both_sides_or_without_static_part(ratings, queries, tmp_path, params):
    X, y = ratings
    lstm = SequenceRatingRegressor(2, 3, max_epochs=1, random_state=0, **params)
    lstm.fit(X[:1200], y[:1200])
    assert_parity(session_of(lstm, tmp_path), lstm, queries, sizes=[7, 50])


def test_bidirectional_lstm_over_items_only(ratings, queries, tmp_path):
    X, y = (part[["user", "item"]] if part.ndim == 2 else part for part in ratings)
    lstm = SequenceRatingRegressor(
        n_factors=4,
        hidden_size=3,
        items_only=True,
        bidirectional=True,
        max_epochs=1,
        random_state=0,
    )
    lstm.fit(X[:300], y[:300])
    assert_parity(session_of(lstm, tmp_path), lstm, queries[["user", "item"]], sizes=[1, 7, 50])


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


@pytest.mark.parametrize("name", ["onnx", "onnxscript"])
def test_an_error_names_the_missing_package(ratings, tmp_path, monkeypatch, name):
    mf = MFRegressor(n_factors=4, random_state=0).fit(*ratings)
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=rf"to_onnx requires {name}\. .*sklrec\[onnx\]"):
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
