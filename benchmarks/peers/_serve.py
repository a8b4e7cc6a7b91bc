"""How a benchmark and a library in its own environment talk: a request file in, a reply out."""
# SPDX-License-Identifier: BSD-3-Clause

import gc
import json
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from benchmarks._measure import peak_bytes, reset_peak, resident_bytes

Table = tuple[list[np.ndarray], dict[str, np.ndarray]]  # the main columns, and side features
MAIN = ("user", "item", "rating")


def serve(
    build: Callable[..., Any],
    fit: Callable[..., Any],
    predict: Callable[..., Any],
    pairs: Callable[..., Any] = lambda users, items: (users, items),
) -> None:
    """Carry out the request that the command line names.

    Parameters
    ----------
    build : callable
        ``build(users, items, ratings, scale, **side)`` gives the library's own training set;
        `side` holds the arrays of side features by name, if the benchmark gives any.
    fit : callable
        ``fit(trainset, **params)`` gives a fitted model.
    predict : callable
        ``predict(model, pairs)`` gives one number a pair.
    pairs : callable
        ``pairs(users, items, **side)`` gives the pairs in the form that the library takes; not
        timed.
    """
    folder = Path(sys.argv[1])
    request = json.loads((folder / "request.json").read_text())
    with np.load(folder / "data.npz") as arrays:
        data = dict(arrays)
    train, test = (read_table(data, f"{name}_") for name in ("train", "test"))
    scale = request["scale"]

    def carry_out(
        train: Table, test: Table, params: dict, repeats: int
    ) -> tuple[dict, np.ndarray]:
        gc.collect()
        reset_peak()
        before = resident_bytes()
        start = perf_counter()
        columns, side = train
        trainset = build(*columns, scale, **side)
        built = perf_counter()
        model = fit(trainset, **params)
        fitted = perf_counter()
        report = {
            "build_seconds": built - start,
            "fit_seconds": fitted - built,
            "peak_bytes": peak_bytes(),
            "fit_bytes": peak_bytes() - before,
        }
        columns, side = test
        asked = pairs(*columns, **side)
        gc.collect()
        reset_peak()
        before = resident_bytes()
        times = []
        for _ in range(repeats):
            prediction = None  # frees the last one before the next is made
            start = perf_counter()
            prediction = np.asarray(predict(model, asked), dtype=np.float64)
            times.append(perf_counter() - start)
        report["predict_seconds"] = float(np.median(times))
        report["predict_bytes"] = peak_bytes() - before - prediction.nbytes
        return report, prediction

    if n := request["warm_up_rows"]:
        carry_out(first_rows(train, n), first_rows(test, n), request["jobs"][0], 1)
    reports, predictions = [], {}
    for number, params in enumerate(request["jobs"]):
        report, predictions[str(number)] = carry_out(train, test, params, request["repeats"])
        reports.append(report)
    np.savez(folder / "predictions.npz", **predictions)
    (folder / "reply.json").write_text(json.dumps(reports))


def read_table(data: dict[str, np.ndarray], prefix: str) -> Table:
    """The arrays whose names begin with the prefix."""
    found = {name.removeprefix(prefix): data[name] for name in data if name.startswith(prefix)}
    return [found.pop(name) for name in MAIN if name in found], found


def first_rows(table: Table, n: int) -> Table:
    """The first n rows of all columns."""
    columns, side = table
    return [column[:n] for column in columns], {name: side[name][:n] for name in side}
