"""Plot of the errors of models against their time."""
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import pytest

from sklrec.inspection import AccuracyTimeDisplay

RESULTS = {
    "slow": {"fit_time": np.array([3, 5]), "test_score": np.array([-0.7, -0.9])},
    "fast": {"fit_time": np.array([1, 1]), "test_score": np.array([-1.0, -1.0])},
}


def test_the_pareto_front():
    seconds = [1, 2, 3, 4, 4, 0.5]
    errors = [5, 4, 4, 3, 2, 6]
    display = AccuracyTimeDisplay(seconds, errors, list("abcdef")).plot()
    assert display.front_.tolist() == [5, 0, 1, 4]
    assert display.line_.get_xdata().tolist() == [0.5, 1, 2, 4]
    assert display.line_.get_ydata().tolist() == [6, 5, 4, 2]
    assert display.scatter_.get_offsets().tolist() == np.transpose([seconds, errors]).tolist()
    filled = (display.scatter_.get_facecolors()[:, :3] < 1).any(axis=1)
    assert filled.tolist() == [True, True, False, False, True, True]
    assert [text.get_text() for text in display.text_] == list("abcdef")
    assert display.ax_.get_xscale() == "log"
    assert display.ax_.get_xlabel() == "time to fit (seconds)"


def test_means_over_folds_are_drawn():
    display = AccuracyTimeDisplay.from_cv_results(
        RESULTS,
        error_name="RMSE, stars",
        scatter_kwargs={"s": 9},
        line_kwargs={"c": "red"},
        text_kwargs={"size": 20},
    )
    assert display.scatter_.get_sizes().tolist() == [9]
    assert display.line_.get_color() == "red"
    assert display.text_[0].get_fontsize() == 20
    assert display.seconds.tolist() == [4, 1]
    assert np.allclose(display.errors, [0.8, 1.0])
    assert display.names == ["slow", "fast"]
    assert display.ax_.get_ylabel() == "RMSE, stars"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [([0.2, 30], ["0.2", "0.5", "1", "2", "5"]), ([0.01, 1000], ["0.01", "0.1", "1", "10"])],
)
def test_seconds_are_not_written_as_powers(seconds, shown):
    display = AccuracyTimeDisplay(seconds, [1, 2], ["a", "b"]).plot()
    display.figure_.canvas.draw()
    labels = [text.get_text() for text in display.ax_.get_xticklabels()]
    assert set(shown) <= set(labels)
    assert not any("^" in label for label in labels)


@pytest.mark.parametrize(
    ("seconds", "errors", "names", "message"),
    [
        ([0], [1], ["a"], "seconds must be positive, got 0"),
        ([1, 2], [1, 2], ["a"], "There are 2 models, but 1 names"),
        ([1, 2], [1], ["a"], "inconsistent numbers of samples"),
    ],
)
def test_bad_values_are_refused(seconds, errors, names, message):
    with pytest.raises(ValueError, match=message):
        AccuracyTimeDisplay(seconds, errors, names).plot()


@pytest.mark.parametrize(
    ("results", "error", "message"),
    [
        ({}, ValueError, "results is empty"),
        ("x", TypeError, "results must be a dict with the results of cross_validate .* got 'x'"),
        ({"a": 3}, TypeError, "The results of 'a' must be a dict from cross_validate, got 3"),
        ({"a": {}}, ValueError, r"The results of 'a' have no 'fit_time', only \[\]"),
        ({"a": {"fit_time": [1], "test_score": [np.nan]}}, ValueError, r"finite .* got \[nan\]"),
        ({"a": {"fit_time": [1], "test_score": [0.5]}}, ValueError, "'test_score' must hold neg"),
    ],
)
def test_bad_results_are_refused(results, error, message):
    with pytest.raises(error, match=message):
        AccuracyTimeDisplay.from_cv_results(results)
