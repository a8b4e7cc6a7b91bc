"""Time to import sklrec beside importing what it stands on."""
# SPDX-License-Identifier: BSD-3-Clause

import subprocess
import sys
from typing import Any

from benchmarks._measure import alternate
from benchmarks._peers import ROOT
from benchmarks._results import bar

IMPORTS = {
    "sklrec": "import sklrec",
    "its dependencies": "import torch, sklearn, pandas, skorch",
}
TIMED = "from time import perf_counter as now; start = now(); {}; print(now() - start)"


def run(*, quick: bool = False) -> dict[str, Any]:
    """Alternate fresh interpreters; the first round only fills the file cache."""
    alternate({name: lambda code=code: fresh(code) for name, code in IMPORTS.items()}, 1)
    times = alternate(
        {name: lambda code=code: fresh(code) for name, code in IMPORTS.items()},
        3 if quick else 15,
    )
    ratio = times["sklrec"] / times["its dependencies"]
    return {
        "title": "Import time",
        "notes": ["Medians over fresh interpreters that alternate."],
        "bars": [bar("Import of sklrec over its dependencies'", ratio, 1.1, ".3f")],
        "tables": [
            {
                "title": "Seconds",
                "columns": {"Statement": "", "Seconds": ".3f"},
                "rows": [[f"`{IMPORTS[name]}`", value] for name, value in times.items()],
            }
        ],
    }


def fresh(code: str) -> float:
    """Seconds that the statement takes in a new interpreter."""
    command = [sys.executable, "-c", TIMED.format(code)]
    return float(subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout)
