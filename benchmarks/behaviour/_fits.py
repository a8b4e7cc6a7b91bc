"""Cases: fits of all estimators."""
# SPDX-License-Identifier: BSD-3-Clause

from functools import partial
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from skorch.callbacks import Callback, LRScheduler

import benchmarks.behaviour._library as lib
import sklrec
from benchmarks.behaviour._library import IDS, case, make, plain, shown, state, with_unknown
from sklrec import datasets


class Recorder(Callback):
    """Learning rate of each batch; ends the training at some batch by Ctrl-C."""

    def __init__(self, last: int = 0):
        self.last, self.rates = last, []

    def on_batch_end(self, net, **kwargs):
        self.rates.append(net.optimizer_.param_groups[0]["lr"])
        if len(self.rates) == self.last:
            raise KeyboardInterrupt


def _one(_: int) -> float:
    return 1.0


ADAM = {"optimizer": torch.optim.Adam}
SGD = {"optimizer": torch.optim.SGD, "lr": 0.05}
CONSTANT = {"callbacks": [LRScheduler(policy="LambdaLR", lr_lambda=_one)]}
STOPPED = {"early_stopping": 0.2, "max_epochs": 30}
MF: dict[str, Any] = {"max_epochs": 4, "n_factors": 12}
SVDPP = MF | {"svdpp": True, "batch_size": 512}
BAYES: dict[str, Any] = {"n_iter": 4, "n_factors": 4}
DENSE: dict[str, Any] = {"max_epochs": 2, "n_factors": 8}
LSTM: dict[str, Any] = {"max_epochs": 2, "n_factors": 8, "hidden_size": 6}
POST = LSTM | {"items_only": True, "dropout": 0.0, "alpha": 0.0}
PARAMS = {"mf": MF, "bayesian": BAYES, "dense": DENSE, "sequence": LSTM}
SMALL, ALL, UNBIASED = {"batch_size": 256}, {"side_features": "all"}, {"biased": False}
HOUR, BOTH_WAYS = {"categorical_features": ["hour"]}, {"bidirectional": True}
LARGE, FEATURED, STRINGS = ({"table": t} for t in (lib.large, lib.featured, lib.string_ids))
RATES, ORDINAL = {"init_std": 0.05, "lr": 0.02}, {"loss": "ordinal"}
SWAPPED, LAYERS = {"user": "item", "item": "user"}, {"dropout": 0.3, "hidden_layer_sizes": (16, 8)}
WEIGHTED, VALIDATED = {"weights": True}, {"validation": True}
# Parameters, and what `fitted` takes.
VARIANTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "mf: default": ({}, {}),
    "mf: unbiased, alpha, init_std, lr": (MF | UNBIASED | RATES | {"alpha": 0.2}, {}),
    "mf: alpha=0, wide scale": (MF | SWAPPED | {"alpha": 0, "rating_scale": (0, 6)}, {}),
    "mf: tiny batches, no scale": (MF | {"batch_size": 50, "rating_scale": None}, {}),
    "mf: strings, weights": (MF, STRINGS | WEIGHTED),
    "mf: X_val, weights": (MF | {"max_epochs": 30, "batch_size": 1000}, VALIDATED | WEIGHTED),
    "mf: early_stopping": (MF | STOPPED, WEIGHTED),
    "mf: constant rate": (MF | CONSTANT, {}),
    "mf: Adam": (MF | ADAM | {"batch_size": 512}, {}),
    "mf: Adam, many users, constant": (MF | ADAM | SMALL | CONSTANT, LARGE | WEIGHTED),
    "mf: SGD": (MF | SGD | {"batch_size": 512}, {}),
    "mf: svdpp, default": ({"svdpp": True}, {}),
    "mf: svdpp, unbiased": (SVDPP | UNBIASED | {"alpha": 0.05}, {}),
    "mf: svdpp, many users": (SVDPP | SMALL, LARGE),
    "mf: svdpp, X_val, weights": (SVDPP | {"early_stopping": False}, VALIDATED | WEIGHTED),
    "mf: svdpp, Adam, early_stopping": (SVDPP | ADAM | {"early_stopping": True}, {}),
    "mf: svdpp, SGD": (SVDPP | SGD, WEIGHTED),
    "bayesian: default": ({}, {}),
    "bayesian: svdpp, no scale": (BAYES | {"svdpp": True, "rating_scale": None}, {}),
    "bayesian: strings, X_val": (BAYES, STRINGS | VALIDATED | WEIGHTED),
    "bayesian: side, svdpp": (BAYES | ALL | {"svdpp": True}, FEATURED | WEIGHTED),
    "bayesian: some side": (BAYES | {"side_features": ["tags", "hour"]}, FEATURED),
    "bayesian: ordinal": (BAYES | ORDINAL, VALIDATED),
    "bayesian: ordinal, side": (BAYES | ORDINAL | ALL | HOUR, FEATURED),
    "dense: default": ({}, {}),
    "dense: side, plain net": (DENSE | UNBIASED | {"products": False}, FEATURED),
    "dense: categorical, layers": (DENSE | HOUR | LAYERS, FEATURED),
    "dense: optimizer, init_std": (DENSE | RATES | SGD, FEATURED | WEIGHTED),
    "dense: X_val": (DENSE | {"max_epochs": 12}, FEATURED | VALIDATED | WEIGHTED),
    "dense: early_stopping, constant": (DENSE | CONSTANT | STOPPED, {}),
    "dense: sparse, plain net": (DENSE | SMALL | {"products": False}, LARGE | WEIGHTED),
    "sequence: default": ({}, {}),
    "sequence: bidirectional": (LSTM | BOTH_WAYS, {}),
    "sequence: items_only": (POST, {}),
    "sequence: alpha, init_std, lr": (LSTM | RATES | {"alpha": 1.0}, {}),
    "sequence: optimizer": (LSTM | SGD, WEIGHTED),
    "sequence: X_val": (LSTM | {"max_epochs": 12}, VALIDATED | WEIGHTED),
    "sequence: early_stopping, constant": (LSTM | CONSTANT | STOPPED, STRINGS),
    "sequence: sparse, both ways": (LSTM | SMALL | BOTH_WAYS, LARGE),
    "sequence: sparse, items_only": (POST | SMALL, LARGE | WEIGHTED),
}


