"""Rows described by whom they met: implicit terms, and their posterior by conjugate gradients."""
# SPDX-License-Identifier: BSD-3-Clause

import warnings
from collections.abc import Callable

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor

# Added to the diagonal of a row's Gram product, as a share of its mean, to take its root: with
# few ratings it has no full rank.
JITTER = 1e-5


class ImplicitTerms:
    r"""The terms :math:`|R(u)|^{-1/2} \sum_{i \in R(u)} y_i` of all rows u of one side.

    Parameters
    ----------
    rows : ndarray of shape (n_ratings,)
        The rows' codes.
    partners : ndarray of shape (n_ratings,)
        The other side's codes.
    n_rows : int
        Number of rows.
    n_partners : int
        Number of the other side's rows.
    device : torch.device
        Where to.

    References
    ----------
    Koren (2008), "Factorization Meets the Neighborhood", :doi:`10.1145/1401890.1401944`.
    """

    def __init__(
        self,
        rows: np.ndarray,
        partners: np.ndarray,
        n_rows: int,
        n_partners: int,
        device: torch.device | str = "cpu",
    ):
        weight = 1 / np.sqrt(np.bincount(rows, minlength=n_rows)[rows])
        spread = csr_array((weight.astype(np.float32), (rows, partners)), (n_rows, n_partners))
        self._spread = _as_torch(spread, device)
        self._gather = _as_torch(spread.T.tocsr(), device)
        self._gather_squared = _as_torch(spread.power(2).T.tocsr(), device)

    def expand(self, terms: Tensor) -> Tensor:
        """Sum up what the partners contribute.

        Parameters
        ----------
        terms : Tensor of shape (n_partners, n_columns)
            The partners' contributions.

        Returns
        -------
        Tensor of shape (n_rows, n_columns)
            The rows' terms.
        """
        return self._spread @ terms

    def draw(
        self,
        grams: Tensor,
        residuals: Tensor,
        noise_precision: float,
        prior_mean: Tensor,
        prior_precision: Tensor,
        start: Tensor,
        generator: torch.Generator,
        n_steps: int,
    ) -> Tensor:
        r"""Draw the contributions of all partners jointly, by perturbing and solving.

        Their precision is :math:`\alpha N^\top G N + \Lambda`, with the rows' Gram products on
        the diagonal of G. A right-hand side that has itself been drawn makes the solution a draw.

        Parameters
        ----------
        grams : Tensor of shape (n_rows, n_columns, n_columns)
            The rows' Gram products.
        residuals : Tensor of shape (n_rows, n_columns)
            Sums of what the rows' ratings are regressed on, times what is left of these ratings.
        noise_precision : float
            The precision of the ratings.
        prior_mean : Tensor of shape (n_columns,)
            Mean of the contributions.
        prior_precision : Tensor of shape (n_columns, n_columns)
            Precision of the contributions.
        start : Tensor of shape (n_partners, n_columns)
            Where the solver starts, such as the last draw.
        generator : torch.Generator
            Source of the draw.
        n_steps : int
            Steps of conjugate gradients.

        Returns
        -------
        Tensor of shape (n_partners, n_columns)
            The contributions.

        References
        ----------
        Papandreou, Yuille (2010), "Gaussian Sampling by Local Perturbations", NeurIPS.
        """
        diagonals = grams.diagonal(dim1=1, dim2=2)
        raised = grams + torch.diag_embed(
            (JITTER * diagonals.mean(1).clamp(min=1e-3)).unsqueeze(1).expand_as(diagonals)
        )
        roots = torch.linalg.cholesky_ex(raised)[0]
        noise = torch.randn(*residuals.shape, 1, generator=generator).to(grams)
        pushed = noise_precision * residuals
        pushed = pushed + noise_precision**0.5 * torch.bmm(roots, noise).squeeze(2)
        prior_root = torch.linalg.cholesky(prior_precision)
        prior_noise = torch.randn(start.shape, generator=generator).to(grams)
        right = self._gather @ pushed + prior_precision @ prior_mean + prior_noise @ prior_root.T

        def apply(terms: Tensor) -> Tensor:
            seen = torch.bmm(grams, self.expand(terms).unsqueeze(2)).squeeze(2)
            return noise_precision * (self._gather @ seen) + terms @ prior_precision

        diagonal = noise_precision * (self._gather_squared @ diagonals.contiguous())
        return conjugate_gradients(
            apply, right, start, diagonal + prior_precision.diagonal(), n_steps
        )


def conjugate_gradients(
    apply: Callable[[Tensor], Tensor],
    right: Tensor,
    start: Tensor,
    diagonal: Tensor,
    n_steps: int,
) -> Tensor:
    """Solve a symmetric positive definite system approximately.

    Parameters
    ----------
    apply : callable
        Multiplies by the matrix.
    right : Tensor
        The right-hand side.
    start : Tensor of the shape of `right`
        Where to start.
    diagonal : Tensor of the shape of `right`
        The matrix's diagonal, as preconditioner.
    n_steps : int
        Number of steps.

    Returns
    -------
    Tensor of the shape of `right`
        The solution.
    """
    found = start.clone()
    residual = right - apply(found)
    scaled = residual / diagonal
    direction, product = scaled, (residual * scaled).sum()
    for _ in range(n_steps):
        image = apply(direction)
        # Once it is solved there is nothing left to divide by.
        step = product / (direction * image).sum().clamp(min=1e-30)
        found = found + step * direction
        residual = residual - step * image
        scaled = residual / diagonal
        before, product = product, (residual * scaled).sum()
        direction = scaled + product / before.clamp(min=1e-30) * direction
    return found


def _as_torch(matrix: csr_array, device: torch.device | str) -> Tensor:
    starts, columns = (
        torch.from_numpy(part.astype(np.int64)) for part in (matrix.indptr, matrix.indices)
    )
    values, shape = torch.from_numpy(matrix.data), list(matrix.shape)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that such tensors are in beta
        return torch.sparse_csr_tensor(starts, columns, values, shape).to(device)
