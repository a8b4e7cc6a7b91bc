"""Alternating least squares for implicit feedback (Rendle et al. 2022, RecSys)."""
# SPDX-License-Identifier: BSD-3-Clause
#
# With weights c of the positives (u, i) and x_ui = p_u'q_i, the factors minimise
#
#   sum of c_ui (1 - x_ui)² over positives + w · (sum of x_ui² over all pairs)
#     + alpha · (sum of k_u |p_u|² + sum of k_i |q_i|²)
#
# where k_u is the sum of the user's c plus w times the number of items, and k_i the sum of the
# item's c plus w times the number of users. A row p_u solves
#
#   (w Q'Q + alpha k_u I + sum of c_ui q_i q_i') p_u = sum of c_ui q_i.

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor

from sklrec._utils.runtime import threads_for

# Numbers in the gathered factors of a batch: 2 MiB of float32.
NUMBERS_AT_ONCE = 2**19
# Rows of a batch have at most this share of padding.
LARGEST_PADDING = 0.15
# Partners of which a copy in float64 is in memory at once.
PARTNERS_AT_ONCE = 256
# Standard deviation of the norm of a new row of factors.
START_NORM = 0.1


class Batch(NamedTuple):
    """Rows of one side with about the same number of positives."""

    rows: Tensor  # (n_rows,)
    partners: Tensor  # (n_rows, n), rows of the other side; 0 is padding
    roots: Tensor  # (n_rows, n), roots of the weights; those of padding are 0


@dataclass(frozen=True)
class ImplicitALS:
    """A solver that computes all users, and then all items, in turns."""

    n_factors: int
    alpha: float  # the penalty
    unobserved_weight: float  # w

    @torch.no_grad()
    def train(
        self,
        positives: csr_array,
        n_iter: int,  # number of sweeps
        generator: torch.Generator,
        device: torch.device,
    ) -> tuple[Tensor, Tensor]:  # (n_users, n_factors), (n_items, n_factors)
        """Compute the factors of users and items; those of rows without positives are 0.

        The users solve their equations in float64, given the items.
        """
        n_items, d = positives.shape[1], self.n_factors
        items = torch.randn((n_items, d), generator=generator) * (START_NORM / d**0.5)
        tables = [torch.zeros((positives.shape[0], d), device=device), items.to(device)]
        sides = [self.side(matrix, device) for matrix in (positives, positives.T.tocsr())]
        n_workers = torch.get_num_threads() if device.type == "cpu" else 1
        # With two torch threads, each operation on a batch waits for the slower one: a fit took
        # ten times as long while another program used a core. So each worker solves batches of
        # its own in one torch thread, and the result does not depend on the number of threads.
        with ThreadPoolExecutor(n_workers) as pool, threads_for(1, 1):

            def solve_side(k: int, of_all: Tensor) -> None:
                penalties, parts = sides[k]
                solve = partial(solve_rows, tables[k], tables[1 - k], of_all, penalties)
                # Neighbours in the list take about the same time.
                list(pool.map(solve, [parts[first::n_workers] for first in range(n_workers)]))

            for k in (0, 1) * n_iter:
                tables[1 - k], values = principal_axes(tables[1 - k])
                tables[k].zero_()
                solve_side(k, self.unobserved_weight * values)
            tables[1] = principal_axes(tables[1])[0]
            solve_side(0, self.of_all(tables[1]))
        return tables[0], tables[1]

    def side(self, positives: csr_array, device: torch.device) -> tuple[Tensor, list[Batch]]:
        """Compute the penalties of the rows of one side, and group the rows."""
        weights = np.asarray(positives.sum(axis=1)).ravel()
        penalties = self.alpha * (weights + self.unobserved_weight * positives.shape[1])
        parts = list(batches(positives, self.n_factors, device))
        return torch.from_numpy(penalties.astype(np.float32)).to(device), parts

    def of_all(self, items: Tensor) -> Tensor:  # (n_factors,)
        """Compute the diagonal of w Q'Q in float64, which is all of it after `train`."""
        # In parts, because a copy of the table in float64 would be large beside a few users.
        squares = (part.double().square().sum(0) for part in items.split(PARTNERS_AT_ONCE))
        return self.unobserved_weight * torch.stack(list(squares)).sum(0)

    @torch.no_grad()
    def solve_users(self, positives: csr_array, items: Tensor) -> Tensor:  # (n, n_factors)
        """Compute the factors of users from their positives, as at the end of `train`."""
        users = torch.zeros((positives.shape[0], self.n_factors), device=items.device)
        solve_rows(users, items, self.of_all(items), *self.side(positives, items.device))
        return users

    @torch.no_grad()
    def contributions(
        self,
        positives: csr_array,  # (1, n_items), of a user who has some
        items: Tensor,  # (n_items, n_factors), the factors of all items
        of_all: Tensor,  # (n_factors,), as from `of_all`
        some: Tensor,  # (n_some,), rows of the items whose scores are explained
    ) -> Tensor:  # (n_positives, n_some)
        """Compute the contributions of the positives to the user's scores."""
        penalties, [batch] = self.side(positives, items.device)
        # With A the matrix of the user's equations, the score p'q is a sum of c_i q_i'A^-1 q.
        roots = batch.roots[0].double().unsqueeze(1)  # (n_positives, 1)
        weighted = items[batch.partners[0]] * roots  # (n_positives, n_factors)
        system = weighted.T @ weighted + torch.diag(of_all + penalties)
        return roots * weighted @ solve(system, items[some].double().T)


