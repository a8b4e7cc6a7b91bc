"""Networks that users write, in a state: their tensors, without code."""
# SPDX-License-Identifier: BSD-3-Clause

from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from sklrec._utils.runtime import this_or_cpu
from sklrec._utils.state.kinds import NUMBER, Choice, Kind, Plain, Record
from sklrec._utils.state.modules import DEVICE, tensors_of

OWNERS = Choice("user", "item", "value")


@dataclass(frozen=True)
class StoredNetwork:
    """What a file holds of a network, until the estimator has made it."""

    device: torch.device
    global_mean: float
    scale: float
    tables: dict[str, str]
    tensors: dict[str, np.ndarray]

    def into(self, rating: Any) -> Any:
        """Copy the tensors into a new rating module, and return it."""
        expected = _tensors(rating)
        if expected.keys() != self.tensors.keys():
            different = sorted(expected.keys() ^ self.tensors.keys())[0]
            raise ValueError(
                f"the file and the network do not both have the tensor {different!r:.100}. Pass "
                "the class that was fitted"
            )
        with torch.no_grad():
            for name, values in self.tensors.items():
                found, tensor = expected[name], torch.tensor(values)
                if (tensor.shape, tensor.dtype) != (found.shape, found.dtype):
                    raise ValueError(
                        f"the file has {name!r:.100} with the shape {tuple(tensor.shape)} and "
                        f"{tensor.dtype}, but the network has {tuple(found.shape)} and "
                        f"{found.dtype}. Pass the class that was fitted"
                    )
                found.copy_(tensor)
        tables = dict(rating.named_parameters())
        for name, owner in self.tables.items():
            if name not in tables or tables[name].shape[:1] != (rating.sizes[f"n_{owner}s"] + 1,):
                raise ValueError(f"{name:.100} should be a table of n_{owner}s + 1 rows")
        rating.tables = self.tables
        return rating.eval().to(this_or_cpu(self.device))


class Network(Kind):
    """A network that a user wrote; a pickle holds the object."""

    def pack(self, value, raw):
        device = str(value.global_mean.device)
        if raw:
            return {"device": device, "network": deepcopy(value).cpu()}
        return {
            "device": device,
            "global_mean": value.global_mean.item(),
            "scale": value.scale.item(),
            "tables": dict(value.tables),
            "tensors": {n: v.detach().cpu().numpy() for n, v in _tensors(value).items()},
        }

    def unpack(self, packed, place):
        if place.raw:
            return packed["network"].to(this_or_cpu(packed["device"]))
        fields: dict[str, Kind] = {"device": Plain(str), "global_mean": NUMBER, "scale": NUMBER}
        fields |= {"tables": Kind(), "tensors": Kind()}
        device, mean, scale, tables, tensors = Record(fields).unpack(packed, place).values()
        if not DEVICE.fullmatch(device):
            place.to("device").refuse(f"should be a device of torch, got {device[:50]!r}")
        for name, owner in place.to("tables").checked(tables).items():
            OWNERS.unpack(owner, place.to("tables").to(name[:100]))
        place.to("tensors").checked(tensors)
        for name, values in tensors.items():
            if not isinstance(values, np.ndarray):
                place.to("tensors").to(name[:100]).refuse("should be an array")
        return StoredNetwork(torch.device(device), mean, scale, tables, tensors)


def _tensors(rating: nn.Module) -> dict[str, torch.Tensor]:
    """Tensors of a rating module without its mean and scale."""
    numbers = "global_mean", "scale"
    return {name: v for name, v in tensors_of(rating).items() if name not in numbers}
