"""The processes of a training: how they meet, and what they tell each other."""
# SPDX-License-Identifier: BSD-3-Clause

import atexit
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from sklrec._distributed._checksum import checksum

# How long a process waits for another, unless the script joined them before: torch's own half an
# hour is long for a training that has already failed.
TIMEOUT = timedelta(minutes=5)


class Processes:
    """The processes of a training, as Hugging Face Accelerate joined them.

    Parameters
    ----------
    state : accelerate.PartialState
        What Accelerate knows of them.

    Attributes
    ----------
    index : int
        Which of them this one is.
    count : int
        How many there are.
    device : torch.device
        Where this one trains: its own GPU, or the CPU.
    """

    def __init__(self, state: Any):
        self.index: int = state.process_index
        self.count: int = state.num_processes
        self.device: torch.device = state.device

    @classmethod
    def joined(cls, device: torch.device) -> Self | None:
        """Join the processes that a launcher started.

        Parameters
        ----------
        device : torch.device
            Where they are to train.

        Returns
        -------
        Processes or None
            ``None`` if this one is alone.

        Raises
        ------
        ImportError
            If Accelerate is not installed.
        ValueError
            If they were joined before, for another device.
        RuntimeError
            If they do not find each other.
        """
        try:
            from accelerate import PartialState
        except ImportError as error:
            raise ImportError(
                "distributed=True needs Hugging Face Accelerate. Install it with "
                "pip install sklrec[distributed], or set distributed=False."
            ) from error
        try:
            state = PartialState(cpu=device.type == "cpu", timeout=TIMEOUT)
        except (RuntimeError, ValueError) as error:
            PartialState._reset_state()  # or Accelerate would take what is half done for done
            raise RuntimeError(
                f"The processes of this training did not find each other ({error}). Check that "
                "all of them were started, with the same address and port of the first one."
            ) from error
        _leave_at_exit()
        started = max(state.num_processes, int(os.environ.get("WORLD_SIZE", "1")))
        if started > 1 and (state.num_processes == 1 or state.device.type != device.type):
            raise ValueError(
                f"device={str(device)!r} was asked for, but Accelerate was set up in this process "
                f"for {state.num_processes} process(es) on {str(state.device)!r}. Call "
                f"PartialState(cpu={device.type == 'cpu'}) before anything else of Accelerate, or "
                "leave it to fit; or set another device."
            )
        return cls(state) if state.num_processes > 1 else None

    def gather(self, values: Tensor) -> Tensor:
        """Give all processes what each of them has.

        Parameters
        ----------
        values : Tensor of shape (n, ...)
            What this one has, in the same shape as the others.

        Returns
        -------
        Tensor of shape (count, n, ...)
            What all of them have.
        """
        from accelerate.utils import gather

        with self._named_failure():
            return gather(values.unsqueeze(0))

    def sum(self, values: Tensor) -> Tensor:
        """Add up what the processes have.

        Parameters
        ----------
        values : Tensor
            What this one has, in the same shape as the others.

        Returns
        -------
        Tensor of the shape of `values`
            The sums, the same numbers in all processes.
        """
        from accelerate.utils import reduce

        with self._named_failure():
            return reduce(values, "sum")

    def copy_first(self, values: Iterable[Tensor]) -> None:
        """Overwrite tensors by those of the first process.

        Parameters
        ----------
        values : iterable of Tensor
            The tensors, of the same shapes in all processes.
        """
        from accelerate.utils import broadcast

        with self._named_failure():
            broadcast(list(values))

    def check_alike(self, **facts: Any) -> None:
        """Raise, in all processes, if they do not have the same data or parameters.

        Parameters
        ----------
        **facts : dict
            What must not differ: datasets, or anything that is told by its ``repr``.

        Raises
        ------
        ValueError
            If something differs.
        """
        checks = [checksum(fact) for fact in facts.values()]
        found = self.gather(torch.tensor(checks, device=self.device)).cpu()
        differs = (found != found[0]).nonzero().tolist()
        if differs:
            process, k = differs[0]
            name = list(facts)[k].replace("_", " ")
            raise ValueError(
                f"The {name} of process {process} is not that of process 0. With "
                "distributed=True all processes need the same X and y, whole and in the same "
                "order, the same parameters and the same checkpoint, if any: fit itself gives "
                "each its part of every batch."
            )

    @contextmanager
    def _named_failure(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:  # torch's own errors of this kind are such too
            raise RuntimeError(
                f"Process {self.index} of {self.count} lost the others in the middle of the "
                f"training, and ends it ({error}). One of them failed, was killed or did not "
                "answer in time: look for the first error in what they printed, then start all of "
                "them again. The estimator is as it was before fit."
            ) from error


def common_random_state(rng: np.random.RandomState, device: torch.device) -> np.random.RandomState:
    """Give all processes the random state of the first.

    Parameters
    ----------
    rng : RandomState instance
        The process's own.
    device : torch.device
        Where they are to train.

    Returns
    -------
    RandomState instance
        A new one, seeded by a draw from the first process's; `rng` if this process is alone.
    """
    processes = Processes.joined(device)
    if processes is None:
        return rng
    seed = torch.tensor([rng.randint(2**31 - 1)], device=processes.device)
    processes.copy_first([seed])
    return np.random.RandomState(int(seed.item()))


def wait_for_all(device: torch.device) -> None:
    """Wait until all processes have come as far.

    Parameters
    ----------
    device : torch.device
        Where they train.
    """
    processes = Processes.joined(device)
    if processes is not None:
        processes.gather(torch.zeros(1, device=processes.device))


def own_device(device: torch.device) -> torch.device:
    """Give the device of this process where there are several.

    Parameters
    ----------
    device : torch.device
        What was asked for; ``cuda`` without a number is a GPU for each process.

    Returns
    -------
    torch.device
        The device.
    """
    if device.type not in ("cpu", "cuda"):
        raise ValueError(
            f"distributed=True trains on device='cpu' or device='cuda', got {str(device)!r}. Set "
            "one of the two, or distributed=False."
        )
    processes = Processes.joined(device)
    return device if processes is None or device.index is not None else processes.device


@cache
def _leave_at_exit() -> None:
    """End what joins the processes before Python ends.

    Else gloo's threads run on into that, and one run in five or so aborts.
    """
    atexit.register(_leave)


def _leave() -> None:
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
