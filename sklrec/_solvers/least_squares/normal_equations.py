"""Least squares for all rows of a factor table at once: Gram products, solves and draws."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sklrec._utils.memory import keep_freed_memory

# Numbers that are gathered at once: what stays in a processor's caches, which was measured to save
# a fifth to a third of a sweep; and what keeps another device busy, but fits into any memory.
NUMBERS_AT_ONCE = 2**18
NUMBERS_AT_ONCE_ELSEWHERE = 2**22
# What the diagonal is raised by, as a share of its mean, where a matrix is not positive definite.
JITTERS = (1e-8, 1e-6, 1e-4)


@dataclass
class Bucket:
    """Rows with about the same number of ratings.

    Parameters
    ----------
    rows : Tensor of shape (n_rows,)
        Which rows.
    places : Tensor of shape (n_rows, width) or None
        Where their ratings are among all ratings; the number of all of them as padding. ``None``
        if ratings and weights stay what they are.
    partners : list of Tensor of shape (n_rows, width)
        Codes of the other sides; the last code and one more as padding.
    ratings : Tensor of shape (n_rows, width)
        The ratings, 0 for padding.
    weights : Tensor of shape (n_rows, width) or None
        Their weights, 0 for padding; 1 if ``None``.
    """

    rows: Tensor
    places: Tensor | None
    partners: list[Tensor]
    ratings: Tensor
    weights: Tensor | None


class RatingsByRow:
    """Ratings of one side's rows, such as users, in buckets of about equal length.

    A rating is the sum of the products of each two sides' factors and of their biases. Seen from
    a row of one side this is linear: its factors are multiplied by the sum of the others'.

    Parameters
    ----------
    rows : ndarray of shape (n_ratings,)
        The rows' codes.
    partners : sequence of ndarray of shape (n_ratings,)
        The codes of one or two other sides.
    ratings : ndarray of shape (n_ratings,)
        The ratings, of about unit scale.
    weights : ndarray of shape (n_ratings,) or None
        Weight of each rating, 1 if ``None``.
    n_rows : int
        Number of rows, the unknown one included.
    n_partners : sequence of int
        Numbers of the other sides' rows, the unknown ones included.
    n_columns : int
        Number of columns of the tables, the bias included.
    biased : bool, default=True
        Whether the last column holds biases.
    replaceable : bool, default=False
        Whether `set_ratings` and `set_weights` may be called, which takes memory.
    device : torch.device
        Where to.

    Attributes
    ----------
    total_weight : Tensor of shape (n_rows,)
        Sum of the weights of each row's ratings.
    """

    def __init__(
        self,
        rows: np.ndarray,
        partners: Sequence[np.ndarray],
        ratings: np.ndarray,
        weights: np.ndarray | None,
        *,
        n_rows: int,
        n_partners: Sequence[int],
        n_columns: int,
        biased: bool = True,
        replaceable: bool = False,
        device: torch.device | str = "cpu",
    ):
        total = np.bincount(rows, weights, minlength=n_rows)
        self.total_weight = torch.from_numpy(total.astype(np.float64)).to(device)
        self.n_rows, self.n_columns, self.biased = n_rows, n_columns, biased
        if torch.device(device).type == "cpu":
            # All pieces together, since each frees its memory before the next.
            keep_freed_memory(len(rows), n_columns)
        self._at_once = numbers_at_once(device)
        order = np.argsort(rows, kind="stable")
        count = np.bincount(rows, minlength=n_rows)
        start = np.cumsum(count) - count
        of_places = np.int32 if len(rows) < 2**31 else np.int64
        self._buckets: list[Bucket] = []
        for members in _by_length(count, self._at_once // n_columns):
            place = np.arange(max(1, count[members].max()))
            there = place < count[members][:, None]
            at = order[np.where(there, start[members][:, None] + place, 0)]

            def to(values: np.ndarray) -> Tensor:
                return torch.from_numpy(values).to(device)

            def spread(values: np.ndarray, padding: float, there=there, at=at) -> Tensor:
                return to(np.where(there, values[at], padding).astype(values.dtype))

            self._buckets.append(
                Bucket(
                    to(members),
                    to(np.where(there, at, len(rows)).astype(of_places)) if replaceable else None,
                    [spread(codes, n) for codes, n in zip(partners, n_partners, strict=True)],
                    spread(ratings.astype(np.float32), 0),
                    None if weights is None else spread(weights.astype(np.float32), 0),
                )
            )

    def set_ratings(self, ratings: Tensor) -> None:
        """Replace the ratings.

        Parameters
        ----------
        ratings : Tensor of shape (n_ratings,)
            The new ones, in the order of those before.
        """
        for bucket, values in self._in_buckets(ratings):
            bucket.ratings = values

    def set_weights(self, weights: Tensor) -> None:
        """Replace the weights, but for `total_weight`.

        Parameters
        ----------
        weights : Tensor of shape (n_ratings,)
            The new ones, in the order of the ratings.
        """
        for bucket, values in self._in_buckets(weights):
            bucket.weights = values

    def equations(self, *partners: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Give the normal equations of some rows after others.

        Parameters
        ----------
        *partners : Tensor of shape (n_partners, n_columns)
            The other sides' factors and, in the last column, biases.

        Yields
        ------
        rows : Tensor of shape (n,)
            Which rows.
        grams : Tensor of shape (n, n_columns, n_columns)
            Weighted sums of the outer products of what the rows' ratings are regressed on: the
            partners' factors, and 1 for the row's own bias.
        moments : Tensor of shape (n, n_columns)
            Weighted sums of these times what the partners leave of the ratings.
        """
        sides = []
        for number, table in enumerate(partners):
            features = torch.cat([table, table.new_zeros(1, self.n_columns)])
            biases = features[:, -1].clone() if self.biased else None
            if self.biased:
                features[:-1, -1] = float(number == 0)  # the row's bias counts once
            sides.append((features, biases))
        for group in self._groups():
            found = [self._sums(bucket, sides) for bucket in group]
            rows = torch.cat([bucket.rows for bucket in group])
            yield rows, torch.cat([g for g, _ in found]), torch.cat([m for _, m in found])

    def terms(self, table: Tensor) -> Tensor:
        """Sum up what the partners contribute to each row, by the root of their number.

        Parameters
        ----------
        table : Tensor of shape (n_partners, n_columns)
            The first partners' contributions.

        Returns
        -------
        Tensor of shape (n_rows, n_columns)
            The rows' implicit terms.
        """
        padded = torch.cat([table, table.new_zeros(1, self.n_columns)])
        found = table.new_zeros(self.n_rows, self.n_columns)
        for bucket in self._buckets:
            codes = bucket.partners[0]
            n_partners = (codes < len(table)).sum(1, keepdim=True).clamp(min=1)
            found[bucket.rows] = padded[codes].sum(1) / n_partners.sqrt()
        return found

    def _sums(
        self, bucket: Bucket, sides: list[tuple[Tensor, Tensor | None]]
    ) -> tuple[Tensor, Tensor]:
        target = bucket.ratings
        read: Tensor | None = None
        for codes, (features, biases) in zip(bucket.partners, sides, strict=True):
            found = features[codes]  # (n, width, n_columns)
            if biases is not None:
                target = target - biases[codes]
            if read is None:
                read = found
            else:
                target = target - (read * found).sum(2)
                read = read + found
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
        """Buckets whose Gram products fit into memory together."""
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
    """Give how many numbers of a table are to be gathered at once.

    Parameters
    ----------
    device : torch.device or str
        Where.

    Returns
    -------
    int
        The number.
    """
    on_cpu = torch.device(device).type == "cpu"
    return NUMBERS_AT_ONCE if on_cpu else NUMBERS_AT_ONCE_ELSEWHERE


