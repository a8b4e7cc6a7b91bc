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
#
# A sweep takes a few steps of conjugate gradients towards it, as Takács, Pilászy and Tikk (2011,
# RecSys) do. The factors at the end solve it.

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor

from sklrec._utils.runtime import threads_for
from sklrec.modules._pairs import silence_beta_warning

# Steps of conjugate gradients for each row in a sweep. On validation parts of MovieLens 100K,
# ml-latest-small, lastfm-plays and foodcom, the NDCG after ten sweeps with 2 and with 4 steps
# differs by less than 2 %; 1 step loses 4 % on foodcom.
STEPS = 2
# Rows and positives of a block: the gathered factors of such a block fit into a cache.
BLOCK_SIZE = 2**15
# Numbers in the gathered factors of a batch: 4 MiB of float64.
NUMBERS_AT_ONCE = 2**19
# Rows of a batch have at most this share of padding.
LARGEST_PADDING = 0.15
# Partners of which a copy in float64 is in memory at once.
PARTNERS_AT_ONCE = 256
# Standard deviation of the norm of a new row of factors.
START_NORM = 0.1


class Block(NamedTuple):
    """Neighbouring rows of one side, and their positives in the order of the rows."""

    rows: slice
    bounds: Tensor  # (n_rows + 1,), of the positives of each row
    partners: Tensor  # (n_positives,), rows of the other side
    weights: Tensor  # (n_positives,)


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
        silence_beta_warning()
        # A factor of all weights changes no solution, but float32 cannot hold squares of any size.
        factor = 1 / positives.data.mean(dtype=np.float64)
        positives = positives * np.float32(factor)
        scaled = replace(self, unobserved_weight=self.unobserved_weight * factor)
        n_items, d = positives.shape[1], self.n_factors
        items = torch.randn((n_items, d), generator=generator) * (START_NORM / d**0.5)
        tables = [torch.zeros((positives.shape[0], d), device=device), items.to(device)]
        matrices = positives, positives.T.tocsr()
        sides = [list(blocks(matrix, device)) for matrix in matrices]
        penalties = [scaled.penalties(matrix, device) for matrix in matrices]
        n_workers = torch.get_num_threads() if device.type == "cpu" else 1
        # With two torch threads, each operation on a batch waits for the slower one: a fit took
        # ten times as long while another program used a core. So each worker computes blocks of
        # its own in one torch thread, and the result does not depend on the number of threads.
        with ThreadPoolExecutor(n_workers) as pool, threads_for(1, 1):

            def for_all(parts: list[Any], function: Callable[..., None], *arguments: Any) -> None:
                # Neighbours in the list take about the same time.
                shares = [parts[first::n_workers] for first in range(n_workers)]
                list(pool.map(partial(for_each, function, arguments), shares))

            for k in (0, 1) * n_iter:
                tables[1 - k], values, axes = principal_axes(tables[1 - k])
                tables[k] = tables[k] @ axes
                of_all = scaled.unobserved_weight * values
                for_all(sides[k], improve, tables[k], tables[1 - k], of_all, penalties[k])
            users, items = torch.zeros_like(tables[0]), principal_axes(tables[1])[0]
            parts = list(batches(positives, d, device))
            for_all(parts, solve_batch, users, items, scaled.of_all(items), penalties[0])
        return users, items

    def penalties(self, positives: csr_array, device: torch.device) -> Tensor:  # (n_rows,)
        """Compute the penalties of the rows of one side."""
        weights = np.asarray(positives.sum(axis=1)).ravel()
        penalties = self.alpha * (weights + self.unobserved_weight * positives.shape[1])
        return torch.from_numpy(penalties.astype(np.float32)).to(device)

    def of_all(self, items: Tensor) -> Tensor:  # (n_factors,)
        """Compute the diagonal of w Q'Q in float64, which is all of it after `train`."""
        # In parts, because a copy of the table in float64 would be large beside a few users.
        found = torch.zeros(self.n_factors, dtype=torch.float64, device=items.device)
        for part in items.split(PARTNERS_AT_ONCE):
            found += part.double().square_().sum(0)
        return found * self.unobserved_weight

    @torch.no_grad()
    def solve_users(self, positives: csr_array, items: Tensor) -> Tensor:  # (n, n_factors)
        """Compute the factors of users from their positives, as at the end of `train`."""
        users = torch.zeros((positives.shape[0], self.n_factors), device=items.device)
        given = users, items, self.of_all(items), self.penalties(positives, items.device)
        for_each(solve_batch, given, batches(positives, self.n_factors, items.device))
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
        penalties = self.penalties(positives, items.device)
        [batch] = batches(positives, self.n_factors, items.device)
        # With A the matrix of the user's equations, the score p'q is a sum of c_i q_i'A^-1 q.
        roots = batch.roots[0].double().unsqueeze(1)  # (n_positives, 1)
        weighted = items[batch.partners[0]] * roots  # (n_positives, n_factors)
        system = weighted.T @ weighted + torch.diag(of_all + penalties)
        return roots * weighted @ solve(system, items[some].double().T)


