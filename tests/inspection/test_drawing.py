"""Labels, styles and the import of matplotlib."""
# SPDX-License-Identifier: BSD-3-Clause

import sys

import pytest

from sklrec.inspection import AccuracyTimeDisplay, TrainingHistoryDisplay


def test_the_error_without_matplotlib_says_what_to_install(mf, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    wanted = r"requires matplotlib. Install it with: pip install 'sklrec\[plot\]'"
    with pytest.raises(ImportError, match=f"TrainingHistoryDisplay.from_estimator {wanted}"):
        TrainingHistoryDisplay.from_estimator(mf)
    with pytest.raises(ImportError, match=f"TrainingHistoryDisplay.plot {wanted}"):
        TrainingHistoryDisplay([1.0]).plot()


def test_labels_do_not_overlap_or_leave_the_axes():
    seconds, errors = [1.0, 1.1, 1.0, 100.0, 100.0], [0.5, 0.5, 0.52, 1.0, 0.98]
    names = ["first one", "second", "third", "at the edge", "below it"]
    display = AccuracyTimeDisplay(seconds, errors, names).plot()
    display.figure_.canvas.draw()
    boxes, ax = [label.get_window_extent() for label in display.text_], display.ax_
    assert len(boxes) == 5
    legend = [ax.get_legend().get_window_extent()] if ax.get_legend() else []
    for k, box in enumerate(boxes):
        assert ax.bbox.x0 <= box.x0 and box.x1 <= ax.bbox.x1
        assert not any(box.overlaps(other) for other in boxes[:k] + legend)
