"""How many threads torch gets for work that comes in small pieces."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from threading import Lock, Thread

import torch

# Numbers in a batch for each thread. Threads meet after every operation. If one of them has lost
# its processor to another program by then, all wait for it, thousands of times in a fit, which
# was measured to make it 50 times as slow; on an idle machine the second thread saves a third.
NUMBERS_PER_THREAD = 2**19


# A sweep over all ratings comes in about so many pieces: rows of about equal length, each.
PIECES_OF_SWEEP = 8

# Held for the moment in which new threads would begin with a number that is meant for another.
_lowering = Lock()


@contextmanager
def threads_for(batch_size: int, n_columns: int) -> Iterator[None]:
    """Let torch use only as many threads as a batch keeps busy, at least one.

    This is for the Python thread that asks. Others, and those to come, keep their number.

    Parameters
    ----------
    batch_size : int
        Rows in a batch.
    n_columns : int
        Numbers in a row.
    """
    enough = max(1, batch_size * n_columns // NUMBERS_PER_THREAD)
    with _lowering:
        before = torch.get_num_threads()
    try:
        if enough < before:
            with _lowering:
                torch.set_num_threads(enough)
                _begin_new_threads_with(before)
        yield
    finally:
        if torch.get_num_threads() != before:
            torch.set_num_threads(before)


def threads_for_sweeps(n_ratings: int, n_columns: int) -> AbstractContextManager[None]:
    """Let torch use only as many threads as sweeps over all ratings keep busy, at least one.

    Parameters
    ----------
    n_ratings : int
        Number of ratings.
    n_columns : int
        Numbers in a row.

    Returns
    -------
    context manager
        For the time of the sweeps.
    """
    return threads_for(n_ratings // PIECES_OF_SWEEP, n_columns)


def _begin_new_threads_with(n_threads: int) -> None:
    """Let new Python threads begin with a number of torch's threads.

    Each has a number of its own, and begins with the one that was set last, by whichever thread.
    So the number of this one stays if another sets it.

    Parameters
    ----------
    n_threads : int
        The number of threads.
    """
    setter = Thread(target=torch.set_num_threads, args=(n_threads,), daemon=True)
    with suppress(RuntimeError):  # no thread can be started: Python is about to end
        setter.start()
        setter.join()
