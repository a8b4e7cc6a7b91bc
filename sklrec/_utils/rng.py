"""Generators of torch, and its global random state for what takes no generator of its own."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def own_random_state(generator: torch.Generator, device: str | torch.device) -> Iterator[None]:
    """Seed torch's global generators, from which dropout draws, and give their states back.

    Parameters
    ----------
    generator : torch.Generator
        Its initial seed is the seed; nothing is drawn from it.
    device : str or torch.device
        Whose generator is seeded besides the CPU's.
    """
    device = torch.device(device)
    others = [] if device.type == "cpu" else [device]
    with torch.random.fork_rng(others, device_type=device.type):
        torch.default_generator.manual_seed(generator.initial_seed())
        if others:  # manual_seed() would seed the current device, which may be another
            seeded = torch.Generator(device).manual_seed(generator.initial_seed())
            torch.get_device_module(device.type).set_rng_state(seeded.get_state(), device)
        yield


def new_generator(rng: np.random.RandomState) -> torch.Generator:
    """Seed a generator by a draw.

    Parameters
    ----------
    rng : RandomState instance
        Where the seed is drawn from.

    Returns
    -------
    torch.Generator
        The generator.
    """
    return torch.Generator().manual_seed(int(rng.randint(2**31 - 1)))
