"""What the solvers that sweep over both tables share."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from sklrec._net import InteractionTensors
from sklrec._normal_equations import RatingsByRow
from sklrec.modules import MatrixFactorization

SIDES = ("user", "item")


@dataclass
class Tables:
    """Factors and, in the last column, biases of users and items, in units of ``scale``.

    Parameters
    ----------
    user : Tensor of shape (n_users + 1, n_columns)
        The users'.
    item : Tensor of shape (n_items + 1, n_columns)
        The items'.
    biased : bool
        Whether the last column holds biases.
    """

    user: Tensor
    item: Tensor
    biased: bool

    @classmethod
    def of(cls, module: MatrixFactorization) -> "Tables":
        """Copy a module's tables.

        Parameters
        ----------
        module : MatrixFactorization
            The module.

        Returns
        -------
        Tables
            Its tables.
        """
        found = []
        for side in SIDES:
            table = getattr(module, f"{side}_factors").weight.detach().clone()
            if module.biased:
                biases = getattr(module, f"{side}_biases").detach()
                table = torch.cat([table, biases.unsqueeze(1)], 1)
            found.append(table)
        return cls(found[0], found[1], module.biased)

    @torch.no_grad()
    def write(self, module: MatrixFactorization) -> None:
        """Write the tables into a module.

        Parameters
        ----------
        module : MatrixFactorization
            A module of these sizes.
        """
        n_factors = module.n_factors
        for side in SIDES:
            table = getattr(self, side)
            getattr(module, f"{side}_factors").weight.copy_(table[:, :n_factors])
            if module.biased:
                getattr(module, f"{side}_biases").copy_(table[:, -1])

    def copy(self) -> "Tables":
        """Copy the tables.

        Returns
        -------
        Tables
            The copy.
        """
        return Tables(self.user.clone(), self.item.clone(), self.biased)

    def predict(self, users: Tensor, items: Tensor) -> Tensor:
        """Predict the ratings of pairs.

        Parameters
        ----------
        users : Tensor of shape (n,)
            User codes.
        items : Tensor of shape (n,)
            Item codes.

        Returns
        -------
        Tensor of shape (n,)
            Ratings, without mean and scale.
        """
        p, q = self.user.index_select(0, users), self.item.index_select(0, items)
        if not self.biased:
            return (p * q).sum(1)
        return (p[:, :-1] * q[:, :-1]).sum(1) + p[:, -1] + q[:, -1]


class Ratings:
    """Ratings of unit scale, as pairs and by the rows of either side.

    Parameters
    ----------
    module : MatrixFactorization
        What they are to be predicted by.
    data : InteractionTensors
        The ratings.
    """

    def __init__(self, module: MatrixFactorization, data: InteractionTensors):
        self.users, self.items = data.X["users"], data.X["items"]
        self.values = (data.y - module.global_mean) / module.scale
        self.weights = data.X.get("sample_weight")
        n_rows = {"user": module.n_users + 1, "item": module.n_items + 1}
        codes = {"user": self.users.cpu().numpy(), "item": self.items.cpu().numpy()}
        values = self.values.cpu().numpy()
        weights = None if self.weights is None else self.weights.cpu().numpy()
        self.by_row = {
            side: RatingsByRow(
                codes[side],
                codes[other],
                values,
                weights,
                n_rows=n_rows[side],
                n_partners=n_rows[other],
                n_columns=module.n_factors + module.biased,
                biased=module.biased,
                device=data.y.device,
            )
            for side, other in (SIDES, SIDES[::-1])
        }

    def mean_squared_error(self, predictions: Tensor) -> float:
        """Give the weighted mean of the squared errors.

        Parameters
        ----------
        predictions : Tensor of shape (n_ratings,)
            Predictions, without mean and scale.

        Returns
        -------
        float
            The mean.
        """
        errors = (self.values - predictions).double().square()
        if self.weights is None:
            return errors.mean().item()
        return (errors.dot(self.weights.double()) / self.weights.sum()).item()


def progress(n_iter: int, verbose: int, unit: str) -> Iterator[int]:
    """Count, and show a bar if that is wanted.

    Parameters
    ----------
    n_iter : int
        How far.
    verbose : int
        Whether to show a bar.
    unit : str
        What is counted.

    Yields
    ------
    int
        0, 1, ...
    """
    if not verbose:
        yield from range(n_iter)
        return
    from tqdm.auto import trange  # here, since importing it is slow and few need it

    yield from trange(n_iter, desc="fit", unit=unit)
