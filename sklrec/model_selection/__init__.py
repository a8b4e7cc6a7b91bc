"""Splitters for cross-validation that respect time."""
# SPDX-License-Identifier: BSD-3-Clause

from sklrec.model_selection._global_time_split import GlobalTimeSplit
from sklrec.model_selection._last_interactions_split import LastInteractionsSplit

__all__ = ["GlobalTimeSplit", "LastInteractionsSplit"]
