"""Gaussian prior of the rows of a table, drawn given the rows."""
# SPDX-License-Identifier: BSD-3-Clause

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class Prior(NamedTuple):
    """The Gaussian prior of the rows of a table."""

    mean: np.ndarray  # (n_columns,)
    precision: np.ndarray  # (n_columns, n_columns), inverse of the covariance

    def to(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and precision as tensors of the dtype and the device of another one."""
        return torch.from_numpy(self.mean).to(like), torch.from_numpy(self.precision).to(like)

    @classmethod
    def draw(cls, table: Tensor, rng: np.random.Generator) -> "Prior":
        """Draw the prior given the rows, with a Normal-Wishart hyperprior."""
        # Hyperprior: mean 0, worth one row; n_columns degrees of freedom and the identity matrix.
        rows = table.cpu().numpy().astype(np.float64)
        n, d = rows.shape
        mean = rows.mean(0)
        centred = rows - mean
        scatter = np.eye(d) + centred.T @ centred + n / (1 + n) * np.outer(mean, mean)
        # A Wishart draw by Bartlett's decomposition: L A Aᵀ Lᵀ with L Lᵀ the inverse scatter
        try:
            lower = np.linalg.cholesky(np.linalg.inv(scatter))
        except np.linalg.LinAlgError as error:
            raise ValueError(
                "Sampling needs factors of moderate size, but the drawn ones are too large for "
                "float64. Check the ratings and their weights for extreme values."
            ) from error
        bartlett = np.tril(rng.standard_normal((d, d)), -1)
        bartlett[np.diag_indices(d)] = np.sqrt(rng.chisquare(d + n - np.arange(d)))
        root = lower @ bartlett
        precision = root @ root.T
        spread = np.linalg.solve(np.linalg.cholesky((1 + n) * precision).T, rng.standard_normal(d))
        return cls(n / (1 + n) * mean + spread, precision)
