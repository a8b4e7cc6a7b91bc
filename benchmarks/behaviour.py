"""Comparison of two checkouts: do all results stay the same, bit by bit?

    python -m benchmarks.behaviour OLD_CHECKOUT [NEW_CHECKOUT] [--only PATTERN]

NEW_CHECKOUT is the current one by default. The command runs every case with the code of either
checkout, in one Python environment and on one thread, and prints one row for each case: "equal",
or the largest difference. It exits with 1 if a case differs that is declared to stay equal, or
if a case fails. It takes about three minutes and keeps no results.

``--only PATTERN`` selects cases by name, such as ``--only "mf*"``.

How to change this file
-----------------------
- New case: write a function of a `Library` below "Cases" that returns arrays, tables and
  numbers, in dicts or lists, and register it with `@case("name")`. Cases use public names only.
- Renamed parameter or class: write the cases in the new names, and say in "Translation" what the
  older checkout calls them. When both checkouts have the same names, empty `TRANSLATED`.
- Results that must change: `@case("name", differs="the reason", tolerance=0.01)`. The command
  then compares means over seeds. Remove both once OLD_CHECKOUT has the change.
"""
# SPDX-License-Identifier: BSD-3-Clause

import argparse
import os
import pickle
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.sparse import issparse
from skorch.callbacks import Callback, LRScheduler

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
SEEDS = range(8)  # of cases that are declared to differ
IDS = ["user", "item"]

# --- Translation: what an older checkout calls the things that cases name in today's words


def is_old(sklrec: Any) -> bool:
    """Whether the checkout has the names that `TRANSLATED` translates to."""
    return not hasattr(sklrec, "BayesianMFRegressor")


def old_training(params: dict[str, Any]) -> dict[str, Any]:
    """Parameters of the training loop."""
    params = dict(params)
    if "svdpp" in params:
        params["implicit_features"] = params.pop("svdpp")
    share = params.get("early_stopping")
    if isinstance(share, float):
        params |= {"early_stopping": True, "validation_fraction": share}
    callbacks = params.pop("callbacks", [])
    if kept := [callback for callback in callbacks if not isinstance(callback, LRScheduler)]:
        params["callbacks"] = kept
    if len(kept) < len(callbacks):  # the only schedule here is `constant_rate`
        params["lr_schedule"] = "constant"
    return params


def old_bayesian(sklrec: Any, *, svdpp: bool = False, side_features: Any = None, **params) -> Any:
    # It reads all columns: `visible` removes those that side_features leaves out.
    return sklrec.BayesianFMRegressor(implicit_features=svdpp, **params)


# From today's names to functions that take the package and what the case passes.
TRANSLATED: dict[str, Callable[..., Any]] = {
    "MFRegressor": lambda lib, **p: lib.MFRegressor(solver="sgd", **old_training(p)),
    "BayesianMFRegressor": old_bayesian,
    "DenseRecRegressor": lambda lib, **p: lib.DenseRecRegressor(**old_training(p)),
    "SequenceRatingRegressor": lambda lib, **p: lib.SequenceRatingRegressor(**old_training(p)),
    "visible": lambda lib, X, names: X if names == "all" else X[IDS + (names or [])],
}


class Library:
    """The public names of a checkout, in today's words, and the seed of a run."""

    def __init__(self, seed: int = 0):
        self.seed = seed

    def __getattr__(self, name: str) -> Any:
        sklrec = import_module("sklrec")
        if is_old(sklrec) and name in TRANSLATED:
            return partial(TRANSLATED[name], sklrec)
        # `visible` cuts a table for a BayesianMFRegressor where it cannot do so itself.
        return getattr(sklrec, name) if name != "visible" else lambda X, names: X


# --- Made data


@cache
def _made(n_users: int, n_items: int, n_ratings: int) -> tuple[pd.DataFrame, pd.Series]:
    datasets = import_module("sklrec.datasets")
    X, y = datasets.make_ratings(n_users, n_items, n_ratings, step=1, random_state=0)
    return X.reset_index(drop=True), y.reset_index(drop=True)


def plain(n_users: int = 250, n_items: int = 120, n_ratings: int = 6000) -> Any:
    """Users, items and timestamps; no case can change the table of another."""
    return tuple(part.copy() for part in _made(n_users, n_items, n_ratings))


