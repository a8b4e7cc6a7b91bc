"""Tools of all displays: matplotlib, colours, styles and labels."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

import numpy as np

from sklrec._utils.extras import import_extra

# Colours of Okabe and Ito, which people with any colour vision can distinguish. Their yellow is
# left out, because it is hard to see on white. Markers help people who see no colours.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
GREY = "#8C8C8C"

# Places of a label beside its point: offset in points, and alignment.
PLACES = (
    ((5, 4), "left", "bottom"),
    ((6, 0), "left", "center"),
    ((-6, 0), "right", "center"),
    ((0, 6), "center", "bottom"),
    ((0, -6), "center", "top"),
    ((-5, 4), "right", "bottom"),
    ((5, -4), "left", "top"),
    ((-5, -4), "right", "top"),
    ((5, 16), "left", "bottom"),
    ((-5, 16), "right", "bottom"),
    ((5, -16), "left", "top"),
    ((-5, -16), "right", "top"),
)


def check_matplotlib(caller: str) -> None:
    """Check that matplotlib is installed, before anything is computed."""
    import_extra("matplotlib", "plot", caller)


def axes_for(display: Any, ax: Any, grid: str = "both") -> Any:
    """Store the axes and the figure in a display; without axes, make new ones with our colours."""
    check_matplotlib(f"{type(display).__name__}.plot")
    if ax is None:
        import matplotlib.pyplot as plt
        from cycler import cycler  # a dependency of matplotlib

        _, ax = plt.subplots(layout="constrained")
        ax.set_prop_cycle(cycler(color=COLORS) + cycler(marker=MARKERS))
    elif not isinstance(ax, import_module("matplotlib.axes").Axes):
        raise TypeError(f"ax must be Axes of matplotlib or None, got {ax!r:.100}.")
    ax.grid(axis=grid, alpha=0.3)
    display.ax_, display.figure_ = ax, ax.figure
    return ax


def style(artist: str, given: Mapping[str, Any] | None, **defaults: Any) -> dict[str, Any]:
    """Merge the style of the user with default values, under long names such as `linewidth`."""
    from matplotlib.cbook import normalize_kwargs

    if not isinstance(given, Mapping | None):
        raise TypeError(
            f"The style of a {artist.split('.')[-1]} must be a dict of arguments of matplotlib, "
            f"got {given!r:.100}."
        )
    module, _, name = artist.rpartition(".")  # such as "lines.Line2D"
    cls = getattr(import_module(f"matplotlib.{module}"), name)
    return defaults | normalize_kwargs(dict(given or {}), cls)


def label_points(
    ax: Any, x: Any, y: Any, texts: Sequence[str], given: Mapping[str, Any] | None
) -> list[Any]:
    """Write a label beside each point, where it hides the least."""
    from matplotlib.patheffects import withStroke
    from matplotlib.transforms import Bbox

    options = style(
        "text.Text",
        given,
        fontsize="small",
        path_effects=[withStroke(linewidth=2.5, foreground="white")],
    )
    ax.get_figure(root=True).draw_without_rendering()  # puts everything in its final place
    pixels = ax.transData.transform(np.column_stack([x, y]))
    taken = [Bbox.from_bounds(across - 4, up - 4, 8, 8) for across, up in pixels]
    if (legend := ax.get_legend()) is not None:
        taken.append(legend.get_window_extent())
    labels = []
    for place, (across, up, text) in enumerate(zip(x, y, texts, strict=True)):
        label = ax.annotate(
            text, (across, up), xytext=(0, 0), textcoords="offset points", zorder=5, **options
        )
        others = taken[:place] + taken[place + 1 :]
        best = min(PLACES, key=lambda spot: _hidden(_box(label, spot), others, ax.bbox))
        taken.append(_box(label, best))
        labels.append(label)
    return labels


def _box(label: Any, place: tuple[tuple[int, int], str, str]) -> Any:
    """Move a label to a place, and return its box in pixels."""
    offset, across, up = place
    label.set(position=offset, horizontalalignment=across, verticalalignment=up)
    return label.get_window_extent()


def _hidden(box: Any, others: Sequence[Any], frame: Any) -> float:
    """Return the area in pixels that a box has outside the axes or in common with others."""

    def shared(other: Any) -> float:
        both = type(box).intersection(box, other)
        return 0.0 if both is None else both.width * both.height

    area = box.width * box.height
    hidden = area - shared(frame) + sum(map(shared, others))
    return hidden if hidden > 1e-6 * area else 0.0
