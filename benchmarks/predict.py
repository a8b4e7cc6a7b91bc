"""How fast predictions come, and what memory they take beyond input and output."""
# SPDX-License-Identifier: BSD-3-Clause

from typing import Any

import numpy as np
import pandas as pd

from benchmarks._data import made, movielens
from benchmarks._models import CORNAC, OURS, SURPRISE
from benchmarks._peers import Field
from benchmarks._results import bar

# 32 factors for all. One epoch: a prediction takes as long with barely trained factors.
SETTINGS = {
    OURS.name: {"n_factors": 32, "max_epochs": 1},
    SURPRISE.name: {"n_factors": 32, "n_epochs": 1},
    CORNAC.name: {"k": 32, "max_iter": 1},
}
N_PAIRS = {OURS.name: 1_000_000, SURPRISE.name: 200_000, CORNAC.name: 200_000}
MILLION = 1e6


def run(*, quick: bool = False) -> dict[str, Any]:
    """Predict random pairs of known users and items."""
    large = made(100_000, 20_000, 200_000 if quick else 1_000_000)
    logs = {
        "MovieLens 100K": movielens(),
        "100,000 users, 20,000 items": large,
        "the same, IDs scattered over 60 bits": large.assign(
            user=scattered(large["user"]), item=scattered(large["item"])
        ),
    }
    field = Field([OURS, SURPRISE, CORNAC])
    rows, bars = [], []
    for title, log in logs.items():
        for model in list(field.models):
            pairs = sample(log, N_PAIRS[model.name])
            jobs = [SETTINGS[model.name]]
            for answer in field.run(model, log, pairs, jobs, repeats=1 if quick else 7) or []:
                rate = len(pairs) / answer.predict_seconds / MILLION
                rows.append([model.name, title, rate])
                if model is OURS:
                    bars.append(bar(f"Million pairs/s, {title}", rate, 3.0, ".2f", at_least=True))
    memory = {n: extra_memory(field, logs["MovieLens 100K"], n) for n in (1_000_000, 8_000_000)}
    few, many = (value for value in memory.values())
    bars.append(bar("MB that 8 M pairs need beyond those of 1 M", many - few, 8.0, ".1f"))
    return {
        "title": "Predictions per second",
        "notes": [
            "Integer IDs in, float64 ratings out, 32 factors; random pairs of known users and "
            "items. sklrec takes a DataFrame and encodes it, which is part of the time; the "
            "peers' own form of the pairs is made beforehand. Medians of 7 calls. Memory is "
            "the peak during `predict` beyond input and output.",
        ],
        "bars": bars,
        "tables": [
            {
                "title": "Speed",
                "columns": {"Model": "", "Fitted on": "", "Million pairs/s": ".2f"},
                "rows": rows,
            },
            {
                "title": "Memory beyond input and output, sklrec",
                "columns": {"Pairs": ",d", "MB": ".1f"},
                "rows": [list(row) for row in memory.items()],
            },
        ],
        "left_out": field.left_out,
    }


def sample(log: pd.DataFrame, n: int) -> pd.DataFrame:
    """Random pairs of the log's users and items."""
    rng = np.random.default_rng(0)
    columns = ("user", "item")
    return pd.DataFrame({name: rng.choice(log[name].to_numpy(), n) for name in columns})


def scattered(ids: pd.Series) -> np.ndarray:
    """Other IDs for the same users or items, without order and far apart."""
    codes, found = pd.factorize(ids)
    return np.random.default_rng(0).integers(1 << 60, size=len(found))[codes]


def extra_memory(field: Field, log: pd.DataFrame, n: int) -> float:
    """Peak MB of predicting n pairs in a fresh process, beyond input and output."""
    answers = field.run(OURS, log, sample(log, n), [SETTINGS[OURS.name]])
    return answers[0].predict_bytes / MILLION if answers else float("nan")