def large() -> Any:  # many more users and items than a batch of 256 has ratings
    return plain(2500, 1500, 10_000)


def string_ids() -> Any:
    X, y = plain()
    return X.assign(user="u" + X["user"].astype(str), item="i" + X["item"].astype(str)), y


def featured() -> Any:
    """Side features of users, items and ratings: numbers, categories, dates, lists, gaps."""
    X, y = plain()
    user, item, hour = X["user"], X["item"], X["timestamp"] // 3600 % 24
    X["age"] = (user * 37 % 61 + 15.0).where(user % 7 != 0)
    X["joined"] = pd.to_datetime(user % 50, unit="D", origin="2020-01-01").where(user % 11 != 0)
    X["studio"] = ("s" + (item % 9).astype(str)).where(item % 10 != 0, None)
    X["tags"] = [["drama", "war"][: 1 + k % 2] if k % 3 else ["comedy"] for k in item]
    X["hour"] = hour.where(hour != 5)
    X["place"] = pd.Categorical(np.where(hour % 2, "home", "train"))
    return X.drop(columns="timestamp"), y


def weights_of(y: Any) -> np.ndarray:
    return 0.5 + np.arange(len(y)) % 4


def with_unknown(X: Any) -> Any:
    """The rows, and some with an unknown user, an unknown item or both."""
    if not isinstance(X, pd.DataFrame) or X["user"].dtype.kind != "i":
        return X
    unknown = [X[:3].assign(user=-1), X[:3].assign(item=-1), X[:2].assign(user=-1, item=-1)]
    return pd.concat([X, *unknown], ignore_index=True)


# --- What a fitted model shows

FITTED = """user_factors_ item_factors_ user_biases_ item_biases_ global_mean_ rating_scale_ alpha_
n_users_ n_items_ n_ratings_ n_iter_ loss_curve_ validation_curve_ seen_ n_features_in_
feature_names_in_ stars_ timestamp_index_ timestamp_kind_ time_unit_ with_ratings_
n_outputs_""".split()


def state(model: Any, X: Any, **options: Any) -> dict[str, Any]:
    """Fitted attributes and predictions."""
    found = {name: getattr(model, name) for name in FITTED if hasattr(model, name)}
    if hasattr(model, "encoder_"):
        found["categories_"] = model.encoder_.categories_
    return found | {"predict": model.predict(X, **options)}


def lists(model: Any) -> dict[str, Any]:
    """Recommendations and similar rows."""
    users, items = (list(ids) for ids in model.encoder_.categories_)
    some = {user: items[k : k + 12] for k, user in enumerate(users[:5])}
    found = {
        "recommend": model.recommend(users[:20], 5),
        "with seen": model.recommend(users[:20], 5, exclude_seen=False),
        "candidates": model.recommend(users[:5], 5, candidates=items[:30]),
        "candidates by user": model.recommend(list(some), 5, candidates=some),
        "similar_items": model.similar_items(items[:10], 4),
        "similar_items, dot": model.similar_items(items[:10], 4, metric="dot"),
    }
    if isinstance(users[0], int | np.integer):
        found["unknown user"] = model.recommend([-1], 5)
    if "timestamp" not in model.get_params():  # a SequenceRatingRegressor has no users' factors
        found["similar_users"] = model.similar_users(users[:10], 4)
    return found


def fitted(
    lib: Library,
    name: str,
    params: dict[str, Any],
    table: Callable[[], Any] = plain,
    weights: bool = False,
    validation: bool = False,
) -> tuple[Any, Any]:
    """A model fitted to all but the last 600 rows, and these rows."""
    X, y = table()
    if name == "BayesianMFRegressor":
        X = lib.visible(X, params.get("side_features"))
    extra: dict[str, Any] = {}
    if validation:
        extra |= {"X_val": X[-600:], "y_val": y[-600:]}
    if weights:
        extra["sample_weight"] = weights_of(y[:-600])
    if weights and validation:
        extra["sample_weight_val"] = weights_of(y[-600:])
    model = getattr(lib, name)(**params, random_state=lib.seed).fit(X[:-600], y[:-600], **extra)
    return model, with_unknown(X[-600:])


