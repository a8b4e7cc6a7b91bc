"""Side features as sparse weights: those of users and items, and those of ratings."""
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor

from sklrec._solvers.gibbs.chain import Features
from sklrec._solvers.tensors import InteractionTensors
from sklrec.modules import BayesianFactorizationMachine


def features_of(module: BayesianFactorizationMachine) -> dict[str, Features]:
    """Give what describes users and items, if anything does.

    Parameters
    ----------
    module : BayesianFactorizationMachine
        The module, which holds it.

    Returns
    -------
    dict of str to Features
        By side.
    """
    found = {}
    for side in ("user", "item"):
        if groups := module.groups[side]:
            values, weights = (getattr(module, f"{side}_{name}") for name in ("values", "weights"))
            found[side] = Features(
                _sparse(values.cpu().numpy(), weights.cpu().numpy(), groups[-1][1]), groups
            )
    return found


def contexts_of(
    module: BayesianFactorizationMachine, data: InteractionTensors
) -> tuple[dict[str, Tensor], dict[str, Features]]:
    """Give what describes ratings, rows that are alike once.

    Parameters
    ----------
    module : BayesianFactorizationMachine
        The module.
    data : InteractionTensors
        The ratings.

    Returns
    -------
    codes : dict of str to Tensor of shape (n_ratings,)
        For the side ``"context"``, if there is one: which kind of row each rating is of.
    features : dict of str to Features
        What describes these.
    """
    groups = module.groups["context"]
    if not groups:
        return {}, {}
    values, weights = (data.X[f"context_{name}"].cpu().numpy() for name in ("values", "weights"))
    both = np.concatenate([values.astype(np.float64), weights], axis=1)
    first, codes = np.unique(both, axis=0, return_index=True, return_inverse=True)[1:]
    features = Features(_sparse(values[first], weights[first], groups[-1][1]), groups)
    return {"context": torch.from_numpy(codes.ravel()).to(data.y.device)}, {"context": features}


def _sparse(values: np.ndarray, weights: np.ndarray, n_values: int) -> csr_array:
    rows = np.arange(len(values))[:, np.newaxis].repeat(values.shape[1], 1)
    there = weights != 0
    cells = weights[there].astype(np.float32), (rows[there], values[there])
    return csr_array(cells, (len(values), n_values))
