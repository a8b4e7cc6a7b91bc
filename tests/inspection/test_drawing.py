"""Labels, styles and the import of matplotlib."""
# SPDX-License-Identifier: BSD-3-Clause

import sys

import matplotlib.pyplot as plt
import pytest

from sklrec.inspection import TrainingHistoryDisplay
from sklrec.inspection._drawing import label_points, style


def test_the_error_without_matplotlib_says_what_to_install(mf, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    wanted = r"requires matplotlib. Install it with: pip install 'sklrec\[plot\]'"
    with pytest.raises(ImportError, match=f"TrainingHistoryDisplay.from_estimator {wanted}"):
        TrainingHistoryDisplay.from_estimator(mf)
    with pytest.raises(ImportError, match=f"TrainingHistoryDisplay.plot {wanted}"):
        TrainingHistoryDisplay([1.0]).plot()


def test_short_names_of_styles_override_long_ones():
    given = {"c": "red", "lw": 3}
    options = style("lines.Line2D", given, color="blue", linestyle="--")
    assert options == {"color": "red", "linewidth": 3, "linestyle": "--"}


def test_labels_do_not_overlap_or_leave_the_axes():
    _, ax = plt.subplots()
    x, y = [0.0, 0.04, 0.0, 1.0, 1.0], [0.0, 0.0, 0.04, 1.0, 0.96]
    ax.scatter(x, y)
    labels = label_points(ax, x, y, ["first one", "second", "third", "at the edge", "below it"])
    boxes = [label.get_window_extent() for label in labels]
    assert len(boxes) == 5
    for k, box in enumerate(boxes):
        assert ax.bbox.x0 <= box.x0 and box.x1 <= ax.bbox.x1
        assert not any(box.overlaps(other) for other in boxes[:k])


def test_labels_do_not_overlap_the_legend():
    _, ax = plt.subplots()
    ax.plot([0, 1], [0, 1], label="a line with quite a long label in the legend")
    legend = ax.legend(loc="upper right")
    (label,) = label_points(ax, [0.6], [0.86], ["a label that could lie under it"])
    assert not label.get_window_extent().overlaps(legend.get_window_extent())
