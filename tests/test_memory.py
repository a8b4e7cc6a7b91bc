"""Freed memory stays at hand."""
# SPDX-License-Identifier: BSD-3-Clause

import platform
import subprocess
import sys

import pytest

CODE = """
import resource
import torch
from sklrec._memory import keep_freed_memory

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


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_pages_are_not_asked_for_again():
    run = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert int(run.stdout) < 100  # 25,000 and more without it
