"""Generated ratings with a known lowest error."""
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal, assert_series_equal
from sklearn.utils import Bunch

from sklrec.datasets import make_ratings


def make(**parameters):
    return make_ratings(**{"random_state": 0, **parameters})


def test_the_form_of_the_defaults():
    X, y = make()
    assert X.shape == (20_000, 3)
    assert list(X.columns) == ["user", "item", "timestamp"]
    assert X.dtypes.tolist() == [np.dtype("int64")] * 3
    assert (y.name, y.dtype, y.shape) == ("rating", np.dtype("float64"), (20_000,))
    assert X["user"].between(0, 999).all()
    assert X["item"].between(0, 499).all()
    assert y.between(1, 5).all()
    assert y.nunique() > 19_000
    assert y.mean() == pytest.approx(3, abs=0.1)
    assert 0.7 < y.std() < 0.9
    for column in X:  # the order is random
        assert abs(np.corrcoef(np.arange(len(X)), X[column])[0, 1]) < 0.03


@pytest.mark.parametrize("n_ratings", [1, 1000, 2400, 2600, 9999, 10_000])
@pytest.mark.parametrize("long_tail", [0.0, 1.0, 4.0])
def test_no_pair_is_repeated(n_ratings, long_tail):
    X, _ = make(n_users=50, n_items=200, n_ratings=n_ratings, long_tail=long_tail)
    assert len(X) == n_ratings
    assert not X.duplicated(["user", "item"]).any()
    assert X["user"].between(0, 49).all()
    assert X["item"].between(0, 199).all()


@pytest.mark.parametrize("long_tail", [0.0, 0.5, 1.0])
def test_popularity_is_as_documented(long_tail):
    X, _ = make(n_users=20_000, n_items=1000, n_ratings=200_000, long_tail=long_tail)
    counts = np.sort(np.bincount(X["item"], minlength=1000))[::-1]
    expected = (np.arange(1000) / 1000 + 0.02) ** -long_tail
    expected *= 200_000 / expected.sum()
    # Repeated draws of popular pairs are dropped, so the tolerance is large.
    np.testing.assert_allclose(counts[25::50], expected[25::50], rtol=0.15)
    popular = np.argsort(np.bincount(X["item"], minlength=1000))[-100:]
    assert 300 < popular.mean() < 700  # independent of the ID


@pytest.mark.parametrize(
    ("noise", "step", "rmse"),
    [
        (0.0, None, 0.0),
        (0.0, 0.5, 0.0),
        (0.2, None, 0.2),
        (0.5, None, 0.5),
        (0.5, 0.5, np.sqrt(0.25 + 0.25 / 12)),
        (0.5, 1, np.sqrt(0.25 + 1 / 12)),
    ],
)
def test_the_lowest_error_is_as_documented(noise, step, rmse):
    _, y, truth = make(n_ratings=100_000, noise=noise, step=step, return_truth=True)
    assert truth.rmse == pytest.approx(np.sqrt(np.mean((y - truth.expected) ** 2)))
    assert truth.rmse == pytest.approx(rmse, rel=0.03)
    # The best prediction is unbiased in every interval.
    bins = pd.cut(truth.expected, [1, 2, 3, 4, 5])
    errors = (y - truth.expected).groupby(bins, observed=True)
    assert (errors.mean().abs() <= 4 * errors.std() / np.sqrt(errors.size())).all()
    assert truth.expected.min() >= 1
    assert truth.expected.max() <= 5


@pytest.mark.parametrize("n_factors", [0, 3])
def test_ratings_follow_the_returned_model(n_factors):
    X, y, truth = make(noise=0, n_factors=n_factors, return_truth=True)
    assert isinstance(truth, Bunch)
    assert truth.user_factors.shape == (1000, n_factors)
    assert truth.item_factors.shape == (500, n_factors)
    signal = (
        truth.global_mean
        + truth.user_biases[X["user"]]
        + truth.item_biases[X["item"]]
        + (truth.user_factors[X["user"]] * truth.item_factors[X["item"]]).sum(axis=1)
    )
    np.testing.assert_allclose(y, np.clip(signal, 1, 5))
    np.testing.assert_allclose(y, truth.expected)


