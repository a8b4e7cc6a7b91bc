"""Cases: fits of all estimators."""
# SPDX-License-Identifier: BSD-3-Clause

from functools import partial
from importlib import import_module
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from skorch.callbacks import Callback, LRScheduler

from benchmarks.behaviour._case import case, fitted, lists, state, whole
from benchmarks.behaviour._library import IDS, Library
from benchmarks.behaviour._tables import (
    featured,
    large,
    plain,
    string_ids,
    weights_of,
    with_unknown,
)


class Recorder(Callback):
    """Learning rate of each batch; ends the training after some epochs by Ctrl-C."""

    def __init__(self, n_epochs: int | None = None):
        self.n_epochs, self.rates, self.epochs = n_epochs, [], 0

    def on_batch_end(self, net, **kwargs):
        self.rates.append(net.optimizer_.param_groups[0]["lr"])

    def on_epoch_end(self, net, **kwargs):
        self.epochs += 1
        if self.epochs == self.n_epochs:
            raise KeyboardInterrupt


def _one(_: int) -> float:
    return 1.0


def constant_rate() -> LRScheduler:
    return LRScheduler(policy="LambdaLR", lr_lambda=_one)


ADAM, SGD = torch.optim.Adam, torch.optim.SGD
MF: dict[str, Any] = {"max_epochs": 4, "n_factors": 12}
SVDPP = MF | {"svdpp": True, "batch_size": 512}
LARGE = {"table": large}
WEIGHTED, VALIDATED = {"weights": True}, {"validation": True}
CHAIN = {"n_iter": 24, "n_burn_in": 4, "n_draws": 8, "n_factors": 4}
DENSE: dict[str, Any] = {"max_epochs": 2, "n_factors": 8}
LSTM: dict[str, Any] = {"max_epochs": 2, "n_factors": 8, "hidden_size": 6}
POST = LSTM | {"items_only": True, "dropout": 0.0, "alpha": 0.0}
FEATURED, ALL = {"table": featured}, {"side_features": "all"}
# Parameters, and what `fitted` takes.
VARIANTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "mf: default": ({}, {}),
    "mf: few epochs": ({"max_epochs": 3}, {}),
    "mf: unbiased": (MF | {"biased": False}, {}),
    "mf: alpha, init_std, lr": (MF | {"alpha": 0.2, "init_std": 0.05, "lr": 0.1}, {}),
    "mf: alpha=0, wide scale": (MF | {"alpha": 0, "rating_scale": (0, 6)}, {}),
    "mf: no rating_scale": (MF | {"rating_scale": None}, {}),
    "mf: columns by name": (MF | {"user": "item", "item": "user"}, {}),
    "mf: tiny batches": (MF | {"batch_size": 50}, {}),
    "mf: small batches": (MF | {"batch_size": 512}, {}),
    "mf: many users": (MF | {"batch_size": 256}, LARGE),
    "mf: many users, weights": (MF | {"batch_size": 256}, LARGE | WEIGHTED),
    "mf: strings, weights": (MF, {"table": string_ids} | WEIGHTED),
    "mf: X_val": (MF | {"max_epochs": 30}, VALIDATED),
    "mf: X_val, weights": (MF | {"batch_size": 1000}, VALIDATED | WEIGHTED),
    "mf: X_val, no stopping": (MF | {"early_stopping": False}, VALIDATED),
    "mf: early_stopping": (MF | {"early_stopping": True, "max_epochs": 30}, {}),
    "mf: early_stopping=0.2": (MF | {"early_stopping": 0.2, "max_epochs": 30}, WEIGHTED),
    "mf: constant rate": (MF | {"callbacks": [constant_rate()]}, {}),
    "mf: Adam": (MF | {"optimizer": ADAM, "batch_size": 512}, {}),
    "mf: Adam, many users": (MF | {"optimizer": ADAM, "batch_size": 256}, LARGE | WEIGHTED),
    "mf: Adam, constant rate": (MF | {"optimizer": ADAM, "callbacks": [constant_rate()]}, {}),
    "mf: SGD": (MF | {"optimizer": SGD, "lr": 0.05, "batch_size": 512}, {}),
    "mf: svdpp, default": ({"svdpp": True}, {}),
    "mf: svdpp": (SVDPP, {}),
    "mf: svdpp, unbiased": (SVDPP | {"biased": False, "alpha": 0.05}, {}),
    "mf: svdpp, many users": (SVDPP | {"batch_size": 256}, LARGE),
    "mf: svdpp, X_val, weights": (SVDPP, VALIDATED | WEIGHTED),
    "mf: svdpp, early_stopping": (SVDPP | {"early_stopping": True}, {}),
    "mf: svdpp, Adam": (SVDPP | {"optimizer": ADAM}, {}),
    "mf: svdpp, SGD": (SVDPP | {"optimizer": SGD, "lr": 0.05}, WEIGHTED),
    "bayesian: default": ({"n_iter": 30}, {}),
    "bayesian: svdpp, no scale": (CHAIN | {"svdpp": True, "rating_scale": None}, {}),
    "bayesian: many users": (CHAIN, LARGE),
    "bayesian: strings, X_val": (CHAIN, {"table": string_ids} | VALIDATED | WEIGHTED),
    "bayesian: side": (CHAIN | ALL, FEATURED),
    "bayesian: side, svdpp": (CHAIN | ALL | {"svdpp": True}, FEATURED | WEIGHTED),
    "bayesian: some side": (CHAIN | {"side_features": ["tags", "hour"]}, FEATURED),
    "bayesian: side left out": (CHAIN | {"side_features": None}, FEATURED),
    "bayesian: categorical": (CHAIN | ALL | {"categorical_features": ["hour"]}, FEATURED),
    "dense: default": ({}, {}),
    "dense: side": (DENSE, FEATURED),
    "dense: side, plain net": (DENSE | {"products": False, "biased": False}, FEATURED),
    "dense: categorical": (DENSE | {"categorical_features": ["hour"]}, FEATURED),
    "dense: dropout": (DENSE | {"dropout": 0.3, "hidden_layer_sizes": (16, 8)}, FEATURED),
    "dense: alpha, init_std, lr": (DENSE | {"alpha": 0.5, "init_std": 0.1, "lr": 0.01}, {}),
    "dense: optimizer": (DENSE | {"optimizer": SGD, "lr": 0.05}, FEATURED | WEIGHTED),
    "dense: X_val": (DENSE | {"max_epochs": 12}, FEATURED | VALIDATED | WEIGHTED),
    "dense: early_stopping=0.2": (DENSE | {"early_stopping": 0.2}, {}),
    "dense: constant rate": (DENSE | {"callbacks": [constant_rate()]}, {}),
    "dense: sparse": (DENSE | {"batch_size": 128}, LARGE),
    "dense: sparse, plain net": (DENSE | {"batch_size": 128, "products": False}, LARGE | WEIGHTED),
    "sequence: default": ({}, {}),
    "sequence: no timestamps": (LSTM | {"timestamp": None}, {}),
    "sequence: bidirectional": (LSTM | {"bidirectional": True}, {}),
    "sequence: items_only": (POST, {}),
    "sequence: items_only, bidirectional": (POST | {"bidirectional": True}, {}),
    "sequence: alpha, init_std, lr": (LSTM | {"alpha": 1.0, "init_std": 0.1, "lr": 0.01}, {}),
    "sequence: optimizer": (LSTM | {"optimizer": SGD, "lr": 0.05}, WEIGHTED),
    "sequence: X_val": (LSTM | {"max_epochs": 12}, VALIDATED | WEIGHTED),
    "sequence: early_stopping": (LSTM | {"early_stopping": True}, {"table": string_ids}),
    "sequence: constant rate": (LSTM | {"callbacks": [constant_rate()]}, {}),
    "sequence: sparse": (LSTM | {"batch_size": 256}, LARGE),
    "sequence: sparse, both ways": (LSTM | {"batch_size": 256, "bidirectional": True}, LARGE),
    "sequence: sparse, items_only": (POST | {"batch_size": 256}, LARGE | WEIGHTED),
}
ESTIMATORS: dict[str, tuple[str, dict[str, Any]]] = {
    "mf": ("MFRegressor", MF),
    "bayesian": ("BayesianMFRegressor", CHAIN),
    "dense": ("DenseRecRegressor", DENSE),
    "sequence": ("SequenceRatingRegressor", LSTM),
}
for title, (params, options) in VARIANTS.items():
    owner = ESTIMATORS[title.split(":")[0]][0]
    case(title)(partial(whole, owner, params, options))


