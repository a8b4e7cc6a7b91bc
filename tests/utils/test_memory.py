"""Freed memory stays at hand."""
# SPDX-License-Identifier: BSD-3-Clause

import os
import platform
import subprocess
import sys

import pytest

CODE = """
import resource
import torch
from sklrec._utils.memory import keep_freed_memory

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


# As Dask sets it for its workers.
TRIM = {"MALLOC_TRIM_THRESHOLD_": "65536"}


def faults(variables):
    rest = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    run = subprocess.run(
        [sys.executable, "-c", CODE],
        env=rest | variables,
        capture_output=True,
        text=True,
        check=True,
    )
    return int(run.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
@pytest.mark.parametrize("variables", [{}, TRIM], ids=["free", "Dask"])
def test_pages_are_not_asked_for_again(variables):
    assert faults(variables) < 100  # 25,000 and more without it


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_whoever_sets_both_variables_is_let_be():
    assert faults(TRIM | {"MALLOC_MMAP_THRESHOLD_": "65536"}) > 10_000
