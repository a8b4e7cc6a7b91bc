"""A number by which processes see whether they have the same."""
# SPDX-License-Identifier: BSD-3-Clause

import zlib
from typing import Any

import numpy as np
import torch
from torch import Tensor


def checksum(fact: Any, start: int = 0) -> int:
    """Give a number that tells data, or other things by their ``repr``, from others.

    Parameters
    ----------
    fact : object
        The data or the thing.
    start : int, default=0
        The number of what goes before it.

    Returns
    -------
    int
        The number, the same in all processes for the same fact.
    """
    if isinstance(fact, Tensor):
        fact = fact.cpu().numpy()
    if isinstance(fact, np.ndarray):
        return zlib.crc32(
            np.ascontiguousarray(fact).data, zlib.crc32(repr(fact.shape).encode(), start)
        )
    if isinstance(fact, torch.utils.data.Dataset):
        fact = {
            k: v
            for k, v in vars(fact).items()
            if isinstance(v, Tensor | np.ndarray | dict | int | float)
        }
    if isinstance(fact, dict):
        for name, value in sorted(fact.items()):
            start = checksum(value, zlib.crc32(name.encode(), start))
        return start
    return zlib.crc32(repr(fact).encode(), start)
