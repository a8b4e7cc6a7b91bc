"""Runs models, each library in its own environment, and each request in its own process."""
# SPDX-License-Identifier: BSD-3-Clause

import json
import os
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from benchmarks._data import mae, rmse
from benchmarks._measure import THREADS, thread_variables
from benchmarks._models import Model
from benchmarks.peers._serve import WARM_UP_ROWS

ROOT = Path(__file__).parents[1]
ENVIRONMENTS = ROOT / "benchmarks" / ".envs"
RECENT = ["numpy==2.4.6", "pandas==3.1.1"]
REQUIREMENTS = {
    "surprise": ["scikit-surprise==1.1.5", "numpy==1.26.4", "pandas==2.3.3"],
    "cornac": ["cornac==3.0.1", *RECENT],
    "lenskit": ["lenskit==2025.8.1", "torch==2.13.0", "numpy==2.4.6", "pandas==2.3.3"],
    "myfm": ["myfm==0.4.0", "scikit-learn==1.9.1", *RECENT],
    "libmf": ["libmf==0.9.2", *RECENT],
    "implicit": ["implicit==0.7.3", "numpy==2.4.6", "scipy==1.17.1", "pandas==3.1.1"],
    # without a pin of torchvision it brings another torch
    "fastai": ["fastai==2.8.12", "torch==2.13.0", "torchvision==0.28.0", *RECENT],
}
_environments: dict[str, Any] = {}  # path of a Python, or the reason why there is none


class LeftOut(Exception):
    """A library that could not be installed, that failed, or that took too long."""


class Answer(NamedTuple):
    """Clipped predictions of one fit, and its cost in seconds and bytes."""

    prediction: np.ndarray
    build_seconds: float
    fit_seconds: float
    predict_seconds: float
    peak_bytes: float
    fit_bytes: float
    predict_bytes: float


class Field:
    """Models of one benchmark; a model that fails drops out, and `left_out` says why."""

    def __init__(
        self, models: Iterable[Model], time_limit: float | None = None, threads: int = THREADS
    ):
        self.models = list(models)
        self.left_out: list[str] = []
        self.time_limit = time_limit
        self.threads = threads

    def run(self, model: Model, *args: Any, **kwargs: Any) -> list[Answer] | None:
        """Answers of `run`, or None for a model that has dropped out."""
        if model not in self.models:
            return None
        try:
            options = {"time_limit": self.time_limit, "threads": self.threads}
            return run(model, *args, **options, **kwargs)
        except LeftOut as reason:
            self.models.remove(model)
            self.left_out.append(f"{model.name}: left out, {reason}")
            print(self.left_out[-1], flush=True)
            return None

    def measure(
        self,
        model: Model,
        train: pd.DataFrame,
        test: pd.DataFrame,
        jobs: Sequence[dict[str, Any]] = ({},),
        **facts: Any,
    ) -> list[dict[str, Any]]:
        """One row for each job: the facts, the errors on the test rows, seconds and megabytes."""
        rows = []
        for answer in self.run(model, train, test, jobs) or []:
            truth = test["rating"].to_numpy()
            setting = ", ".join(f"{name}={value}" for name, value in jobs[len(rows)].items())
            row = {"model": model.name, **facts, "setting": setting}
            row |= {
                "rmse": rmse(truth, answer.prediction),
                "mae": mae(truth, answer.prediction),
                "fit_seconds": answer.fit_seconds,
                "total_seconds": answer.build_seconds + answer.fit_seconds,
                "predict_seconds": answer.predict_seconds,
                "peak_mb": answer.peak_bytes / 1e6,
            }
            rows.append(row)
            print(model.name, facts, setting, f"RMSE {row['rmse']:.4f}", flush=True)
        return rows


def run(
    model: Model,
    train: pd.DataFrame,
    pairs: pd.DataFrame,
    jobs: Sequence[dict[str, Any]] = ({},),
    *,
    warm_up: bool = True,
    repeats: int = 1,
    time_limit: float | None = None,
    threads: int = THREADS,
    scale: tuple[float, float] | None = None,
) -> list[Answer]:
    """Fit on `train` and predict `pairs`, once for each job, in one new process.

    Columns of `train` other than `user`, `item` and `rating` are side features. The settings of a
    job are added to those of the model. With `repeats`, the median time of the predictions counts.
    Predictions are clipped to `scale`, by default the range of the ratings.
    """
    if scale is None:
        scale = float(train["rating"].min()), float(train["rating"].max())
    request = {
        "jobs": [{**model.params, **job} for job in jobs],
        "scale": scale,
        "warm_up_rows": WARM_UP_ROWS if warm_up else 0,
        "repeats": repeats,
    }
    columns = {f"train_{column}": _plain(train[column]) for column in train}
    asked = {f"test_{column}": _plain(pairs[column]) for column in train if column != "rating"}
    replies, predictions = exchange(
        model.library, model.library, request, columns | asked, time_limit, threads
    )
    return [
        Answer(np.clip(predictions[str(number)], *scale), **reply)
        for number, reply in enumerate(replies)
    ]


def exchange(
    library: str, task: str, request: Any, arrays: Any, *limits: Any
) -> tuple[Any, dict[str, np.ndarray]]:
    """Answer of a task of `benchmarks.peers` to a request, and its arrays, by a new process.

    `limits` are the seconds after which the process is ended, and its number of threads.
    """
    python = environment(library)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "request.json").write_text(json.dumps(request))
        np.savez(folder / "data.npz", **arrays)
        _call([python, "-m", "benchmarks.peers.libraries", task, name], *limits)
        with np.load(folder / "reply.npz") as found:
            return json.loads((folder / "reply.json").read_text()), dict(found)


def environment(library: str) -> Path:
    """Path of a Python that has the library; a missing environment is made, or tried, once."""
    if library == "sklrec":
        return Path(sys.executable)
    if library not in _environments:
        try:
            _environments[library] = _make_environment(library)
        except LeftOut as reason:
            _environments[library] = LeftOut(f"cannot be installed here: {reason}")
    if isinstance(found := _environments[library], LeftOut):
        raise found
    return found


def _make_environment(library: str) -> Path:
    folder = ENVIRONMENTS / library
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    stamp = folder / "installed.txt"
    wanted = "\n".join(REQUIREMENTS[library])
    if not stamp.exists() or stamp.read_text() != wanted:
        print(f"making an environment with {', '.join(REQUIREMENTS[library])}", flush=True)
        venv.create(folder, clear=True, with_pip=True)
        install = [python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        _call([*install, "setuptools", "wheel"])  # for packages that are built from source
        _call([*install, *REQUIREMENTS[library]])
        stamp.write_text(wanted)
    return python


def _call(
    command: list[str | Path], time_limit: float | None = None, threads: int = THREADS
) -> None:
    try:
        options = {"cwd": ROOT, "env": os.environ | thread_variables(threads)}
        options |= {"timeout": time_limit, "capture_output": True, "text": True}
        done = subprocess.run(command, **options, check=False)
    except subprocess.TimeoutExpired:
        raise LeftOut(f"slower than {time_limit:g} s") from None
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise LeftOut(lines[-1])


def _plain(column: pd.Series) -> np.ndarray:
    """An array without objects: numbers as they are, all others as text."""
    return column.to_numpy() if column.dtype.kind in "iuf" else column.to_numpy(dtype=str)
