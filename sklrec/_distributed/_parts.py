"""How a batch is cut into a part for each process."""
# SPDX-License-Identifier: BSD-3-Clause

from typing import Any, NamedTuple

import torch
from torch import Tensor

from sklrec._distributed._processes import Processes


class Part(NamedTuple):
    """What a process has of a batch.

    Parameters
    ----------
    weight : Tensor of shape (n,) or None
        What half the sum of squared errors weighs each rating by, so that the gradients of all
        parts add up to that of the batch; 1 if ``None``.
    alpha_factor : float or Tensor of shape ()
        What the penalty is multiplied by for the same reason.
    rows : slice
        Which of the batch's ratings these are.
    n_rows : int
        How many ratings the batch has.
    is_empty : bool
        Whether they are those of another process, and weigh nothing here.
    """

    weight: Tensor | None
    alpha_factor: float | Tensor
    rows: slice
    n_rows: int
    is_empty: bool


class Cut:
    """How batches are cut into parts.

    A process for which nothing is left takes a rating with a weight of 0: all of them go through
    the same steps, so that none waits for an exchange that another one leaves out.

    Parameters
    ----------
    processes : Processes
        Who gets the parts.
    reduction : {'mean', 'sum'}
        What of the batch's squared errors the optimiser minimises.
    """

    def __init__(self, processes: Processes, reduction: str):
        self.processes = processes
        self.reduction = reduction

    def range(self, n: int) -> tuple[slice, bool]:
        """Give this process's share of a number of things.

        Parameters
        ----------
        n : int
            How many there are, at least one.

        Returns
        -------
        rows : slice
            Which of them.
        is_empty : bool
            Whether none is left for it, and it has one of another process.
        """
        k, count = self.processes.index, self.processes.count
        first, last = n * k // count, n * (k + 1) // count
        return (slice(0, 1), True) if first == last else (slice(first, last), False)

    def __call__(self, X: dict[str, Any], ratings: Tensor) -> tuple[dict[str, Any], Tensor]:
        """Cut a batch.

        Parameters
        ----------
        X : dict of str to Tensor
            What the module takes, and ``sample_weight`` if there is any.
        ratings : Tensor of shape (n,)
            The ratings.

        Returns
        -------
        X : dict of str to Tensor
            The same of this process's ratings, and as ``part`` the `Part` that they are.
        ratings : Tensor of shape (n_own,)
            This process's ratings.
        """
        if "lengths" in X:
            return self._whole_sequences(X, ratings)
        rows, is_empty = self.range(len(ratings))
        own = {name: values[rows] for name, values in X.items()}
        return self.weighed(own, X.get("sample_weight"), rows, len(ratings), is_empty), ratings[
            rows
        ]

    def weighed(
        self,
        own: dict[str, Any],
        sample_weight: Tensor | None,
        rows: slice,
        n_rows: int,
        is_empty: bool,
    ) -> dict[str, Any]:
        """Say what part of a batch it is that this process has.

        Parameters
        ----------
        own : dict of str to Tensor
            What the module takes of this process's ratings, and their ``sample_weight`` if there
            is any.
        sample_weight : Tensor of shape (n_rows,) or None
            Weights of the whole batch.
        rows : slice
            Which of the batch's ratings are this process's.
        n_rows : int
            How many ratings the batch has.
        is_empty : bool
            Whether they are those of another process.

        Returns
        -------
        dict of str to object
            `own` with the `Part` as ``part``.
        """
        weight = own.get("sample_weight")
        if is_empty:
            some = next(iter(own.values()))
            weight = torch.zeros(rows.stop - rows.start, device=some.device)
            own["sample_weight"] = weight
        if self.reduction == "mean":
            total = n_rows if sample_weight is None else sample_weight.sum()
            if weight is None:
                some = next(iter(own.values()))
                weight = torch.ones(rows.stop - rows.start, device=some.device)
            weight = weight * (2 / total)
        own["part"] = Part(weight, 1.0, rows, n_rows, is_empty)
        return own

    def _whole_sequences(
        self, X: dict[str, Any], ratings: Tensor
    ) -> tuple[dict[str, Any], Tensor]:
        pieces, is_empty = self.range(len(X["lengths"]))
        bounds = torch.tensor([pieces.start, pieces.stop], device=ratings.device)
        rows = slice(*torch.searchsorted(X["sequences"], bounds).tolist())
        of_pieces = {"past_items", "past_ratings", "past_gaps", "lengths"}
        own = {name: values[pieces if name in of_pieces else rows] for name, values in X.items()}
        own["sequences"] = own["sequences"] - pieces.start
        all_weights = X.get("sample_weight")
        own = self.weighed(own, all_weights, rows, len(ratings), is_empty)
        # Their penalty is one number a batch, which counts as often as the ratings weigh, and
        # is spread over as many as there are.
        factor: float | Tensor = float(not is_empty)
        if all_weights is not None and not is_empty:
            factor = all_weights.mean() / all_weights[rows].mean()
        own["part"] = own["part"]._replace(alpha_factor=factor)
        return own, ratings[rows]
