"""Runs of equal values in sorted arrays."""
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np


def is_new(sorted_values: np.ndarray) -> np.ndarray:
    """Return a mask of the values that differ from the value before."""
    new = np.ones(len(sorted_values), dtype=bool)
    np.not_equal(sorted_values[1:], sorted_values[:-1], out=new[1:])
    return new


def place_in_run(sorted_values: np.ndarray) -> np.ndarray:
    """Count the equal values before each of some sorted values."""
    first = np.searchsorted(sorted_values, sorted_values, side="left")
    return np.arange(len(sorted_values)) - first
