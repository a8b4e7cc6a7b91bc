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
        parser.error(f"no case is called {options.only!r}; there are {', '.join(CASES)}")
    checkouts = [options.old.resolve(), options.new.resolve()]
    for checkout in checkouts:
        if not (checkout / "sklrec" / "__init__.py").exists():
            parser.error(f"{checkout} is no checkout: it has no folder sklrec")
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


def difference(old: np.ndarray, new: np.ndarray) -> float | str:
    """Largest absolute difference, or words for another one; 0 if there is none."""
    if (old.dtype, old.shape) != (new.dtype, new.shape):
        return f"{old.dtype}{list(old.shape)} became {new.dtype}{list(new.shape)}"
    if old.dtype.kind == "O":
        changed = [repr(a) != repr(b) for a, b in zip(old.ravel(), new.ravel(), strict=True)]
        return f"{sum(changed)} of {len(changed)} values changed" if any(changed) else 0.0
    if np.array_equal(old, new, equal_nan=old.dtype.kind in "fcmM"):
        return 0.0
    if old.dtype.kind != "f":  # a distance between IDs means nothing
        return f"{np.count_nonzero(old != new)} of {old.size} values changed"
    if not np.array_equal(np.isfinite(old), np.isfinite(new)):
        return "other values are missing or infinite"
    return float(np.nanmax(np.abs(old - new)))


def verdict(old: Any, new: Any) -> str:
    """Words of the row of a case."""
    sides = {"OLD": old, "NEW": new}
    if errors := [f"error in {s}: {text}" for s, text in sides.items() if isinstance(text, str)]:
        return "; ".join(errors)
    found = {place: difference(old[place], new[place]) for place in old.keys() & new.keys()}
    found |= dict.fromkeys(old.keys() - new.keys(), "only in OLD")
    found |= dict.fromkeys(new.keys() - old.keys(), "only in NEW")
    differing = {place: what for place, what in sorted(found.items()) if what != 0}
    if not differing:
        return "equal"
    words = [f"{what} in {p}" for p, what in differing.items() if isinstance(what, str)][:1]
    if numbers := {p: what for p, what in differing.items() if isinstance(what, float)}:
        place = max(numbers, key=numbers.__getitem__)
        words.insert(0, f"differs by {numbers[place]:.3g} in {place}")
    return "; ".join([*words, f"{len(differing)} of {len(found)} arrays differ"])


if __name__ == "__main__":
    main()
