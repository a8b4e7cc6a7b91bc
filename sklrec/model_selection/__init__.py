"""Splitters for cross-validation that know users, items and time, and say what they leak."""
# SPDX-License-Identifier: BSD-3-Clause

from sklrec.model_selection._cold_k_fold import ColdItemKFold, ColdUserKFold
from sklrec.model_selection._cold_shuffle_split import ColdItemShuffleSplit, ColdUserShuffleSplit
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
