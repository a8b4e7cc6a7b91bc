"""Shares of the time of `fit`, `predict`, `recommend` and of the encoding of IDs."""
# SPDX-License-Identifier: BSD-3-Clause

import cProfile
import pstats
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from benchmarks._data import grown
from benchmarks._measure import seconds
from benchmarks._models import Model, make
from benchmarks._results import bar, table
from benchmarks.scaling import MODELS, SIZES

BUILT_IN = "~"  # path of functions without a file
TIME_LIMIT = 25.0  # longest expected seconds of a call
N_USERS, N_ITEMS = 1_000, 10

ARITHMETIC, OPTIMISER, BATCHES = "Arithmetic", "Optimiser", "Tensors, batches"
ENCODING, PYTHON, REST = "Encoding", "Python", "Rest"
SHARES = [ENCODING, BATCHES, ARITHMETIC, OPTIMISER, PYTHON, REST]
# Kind of the own time of a file and of the built-in functions that it calls; the first part of a
# path that fits counts.
FILES = {
    "sklrec/_data": ENCODING,
    "sklrec/preprocessing": ENCODING,
    "/pandas/": ENCODING,
    "rowwise": OPTIMISER,
    "/torch/optim/": OPTIMISER,
    "sklrec/_solvers": BATCHES,
    "sklrec/_core": BATCHES,
    "/skorch/": PYTHON,
    "sklrec/": ARITHMETIC,
    "/torch/": ARITHMETIC,
}
FIXED = "Fixed"  # share of a fit outside these functions, by the end of a path and by name
TRAINING = {
    ("skorch/net.py", "train_step"),
    ("_solvers/tensors.py", "batches"),
    ("_solvers/tensors.py", "_drawn"),
    ("_solvers/tensors.py", "_batch"),
    ("_solvers/sequence_tensors.py", "batches"),
    ("_solvers/penalties.py", "learn_penalties"),
    ("_solvers/variational.py", "train"),
    ("least_squares/bias_solver.py", "train"),
    ("_solvers/static_part.py", "fit_static_part"),
    ("_solvers/static_part.py", "add_expected_ratings"),
}
FIXED_AT = SIZES[1]  # number of ratings


def run(*, quick: bool = False) -> dict[str, Any]:
    """Profile each call on more and more ratings, until it takes too long."""
    sizes = SIZES[1:2] if quick else SIZES[1:-1]
    rows: list[dict[str, Any]] = []
    for model in MODELS:
        for n_ratings in sizes:
            last = rows[-1] if rows and rows[-1]["model"] == model.name else None
            if last is not None and last["longest"] * n_ratings / last["n"] > TIME_LIMIT:
                break
            rows += profile_model(model, n_ratings)
            print(f"{model.name}, {n_ratings:,}: {rows[-1]['longest']:.2f} s", flush=True)
    frame = pd.DataFrame(rows)
    fits = frame[(frame["call"] == "fit") & (frame["n"] == FIXED_AT)]
    return {
        "title": "Where the time goes",
        "notes": [
            "Shares of the time of one call, from cProfile: the own time of each function and of "
            "the built-in functions that it calls, by its file. Arithmetic is that of torch, "
            "autograd included, and of the files of the models. Tensors and batches are the work "
            "that makes tensors of codes and cuts them into batches, with the new order of each "
            "epoch. Python is the loop and the callbacks of skorch and the Python of torch. The "
            "rest is that of scikit-learn, scipy and numpy. The profiler slows Python down, so "
            "seconds are those of another call without it. Made ratings as in the benchmark of "
            "scaling, with integer IDs; `predict` of all "
            f"training rows; `recommend` of {N_ITEMS} items to {N_USERS:,} users. Calls that "
            f"should take over {TIME_LIMIT:g} seconds are left out.",
            "The fixed cost of a fit is its time outside the training: checks, encoding, the "
            "net, callbacks, the history, and the limits and penalties of rows in each epoch. The "
            "training is the steps of the optimiser, the batches, the sweeps of the variational "
            "model with their start, and the least-squares search for biases and penalties. As "
            "the profiler slows Python down, the true share is lower.",
        ],
        "bars": [
            bar(f"Fixed share of fit, {name}", share, 0.20, ".2f")
            for name, share in zip(fits["model"], fits[FIXED], strict=True)
        ],
        "tables": [
            table(
                f"Fixed cost of `fit`, {FIXED_AT:,} ratings",
                {"": "", "Seconds": ".3f", "Fixed share": ".0%"},
                fits[["model", "seconds", FIXED]],
            ),
            *(
                table(
                    f"`{call}`",
                    {"": "", "Ratings": ",d", "Seconds": ".3f"} | dict.fromkeys(SHARES, ".0%"),
                    found[["model", "n", "seconds", *SHARES]],
                )
                for call, found in frame.groupby("call", sort=False)
            ),
        ],
    }


def profile_model(model: Model, n_ratings: int) -> list[dict[str, Any]]:
    log = grown(n_ratings, timestamps="timestamp" in model.params)
    X, y = log.drop(columns="rating"), log["rating"].to_numpy()
    estimator = make(model)
    estimator.fit(X[:2_000], y[:2_000])  # warms up
    rows: list[dict[str, Any]] = []

    def add(call: str, function: Callable[[], object]) -> None:
        elapsed = seconds(function)
        rows.append({"model": model.name, "call": call, "n": n_ratings, "seconds": elapsed})
        rows[-1] |= shares(function)

    add("fit", lambda: estimator.fit(X, y))
    add("predict", lambda: estimator.predict(X))
    users = np.random.default_rng(0).choice(X["user"].unique(), N_USERS)
    add("recommend", lambda: estimator.recommend(users, N_ITEMS))
    longest = max(row["seconds"] for row in rows)
    return [row | {"longest": longest} for row in rows]


def shares(function: Callable[[], object]) -> dict[str, float]:
    profiler = cProfile.Profile()
    profiler.runcall(function)
    total = dict.fromkeys(SHARES, 0.0)
    found: dict[Any, Any] = vars(pstats.Stats(profiler))["stats"]
    for (path, _, name), (_, _, own, _, callers) in found.items():
        if path != BUILT_IN:
            total[kind_of(path)] += own
        for (caller, _, _), (_, _, part, _) in callers.items() if path == BUILT_IN else ():
            total[kind_of(caller, name)] += part
    whole = sum(total.values())
    training = sum(
        spent
        for (path, _, name), (_, _, _, spent, _) in found.items()
        if any(path.replace("\\", "/").endswith(end) and name == own for end, own in TRAINING)
    )
    return {name: part / whole for name, part in total.items()} | {FIXED: 1 - training / whole}


def kind_of(path: str, built_in: str | None = None) -> str:
    """Kind of the own time of a function, or of a built-in function that the file calls."""
    path = path.replace("\\", "/")
    kind = next((kind for part, kind in FILES.items() if part in path), REST)
    if built_in is None:
        # operators between tensors are not calls, but own time of the functions of the models
        own = kind in (ENCODING, REST) or "sklrec/" in path
        return kind if own else PYTHON
    if kind == ENCODING or "numpy" in built_in:
        return REST if kind == PYTHON else kind
    if "torch" in built_in:
        return ARITHMETIC if kind in (PYTHON, REST) else kind
    return REST if kind == REST else PYTHON
