"""What torch runs on: devices, processes, threads, memory and random generators."""
# SPDX-License-Identifier: BSD-3-Clause

import atexit
import ctypes
import os
import platform
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from functools import cache
from threading import Thread, get_ident
from typing import Any

import numpy as np
import torch
from torch import distributed

from sklrec._utils.extras import import_extra
from sklrec._utils.forks import ForkLock
from sklrec._utils.versions import accelerator_types

# Devices that have neither float64 nor products of sparse rows (CSR), as on Apple's chips.
PLAIN = {"mps"}
# Values in a batch for each thread. All threads wait for the slowest one after each operation. If
# another program uses the core of one thread, a fit was measured to take 50 times as long. On an
# idle machine the second thread saves a third of the time.
VALUES_PER_THREAD = 2**19
# Approximate number of batches in a sweep. Each batch has the rows with about the same number of
# ratings.
BATCHES_PER_SWEEP = 8
# torch.set_num_threads also changes the default of new Python threads. `threads_for` holds this
# lock until it has restored the default.
_default_lock = ForkLock()
LARGEST_BLOCK = 31 * 2**20  # glibc does not adapt to larger blocks
# Numbers of glibc's settings M_TRIM_THRESHOLD and M_MMAP_THRESHOLD, and the values that glibc
# sets itself after it has freed a block of 32 MiB.
THRESHOLDS = {-1: 64 * 2**20, -3: 32 * 2**20}


class _Float32:
    """Blocks of all threads in which float32 is the default dtype."""

    # The default dtype belongs to the process. So the first block sets it, and the last one
    # restores it.

    def __init__(self) -> None:
        self._lock = ForkLock(self._after_fork)
        self._blocks: set[tuple[int, object]] = set()
        self._before = torch.float32

    def enter(self, block: tuple[int, object]) -> None:
        """Start a block, which is the number of its thread and an object of its own."""
        with self._lock.lock:
            if not self._blocks:
                self._before = torch.get_default_dtype()
            self._blocks.add(block)
            torch.set_default_dtype(torch.float32)

    def leave(self, block: tuple[int, object]) -> None:
        """End a block; nothing happens if it has not started."""
        with self._lock.lock:
            if block in self._blocks:
                self._blocks.remove(block)
                if not self._blocks:
                    torch.set_default_dtype(self._before)

    def _after_fork(self) -> None:
        """End the blocks of the threads that a forked process does not have."""
        if self._blocks:
            self._blocks = {block for block in self._blocks if block[0] == get_ident()}
            if not self._blocks:
                torch.set_default_dtype(self._before)


_float32 = _Float32()


@contextmanager
def own_settings() -> Iterator[None]:
    """Run a public function with torch's usual settings, and restore those of the user."""
    # Deterministic algorithms stay as the user has set them: on CPUs they change no result.
    # Ctrl-C can end a context before Python knows that it has begun, so that its end is never
    # called. The mode of gradients and the dtype are restored in any case. So are the settings of
    # the contexts of NumPy and `warnings`, else Ctrl-C could silence all later warnings.
    has_gradients, block = torch.is_grad_enabled(), (get_ident(), object())
    errors, filters = np.geterr(), warnings.filters
    try:
        _float32.enter(block)
        with torch.inference_mode(False), ExitStack() as stack:  # turns gradients on, too
            if default_device_type() != "cpu":  # in the block, each call takes longer
                stack.enter_context(torch.device("cpu"))
            for name in {"cpu"} | accelerator_types():
                if torch.is_autocast_enabled(name):
                    stack.enter_context(torch.autocast(name, enabled=False))
            yield
    except (KeyboardInterrupt, SystemError) as error:
        # Functions in C that do not expect Ctrl-C raise a SystemError from it.
        is_ctrl_c = isinstance(error, KeyboardInterrupt)
        if not (is_ctrl_c or isinstance(error.__cause__ or error.__context__, KeyboardInterrupt)):
            raise
        np.seterr(**errors)
        warnings.filters = filters
        if is_ctrl_c:
            raise
        raise KeyboardInterrupt from error
    finally:
        _float32.leave(block)
        torch.set_grad_enabled(has_gradients)


def default_device_type() -> str:
    """Type of the device on which torch now makes tensors."""
    return torch.empty(0).device.type  # torch 2.6 tells another device in some cases


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


@contextmanager
def no_denormals() -> Iterator[None]:
    """Round numbers too small for full precision to 0, in this thread alone."""
    # Penalties shrink the weights of a unit that no rating needs at every step, until they are
    # denormal. Products with such weights took up to 100 times as long.
    smallest = 5e-324
    is_set = smallest * 1.0 == 0  # as where the processor rounds already
    if not is_set:
        # Threads that start inside the block inherit the setting and keep it. This starts those
        # of torch before.
        torch.ones(2**15 * torch.get_num_threads()).add_(1)
        torch.set_flush_denormal(True)
    try:
        yield
    finally:
        if not is_set:
            torch.set_flush_denormal(False)


