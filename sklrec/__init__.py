"""Recommenders for people who live in scikit-learn: PyTorch rating models as estimators."""
# SPDX-License-Identifier: BSD-3-Clause

from sklrec.matrix_factorization import MFRegressor
from sklrec.preprocessing import IDEncoder

__all__ = ["IDEncoder", "MFRegressor"]
__version__ = "0.1.0.dev0"
