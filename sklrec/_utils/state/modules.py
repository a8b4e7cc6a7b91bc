"""Networks in a state: the arguments of their class, and their tensors."""
# SPDX-License-Identifier: BSD-3-Clause

import re
from typing import Any

import numpy as np
import torch
from torch import nn

from sklrec._utils.runtime import this_or_cpu
from sklrec._utils.state.kinds import Array, Part, Plain, Record, pack_fields, unpack_fields

DEVICE = re.compile(r"cpu|mps|(cuda|xpu)(:\d{1,3})?")


class Module(Part):
    """A network.

    Its class declares its arguments in `_state`. Made from them on the device "meta", it tells the
    names, dtypes and shapes of its tensors. Those that hold codes or have a free length are
    declared in `_tensors`.
    """

    def pack_object(self, value, raw):
        arguments = {name: _argument(getattr(value, name)) for name in value._state}
        return {
            "device": str(next(iter(value.buffers())).device),
            "arguments": pack_fields(value._state, arguments, raw),
            "tensors": {name: _numpy(tensor) for name, tensor in _tensors(value).items()},
        }

    def unpack_object(self, cls, packed, place):
        tensors = packed.pop("tensors", None)
        fields = {"device": Plain(str), "arguments": Record(cls._state)}
        device, arguments = unpack_fields(fields, packed, place).values()
        if not (place.raw or DEVICE.fullmatch(device)):
            place.to("device").refuse(f"should be a device of torch, got {device[:50]!r}")
        arrays = {
            n: torch.from_numpy(v) for n, v in arguments.items() if isinstance(v, np.ndarray)
        }
        with torch.device("meta"):
            module = cls(**arguments | arrays)
        expected = {
            name: Array(str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape))
            for name, tensor in _tensors(module).items()
        }
        expected |= getattr(cls, "_tensors", {})
        for name, values in unpack_fields(expected, tensors, place.to("tensors")).items():
            _replace(module, name, values)
        return module.eval().to(this_or_cpu(device))


def _argument(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return _numpy(value)
    return value.p if isinstance(value, nn.Dropout) else value


def _numpy(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy()


def _tensors(module: nn.Module) -> dict[str, torch.Tensor]:
    """All parameters and buffers, also those that are not in the state_dict."""
    return dict([*module.named_parameters(), *module.named_buffers()])


def _replace(module: nn.Module, name: str, values: np.ndarray) -> None:
    path, _, last = name.rpartition(".")
    owner = module.get_submodule(path)
    before = getattr(owner, last)
    tensor = torch.from_numpy(values if values.flags.writeable else values.copy())
    if isinstance(before, nn.Parameter):
        tensor = nn.Parameter(tensor, before.requires_grad)
    setattr(owner, last, tensor)
