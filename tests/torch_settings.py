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
def other_dtypes_without_gradients():
    dtype = default(torch.set_default_dtype, torch.float32, torch.float64)
    with dtype, torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        yield


@contextlib.contextmanager
def another_device_in_inference_mode():
    device = default(torch.set_default_device, None, "meta")  # its tensors hold no values
    deterministic = default(torch.use_deterministic_algorithms, False, True)
    with device, deterministic, torch.inference_mode():
        yield


SETTINGS = other_dtypes_without_gradients, another_device_in_inference_mode


def settings_of_torch():
    return (
        torch.get_default_dtype(),
        torch.empty(0).device,
        torch.is_autocast_enabled("cpu"),
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.are_deterministic_algorithms_enabled(),
    )
