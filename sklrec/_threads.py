"""How many threads torch gets for work that comes in small pieces."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch

# Numbers in a batch for each thread. Threads meet after every operation. If one of them has lost
# its processor to another program by then, all wait for it, thousands of times in a fit, which
# was measured to make it 50 times as slow; on an idle machine the second thread saves a third.
NUMBERS_PER_THREAD = 2**19


# A sweep over all ratings comes in about so many pieces: rows of about equal length, each.
PIECES_OF_SWEEP = 8


@contextmanager
def threads_for(batch_size: int, n_columns: int) -> Iterator[None]:
    """Let torch use only as many threads as a batch keeps busy, at least one.

    Parameters
    ----------
    batch_size : int
        Rows in a batch.
    n_columns : int
        Numbers in a row.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(min(before, max(1, batch_size * n_columns // NUMBERS_PER_THREAD)))
    try:
        yield
    finally:
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
