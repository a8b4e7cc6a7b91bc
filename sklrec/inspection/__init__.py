"""Plots of fitted models, in the form of scikit-learn's displays."""
# SPDX-License-Identifier: BSD-3-Clause

from sklrec.inspection._accuracy_time import AccuracyTimeDisplay
from sklrec.inspection._calibration import CalibrationDisplay
from sklrec.inspection._error_by_activity import ErrorByActivityDisplay
from sklrec.inspection._predicted_ratings import PredictedRatingsDisplay
from sklrec.inspection._ranking_curve import RankingCurveDisplay
from sklrec.inspection._training_history import TrainingHistoryDisplay

__all__ = [
    "AccuracyTimeDisplay",
    "CalibrationDisplay",
    "ErrorByActivityDisplay",
    "PredictedRatingsDisplay",
    "RankingCurveDisplay",
    "TrainingHistoryDisplay",
]
