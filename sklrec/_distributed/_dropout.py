"""Dropout of a part of a batch."""
# SPDX-License-Identifier: BSD-3-Clause

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sklrec._distributed._parts import Part


class PartOfDropout(nn.Dropout):
    """Dropout that draws for a whole batch what it drops of a part.

    Together, the processes so drop what one would drop.

    Parameters
    ----------
    p : float
        Share of what is dropped.
    """

    part: Part

    def forward(self, values: Tensor) -> Tensor:
        """Drop some of the values.

        Parameters
        ----------
        values : Tensor of shape (n, ...)
            What belongs to the ratings of a part.

        Returns
        -------
        Tensor of the shape of `values`
            Those that are left, scaled up.
        """
        if not self.training or self.p == 0:
            return values
        whole = torch.ones((self.part.n_rows, *values.shape[1:]), device=values.device)
        return values * F.dropout(whole, self.p)[self.part.rows]
