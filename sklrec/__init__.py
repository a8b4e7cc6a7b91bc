"""Rating models in PyTorch that follow the scikit-learn estimator API."""
# SPDX-License-Identifier: BSD-3-Clause

from sklrec._persistence.checkpoint import ModelCheckpoint
from sklrec._persistence.files import load, save
from sklrec._utils.version import __version__ as __version__
from sklrec.estimators.bayesian import BayesianMFRegressor
from sklrec.estimators.bias import BiasRegressor
from sklrec.estimators.dense import DenseRecRegressor
from sklrec.estimators.ease import EASERecommender
from sklrec.estimators.implicit_mf import ImplicitMFRecommender
from sklrec.estimators.matrix_factorization import MFRegressor
from sklrec.estimators.module import ModuleRecRegressor
from sklrec.estimators.popularity import PopularityRecommender
from sklrec.estimators.sequence import SequenceRatingRegressor
from sklrec.preprocessing import IDEncoder, SequencePadder, SequenceWindower

__all__ = [
    "BayesianMFRegressor",
    "BiasRegressor",
    "DenseRecRegressor",
    "EASERecommender",
    "IDEncoder",
    "ImplicitMFRecommender",
    "MFRegressor",
    "ModelCheckpoint",
    "ModuleRecRegressor",
    "PopularityRecommender",
    "SequencePadder",
    "SequenceRatingRegressor",
    "SequenceWindower",
    "load",
    "save",
]
