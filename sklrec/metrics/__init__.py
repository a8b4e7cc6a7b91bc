"""Errors of ratings, metrics of ranked lists, and scorers for both."""
# SPDX-License-Identifier: BSD-3-Clause

from sklrec.metrics._beyond_accuracy import coverage_at_k, novelty_at_k
from sklrec.metrics._ranking import (
    hit_rate_at_k,
    map_at_k,
    mrr_at_k,
    ndcg_at_k,
    precision_at_k,
    recall_at_k,
)
from sklrec.metrics._ranking_scorer import make_ranking_scorer
from sklrec.metrics._rating import (
    masked_root_mean_squared_error,
    neg_masked_root_mean_squared_error_scorer,
)

__all__ = [
    "coverage_at_k",
    "hit_rate_at_k",
    "make_ranking_scorer",
    "map_at_k",
    "masked_root_mean_squared_error",
    "mrr_at_k",
    "ndcg_at_k",
    "neg_masked_root_mean_squared_error_scorer",
    "novelty_at_k",
    "precision_at_k",
    "recall_at_k",
]
