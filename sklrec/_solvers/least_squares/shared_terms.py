"""Terms that rows share, such as SVD++ terms, and their joint solution."""
# SPDX-License-Identifier: BSD-3-Clause

import warnings
from collections.abc import Callable, Sequence

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor

from sklrec._solvers.least_squares.normal_equations import times

# Steps of conjugate gradients. Each sweep starts from the solution of the last one.
N_STEPS = 10
# Addition to the diagonal of a row's Gram product, as a share of its mean, before its root is
# computed: with few ratings it does not have full rank.
JITTER = 1e-5


def cooccurrence_weights(
    rows: np.ndarray,  # (n_ratings,)
    partners: np.ndarray,  # (n_ratings,)
    n_rows: int,
    n_partners: int,
) -> csr_array:  # (n_rows, n_partners), float32
    r"""Compute the weights of :math:`|R(u)|^{-1/2} \sum_{i \in R(u)} y_i` for all rows u (Koren
    2008, doi:10.1145/1401890.1401944)."""
    weight = 1 / np.sqrt(np.bincount(rows, minlength=n_rows)[rows])
    return csr_array((weight.astype(np.float32), (rows, partners)), (n_rows, n_partners))


class SharedTerms:
    """Terms that several rows share, with a weight of each term in each row."""

    def __init__(
        self,
        weights: csr_array,  # (n_rows, n_terms), float32
        groups: Sequence[tuple[int, int]] | None = None,  # ranges of terms with a common prior
        device: torch.device | str = "cpu",
    ):
        self.groups = [slice(*group) for group in groups or [(0, weights.shape[1])]]
        self.n_terms = weights.shape[1]
        self._spread = _as_torch(weights, device)
        self._gather = _as_torch(weights.T.tocsr(), device)
        self._gather_squared = _as_torch(weights.power(2).T.tocsr(), device)

    def expand(self, terms: Tensor) -> Tensor:
        """Compute the weighted sum of the terms of each row."""
        return self._spread @ terms  # (n_rows, n_columns)

    def solve(
        self,
        grams: Tensor,  # (n_rows, n_columns, n_columns)
        residuals: Tensor,  # (n_rows, n_columns), moments of what the terms should explain
        penalties: Tensor,  # (n_rows,), L2 penalty on each weighted term of a row
        start: Tensor,  # (n_terms, n_columns)
        n_steps: int,
    ) -> Tensor:
        """Compute the terms of least penalised squared error."""
        penalty = self._gather_squared @ penalties.to(start).unsqueeze(1)
        # Terms that no row has become zero, even without a penalty.
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
        grams: Tensor,  # (n_rows, n_columns, n_columns)
        residuals: Tensor,  # (n_rows, n_columns)
        noise_precision: float,
        priors: Sequence[tuple[Tensor, Tensor]],  # mean and precision of each group
        start: Tensor,  # (n_terms, n_columns)
        generator: torch.Generator,
        n_steps: int,
    ) -> Tensor:
        """Draw all terms jointly by perturbation and solution (Papandreou and Yuille 2010,
        NeurIPS)."""
        # With weights N and Gram products G, the precision of the terms is alpha NᵀGN + Λ. The
        # solution for a right-hand side that is a draw itself is a draw of the terms.
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
            image = noise_precision * self._apply(grams, terms)
            for group, (_, precision) in zip(self.groups, priors, strict=True):
                image[group].addmm_(terms[group], precision)
            return image

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
    """Solve a symmetric positive definite system approximately, with a diagonal preconditioner."""
    solution = start.clone()
    residual = right - apply(solution)
    scaled = residual / diagonal
    direction, product = scaled, (residual * scaled).sum()
    for _ in range(n_steps):
        image = apply(direction)
        # At the solution both parts of the fraction are 0.
        step = product / (direction * image).sum().clamp(min=1e-30)
        solution = solution + step * direction
        residual = residual - step * image
        scaled = residual / diagonal
        before, product = product, (residual * scaled).sum()
        direction = scaled + product / before.clamp(min=1e-30) * direction
    return solution


def _as_torch(matrix: csr_array, device: torch.device | str) -> Tensor:
    starts, columns = (
        torch.from_numpy(part.astype(np.int64)) for part in (matrix.indptr, matrix.indices)
    )
    values, shape = torch.from_numpy(matrix.data), list(matrix.shape)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # sparse CSR tensors are in beta
        return torch.sparse_csr_tensor(starts, columns, values, shape).to(device)
