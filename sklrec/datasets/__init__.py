"""Rating data: MovieLens, generated ratings, matrices, and ratings in chunks."""
# SPDX-License-Identifier: BSD-3-Clause

from sklrec.datasets._chunks import ArrayRatings, ChunkedRatings
from sklrec.datasets._generate import make_ratings
from sklrec.datasets._matrices import interactions_from_matrix, interactions_from_wide
from sklrec.datasets._movielens import fetch_movielens
from sklrec.datasets._parquet import ParquetRatings

__all__ = [
    "ArrayRatings",
    "ChunkedRatings",
    "ParquetRatings",
    "fetch_movielens",
    "interactions_from_matrix",
    "interactions_from_wide",
    "make_ratings",
]