@pytest.mark.parametrize(
    ("rating_scale", "step"), [((1, 5), 1), ((0.5, 5), 0.5), ((0, 1), 0.1), ((-10, 10), 0.25)]
)
def test_ratings_are_multiples_of_the_step(rating_scale, step):
    _, y = make(rating_scale=rating_scale, step=step, noise=0.2 * np.ptp(rating_scale))
    low, high = rating_scale
    steps = (y - low) / step
    np.testing.assert_allclose(steps, np.rint(steps), atol=1e-9)
    assert (y.min(), y.max()) == (low, high)
    assert y.nunique() == round((high - low) / step) + 1


def test_rating_scale_scales_everything():
    X, y = make(noise=0.5)
    X_100, y_100 = make(noise=50, rating_scale=(100, 500))
    assert_frame_equal(X, X_100)
    np.testing.assert_allclose(y_100, 100 * y, rtol=1e-12)


def test_users_are_active_for_60_days():
    X, y = make(n_users=50)
    spans = X.groupby("user")["timestamp"].agg(np.ptp)
    assert 40 * 86_400 < spans.min() <= spans.max() < 60 * 86_400
    assert np.ptp(X["timestamp"]) < 2 * 365 * 86_400
    without, same = make(n_users=50, timestamps=False)
    assert list(without.columns) == ["user", "item"]
    assert_frame_equal(without, X[["user", "item"]])
    assert_series_equal(same, y)


def test_arrays_equal_frames():
    X, y = make()
    X_array, y_array = make(as_frame=False)
    assert (X_array.dtype, y_array.dtype) == (np.int64, np.float64)
    np.testing.assert_array_equal(X_array, X)
    np.testing.assert_array_equal(y_array, y)


def test_random_state_decides_the_ratings():
    X, y = make(random_state=1)
    for random_state in (1, np.random.RandomState(1)):
        X_again, y_again = make(random_state=random_state)
        assert_frame_equal(X, X_again)
        assert_series_equal(y, y_again)
    assert not make(random_state=2)[1].equals(y)
    assert not make(random_state=None)[1].equals(make(random_state=None)[1])


def test_ratings_of_several_chunks_follow_the_model_too():
    X, y, truth = make(n_ratings=270_000, noise=0, return_truth=True)  # more than 2**18
    assert len(X) == 270_000
    assert not X.duplicated(["user", "item"]).any()
    np.testing.assert_array_equal(truth.expected, y)


@pytest.mark.parametrize(
    ("parameter", "value", "error", "message"),
    [
        ("n_users", 0, ValueError, "n_users == 0, must be >= 1"),
        ("n_items", 2.5, TypeError, "n_items must be an instance of"),
        ("n_ratings", 0, ValueError, "n_ratings == 0, must be >= 1"),
        ("n_factors", -1, ValueError, "n_factors == -1, must be >= 0"),
        ("noise", -0.1, ValueError, r"noise == -0\.1, must be >= 0"),
        ("long_tail", "zipf", TypeError, "long_tail must be an instance of"),
        ("timestamps", "no", ValueError, "timestamps must be True or False, got 'no'"),
        ("return_truth", 1, ValueError, "return_truth must be True or False, got 1"),
        ("as_frame", None, ValueError, "as_frame must be True or False, got None"),
        ("noise", np.inf, ValueError, "noise must be a finite number"),
        ("long_tail", np.nan, ValueError, "long_tail must be a finite number"),
        ("step", 0, ValueError, "step == 0, must be > 0"),
        ("step", 0.3, ValueError, r"step must divide .* a width of 13\.3333 times step=0\.3\."),
        ("step", 8, ValueError, r"rating_scale=\(1, 5\) has a width of 0\.5 times step=8"),
        ("rating_scale", (5, 1), ValueError, r"rating_scale must be a pair .*, got \(5, 1\)"),
        ("rating_scale", 5, ValueError, "rating_scale must be a pair .*, got 5"),
        ("rating_scale", (1, 2, 3), ValueError, "rating_scale must be a pair"),
        ("rating_scale", (1, np.inf), ValueError, "of finite numbers"),
        ("n_ratings", 500_001, ValueError, "more than the 500000 different pairs of 1000 users"),
        ("random_state", "a", ValueError, "cannot be used to seed"),
    ],
)
def test_wrong_parameters_are_refused(parameter, value, error, message):
    with pytest.raises(error, match=message):
        make(**{parameter: value})
