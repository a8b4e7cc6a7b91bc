"""The process that runs cases with the code of one checkout."""
# SPDX-License-Identifier: BSD-3-Clause

import pickle
import time
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.sparse import issparse

from benchmarks.behaviour._case import CASES
from benchmarks.behaviour._library import Library

SEEDS = range(8)  # of cases that are declared to differ


def flat(value: Any, path: str = "") -> dict[str, np.ndarray]:
    """Arrays by their place in nested values."""
    if isinstance(value, pd.DataFrame):
        columns = {str(name): value.iloc[:, k] for k, name in enumerate(value.columns)}
        value = {"columns": list(columns), "index": value.index} | columns
    elif isinstance(value, pd.Series | pd.Index):
        value = {"values": value.to_numpy(), "dtype": str(value.dtype)}
    if isinstance(value, dict):
        parts = [flat(part, f"{path}/{name}") for name, part in value.items()]
        return {place: leaf for part in parts for place, leaf in part.items()}
    if isinstance(value, list | tuple) and not all(isinstance(v, int | float) for v in value):
        return flat(dict(enumerate(value)), path) | {f"{path}/length": np.asarray(len(value))}
    if issparse(value):
        value = value.toarray()
    if value is not None and not isinstance(
        value, np.ndarray | np.generic | torch.Tensor | str | bytes | int | float | list | tuple
    ):
        raise TypeError(f"{path} holds a {type(value).__name__}, which cannot be compared.")
    return {path: np.asarray(value)}


def run_cases(folder: Path, checkout: Path, names: list[str]) -> None:
    """Run the cases with the code of this process's path, and write what each returns."""
    source = Path(import_module("sklrec").__file__).resolve()
    if not source.is_relative_to(checkout):
        raise ImportError(f"sklrec was read from {source}, not from {checkout}.")
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    for name in names:
        started, seeds = time.perf_counter(), SEEDS if CASES[name].differs else [0]
        try:
            runs = [flat(CASES[name].run(Library(seed))) for seed in seeds]
            result: Any = runs[0] if len(runs) == 1 else mean_of(runs)
        except Exception as error:  # an error is a result too
            result = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        outcome = result, time.perf_counter() - started
        (folder / f"{list(CASES).index(name)}.pkl").write_bytes(pickle.dumps(outcome))


def mean_of(runs: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Means over seeds of numbers that have the same shape with each of them."""
    return {
        place: np.mean([run[place] for run in runs], axis=0)
        for place, leaf in runs[0].items()
        if leaf.dtype.kind in "fiu" and all(np.shape(run.get(place)) == leaf.shape for run in runs)
    }
