"""Command line of the comparison, and the process that runs the cases of one checkout."""
# SPDX-License-Identifier: BSD-3-Clause

import argparse
import os
import pickle
import subprocess
import sys
import time
import warnings
from fnmatch import fnmatch
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.sparse import issparse

import benchmarks.behaviour
import benchmarks.behaviour._fits
import benchmarks.behaviour._others
from benchmarks._measure import thread_variables
from benchmarks.behaviour._library import CASES

ROOT = Path(__file__).parents[2]


def main() -> None:
    """Compare two checkouts."""
    if sys.argv[1:2] == ["--run"]:
        return run_cases(*map(Path, sys.argv[2:4]), sys.argv[4:])
    parser = argparse.ArgumentParser(description=benchmarks.behaviour.__doc__.splitlines()[0])
    parser.add_argument("old", type=Path, help="checkout to compare with")
    parser.add_argument("new", type=Path, nargs="?", default=ROOT)
    parser.add_argument("--only", default="*", help="pattern of the names of cases")
    options = parser.parse_args()
    names = [name for name in CASES if fnmatch(name, options.only)]
    if not names:
        parser.error(f"No case matches {options.only!r}. The cases are {', '.join(CASES)}.")
    checkouts = [options.old.resolve(), options.new.resolve()]
    old, new = (collect(checkout, names) for checkout in checkouts)
    width, n_failed = max(map(len, names)), 0
    for name in names:
        (before, old_seconds), (after, new_seconds) = old[name], new[name]
        words = verdict(before, after)
        n_failed += words != "equal"
        print(f"{name:{width}}  {old_seconds:5.1f} s {new_seconds:5.1f} s  {words}")
    print(f"{len(names)} cases, {n_failed} of them differ or fail.")
    sys.exit(n_failed > 0)


def collect(checkout: Path, names: list[str]) -> dict[str, Any]:
    """Results and seconds of the cases, by name, from a process of its own."""
    with TemporaryDirectory() as folder:
        # The cases are those of this file's checkout, the package is that of the other one.
        (Path(folder) / "sklrec").symlink_to(checkout / "sklrec")
        environment = os.environ | thread_variables(1) | {"MPLBACKEND": "agg"}
        environment |= {"PYTHONPATH": f"{folder}{os.pathsep}{ROOT}", "PYTHONHASHSEED": "0"}
        command = [sys.executable, "-m", "benchmarks.behaviour", "--run", folder, checkout, *names]
        subprocess.run(command, cwd=folder, env=environment, check=True)
        return pickle.loads((Path(folder) / "results.pkl").read_bytes())


def run_cases(folder: Path, checkout: Path, names: list[str]) -> None:
    """Run the cases with the code of this process's path, and write what each returns."""
    source = Path(import_module("sklrec").__file__).resolve()
    if not source.is_relative_to(checkout):
        raise ImportError(f"sklrec was read from {source}, not from {checkout}.")
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    results = {}
    for name in names:
        started = time.perf_counter()
        try:
            result: Any = flat(CASES[name]())
        except Exception as error:  # an error is a result too
            result = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
        results[name] = result, time.perf_counter() - started
    (folder / "results.pkl").write_bytes(pickle.dumps(results))


def flat(value: Any, path: str = "") -> dict[str, np.ndarray]:
    """Arrays by their place in nested values."""
    if isinstance(value, pd.DataFrame):
        value = {"columns": list(value.columns), "index": value.index, **value}
    elif isinstance(value, pd.Series | pd.Index):
        value = {"values": value.to_numpy(), "dtype": str(value.dtype)}
    if isinstance(value, dict):
        parts = [flat(part, f"{path}/{name}") for name, part in value.items()]
        return {place: leaf for part in parts for place, leaf in part.items()}
    if isinstance(value, list | tuple) and not all(isinstance(v, int | float) for v in value):
        return flat(dict(enumerate(value)), path) | {f"{path}/length": np.asarray(len(value))}
    if issparse(value):
        value = value.toarray()
    return {path: np.asarray(value)}


def difference(old: np.ndarray | None, new: np.ndarray | None) -> float:
    """Largest absolute difference; inf for another type or shape, other IDs, or no array."""
    if old is None or new is None or (old.dtype, old.shape) != (new.dtype, new.shape):
        return np.inf
    if old.dtype.kind == "f":
        a, b = (np.nan_to_num(side, nan=1e30) for side in (old, new))
        return float(np.max(np.abs(a - b), initial=0))
    is_object = old.dtype.kind == "O"
    a, b = ([*map(repr, x.ravel())] if is_object else x.tobytes() for x in (old, new))
    return 0.0 if a == b else np.inf


def verdict(old: Any, new: Any) -> str:
    """Words of the row of a case."""
    sides = {"OLD": old, "NEW": new}
    if errors := [f"error in {s}: {text}" for s, text in sides.items() if isinstance(text, str)]:
        return "; ".join(errors)
    found = {place: difference(old.get(place), new.get(place)) for place in sorted(old | new)}
    place, n_differ = max(found, key=found.__getitem__), np.count_nonzero([*found.values()])
    if not n_differ:
        return "equal"
    return f"{n_differ} of {len(found)} arrays differ, by at most {found[place]:.3g}: {place}"


if __name__ == "__main__":
    main()
