"""Reading item codes: what is one, and what is none."""
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import pandas as pd
import pytest
from sklrec._data.codes import as_codes


@pytest.mark.parametrize(
    "values",
    [
        np.array([0, 3, 7]),
        np.array([0.0, 3.0, 7.0]),
        np.array([0, 3, 7], dtype=np.uint8),
        np.array([0, 3.0, np.int8(7)], dtype=object),
        pd.array([0, 3, 7], dtype="Int32"),
    ],
    ids=lambda values: str(values.dtype),
)
def test_whole_numbers_are_codes(values):
    codes, valid = as_codes(values)
    assert codes.dtype == np.int64
    assert codes.tolist() == [0, 3, 7]
    assert valid.all()


@pytest.mark.parametrize(
    "value",
    [-1, 0.5, np.nan, np.inf, 1e20, "3", None, True, pd.NA, np.datetime64("2020")],
    ids=repr,
)
def test_all_else_is_none(value):
    codes, valid = as_codes(np.array([2, value], dtype=object))
    assert valid.tolist() == [True, False]
    assert codes[0] == 2
