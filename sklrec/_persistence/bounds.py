"""How large the numbers of a network may be, so that no rating is infinite or NaN."""
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np

from sklrec._persistence.parts import PartReader

# The squares of such numbers, and sums of very many of them, are finite in float32.
LARGEST = 1e15
# The least standard deviation of ratings.
SMALLEST_SCALE = 1e-15
# So large may a rating be, by the sizes of all that it is made of.
LARGEST_RATING = 1e30
# A covariance that was rounded to float32 may be a little less than positive semi-definite.
ROUNDING = 1e-4


def check_size(part: PartReader, name: str, values: np.ndarray | float) -> None:
    """Raise if numbers are NaN or too large.

    Parameters
    ----------
    part : PartReader
        Where they are from.
    name : str
        Their name.
    values : ndarray or float
        The numbers.
    """
    values = np.asarray(values)
    # The extremes tell it without a copy; they are NaN if any number is.
    if values.size and not (values.min() >= -LARGEST and values.max() <= LARGEST):
        part.refuse(name, f"should hold numbers from {-LARGEST:g} to {LARGEST:g}")


def check_covariances(part: PartReader, name: str, covariances: np.ndarray) -> None:
    """Raise if matrices are not symmetric and positive semi-definite.

    Parameters
    ----------
    part : PartReader
        Where they are from.
    name : str
        Their name.
    covariances : ndarray of shape (n_draws, n, n)
        The matrices.
    """
    covariances = covariances.astype(np.float64)
    size = np.abs(covariances).max(initial=0)
    rounding = ROUNDING * size
    if np.abs(covariances - covariances.transpose(0, 2, 1)).max(initial=0) > rounding:
        part.refuse(name, "should hold symmetric matrices")
    if np.linalg.eigvalsh(covariances).min(initial=0) < -rounding:
        part.refuse(name, "should hold positive semi-definite matrices")


def largest(values: np.ndarray | None) -> float:
    """Find the largest absolute value.

    Parameters
    ----------
    values : ndarray or None
        Finite numbers, or none at all.

    Returns
    -------
    float
        The largest; 0 of none.
    """
    if values is None or values.size == 0:
        return 0.0
    return max(-float(values.min()), float(values.max()))
