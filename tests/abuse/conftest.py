"""Length of the random tests, and a summary of what they did."""
# SPDX-License-Identifier: BSD-3-Clause

import os
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

# Number of random sequences of calls; other random tests are longer in proportion. `make fuzz`
# sets it. Without it the tests are short.
VARIABLE = "SKLREC_FUZZ"


@dataclass
class Abuse:
    """Length of the random tests, and counts for the summary."""

    is_long: bool
    n_sequences: int
    counts: Counter = field(default_factory=Counter)


sys.path.append(str(Path(__file__).parent))  # for the helper modules of this folder

ABUSE = Abuse(VARIABLE in os.environ, int(os.environ.get(VARIABLE, 48)))


@pytest.fixture(scope="session")
def abuse():
    return ABUSE


def pytest_terminal_summary(terminalreporter):
    if ABUSE.is_long:
        terminalreporter.section("random tests")
        for what, n in sorted(ABUSE.counts.items()):
            terminalreporter.write_line(f"{n:>9,} {what}")
