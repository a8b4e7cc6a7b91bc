"""Types of public arguments."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Callable
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
import torch
from numpy.typing import ArrayLike

Whole: TypeAlias = int | np.integer[Any]
Column: TypeAlias = int | str
RatingScale: TypeAlias = tuple[float, float] | list[float] | list[int]
RandomState: TypeAlias = Whole | np.random.RandomState | None
Device: TypeAlias = str | torch.device
Auto: TypeAlias = Literal["auto"]
Categories: TypeAlias = Literal["from_dtype"] | ArrayLike
# The function gets predictions and ratings, and gives the loss of each.
Loss: TypeAlias = (
    Literal["squared_error", "absolute_error", "huber", "quantile"] | Callable[..., torch.Tensor]
)


class IDList(Protocol):
    """A list, an array or a column of IDs, of any library."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: Any, /) -> Any: ...
