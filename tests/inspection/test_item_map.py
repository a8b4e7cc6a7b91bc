"""Map of the items by their factors."""
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import pandas as pd
import pytest
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.dummy import DummyRegressor
from sklearn.preprocessing import StandardScaler

from sklrec import (
    BayesianMFRegressor,
    DenseRecRegressor,
    MFRegressor,
    SequenceRatingRegressor,
)
from sklrec.inspection import ItemMapDisplay


def points(display):
    """Coordinates of all points, in any order."""
    offsets = [scatter.get_offsets() for scatter in display.scatters_.values()]
    return np.concatenate(offsets)


def test_points_are_the_principal_components(mf):
    display = ItemMapDisplay.from_estimator(mf)
    wanted = PCA(2).fit_transform(mf.module_.item_factors.weight.detach().numpy()[1:])
    assert np.allclose(np.abs(points(display)), np.abs(wanted), atol=1e-5)
    assert display.ax_.get_xlabel().startswith("principal component 1 (")
    assert display.ax_.get_legend() is None


@pytest.mark.parametrize(
    "estimator",
    [
        BayesianMFRegressor(n_factors=3, n_iter=12),
        DenseRecRegressor(n_factors=3, max_epochs=1),
        SequenceRatingRegressor(n_factors=3, max_epochs=1),
    ],
)
def test_every_estimator_has_a_map(estimator, train):
    estimator.set_params(random_state=0).fit(*train)
    display = ItemMapDisplay.from_estimator(estimator, annotate=3)
    assert points(display).shape == (train[0]["item"].nunique(), 2)
    most = train[0]["item"].value_counts().index[0]
    assert display.text_[0].get_text() == str(most)


def test_items_of_sequences_are_their_codes():
    sequences = np.array([[0, 1, 2], [3, 2, 1], [2, 3, 4], [1, 4, 2]])
    lstm = SequenceRatingRegressor(
        input="sequences", items_only=True, n_factors=2, max_epochs=1, random_state=0
    )
    lstm.fit(sequences, [1.0, 2.0, 3.0, 4.0])
    display = ItemMapDisplay.from_estimator(lstm, annotate=[4])
    assert display.text_[0].get_text() == "4"
    assert points(display).shape == (4, 2)


def test_labels_are_at_their_items(mf):
    items = mf.encoder_.categories_[1]
    names = {item: f"film {item}" for item in items}
    styles = {"scatter_kwargs": {"s": 99}, "text_kwargs": {"c": "red"}}
    display = ItemMapDisplay.from_estimator(mf, names=names, annotate=items[[5, 2]], **styles)
    assert display.scatters_["other"].get_sizes().tolist() == [99]
    assert display.text_[0].get_color() == "red"
    assert [text.get_text() for text in display.text_] == [f"film {i}" for i in items[[5, 2]]]
    assert np.allclose([text.xy for text in display.text_], display.coordinates[[5, 2]])
    assert np.allclose(display.rings_.get_offsets(), display.coordinates[[5, 2]])
    assert ItemMapDisplay.from_estimator(mf, annotate=0).text_ == []


def test_the_first_group_of_the_legend_colours_an_item():
    groups = ["rare|war", "war", "drama|war", "war|drama", "drama", "", None, ["drama"]]
    display = ItemMapDisplay(np.eye(8)[:, :2], list("abcdefgh"), groups=groups)
    display.plot(max_groups=2)
    sizes = {name: len(s.get_offsets()) for name, s in display.scatters_.items()}
    assert sizes == {"other": 2, "war": 3, "drama": 3}
    legend = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert legend == ["war", "drama", "other"]
    display = ItemMapDisplay([[0, 1]], ["a"], groups=[["a|b"]]).plot()
    assert list(display.scatters_) == ["a|b"]  # values of lists are not split


def test_a_series_is_read_by_its_index(mf):
    items = mf.encoder_.categories_[1]
    genres = pd.Series(np.where(items % 2, "odd", "even"), index=items)
    shuffled = genres.sample(frac=1, random_state=0)
    as_array = ItemMapDisplay.from_estimator(mf, groups=genres.to_numpy())
    as_series = ItemMapDisplay.from_estimator(mf, groups=shuffled)
    assert as_series.groups == as_array.groups == genres.tolist()


def test_some_items_alone_can_be_drawn(mf):
    items = mf.encoder_.categories_[1][[4, 9, 30]]
    display = ItemMapDisplay.from_estimator(mf, items=items, names=["x", "y", "z"])
    assert points(display).shape == (3, 2)
    assert {text.get_text() for text in display.text_} <= {"x", "y", "z"}


def test_other_transformers_can_make_the_map(mf):
    svd = TruncatedSVD(2, random_state=0)
    display = ItemMapDisplay.from_estimator(mf, transformer=svd)
    wanted = svd.fit_transform(mf.module_.item_factors.weight.detach().numpy()[1:])
    assert np.allclose(points(display), wanted, atol=1e-5)
    assert display.ax_.get_ylabel() == "TruncatedSVD dimension 2"
    ItemMapDisplay.from_estimator(mf, transformer=(scaler := StandardScaler()))
    assert not hasattr(scaler, "mean_")  # only a clone is fitted


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"items": [-5, 1]}, "items has -5, which is not one of the drawn items"),
        ({"items": [2, 3, 4], "annotate": [1]}, "annotate has 1, which is not one of the drawn"),
        ({"items": [2, 3, 3]}, "items must be different, but 3 is repeated"),
        ({"annotate": "Star Wars"}, "annotate must be a number of items, or a list"),
        ({"names": ["one"]}, "names must have an entry for each of 50 items, got 1"),
        ({"groups": {0: "war"}}, "groups has no entry for 49 of 50 items, such as "),
        ({"names": pd.Series(["a", "b"], index=[1, 1])}, "names has repeated items"),
        ({"max_groups": 0}, "max_groups must be an integer of at least 1"),
        ({"transformer": PCA(1)}, "PCA must make at least 2 columns"),
    ],
)
def test_bad_options_are_refused(mf, options, message):
    with pytest.raises(ValueError, match=message):
        ItemMapDisplay.from_estimator(mf, **options)


def test_models_without_two_factors_are_refused(train):
    with pytest.raises(ValueError, match="DummyRegressor has no item factors"):
        ItemMapDisplay.from_estimator(DummyRegressor().fit(*train))
    one = MFRegressor(n_factors=1, max_epochs=1).fit(*train)
    with pytest.raises(ValueError, match="at least 2 items with at least 2 factors each"):
        ItemMapDisplay.from_estimator(one)


@pytest.mark.parametrize(
    ("coordinates", "options", "message"),
    [
        (np.zeros((2, 3)), {}, r"coordinates must have 2 columns, got .* \(2, 3\)"),
        ([[0, 0], [0, np.nan]], {}, r"must be finite, got \[0.0, nan\] in row 1"),
        (np.zeros((2, 2)), {"annotate": [0, 0.7]}, r"rows from 0 to 1, got 0\.7"),
        (np.zeros((2, 2)), {"annotate": [-1]}, "rows from 0 to 1, got -1"),
        (np.zeros((2, 2)), {"annotate": ["a"]}, "rows from 0 to 1, got 'a'"),
    ],
)
def test_bad_coordinates_and_rows_are_refused(coordinates, options, message):
    with pytest.raises(ValueError, match=message):
        ItemMapDisplay(coordinates, ["a", "b"]).plot(**options)
