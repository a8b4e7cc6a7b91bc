"""Result files, and the page of tables that is made from them."""
# SPDX-License-Identifier: BSD-3-Clause

import json
import os
import platform
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.metadata import version
from math import isfinite
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks._measure import THREADS

RESULTS = Path(__file__).parent / "results"
PACKAGES = ["sklrec", "numpy", "pandas", "scikit-learn", "torch", "skorch"]
PAGE_ROWS = 10
PAGE = """# Benchmark results

`python -m benchmarks` (`make bench`) makes this page from the JSON files in this folder. The page
has the first rows of the main table of each result, and the bars that the result misses. The files
have all tables, the splits, the versions, and the details of the measurement. Each table compares
models in the same run on the same machine. Each library runs in its own environment, and each fit
in its own process."""


def machine() -> dict[str, Any]:
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "threads": THREADS,
        "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: version(name) for name in PACKAGES},
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
    }


def table(
    title: str, columns: dict[str, str], rows: Iterable[Iterable[Any]] | pd.DataFrame
) -> dict[str, Any]:
    """A table of a result; `columns` gives each heading its number format, '' for text."""
    if isinstance(rows, pd.DataFrame):
        rows = rows.astype(object).where(rows.notna(), None).to_numpy()
    return {"title": title, "columns": columns, "rows": [list(row) for row in rows]}


def bar(what: str, value: float, limit: float, form: str, *, at_least: bool = False) -> dict:
    """A figure and its limit; `form` is the format of both, and inf means 'not reached'."""
    return {
        "what": what,
        "value": value if isfinite(value) else None,
        "sign": "at least" if at_least else "at most",
        "limit": limit,
        "form": form,
        "met": value >= limit if at_least else value <= limit,
    }


def write(name: str, result: dict[str, Any], folder: Path = RESULTS) -> Path:
    """Write one result as JSON, a row of a table in each line; the file is complete or absent."""
    path = folder / f"{name}.json"
    text = json.dumps(result, default=lambda value: value.tolist())  # of NumPy
    plain = json.loads(text, parse_constant=lambda name: None)  # NaN and inf are not strict JSON
    text = json.dumps(plain, indent=1, ensure_ascii=False)
    _replace(path, re.sub(r"[\[{][^][{}]*[]}]", lambda m: " ".join(m[0].split()), text) + "\n")
    return path


def write_page(order: Iterable[str], folder: Path = RESULTS) -> Path:
    """Write README.md with the main table of each result, in the given order of benchmarks."""
    found = {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}
    order = list(order)
    names = sorted(found, key=lambda name: (_rank(name, order), name))
    path = folder / "README.md"
    _replace(path, "\n\n".join([PAGE, *(_render_short(found[name]) for name in names)]) + "\n")
    return path


def render(result: dict[str, Any]) -> str:
    parts = [f"## {result['title']}", *result.get("notes", [])]
    if bars := result.get("bars"):
        parts.append(_render_bars(bars))
    for found in result["tables"]:
        parts += [f"### {found['title']}", render_table(found["columns"], found["rows"])]
    parts += [f"- {line}" for line in result.get("left_out", [])]
    if facts := result.get("machine"):
        parts.append(_render_machine(facts))
    return "\n\n".join(parts)


def render_table(columns: dict[str, str], rows: list[list[Any]]) -> str:
    aligned = ["---:" if form else "---" for form in columns.values()]
    cells = [
        ["" if cell is None else format(cell, form) for cell, form in pairs]
        for pairs in (zip(row, columns.values(), strict=True) for row in rows)
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in [list(columns), aligned, *cells])


def _render_short(result: dict[str, Any]) -> str:
    first, facts = result["tables"][0], result.get("machine")
    below = [f"{len(first['rows'])} rows in the file."] if len(first["rows"]) > PAGE_ROWS else []
    missed = [
        f"{entry['what']}: {_shown(entry)} ({_limit(entry)})"
        for entry in result.get("bars", [])
        if not entry["met"]
    ]
    below += [f"Missed: {'; '.join(missed)}."] if missed else []
    if facts:
        below.append(f"{facts['date']}, {facts['cpu']}, {facts['threads']} thread(s).")
    shown = render_table(first["columns"], first["rows"][:PAGE_ROWS])
    return "\n\n".join([f"## {result['title']}\n{shown}", *([" ".join(below)] if below else [])])


def _rank(name: str, order: list[str]) -> int:
    """Place of the benchmark of a result in the order; unknown benchmarks come last."""
    places = [place for place, first in enumerate(order) if f"{name}_".startswith(f"{first}_")]
    return places[0] if places else len(order)


def _render_bars(bars: list[dict[str, Any]]) -> str:
    rows = [
        [entry["what"], _shown(entry), _limit(entry), "yes" if entry["met"] else "**no**"]
        for entry in bars
    ]
    return render_table(dict.fromkeys(["Figure", "Measured", "Bar", "Met"], ""), rows)


def _shown(entry: dict[str, Any]) -> str:
    return "not reached" if entry["value"] is None else format(entry["value"], entry["form"])


def _limit(entry: dict[str, Any]) -> str:
    return f"{entry['sign']} {format(entry['limit'], entry['form'])}"


def _render_machine(facts: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {found}" for name, found in facts["versions"].items() if found)
    load = facts["load_average"]
    return (
        f"<sub>{facts['date']}; {facts['cpu']}, {facts['cores']} cores, {facts['threads']} threads"
        f"{'' if load is None else f', load {load:.1f} at the start'}; {facts['system']}; "
        f"Python {facts['python']}, {versions}</sub>"
    )


def _replace(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(text)
    part.replace(path)


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown"
