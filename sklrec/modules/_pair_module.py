"""What the modules share whose gradient is in closed form, over the pairs of a batch."""
# SPDX-License-Identifier: BSD-3-Clause

from abc import abstractmethod

import torch
from torch import Tensor

from sklrec.modules._pairs import Pairs
from sklrec.modules._rating_module import RatingModule


class PairModule(RatingModule):
    """Base of the modules that read a user and an item, and make their gradient themselves."""

    @torch.no_grad()
    def backward_squared_error(  # type: ignore[override]
        self,
        users: Tensor,
        items: Tensor,
        ratings: Tensor,
        sample_weight: Tensor | None = None,
        *,
        alpha: float = 0.0,
        reduction: str = "mean",
    ) -> tuple[Tensor, Tensor]:
        """Add the gradient of a batch's penalised squared error to the tables' ``grad``.

        Parameters
        ----------
        users : Tensor of shape (n,)
            User codes.
        items : Tensor of shape (n,)
            Item codes.
        ratings : Tensor of shape (n,)
            Ratings to be predicted.
        sample_weight : Tensor of shape (n,), default=None
            Weight of each rating, 1 if ``None``.
        alpha : float, default=0.0
            What the penalty on the rows that the batch touches is multiplied by, once for each
            rating.
        reduction : {'mean', 'sum'}, default='mean'
            Whether the gradient is that of the mean or that of half the sum.

        Returns
        -------
        loss : Tensor of shape ()
            The weighted mean of the squared errors, in units of the ratings. As with torch's
            ``weight_decay``, the penalty is not in it.
        predictions : Tensor of shape (n,)
            What ``forward`` returns for the batch.
        """
        pairs = Pairs(users, items, sample_weight)
        return self.backward_of_pairs(
            pairs, ratings, sample_weight, alpha=alpha, reduction=reduction
        )

    @abstractmethod
    def backward_of_pairs(
        self,
        pairs: Pairs,
        ratings: Tensor,
        sample_weight: Tensor | None = None,
        *,
        alpha: float = 0.0,
        reduction: str = "mean",
    ) -> tuple[Tensor, Tensor]:
        """Do what `backward_squared_error` does for pairs that were grouped before."""