def solve(
    precisions: Tensor, moments: Tensor, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor | None]:
    """Solve many small systems, and draw from the Gaussians that they describe.

    Parameters
    ----------
    precisions : Tensor of shape (n, d, d)
        Symmetric positive definite matrices.
    moments : Tensor of shape (n, d)
        The right-hand sides.
    generator : torch.Generator, default=None
        Source of the draws; ``None`` draws nothing.

    Returns
    -------
    means : Tensor of shape (n, d)
        The solutions.
    draws : Tensor of shape (n, d) or None
        Draws from the Gaussians with these means and precisions.

    Raises
    ------
    ValueError
        If a matrix is not positive definite, even with something added to its diagonal.
    """
    precisions, right = precisions.double(), moments.double().unsqueeze(2)
    lower = cholesky(precisions)
    forward = torch.linalg.solve_triangular(lower, right, upper=False)
    if generator is None:
        found = torch.linalg.solve_triangular(lower.transpose(1, 2), forward, upper=True)
        return found.squeeze(2).float(), None
    noise = torch.randn(forward.shape, generator=generator, dtype=torch.float64)
    both = torch.cat([forward, forward + noise.to(forward.device)], 2)
    found = torch.linalg.solve_triangular(lower.transpose(1, 2), both, upper=True).float()
    return found[:, :, 0], found[:, :, 1]


def cholesky(matrices: Tensor) -> Tensor:
    """Factorise many small matrices, with something added to the diagonal where it has to be.

    Parameters
    ----------
    matrices : Tensor of shape (n, d, d)
        Symmetric matrices.

    Returns
    -------
    Tensor of shape (n, d, d)
        Their lower Cholesky factors.

    Raises
    ------
    ValueError
        If a matrix is not positive definite, even with something added to its diagonal.
    """
    lower, failed = torch.linalg.cholesky_ex(matrices)
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
    """Solve for rows with an L2 penalty.

    Parameters
    ----------
    grams : Tensor of shape (n, n_columns, n_columns)
        Their Gram products.
    moments : Tensor of shape (n, n_columns)
        Their moments.
    penalties : Tensor of shape (n,)
        Their penalties.

    Returns
    -------
    Tensor of shape (n, n_columns)
        The rows; those without ratings are zero, whatever they are penalised by.
    """
    precisions = grams.double()
    precisions.diagonal(dim1=1, dim2=2).add_(penalties.clamp(min=1e-6).unsqueeze(1))
    return solve(precisions, moments)[0]


def times(grams: Tensor, rows: Tensor) -> Tensor:
    """Multiply rows by their Gram products.

    Parameters
    ----------
    grams : Tensor of shape (n, n_columns, n_columns)
        The Gram products.
    rows : Tensor of shape (n, n_columns)
        The rows.

    Returns
    -------
    Tensor of shape (n, n_columns)
        The products.
    """
    return torch.bmm(grams, rows.unsqueeze(2)).squeeze(2)


def _by_length(count: np.ndarray, n_ratings: int) -> Iterator[np.ndarray]:
    """Rows whose numbers of ratings differ by at most a third, with about `n_ratings` at most."""
    order = np.argsort(count, kind="stable")
    width = np.maximum(count[order], 4)
    step = np.floor(np.log(width) / np.log(4 / 3))
    for members in np.split(order, np.flatnonzero(np.diff(step)) + 1):
        at_once = max(1, n_ratings // max(1, int(count[members].max())))
        yield from np.split(members, range(at_once, len(members), at_once))
