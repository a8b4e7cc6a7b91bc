"""What all displays draw with: matplotlib once it is asked for, colours, styles and room."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

import numpy as np

# Okabe and Ito's colours, which people with any kind of colour vision can tell apart, without
# the yellow, which is hard to see on white. Each has a marker, for those who see none.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
GREY = "#8C8C8C"

# Where a label may stand beside its point: offset in points, and how it is aligned to there.
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
    """Raise if there is no matplotlib, before anything is computed for a picture.

    Parameters
    ----------
    caller : str
        What needs it.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"{caller} requires matplotlib. Install it with: pip install 'sklrec[plot]'"
        ) from error


def axes_for(display: Any, ax: Any) -> Any:
    """Give the axes to draw on.

    Parameters
    ----------
    display : display instance
        What is drawn; it gets `ax_` and `figure_`.
    ax : matplotlib Axes or None
        The axes; None makes some in a new figure of pyplot's.

    Returns
    -------
    matplotlib Axes
        The axes. New ones have colours and markers of their own for one line after another.
    """
    check_matplotlib(f"{type(display).__name__}.plot")
    if ax is None:
        import matplotlib.pyplot as plt
        from cycler import cycler  # what matplotlib's own cycles are made of

        _, ax = plt.subplots(layout="constrained")
        ax.set_prop_cycle(cycler(color=COLORS) + cycler(marker=MARKERS))
    display.ax_, display.figure_ = ax, ax.figure
    return ax


def style(artist: str, given: Mapping[str, Any] | None, **defaults: Any) -> dict[str, Any]:
    """Merge a user's style with the default one.

    Parameters
    ----------
    artist : str
        Name of the class of `matplotlib` whose style it is, such as ``"lines.Line2D"``.
    given : dict or None
        What the user asks for, under long or short names.
    **defaults : dict
        What stands where the user asks for nothing, under long names.

    Returns
    -------
    dict of str to object
        Both, under long names.
    """
    from matplotlib.cbook import normalize_kwargs

    module, _, name = artist.rpartition(".")
    cls = getattr(import_module(f"matplotlib.{module}"), name)
    return defaults | normalize_kwargs(dict(given or {}), cls)


def label_points(
    ax: Any,
    x: Any,
    y: Any,
    texts: Sequence[str],
    *,
    drop: bool = False,
    given: Mapping[str, Any] | None = None,
) -> list[Any]:
    """Write labels beside points, each where it hides the least of points and labels before it.

    Parameters
    ----------
    ax : matplotlib Axes
        The axes, with all else already on them.
    x : array-like of shape (n_labels,)
        Where the points are.
    y : array-like of shape (n_labels,)
        Where the points are.
    texts : sequence of str
        Their labels, the most important first.
    drop : bool, default=False
        Whether to leave out labels for which there is no free place.
    given : dict, default=None
        The user's style.

    Returns
    -------
    list of matplotlib Annotation
        The labels.
    """
    from matplotlib.patheffects import withStroke
    from matplotlib.transforms import Bbox

    options = style(
        "text.Text",
        given,
        fontsize="small",
        path_effects=[withStroke(linewidth=2.5, foreground="white")],
    )
    ax.get_figure(root=True).draw_without_rendering()  # brings all to its final place
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
        hidden = [_hidden(_box(label, spot), others, ax.bbox) for spot in PLACES]
        if drop and min(hidden) > 0:
            label.remove()
            continue
        taken.append(_box(label, PLACES[hidden.index(min(hidden))]))
        labels.append(label)
    return labels


def _box(label: Any, place: tuple[tuple[int, int], str, str]) -> Any:
    """Move a label to a place, and give the pixels that it then takes."""
    offset, across, up = place
    label.set(position=offset, horizontalalignment=across, verticalalignment=up)
    return label.get_window_extent()


def _hidden(box: Any, others: Sequence[Any], frame: Any) -> float:
    """How many pixels of others a box hides, or has outside the axes."""
    area = box.width * box.height
    inside = type(box).intersection(box, frame)
    hidden = area - (inside.width * inside.height if inside is not None else 0.0)
    for other in others:
        if (shared := type(box).intersection(box, other)) is not None:
            hidden += shared.width * shared.height
    return hidden if hidden > 1e-6 * area else 0.0