for title, (params, options) in VARIANTS.items():
    fit = partial(lib.fitted, title.split(":")[0], params, **options)
    case(title)(lambda fit=fit: shown(*fit()))


def continued(kind: str, params: dict[str, Any]) -> Any:
    X, y = lib.featured() if kind == "dense" else plain()
    model = make(kind, **params, warm_start=True).fit(X[:3000], y[:3000])
    found = shown(model.fit(X, y), with_unknown(X[:300]))
    if not hasattr(model, "partial_fit"):
        return found
    model = make(kind, **params)
    for last in (60, 90, 250):  # each part has users that are new, and other values
        rows = X["user"].between(last - 60, last)
        model.partial_fit(X[rows], y[rows], lib.weights_of(y[rows]))
    model.fit(X[:2000], y[:2000])  # starts anew
    return [found, shown(model.partial_fit(X[2000:3000], y[2000:3000]), with_unknown(X[-300:]))]


for title, params in {**PARAMS, "mf, Adam": MF | ADAM, "mf, svdpp": SVDPP}.items():
    case(f"{title}: continued")(partial(continued, title.split(",")[0], params))


@case("bayesian: fold_in")
def bayesian_fold_in() -> Any:
    (X, y), found = lib.featured(), []
    for params in (BAYES, BAYES | ALL, BAYES | ALL | {"svdpp": True}):
        model = make("bayesian", **params).fit(X[X["user"] < 240], y[X["user"] < 240])
        new = (X["user"] >= 240) & X["item"].isin(model.encoder_.categories_[1])
        found.append(shown(model.fold_in(X[new], y[new], lib.weights_of(y[new])), X[-600:]))
    return found


@case("mf: arrays, floats and integers")
def mf_arrays() -> Any:
    X, y = plain()
    found = state(make("mf", **MF).fit(X.to_numpy(), y.to_numpy(np.float32)), X.to_numpy())
    model = make("mf", **MF).fit(X[IDS].to_numpy(float), y.astype(int))
    return [found, state(model, X[IDS].to_numpy())]


