"""Draw the start page's figure from the benchmark's results: one line for each library."""
# SPDX-License-Identifier: BSD-3-Clause

import json
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

RESULTS = Path(__file__).parent.parent / "benchmarks" / "results" / "curves.json"
LIBRARIES = {  # colours that are told apart on light and on dark, also by the colour-blind
    "sklrec": "#d55e00",
    "myFM": "#cc79a7",
    "LIBMF": "#0072b2",
    "Cornac": "#009e73",
    "LensKit": "#56b4e9",
    "Surprise": "#999999",
}
BESIDE, BELOW = (7, 0), (-4, -14)
INK = {"light": "#222832", "dark": "#ced6dd"}  # the theme's own colours of text


def fronts():
    """Give each library's best points: those that no other of its models matches."""
    curves = json.loads(RESULTS.read_text())["curves"]
    found = {}
    for library in LIBRARIES:
        own = [c for c in curves if c["model"].startswith(library)]
        points = sorted(p for c in own for p in zip(c["seconds"], c["rmse"], strict=True))
        front = found[library] = []
        for seconds, rmse in points:
            if not front or rmse < front[-1][1]:
                front.append((seconds, rmse))
    return found


def draw(path, ink):
    """Draw all fronts in one colour of text, on no background."""
    settings = {"text.color": ink, "axes.edgecolor": ink, "axes.labelcolor": ink}
    settings |= {"xtick.color": ink, "ytick.color": ink, "font.size": 11}
    settings |= {"svg.hashsalt": "sklrec"}  # the same file from the same results
    with mpl.rc_context(settings):
        figure = Figure(figsize=(6.4, 4.2), layout="constrained")
        axes = figure.subplots()
        for library, front in fronts().items():
            ours = library == "sklrec"
            seconds, rmse = zip(*front, strict=True)
            style = {"linewidth": 3 if ours else 1.5, "markersize": 5 if ours else 4}
            axes.plot(
                seconds, rmse, "o-", color=LIBRARIES[library], zorder=3 if ours else 2, **style
            )
            axes.annotate(
                library,
                (seconds[-1], rmse[-1]),
                xytext=BELOW if library == "LIBMF" else BESIDE,  # where another line runs
                textcoords="offset points",
                va="center",
                color=LIBRARIES[library],
                fontweight="bold" if ours else "normal",
            )
        axes.set(xscale="log", xlim=(0.04, 60), xlabel="seconds of fit and predict, one thread")
        axes.set(ylabel="RMSE in stars")
        axes.xaxis.set_major_formatter("{x:g}")
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.2)
        figure.savefig(path, transparent=True, metadata={"Date": None})


def main(folder):
    """Write the figure once for light and once for dark pages."""
    folder.mkdir(parents=True, exist_ok=True)
    for mode, ink in INK.items():
        draw(folder / f"start_{mode}.svg", ink)
