"""Codes to ratings from tables larger than any cache, and what memory could do at most."""
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np

from benchmarks._bandwidth import streaming_bandwidth
from benchmarks._measure import seconds
from benchmarks.peers._serve import read_request, write_reply
from sklrec import MFRegressor


def ratings_of(model: MFRegressor, users: np.ndarray, items: np.ndarray) -> np.ndarray:
    """What `predict` does once it has the codes."""
    size = model._predict_rows
    blocks = [slice(first, first + size) for first in range(0, len(users), size)]
    found = [model._predict_inputs({"users": users[b], "items": items[b]}) for b in blocks]
    return model._clip(np.concatenate(found).astype(np.float64))


def main() -> None:
    """Time both in turns; the best of each counts."""
    request, _ = read_request()
    n_rows, rng = request["n_rows"], np.random.default_rng(0)
    X = np.column_stack([rng.permutation(n_rows), rng.permutation(n_rows)])
    params = {"n_factors": request["n_factors"], "max_epochs": 1, "random_state": 0}
    model = MFRegressor(**params).fit(X, rng.uniform(1, 5, n_rows))
    users, items = rng.integers(1, n_rows + 1, (2, request["n_pairs"]))
    ratings_of(model, users, items)  # warms up
    times, bandwidths = [], []
    for _ in range(request["repeats"]):
        times.append(seconds(lambda: ratings_of(model, users, items)))
        bandwidths.append(streaming_bandwidth(request["copied_bytes"], repeats=3))
    write_reply({"seconds": min(times), "bandwidth": max(bandwidths)}, {})


if __name__ == "__main__":
    main()
