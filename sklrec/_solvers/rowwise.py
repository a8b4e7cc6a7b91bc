"""Optimisers that move only the rows of a table that occur in the batch."""
# SPDX-License-Identifier: BSD-3-Clause

from abc import abstractmethod
from collections.abc import Callable, Iterable
from math import sqrt
from typing import Any

import torch
from torch import Tensor

# Share of the average step over a row's ratings in a batch. Users and items move at once, each to
# correct the same errors. With a share of 1, a batch that is full of the ratings of both would
# turn an error of the mean into an equal error of the opposite sign.
SHARE_OF_AVERAGE = 0.8
# Momentum of dense tables. One limit holds for all rows of such a table together, so that it is
# small for each row alone.
MOMENTUM = 0.9


class RowwiseOptimizer(torch.optim.Optimizer):
    """Base class of the row-wise optimisers."""

    # `zero_grad` and `add_param_group` of torch import its compiler at the first call, which takes
    # longer than a whole fit of 100,000 ratings. So this class and its subclasses replace both.

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Set all gradients to ``None``, whatever `set_to_none` is."""
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add ``{"params": [parameter, ...]}`` with options that replace the defaults."""
        params = list(param_group["params"])
        self.param_groups.append({**self.defaults, **param_group, "params": params})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Move each parameter against its gradient, and return the result of `closure`."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            self._move(group)
        return loss

    @abstractmethod
    def _move(self, group: dict[str, Any]) -> None:
        """Move the parameters of one group."""


class RowwiseSGD(RowwiseOptimizer):
    """Gradient descent with a bounded step for each row, and momentum for dense gradients."""

    # A gradient that is summed over a batch grows with the number of ratings of the row in the
    # batch, so that the rows of very active users and very popular items would overshoot. The load
    # of a row is the change of its gradient when the row moves by 1; the step is at most
    # 0.8 / load. If it is the number of ratings in a batch, the step is at most 0.8 of their
    # average.

    def __init__(self, params: Iterable[dict[str, Any]], lr: float):
        super().__init__(params, {"lr": lr})

    def set_loads(self, loads: dict[str, Tensor]) -> None:
        """Set the loads of the rows of all tables, by name."""
        for group in self.param_groups:
            group["limit"] = SHARE_OF_AVERAGE / loads[group["name"]].clamp(min=1e-12)  # (n_rows,)

    def _move(self, group: dict[str, Any]) -> None:
        (table,) = group["params"]
        if table.grad is None:
            return
        if not table.grad.is_sparse:
            self._move_dense(table, table.grad, group)
            return
        rows, gradient = table.grad._indices()[0], table.grad._values()
        step = group["limit"].index_select(0, rows).clamp_(max=group["lr"]).neg_()
        # Twice as fast as index_add_ with an alpha.
        table.index_add_(0, rows, gradient.mul_(step if gradient.ndim == 1 else step.unsqueeze(1)))

    def _move_dense(self, table: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        """Move all rows of a table, with momentum."""
        state = self.state[table]
        table.grad = None  # its tensor becomes the buffer
        if "momentum_buffer" in state:
            gradient.add_(state["momentum_buffer"], alpha=MOMENTUM)
        state["momentum_buffer"] = gradient
        step = group["limit"].clamp(max=group["lr"])  # of each row, or of each value
        step = step if step.ndim == table.ndim else step.unsqueeze(1)
        table.addcmul_(gradient, step, value=-1)


class RowwiseAdam(RowwiseOptimizer):
    """Adam that moves a row only at the steps whose sparse gradient holds the row."""

    # torch.optim.Adam moves a row for many steps by the momentum of one gradient, also while no
    # batch holds it. This optimiser moves the row at once by the sum of these moves. The second
    # moment decays at every step. Let t be the number of the step, s the last step that held the
    # row, and g the sum of the gradient's entries for the row. Then
    #     v <- beta_2^(t - s) v + (1 - beta_2) g^2
    #     x <- x - lr g / (sqrt(v / (1 - beta_2^t)) + eps)
    # So a row that is not in every batch ends where Adam moves it, and `lr` means the same. If
    # moments decayed, or steps counted, only at the steps that hold the row, a rare row would move
    # many times less, and would need other learning rates and numbers of epochs.
    # A dense gradient moves its parameter as in torch.optim.Adam.
    # Kingma, Ba (2015), "Adam: A Method for Stochastic Optimization", arXiv:1412.6980.

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ):
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps})

    def _move(self, group: dict[str, Any]) -> None:
        for parameter in group["params"]:
            if (gradient := parameter.grad) is None:
                continue
            is_sparse, state = gradient.is_sparse, self.state[parameter]
            if not state:
                state["step"] = 0
                state["exp_avg_sq"] = torch.zeros_like(parameter)
                if is_sparse:
                    # A float tensor, because load_state_dict converts every state to the dtype of
                    # its parameter. Floats hold all whole numbers that occur here.
                    state["last_step"] = parameter.new_zeros(len(parameter))
                else:
                    state["exp_avg"] = torch.zeros_like(parameter)
            state["step"] += 1
            (_adam_rows if is_sparse else _adam_dense)(parameter, gradient, state, group)


