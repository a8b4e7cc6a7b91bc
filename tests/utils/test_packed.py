"""Packed symmetric matrices."""
# SPDX-License-Identifier: BSD-3-Clause

import pytest
import torch

from sklrec._utils.packed import cholesky, inner, inverse, multiply, outer, pack, unpack


def test_packed_matrices():
    roots = torch.randn(7, 4, 4, generator=torch.Generator().manual_seed(0)).double()
    matrices = roots @ roots.mT + torch.eye(4)
    packed = pack(matrices)
    assert torch.equal(unpack(packed, 4), matrices.triu() + matrices.triu(1).mT)
    assert torch.allclose(inverse(matrices) @ matrices, torch.eye(4).double().expand(7, 4, 4))
    assert torch.allclose(inner(packed, packed, 4), matrices.square().sum((1, 2)))
    vectors = roots[:, 0]
    assert torch.allclose(multiply(packed, vectors), (matrices @ vectors[:, :, None])[..., 0])
    assert torch.equal(unpack(outer(vectors), 4), vectors[:, :, None] * vectors[:, None])


def test_a_gradient_goes_through_matrices_that_were_first_used_in_inference_mode():
    with torch.inference_mode():
        unpack(torch.ones(1, 190), 19)  # a size of its own
    packed = torch.ones(2, 190, requires_grad=True)
    unpack(packed, 19).sum().backward()
    assert packed.grad.sum() == 2 * 19 * 19


def test_a_matrix_that_is_not_positive_definite_gets_a_higher_diagonal():
    singular = torch.ones(1, 3, 3, dtype=torch.float64)
    lower = cholesky(singular)
    assert torch.allclose(lower @ lower.mT, singular, atol=1e-3)
    with pytest.raises(ValueError, match="have no finite solution"):
        cholesky(singular * torch.nan)
