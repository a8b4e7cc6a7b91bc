"""Item-item regression in closed form (Steck 2019, WWW)."""
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
from scipy.linalg import lapack
from scipy.sparse import csr_array

from sklrec._utils.memory import available_memory

# Rows of the matrix of products that are computed at once.
ROWS_AT_ONCE = 512
# Bound on the condition of the matrix up to which float32 is used. On MovieLens 100K and on the
# 10,000 items of goodbooks, float32 then changes the weights by less than 1e-4 of the largest one.
FLOAT32_CONDITION = 1e5
GIB = 2**30


def item_weights(positives: csr_array, penalty: float) -> np.ndarray:  # (n_items, n_items)
    """Compute the weights B with zeros on the diagonal, in float32.

    They minimise |X - XB|² + penalty |B|²: B = I - P / diag(P) with P = (X'X + penalty I)^-1.
    """
    X = positives.astype(np.float64)
    n, by_item = X.shape[1], X.T.tocsr()
    # The largest sum of a row bounds the largest eigenvalue.
    largest = (by_item @ X.sum(axis=1)).max() + penalty
    is_float32 = largest <= FLOAT32_CONDITION * penalty
    _check_memory(n, 4 if is_float32 else 12)
    P = np.zeros((n, n), np.float32 if is_float32 else np.float64)
    for rows in _blocks(n):
        P[rows] = (by_item[rows] @ X).toarray()
    P.flat[:: n + 1] += penalty
    _invert(P)
    P /= -P.diagonal().copy()
    P.flat[:: n + 1] = 0
    return P.astype(np.float32, copy=False)


def _invert(matrix: np.ndarray) -> None:
    """Replace a symmetric positive definite matrix by its inverse, without a copy."""
    is_float32 = matrix.dtype == np.float32
    factor, invert = (
        (lapack.spotrf, lapack.spotri) if is_float32 else (lapack.dpotrf, lapack.dpotri)
    )
    by_column = matrix.T  # LAPACK reads columns
    found, failed = factor(by_column, lower=1, clean=0, overwrite_a=1)
    if not failed:
        found, failed = invert(found, lower=1, overwrite_c=1)
    if failed:
        raise ValueError(
            "The products of the items' columns have no inverse in float64 with this alpha. Give "
            "a larger alpha."
        )
    # `found` is `by_column`, with the inverse in its lower triangle.
    for rows in _blocks(len(matrix)):
        after = slice(rows.stop, None)
        block = matrix[rows, rows]
        upper = np.triu(block)
        block[:] = upper + np.triu(upper, 1).T
        matrix[after, rows] = matrix[rows, after].T


def _check_memory(n_items: int, bytes_each: int) -> None:
    needed, available = bytes_each * n_items**2, available_memory()
    if available is not None and needed > available:
        raise ValueError(
            f"EASERecommender needs a weight for each pair of {n_items} items: "
            f"{needed / GIB:.3g} GiB of memory, and {available / GIB:.3g} GiB are available. Drop "
            "rare items, or use ImplicitMFRecommender."
        )


def _blocks(n: int) -> list[slice]:
    return [slice(first, min(first + ROWS_AT_ONCE, n)) for first in range(0, n, ROWS_AT_ONCE)]
