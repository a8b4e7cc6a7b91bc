"""The picture of accuracy against time."""
# SPDX-License-Identifier: BSD-3-Clause

from pathlib import Path
from typing import Any

from matplotlib import colormaps, rc_context
from matplotlib.figure import Figure


def draw_curves(curves: list[dict[str, Any]], path: Path, timed: str = "Fit") -> None:
    """Draw RMSE over seconds, a line a model; ours are solid and heavier.

    Parameters
    ----------
    curves : list of dict
        Each with `model`, `seconds` and `rmse`, the last two of equal length.
    path : Path
        The SVG file to write.
    timed : str
        What took the seconds.
    """
    figure = Figure(figsize=(11, 5.5), layout="constrained")
    axes = figure.subplots()
    axes.set_prop_cycle(color=colormaps["tab20"].colors)
    for curve in curves:
        ours = curve["model"].startswith("sklrec")
        axes.plot(
            curve["seconds"],
            curve["rmse"],
            marker="o" if ours else "^",
            markersize=4,
            linestyle="-" if ours else "--",
            linewidth=2 if ours else 1,
            zorder=3 if ours else 2,
            label=curve["model"],
        )
    axes.set(xscale="log", xlabel=f"{timed}, seconds", ylabel="RMSE, stars")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small", frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    with rc_context({"svg.hashsalt": "sklrec"}):  # the same picture is the same file
        figure.savefig(path, metadata={"Date": None})