def whole(name: str, params: dict[str, Any], options: dict[str, Any], lib: Library) -> Any:
    model, X = fitted(lib, name, params, **options)
    return {"state": state(model, X), "lists": lists(model)}


# --- Cases


@dataclass(frozen=True)
class Case:
    """A function of a library; the reason and the tolerance if its results must change."""

    run: Callable[[Library], Any]
    differs: str = ""
    tolerance: float = 0.0


CASES: dict[str, Case] = {}


def case(name: str, **declared: Any) -> Callable[[Any], Any]:
    def register(run: Any) -> Any:
        CASES[name] = Case(run, **declared)
        return run

    return register


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


@case("transformers")
def transformers(lib: Library) -> Any:
    X, y = plain()
    user, found = X["user"], {}
    by_kind = {
        "integers": user,
        "strings": "u" + user.astype(str),
        "floats": user + 0.5,
        "booleans": user % 2 == 0,
        "bytes": [str(k).encode() for k in user],
        "dates": pd.to_datetime(user, unit="D"),
        "times": pd.to_timedelta(user, unit="h"),
        "tuples": [(k % 7, str(k)) for k in user],
        "categories": pd.Categorical("u" + user.astype(str)),
        "mixed": [k if k % 2 else str(k) for k in user],
    }
    for kind, values in by_kind.items():
        table = pd.DataFrame({"user": pd.Series(values), "item": X["item"], "more": y})
        encoder = lib.IDEncoder(min_frequency=20).fit(table[:4000])
        codes = encoder.transform(table)
        found[kind] = [encoder.categories_, encoder.infrequent_categories_, codes]
        found[kind].append(encoder.inverse_transform(codes))
        found[kind].append(lib.IDEncoder().fit(table[:2000]).partial_fit(table).transform(table))
        model = lib.MFRegressor(max_epochs=2, n_factors=3, random_state=lib.seed)
        found[kind].append(state(model.fit(table[:4000], y[:4000]), table[4000:]))
    sequences = [list(range(1, 1 + k % 6)) for k in range(30)]
    for params in ({}, {"max_len": 3, "mask": True}, {"padding": "post", "truncating": "post"}):
        found[f"padder {params}"] = lib.SequencePadder(**params).fit_transform(sequences)
    encoded = lib.IDEncoder().fit_transform(X)
    for ratings in (True, False):
        windower = lib.SequenceWindower(max_len=5, ratings=ratings).fit(encoded[:3000], y[:3000])
        found[f"windower {ratings}"] = [
            windower.transform(encoded),
            windower.get_feature_names_out(),
        ]
    return found


@case("splitters")
def splitters(lib: Library) -> Any:
    splits = import_module("sklrec.model_selection")
    X, _ = plain()
    drawn = {"n_splits": 3, "random_state": 0}
    folds = ({}, drawn | {"shuffle": True})
    shares = (drawn | {"test_size": 0.3}, drawn | {"train_size": 0.5})
    asked: dict[str, tuple[dict[str, Any], ...]] = {
        "ColdItemKFold": folds,
        "ColdItemShuffleSplit": shares,
        "ColdUserKFold": folds,
        "ColdUserShuffleSplit": shares,
        "GlobalTimeSplit": ({}, {"n_splits": 2, "test_size": 0.1}),
        "LastInteractionsSplit": ({"min_train": 2}, {"timestamp": None, "random_state": 0}),
        "UserStratifiedKFold": folds,
    }
    return {
        f"{name} {params}": list(getattr(splits, name)(**params).split(X))
        for name, several in asked.items()
        for params in several
    }


RANKING = ("hit_rate", "map", "mrr", "ndcg", "precision", "recall")


