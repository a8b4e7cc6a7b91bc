"""Number of torch threads for small batches."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from threading import Lock, Thread

import torch

# Values in a batch for each thread. All threads wait for the slowest one after each operation. If
# another program uses the core of one thread, a fit was measured to take 50 times as long. On an
# idle machine the second thread saves a third of the time.
VALUES_PER_THREAD = 2**19

# Approximate number of batches in a sweep. Each batch has the rows with about the same number of
# ratings.
BATCHES_PER_SWEEP = 8

# torch.set_num_threads also changes the default of new Python threads. `threads_for` holds this
# lock until it has restored the default.
_default_lock = Lock()


@contextmanager
def threads_for(batch_size: int, n_columns: int) -> Iterator[None]:
    """Use no more torch threads than a batch needs, in this Python thread only."""
    n_needed = max(1, batch_size * n_columns // VALUES_PER_THREAD)
    with _default_lock:
        before = torch.get_num_threads()
    try:
        if n_needed < before:
            with _default_lock:
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
