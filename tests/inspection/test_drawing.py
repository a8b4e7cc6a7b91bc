"""Labels, styles and the import of matplotlib."""
# SPDX-License-Identifier: BSD-3-Clause

import sys

import matplotlib.pyplot as plt
import pytest

from sklrec.inspection import AccuracyTimeDisplay, TrainingHistoryDisplay


def test_the_error_without_matplotlib_says_what_to_install(mf, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    wanted = r"requires matplotlib. Install it with: pip install 'sklrec\[plot\]'"
    with pytest.raises(ImportError, match=f"TrainingHistoryDisplay.from_estimator {wanted}"):
        TrainingHistoryDisplay.from_estimator(mf)
    with pytest.raises(ImportError, match=f"TrainingHistoryDisplay.plot {wanted}"):
        TrainingHistoryDisplay([1.0]).plot()


def test_labels_do_not_leave_the_axes_or_overlap_the_legend_or_each_other():
    seconds, errors = [1.0, 1.1, 1.0, 100.0, 100.0], [0.5, 0.5, 0.52, 1.0, 0.98]
    names = ["first one", "second", "third", "at the edge", "below it"]
    _, ax = plt.subplots()
    ax.plot([1, 100], [0.5, 1], label="a line with quite a long label in the legend")
    legend = ax.legend(loc="upper right")
    display = AccuracyTimeDisplay(seconds, errors, names).plot(ax=ax)
    display.figure_.canvas.draw()
    boxes = [label.get_window_extent() for label in display.text_]
    assert len(boxes) == 5
    for k, box in enumerate(boxes):
        assert ax.bbox.x0 <= box.x0 and box.x1 <= ax.bbox.x1
        assert not any(box.overlaps(other) for other in [*boxes[:k], legend.get_window_extent()])
