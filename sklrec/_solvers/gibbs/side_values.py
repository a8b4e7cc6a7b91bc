"""Side features of users, items and ratings, as sparse weights."""
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor

from sklrec._solvers.gibbs.chain import Features
from sklrec._solvers.tensors import InteractionTensors
from sklrec.modules import BayesianFactorizationMachine


def features_of(module: BayesianFactorizationMachine) -> dict[str, Features]:
    """Return the side features of users and items by side."""
    by_side = {}
    for side in ("user", "item"):
        if groups := module.groups[side]:
            values, weights = (getattr(module, f"{side}_{name}") for name in ("values", "weights"))
            by_side[side] = Features(
                _sparse(values.cpu().numpy(), weights.cpu().numpy(), groups[-1][1]), groups
            )
    return by_side


def contexts_of(
    module: BayesianFactorizationMachine, data: InteractionTensors
) -> tuple[dict[str, Tensor], dict[str, Features]]:
    """Return the context code of each rating, and the features of the distinct contexts."""
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
    is_used = weights != 0
    cells = weights[is_used].astype(np.float32), (rows[is_used], values[is_used])
    return csr_array(cells, (len(values), n_values))
