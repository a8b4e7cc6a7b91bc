"""Solvers: objects that train a module on interactions."""
# SPDX-License-Identifier: BSD-3-Clause

from sklrec._solvers.base import Outcome, Previous, Solver
from sklrec._solvers.gibbs.sampler import GibbsSampler
from sklrec._solvers.gibbs.tables import INIT_STD
from sklrec._solvers.minibatch import DENSE_GRADIENTS, SGD, MinibatchSolver, Optimization

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
