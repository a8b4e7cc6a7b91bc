"""Terms that rows share, such as those of whom they met, and their solution for all at once."""
# SPDX-License-Identifier: BSD-3-Clause

import warnings
from collections.abc import Callable, Sequence

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor

from sklrec._solvers.least_squares.normal_equations import times

# Steps of conjugate gradients; each sweep goes on from where the last one was.
N_STEPS = 10
# Added to the diagonal of a row's Gram product, as a share of its mean, to take its root: with
# few ratings it has no full rank.
JITTER = 1e-5


def cooccurrence_weights(rows: np.ndarray, partners: np.ndarray, n_rows: int, n_partners: int) -> csr_array:
    r"""Give the weights of :math:`|R(u)|^{-1/2} \sum_{i \in R(u)} y_i` for all rows u.

    Parameters
    ----------
    rows : ndarray of shape (n_ratings,)
        The rows' codes.
    partners : ndarray of shape (n_ratings,)
        Codes of whom they met.
    n_rows : int
        Number of rows.
    n_partners : int
        Number of the other side's rows.

    Returns
    -------
    csr_array of shape (n_rows, n_partners)
        The weights, in float32.

    References
    ----------
    Koren (2008), "Factorization Meets the Neighborhood", :doi:`10.1145/1401890.1401944`.
    """
    weight = 1 / np.sqrt(np.bincount(rows, minlength=n_rows)[rows])
    return csr_array((weight.astype(np.float32), (rows, partners)), (n_rows, n_partners))


class SharedTerms:
    """Terms of which each row has some, with weights.

    Parameters
    ----------
    weights : csr_array of shape (n_rows, n_terms)
        The weight of each term in each row, in float32.
    groups : sequence of (int, int), default=None
        The first of the terms that have a prior in common, and the one after the last; ``None``
        if all have.
    device : torch.device
        Where to.
    """

    def __init__(
        self,
        weights: csr_array,
        groups: Sequence[tuple[int, int]] | None = None,
        device: torch.device | str = "cpu",
    ):
        self.groups = [slice(*group) for group in groups or [(0, weights.shape[1])]]
        self.n_terms = weights.shape[1]
        self._spread = _as_torch(weights, device)
        self._gather = _as_torch(weights.T.tocsr(), device)
        self._gather_squared = _as_torch(weights.power(2).T.tocsr(), device)

    def expand(self, terms: Tensor) -> Tensor:
        """Sum up the terms of each row.

        Parameters
        ----------
        terms : Tensor of shape (n_terms, n_columns)
            The terms.

        Returns
        -------
        Tensor of shape (n_rows, n_columns)
            The sums.
        """
        return self._spread @ terms

    def solve(
        self,
        grams: Tensor,
        residuals: Tensor,
        penalties: Tensor,
        start: Tensor,
        n_steps: int,
    ) -> Tensor:
        """Find the terms that leave the least squared error.

        Parameters
        ----------
        grams : Tensor of shape (n_rows, n_columns, n_columns)
            The rows' Gram products.
        residuals : Tensor of shape (n_rows, n_columns)
            Sums of what the rows' ratings are regressed on, times what is left of these ratings.
        penalties : Tensor of shape (n_rows,)
            The L2 penalty on each weighted term of a row.
        start : Tensor of shape (n_terms, n_columns)
            Where the solver starts.
        n_steps : int
            Steps of conjugate gradients.

        Returns
        -------
        Tensor of shape (n_terms, n_columns)
            The terms.
        """
        penalty = self._gather_squared @ penalties.to(start).unsqueeze(1)
        # Terms that no row has are zero, whatever they are penalised by.
        penalty = penalty.clamp(min=1e-6)
        diagonal = self._diagonal(grams) + penalty
        right = self._gather @ residuals
        return conjugate_gradients(
            lambda terms: self._apply(grams, terms) + penalty * terms,
            right,
            start,
            diagonal,
            n_steps,
        )

    def draw(
        self,
        grams: Tensor,
        residuals: Tensor,
        noise_precision: float,
        priors: Sequence[tuple[Tensor, Tensor]],
        start: Tensor,
        generator: torch.Generator,
        n_steps: int,
    ) -> Tensor:
        r"""Draw all terms jointly, by perturbing and solving.

        Their precision is :math:`\alpha N^\top G N + \Lambda` with the weights N and the rows'
        Gram products on the diagonal of G. A right-hand side that has itself been drawn makes
        the solution a draw.

        Parameters
        ----------
        grams : Tensor of shape (n_rows, n_columns, n_columns)
            The rows' Gram products.
        residuals : Tensor of shape (n_rows, n_columns)
            Sums of what the rows' ratings are regressed on, times what is left of these ratings.
        noise_precision : float
            The precision of the ratings.
        priors : sequence of (Tensor of shape (n_columns,), Tensor of shape (n_columns, n_columns))
            Mean and precision of the terms of each group.
        start : Tensor of shape (n_terms, n_columns)
            Where the solver starts, such as the last draw.
        generator : torch.Generator
            Source of the draw.
        n_steps : int
            Steps of conjugate gradients.

        Returns
        -------
        Tensor of shape (n_terms, n_columns)
            The terms.

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
        right = self._gather @ pushed
        diagonal = noise_precision * self._diagonal(grams)
        prior_noise = torch.randn(start.shape, generator=generator).to(grams)
        for group, (mean, precision) in zip(self.groups, priors, strict=True):
            root = torch.linalg.cholesky(precision)
            right[group] += precision @ mean + prior_noise[group] @ root.T
            diagonal[group] += precision.diagonal()

        def apply(terms: Tensor) -> Tensor:
            found = noise_precision * self._apply(grams, terms)
            for group, (_, precision) in zip(self.groups, priors, strict=True):
                found[group].addmm_(terms[group], precision)
            return found

        return conjugate_gradients(apply, right, start, diagonal, n_steps)

    def _apply(self, grams: Tensor, terms: Tensor) -> Tensor:
        return self._gather @ times(grams, self.expand(terms))

    def _diagonal(self, grams: Tensor) -> Tensor:
        return self._gather_squared @ grams.diagonal(dim1=1, dim2=2).contiguous()


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
