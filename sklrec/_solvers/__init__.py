"""Solvers: objects that train a module on interactions."""
# SPDX-License-Identifier: BSD-3-Clause

from sklrec._solvers._minibatch import MINIBATCH_SOLVERS, MinibatchSolver, Optimization
from sklrec._solvers._solver import Outcome, Previous, Solver

__all__ = [
    "MINIBATCH_SOLVERS",
    "MinibatchSolver",
    "Optimization",
    "Outcome",
    "Previous",
    "Solver",
]