def _warm_start(name: str, params: dict[str, Any], lib: Library) -> Any:
    X, y = plain()
    model = getattr(lib, name)(**params, warm_start=True, random_state=lib.seed)
    model.fit(X[:3000], y[:3000]).fit(X[3000:], y[3000:])
    return {"state": state(model.fit(X, y), with_unknown(X[:300])), "lists": lists(model)}


def _partial_fit(name: str, params: dict[str, Any], table: Any, lib: Library) -> Any:
    X, y = table()
    model = getattr(lib, name)(**params, random_state=lib.seed)
    for last in (60, 90, 250):  # each part has users that are new, and other values
        rows = X["user"].between(last - 60, last)
        model.partial_fit(X[rows], y[rows], weights_of(y[rows]))
    model.fit(X[:2000], y[:2000])  # starts anew
    model.partial_fit(X[2000:3000], y[2000:3000])
    return {"state": state(model, with_unknown(X[-300:])), "lists": lists(model)}


for short, params in {
    "mf": MF,
    "mf, Adam": MF | {"optimizer": ADAM},
    "mf, svdpp": SVDPP,
    "dense": DENSE,
    "sequence": LSTM,
}.items():
    owner = ESTIMATORS[short.split(",")[0]][0]
    case(f"{short}: warm_start")(partial(_warm_start, owner, params))
    if "svdpp" not in params:
        parts = featured if short == "dense" else plain
        case(f"{short}: partial_fit")(partial(_partial_fit, owner, params, parts))


