"""Nested values come back as they were."""
# SPDX-License-Identifier: BSD-3-Clause

import json
import math

import numpy as np
import pytest
import torch

from sklrec._utils.packing import pack, unpack


def and_back(value):
    document, arrays = pack(value)
    return unpack(json.loads(json.dumps(document, allow_nan=False)), arrays)


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        2**127,
        0.1,
        math.inf,
        "text",
        [],
        [1, [2.5, None]],
        (1, ("a",)),
        {},
        {1: "a", "b": (2.0, -math.inf)},
        [{}, {"loss": 0.5}, {"loss": 0.25, "size": 4.0}, {"size": 1.0, "loss": 2.0}, {"n": 1}],
    ],
)
def test_plain_values(value):
    back = and_back(value)
    assert back == value
    assert repr(back) == repr(value)  # the order of names, 1 and not 1.0


def test_nan_and_numbers_of_numpy():
    assert math.isnan(and_back(math.nan))
    assert and_back([np.float64(0.5), np.int64(3)]) == [0.5, 3]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64, torch.bool])
@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (0, 2)])
def test_tensors(dtype, shape):
    value = {"a": torch.ones(shape, dtype=dtype)}
    back = and_back(value)["a"]
    assert back.dtype == dtype
    assert torch.equal(back, value["a"])
    assert back.data_ptr() % 64 == 0


def test_parameters_come_back_as_tensors_of_their_own():
    value = torch.nn.Parameter(torch.ones(2))
    document, arrays = pack(value)
    back = unpack(document, arrays)
    back += 1
    assert value.tolist() == [1, 1]
    assert not back.requires_grad


def test_arrays():
    back = and_back(np.arange(3, dtype=np.uint32))
    assert back.dtype == np.uint32
    assert back.tolist() == [0, 1, 2]
    assert back.flags.writeable


def test_numbers_by_name_become_one_array():
    document, arrays = pack([{"loss": float(k), "size": 1.0} for k in range(1000)])
    assert len(json.dumps(document)) < 100
    assert [array.shape for array in arrays.values()] == [(1000, 2)]


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ({1, 2}, "set"),
        (torch.eye(2).to_sparse(), "Tensor"),
        (np.array(["a"]), "ndarray"),
        (object(), "object"),
    ],
)
def test_what_cannot_be_packed(value, name):
    with pytest.raises(TypeError, match=f"a {name} cannot be written to a file"):
        pack([value])
