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
from typing import Any

from benchmarks._data import described_movielens
from benchmarks._measure import alternate, thread_variables
from benchmarks._peers import ROOT
from benchmarks._results import table
from benchmarks._torch import Clock
from sklrec import DenseRecRegressor, SequenceRatingRegressor

ONE, TWO = "One process", "Two processes"
ARMS = {ONE: (1, 1), "One process, two threads": (1, 2), TWO: (2, 1)}  # processes, threads of each
MODELS: dict[str, Any] = {
    "DenseRecRegressor": DenseRecRegressor(),
    "DenseRecRegressor, layers of 1,024 and 512, batches of 8,192": DenseRecRegressor(
        hidden_layer_sizes=(1024, 512), batch_size=8_192
    ),
    "SequenceRatingRegressor": SequenceRatingRegressor(),
    "SequenceRatingRegressor, 128 hidden units, batches of 16,384": SequenceRatingRegressor(
        hidden_size=128, batch_size=16_384
    ),
}


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
            raise RuntimeError(f"The fits differ: their last losses are {losses}.")
        rows.append([name, *seconds.values(), seconds[ONE] / seconds[TWO]])
    return {
        "title": "Two processes that train together",
        "notes": [
            'device="accelerate" in two processes that torchrun started on this machine, with '
            "gloo and one torch thread each, beside one process with one thread and with two. "
            "MovieLens 100K; the training alone, without encoding. Each figure is the median of "
            "three starts, and each start gives the median of its fits after the first. The two "
            "processes end at the loss of the one."
        ],
        "tables": [
            table(
                "Seconds an epoch",
                {"Model": "", **dict.fromkeys(ARMS, ".4f"), "Speed-up of two processes": ".2f"},
                rows,
            )
        ],
    }


def launch(name: str, arm: str, losses: dict[str, float], quick: bool) -> float:
    n_processes, n_threads = ARMS[arm]
    launcher = ["torch.distributed.run", "--standalone", f"--nproc-per-node={n_processes}"]
    with TemporaryDirectory() as folder:
        path = Path(folder) / "found.json"
        script = ["-m", "benchmarks.distributed", name, str(path), "1" if quick else "3"]
        environment = os.environ | thread_variables(n_threads) | {"ACCELERATE_USE_CPU": "true"}
        command = [sys.executable, "-m", *launcher, *script]
        subprocess.run(command, check=True, cwd=ROOT, env=environment)
        found = json.loads(path.read_text())
    losses[arm] = found["loss"]
    return found["seconds"]


def fit(name: str, path: Path, repeats: int) -> None:
    """Fit a model in this process, together with the other processes if there are any."""
    estimator, log, clock = MODELS[name], described_movielens(), Clock()
    columns = ["user", "item"]
    if isinstance(estimator, SequenceRatingRegressor):
        columns.append("timestamp")
    estimator.set_params(random_state=0, callbacks=[clock], max_epochs=3, device="accelerate")
    seconds = []
    for _ in range(1 + repeats):
        estimator.fit(log[columns], log["rating"])
        seconds.append(clock.seconds / estimator.n_iter_)
    if int(os.environ["RANK"]) == 0:
        found = {"seconds": median(seconds[1:]), "loss": estimator.loss_curve_[-1]}
        path.write_text(json.dumps(found))


if __name__ == "__main__":
    fit(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