@case("mf: arrays, floats and integers")
def mf_arrays(lib: Library) -> Any:
    X, y = plain()
    model = lib.MFRegressor(**MF, random_state=lib.seed)
    found = [state(model.fit(X.to_numpy(), y.to_numpy(np.float32)), X.to_numpy()[:300])]
    return [*found, state(model.fit(X[IDS].to_numpy(float), y.astype(int)), X[IDS].to_numpy())]


@case("mf: callbacks and Ctrl-C")
def mf_callbacks(lib: Library) -> Any:
    X, y = plain()
    found = {}
    for title, n_epochs, params in (
        ("all", None, {}),
        ("Adam", None, {"optimizer": ADAM}),
        ("ended", 2, {}),
        ("svdpp", 2, {"svdpp": True}),
    ):
        recorder = Recorder(n_epochs)
        model = lib.MFRegressor(**MF | params, callbacks=[recorder], random_state=lib.seed)
        try:
            model.fit(X, y)
        except KeyboardInterrupt:
            found[f"{title}, ended"] = True
        found[title] = {"rates": recorder.rates, "state": state(model, X[:300])}
    return found


@case("random states of the process")
def random_states(lib: Library) -> Any:
    X, y = plain()
    np.random.seed(lib.seed)  # noqa: NPY002
    torch.manual_seed(lib.seed)
    models = [getattr(lib, name)(**params) for name, params in ESTIMATORS.values()]
    found = [model.fit(X[IDS], y).predict(X[IDS][:300]) for model in models]
    return [*found, np.random.rand(3), torch.rand(3)]  # noqa: NPY002


@case("bayesian: ordinal and return_std")
def bayesian_ordinal(lib: Library) -> Any:
    found = {}
    for title, params, options in (
        ("squared", {}, {}),
        ("squared, side", ALL | {"svdpp": True}, FEATURED),
        ("ordinal", {"loss": "ordinal"}, VALIDATED),
        ("ordinal, svdpp", {"loss": "ordinal", "svdpp": True}, WEIGHTED),
        ("ordinal, side", ALL | {"loss": "ordinal"}, FEATURED),
    ):
        model, X = fitted(lib, "BayesianMFRegressor", CHAIN | params, **options)
        found[title] = [state(model, X), model.predict(X, return_std=True), lists(model)]
        if "loss" in params:
            found[title].append(model.predict_rating_proba(X))
    return found