def new_generator(rng: np.random.RandomState) -> torch.Generator:
    """Make a generator of torch with a random seed from NumPy's generator."""
    return torch.Generator().manual_seed(int(rng.randint(2**31 - 1)))


@contextmanager
def threads_for(batch_size: int, n_columns: int) -> Iterator[None]:
    """Use no more torch threads than a batch needs, in this Python thread only."""
    n_needed = max(1, batch_size * n_columns // VALUES_PER_THREAD)
    with _default_lock.lock:
        before = torch.get_num_threads()
    try:
        if n_needed < before:
            with _default_lock.lock:
                torch.set_num_threads(n_needed)
                _set_default_of_new_threads(before)
        yield
    finally:
        if torch.get_num_threads() != before:
            torch.set_num_threads(before)


def threads_for_sweeps(n_ratings: int, n_columns: int) -> AbstractContextManager[None]:
    """Use no more torch threads than a batch of a sweep over all ratings needs."""
    return threads_for(n_ratings // BATCHES_PER_SWEEP, n_columns)


def _set_default_of_new_threads(n_threads: int) -> None:
    """Set the number of torch threads of Python threads that start later."""
    # Each Python thread has its own number of torch threads. A new one takes the number that any
    # thread set last. So a short-lived thread sets it, and the number of this thread stays.
    setter = Thread(target=torch.set_num_threads, args=(n_threads,), daemon=True)
    with suppress(RuntimeError):  # no thread can start while Python shuts down
        setter.start()
        setter.join()


def keep_freed_memory(batch_size: int, n_columns: int) -> None:
    """Make glibc keep the memory of a batch for the next one; other C libraries do not change."""
    # glibc returns freed memory to the system unless it has once freed a larger block. Without
    # this, an epoch took up to 3.5 times as long.
    _undo_trimming()
    # Several tables of this size are in use at once. The block is never written to.
    n_bytes = 4 * batch_size * n_columns * torch.float32.itemsize
    torch.empty(min(n_bytes, LARGEST_BLOCK), dtype=torch.uint8)


@cache
def _undo_trimming() -> None:
    """Set glibc's thresholds if MALLOC_TRIM_THRESHOLD_ is set without MALLOC_MMAP_THRESHOLD_."""
    # Dask sets this variable for its workers. It stops glibc from adapting to larger blocks, and
    # fits took 2 to 4 times as much CPU time. A user who sets both variables has chosen them.
    is_set = "MALLOC_TRIM_THRESHOLD_" in os.environ and "MALLOC_MMAP_THRESHOLD_" not in os.environ
    if is_set and platform.libc_ver()[0] == "glibc":
        mallopt = ctypes.CDLL(None).mallopt
        for name, n_bytes in THRESHOLDS.items():
            mallopt(name, n_bytes)


def join_processes() -> Any:
    """State of Accelerate for all launched processes, or for this process alone."""
    accelerate = import_extra("accelerate", "distributed", "device='accelerate'")
    is_launched = int(os.environ.get("WORLD_SIZE", "1")) > 1
    has_gpus = torch.accelerator.is_available() and not torch.backends.mps.is_available()
    wants_cpu = os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "yes")
    # Accelerate joins processes without GPUs only with cpu=True.
    state = accelerate.PartialState(cpu=wants_cpu or (is_launched and not has_gpus))
    if is_launched and state.num_processes == 1:
        raise ValueError(
            "device='accelerate' needs all processes that were launched, but Accelerate was set "
            "up before for this process alone. Call PartialState(cpu=True) before anything else "
            "of Accelerate, or do not set it up before fit."
        )
    atexit.unregister(_leave)  # once, however often this function runs
    atexit.register(_leave)
    return state


def is_shared(device: str | torch.device) -> bool:
    """Whether several processes train together on this device."""
    return device == "accelerate" and join_processes().num_processes > 1


def accelerate_device() -> torch.device:
    """Device that Accelerate gives to this process."""
    return join_processes().device


def common_random_state(rng: np.random.RandomState) -> np.random.RandomState:
    """Random state that the first process seeds for all processes."""
    state = join_processes()
    if state.num_processes == 1:
        return rng
    seed = torch.tensor([rng.randint(2**31 - 1)], device=state.device)
    distributed.broadcast(seed, 0)
    return np.random.RandomState(int(seed.item()))


def _leave() -> None:
    """End the group before Python ends; else threads of gloo abort about one run in five."""
    if distributed.is_initialized():
        distributed.destroy_process_group()
