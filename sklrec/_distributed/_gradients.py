"""Sums of the gradients of all processes, dense ones and those of a few rows of a table."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sklrec._distributed._processes import Processes


def sum_gradients(parameters: Iterable[nn.Parameter], processes: Processes) -> None:
    """Replace the gradients of this process by the sums of those of all.

    Parameters
    ----------
    parameters : iterable of Parameter
        The parameters. Which have a gradient, and which a sparse one, is the same in all
        processes; how many rows a sparse one holds need not be.
    processes : Processes
        Who trains together.
    """
    there = [parameter for parameter in parameters if parameter.grad is not None]
    if dense := [parameter for parameter in there if not _gradient(parameter).is_sparse]:
        _sum_dense(dense, processes)
    if sparse := [parameter for parameter in there if _gradient(parameter).is_sparse]:
        _sum_sparse(sparse, processes)


def _sum_dense(parameters: list[nn.Parameter], processes: Processes) -> None:
    # One exchange for all: each takes some time, however little there is to be said.
    flat = torch.cat([_gradient(parameter).flatten() for parameter in parameters])
    parts = processes.sum(flat).split([parameter.numel() for parameter in parameters])
    for parameter, part in zip(parameters, parts, strict=True):
        parameter.grad = part.view_as(parameter)


def _sum_sparse(parameters: list[nn.Parameter], processes: Processes) -> None:
    """Bring the rows of all processes together, one behind another."""
    # Tables whose gradients hold the same rows: a side's factors and its biases.
    groups: dict[int, list[nn.Parameter]] = {}
    for parameter in parameters:
        parameter.grad = _gradient(parameter).coalesce()
        groups.setdefault(parameter.grad._indices().data_ptr(), []).append(parameter)
    blocks = [_as_block(tables) for tables in groups.values()]
    sizes = torch.tensor([block.shape for block in blocks], device=processes.device)
    # (count, n_groups) numbers of rows; their widths are the same everywhere
    n_rows = processes.gather(sizes[:, 0]).tolist()
    widths = [block.shape[1] for block in blocks]
    lengths = [[n * w for n, w in zip(of, widths, strict=True)] for of in n_rows]
    flat = torch.cat([block.flatten() for block in blocks])
    longest = max(map(sum, lengths))
    gathered = processes.gather(F.pad(flat, (0, longest - len(flat))))
    found = [values[: sum(of)].split(of) for values, of in zip(gathered, lengths, strict=True)]
    for tables, width, *parts in zip(groups.values(), widths, *found, strict=True):
        _from_block(torch.cat(parts).view(-1, width), tables)


def _gradient(parameter: nn.Parameter) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad


def _as_block(tables: list[nn.Parameter]) -> Tensor:
    """The rows that tables' gradients hold as one matrix, whose first column says which."""
    gradients = [_gradient(table) for table in tables]
    rows = gradients[0]._indices()[0].int()
    values = [gradient._values().view(len(rows), -1) for gradient in gradients]
    # The bits of an integer, since one exchange is of one dtype.
    return torch.cat([rows.view(values[0].dtype).unsqueeze(1), *values], 1)


def _from_block(block: Tensor, tables: list[nn.Parameter]) -> None:
    """Give tables the gradients that a matrix from `_as_block` holds; rows may come twice."""
    rows = block[:, 0].contiguous().view(torch.int32).long().unsqueeze(0)
    widths = [table.numel() // len(table) for table in tables]
    for table, values in zip(tables, block[:, 1:].split(widths, 1), strict=True):
        values = values.contiguous().view(-1, *table.shape[1:])
        table.grad = torch.sparse_coo_tensor(
            rows, values, table.shape, check_invariants=False, is_coalesced=False
        )
