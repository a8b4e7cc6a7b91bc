"""What a step of the training costs where the tables are small, and where they are large."""
# SPDX-License-Identifier: BSD-3-Clause

import warnings
from collections.abc import Callable
from functools import partial
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd
import torch
from skorch.callbacks import Callback

from benchmarks._measure import alternate
from benchmarks._results import bar
from sklrec import DenseRecRegressor, MFRegressor, SequenceRatingRegressor

BATCH_SIZE = 4096
SIZES = {"small": (10_000, 1_000), "large": (1_000_000, 100_000)}
# Two for each user of either catalogue: histories of the same lengths.
RATINGS_PER_USER = 2
IDS = ["user", "item"]
MODELS: dict[str, Callable[..., Any]] = {
    "MFRegressor, sgd": lambda **options: MFRegressor(**options),
    "MFRegressor, adam": lambda **options: MFRegressor(solver="adam", **options),
    "DenseRecRegressor": lambda **options: DenseRecRegressor(**options),
    "SequenceRatingRegressor": lambda **options: SequenceRatingRegressor(**options),
}
COLUMNS = {"SequenceRatingRegressor": [*IDS, "timestamp"]}


class Steps(Callback):
    """Time from batch to batch, all that skorch does in between included; ends the training."""

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
        """The median, without the first step, which makes the optimiser's state."""
        return median(np.diff(self.starts)[1:].tolist())


def run(*, quick: bool = False) -> dict[str, Any]:
    """Alternate the catalogues; all models see the same ratings."""
    logs = {name: made_log(*sizes) for name, sizes in SIZES.items()}
    n_steps, repeats = (12, 1) if quick else (60, 5)
    rows, bars = [], []
    for name, make in MODELS.items():
        functions = {
            size: partial(step_seconds, name, make, logs[size], n_steps) for size in SIZES
        }
        found = alternate(functions, repeats)
        whole = None
        if name != "MFRegressor, sgd":
            whole = step_seconds(name, make, logs["large"], 6, optimizer=torch.optim.Adam)
        ratio = found["large"] / found["small"]
        rows.append([name, 1e3 * found["small"], 1e3 * found["large"], ratio, as_ms(whole)])
        bars.append(bar(f"Step of {name}, large over small catalogue", ratio, 2.0, ".2f"))
    sizes = {
        name: f"{users:,} users and {items:,} items" for name, (users, items) in SIZES.items()
    }
    return {
        "title": "Cost of a step",
        "notes": [
            f"A step of {BATCH_SIZE:,} ratings with default parameters otherwise, from one "
            f"batch to the next of a `fit`, the median; for a catalogue of {sizes['small']}, and "
            f"for one of {sizes['large']}. Adam moves all rows of small tables, and of large ones "
            "those that the batch touches; the last column is what it takes to move all of the "
            "large ones, with `optimizer=torch.optim.Adam`.",
        ],
        "bars": bars,
        "tables": [
            {
                "title": "Milliseconds a step",
                "columns": {
                    "": "",
                    "Small": ".2f",
                    "Large": ".2f",
                    "Large over small": ".2f",
                    "Large, all rows": "",
                },
                "rows": rows,
            }
        ],
    }


def made_log(n_users: int, n_items: int) -> pd.DataFrame:
    """Ratings of all users and of all items, most of them of a few popular ones, in any order."""
    rng = np.random.default_rng(0)
    n = n_users * RATINGS_PER_USER
    items = (n_items * rng.random(n) ** 2).astype(np.int64)
    items[:n_items] = np.arange(n_items)
    return pd.DataFrame(
        {
            "user": rng.permutation(np.arange(n) % n_users),
            "item": items,
            "timestamp": rng.permutation(n),
            "rating": rng.integers(1, 6, n).astype(np.float64),
        }
    )


def step_seconds(
    name: str, make: Callable[..., Any], log: pd.DataFrame, n_steps: int, **options: Any
) -> float:
    """Median seconds of a step of a fit that ends after some of them."""
    clock = Steps(n_steps)
    model = make(
        batch_size=BATCH_SIZE,
        max_epochs=n_steps * BATCH_SIZE // len(log) + 1,
        callbacks=[clock],
        random_state=0,
        **options,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that it was interrupted
        try:
            model.fit(log[COLUMNS.get(name, IDS)], log["rating"])
        except KeyboardInterrupt:
            if len(clock.starts) <= n_steps:
                raise  # it was somebody's
    return clock.seconds


def as_ms(value: float | None) -> str:
    """Milliseconds as text, or that there is nothing to measure."""
    return "" if value is None else f"{1e3 * value:.0f}"
