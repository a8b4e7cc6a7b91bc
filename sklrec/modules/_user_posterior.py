"""Posterior of a user, given any part of a history, where all items are Gaussian and fixed."""
# SPDX-License-Identifier: BSD-3-Clause

import torch
from torch import Tensor, nn

from sklrec._utils.packed import n_packed, outer, unpack
from sklrec._utils.versions import is_exporting
from sklrec.modules._gaussian import longer, with_one
from sklrec.modules._rating_module import wide

# Numbers of whole matrices to solve at once: they stay in the processor's cache.
NUMBERS_AT_ONCE = 2**17


class UserPosterior(nn.Module):
    """Bias and factors of a user from the ratings of a history.

    A row w = (b, p) of a user is N(m + h, inverse of L). Here h is the sum of the SVD++ terms t_i
    of the n rated items, divided by sqrt(n). An item has the mean (b, q) and the covariance C. Let
    x = (1, q) and v = (z - b) x - (0, C_bq). Let M be x x' plus C without the row and the column
    of the bias. The mean of w after some ratings z is

        inverse of (tau sum M + L) times (tau sum v + L (m + h)).

    Without ratings it is the mean of the users that the model was trained on. Ratings have mean 0
    and variance 1. No part of this module is trained by gradients.
    """

    def __init__(self, n_items: int, n_factors: int):
        super().__init__()
        width = n_factors + 1
        self.item_rows: Tensor
        self.item_covariances: Tensor
        self.item_terms: Tensor
        self.prior_mean: Tensor
        self.prior_precision: Tensor
        self.unknown_row: Tensor
        self.precision: Tensor
        self.n_ratings: Tensor
        # Row 0 is the unknown item. Covariances are packed: upper triangles, row by row.
        self.register_buffer("item_rows", torch.zeros(n_items + 1, width))
        self.register_buffer("item_covariances", torch.zeros(n_items + 1, n_packed(width)))
        self.register_buffer("item_terms", torch.zeros(n_items + 1, width))
        self.register_buffer("prior_mean", torch.zeros(width))
        self.register_buffer("prior_precision", torch.eye(width))
        self.register_buffer("unknown_row", torch.zeros(width))
        self.register_buffer("precision", torch.ones(()))  # tau, of a rating
        self.register_buffer("n_ratings", torch.zeros(()))  # that the items were learned from

    @property
    def n_items(self) -> int:
        """Number of known items."""
        return len(self.item_rows) - 1

    @property
    def n_factors(self) -> int:
        """Number of factors of each item."""
        return self.item_rows.shape[1] - 1

    @property
    def n_statistics(self) -> int:
        """Number of statistics of a rating: M, v and t."""
        return self.item_covariances.shape[1] + 2 * self.item_rows.shape[1]

    def item_distributions(self, items: Tensor) -> tuple[Tensor, Tensor]:
        """Look up means (..., d) and covariances (..., d(d+1)/2) of items."""
        return wide(self.item_rows[items]), wide(self.item_covariances[items])

    def statistics(
        self, z: Tensor, items: Tensor, rows: Tensor, covariances: Tensor
    ) -> Tensor:  # (..., n_statistics)
        """Compute M, v and t of ratings of items with given distributions."""
        found = rating_statistics(z, rows, covariances)
        return torch.cat([found, wide(self.item_terms[items])], -1)

    def rows(self, sums: Tensor, counts: Tensor) -> Tensor:  # (..., n_statistics), (...)
        """Compute means of users from the sums and the counts of their ratings."""
        matrices, targets = self._equations(sums, counts)
        if is_exporting():
            found = _eliminate(matrices, targets)
        else:
            found = _solve(matrices, targets)
        known = (counts > 0).unsqueeze(-1)
        return torch.where(known, found, wide(self.unknown_row))

    def distributions(self, sums: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the means (n, d) and the covariances (n, d, d) of users."""
        matrices, _ = self._equations(sums, counts)
        return self.rows(sums, counts), torch.linalg.inv(matrices)

    def _equations(self, sums: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
        d = self.item_rows.shape[1]
        M, v, t = sums.split([sums.shape[-1] - 2 * d, d, d], -1)
        L, tau = wide(self.prior_precision), wide(self.precision)
        centre = wide(self.prior_mean) + t / counts.clamp(min=1).to(t).sqrt().unsqueeze(-1)
        return tau * unpack(M, d) + L, tau * v + centre @ L

    @torch.no_grad()
    def grow(self, n_items: int) -> None:
        """Append copies of the row of an unknown item."""
        for name in ("item_rows", "item_covariances", "item_terms"):
            setattr(self, name, longer(getattr(self, name), n_items + 1))


def rating_statistics(
    z: Tensor,  # (...), ratings
    rows: Tensor,  # (..., d), means of the partners
    covariances: Tensor,  # (..., d(d+1)/2)
) -> Tensor:  # (..., d(d+1)/2 + d)
    """Compute the packed M, and v, of each rating."""
    d = rows.shape[-1]
    x = with_one(rows)
    M = outer(x) + _padded(covariances[..., d:], d)
    of_bias = _padded(covariances[..., 1:d], 1)
    return torch.cat([M, x * (z.to(x).unsqueeze(-1) - rows[..., :1]) - of_bias], -1)


def expected_ratings(users: Tensor, items: Tensor) -> Tensor:  # (..., d) and (..., d) to (...)
    """Compute the sums of biases and products of factors."""
    return (users * with_one(items)).sum(-1) + items[..., 0]


def _padded(values: Tensor, n_zeros: int) -> Tensor:
    """Put zeros before the last axis."""
    return nn.functional.pad(values, (n_zeros, 0))


def _solve(matrices: Tensor, targets: Tensor) -> Tensor:  # (..., d, d) and (..., d) to (..., d)
    """Solve positive definite equations, some at a time."""
    d = targets.shape[-1]
    at_once = max(1, NUMBERS_AT_ONCE // d**2)
    parts = zip(
        matrices.reshape(-1, d, d).split(at_once),
        targets.reshape(-1, d, 1).split(at_once),
        strict=True,
    )
    found = [torch.cholesky_solve(b, torch.linalg.cholesky(A)) for A, b in parts]
    return torch.cat(found).reshape(targets.shape)


def _eliminate(matrices: Tensor, targets: Tensor) -> Tensor:
    """Solve positive definite equations by elimination, because ONNX has no other solver."""
    both = torch.cat([matrices, targets.unsqueeze(-1)], -1)
    for k in range(targets.shape[-1]):
        pivot = both[..., k : k + 1, :] / both[..., k : k + 1, k : k + 1]
        others = both - both[..., k : k + 1] * pivot
        both = torch.cat([others[..., :k, :], pivot, others[..., k + 1 :, :]], -2)
    return both[..., -1]
