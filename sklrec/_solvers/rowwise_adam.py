"""Adam that moves only the rows of a table that occur in the batch."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Iterable
from math import sqrt
from typing import Any

import torch
from torch import Tensor

from sklrec._solvers.rowwise_optimizer import RowwiseOptimizer


class RowwiseAdam(RowwiseOptimizer):
    r"""Adam for embedding tables with sparse gradients, and for all else.

    In ``torch.optim.Adam`` a row goes on for many steps by the momentum of one gradient, whether
    or not a batch holds it. Here a row moves only when the gradient holds it, at once by all
    that it would go on for. Its second moment fades all the time. With t the number of the step,
    s that of the last one that held the row, and g the sum of what the gradient holds of it,

    .. math:: v &\leftarrow \beta_2^{t - s} v + (1 - \beta_2) g^2 \\
              x &\leftarrow x - \eta \, g
              \Big/ \Big( \sqrt{v / (1 - \beta_2^t)} + \epsilon \Big)

    So a row that is not in every batch ends up where Adam takes it, and `lr` means the same.
    With moments that only fade, or with numbers of steps that only count, when a row is held, a
    rare row would move many times less, and other rates and numbers of epochs would be called
    for.

    A parameter with a dense gradient moves as by ``torch.optim.Adam``.

    Parameters
    ----------
    params : iterable of Parameter or of dict
        Parameters, or groups ``{"params": [parameter, ...]}`` that may have an `lr` of their own.
    lr : float, default=1e-3
        Learning rate.
    betas : (float, float), default=(0.9, 0.999)
        What the moments are multiplied by in each step. The first is not used for tables.
    eps : float, default=1e-8
        Added to the root of the second moment.

    References
    ----------
    Kingma, Ba (2015), "Adam: A Method for Stochastic Optimization",
    :doi:`10.48550/arXiv.1412.6980`.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ):
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Take in parameters.

        Parameters
        ----------
        param_group : dict
            ``{"params": [parameter, ...]}``, and what is other than for the rest.
        """
        params = list(param_group["params"])
        self.param_groups.append({**self.defaults, **param_group, "params": params})

    def _move(self, group: dict[str, Any]) -> None:
        for parameter in group["params"]:
            if parameter.grad is not None:
                self._move_one(parameter, parameter.grad, group)

    def _move_one(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["step"] = 0
            state["exp_avg_sq"] = torch.zeros_like(parameter)
            if gradient.is_sparse:
                # As floats, which hold all whole numbers there will be: load_state_dict makes all
                # of a state what its parameter is.
                state["last_step"] = parameter.new_zeros(len(parameter))
            else:
                state["exp_avg"] = torch.zeros_like(parameter)
        state["step"] += 1
        move = _move_rows if gradient.is_sparse else _move_all
        move(parameter, gradient, state, group["lr"], group["betas"], group["eps"])


def _move_all(
    parameter: Tensor,
    gradient: Tensor,
    state: dict[str, Any],
    lr: float,
    betas: tuple[float, float],
    eps: float,
) -> None:
    # Beside tables these are small: torch's fused kernel would save some microseconds.
    first, second = betas
    mean = state["exp_avg"].lerp_(gradient, 1 - first)
    square = state["exp_avg_sq"].mul_(second).addcmul_(gradient, gradient, value=1 - second)
    root = square.sqrt().div_(sqrt(1 - second ** state["step"])).add_(eps)
    parameter.addcdiv_(mean, root, value=-lr / (1 - first ** state["step"]))


def _move_rows(
    table: Tensor,
    gradient: Tensor,
    state: dict[str, Any],
    lr: float,
    betas: tuple[float, float],
    eps: float,
) -> None:
    step, second = state["step"], betas[1]
    rows, values = _sums(gradient)
    last_step = state["last_step"].index_select(0, rows)
    state["last_step"].index_fill_(0, rows, step)
    kept = second ** (step - last_step)
    square = state["exp_avg_sq"].index_select(0, rows)
    square.mul_(kept if values.ndim == 1 else kept.unsqueeze(1))
    square.addcmul_(values, values, value=1 - second)
    state["exp_avg_sq"].index_copy_(0, rows, square)
    root = square.sqrt_().div_(sqrt(1 - second**step)).add_(eps)
    move = torch.div(values, root, out=root).mul_(-lr)
    if table.device.type == "cpu":
        table.index_add_(0, rows, move)  # in less than half the time
    else:  # what a row becomes is the same wherever it stands
        table.index_copy_(0, rows, move.add_(table.index_select(0, rows)))


def _sums(gradient: Tensor) -> tuple[Tensor, Tensor]:
    """Rows that a sparse gradient holds, and the sum of what it holds of each.

    On the CPU each row is there once. Elsewhere one would have to wait for how many differ: there
    it stands, with its sum, as often as in the gradient.
    """
    rows, values = gradient._indices()[0], gradient._values()
    if gradient.is_coalesced():
        return rows, values
    # coalesce() copies all rows into their order before it adds them up.
    if rows.device.type == "cpu":
        rows, place = rows.unique(return_inverse=True)
        return rows, values.new_zeros((len(rows), *values.shape[1:])).index_add_(0, place, values)
    in_order, order = rows.sort()
    number = (in_order.diff(prepend=in_order[:1]) != 0).cumsum(0)
    place = torch.empty_like(number).index_copy_(0, order, number)
    return rows, torch.zeros_like(values).index_add_(0, place, values).index_select(0, place)