@case("metrics and scorers")
def metrics_and_scorers(lib: Library) -> Any:
    metrics = import_module("sklrec.metrics")
    X, y = plain()
    model = lib.MFRegressor(**MF, random_state=lib.seed).fit(X[:4000], y[:4000])
    test, truth = X[4000:], y[4000:]
    liked, predicted = test[truth >= 4], model.recommend(test["user"].unique())
    found: dict[str, Any] = {}
    for name in RANKING:
        score = getattr(metrics, f"{name}_at_k")
        found[name] = [score(liked, predicted, k=5, average=kind) for kind in ("macro", None)]
    graded = liked.assign(rating=truth)
    found["graded"] = metrics.ndcg_at_k(graded, predicted, k=5, gain="rating")
    found["coverage"] = metrics.coverage_at_k(predicted, X["item"].unique())
    found["novelty"] = metrics.novelty_at_k(predicted, X, average=None)
    for candidates in ("all", "rated"):
        scorer = metrics.make_ranking_scorer(
            RANKING, 5, threshold=4, candidates=candidates, counts=True
        )
        found[f"scorer, {candidates}"] = scorer(model, test, truth)
    gaps = truth.where(truth > 1)
    weights = {"sample_weight": weights_of(gaps)}
    found["masked"] = metrics.masked_root_mean_squared_error(gaps, model.predict(test), **weights)
    scorer = metrics.neg_masked_root_mean_squared_error_scorer
    return found | {"masked scorer": scorer(model, test, gaps)}


@case("data sets")
def data_sets(lib: Library) -> Any:
    make = import_module("sklrec.datasets").make_ratings
    return [
        make(random_state=0),
        make(200, 100, 9000, noise=0.2, long_tail=0.0, step=0.5, random_state=1),
        make(50, 40, 500, rating_scale=(0, 10), timestamps=False, as_frame=False, random_state=2),
        make(50, 40, 500, return_truth=True, random_state=3),
    ]


@case("inspection")
def inspection(lib: Library) -> Any:
    displays = import_module("sklrec.inspection")
    model, X = fitted(lib, "MFRegressor", MF, **VALIDATED)
    bayesian, narrow = fitted(lib, "BayesianMFRegressor", CHAIN)
    y = 1.0 + np.arange(len(X)) % 5
    times = {"test_score": np.array([-0.9, -1.0]), "fit_time": np.array([1.0, 2.0])}
    shown = [
        displays.TrainingHistoryDisplay.from_estimator(model),
        displays.PredictedRatingsDisplay.from_estimator(model, X, y),
        displays.ErrorByActivityDisplay.from_estimator(model, X, y),
        displays.ErrorByActivityDisplay.from_estimator(model, X, y, by="item"),
        displays.ItemMapDisplay.from_estimator(model),
        displays.RankingCurveDisplay.from_estimator(model, X, y, threshold=4),
        displays.CalibrationDisplay.from_estimator(bayesian, narrow, y),
        displays.AccuracyTimeDisplay.from_cv_results({"one": times | {"score_time": [1.0, 1.0]}}),
    ]
    # Names that end in _ are of matplotlib's objects.
    return [{k: v for k, v in vars(d).items() if not k.endswith("_")} for d in shown]


def _files(name: str, params: dict[str, Any], lib: Library) -> Any:
    """Model files, pickles and clones; an export where there is one."""
    if name == "BayesianMFRegressor":
        params = params | ALL | {"svdpp": True, "loss": "ordinal"}
    table = plain if name == "SequenceRatingRegressor" else featured
    model, X = fitted(lib, name, params, table)
    with TemporaryDirectory() as folder:
        lib.save(model, f"{folder}/model")
        loaded = lib.load(f"{folder}/model")
    copies = {"loaded": loaded, "pickled": pickle.loads(pickle.dumps(model))}
    found = {title: [state(copy, X), lists(copy)] for title, copy in copies.items()}
    if name != "BayesianMFRegressor":
        for title, copy in copies.items():
            train, y = table()
            copy.set_params(warm_start=True).fit(train[:4000], y[:4000])
            found[f"{title}, fitted further"] = state(copy, X)
        found["onnx"] = exported(model, X)
    return found


def exported(model: Any, X: Any) -> Any:
    """Inputs and ratings of the ONNX graph."""
    onnxruntime, export = import_module("onnxruntime"), import_module("sklrec.export")
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 1
    with TemporaryDirectory() as folder:
        export.to_onnx(model, f"{folder}/model.onnx")
        session = onnxruntime.InferenceSession(f"{folder}/model.onnx", settings)
    inputs = export.onnx_inputs(model, X)
    return [inputs, session.run(["ratings"], inputs)]


for short, (owner, params) in ESTIMATORS.items():
    case(f"{short}: model files, pickle, ONNX")(partial(_files, owner, params))


