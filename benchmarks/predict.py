"""Predictions per second, beside peers and beside a bare gather-and-dot."""
# SPDX-License-Identifier: BSD-3-Clause

from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from benchmarks._data import made, movielens
from benchmarks._models import CORNAC, OURS, SURPRISE
from benchmarks._peers import Field, exchange
from benchmarks._results import bar, table
from benchmarks._torch import last_level_cache

# 32 factors for all. One epoch: the time of a prediction does not depend on the training.
SETTINGS = {
    OURS.name: {"n_factors": 32, "max_epochs": 1},
    SURPRISE.name: {"n_factors": 32, "n_epochs": 1},
    CORNAC.name: {"k": 32, "max_iter": 1},
}
N_PAIRS = {OURS.name: 1_000_000, SURPRISE.name: 200_000, CORNAC.name: 200_000}
N_CODES = 1_000_000
MILLION = 1e6
FACTORS = [32, 128]
TABLES = [8, 400]  # MB of each table of factors


def run(*, quick: bool = False) -> dict[str, Any]:
    n_ratings = 200_000 if quick else 1_000_000
    logs = {
        "MovieLens 100K": movielens(),
        "100,000 users, 20,000 items": made(100_000, 20_000, n_ratings),
    }
    field = Field([OURS, SURPRISE, CORNAC])
    rows, bars = [], []
    for title, log in logs.items():
        for model in list(field.models):
            pairs = sample(log, N_PAIRS[model.name])
            jobs = [SETTINGS[model.name]]
            for answer in field.run(model, log, pairs, jobs, repeats=1 if quick else 7) or []:
                rate = len(pairs) / answer.predict_seconds / MILLION
                rows.append([model.name, title, rate, answer.predict_bytes / MILLION])
                if model is OURS:
                    bars.append(bar(f"Million pairs/s, {title}", rate, 3.0, ".2f", at_least=True))
    parts = [codes(*size, quick) for size in product(FACTORS, TABLES[:1] if quick else TABLES)]
    for n_factors, table_mb, *_, ratio, _ in parts:
        what = f"Codes to ratings over gather-and-dot, {n_factors} factors, 2 x {table_mb} MB"
        bars.append(bar(what, ratio, 1.5, ".2f"))
    speed = {"Model": "", "Fitted on": "", "Million pairs/s": ".2f", "MB": ".1f"}
    forms = {"Factors": "d", "MB a table": "d", "Gather-and-dot, ms": ".1f", "Pairs at once": ",d"}
    forms |= {"Codes to ratings, ms": ".1f", "predict, ms": ".1f", "Over gather-and-dot": ".2f"}
    forms |= {"Share of the encoding": ".0%"}
    return {
        "title": "Predictions per second",
        "notes": [
            "Integer IDs in, float64 ratings out, 32 factors; random pairs of known users and "
            "items. The time of sklrec includes the encoding of a DataFrame; the peers get their "
            "own form of the pairs. Medians of 7 calls. MB is the peak beyond input and output.",
            f"Codes to ratings: {N_CODES:,} random pairs and one thread. The largest cache has "
            f"{last_level_cache() / 2**20:.0f} MiB. The gather-and-dot is a bare loop over blocks "
            "of the size that is best for it: `(P[users] * Q[items]).sum(1)`, biases, scale and "
            "mean in float32. Codes to ratings: the module on the blocks of `predict`, in "
            "float64, clipped. `predict` takes integer IDs. The share of the encoding is that of "
            "`IDEncoder.transform` in `predict`. Medians of runs that alternate.",
        ],
        "bars": bars,
        "tables": [
            table("Speed", speed, rows),
            table("Codes to ratings, beside a bare gather-and-dot", forms, parts),
        ],
        "left_out": field.left_out,
    }


def codes(n_factors: int, table_mb: int, quick: bool) -> list[Any]:
    """Times of `predict` and its parts, and of a bare gather-and-dot."""
    request = {
        "n_factors": n_factors,
        "n_rows": table_mb * 10**6 // (4 * n_factors),
        "n_pairs": N_CODES // 10 if quick else N_CODES,
        "repeats": 3 if quick else 9,
    }
    times, _ = exchange("sklrec", "sklrec_codes", request, {}, None, 1)
    rated, predicted, encoded = (times.pop(k) for k in ("codes to ratings", "predict", "encoding"))
    size, bare = min(times.items(), key=lambda found: found[1])
    shown = [1e3 * seconds for seconds in (bare, rated, predicted)]
    row = [n_factors, table_mb, shown[0], int(size.removeprefix("bare ")), *shown[1:]]
    return [*row, rated / bare, encoded / predicted]


def sample(log: pd.DataFrame, n: int) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame({name: rng.choice(log[name].to_numpy(), n) for name in ("user", "item")})
