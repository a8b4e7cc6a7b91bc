"""Callbacks and contexts for the timing of a training."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

import torch
from skorch.callbacks import Callback


class Clock(Callback):
    """Seconds of all epochs, without the encoding of the IDs."""

    def on_train_begin(self, net, **kwargs):
        self.start = perf_counter()

    def on_train_end(self, net, **kwargs):
        self.seconds = perf_counter() - self.start


@contextmanager
def torch_threads(n: int) -> Iterator[None]:
    """Set the number of torch's threads in this process for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)
