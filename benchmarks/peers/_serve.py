"""Exchange between a benchmark and a library: it reads a request file and writes a reply."""
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
WARM_UP_ROWS = 2_000


def serve(
    build: Callable[..., Any],
    fit: Callable[..., Any],
    predict: Callable[..., Any],
    pairs: Callable[..., Any] = lambda users, items: (users, items),
) -> None:
    """Carry out the request of the command line.

    ``build(users, items, ratings, scale, **side)`` makes the training set of the library; `side`
    has the side features by name. ``fit(trainset, **params)`` gives a model. ``pairs`` converts
    the pairs, untimed, and ``predict(model, pairs)`` gives one number for each pair.
    """
    request, data = read_request()
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
        prediction, report["predict_seconds"], held = measured(
            lambda: np.asarray(predict(model, asked), dtype=np.float64), repeats
        )
        report["predict_bytes"] = held - prediction.nbytes
        return report, prediction

    if n := request["warm_up_rows"]:
        carry_out(first_rows(train, n), first_rows(test, n), request["jobs"][0], 1)
    reports, predictions = [], {}
    for number, params in enumerate(request["jobs"]):
        report, predictions[str(number)] = carry_out(train, test, params, request["repeats"])
        reports.append(report)
    write_reply(reports, predictions)


def read_request() -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    folder = Path(sys.argv[-1])
    with np.load(folder / "data.npz") as arrays:
        return json.loads((folder / "request.json").read_text()), dict(arrays)


def write_reply(reply: Any, arrays: dict[str, np.ndarray]) -> None:
    folder = Path(sys.argv[-1])
    np.savez(folder / "reply.npz", **arrays)
    (folder / "reply.json").write_text(json.dumps(reply))


def measured(function: Callable[[], Any], repeats: int) -> tuple[Any, float, float]:
    """Result of a function, its median seconds, and the bytes of the call, result included."""
    gc.collect()
    reset_peak()
    before = resident_bytes()
    times = []
    for _ in range(repeats):
        found = None  # frees the last result before the next call
        start = perf_counter()
        found = function()
        times.append(perf_counter() - start)
    return found, float(np.median(times)), peak_bytes() - before


def read_table(data: dict[str, np.ndarray], prefix: str) -> Table:
    found = {name.removeprefix(prefix): data[name] for name in data if name.startswith(prefix)}
    return [found.pop(name) for name in MAIN if name in found], found


def first_rows(table: Table, n: int) -> Table:
    columns, side = table
    return [column[:n] for column in columns], {name: side[name][:n] for name in side}
