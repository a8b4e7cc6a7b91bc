"""Small fitted estimators of every kind that a model file can hold, and data for them."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.pipeline import make_pipeline

from sklrec import (
    BayesianMFRegressor,
    BiasRegressor,
    DenseRecRegressor,
    EASERecommender,
    IDEncoder,
    ImplicitMFRecommender,
    MFRegressor,
    PopularityRecommender,
    SequencePadder,
    SequenceRatingRegressor,
    SequenceWindower,
)
from sklrec.datasets import make_ratings

SHORT = {"max_epochs": 2}


# Each function returns a fitted estimator and the X of its fit.


def log() -> tuple[pd.DataFrame, pd.Series]:
    return make_ratings(n_users=12, n_items=9, n_ratings=70, random_state=0)


def log_with_sides() -> tuple[pd.DataFrame, pd.Series]:
    X, y = log()
    X["user"] = "u" + X["user"].astype(str)
    X["age"] = X["user"].str.len() * 1.5
    X["genre"] = [[["a", "b"], ["c"], None][item % 3] for item in X["item"]]
    X["country"] = pd.Categorical(X["user"].str[-1])
    X["weekend"] = X["timestamp"] // 86400 % 7 > 4
    X["moment"] = pd.to_datetime(X.pop("timestamp"), unit="s")
    return X, y


def _mf(**params: Any) -> tuple[Any, Any]:
    X, y = log()
    return MFRegressor(n_factors=3, random_state=0, **params).fit(X, y), X


def _continued(how: str) -> tuple[Any, Any]:
    mf, X = _mf(warm_start=True, **SHORT)
    more = X[:5].assign(user=97)
    return getattr(mf, how)(more, [1.0, 2.0, 3.0, 4.0, 9.0]), pd.concat([X, more])


def _stopped_early() -> tuple[Any, Any]:
    X, y = log()
    mf = MFRegressor(
        n_factors=3,
        optimizer=torch.optim.AdamW,
        max_epochs=3,
        random_state=0,
        device=torch.device("cpu"),
    )
    return mf.fit(X, y, X_val=X[:9], y_val=y[:9]), X


def _array_of_strings() -> tuple[Any, Any]:
    X, y = log()
    X = X.to_numpy()[:, :2].astype(str)
    return MFRegressor(n_factors=2, random_state=np.random.RandomState(1), **SHORT).fit(X, y), X


def _dense(has_sides: bool = True) -> tuple[Any, Any]:
    X, y = log_with_sides()
    X = X if has_sides else X[["user", "item"]]
    return DenseRecRegressor(3, (4, 2), user="user", random_state=0, **SHORT).fit(X, y), X


def _dense_continued() -> tuple[Any, Any]:
    dense, X = _dense()
    more = X[:4].assign(user="new", genre=[["d", "a"]] * 4, country="Z")
    return dense.partial_fit(more, [1.0, 2.0, 3.0, 4.0]), pd.concat([X, more])


def _sequence(columns: list[str], **params: Any) -> tuple[Any, Any]:
    X, y = log()
    X = X[columns]
    return SequenceRatingRegressor(3, 3, random_state=0, **SHORT, **params).fit(X, y), X


def _padded(each: bool = False, **params: Any) -> tuple[Any, Any]:
    rng = np.random.RandomState(0)
    items = rng.randint(1, 9, (20, 4)).astype(float)
    y = rng.rand(20, 4) * 4 + 1
    X = items
    if not params.get("items_only"):
        seen = y.copy()
        seen[:, -1] = np.nan
        X = np.hstack([items, y if each else seen])
    lstm = SequenceRatingRegressor(3, 3, input="sequences", random_state=0, **SHORT, **params)
    return lstm.fit(X, y if each else y[:, -1]), X


def _bayesian(**params: Any) -> tuple[Any, Any]:
    X, y = log_with_sides() if params.get("side_features") else log()
    params = {"n_iter": 5, "random_state": 0, **params}
    return BayesianMFRegressor(2, **params).fit(X, y.round()), X


def _biases() -> tuple[Any, Any]:
    X, y = log()
    more = X[:5].assign(user=97)
    model = BiasRegressor(item_penalty=2.5).fit(X, y)
    return model.partial_fit(more, [1.0, 2.0, 3.0, 4.0, 9.0]), pd.concat([X, more])


def _recommender(model: Any) -> tuple[Any, Any]:
    X, y = log()
    return model.set_params(threshold=1, confidence="log").fit(X, y), X


def _encoder() -> tuple[Any, Any]:
    X, _ = log_with_sides()
    encoder = IDEncoder(columns=["user", "country"], min_frequency=3)
    return encoder.set_output(transform="pandas").fit(X), X


def _padder() -> tuple[Any, Any]:
    X = [[1, 2, 3], [4], []]
    return SequencePadder(mask=True).fit(X), X


def _matrix_padder() -> tuple[Any, Any]:
    X = pd.DataFrame({"a": [1, 2], "b": [3, 0]})
    return SequencePadder(max_len=3).fit(X), X


def _windower() -> tuple[Any, Any]:
    X, y = log()
    return SequenceWindower(max_len=4, ratings=True).fit(X, y), X


def _pipeline() -> tuple[Any, Any]:
    X, y = log_with_sides()
    X = X[["user", "item"]]
    return make_pipeline(IDEncoder(), "passthrough", MFRegressor(2, **SHORT)).fit(X, y), X


def _pipeline_of_transformers() -> tuple[Any, Any]:
    X, _ = log()
    return make_pipeline(IDEncoder(), SequenceWindower(timestamp=None), SequencePadder()).fit(X), X


BUILDERS: dict[str, Callable[[], tuple[Any, Any]]] = {
    "mf": partial(_mf, **SHORT),
    "mf svdpp": partial(_mf, svdpp=True, biased=False, **SHORT),
    "mf warm start": partial(_continued, "fit"),
    "mf partial fit": partial(_continued, "partial_fit"),
    "mf stopped early": _stopped_early,
    "mf array of strings": _array_of_strings,
    "bayesian": partial(_bayesian, rating_scale=None),
    "bayesian svdpp": partial(_bayesian, svdpp=True),
    "bayesian sides": partial(_bayesian, svdpp=True, side_features="all"),
    "bayesian some sides": partial(_bayesian, side_features=["age", "genre"]),
    "bayesian ordinal": partial(_bayesian, loss="ordinal", side_features="all"),
    "biases": _biases,
    "dense": _dense,
    "dense without sides": partial(_dense, has_sides=False),
    "dense partial fit": _dense_continued,
    "sequence": partial(_sequence, ["user", "item", "timestamp"], bidirectional=True),
    "sequence of one LSTM": partial(_sequence, ["user", "item", "timestamp"], alpha=3.0),
    "sequence without times": partial(_sequence, ["user", "item"], items_only=True),
    "padded": _padded,
    "padded items": partial(_padded, items_only=True, bidirectional=True),
    "padded ratings": partial(_padded, each=True),
    "ease": lambda: _recommender(EASERecommender()),
    "implicit mf": lambda: _recommender(ImplicitMFRecommender(2, random_state=0)),
    "popularity": lambda: _recommender(PopularityRecommender(half_life=1e6)),
    "encoder": _encoder,
    "padder": _padder,
    "padder of a matrix": _matrix_padder,
    "windower": _windower,
    "pipeline": _pipeline,
    "pipeline of transformers": _pipeline_of_transformers,
}
