"""Time to import sklrec beside the import of its dependencies."""
# SPDX-License-Identifier: BSD-3-Clause

import subprocess
import sys
from functools import partial
from typing import Any

from benchmarks._measure import alternate
from benchmarks._peers import ROOT
from benchmarks._results import bar, table

OURS, DEPENDENCIES = "import sklrec", "import torch, sklearn, pandas, skorch"
TIMED = "from time import perf_counter as now; start = now(); {}; print(now() - start)"


def run(*, quick: bool = False) -> dict[str, Any]:
    """Alternate new interpreters; the first round only fills the file cache."""
    functions = {code: partial(fresh, code) for code in (OURS, DEPENDENCIES)}
    alternate(functions, 1)
    times = alternate(functions, 3 if quick else 15)
    ratio = times[OURS] / times[DEPENDENCIES]
    rows = [[f"`{code}`", value] for code, value in times.items()]
    return {
        "title": "Import time",
        "notes": ["Medians over new interpreters that alternate."],
        "bars": [bar("Import of sklrec over its dependencies'", ratio, 1.1, ".3f")],
        "tables": [table("Seconds", {"Statement": "", "Seconds": ".3f"}, rows)],
    }


def fresh(code: str) -> float:
    """Seconds of the statement in a new interpreter."""
    command = [sys.executable, "-c", TIMED.format(code)]
    return float(subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout)
