"""Checks of padded sequences, and their conversion to histories."""
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import pytest

from sklrec._data.padded import has_ratings, rated_positions, split_columns, to_histories

NAN = np.nan
X = np.array([[0, 3, 5, NAN, 4, NAN], [2, 0, 1, 1, 5, NAN], [0, 0, 0, NAN, NAN, NAN]])


def test_the_shape_of_y_decides_whether_x_has_ratings():
    assert has_ratings(X, np.ones(3))
    assert has_ratings(X, np.ones((3, 3)))
    assert not has_ratings(X, np.ones((3, 6)))
    assert not has_ratings(X[:, :3], np.ones(3))
    assert not has_ratings(X[:, :4], np.ones(3))  # NaN in one place does not make a rating
    for y in (np.ones((3, 2)), np.ones((3, 3, 1))):
        with pytest.raises(ValueError, match="y must hold one rating a sequence"):
            has_ratings(X, y)


def test_padding_is_removed_and_rated_items_stay():
    items, ratings = split_columns(X, True)
    assert items.tolist() == [[0, 3, 5], [2, 0, 1], [0, 0, 0]]
    histories, places = to_histories(items, ratings)
    assert histories.lengths.tolist() == [2, 3, 0]
    assert histories.items.tolist() == [3, 5, 2, 0, 1]
    assert np.array_equal(histories.ratings, [4, NAN, 1, 5, NAN], equal_nan=True)
    assert places.tolist() == [[0, 0, 1], [0, 1, 2], [0, 0, 0]]
    alone, places = to_histories(items, None)
    assert alone.items.tolist() == [3, 5, 2, 1]
    assert places.tolist() == [[0, 0, 1], [0, 1, 1], [0, 0, 0]]


def test_an_invalid_code_is_named():
    bad = X.copy()
    bad[1, 2] = 1.5
    with pytest.raises(ValueError, match=r"got 1\.5 in row 1, column 2\. Encode the items"):
        split_columns(bad, True)


def test_y_rates_the_last_position_or_several():
    items, _ = split_columns(X, True)
    row, column = rated_positions(items[:2], np.array([1.0, 2.0]))
    assert (row.tolist(), column.tolist()) == ([0, 1], [2, 2])
    row, column = rated_positions(items, np.array([[NAN, 2, NAN], [1, NAN, NAN], [NAN] * 3]))
    assert (row.tolist(), column.tolist()) == ([0, 1], [1, 0])
    with pytest.raises(ValueError, match=r"y has ratings where X is padding .* row 1, column 1"):
        rated_positions(items, np.array([[NAN] * 3, [NAN, 1, NAN], [NAN] * 3]))
    with pytest.raises(ValueError, match="2 of 3 sequences end in padding"):
        rated_positions(items[[0, 2, 2]], np.ones(3))
