"""Cost of a training step with small and with large tables."""
# SPDX-License-Identifier: BSD-3-Clause

import warnings
from functools import partial
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd
import torch
from skorch.callbacks import Callback

from benchmarks._measure import alternate
from benchmarks._results import bar, table
from sklrec import DenseRecRegressor, MFRegressor, SequenceRatingRegressor

BATCH_SIZE = 4096
SIZES = {"small": (10_000, 1_000), "large": (1_000_000, 100_000)}
RATINGS_PER_USER = 2  # in both catalogues, so that histories have the same lengths
IDS = ["user", "item"]
MODELS = {MFRegressor: IDS, DenseRecRegressor: IDS, SequenceRatingRegressor: [*IDS, "timestamp"]}


class Steps(Callback):
    """Time from batch to batch, with all work of skorch between them; ends the training."""

    def __init__(self, n_steps: int):
        self.n_steps = n_steps

    def on_train_begin(self, net, **kwargs):
        self.starts: list[float] = []

    def on_batch_begin(self, net, **kwargs):
        self.starts.append(perf_counter())
        if len(self.starts) > self.n_steps:
            raise KeyboardInterrupt

    @property
    def seconds(self) -> float:
        """The median, without the first step, which makes the state of the optimiser."""
        return median(np.diff(self.starts)[1:].tolist())


def run(*, quick: bool = False) -> dict[str, Any]:
    """Alternate the catalogues; all models see the same ratings."""
    logs = {name: made_log(*sizes) for name, sizes in SIZES.items()}
    n_steps, repeats = (12, 1) if quick else (60, 5)
    rows, bars = [], []
    for estimator, columns in MODELS.items():
        name = estimator.__name__
        take = {
            size: partial(step_seconds, estimator, logs[size], columns, n_steps) for size in SIZES
        }
        found = alternate(take, repeats)
        whole = None
        if estimator is not MFRegressor:
            adam = {"optimizer": torch.optim.Adam}
            whole = 1e3 * step_seconds(estimator, logs["large"], columns, 6, **adam)
        ratio = found["large"] / found["small"]
        rows.append([name, 1e3 * found["small"], 1e3 * found["large"], ratio, whole])
        bars.append(bar(f"Step of {name}, large over small catalogue", ratio, 2.0, ".2f"))
    sizes = {
        name: f"{users:,} users and {items:,} items" for name, (users, items) in SIZES.items()
    }
    return {
        "title": "Cost of a step",
        "notes": [
            f"A step of {BATCH_SIZE:,} ratings with default parameters, from one batch to the "
            f"next of a `fit`, the median, for a catalogue of {sizes['small']} and for one of "
            f"{sizes['large']}. The default optimiser moves all rows of small tables, and of "
            "large tables the rows of the batch. The last column is a step with "
            "`optimizer=torch.optim.Adam`, which moves all rows of the large tables."
        ],
        "bars": bars,
        "tables": [
            table(
                "Milliseconds a step",
                {"": "", "Small": ".2f", "Large": ".2f", "Large over small": ".2f"}
                | {"Large, all rows": ".0f"},
                rows,
            )
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


def step_seconds(
    estimator: Any, log: pd.DataFrame, columns: list[str], n_steps: int, **options: Any
) -> float:
    """Median seconds of a step of a fit that ends after some of them."""
    clock = Steps(n_steps)
    model = estimator(
        batch_size=BATCH_SIZE,
        max_epochs=n_steps * BATCH_SIZE // len(log) + 1,
        callbacks=[clock],
        random_state=0,
        **options,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # it says that the fit was interrupted
        try:
            model.fit(log[columns], log["rating"])
        except KeyboardInterrupt:
            if len(clock.starts) <= n_steps:
                raise  # a person interrupted the benchmark
    return clock.seconds
