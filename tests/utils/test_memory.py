"""Freed memory is kept for the next batch."""
# SPDX-License-Identifier: BSD-3-Clause

import os
import platform
import subprocess
import sys

import pytest

CODE = """
import resource
import torch
from sklrec._utils.runtime import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        tables = [torch.ones(4096, 100) for _ in range(4)]
        del tables
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

torch.set_num_threads(1)
keep_freed_memory(4096, 100)
faults()
print(faults())
"""
TRIM = {"MALLOC_TRIM_THRESHOLD_": "65536"}  # Dask sets this for its workers
BOTH = TRIM | {"MALLOC_MMAP_THRESHOLD_": "65536"}


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
@pytest.mark.parametrize("variables", [{}, TRIM, BOTH], ids=["none", "trim", "both"])
def test_page_faults(variables):
    """There are few, except where the user has set both variables of glibc."""
    others = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    command = [sys.executable, "-c", CODE]
    n_faults = int(subprocess.check_output(command, env=others | variables, text=True))
    assert n_faults > 10_000 if variables == BOTH else n_faults < 100
