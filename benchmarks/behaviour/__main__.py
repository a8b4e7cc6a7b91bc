"""Command line of the comparison."""
# SPDX-License-Identifier: BSD-3-Clause

import argparse
import os
import pickle
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import benchmarks.behaviour
import benchmarks.behaviour._fits
import benchmarks.behaviour._others
from benchmarks.behaviour._case import CASES
from benchmarks.behaviour._compare import verdict
from benchmarks.behaviour._process import run_cases

ROOT = Path(__file__).parents[2]
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def collect(checkout: Path, names: list[str]) -> dict[str, Any]:
    """Results and seconds of the cases, by name, from a process of its own."""
    with TemporaryDirectory() as folder:
        # The cases are those of this file's checkout, the package is that of the other one.
        (Path(folder) / "sklrec").symlink_to(checkout / "sklrec")
        environment = os.environ | dict.fromkeys(THREADS, "1")
        environment |= {"PYTHONPATH": os.pathsep.join([folder, str(ROOT)])}
        environment |= {"PYTHONHASHSEED": "0", "MPLBACKEND": "agg"}
        command = [sys.executable, "-m", "benchmarks.behaviour", "--run", folder, str(checkout)]
        ended = subprocess.run(
            command + names, cwd=folder, env=environment, capture_output=True, text=True
        )
        lines = ended.stderr.strip().splitlines()
        missing = f"the process ended with {ended.returncode}: {lines[-1] if lines else ''}", 0.0
        found = {}
        for name in names:
            path = Path(folder) / f"{list(CASES).index(name)}.pkl"
            found[name] = pickle.loads(path.read_bytes()) if path.exists() else missing
    return found


def main() -> None:
    """Compare two checkouts."""
    if sys.argv[1:2] == ["--run"]:
        _, _, folder, checkout, *names = sys.argv
        return run_cases(Path(folder), Path(checkout), names)
    parser = argparse.ArgumentParser(description=benchmarks.behaviour.__doc__.splitlines()[0])
    parser.add_argument("old", type=Path, help="checkout to compare with")
    parser.add_argument("new", type=Path, nargs="?", default=ROOT)
    parser.add_argument("--only", default="*", help="pattern of the names of cases")
    options = parser.parse_args()
    names = [name for name in CASES if fnmatch(name, options.only)]
    if not names:
        parser.error(f"no case is called {options.only!r}; there are {', '.join(CASES)}")
    for checkout in (options.old, options.new):
        if not (checkout / "sklrec" / "__init__.py").exists():
            parser.error(f"{checkout} is no checkout: it has no folder sklrec")
    old, new = (collect(path.resolve(), names) for path in (options.old, options.new))
    width, n_failed = max(map(len, names)), 0
    for name in names:
        (before, old_seconds), (after, new_seconds) = old[name], new[name]
        as_declared, words = verdict(CASES[name], before, after)
        n_failed += not as_declared
        print(f"{name:{width}}  {old_seconds:5.1f} s {new_seconds:5.1f} s  {words}")
    print(f"{len(names)} cases, {n_failed} of them differ or fail.")
    return sys.exit(1 if n_failed else 0)


if __name__ == "__main__":
    main()
