"""Number of torch threads for work in small pieces."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from threading import Lock, Thread

import torch

# Numbers in a batch for each thread. All threads wait for the slowest one after each operation.
# If another program uses the core of one thread, a fit was measured to take 50 times as long. On
# an idle machine the second thread saves a third of the time.
NUMBERS_PER_THREAD = 2**19

# A sweep over all ratings works on rows of about equal length together, in about this many pieces.
PIECES_OF_SWEEP = 8

# Held while the number that new threads start with is a temporary one.
_lowering = Lock()


@contextmanager
def threads_for(batch_size: int, n_columns: int) -> Iterator[None]:
    """Lower the number of torch threads of this Python thread to what a batch can use."""
    enough = max(1, batch_size * n_columns // NUMBERS_PER_THREAD)
    with _lowering:
        before = torch.get_num_threads()
    try:
        if enough < before:
            with _lowering:
                torch.set_num_threads(enough)
                _start_new_threads_with(before)
        yield
    finally:
        if torch.get_num_threads() != before:
            torch.set_num_threads(before)


def threads_for_sweeps(n_ratings: int, n_columns: int) -> AbstractContextManager[None]:
    """Lower the number of torch threads to what sweeps over all ratings can use."""
    return threads_for(n_ratings // PIECES_OF_SWEEP, n_columns)


def _start_new_threads_with(n_threads: int) -> None:
    """Set the number of torch threads that new Python threads start with."""
    # Each Python thread has its own number and starts with the last one that any thread set. So a
    # short-lived thread sets it, and the number of this thread stays.
    setter = Thread(target=torch.set_num_threads, args=(n_threads,), daemon=True)
    with suppress(RuntimeError):  # no thread can start while Python shuts down
        setter.start()
        setter.join()
