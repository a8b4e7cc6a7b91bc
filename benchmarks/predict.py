"""Predictions per second, beside peers and beside the bandwidth of the memory."""
# SPDX-License-Identifier: BSD-3-Clause

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
MILLION = 1e6
CACHES = 2  # size of each table for the bandwidth bound, in last-level caches
FACTORS = [32, 64, 128]


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
    bounds = [bound(n_factors, quick) for n_factors in (FACTORS[:1] if quick else FACTORS)]
    for n_factors, *_, share in bounds:
        what = f"Codes to ratings, {n_factors} factors, share of the bandwidth bound"
        bars.append(bar(what, share, 0.25, ".2f", at_least=True))
    speed = {"Model": "", "Fitted on": "", "Million pairs/s": ".2f", "MB": ".1f"}
    forms = {"Factors": "d", "Bytes a pair": "d", "Copy, GB/s": ".1f", "Million pairs/s": ".1f"}
    forms |= {"Bound, million pairs/s": ".1f", "Share": ".0%"}
    return {
        "title": "Predictions per second",
        "notes": [
            "Integer IDs in, float64 ratings out, 32 factors; random pairs of known users and "
            "items. The time of sklrec includes the encoding of a DataFrame; the peers get their "
            "own form of the pairs. Medians of 7 calls. MB is the peak beyond input and output.",
            "Codes to ratings: the fitted module alone, for random pairs from two tables of "
            f"{CACHES} times the last-level cache ({last_level_cache() / 2**20:.0f} MiB) each. A "
            "pair reads two codes, two rows of factors and two biases, and writes a float64. The "
            "bound is the time of a copy of as many bytes, of a tensor four times as large, by "
            "the same threads in the same process; the best of several for both.",
        ],
        "bars": bars,
        "tables": [
            table("Speed", speed, rows),
            table("Codes to ratings, and memory bandwidth", forms, bounds),
        ],
        "left_out": field.left_out,
    }


def bound(n_factors: int, quick: bool) -> list[Any]:
    """Pairs a second from large tables, and the highest rate that the memory allows."""
    table_bytes = CACHES * last_level_cache()
    request = {
        "n_factors": n_factors,
        "n_rows": table_bytes // (4 * n_factors),
        "n_pairs": 200_000 if quick else 2_000_000,
        "copied_bytes": 4 * table_bytes,
        "repeats": 3 if quick else 9,
    }
    reply, _ = exchange("sklrec", "sklrec_codes", request, {})
    n_bytes = 2 * 8 + 2 * 4 * (n_factors + 1) + 8
    most = reply["bandwidth"] / n_bytes
    reached = request["n_pairs"] / reply["seconds"]
    rates = reached / MILLION, most / MILLION
    return [n_factors, n_bytes, reply["bandwidth"] / 1e9, *rates, reached / most]


def sample(log: pd.DataFrame, n: int) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame({name: rng.choice(log[name].to_numpy(), n) for name in ("user", "item")})
