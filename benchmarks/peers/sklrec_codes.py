"""Ratings of codes from tables larger than any cache, and the bandwidth of the memory."""
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import torch

from benchmarks._bandwidth import streaming_bandwidth
from benchmarks._measure import seconds
from benchmarks.peers._serve import read_request, write_reply
from sklrec import MFRegressor

ROWS_AT_ONCE = 16_384


def ratings_of(module: torch.nn.Module, users: np.ndarray, items: np.ndarray) -> np.ndarray:
    """Predictions of a fitted module, in blocks that stay in the cache."""
    codes = (torch.from_numpy(side).split(ROWS_AT_ONCE) for side in (users, items))
    with torch.inference_mode():
        found = [module(*block).numpy() for block in zip(*codes, strict=True)]
    return np.concatenate(found).astype(np.float64)


def main() -> None:
    """Time both in turns; the best of each counts."""
    request, _ = read_request()
    n_rows, rng = request["n_rows"], np.random.default_rng(0)
    X = np.column_stack([rng.permutation(n_rows), rng.permutation(n_rows)])
    params = {"n_factors": request["n_factors"], "max_epochs": 1, "random_state": 0}
    module = MFRegressor(**params).fit(X, rng.uniform(1, 5, n_rows)).module_
    users, items = rng.integers(1, n_rows + 1, (2, request["n_pairs"]))
    ratings_of(module, users, items)  # warms up
    times, bandwidths = [], []
    for _ in range(request["repeats"]):
        times.append(seconds(lambda: ratings_of(module, users, items)))
        bandwidths.append(streaming_bandwidth(request["copied_bytes"], repeats=3))
    write_reply({"seconds": min(times), "bandwidth": max(bandwidths)}, {})


if __name__ == "__main__":
    main()
