"""Settings of torch that hold for a whole process or a block of code."""
# SPDX-License-Identifier: BSD-3-Clause

import contextlib

import torch


@contextlib.contextmanager
def default(set_default, ours, value):
    set_default(value)
    try:
        yield
    finally:
        set_default(ours)


@contextlib.contextmanager
def other_settings():
    """Set all of them to something else at once."""
    with contextlib.ExitStack() as stack:
        for block in (
            default(torch.set_default_dtype, torch.float32, torch.float64),
            default(torch.set_default_device, None, "meta"),  # its tensors hold no values
            default(torch.use_deterministic_algorithms, False, True),
            torch.autocast("cpu", torch.bfloat16),
            torch.inference_mode(),
        ):
            stack.enter_context(block)
        yield


def settings_of_torch():
    return (
        torch.get_default_dtype(),
        torch.empty(0).device,
        torch.is_autocast_enabled("cpu"),
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.are_deterministic_algorithms_enabled(),
    )
