"""Result files and the page of tables made from them."""
# SPDX-License-Identifier: BSD-3-Clause

import json
import os
import platform
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from math import isfinite
from pathlib import Path
from typing import Any

from benchmarks._measure import THREADS

RESULTS = Path(__file__).parent / "results"
PACKAGES = ["sklrec", "numpy", "pandas", "scikit-learn", "torch", "skorch"]


def machine() -> dict[str, Any]:
    """Facts without which a time means nothing."""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "threads": THREADS,
        "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in PACKAGES},
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
    }


def bar(what: str, value: float, limit: float, form: str, *, at_least: bool = False) -> dict:
    """A figure and what it has to reach; `form` is how both are shown, inf is 'not reached'."""
    return {
        "what": what,
        "value": value if isfinite(value) else None,
        "sign": "at least" if at_least else "at most",
        "limit": limit,
        "form": form,
        "met": value >= limit if at_least else value <= limit,
    }


def write(name: str, result: dict[str, Any], folder: Path = RESULTS) -> Path:
    """Write one benchmark's result; the file is whole or not there at all."""
    path = folder / f"{name}.json"
    _replace(path, json.dumps(result, indent=1, default=_plain) + "\n")
    return path


def write_page(order: Iterable[str], folder: Path = RESULTS) -> Path:
    """Write README.md with the tables of all results, those named in `order` first."""
    order = list(order)
    found = {path.stem: path for path in sorted(folder.glob("*.json"))}
    names = [name for name in order if name in found] + [n for n in found if n not in order]
    parts = [
        "# Benchmark results",
        "Made by `python -m benchmarks` (`make bench`) from the JSON files beside this page. "
        "Every table compares models in the same run on the same machine, each library in an "
        "environment and a process of its own, after an unmeasured fit on a few rows unless "
        "it says otherwise. All may use as many threads as the line below a table says; "
        "Surprise's fit uses one, myFM's hardly more, and Cornac's one if it is given a seed.",
    ]
    for name in names:
        result = json.loads(found[name].read_text())
        parts.append(render(result))
        if curves := result.get("curves"):
            from benchmarks._figure import draw_curves

            draw_curves(curves, folder / f"{name}.svg", result.get("timed", "Fit"))
            parts.append(f"![{result['title']}]({name}.svg)")
    path = folder / "README.md"
    _replace(path, "\n\n".join(parts) + "\n")
    return path


def render(result: dict[str, Any]) -> str:
    """A result as Markdown."""
    parts = [f"## {result['title']}", *result.get("notes", [])]
    if bars := result.get("bars"):
        parts.append(_render_bars(bars))
    for table in result["tables"]:
        parts += [f"### {table['title']}", render_table(table["columns"], table["rows"])]
    parts += [f"- {line}" for line in result.get("left_out", [])]
    if facts := result.get("machine"):
        parts.append(_render_machine(facts))
    return "\n\n".join(parts)


def render_table(columns: dict[str, str], rows: list[list[Any]]) -> str:
    """A Markdown table; `columns` gives each heading its number format, '' for text."""
    aligned = ["---:" if form else "---" for form in columns.values()]
    cells = [
        [format(cell, form) for cell, form in zip(row, columns.values(), strict=True)]
        for row in rows
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in [list(columns), aligned, *cells])


def _render_bars(bars: list[dict[str, Any]]) -> str:
    rows = [
        [
            entry["what"],
            "not reached" if entry["value"] is None else format(entry["value"], entry["form"]),
            f"{entry['sign']} {format(entry['limit'], entry['form'])}",
            "yes" if entry["met"] else "**no**",
        ]
        for entry in bars
    ]
    return render_table(dict.fromkeys(["Figure", "Measured", "Bar", "Met"], ""), rows)


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


def _plain(value: Any) -> Any:
    """What json cannot write itself: numpy's scalars and arrays."""
    return value.tolist()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown"