@case("mf: callbacks and Ctrl-C")
def mf_callbacks() -> Any:
    (X, y), found = plain(), []
    for last, params in ((0, {}), (0, ADAM), (2, {}), (2, {"svdpp": True})):
        recorder = Recorder(last)
        model = make("mf", **MF | params, callbacks=[recorder])
        try:
            model.fit(X, y)
        except KeyboardInterrupt:
            found.append("ended")
        found.append([recorder.rates, state(model, X[:300])])
    return found


@case("random states of the process")
def random_states() -> Any:
    X, y = plain()
    np.random.seed(0)  # noqa: NPY002
    torch.manual_seed(0)
    models = [make(kind, **params, random_state=None) for kind, params in PARAMS.items()]
    found = [model.fit(X[IDS], y).predict(X[IDS][:300]) for model in models]
    return [*found, np.random.rand(3), torch.rand(3)]  # noqa: NPY002


@case("mf: chunks")
def mf_chunks() -> Any:
    (X, y), found = lib.large(), []
    ids, weights = X[IDS], lib.weights_of(y)
    halves = [(ids[k : k + 5000], y[k : k + 5000], weights[k : k + 5000]) for k in (0, 5000)]
    with TemporaryDirectory() as folder:
        np.save(f"{folder}/X.npy", ids.to_numpy())
        mapped = np.load(f"{folder}/X.npy", mmap_mode="r")
        file = f"{folder}/ratings.parquet"
        ids.assign(rating=y, weight=weights).to_parquet(file)
        parquet = {"rating": "rating", "sample_weight": "weight", "chunk_size": 2500}
        validation = datasets.ArrayRatings(ids[:500], y[:500])
        for source in (
            lambda: datasets.ArrayRatings(ids.to_numpy(), y.to_numpy(), chunk_size=3000),
            lambda: datasets.ArrayRatings(mapped, y.to_numpy(), weights),
            lambda: datasets.ChunkedRatings(iter(halves)),
            lambda: datasets.ParquetRatings(file, **parquet),
        ):
            found.append(list(source()))
            for more in ({}, SMALL, {"early_stopping": 0.2}, ADAM):
                model = make("mf", **MF | more, warm_start=True).fit(source())
                found.append(state(model, with_unknown(ids[:300])))
            found.append(state(model.fit(source(), X_val=validation), ids[:300]))
    return found


@case("sequence: history and score")
def sequence_history() -> Any:
    (X, y), found = plain(), []
    is_early = X["timestamp"] < X["timestamp"].quantile(0.7)
    later, late_y = X[~is_early], y[~is_early]
    for params in ({}, {"timestamp": None}, BOTH_WAYS, {"items_only": True}):
        model = make("sequence", **LSTM | params).fit(X[is_early], y[is_early])
        found += [
            state(model, with_unknown(later)),
            model.predict(later, history=(X, y)),
            model.predict(later, history=(later, late_y)),
            model.score(later, late_y, lib.weights_of(late_y)),
            model.score(later, late_y, history=(X, y)),
        ]
    return found


@case("sequence: padded sequences")
def padded_sequences() -> Any:
    X, y = lib.large()
    X, found = sklrec.IDEncoder().fit(X).transform(X), []
    for ratings in (True, False):
        windows = sklrec.SequenceWindower(max_len=8, ratings=ratings).fit(X, y).transform(X)
        for more in ({}, SMALL, BOTH_WAYS):  # the second is sparse
            model = make("sequence", **(LSTM if ratings else POST) | more, input="sequences")
            model.fit(windows[:3000], y[:3000], lib.weights_of(y[:3000]))
            found.append(state(model, windows[3000:]))
            model.partial_fit(windows[3000:5000], y[3000:5000])
            found += [state(model, windows[:500]), model.score(windows[:500], y[:500])]
        each = np.where(windows[:, :8] > 0, 1.0 + windows[:, :8] % 5, np.nan)
        model.fit(windows[:3000], each[:3000])
        found += [state(model, windows[-500:]), model.score(windows[-500:], each[-500:])]
    return found