@case("mf: chunks")
def mf_chunks(lib: Library) -> Any:
    datasets = import_module("sklrec.datasets")
    (X, y), found = large(), {}
    ids, weights = X[IDS], weights_of(y)
    halves = [(ids[:4000], y[:4000], weights[:4000]), (ids[4000:], y[4000:], weights[4000:])]
    with TemporaryDirectory() as folder:
        np.save(f"{folder}/X.npy", ids.to_numpy())
        mapped = np.load(f"{folder}/X.npy", mmap_mode="r")
        ids.assign(rating=y, weight=weights).to_parquet(f"{folder}/ratings.parquet")
        parquet = partial(datasets.ParquetRatings, f"{folder}/ratings.parquet", rating="rating")
        sources = {
            "arrays": lambda: datasets.ArrayRatings(ids.to_numpy(), y.to_numpy(), chunk_size=3000),
            "mapped": lambda: datasets.ArrayRatings(mapped, y.to_numpy(), weights),
            "iterator": lambda: datasets.ChunkedRatings(iter(halves)),
            "parquet": lambda: parquet(sample_weight="weight", chunk_size=2500),
        }
        for title, source in sources.items():
            found[f"{title}, read"] = list(source())
            for more in ({}, {"batch_size": 256}, {"early_stopping": 0.2}, {"optimizer": ADAM}):
                model = lib.MFRegressor(**MF | more, warm_start=True, random_state=lib.seed)
                found[f"{title}, {more}"] = state(model.fit(source()), with_unknown(ids[:300]))
            validation = datasets.ArrayRatings(ids[:500], y[:500])
            found[f"{title}, again"] = state(model.fit(source(), X_val=validation), ids[:300])
    return found


@case("sequence: history and score")
def sequence_history(lib: Library) -> Any:
    X, y = plain()
    early, found = X["timestamp"] < X["timestamp"].quantile(0.7), {}
    for title, params in (
        ("timed", {}),
        ("untimed", {"timestamp": None}),
        ("bidirectional", {"bidirectional": True}),
        ("items_only", {"items_only": True}),
    ):
        model = lib.SequenceRatingRegressor(**LSTM | params, random_state=lib.seed)
        model.fit(X[early], y[early])
        later, late_y = X[~early], y[~early]
        strangers = later.assign(user=later["user"] + 10_000)
        found[title] = [
            state(model, with_unknown(later)),
            model.predict(later, history=(X, y)),
            model.predict(strangers, history=(strangers, late_y)),
            model.score(later, late_y, weights_of(late_y)),
            model.score(later, late_y, history=(X, y)),
        ]
    return found


@case("sequence: padded sequences")
def padded_sequences(lib: Library) -> Any:
    X, y = large()
    X = lib.IDEncoder().fit(X).transform(X)
    found = []
    for ratings in (True, False):
        windows = lib.SequenceWindower(max_len=8, ratings=ratings).fit(X, y).transform(X)
        params = (LSTM if ratings else POST) | {"input": "sequences"}
        for more in ({}, {"batch_size": 256}, {"bidirectional": True}):  # the second is sparse
            model = lib.SequenceRatingRegressor(**params | more, random_state=lib.seed)
            model.fit(windows[:3000], y[:3000], weights_of(y[:3000]))
            found.append(state(model, windows[3000:]))
            model.partial_fit(windows[3000:5000], y[3000:5000])
            found += [state(model, windows[:500]), model.score(windows[:500], y[:500])]
        each = np.where(windows[:, :8] > 0, 1.0 + windows[:, :8] % 5, np.nan)
        model.fit(windows[:3000], each[:3000])
        found += [state(model, windows[-500:]), model.score(windows[-500:], each[-500:])]
    return found
