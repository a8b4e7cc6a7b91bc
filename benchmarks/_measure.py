"""Time and memory; only the standard library, because every peer's environment imports it."""
# SPDX-License-Identifier: BSD-3-Clause

import os
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter

# Number of threads of every library; set BENCH_THREADS where a core is busy.
THREADS = int(os.environ.get("BENCH_THREADS", "2"))
_THREAD_VARIABLES = """BENCH_THREADS OMP_NUM_THREADS MKL_NUM_THREADS OPENBLAS_NUM_THREADS
RAYON_NUM_THREADS LK_NUM_THREADS LK_NUM_BACKEND_THREADS""".split()
_STATUS = Path("/proc/self/status")


def settle_environment() -> None:
    """Set the threads of this process and its children; call it before numeric libraries load."""
    for name in [name for name in os.environ if name.startswith("OPENBLAS_")]:
        del os.environ[name]
    os.environ.update(thread_variables(THREADS))


def thread_variables(n: int) -> dict[str, str]:
    return dict.fromkeys(_THREAD_VARIABLES, str(n))


def seconds(function: Callable[[], object]) -> float:
    start = perf_counter()
    function()
    return perf_counter() - start


def alternate(functions: dict[str, Callable[[], float]], repeats: int) -> dict[str, float]:
    """Median of the values of each function; they take turns, so that drift affects all alike."""
    values: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            values[name].append(function())
    return {name: median(found) for name, found in values.items()}


def resident_bytes() -> float:
    """Resident memory of this process (NaN where there is no /proc)."""
    return _status("VmRSS")


def peak_bytes() -> float:
    """Peak memory of this process since `reset_peak` (NaN where there is no /proc)."""
    return _status("VmHWM")


def reset_peak() -> None:
    """Set the peak to the memory that is held now."""
    if _STATUS.exists():
        Path("/proc/self/clear_refs").write_text("5")


def _status(field: str) -> float:
    if not _STATUS.exists():
        return float("nan")
    lines = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines())
    return 1024.0 * int(lines[field].split()[0])
