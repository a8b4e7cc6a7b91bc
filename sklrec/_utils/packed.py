"""Many small symmetric matrices, each as the numbers of its upper triangle."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Iterator
from functools import cache

import torch
from torch import Tensor

from sklrec._utils.versions import is_exporting

# Numbers of whole matrices in memory at once: they stay in the processor's cache.
NUMBERS_AT_ONCE = 2**17
NUMBERS_AT_ONCE_ELSEWHERE = 2**24
# Numbers of a table to gather at once. On the CPU they stay in the caches.
GATHERED_AT_ONCE = 2**18
GATHERED_AT_ONCE_ELSEWHERE = 2**22
# Additions to the diagonal of a matrix that is not positive definite, as shares of its mean.
JITTERS = (1e-8, 1e-6, 1e-4)


def triangle(n_columns: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Give the rows and columns of packed numbers, and the packed place of each whole entry."""
    # The tensors of an export are no values to keep.
    find = _triangle.__wrapped__ if is_exporting() else _triangle
    return find(n_columns, device)


@cache
@torch.inference_mode(False)  # a gradient cannot use tensors of that mode
def _triangle(n_columns: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    rows, columns = torch.triu_indices(n_columns, n_columns, device=device)
    places = torch.empty(n_columns, n_columns, dtype=torch.int64, device=device)
    places[rows, columns] = places[columns, rows] = torch.arange(len(rows), device=device)
    return rows, columns, places.flatten()


def n_packed(n_columns: int) -> int:
    """Number of packed numbers of a matrix."""
    return n_columns * (n_columns + 1) // 2


def pack(matrices: Tensor) -> Tensor:  # (..., d, d) to (..., d(d+1)/2)
    """Take the upper triangles."""
    rows, columns, _ = triangle(matrices.shape[-1], matrices.device)
    return matrices[..., rows, columns]


def unpack(packed: Tensor, n_columns: int) -> Tensor:  # (..., d(d+1)/2) to (..., d, d)
    """Make whole matrices."""
    places = triangle(n_columns, packed.device)[2]
    return packed.index_select(-1, places).reshape(*packed.shape[:-1], n_columns, n_columns)


def rows_at_once(n_columns: int, device: torch.device) -> int:
    """Number of ratings whose packed matrices to gather together."""
    on_cpu = device.type == "cpu"
    numbers = GATHERED_AT_ONCE if on_cpu else GATHERED_AT_ONCE_ELSEWHERE
    return max(1, numbers // n_packed(n_columns))


def blocks(n_rows: int, n_columns: int, device: torch.device) -> Iterator[slice]:
    """Yield ranges of rows whose whole matrices are in memory together."""
    on_cpu = device.type == "cpu"
    at_once = NUMBERS_AT_ONCE if on_cpu else NUMBERS_AT_ONCE_ELSEWHERE
    step = max(1, at_once // n_columns**2)
    for first in range(0, n_rows, step):
        yield slice(first, min(first + step, n_rows))


def inverse(matrices: Tensor) -> Tensor:  # (n, d, d)
    """Invert positive definite matrices."""
    lower, failed = torch.linalg.cholesky_ex(matrices)
    if failed.any():
        lower = cholesky(matrices.double()).to(matrices)
    return torch.cholesky_inverse(lower)


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
            "The normal equations of some rows have no finite solution. Scale the weights to a "
            "mean of 1, or use fewer factors."
        )
    return lower


def times(matrices: Tensor, vectors: Tensor) -> Tensor:  # (n, d, d) and (n, d) to (n, d)
    """Multiply each vector by its matrix."""
    return torch.bmm(matrices, vectors.unsqueeze(2)).squeeze(2)


def occurrences(n_columns: int, like: Tensor) -> Tensor:  # (d(d+1)/2,)
    """Count how often a whole matrix holds each packed number."""
    rows, columns, _ = triangle(n_columns, like.device)
    return torch.where(rows == columns, 1, 2).to(like)


def inner(packed: Tensor, other: Tensor, n_columns: int) -> Tensor:  # (n,)
    """Compute the sums of the products of all entries of two whole matrices."""
    return (packed * other) @ occurrences(n_columns, packed)


def outer(rows: Tensor) -> Tensor:  # (..., d) to (..., d(d+1)/2)
    """Compute the products of each row with itself, packed."""
    first, second, _ = triangle(rows.shape[-1], rows.device)
    return rows.index_select(-1, first) * rows.index_select(-1, second)


def multiply(packed: Tensor, vectors: Tensor) -> Tensor:  # (n, d(d+1)/2) and (n, d) to (n, d)
    """Multiply each vector by its packed matrix."""
    n_rows, n_columns = vectors.shape
    found = torch.empty_like(vectors)
    for rows in blocks(n_rows, n_columns, vectors.device):
        matrices = unpack(packed[rows], n_columns)
        torch.bmm(matrices, vectors[rows].unsqueeze(2), out=found[rows].unsqueeze(2))
    return found
