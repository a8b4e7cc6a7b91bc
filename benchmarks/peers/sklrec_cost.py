"""Cost of one fit of an estimator of ours in seconds and bytes, on made ratings."""
# SPDX-License-Identifier: BSD-3-Clause

import gc

import numpy as np
import torch

from benchmarks._data import grown
from benchmarks._measure import peak_bytes, reset_peak, resident_bytes, seconds
from benchmarks._models import Model, make
from benchmarks.peers._serve import WARM_UP_ROWS, read_request, write_reply

ENOUGH, MOST = 2.0, 5  # short fits are repeated for so many seconds, or so often


def model_bytes(module: torch.nn.Module) -> int:
    """Bytes of the tables of a fitted module."""
    tables = [*module.parameters(), *module.buffers()]
    return sum(table.numel() * table.element_size() for table in tables)


def main() -> None:
    """Fit on arrays: int64 columns of IDs, and float64 ratings."""
    request, _ = read_request()
    model = Model(*request["model"])
    log = grown(request["n_ratings"], timestamps="timestamp" in model.params)
    y = log.pop("rating").to_numpy()
    X = np.ascontiguousarray(log.to_numpy())
    del log

    def fit():
        return make(model).fit(X, y)

    make(model).fit(X[:WARM_UP_ROWS], y[:WARM_UP_ROWS])
    gc.collect()
    reset_peak()
    before = resident_bytes()
    found = []
    times = [seconds(lambda: found.append(fit()))]
    held = peak_bytes() - before
    size = model_bytes(found.pop().module_)
    while sum(times) < ENOUGH and len(times) < MOST:
        times.append(seconds(fit))
    write_reply({"seconds": min(times), "fit_bytes": held, "model_bytes": size}, {})


if __name__ == "__main__":
    main()
