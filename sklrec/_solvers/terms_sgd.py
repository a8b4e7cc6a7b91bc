"""Gradient descent for own rows together with terms that many rows share."""
# SPDX-License-Identifier: BSD-3-Clause

from typing import Any

from sklrec._solvers.rowwise_sgd import RowwiseSGD

# With what speed terms go on. One step moves them little: a limit that holds for all of them
# together is a small one for each alone.
MOMENTUM = 0.9


class TermsSGD(RowwiseSGD):
    """`RowwiseSGD` whose tables may have dense gradients too; these steps have momentum.

    A row moves by ``min(lr, 0.8 / load)`` times its gradient, and goes on with 0.9 of its last
    step if its table's gradient is dense. A table without a gradient stays where it is.

    Parameters
    ----------
    params : iterable of dict
        Groups ``{"params": [table, ...], "load": Tensor of shape (n_rows,)}``.
    lr : float
        Step for one rating.
    """

    def _move(self, group: dict[str, Any]) -> None:
        for table in group["params"]:
            if table.grad is None or table.grad.is_sparse:
                continue
            state = self.state[table]
            gradient, table.grad = table.grad, None
            if "speed" in state:
                gradient.add_(state["speed"], alpha=MOMENTUM)
            state["speed"] = gradient
            limit = group["limit"].clamp(max=group["lr"])
            table.addcmul_(gradient, limit.unsqueeze(1), value=-1)
        super()._move(group)
