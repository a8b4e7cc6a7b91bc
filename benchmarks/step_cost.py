"""Cost of a training step with small and with large tables."""
# SPDX-License-Identifier: BSD-3-Clause

from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch

from benchmarks._measure import alternate
from benchmarks._results import bar, table
from benchmarks._training import Clock
from sklrec import DenseRecRegressor, MFRegressor, SequenceRatingRegressor

BATCH_SIZE = 4096
SIZES = {"small": (10_000, 1_000), "large": (100_000, 50_000)}  # users and items
RATINGS_PER_USER = 2  # in both catalogues, so that histories have the same lengths
IDS = ["user", "item"]
MODELS = {MFRegressor: IDS, DenseRecRegressor: IDS, SequenceRatingRegressor: [*IDS, "timestamp"]}


def run(*, quick: bool = False) -> dict[str, Any]:
    """Alternate the catalogues; all models see the same ratings."""
    logs = {name: made_log(*sizes) for name, sizes in SIZES.items()}
    rows, bars = [], []
    for estimator, columns in MODELS.items():
        take = {size: partial(step_seconds, estimator, logs[size], columns) for size in SIZES}
        found = alternate(take, 1 if quick else 5)
        adam = step_seconds(estimator, logs["large"], columns, optimizer=torch.optim.Adam)
        name, ratio = estimator.__name__, found["large"] / found["small"]
        rows.append([name, 1e3 * found["small"], 1e3 * found["large"], ratio, 1e3 * adam])
        bars.append(bar(f"Step of {name}, large over small catalogue", ratio, 2.0, ".2f"))
    sizes = " and ".join(f"{users:,} users x {items:,} items" for users, items in SIZES.values())
    forms = {"Small": ".2f", "Large": ".2f", "Large over small": ".2f"}
    return {
        "title": "Cost of a step",
        "notes": [
            f"A step of {BATCH_SIZE:,} ratings with default parameters, the mean of an epoch, "
            f"for catalogues of {sizes}. The default optimiser moves the rows of the batch in "
            "large tables. The last column is a step with `optimizer=torch.optim.Adam`, which "
            "moves all rows."
        ],
        "bars": bars,
        "tables": [
            table("Milliseconds a step", {"": "", **forms, "Large, all rows": ".0f"}, rows)
        ],
    }


def made_log(n_users: int, n_items: int) -> pd.DataFrame:
    """Ratings by all users of all items, most of popular items, in random order."""
    rng = np.random.default_rng(0)
    n = n_users * RATINGS_PER_USER
    items = (n_items * rng.random(n) ** 2).astype(np.int64)
    items[:n_items] = np.arange(n_items)
    users = rng.permutation(np.arange(n) % n_users)
    log = pd.DataFrame({"user": users, "item": items, "timestamp": rng.permutation(n)})
    return log.assign(rating=rng.integers(1, 6, n).astype(np.float64))


def step_seconds(estimator: Any, log: pd.DataFrame, columns: list[str], **options: Any) -> float:
    """Mean seconds of a step, from one epoch over a large log and ten over a small one."""
    clock = Clock()
    options |= {"max_epochs": 1 if len(log) > 100_000 else 10, "callbacks": [clock]}
    model = estimator(batch_size=BATCH_SIZE, random_state=0, **options)
    model.fit(log[columns], log["rating"])
    return clock.seconds / (model.n_iter_ * -(-len(log) // BATCH_SIZE))
