"""What each rating of a user adds to the user's predictions in a fitted Gaussian model."""
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import torch

from sklrec._solvers.fold_in import SideEquations, log_of
from sklrec._utils.packed import inverse, n_packed, unpack
from sklrec.modules import GaussianMatrixFactorization
from sklrec.modules._gaussian import with_one
from sklrec.modules._user_posterior import rating_statistics


@torch.no_grad()
def contributions(
    module: GaussianMatrixFactorization,
    user: int,  # code
    ratings: dict[str, np.ndarray],  # of the user, as in `solve_rows`
    items: torch.Tensor,  # (n_items,), codes
) -> np.ndarray:  # (n_ratings, n_items)
    """Compute the contributions to the scores of items, in units of the ratings."""
    # The user's row has the mean S (tau sum of w v + L (m + h)), with h the sum of the SVD++ terms
    # t divided by the root of the number of ratings. A rating therefore adds
    # S (tau w v + L t / root) to the row, and its product with x = (1, q) to a score.
    n, d = len(ratings["y"]), module.n_factors + 1
    if n == 0:
        return np.zeros((0, len(items)))
    log = log_of(module, np.zeros(n, dtype=np.int64), ratings)
    features = module.user_values[[user]], module.user_weights[[user]]
    noise = module.user_noise[user]
    equations = SideEquations.of(module, "user", log, 1, features, noise)
    S = inverse(equations.precision * unpack(equations.G, d) + equations.prior)[0]
    partners = torch.from_numpy(ratings["partners"]).to(items.device)
    z, weights = (torch.from_numpy(values).to(S) for values in log[2:])
    rows, covariances = (
        find("item", partners, {}) for find in (module._rows, module._row_covariances)
    )
    v = rating_statistics(z, rows, covariances)[:, n_packed(d) :]
    added = equations.precision * weights.unsqueeze(1) * v
    if module.svdpp:
        added += module.user_terms[partners].double() / n**0.5 @ equations.prior
    x = with_one(module._rows("item", items, {}))
    return (module.scale * (added @ S @ x.T)).cpu().numpy()
