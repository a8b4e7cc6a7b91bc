"""Networks as ``torch.nn.Module``s, from codes to ratings."""
# SPDX-License-Identifier: BSD-3-Clause

from sklrec.modules._bias import BiasModel
from sklrec.modules._dense import DenseNet
from sklrec.modules._gaussian import GaussianMatrixFactorization
from sklrec.modules._lstm import LSTMRating
from sklrec.modules._matrix_factorization import MatrixFactorization
from sklrec.modules._network_rating import NetworkRating
from sklrec.modules._residual_lstm import ResidualLSTMRating

__all__ = [
    "BiasModel",
    "DenseNet",
    "GaussianMatrixFactorization",
    "LSTMRating",
    "MatrixFactorization",
    "NetworkRating",
    "ResidualLSTMRating",
]