@case("approximate lists")
def approximate_lists(lib: Library) -> Any:
    approximate = import_module("sklrec.approximate")
    found = []
    for params in (MF, SVDPP, MF | {"biased": False}):
        model, _ = fitted(lib, "MFRegressor", params, large)
        index = approximate.ApproximateItems(model, n_links=8, ef_search=32)
        users = list(model.encoder_.categories_[0][:50])
        found += [index.recommend(users, 7), index.recommend([*users, -1], exclude_seen=False)]
    return found


@case("searches and cross-validation")
def searches(lib: Library) -> Any:
    from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
    from sklearn.pipeline import make_pipeline

    scorer = import_module("sklrec.metrics").make_ranking_scorer(k=5, threshold=4)
    (X, y), folds, found = plain(), KFold(2), {}
    for title, (name, params) in ESTIMATORS.items():
        model = getattr(lib, name)(**params, random_state=lib.seed)
        found[title] = cross_val_score(model, X, y, cv=folds, scoring="neg_mean_squared_error")
        found[f"{title}, lists"] = cross_val_score(model, X, y, cv=folds, scoring=scorer)
        search = GridSearchCV(model, {"n_factors": [2, 5]}, cv=folds).fit(X, y)
        results = {k: v for k, v in search.cv_results_.items() if "score" in k and "time" not in k}
        found[f"{title}, search"] = [results, search.best_params_, search.predict(X[:300])]
    model = lib.SequenceRatingRegressor(**LSTM, input="sequences", random_state=lib.seed)
    steps = lib.IDEncoder(), lib.SequenceWindower(max_len=6, ratings=True), model
    found["pipeline"] = make_pipeline(*steps).fit(X[:5000], y[:5000]).predict(X[5000:])
    return found


# --- The process of one checkout


def flat(value: Any, path: str = "") -> dict[str, np.ndarray]:
    """Arrays by their place in nested values."""
    if isinstance(value, pd.DataFrame):
        columns = {str(name): value.iloc[:, k] for k, name in enumerate(value.columns)}
        value = {"columns": list(columns), "index": value.index} | columns
    elif isinstance(value, pd.Series | pd.Index):
        value = {"values": value.to_numpy(), "dtype": str(value.dtype)}
    if isinstance(value, dict):
        parts = [flat(part, f"{path}/{name}") for name, part in value.items()]
        return {place: leaf for part in parts for place, leaf in part.items()}
    if isinstance(value, list | tuple) and not all(isinstance(v, int | float) for v in value):
        return flat(dict(enumerate(value)), path) | {f"{path}/length": np.asarray(len(value))}
    if issparse(value):
        value = value.toarray()
    if value is not None and not isinstance(
        value, np.ndarray | np.generic | torch.Tensor | str | bytes | int | float | list | tuple
    ):
        raise TypeError(f"{path} holds a {type(value).__name__}, which cannot be compared.")
    return {path: np.asarray(value)}


def run_cases(folder: Path, checkout: Path, names: list[str]) -> None:
    """Run the cases with the code of this process's path, and write what each returns."""
    source = Path(import_module("sklrec").__file__)
    if not source.is_relative_to(checkout):
        raise ImportError(f"sklrec was read from {source}, not from {checkout}.")
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    for name in names:
        started, seeds = time.perf_counter(), SEEDS if CASES[name].differs else [0]
        try:
            runs = [flat(CASES[name].run(Library(seed))) for seed in seeds]
            result: Any = runs[0] if len(runs) == 1 else mean_of(runs)
        except Exception as error:  # an error is a result too
            result = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        outcome = result, time.perf_counter() - started
        (folder / f"{list(CASES).index(name)}.pkl").write_bytes(pickle.dumps(outcome))


