"""Recommenders for people who live in scikit-learn: PyTorch rating models as estimators."""
# SPDX-License-Identifier: BSD-3-Clause

from sklrec.bayesian_fm import BayesianFMRegressor
from sklrec.dense import DenseRecRegressor
from sklrec.matrix_factorization import MFRegressor
from sklrec.preprocessing import IDEncoder, SequencePadder, SequenceWindower
from sklrec.sequence import SequenceRatingRegressor

__all__ = [
    "BayesianFMRegressor",
    "DenseRecRegressor",
    "IDEncoder",
    "MFRegressor",
    "SequencePadder",
    "SequenceRatingRegressor",
    "SequenceWindower",
]
__version__ = "0.1.0.dev0"
