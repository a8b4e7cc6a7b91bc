"""Epochs of two processes that train together beside those of one process."""
# SPDX-License-Identifier: BSD-3-Clause

import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

from skorch.callbacks import Callback

from benchmarks._data import described_movielens, made
from benchmarks._measure import alternate, thread_variables
from benchmarks._peers import ROOT
from sklrec import DenseRecRegressor, MFRegressor, SequenceRatingRegressor

ONE = "one process"
TWO_THREADS = "one process, two threads"
TWO = "two processes"
ARMS = {ONE: (1, 1), TWO_THREADS: (1, 2), TWO: (2, 1)}  # processes, and threads of each

# Name: the estimator, and the number of ratings of a made log or None for MovieLens 100K.
MODELS: dict[str, tuple[Any, int | None]] = {
    "MFRegressor, sgd": (MFRegressor(), None),
    "MFRegressor, sgd, batches of 65,536": (MFRegressor(batch_size=65_536), 1_000_000),
    "MFRegressor, adam": (MFRegressor(solver="adam"), None),
    "DenseRec": (DenseRecRegressor(), None),
    "DenseRec, layers of 1,024 and 512, batches of 8,192": (
        DenseRecRegressor(hidden_layer_sizes=(1024, 512), batch_size=8_192),
        None,
    ),
    "Sequence": (SequenceRatingRegressor(), None),
    "Sequence, 128 hidden units, batches of 16,384": (
        SequenceRatingRegressor(hidden_size=128, batch_size=16_384),
        None,
    ),
}


class Clock(Callback):
    """Seconds of the epochs themselves, without encoding."""

    def on_train_begin(self, net, **kwargs):
        self.start = perf_counter()

    def on_train_end(self, net, **kwargs):
        self.seconds = perf_counter() - self.start


def run(*, quick: bool = False) -> dict[str, Any]:
    """Let one process, one with two threads and two processes take turns at the same fits."""
    rows = []
    for name in MODELS:
        losses: dict[str, float] = {}
        functions: dict[str, Callable[[], float]] = {
            arm: partial(launch, name, arm, losses, quick) for arm in ARMS
        }
        seconds = alternate(functions, 1 if quick else 3)
        if abs(losses[ONE] / losses[TWO] - 1) > 1e-3:
            raise RuntimeError(f"not the same fit: the last losses are {losses}")
        rows.append([name, *seconds.values(), seconds[ONE] / seconds[TWO]])
    return {
        "title": "Two processes that train together",
        "notes": [
            "distributed=True in two processes that torchrun started on this machine, with gloo "
            "and one torch thread each, beside one process with one thread and with two. The "
            "training alone, without encoding; each figure is the median of three starts, and "
            "each start gives the median of its fits after the first. MovieLens 100K, and a made "
            "log of 1,000,000 ratings by 20,000 users of 5,000 items where batches are of 65,536. "
            "The two processes end at the loss of the one."
        ],
        "bars": [],
        "tables": [
            {
                "title": "Seconds an epoch",
                "columns": {
                    "Model": "",
                    **dict.fromkeys((name.capitalize() for name in ARMS), ".4f"),
                    "Speed-up of two processes": ".2f",
                },
                "rows": rows,
            }
        ],
    }


def launch(name: str, arm: str, losses: dict[str, float], quick: bool) -> float:
    """Seconds an epoch, measured by a start of its own."""
    n_processes, n_threads = ARMS[arm]
    with TemporaryDirectory() as folder:
        path = Path(folder) / "found.json"
        script = ["-m", "benchmarks.distributed", name, str(path), "1" if quick else "3"]
        launcher = [
            "-m",
            "torch.distributed.run",
            "--standalone",
            f"--nproc-per-node={n_processes}",
        ]
        environment = os.environ | thread_variables(n_threads)
        subprocess.run([sys.executable, *launcher, *script], check=True, cwd=ROOT, env=environment)
        found = json.loads(path.read_text())
    losses[arm] = found["loss"]
    return found["seconds"]


def fit(name: str, path: Path, repeats: int) -> None:
    """Fit a model in this process, together with the others if there are any."""
    estimator, n_ratings = MODELS[name]
    log = described_movielens() if n_ratings is None else made(20_000, 5_000, n_ratings)
    columns = ["user", "item"]
    if isinstance(estimator, SequenceRatingRegressor):
        columns.append("timestamp")
    clock = Clock()
    estimator.set_params(random_state=0, callbacks=[clock], max_epochs=3, distributed=True)
    seconds = []
    for _ in range(1 + repeats):
        estimator.fit(log[columns], log["rating"])
        seconds.append(clock.seconds / estimator.n_iter_)
    if int(os.environ["RANK"]) == 0:
        found = {"seconds": median(seconds[1:]), "loss": estimator.loss_curve_[-1]}
        path.write_text(json.dumps(found))


if __name__ == "__main__":
    fit(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
