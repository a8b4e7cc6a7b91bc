"""Rating data: the MovieLens data sets, and ratings made from a planted model."""
# SPDX-License-Identifier: BSD-3-Clause

from sklrec.datasets._generate import make_ratings
from sklrec.datasets._movielens import fetch_movielens

__all__ = ["fetch_movielens", "make_ratings"]
