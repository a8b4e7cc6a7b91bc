"""Plot of predicted against actual ratings."""
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import pytest

from sklrec.inspection import PredictedRatingsDisplay


def test_a_box_holds_the_predictions_for_its_rating(mf, test):
    X, y = test
    display = PredictedRatingsDisplay.from_estimator(mf, X, y)
    predicted = mf.predict(X)
    assert display.groups_.tolist() == sorted(y.unique())
    assert display.counts_.tolist() == y.value_counts().sort_index().tolist()
    medians = [line.get_ydata()[0] for line in display.boxes_["medians"]]
    wanted = [np.median(predicted[y == stars]) for stars in display.groups_]
    assert np.allclose(medians, wanted)
    ticks = [text.get_text() for text in display.ax_.get_xticklabels()]
    assert ticks[0] == f"1\n{display.counts_[0]}"


def test_the_line_shows_predictions_without_an_error(mf, test):
    display = PredictedRatingsDisplay.from_estimator(
        mf, *test, box_kwargs={"fc": "red"}, line_kwargs={"c": "red"}
    )
    assert display.boxes_["boxes"][0].get_facecolor()[:3] == (1, 0, 0)
    assert display.line_.get_xdata().tolist() == display.line_.get_ydata().tolist() == [1, 5]
    assert display.line_.get_color() == "red"


def test_whiskers_hold_nine_tenths():
    predicted = np.linspace(0, 1, 101)
    display = PredictedRatingsDisplay.from_predictions(np.ones(101), predicted)
    low, high = display.boxes_["caps"]
    assert np.allclose([low.get_ydata()[0], high.get_ydata()[0]], [0.05, 0.95])


def test_many_different_ratings_are_put_into_intervals():
    actual = np.linspace(0, 10, 101)
    actual = actual[(actual < 4) | (actual > 6)]  # an empty interval has no box
    display = PredictedRatingsDisplay.from_predictions(actual, actual, n_bins=5)
    assert display.groups_.tolist() == [1, 3, 7, 9]
    assert display.counts_.sum() == len(actual)
    assert len(display.boxes_["boxes"]) == 4


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match=r"inconsistent numbers of samples: \[2, 1\]"):
        PredictedRatingsDisplay.from_predictions([1, 2], [1])
    with pytest.raises(ValueError, match="n_bins must be an integer of at least 1, got 0"):
        PredictedRatingsDisplay.from_predictions([1, 2], [1, 2], n_bins=0)
