"""The state of a training to go back to."""
# SPDX-License-Identifier: BSD-3-Clause

from dataclasses import dataclass
from typing import Generic, TypeVar

State = TypeVar("State")


@dataclass
class Best(Generic[State]):
    """The state whose validation loss was lowest so far.

    Parameters
    ----------
    tol : float
        By how much a loss must fall to count as lower.
    patience : int
        Losses in a row that are not lower after which it is over.
    state : object, default=None
        The state, if there is one.
    loss : float, default=inf
        Its loss.
    n_misses : int, default=0
        How many losses in a row were not lower.
    """

    tol: float
    patience: int
    state: State | None = None
    loss: float = float("inf")
    n_misses: int = 0

    def see(self, state: State, loss: float) -> bool:
        """Look at a further state.

        Parameters
        ----------
        state : object
            The state.
        loss : float
            Its validation loss.

        Returns
        -------
        bool
            Whether it is over.
        """
        self.n_misses = 0 if loss < self.loss - self.tol else self.n_misses + 1
        if loss < self.loss:
            self.state, self.loss = state, loss
        return self.n_misses >= self.patience
