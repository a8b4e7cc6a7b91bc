"""Ratings of all pairs of users and items by a network that a user wrote."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from sklrec.modules._network_inputs import FEATURES

# Pairs that are rated at once.
PAIRS_AT_ONCE = 2**14


def by_pairs(
    n_rows: int, n_columns: int, rate: Callable[[Tensor, Tensor], Tensor], device: torch.device
) -> Tensor:  # (n_rows, n_columns)
    """Rate all pairs of a row and a column in parts."""
    rows_at_once = max(1, PAIRS_AT_ONCE // n_columns)
    columns = torch.arange(n_columns, device=device)
    found = []
    with torch.inference_mode():
        for rows in torch.arange(n_rows, device=device).split(rows_at_once):
            parts = [
                rate(rows.repeat_interleave(len(part)), part.repeat(len(rows))).view(len(rows), -1)
                for part in columns.split(PAIRS_AT_ONCE)
            ]
            found.append(torch.cat(parts, 1).cpu())
    return torch.cat(found).float()


def features_of_pairs(
    user_side: dict[str, Tensor],
    item_side: dict[str, Tensor],
    of_users: Tensor,  # (n_features,)
    users: Tensor,  # (n,), rows of `user_side`
    items: Tensor,
) -> dict[str, Tensor]:
    """Read each side feature from its owner."""
    found, start = {}, 0
    for name in FEATURES:
        if name not in user_side:
            continue
        of_user, of_item = user_side[name], item_side[name]
        n = of_user.shape[1]
        mask, start = of_users[start : start + n], start + n
        if name == "multi_valued":
            widest = max(of_user.shape[2], of_item.shape[2])
            of_user, of_item = (F.pad(v, (widest - v.shape[2], 0)) for v in (of_user, of_item))
            mask = mask.unsqueeze(1)
        found[name] = torch.where(mask, of_user[users], of_item[items])
    return found


def checked_vectors(vectors: Any, side: str, n_rows: int) -> Tensor:
    """Return vectors of users or items, or raise."""
    if not isinstance(vectors, Tensor) or vectors.ndim != 2 or len(vectors) != n_rows:
        found = tuple(vectors.shape) if isinstance(vectors, Tensor) else type(vectors).__name__
        raise ValueError(
            f"{side}_vectors must return a tensor of shape ({n_rows}, n_columns) for {n_rows} "
            f"codes, got {found}."
        )
    if not bool(vectors.isfinite().all()):
        raise ValueError(f"{side}_vectors must return finite numbers, got some that are not.")
    return vectors
