"""SVD++ terms with Gaussian distributions, and their joint solution."""
# SPDX-License-Identifier: BSD-3-Clause

from dataclasses import dataclass

import torch
from torch import Tensor

from sklrec._solvers.least_squares.packed import blocks, inverse, multiply, pack, unpack
from sklrec._solvers.least_squares.rating_matrices import Incidence

# Steps of conjugate gradients. Each sweep starts from the terms of the last one.
N_STEPS = 5
# Scale of the Wishart priors of precisions.
WISHART = 0.1


@dataclass
class GaussianTerms:
    """SVD++ terms of one side's rows, one for each partner."""

    mean: Tensor  # (n_partners, d)
    prior_mean: Tensor  # (d,), float64
    prior_precision: Tensor  # (d, d), float64
    covariance: Tensor  # (d(d+1)/2,), mean over the terms

    def update(
        self,
        B: Incidence,
        grams: Tensor,  # (n, d(d+1)/2), times the precision of ratings
        targets: Tensor,  # (n, d), too
        precision: Tensor,  # (d, d), of own rows
        centre: Tensor,  # (d,), prior mean of own rows
        covariance: Tensor,  # (n, d(d+1)/2), of rows; its values are replaced
    ) -> tuple[Tensor, Tensor]:
        """Update the terms; return their sums of all rows, and covariances of these."""
        # A row is own + h with h = B t. With the own part integrated out, the terms t solve
        #   (L_t + B'A B) t = B'r + L_t m_t,  A = L - L S L,  r = L S tau y - A m.
        # S, the inverse of (tau G + L), is the new covariance.
        d, device, dtype = targets.shape[1], targets.device, targets.dtype
        reduced, pulls = torch.empty_like(grams), torch.empty_like(targets)
        for part in blocks(len(grams), d, device):
            S = inverse(unpack(grams[part], d) + precision)
            covariance[part] = pack(S)
            weighted = precision @ S
            A = precision - weighted @ precision
            reduced[part] = pack(A)
            pulls[part] = torch.bmm(weighted, targets[part].unsqueeze(2)).squeeze(2) - A @ centre
        of_terms = self.prior_precision.to(dtype)
        curvatures = B.transposed_squared @ reduced
        preconditioner = torch.empty_like(curvatures)
        for part in blocks(len(curvatures), d, device):
            preconditioner[part] = pack(inverse(unpack(curvatures[part], d) + of_terms))

        def product(t: Tensor) -> Tensor:
            return t @ of_terms + B.transposed @ multiply(reduced, B.shares @ t)

        right = B.transposed @ pulls + of_terms @ self.prior_mean.to(dtype)
        found = self.mean
        residual = right - product(found)
        step = pushed = multiply(preconditioner, residual)
        size = (residual * pushed).sum()
        for _ in range(N_STEPS):
            image = product(step)
            rate = size / (step * image).sum().clamp(min=1e-30)
            found = found + rate * step
            residual = residual - rate * image
            pushed = multiply(preconditioner, residual)
            before, size = size, (residual * pushed).sum()
            step = pushed + size / before.clamp(min=1e-30) * step
        self.mean = found
        self.covariance = preconditioner.mean(0)
        self.set_prior()
        return B.shares @ found, B.squared @ preconditioner

    def set_prior(self) -> None:
        """Set mean and precision of the prior in the same way as those of the rows."""
        t, (n, d) = self.mean.double(), self.mean.shape
        self.prior_mean = t.sum(0) / (n + 1)
        squares = n * unpack(self.covariance.double(), d) + t.T @ t
        squares -= torch.outer(t.sum(0), self.prior_mean)
        squares += WISHART * torch.eye(d).to(squares)
        self.prior_precision = (n + d) * torch.linalg.inv(squares)