def mean_of(runs: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Means over seeds of numbers that have the same shape with each of them."""
    return {
        place: np.mean([run[place] for run in runs], axis=0)
        for place, leaf in runs[0].items()
        if leaf.dtype.kind in "fiu" and all(np.shape(run.get(place)) == leaf.shape for run in runs)
    }


# --- The comparison


def difference(old: np.ndarray, new: np.ndarray, tolerance: float = 0.0) -> float | str:
    """Largest absolute difference, or words for another one; 0 if there is none."""
    if (old.dtype, old.shape) != (new.dtype, new.shape):
        return f"{old.dtype}{list(old.shape)} became {new.dtype}{list(new.shape)}"
    if old.dtype.kind == "O":
        changed = [repr(a) != repr(b) for a, b in zip(old.ravel(), new.ravel(), strict=True)]
        return f"{sum(changed)} of {len(changed)} values changed" if any(changed) else 0.0
    if np.array_equal(old, new, equal_nan=old.dtype.kind in "fcmM"):
        return 0.0
    if old.dtype.kind not in "fiub":
        return f"{np.count_nonzero(old != new)} of {old.size} values changed"
    if not np.array_equal(np.isfinite(old), np.isfinite(new)):
        return "other values are missing or infinite"
    largest = float(np.nanmax(np.abs(old.astype(float) - new.astype(float))))
    return largest if largest > tolerance else 0.0


def verdict(of_case: Case, old: Any, new: Any) -> tuple[bool, str]:
    """Whether a case is as declared, and the words of its row."""
    errors = {
        side: found for side, found in (("OLD", old), ("NEW", new)) if isinstance(found, str)
    }
    if errors:
        return False, "; ".join(f"error in {side}: {text}" for side, text in errors.items())
    found = {
        place: difference(old[place], new[place], of_case.tolerance)
        for place in old.keys() & new.keys()
    }
    found |= dict.fromkeys(old.keys() - new.keys(), "only in OLD")
    found |= dict.fromkeys(new.keys() - old.keys(), "only in NEW")
    differing = {place: what for place, what in sorted(found.items()) if what != 0}
    about = f" (means; {of_case.differs})" if of_case.differs else ""
    if not differing:
        return True, (f"within {of_case.tolerance}" if about else "equal") + about
    place = max(differing, key=lambda k: np.inf if isinstance(differing[k], str) else differing[k])
    what = differing[place]
    words = what if isinstance(what, str) else f"differs by {what:.3g}"
    return False, f"{words} in {place}; {len(differing)} of {len(found)} arrays differ{about}"


def collect(checkout: Path, names: list[str]) -> dict[str, Any]:
    """Results and seconds of the cases, by name, from a process of its own."""
    environment = os.environ | dict.fromkeys(THREADS, "1")
    environment |= {"PYTHONPATH": str(checkout), "PYTHONHASHSEED": "0", "MPLBACKEND": "agg"}
    with TemporaryDirectory() as folder:
        # -P: this file's folder has modules with names of the standard library.
        command = [sys.executable, "-P", __file__, "--run", folder, str(checkout), *names]
        ended = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True
        )
        lines = ended.stderr.strip().splitlines()
        missing = f"the process ended with {ended.returncode}: {lines[-1] if lines else ''}", 0.0
        found = {}
        for name in names:
            path = Path(folder) / f"{list(CASES).index(name)}.pkl"
            found[name] = pickle.loads(path.read_bytes()) if path.exists() else missing
    return found


def main() -> None:
    """Compare two checkouts."""
    if sys.argv[1:2] == ["--run"]:
        _, _, folder, checkout, *names = sys.argv
        return run_cases(Path(folder), Path(checkout), names)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("old", type=Path, help="checkout to compare with")
    parser.add_argument("new", type=Path, nargs="?", default=Path(__file__).parents[1])
    parser.add_argument("--only", default="*", help="pattern of the names of cases")
    options = parser.parse_args()
    names = [name for name in CASES if fnmatch(name, options.only)]
    if not names:
        parser.error(f"no case is called {options.only!r}; there are {', '.join(CASES)}")
    for checkout in (options.old, options.new):
        if not (checkout / "sklrec" / "__init__.py").exists():
            parser.error(f"{checkout} is no checkout: it has no folder sklrec")
    old, new = (collect(path.resolve(), names) for path in (options.old, options.new))
    width, n_failed = max(map(len, names)), 0
    for name in names:
        (before, old_seconds), (after, new_seconds) = old[name], new[name]
        as_declared, words = verdict(CASES[name], before, after)
        n_failed += not as_declared
        print(f"{name:{width}}  {old_seconds:5.1f} s {new_seconds:5.1f} s  {words}")
    print(f"{len(names)} cases, {n_failed} of them differ or fail.")
    return sys.exit(1 if n_failed else 0)


if __name__ == "__main__":
    main()
