"""Timing of a training, and bounds of the machine: the largest cache and multiplications."""
# SPDX-License-Identifier: BSD-3-Clause

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter

import torch
from skorch.callbacks import Callback

from benchmarks._measure import seconds

_CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
ASSUMED_CACHE = 64 << 20
_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def last_level_cache(folder: Path = _CACHES) -> int:
    """Bytes of the largest cache of the first core; 64 MiB where the system does not say."""
    sizes = [path.read_text().strip() for path in folder.glob("index*/size")]
    found = [re.fullmatch(r"(\d+)([KMG]?)", size) for size in sizes]
    return max((int(m[1]) * _UNITS.get(m[2], 1) for m in found if m), default=ASSUMED_CACHE)


def multiplication_rate(n: int = 2_048, repeats: int = 5) -> float:
    """Floating point operations in a second, the best of several products of float32 matrices."""
    a, b = torch.ones(n, n), torch.ones(n, n)
    a @ b  # warms up
    return 2 * n**3 / min(seconds(lambda: a @ b) for _ in range(repeats))


class Clock(Callback):
    """Seconds of all epochs, without the encoding of the IDs."""

    def on_train_begin(self, net, **kwargs):
        self.start = perf_counter()

    def on_train_end(self, net, **kwargs):
        self.seconds = perf_counter() - self.start


@contextmanager
def torch_threads(n: int) -> Iterator[None]:
    """Set the number of torch's threads in this process for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)
