"""Plot of the error by the number of training ratings."""
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import mean_absolute_error, root_mean_squared_error
from sklearn.pipeline import make_pipeline

from sklrec import IDEncoder, MFRegressor
from sklrec.inspection import ErrorByActivityDisplay


@pytest.mark.parametrize("by", ["user", "item"])
def test_bins_are_of_training_counts(by, mf, train, test):
    X, y = test
    display = ErrorByActivityDisplay.from_estimator(mf, X, y, by=by, edges=[1, 10, 20, 40])
    counts = X[by].map(train[0][by].value_counts()).fillna(0)
    bins = pd.cut(counts, [-1, 0, 9, 19, 39, np.inf], labels=False)
    names = np.array(["unknown", "1-9", "10-19", "20-39", "≥ 40"])
    assert display.bins == names[np.unique(bins)].tolist()
    assert display.n_samples.tolist() == bins.value_counts().sort_index().tolist()
    predicted = mf.predict(X)
    for place, k in enumerate(np.unique(bins)):
        rows = bins == k
        errors = y[rows], predicted[rows]
        assert np.isclose(display.rmse[place], root_mean_squared_error(*errors))
        assert np.isclose(display.mae[place], mean_absolute_error(*errors))
        assert np.isclose(display.mean_residual[place], (y[rows] - predicted[rows]).mean())
        assert np.isclose(display.lines_["rmse"].get_ydata()[place], display.rmse[place])
    assert display.ax_.get_xlabel() == f"training ratings of the {by}, and number of rows"


def test_unknown_users_have_a_separate_bin(mf, test):
    X, y = test[0].copy(), test[1]
    X.loc[X.index[:7], "user"] = -1
    display = ErrorByActivityDisplay.from_estimator(mf, X, y)
    assert display.bins[0] == "unknown"
    assert display.n_samples[0] == 7


def test_missing_names_give_one_warning(mf, test):
    with pytest.warns(UserWarning, match="X does not have valid feature names") as caught:
        ErrorByActivityDisplay.from_estimator(mf, test[0].to_numpy(), test[1])
    assert len(caught) == 1


def test_a_pipeline_equals_its_model_alone(train, test):
    X, y = test[0].copy(), test[1]
    X.loc[X.index[:7], "user"] = -1
    mf = MFRegressor(n_factors=2, max_epochs=1, random_state=0)
    alone = ErrorByActivityDisplay.from_estimator(mf.fit(*train), X, y)
    pipeline = make_pipeline(IDEncoder(), mf).fit(*train)
    behind = ErrorByActivityDisplay.from_estimator(pipeline, X, y)
    assert behind.bins == alone.bins
    assert behind.n_samples.tolist() == alone.n_samples.tolist()
    assert np.allclose(behind.rmse, alone.rmse, atol=1e-5, equal_nan=True)


def test_an_empty_bin_between_others_is_a_gap():
    display = ErrorByActivityDisplay.from_predictions([1, 2, 3], [1, 1, 1], [0, 5, 500])
    assert display.bins == ["unknown", "1-2", "3-9", "10-29", "30-99", "100-299", "≥ 300"]
    assert display.n_samples.tolist() == [1, 0, 1, 0, 0, 0, 1]
    assert np.isnan(display.rmse[1]) and display.rmse[2] == 1
    assert display.mean_residual[-1] == 2
    assert display.ax_.get_xticklabels()[1].get_text() == "1-2\n0"


def test_edges_can_start_above_one():
    display = ErrorByActivityDisplay.from_predictions(
        [1, 2], [1, 2], [1, 9], edges=[2, 3, 7], line_kwargs={"lw": 4}
    )
    assert {line.get_linewidth() for line in display.lines_.values()} == {4}
    assert display.bins == ["1", "2", "3-6", "≥ 7"]


def test_bad_input_is_refused(mf, train, test):
    with pytest.raises(ValueError, match="by must be one of 'user', 'item', got 'film'"):
        ErrorByActivityDisplay.from_estimator(mf, *test, by="film")
    for count, edges, message in (
        (-1, None, "counts must not be negative, got -1"),
        (1, [1.5], r"edges must be a list of whole numbers, got \[1.5\]"),
        (1, [0, 2], r"edges must be at least 1 and increase, got \[0, 2\]"),
    ):
        with pytest.raises(ValueError, match=message):
            ErrorByActivityDisplay.from_predictions([1], [1], [count], edges=edges)
