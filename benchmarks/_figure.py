"""The picture of accuracy against time."""
# SPDX-License-Identifier: BSD-3-Clause

from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure


def draw_curves(curves: list[dict[str, Any]], path: Path) -> None:
    """Draw RMSE over seconds, a line a model; the first model's is heavier.

    Parameters
    ----------
    curves : list of dict
        Each with `model`, `seconds` and `rmse`, the last two of equal length.
    path : Path
        The SVG file to write.
    """
    figure = Figure(figsize=(9, 4.5), layout="constrained")
    axes = figure.subplots()
    for number, curve in enumerate(curves):
        axes.plot(
            curve["seconds"],
            curve["rmse"],
            marker="o",
            markersize=4,
            linewidth=1 if number else 2.5,
            zorder=2 if number else 3,
            label=curve["model"],
        )
    axes.set(xscale="log", xlabel="Fit, seconds", ylabel="RMSE, stars")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small", frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    with rc_context({"svg.hashsalt": "sklrec"}):  # the same picture is the same file
        figure.savefig(path, metadata={"Date": None})
