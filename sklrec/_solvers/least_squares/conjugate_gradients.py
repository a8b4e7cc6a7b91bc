"""Conjugate gradients with a preconditioner."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Callable

import torch
from torch import Tensor


def conjugate_gradients(
    apply: Callable[[Tensor], Tensor],  # a symmetric positive definite matrix
    right: Tensor,
    start: Tensor,
    precondition: Callable[[Tensor], Tensor],
    n_steps: int,
) -> Tensor:
    """Solve a linear system approximately."""
    found = start
    residual = right - apply(found)
    step = pushed = precondition(residual)
    size = (residual * pushed).sum()
    for _ in range(n_steps):
        image = apply(step)
        # At the solution both parts of the fraction are 0. Rounding must not turn the step around.
        curvature = (step * image).sum()
        rate = torch.where(curvature > 0, size / curvature.clamp(min=1e-30), 0)
        found = found + rate * step
        residual = residual - rate * image
        pushed = precondition(residual)
        before, size = size, (residual * pushed).sum()
        step = pushed + size / before.clamp(min=1e-30) * step
    return found
