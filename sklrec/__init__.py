"""Recommenders for people who live in scikit-learn: PyTorch rating models as estimators."""
# SPDX-License-Identifier: BSD-3-Clause

from sklrec._version import __version__ as __version__
from sklrec.bayesian import BayesianMFRegressor
from sklrec.dense import DenseRecRegressor
from sklrec.matrix_factorization import MFRegressor
from sklrec.persistence._checkpoint import ModelCheckpoint
from sklrec.persistence._files import load, save
from sklrec.preprocessing import IDEncoder, SequencePadder, SequenceWindower
from sklrec.sequence import SequenceRatingRegressor

__all__ = [
    "BayesianMFRegressor",
    "DenseRecRegressor",
    "IDEncoder",
    "MFRegressor",
    "ModelCheckpoint",
    "SequencePadder",
    "SequenceRatingRegressor",
    "SequenceWindower",
    "load",
    "save",
]
