"""Solvers: objects that train a module on interactions."""
# SPDX-License-Identifier: BSD-3-Clause

from sklrec._solvers._gibbs import GibbsSampler
from sklrec._solvers._minibatch import DENSE_GRADIENTS, SGD, MinibatchSolver, Optimization
from sklrec._solvers._solver import Outcome, Previous, Solver
from sklrec._solvers._sweeps import INIT_STD

__all__ = [
    "DENSE_GRADIENTS",
    "INIT_STD",
    "SGD",
    "GibbsSampler",
    "MinibatchSolver",
    "Optimization",
    "Outcome",
    "Previous",
    "Solver",
]
