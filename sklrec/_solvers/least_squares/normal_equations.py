"""Normal equations of all rows of a factor table: Gram products, solutions and draws."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sklrec._utils.memory import keep_freed_memory

# Numbers of a table to gather at once. On the CPU they stay in the caches, which saves a fifth
# to a third of a sweep. Elsewhere they keep the device busy and still fit into its memory.
NUMBERS_AT_ONCE = 2**18
NUMBERS_AT_ONCE_ELSEWHERE = 2**22
# Additions to the diagonal of a matrix that is not positive definite, as shares of its mean.
JITTERS = (1e-8, 1e-6, 1e-4)


@dataclass
class Bucket:
    """Ratings of rows that have about the same number of ratings, with padding."""

    rows: Tensor  # (n_rows,)
    places: Tensor | None  # (n_rows, width), positions among all ratings, if these can be replaced
    partners: list[Tensor]  # (n_rows, width) for each other side; last code plus one as padding
    ratings: Tensor  # (n_rows, width), 0 for padding
    weights: Tensor | None  # (n_rows, width), 0 for padding; None means 1


class RatingsByRow:
    """Ratings of one side's rows, such as users, in buckets of about equal length."""

    def __init__(
        self,
        rows: np.ndarray,  # (n_ratings,)
        partners: Sequence[np.ndarray],  # (n_ratings,) for each of one or two other sides
        ratings: np.ndarray,  # (n_ratings,), of about unit scale
        weights: np.ndarray | None,  # (n_ratings,)
        *,
        n_rows: int,  # with the unknown one
        n_partners: Sequence[int],  # with the unknown ones
        n_columns: int,  # with the bias
        biased: bool = True,
        replaceable: bool = False,  # set_ratings and set_weights need memory
        device: torch.device | str = "cpu",
    ):
        total = np.bincount(rows, weights, minlength=n_rows)
        self.total_weight = torch.from_numpy(total.astype(np.float64)).to(device)  # (n_rows,)
        self.n_rows, self.n_columns, self.biased = n_rows, n_columns, biased
        if torch.device(device).type == "cpu":
            # Once for all buckets: each frees its memory before the next one.
            keep_freed_memory(len(rows), n_columns)
        self._at_once = numbers_at_once(device)
        order = np.argsort(rows, kind="stable")
        count = np.bincount(rows, minlength=n_rows)
        start = np.cumsum(count) - count
        dtype = np.int32 if len(rows) < 2**31 else np.int64
        self._buckets: list[Bucket] = []
        for members in _by_length(count, self._at_once // n_columns):
            place = np.arange(max(1, count[members].max()))
            is_rating = place < count[members][:, None]
            at = order[np.where(is_rating, start[members][:, None] + place, 0)]

            def to(values: np.ndarray) -> Tensor:
                return torch.from_numpy(values).to(device)

            def spread(values: np.ndarray, padding: float, mask=is_rating, at=at) -> Tensor:
                return to(np.where(mask, values[at], padding).astype(values.dtype))

            self._buckets.append(
                Bucket(
                    to(members),
                    to(np.where(is_rating, at, len(rows)).astype(dtype)) if replaceable else None,
                    [spread(codes, n) for codes, n in zip(partners, n_partners, strict=True)],
                    spread(ratings.astype(np.float32), 0),
                    None if weights is None else spread(weights.astype(np.float32), 0),
                )
            )

    def set_ratings(self, ratings: Tensor) -> None:
        """Replace the ratings."""
        for bucket, values in self._in_buckets(ratings):
            bucket.ratings = values

    def set_weights(self, weights: Tensor) -> None:
        """Replace the weights, except those in `total_weight`."""
        for bucket, values in self._in_buckets(weights):
            bucket.weights = values

    def equations(self, *partners: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield rows, their Gram products and their moments, some rows at a time."""
        # A rating is the sum of the products of each two sides' factors and of their biases. It is
        # linear in the row of one side, whose factors are multiplied by the sum of the others'.
        sides = []
        for number, table in enumerate(partners):  # (n_partners, n_columns)
            features = torch.cat([table, table.new_zeros(1, self.n_columns)])
            biases = features[:, -1].clone() if self.biased else None
            if self.biased:
                features[:-1, -1] = float(number == 0)  # the row's bias counts once
            sides.append((features, biases))
        for group in self._groups():
            equations = [self._sums(bucket, sides) for bucket in group]
            rows = torch.cat([bucket.rows for bucket in group])  # (n,)
            grams = torch.cat([grams for grams, _ in equations])  # (n, n_columns, n_columns)
            moments = torch.cat([moments for _, moments in equations])  # (n, n_columns)
            yield rows, grams, moments

    def terms(self, table: Tensor) -> Tensor:
        """Sum the partners' terms for each row, divided by the root of their number."""
        padded = torch.cat([table, table.new_zeros(1, self.n_columns)])
        sums = table.new_zeros(self.n_rows, self.n_columns)
        for bucket in self._buckets:
            codes = bucket.partners[0]
            n_partners = (codes < len(table)).sum(1, keepdim=True).clamp(min=1)
            sums[bucket.rows] = padded[codes].sum(1) / n_partners.sqrt()
        return sums

    def _sums(
        self, bucket: Bucket, sides: list[tuple[Tensor, Tensor | None]]
    ) -> tuple[Tensor, Tensor]:
        target = bucket.ratings
        read: Tensor | None = None
        for codes, (features, biases) in zip(bucket.partners, sides, strict=True):
            rows = features[codes]  # (n, width, n_columns)
            if biases is not None:
                target = target - biases[codes]
            if read is None:
                read = rows
            else:
                target = target - (read * rows).sum(2)
                read = read + rows
        assert read is not None
        weighted = read if bucket.weights is None else read * bucket.weights.unsqueeze(2)
        grams = torch.bmm(weighted.transpose(1, 2), read)
        return grams, torch.bmm(target.unsqueeze(1), weighted).squeeze(1)

    def _in_buckets(self, values: Tensor) -> Iterator[tuple[Bucket, Tensor]]:
        padded = torch.cat([values, values.new_zeros(1)])
        for bucket in self._buckets:
            assert bucket.places is not None
            yield bucket, padded[bucket.places]

    def _groups(self) -> Iterator[list[Bucket]]:
        """Yield lists of buckets whose Gram products fit into memory together."""
        group: list[Bucket] = []
        size = 0
        for bucket in self._buckets:
            size += len(bucket.rows) * self.n_columns**2
            if group and size > self._at_once:
                yield group
                group, size = [], len(bucket.rows) * self.n_columns**2
            group.append(bucket)
        if group:
            yield group


def numbers_at_once(device: torch.device | str) -> int:
    """Return how many numbers of a table to gather at once."""
    on_cpu = torch.device(device).type == "cpu"
    return NUMBERS_AT_ONCE if on_cpu else NUMBERS_AT_ONCE_ELSEWHERE


def solve(
    precisions: Tensor,  # (n, d, d)
    moments: Tensor,  # (n, d)
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Solve many small systems, and draw from the Gaussians with these precisions if a generator
    is given."""
    precisions, right = precisions.double(), moments.double().unsqueeze(2)
    lower = cholesky(precisions)
    forward = torch.linalg.solve_triangular(lower, right, upper=False)
    if generator is None:
        solutions = torch.linalg.solve_triangular(lower.transpose(1, 2), forward, upper=True)
        return solutions.squeeze(2).float(), None
    noise = torch.randn(forward.shape, generator=generator, dtype=torch.float64)
    both = torch.cat([forward, forward + noise.to(forward.device)], 2)
    solutions = torch.linalg.solve_triangular(lower.transpose(1, 2), both, upper=True).float()
    return solutions[:, :, 0], solutions[:, :, 1]


def cholesky(matrices: Tensor) -> Tensor:
    """Factorise many small matrices; raise the diagonal of those that are not positive
    definite."""
    lower, failed = torch.linalg.cholesky_ex(matrices)  # (n, d, d), (n,)
    for jitter in JITTERS:
        if not failed.any():
            return lower
        bad = failed > 0
        diagonal = matrices[bad].diagonal(dim1=1, dim2=2).mean(1).clamp(min=1e-12)
        eye = torch.eye(matrices.shape[1], dtype=matrices.dtype, device=matrices.device)
        raised = matrices[bad] + jitter * diagonal[:, None, None] * eye
        lower[bad], failed[bad] = torch.linalg.cholesky_ex(raised)
    if failed.any() or not bool(lower.isfinite().all()):
        raise ValueError(
            "The normal equations of some rows have no finite solution. Rescale the ratings or "
            "the weights, or use fewer factors or a larger alpha."
        )
    return lower


def solve_penalised(grams: Tensor, moments: Tensor, penalties: Tensor) -> Tensor:
    """Solve for rows with an L2 penalty; rows without ratings become zero."""
    precisions = grams.double()  # (n, n_columns, n_columns)
    precisions.diagonal(dim1=1, dim2=2).add_(penalties.clamp(min=1e-6).unsqueeze(1))
    return solve(precisions, moments)[0]


def times(grams: Tensor, rows: Tensor) -> Tensor:
    """Multiply rows by their Gram products."""
    return torch.bmm(grams, rows.unsqueeze(2)).squeeze(2)  # (n, n_columns)


def _by_length(count: np.ndarray, n_ratings: int) -> Iterator[np.ndarray]:
    """Yield rows whose numbers of ratings differ by at most a third, with about `n_ratings` in
    all."""
    order = np.argsort(count, kind="stable")
    width = np.maximum(count[order], 4)
    step = np.floor(np.log(width) / np.log(4 / 3))
    for members in np.split(order, np.flatnonzero(np.diff(step)) + 1):
        at_once = max(1, n_ratings // max(1, int(count[members].max())))
        yield from np.split(members, range(at_once, len(members), at_once))
