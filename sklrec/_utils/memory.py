"""Settings of the C library that keep freed memory for the next batch."""
# SPDX-License-Identifier: BSD-3-Clause

import ctypes
import os
import platform
from functools import cache

import torch

LARGEST_BLOCK = 31 * 2**20  # glibc does not adapt to larger blocks
# Numbers of glibc's settings M_TRIM_THRESHOLD and M_MMAP_THRESHOLD, and the values that glibc
# sets itself after it has freed a block of 32 MiB.
THRESHOLDS = {-1: 64 * 2**20, -3: 32 * 2**20}


def keep_freed_memory(batch_size: int, n_columns: int) -> None:
    """Make glibc keep the memory of a batch for the next one; other C libraries do not change."""
    # glibc returns freed memory to the system unless it has once freed a larger block. Without
    # this, an epoch took up to 3.5 times as long.
    _undo_trimming()
    # Several tables of this size are in use at once. The block is never written to.
    n_bytes = 4 * batch_size * n_columns * torch.float32.itemsize
    torch.empty(min(n_bytes, LARGEST_BLOCK), dtype=torch.uint8)


@cache
def _undo_trimming() -> None:
    """Set glibc's thresholds if MALLOC_TRIM_THRESHOLD_ is set without MALLOC_MMAP_THRESHOLD_."""
    # Dask sets this variable for its workers. It stops glibc from adapting to larger blocks, and
    # fits took 2 to 4 times as much CPU time. A user who sets both variables has chosen them.
    is_set = "MALLOC_TRIM_THRESHOLD_" in os.environ and "MALLOC_MMAP_THRESHOLD_" not in os.environ
    if is_set and platform.libc_ver()[0] == "glibc":
        mallopt = ctypes.CDLL(None).mallopt
        for name, n_bytes in THRESHOLDS.items():
            mallopt(name, n_bytes)
