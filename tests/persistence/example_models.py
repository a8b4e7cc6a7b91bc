"""Small fitted estimators of every kind that a model file holds, with rows for them."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Callable
from datetime import date
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.pipeline import make_pipeline

from sklrec import (
    BayesianMFRegressor,
    DenseRecRegressor,
    IDEncoder,
    MFRegressor,
    SequencePadder,
    SequenceRatingRegressor,
    SequenceWindower,
)
from sklrec.datasets import make_ratings

GIBBS = {"solver": "gibbs", "n_iter": 5, "n_burn_in": 2, "n_draws": 3}
SGD = {"max_epochs": 2}
GENRES = {"multi_valued": {"genre": "|"}}


def log() -> tuple[pd.DataFrame, pd.Series]:
    return make_ratings(n_users=12, n_items=9, n_ratings=70, random_state=0)


def log_with_sides() -> tuple[pd.DataFrame, pd.Series]:
    X, y = log()
    X["user"] = "u" + X["user"].astype(str)
    X["age"] = X["user"].str.len() * 1.5
    X["genre"] = [["a|b", "c", None][item % 3] for item in X["item"]]
    X["country"] = pd.Categorical(X["user"].str[-1])
    X["weekend"] = X["timestamp"] // 86400 % 7 > 4
    X["moment"] = pd.to_datetime(X.pop("timestamp"), unit="s")
    return X, y


def _mf(**params: Any) -> tuple[Any, Any]:
    X, y = log()
    return MFRegressor(n_factors=3, random_state=0, **params).fit(X, y), X


def _further(how: str) -> tuple[Any, Any]:
    mf, X = _mf(warm_start=True, **SGD)
    more = X[:5].assign(user=97)
    return getattr(mf, how)(more, [1.0, 2.0, 3.0, 4.0, 9.0]), pd.concat([X, more])


def _stopped() -> tuple[Any, Any]:
    X, y = log()
    mf = MFRegressor(n_factors=3, optimizer=torch.optim.AdamW, max_epochs=3, random_state=0)
    return mf.fit(X, y, X_val=X[:9], y_val=y[:9]), X


def _array_of_strings() -> tuple[Any, Any]:
    X, y = log()
    X = X.to_numpy()[:, :2].astype(str)
    return MFRegressor(n_factors=2, random_state=np.random.RandomState(1), **SGD).fit(X, y), X


def _dense(**params: Any) -> tuple[Any, Any]:
    X, y = log_with_sides()
    if not params:
        X = X[["user", "item"]]
    dense = DenseRecRegressor(3, (4, 2), user="user", random_state=0, **SGD, **params)
    return dense.fit(X, y), X


def _dense_further() -> tuple[Any, Any]:
    dense, X = _dense(**GENRES)
    more = X[:4].assign(user="new", genre="d|a", country="Z")
    return dense.partial_fit(more, [1.0, 2.0, 3.0, 4.0]), pd.concat([X, more])


def _sequence(columns: list[str], **params: Any) -> tuple[Any, Any]:
    X, y = log()
    X = X[columns]
    lstm = SequenceRatingRegressor(3, 3, random_state=0, **SGD, **params)
    return lstm.fit(X, y), X


def _padded(each: bool = False, **params: Any) -> tuple[Any, Any]:
    rng = np.random.RandomState(0)
    items = rng.randint(1, 9, (20, 4)).astype(float)
    y = rng.rand(20, 4) * 4 + 1
    X = items
    if not params.get("items_only"):
        seen = y.copy()
        seen[:, -1] = np.nan
        X = np.hstack([items, y if each else seen])
    lstm = SequenceRatingRegressor(3, 3, input="sequences", random_state=0, **SGD, **params)
    return lstm.fit(X, y if each else y[:, -1]), X


def _fm(**params: Any) -> tuple[Any, Any]:
    X, y = log_with_sides() if "multi_valued" in params else log()
    fm = BayesianMFRegressor(2, n_iter=4, n_burn_in=1, n_draws=2, random_state=0, **params)
    return fm.fit(X, y.round()), X


def _encoder() -> tuple[Any, Any]:
    X, _ = log_with_sides()
    encoder = IDEncoder(columns=["user", "country"], min_frequency=3)
    return encoder.set_output(transform="pandas").fit(X), X


def _encoder_of_odd_ids() -> tuple[Any, Any]:
    days = pd.date_range("2024-03-30", periods=4, tz="Europe/Paris")
    X = pd.DataFrame(
        {
            "user": pd.Series([("a", 1), b"b", 5, 1.5], dtype=object),
            "item": days,
            "category": pd.Categorical(days.tz_convert("UTC"), ordered=True),
            "nullable": pd.array([1, 2, 5, 7], dtype="Int16"),
            "string": pd.array(["a", "", "\ud800", "b"], dtype="string[python]"),
            "scalar": pd.Series([np.int8(5), days[0], date(2024, 1, 1), True], dtype=object),
            "gap": days - days[0],
        }
    )
    return IDEncoder(columns=list(range(7))).fit(X), X


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
    return make_pipeline(IDEncoder(), "passthrough", MFRegressor(2, **SGD)).fit(X, y), X


def _windowing_pipeline() -> tuple[Any, Any]:
    X, _ = log()
    return make_pipeline(IDEncoder(), SequenceWindower(), SequencePadder()).fit(X), X


BUILDERS: dict[str, Callable[[], tuple[Any, Any]]] = {
    "sgd": partial(_mf, **SGD),
    "sgd implicit unbiased": partial(_mf, implicit_features=True, biased=False, **SGD),
    "gibbs": partial(_mf, rating_scale=None, **GIBBS),
    "gibbs implicit": partial(_mf, implicit_features=True, **GIBBS),
    "sgd warm": partial(_further, "fit"),
    "sgd further": partial(_further, "partial_fit"),
    "stopped early": _stopped,
    "array of strings": _array_of_strings,
    "dense": partial(_dense, **GENRES),
    "dense alone": _dense,
    "dense further": _dense_further,
    "sequence": partial(_sequence, ["user", "item", "timestamp"], bidirectional=True),
    "sequence without times": partial(_sequence, ["user", "item"], items_only=True),
    "sequences": _padded,
    "sequences of items": partial(_padded, items_only=True, bidirectional=True),
    "sequences of ratings": partial(_padded, each=True),
    "machine": partial(_fm, **GENRES),
    "machine alone": partial(_fm, implicit_features=False),
    "ordinal machine": partial(_fm, loss="ordinal", **GENRES),
    "encoder": _encoder,
    "encoder of odd ids": _encoder_of_odd_ids,
    "padder": _padder,
    "matrix padder": _matrix_padder,
    "windower": _windower,
    "pipeline": _pipeline,
    "windowing pipeline": _windowing_pipeline,
}
