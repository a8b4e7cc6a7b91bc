"""How long the tests under abuse run, and how much they have done by the end."""
# SPDX-License-Identifier: BSD-3-Clause

import os
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

# How many lives of estimators `make fuzz` asks for; all else is longer in proportion. Unset, all
# is as short as the suite wants it.
VARIABLE = "SKLREC_FUZZ"


@dataclass
class Abuse:
    """How long to go on, and a count of what was done."""

    long: bool
    n_lives: int
    counts: Counter = field(default_factory=Counter)


sys.path.append(str(Path(__file__).parent))  # what stands beside the tests

ABUSE = Abuse(VARIABLE in os.environ, int(os.environ.get(VARIABLE, 150)))


@pytest.fixture(scope="session")
def abuse():
    return ABUSE


def pytest_terminal_summary(terminalreporter):
    if ABUSE.long:
        terminalreporter.section("under abuse")
        for what, n in sorted(ABUSE.counts.items()):
            terminalreporter.write_line(f"{n:>9,} {what}")
