"""Random generators of torch, and a seeded block for code that uses torch's global one."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def own_random_state(generator: torch.Generator, device: str | torch.device) -> Iterator[None]:
    """Seed torch's global generators with the seed of a generator, and restore them afterwards."""
    device = torch.device(device)
    others = [] if device.type == "cpu" else [device]
    with torch.random.fork_rng(others, device_type=device.type):
        torch.default_generator.manual_seed(generator.initial_seed())
        if others:  # torch.manual_seed would seed the current device, which may be another one
            seeded = torch.Generator(device).manual_seed(generator.initial_seed())
            torch.get_device_module(device.type).set_rng_state(seeded.get_state(), device)
        yield


def new_generator(rng: np.random.RandomState) -> torch.Generator:
    """Make a generator of torch with a random seed from NumPy's generator."""
    return torch.Generator().manual_seed(int(rng.randint(2**31 - 1)))
