"""Helpers of the solvers that update whole tables in sweeps."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Iterator

import torch
from torch import Tensor

# Number of errors to square and add at once.
SQUARED_AT_ONCE = 2**16


def mean_square(errors: Tensor, weights: Tensor | None) -> float:
    """Compute the weighted mean of squares."""
    total = len(errors) if weights is None else weights.sum().item()
    factors = errors if weights is None else errors * weights
    # In parts, because the products take float64.
    parts = zip(errors.split(SQUARED_AT_ONCE), factors.split(SQUARED_AT_ONCE), strict=True)
    return torch.stack([a.double().dot(b.double()) for a, b in parts]).sum().item() / total


def progress(n_iter: int, verbose: int, unit: str) -> Iterator[int]:
    """Count to `n_iter`, with a progress bar if `verbose`."""
    if not verbose:
        yield from range(n_iter)
        return
    from tqdm.auto import trange  # a slow import that few need

    yield from trange(n_iter, desc="fit", unit=unit)
