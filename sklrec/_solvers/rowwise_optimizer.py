"""What optimisers of tables with sparse gradients share: a step and its gradients, kept cheap."""
# SPDX-License-Identifier: BSD-3-Clause

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import torch


class RowwiseOptimizer(torch.optim.Optimizer):
    """Base of the optimisers that move only the rows of a table that occur in the batch.

    A subclass brings `_move`, and an `add_param_group` of its own: torch's, as torch's
    `zero_grad`, imports its compiler at the first call, which takes longer than a whole fit of
    100,000 ratings.
    """

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget all gradients.

        Parameters
        ----------
        set_to_none : bool, default=True
            Kept for torch's interface: gradients are never kept as zeros.
        """
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Move each parameter against its gradient.

        Parameters
        ----------
        closure : callable, default=None
            Evaluates the loss again and returns it.

        Returns
        -------
        object
            What ``closure`` returned.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            self._move(group)
        return loss

    @abstractmethod
    def _move(self, group: dict[str, Any]) -> None:
        """Move a group's parameters."""
