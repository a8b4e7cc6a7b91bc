"""What torch's devices have, and how models get from one machine to another."""
# SPDX-License-Identifier: BSD-3-Clause

from copy import deepcopy

import torch
from torch import nn

# Devices with neither float64 nor products of sparse rows (CSR): Apple's.
PLAIN = {"mps"}


def is_there(device: str | torch.device) -> bool:
    """Tell whether this machine has a device.

    Parameters
    ----------
    device : str or torch.device
        The device.

    Returns
    -------
    bool
        Whether tensors can be there.
    """
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError):
        return False
    return True


def this_or_cpu(device: str | torch.device) -> torch.device:
    """Give a device if this machine has it.

    Parameters
    ----------
    device : str or torch.device
        The device.

    Returns
    -------
    torch.device
        The same, or the CPU.
    """
    return torch.device(device if is_there(device) else "cpu")


def is_plain(device: torch.device) -> bool:
    """Tell whether a device has neither float64 nor products of sparse rows.

    Parameters
    ----------
    device : torch.device
        The device.

    Returns
    -------
    bool
        Whether it is one of Apple's.
    """
    return device.type in PLAIN


def with_float64(device: torch.device) -> torch.device:
    """Give a device that has float64.

    Parameters
    ----------
    device : torch.device
        The device that is wanted.

    Returns
    -------
    torch.device
        The same, or the CPU.
    """
    return torch.device("cpu") if is_plain(device) else device


def on_cpu(module: nn.Module) -> nn.Module:
    """Copy a module to the CPU, with no second copy where it is.

    Parameters
    ----------
    module : nn.Module
        The module; it stays as it is.

    Returns
    -------
    nn.Module
        The copy.
    """
    copies: dict[int, torch.Tensor] = {
        id(values): nn.Parameter(values.detach().cpu(), values.requires_grad)
        for values in module.parameters()
    }
    copies |= {id(values): values.cpu() for values in module.buffers()}
    return deepcopy(module, copies)  # which takes what it is given as done already
