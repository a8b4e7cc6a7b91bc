"""Networks in a state: the arguments of their class, and their tensors."""
# SPDX-License-Identifier: BSD-3-Clause

import re
from collections.abc import Sequence
from typing import Any, get_type_hints

import numpy as np
import torch
from torch import nn

from sklrec._utils.runtime import this_or_cpu
from sklrec._utils.state.kinds import (
    BOOL,
    NUMBER,
    Array,
    Int,
    Kind,
    Many,
    Optional,
    Part,
    Plain,
    Record,
)

DEVICE = re.compile(r"cpu|mps|(cuda|xpu)(:\d{1,3})?")


# Kinds of arguments by their types.
_KINDS: dict[Any, Kind] = {int: Int(), float: NUMBER, bool: BOOL}
_KINDS[Sequence[int]] = Many(Int(), range(1000), tuple)
_KINDS[torch.Tensor | None] = Optional(Array("float64", (None,)))


class Module(Part):
    """A network, by the arguments of its class and its tensors.

    The types of the arguments are those of its constructor. Integers and tuples among them are
    sizes. A network on the device "meta", made from them, tells the names, dtypes and shapes of
    the tensors. Those that hold codes or have a free length are declared in `_tensors`.
    """

    def pack_object(self, value, raw):
        arguments, tensors = _arguments(type(value)), tensors_of(value)
        return {
            "device": str(next(iter(tensors.values())).device),
            "arguments": arguments.pack({n: _plain(value, n) for n in arguments.fields}, raw),
            "tensors": {name: _numpy(tensor) for name, tensor in tensors.items()},
        }

    def unpack_object(self, cls, packed, place):
        parts = {"device": Plain(str), "arguments": _arguments(cls), "tensors": Kind()}
        device, arguments, tensors = Record(parts).unpack(packed, place).values()
        if not (place.raw or DEVICE.fullmatch(device)):
            place.to("device").refuse(f"should be a device of torch, got {device[:50]!r}")
        for name, value in arguments.items():
            if isinstance(value, int | tuple) and not place.agree(name, value):
                place.refuse(f"should have {name} {place.size(name)}, got {value}")
            if isinstance(value, np.ndarray):
                arguments[name] = torch.tensor(value)
        with torch.device("meta"):
            module = cls(**arguments)
        expected = {
            name: Array(str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape))
            for name, tensor in tensors_of(module).items()
        }
        expected |= getattr(cls, "_tensors", {})
        for name, values in Record(expected).unpack(tensors, place.to("tensors")).items():
            _replace(module, name, values)
        return module.eval().to(this_or_cpu(device))


def _arguments(cls: Any) -> Record:
    hints = get_type_hints(cls.__init__).items()
    return Record({name: _KINDS[hint] for name, hint in hints if hint in _KINDS})


def _plain(module: nn.Module, name: str) -> Any:
    value = getattr(module, name)
    if isinstance(value, torch.Tensor):
        return _numpy(value) if value.ndim else value.item()
    return value.p if isinstance(value, nn.Dropout) else value


def _numpy(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy()


def tensors_of(module: nn.Module) -> dict[str, torch.Tensor]:
    """All parameters and buffers, also those that are not in the state_dict."""
    return dict([*module.named_parameters(), *module.named_buffers()])


def _replace(module: nn.Module, name: str, values: np.ndarray) -> None:
    path, _, last = name.rpartition(".")
    owner = module.get_submodule(path)
    before = getattr(owner, last)
    tensor = torch.tensor(values)  # aligned as by torch, on which the last digits may depend
    if isinstance(before, nn.Parameter):
        tensor = nn.Parameter(tensor, before.requires_grad)
    setattr(owner, last, tensor)
