"""Splitters for cross-validation by users, items and time."""
# SPDX-License-Identifier: BSD-3-Clause

from sklrec.model_selection._cold import (
    ColdItemKFold,
    ColdItemShuffleSplit,
    ColdUserKFold,
    ColdUserShuffleSplit,
)
from sklrec.model_selection._global_time_split import GlobalTimeSplit
from sklrec.model_selection._last_interactions_split import LastInteractionsSplit
from sklrec.model_selection._user_stratified_k_fold import UserStratifiedKFold

__all__ = [
    "ColdItemKFold",
    "ColdItemShuffleSplit",
    "ColdUserKFold",
    "ColdUserShuffleSplit",
    "GlobalTimeSplit",
    "LastInteractionsSplit",
    "UserStratifiedKFold",
]