def principal_axes(factors: Tensor) -> tuple[Tensor, Tensor]:
    """Rotate the columns so that their products are 0; return their squared lengths, too."""
    gram = (factors.T @ factors).double()
    values, axes = torch.linalg.eigh(gram)
    return factors @ axes.to(factors.dtype), values.clamp(min=0).to(factors.dtype)


def solve_rows(
    rows: Tensor,  # (n_rows, d), replaced
    partners: Tensor,  # (n_partners, d), whose columns have products of 0
    of_all: Tensor,  # (d,), squared lengths of these columns times the weight of all pairs, in
    # the dtype to compute in
    penalties: Tensor,  # (n_rows,)
    batches: list[Batch],
) -> None:
    """Compute the rows of some batches, given those of the other side, in one torch thread."""
    with threads_for(1, 1):
        for batch in batches:
            solve_batch(rows, partners, of_all, penalties, batch)


def solve_batch(
    rows: Tensor, partners: Tensor, of_all: Tensor, penalties: Tensor, batch: Batch
) -> None:
    """Compute the rows of a batch."""
    d = rows.shape[1]
    # With C½Q the weighted factors of the partners, and D the diagonal of the other terms, a
    # row is (D + Q'CQ)^-1 Q'C1. With few partners it is computed as
    # D^-½ S' (I + SS')^-1 C½1 with S = C½Q D^-½, which solves a smaller system.
    n = batch.partners.shape[1]
    roots = batch.roots.to(of_all.dtype).unsqueeze(2)  # (n_rows, n, 1)
    weighted = partners[batch.partners].to(of_all.dtype).mul_(roots)  # (n_rows, n, d)
    diagonal = of_all + penalties[batch.rows].unsqueeze(1)  # (n_rows, d)
    if n < d:
        scale = diagonal.rsqrt_()
        scaled = weighted.mul_(scale.unsqueeze(1))
        system = torch.bmm(scaled, scaled.mT)
        system.diagonal(dim1=1, dim2=2).add_(1)
        found = torch.bmm(scaled.mT, solve(system, roots)).mul_(scale.unsqueeze(2))
    else:
        system = torch.bmm(weighted.mT, weighted)
        system.diagonal(dim1=1, dim2=2).add_(diagonal)
        found = solve(system, torch.bmm(weighted.mT, roots))
    rows[batch.rows] = found.squeeze(2).to(rows.dtype)


def solve(system: Tensor, right: Tensor) -> Tensor:
    """Solve symmetric positive definite systems."""
    factor, failed = torch.linalg.cholesky_ex(system)
    if failed.any():
        raise ValueError(
            "The factors have no unique solution in float32 with this alpha. Give a larger alpha."
        )
    return torch.cholesky_solve(right, factor)


def batches(matrix: csr_array, d: int, device: torch.device) -> Iterator[Batch]:
    """Group the rows that have positives by their number."""
    counts = np.diff(matrix.indptr)
    order = np.argsort(counts, kind="stable")
    first = int(np.searchsorted(counts[order], 1))
    while first < len(order):
        most = int(counts[order[first]] / (1 - LARGEST_PADDING))
        last = int(np.searchsorted(counts[order], most, side="right"))
        # Systems of order d take memory, too.
        last = min(last, first + max(1, NUMBERS_AT_ONCE // (max(most, min(most, d)) * d)))
        rows = order[first:last]
        n = counts[rows[-1]]
        place = matrix.indptr[rows][:, np.newaxis] + np.arange(n)
        is_there = np.arange(n) < counts[rows][:, np.newaxis]
        place[~is_there] = 0
        roots = np.where(is_there, np.sqrt(matrix.data[place]), 0).astype(np.float32)
        partners = np.where(is_there, matrix.indices[place], 0).astype(np.int64)
        yield Batch(*(torch.from_numpy(a).to(device) for a in (rows, partners, roots)))
        first = last
