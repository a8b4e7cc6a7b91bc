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

Table = dict[str, np.ndarray]


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
        ``build(users, items, ratings, scale)`` gives the library's own training set.
    fit : callable
        ``fit(trainset, **params)`` gives a fitted model.
    predict : callable
        ``predict(model, pairs)`` gives one number a pair.
    pairs : callable
        ``pairs(users, items)`` gives the pairs in the form that the library takes; not timed.
    """
    folder = Path(sys.argv[1])
    request = json.loads((folder / "request.json").read_text())
    with np.load(folder / "data.npz") as arrays:
        data = dict(arrays)
    train = [data["user"], data["item"], data["rating"]]
    test = [data["test_user"], data["test_item"]]
    scale = request["scale"]

    def carry_out(train: list, test: list, params: dict, repeats: int) -> tuple[dict, np.ndarray]:
        gc.collect()
        reset_peak()
        before = resident_bytes()
        start = perf_counter()
        trainset = build(*train, scale)
        built = perf_counter()
        model = fit(trainset, **params)
        fitted = perf_counter()
        report = {
            "build_seconds": built - start,
            "fit_seconds": fitted - built,
            "peak_bytes": peak_bytes(),
            "fit_bytes": peak_bytes() - before,
        }
        asked = pairs(*test)
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
        few = [column[:n] for column in train], [column[:n] for column in test]
        carry_out(*few, request["jobs"][0], 1)
    reports, predictions = [], {}
    for number, params in enumerate(request["jobs"]):
        report, predictions[str(number)] = carry_out(train, test, params, request["repeats"])
        reports.append(report)
    np.savez(folder / "predictions.npz", **predictions)
    (folder / "reply.json").write_text(json.dumps(reports))