def principal_axes(factors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Rotate the columns so that their products are 0; return their squared lengths and the
    rotation, too."""
    gram = (factors.T @ factors).double()
    values, axes = (found.to(factors.dtype) for found in torch.linalg.eigh(gram))
    return factors @ axes, values.clamp(min=0), axes


def for_each(
    function: Callable[..., None], arguments: Iterable[Any], parts: Iterable[Any]
) -> None:
    """Call a function with the arguments and each part, in one torch thread."""
    with threads_for(1, 1):
        for part in parts:
            function(*arguments, part)


def improve(
    table: Tensor,  # (n_rows, d), of which the rows of the block are changed
    partners: Tensor,  # (n_partners, d), whose columns have products of 0
    of_all: Tensor,  # (d,), squared lengths of these columns times the weight of all pairs
    penalties: Tensor,  # (n_rows,)
    block: Block,
) -> None:
    """Take steps from the rows of a block towards the solutions of their equations."""
    rows, bounds, columns, weights = block
    p = table[rows]
    # The equations of a row are (D + Q'CQ) p = Q'C1. With the diagonal D as the preconditioner,
    # they have as many different eigenvalues as the row has positives, and one more at most.
    diagonal = of_all + penalties[rows].unsqueeze(1)
    shape = len(p), len(partners)
    pattern = torch.sparse_csr_tensor(bounds, columns, weights, shape, check_invariants=False)

    def scores(rows: Tensor) -> Tensor:  # (n_positives,)
        return torch.sparse.sampled_addmm(pattern, rows, partners.T, beta=0.0).values()

    def sums(of_positives: Tensor) -> Tensor:  # (n_rows, d)
        mode, frequencies, sparse, with_last = 0, False, False, True
        return torch.embedding_bag(
            partners, columns, bounds, frequencies, mode, sparse, of_positives, with_last
        )[0]

    residual = sums(weights * (1 - scores(p))).sub_(diagonal * p)
    direction = residual / diagonal
    size = (residual * direction).sum(1, keepdim=True)
    tiny = torch.finfo(p.dtype).tiny  # the residual of a solved row may be 0
    for step in range(STEPS):
        if step:
            preconditioned = residual / diagonal
            before, size = size, (residual * preconditioned).sum(1, keepdim=True)
            direction.mul_(size / before.clamp(min=tiny)).add_(preconditioned)
        image = sums(weights * scores(direction)).addcmul_(diagonal, direction)
        length = size / (direction * image).sum(1, keepdim=True).clamp(min=tiny)
        p.addcmul_(length, direction)
        residual.addcmul_(length, image, value=-1)


def solve_batch(
    rows: Tensor,  # (n_rows, d); the rows of the batch are replaced
    partners: Tensor,  # (n_partners, d), whose columns have products of 0
    of_all: Tensor,  # (d,), as for `improve`, in float64
    penalties: Tensor,  # (n_rows,)
    batch: Batch,
) -> None:
    """Solve the equations of the rows of a batch in float64."""
    d = rows.shape[1]
    # With C½Q the weighted factors of the partners, and D the diagonal of the other terms, a
    # row is (D + Q'CQ)^-1 Q'C1. With few partners it is computed as
    # D^-½ S' (I + SS')^-1 C½1 with S = C½Q D^-½, which solves a smaller system.
    n = batch.partners.shape[1]
    roots = batch.roots.double().unsqueeze(2)  # (n_rows, n, 1)
    gathered = partners.index_select(0, batch.partners.flatten())  # faster than partners[...]
    weighted = gathered.double().view(-1, n, d).mul_(roots)  # (n_rows, n, d)
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
            "The factors have no unique solution with this alpha. Give a larger alpha."
        )
    return torch.cholesky_solve(right, factor)


def blocks(matrix: csr_array, device: torch.device) -> Iterator[Block]:
    """Cut the rows into blocks of about the same number of rows and positives."""
    sizes = matrix.indptr + np.arange(len(matrix.indptr))
    cuts = np.searchsorted(sizes, np.arange(0, sizes[-1] + BLOCK_SIZE, BLOCK_SIZE))
    for first, last in pairwise(np.unique(np.minimum(cuts, len(sizes) - 1)).tolist()):
        bounds = matrix.indptr[first : last + 1]
        own = slice(bounds[0], bounds[-1])
        arrays = bounds - bounds[0], matrix.indices[own], matrix.data[own]
        types = np.int32, np.int32, np.float32
        converted = (a.astype(dtype) for a, dtype in zip(arrays, types, strict=True))
        yield Block(slice(first, last), *(torch.from_numpy(a).to(device) for a in converted))


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
