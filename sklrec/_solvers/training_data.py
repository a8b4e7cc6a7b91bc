"""What is read of the interactions in a training, whether they are in memory or on disk."""
# SPDX-License-Identifier: BSD-3-Clause

from abc import abstractmethod
from collections.abc import Iterator
from typing import Self

import torch
from torch import Tensor
from torch.utils.data import Dataset

Batch = tuple[dict[str, Tensor], Tensor]


class TrainingData(Dataset):
    """Codes, ratings and weights that come in batches."""

    @abstractmethod
    def __len__(self) -> int:
        """Number of interactions."""

    @abstractmethod
    def row_weights(self, name: str, n_rows: int) -> Tensor:
        """Sum the weights of the interactions of each row of a table.

        Parameters
        ----------
        name : str
            The input whose codes say which row an interaction looks up, such as ``"users"``.
        n_rows : int
            Number of rows of the table.

        Returns
        -------
        Tensor of shape (n_rows,)
            The sums, as floats: counts where interactions have no weights.
        """

    @abstractmethod
    def mean_square(self, mean: Tensor) -> float:
        """Average the squared distance of the ratings from a mean, whatever their weights.

        Parameters
        ----------
        mean : Tensor of shape ()
            What is taken off each rating.

        Returns
        -------
        float
            In squared units of the ratings.
        """

    def n_batches(self, batch_size: int) -> int:
        """Count the batches of an epoch.

        Parameters
        ----------
        batch_size : int
            Rows in a batch.

        Returns
        -------
        int
            How many `batches` gives.
        """
        return -(-len(self) // batch_size)

    @abstractmethod
    def batches(
        self, batch_size: int, generator: torch.Generator | None = None
    ) -> Iterator[Batch]:
        """Give the batches of an epoch.

        Parameters
        ----------
        batch_size : int
            Rows in a batch; the last one may have fewer.
        generator : torch.Generator, default=None
            Source of the order; ``None`` keeps the rows in theirs.

        Yields
        ------
        inputs : dict of str to Tensor
            What the module takes, and ``sample_weight`` if there is any.
        ratings : Tensor of shape (n_rows,)
            The ratings.
        """

    @abstractmethod
    def to(self, device: str | torch.device) -> Self:
        """Have batches on a device.

        Parameters
        ----------
        device : str or torch.device
            Where to.

        Returns
        -------
        TrainingData
            This one.
        """
