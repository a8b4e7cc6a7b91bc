"""Base of the modules with a gradient in closed form over the pairs of a batch."""
# SPDX-License-Identifier: BSD-3-Clause

from abc import abstractmethod

import torch
from torch import Tensor

from sklrec.modules._pairs import Pairs
from sklrec.modules._rating_module import Penalty, RatingModule


class PairModule(RatingModule):
    """Base of the modules that read users and items and have a gradient in closed form."""

    @torch.no_grad()
    def backward_squared_error(  # type: ignore[override]
        self,
        users: Tensor,
        items: Tensor,
        ratings: Tensor,
        sample_weight: Tensor | None = None,
        *,
        alpha: Penalty = 0.0,
        reduction: str = "mean",
    ) -> tuple[Tensor, Tensor]:
        """Add the gradient of the penalised squared error of a batch to the tables' ``grad``.

        Parameters
        ----------
        users : Tensor of shape (n,)
            User codes.
        items : Tensor of shape (n,)
            Item codes.
        ratings : Tensor of shape (n,)
            The ratings.
        sample_weight : Tensor of shape (n,), default=None
            Weight of each rating, 1 if ``None``.
        alpha : float or dict of str to Tensor, default=0.0
            Factor of the penalty on the rows of each rating, or that of each row by the names of
            the tables.
        reduction : {'mean', 'sum'}, default='mean'
            Whether to use the gradient of the weighted mean, or of half the weighted sum.

        Returns
        -------
        loss : Tensor of shape ()
            The weighted mean of the squared errors, in units of the ratings. It does not contain
            the penalty, as with torch's ``weight_decay``.
        predictions : Tensor of shape (n,)
            The predictions of ``forward`` for the batch.
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
        alpha: Penalty = 0.0,
        reduction: str = "mean",
    ) -> tuple[Tensor, Tensor]:
        """Add the gradient of pairs that are grouped already; see `backward_squared_error`."""
