"""The Gaussian that the rows of a table come from, drawn given the rows."""
# SPDX-License-Identifier: BSD-3-Clause

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class Prior(NamedTuple):
    """The Gaussian that the rows of a table come from.

    Parameters
    ----------
    mean : ndarray of shape (n_columns,)
        Its mean.
    precision : ndarray of shape (n_columns, n_columns)
        The inverse of its covariance.
    """

    mean: np.ndarray
    precision: np.ndarray

    def to(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Give the mean and the precision as tensors.

        Parameters
        ----------
        like : Tensor
            A tensor of the dtype and on the device that are wanted.

        Returns
        -------
        tuple of Tensor
            Both.
        """
        return torch.from_numpy(self.mean).to(like), torch.from_numpy(self.precision).to(like)

    @classmethod
    def draw(cls, table: Tensor, rng: np.random.Generator) -> "Prior":
        """Draw the prior from what is known of it, given the rows.

        The hyperprior is Normal-Wishart: mean 0 as if seen once, and n_columns degrees of
        freedom around the identity matrix.

        Parameters
        ----------
        table : Tensor of shape (n, n_columns)
            The rows.
        rng : numpy.random.Generator
            Source of the draw.

        Returns
        -------
        Prior
            The draw.
        """
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
                "The draws have left what float64 can tell apart: the ratings are much farther "
                "from 0 than from each other. Subtract their mean, or set biased=True."
            ) from error
        bartlett = np.tril(rng.standard_normal((d, d)), -1)
        bartlett[np.diag_indices(d)] = np.sqrt(rng.chisquare(d + n - np.arange(d)))
        root = lower @ bartlett
        precision = root @ root.T
        spread = np.linalg.solve(np.linalg.cholesky((1 + n) * precision).T, rng.standard_normal(d))
        return cls(n / (1 + n) * mean + spread, precision)