def _adam_dense(
    parameter: Tensor, gradient: Tensor, state: dict[str, Any], group: dict[str, Any]
) -> None:
    """Move a parameter as ``torch.optim.Adam`` does."""
    # These are small beside the tables: the fused kernel of torch would save some microseconds.
    first, second = group["betas"]
    mean = state["exp_avg"].lerp_(gradient, 1 - first)
    square = state["exp_avg_sq"].mul_(second).addcmul_(gradient, gradient, value=1 - second)
    root = square.sqrt().div_(sqrt(1 - second ** state["step"])).add_(group["eps"])
    parameter.addcdiv_(mean, root, value=-group["lr"] / (1 - first ** state["step"]))


def _adam_rows(
    table: Tensor, gradient: Tensor, state: dict[str, Any], group: dict[str, Any]
) -> None:
    """Move the rows of a table that a sparse gradient holds."""
    step, second = state["step"], group["betas"][1]
    rows, values = _sums(gradient)
    last_step = state["last_step"].index_select(0, rows)
    state["last_step"].index_fill_(0, rows, step)
    kept = second ** (step - last_step)
    square = state["exp_avg_sq"].index_select(0, rows)
    square.mul_(kept if values.ndim == 1 else kept.unsqueeze(1))
    square.addcmul_(values, values, value=1 - second)
    state["exp_avg_sq"].index_copy_(0, rows, square)
    root = square.sqrt_().div_(sqrt(1 - second**step)).add_(group["eps"])
    move = torch.div(values, root, out=root).mul_(-group["lr"])
    if table.device.type == "cpu":
        table.index_add_(0, rows, move)  # in less than half the time
    else:  # a row may occur several times in `rows`, each time with the same new value
        table.index_copy_(0, rows, move.add_(table.index_select(0, rows)))


def _sums(gradient: Tensor) -> tuple[Tensor, Tensor]:
    """Rows of a sparse gradient, and the sum of its entries for each of them."""
    rows, values = gradient._indices()[0], gradient._values()
    if gradient.is_coalesced():
        return rows, values
    # coalesce() copies all entries into the order of the rows before it adds them up.
    if rows.device.type == "cpu":
        rows, place = rows.unique(return_inverse=True)
        return rows, values.new_zeros((len(rows), *values.shape[1:])).index_add_(0, place, values)
    # On a GPU unique() would wait for the number of rows. There each row occurs with its sum as
    # often as in the gradient.
    in_order, order = rows.sort()
    number = (in_order.diff(prepend=in_order[:1]) != 0).cumsum(0)
    place = torch.empty_like(number).index_copy_(0, order, number)
    return rows, torch.zeros_like(values).index_add_(0, place, values).index_select(0, place)
