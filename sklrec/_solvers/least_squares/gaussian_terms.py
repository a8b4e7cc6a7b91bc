"""Terms that rows share, with Gaussian distributions, and their joint solution."""
# SPDX-License-Identifier: BSD-3-Clause

from dataclasses import dataclass

import torch
from torch import Tensor

from sklrec._solvers.least_squares.conjugate_gradients import conjugate_gradients
from sklrec._solvers.least_squares.rating_matrices import Incidence
from sklrec._utils.packed import blocks, inverse, multiply, pack, times, unpack

# Steps of conjugate gradients. Each sweep starts from the terms of the last one.
N_STEPS = 5
# Scale of the Wishart priors of precisions.
WISHART = 0.1


@dataclass
class TermPrior:
    """Prior of a group of terms: the SVD++ terms, or the values of a side feature."""

    group: slice
    mean: Tensor  # (d,), float64
    precision: Tensor  # (d, d), float64


@dataclass
class GaussianTerms:
    """Terms of one side's rows."""

    B: Incidence  # weights of the terms in the rows
    mean: Tensor  # (n_terms, d)
    covariance: Tensor  # (n_terms, d(d+1)/2)
    priors: list[TermPrior]

    def update(
        self,
        grams: Tensor,  # (n, d(d+1)/2), times the precision of ratings
        targets: Tensor,  # (n, d), too
        precision: Tensor,  # (d, d), of own rows
        centre: Tensor,  # (n, d), prior means of own rows
        covariance: Tensor,  # (n, d(d+1)/2), of rows; its values are replaced
    ) -> tuple[Tensor, Tensor]:
        """Update the terms; return their sums of all rows, and covariances of these."""
        # A row is own + h with h = B t. With the own part integrated out, the terms t solve
        #   (L_t + B'A B) t = B'r + L_t m_t,  A = L - L S L,  r = L S tau y - A m.
        # S, the inverse of (tau G + L), is the new covariance.
        B, (d, device, dtype) = self.B, (targets.shape[1], targets.device, targets.dtype)
        reduced, pulls = torch.empty_like(grams), torch.empty_like(targets)
        for part in blocks(len(grams), d, device):
            S = inverse(unpack(grams[part], d) + precision)
            covariance[part] = pack(S)
            weighted = precision @ S
            A = precision - weighted @ precision
            reduced[part] = pack(A)
            pulls[part] = times(weighted, targets[part]) - times(A, centre[part])
        right = B.transposed @ pulls
        self.covariance = B.transposed_squared @ reduced  # precisions, without the priors
        precisions = [(prior.group, prior.precision.to(dtype)) for prior in self.priors]
        for prior, (group, of_terms) in zip(self.priors, precisions, strict=True):
            right[group] += of_terms @ prior.mean.to(dtype)
            curvatures = self.covariance[group]
            for part in blocks(len(curvatures), d, device):
                curvatures[part] = pack(inverse(unpack(curvatures[part], d) + of_terms))

        def product(t: Tensor) -> Tensor:
            image = B.transposed @ multiply(reduced, B.weights @ t)
            for group, of_terms in precisions:
                image[group] += t[group] @ of_terms
            return image

        self.mean = conjugate_gradients(
            product, right, self.mean, lambda t: multiply(self.covariance, t), N_STEPS
        )
        self.set_priors()
        return B.weights @ self.mean, B.squared @ self.covariance

    def set_priors(self) -> None:
        """Set mean and precision of each prior in the same way as those of the rows."""
        for prior in self.priors:
            t = self.mean[prior.group].double()
            n, d = t.shape
            prior.mean = t.sum(0) / (n + 1)
            squares = unpack(self.covariance[prior.group].sum(0, dtype=torch.float64), d)
            squares = squares + t.T @ t - torch.outer(t.sum(0), prior.mean)
            squares += WISHART * torch.eye(d).to(squares)
            prior.precision = (n + d) * torch.linalg.inv(squares)

    def sums(self, *priors: TermPrior, columns: slice = slice(None)) -> Tensor:
        """Compute the sums of some groups of terms for all rows."""
        some = torch.zeros_like(self.mean[:, columns])
        for prior in priors:
            some[prior.group] = self.mean[prior.group, columns]
        return self.B.weights @ some
