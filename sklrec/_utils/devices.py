"""Capabilities of torch devices."""
# SPDX-License-Identifier: BSD-3-Clause

import torch

# Devices that have neither float64 nor products of sparse rows (CSR): those of Apple.
PLAIN = {"mps"}


def is_there(device: str | torch.device) -> bool:
    """Whether this machine has a device."""
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError):
        return False
    return True


def this_or_cpu(device: str | torch.device) -> torch.device:
    """Return the device if this machine has it, else the CPU."""
    return torch.device(device if is_there(device) else "cpu")


def is_plain(device: torch.device) -> bool:
    """Whether a device has neither float64 nor products of sparse rows."""
    return device.type in PLAIN


def with_float64(device: torch.device) -> torch.device:
    """Return the device if it has float64, else the CPU."""
    return torch.device("cpu") if is_plain(device) else device


def to_widest(values: torch.Tensor, device: str | torch.device) -> torch.Tensor:
    """Move floats to a device in float64, or in float32 if the device has no float64."""
    if is_plain(torch.device(device)):
        return values.float().to(device)
    return values.to(device).double()
