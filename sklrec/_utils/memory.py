"""How freed memory stays at hand for the next batch."""
# SPDX-License-Identifier: BSD-3-Clause

import ctypes
import os
import platform
from functools import cache

import torch

# glibc heeds no larger block.
LARGEST_BLOCK = 31 * 2**20
# What glibc, left to itself, comes to by such blocks: how much freed memory it keeps, and how
# large a block may be for that; with the numbers by which `mallopt` knows the two.
THRESHOLDS = {-1: 64 * 2**20, -3: 32 * 2**20}


def keep_freed_memory(batch_size: int, n_columns: int) -> None:
    """Keep the C library from giving the memory of one batch back before the next.

    glibc returns freed memory to the system, to get it again page by page, unless it once
    freed a larger block: twice the largest one it keeps. Without this a training epoch was
    measured to take up to 3.5 times as long. Elsewhere this does nothing.

    Parameters
    ----------
    batch_size : int
        Rows in a batch.
    n_columns : int
        Float32 numbers in a row.
    """
    _undo_trimming()
    # A few tables of this size are at work at once. The block is never touched.
    n_bytes = 4 * batch_size * n_columns * torch.float32.itemsize
    torch.empty(min(n_bytes, LARGEST_BLOCK), dtype=torch.uint8)


@cache
def _undo_trimming() -> None:
    """Let glibc keep freed memory where a variable of the environment has it return all.

    Dask sets that variable for its workers. With it glibc learns nothing from larger blocks, so
    that it has to be told, and for good: the process then keeps what it would without the
    variable, 64 MiB at most. Whoever sets the other variable too has thought of both, and is let
    be.
    """
    given = "MALLOC_TRIM_THRESHOLD_" in os.environ and "MALLOC_MMAP_THRESHOLD_" not in os.environ
    if given and platform.libc_ver()[0] == "glibc":
        mallopt = ctypes.CDLL(None).mallopt
        for name, n_bytes in THRESHOLDS.items():
            mallopt(name, n_bytes)
