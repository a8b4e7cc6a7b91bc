"""Columns of X are read without a copy."""
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import pandas as pd

from sklrec._data.tables import column_values, read_table


def test_columns_are_views():
    ratings = np.arange(6).reshape(3, 2)
    for X in (ratings, np.asfortranarray(ratings)):
        values = column_values(read_table(X), 1)
        assert np.shares_memory(values, X)
        assert values.tolist() == [1, 3, 5]
    X = pd.DataFrame({"user": pd.Categorical(["b", "a"]), "item": [5, 6], "day": ["x", "y"]})
    assert column_values(read_table(X), 0) is X["user"].array
    assert isinstance(column_values(read_table(X), 1), np.ndarray)
    assert np.shares_memory(column_values(read_table(X), 1), X["item"].to_numpy())
    assert column_values(read_table(X), 2).dtype == X["day"].dtype


def test_columns_may_have_the_same_label():
    X = pd.DataFrame([[1, 2], [3, 4]], columns=[0, 0])
    assert column_values(read_table(X), 0).tolist() == [1, 3]
    assert column_values(read_table(X), 1).tolist() == [2, 4]
