"""Memory that a process can still take."""
# SPDX-License-Identifier: BSD-3-Clause

import os
from contextlib import suppress
from pathlib import Path

# The limit and the use of a container, of versions 2 and 1 of Linux' control groups.
GROUPS = [
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    (
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "/sys/fs/cgroup/memory/memory.usage_in_bytes",
    ),
]


def available_memory() -> int | None:
    """Number of bytes that are free, or None if the system does not tell."""
    found = []
    with suppress(OSError, StopIteration):  # Linux
        lines = Path("/proc/meminfo").read_text().splitlines()
        line = next(line for line in lines if line.startswith("MemAvailable:"))
        found.append(1024 * int(line.split()[1]))
    for limit, used in GROUPS:
        with suppress(OSError, ValueError):  # "max" is no number
            found.append(int(Path(limit).read_text()) - int(Path(used).read_text()))
    if not found and hasattr(os, "sysconf"):  # macOS tells how much there is in all
        with suppress(OSError, ValueError):
            found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    return max(0, min(found)) if found else None
