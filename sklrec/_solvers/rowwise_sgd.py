"""Gradient descent that touches only the rows of a table that occur in the batch."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Iterable
from typing import Any

from torch import Tensor

from sklrec._solvers.rowwise_optimizer import RowwiseOptimizer

# Users and items move at once, each to make up for the same errors. With their whole averages, a
# batch that is full of both would put the mean off by as much as it was, with the other sign.
SHARE_OF_AVERAGE = 0.8


class RowwiseSGD(RowwiseOptimizer):
    """Stochastic gradient descent for embedding tables with sparse gradients.

    A gradient that is summed over a batch grows with the number of times that a row occurs
    in it, so a very active user or a very popular item would overshoot. The step of such a
    row is therefore bounded: if its gradient changes by ``load`` as it moves by 1, it is
    ``min(lr, 0.8 / load)``. With the number of its ratings in a batch as load, that is at most
    0.8 of an average over them.

    Parameters
    ----------
    params : iterable of dict
        Groups ``{"params": [table, ...], "load": Tensor of shape (n_rows,)}``.
    lr : float
        Step for one rating.
    """

    def __init__(self, params: Iterable[dict[str, Any]], lr: float):
        super().__init__(params, {"lr": lr})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Take in tables and keep each row's largest stable step in place of its load.

        Parameters
        ----------
        param_group : dict
            ``{"params": [table, ...], "load": Tensor of shape (n_rows,)}``.
        """
        limit = SHARE_OF_AVERAGE / param_group["load"].clamp(min=1e-12)
        self.param_groups.append(
            {**self.defaults, "params": list(param_group["params"]), "limit": limit}
        )

    def _move(self, group: dict[str, Any]) -> None:
        """Move a group's tables."""
        steps: dict[int, Tensor] = {}  # a group's tables share the codes of the batch
        for table in group["params"]:
            if table.grad is None:
                continue
            rows, gradient = table.grad._indices()[0], table.grad._values()
            key = rows.data_ptr()
            if key not in steps:
                limit = group["limit"].index_select(0, rows)
                steps[key] = limit.clamp_(max=group["lr"]).neg_()
            step = steps[key] if gradient.ndim == 1 else steps[key].unsqueeze(1)
            # Twice as fast as index_add_ with an alpha.
            table.index_add_(0, rows, gradient.mul_(step))
