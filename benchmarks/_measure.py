"""Time and memory; the standard library alone, since every peer's environment imports it."""
# SPDX-License-Identifier: BSD-3-Clause

import os
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter

# Of every library; the variable is there for machines with a busy core.
THREADS = int(os.environ.get("BENCH_THREADS", "2"))
_THREAD_VARIABLES = (
    "BENCH_THREADS",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "RAYON_NUM_THREADS",
    "LK_NUM_THREADS",
    "LK_NUM_BACKEND_THREADS",
)
_STATUS = Path("/proc/self/status")


def settle_environment() -> None:
    """Give this process and its children the same threads and no BLAS tuning.

    Numeric libraries read these variables when they are loaded, so this comes before any of them.
    """
    for name in [name for name in os.environ if name.startswith("OPENBLAS_")]:
        del os.environ[name]
    os.environ.update(thread_variables(THREADS))


def thread_variables(n: int) -> dict[str, str]:
    """The environment variables that give a process n threads, whatever library it uses."""
    return dict.fromkeys(_THREAD_VARIABLES, str(n))


def seconds(function: Callable[[], object]) -> float:
    """Wall-clock seconds of one call."""
    start = perf_counter()
    function()
    return perf_counter() - start


def alternate(functions: dict[str, Callable[[], float]], repeats: int) -> dict[str, float]:
    """Median of what each function returns; they take turns, so that drift meets all alike."""
    values: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            values[name].append(function())
    return {name: median(found) for name, found in values.items()}


def resident_bytes() -> float:
    """Memory that this process holds now (NaN where there is no /proc)."""
    return _status("VmRSS")


def peak_bytes() -> float:
    """Most memory that this process held since `reset_peak` (NaN where there is no /proc)."""
    return _status("VmHWM")


def reset_peak() -> None:
    """Start the next peak from what is held now."""
    if _STATUS.exists():
        Path("/proc/self/clear_refs").write_text("5")


def _status(field: str) -> float:
    if not _STATUS.exists():
        return float("nan")
    lines = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines())
    return 1024.0 * int(lines[field].split()[0])
