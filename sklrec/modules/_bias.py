"""A global mean and a bias of each user and each item, as a module."""
# SPDX-License-Identifier: BSD-3-Clause

import torch
from torch import Tensor

from sklrec.modules._rating_module import RatingModule

TABLES = ("user_biases", "user_weights", "item_biases", "item_weights")
PENALTIES = ("user_penalty", "item_penalty")
VARIANCES = ("noise_variance", "unknown_user_variance", "unknown_item_variance")


class BiasModel(RatingModule):
    r"""Global mean and biases: :math:`\hat r_{ui} = m + b_u + b_i`.

    All values are buffers in float64, in units of the ratings. No gradient trains them:
    `BiasRegressor` computes them in closed form. They are 0 at first, and the two penalties 1.
    Row 0 of each table belongs to unknown users or items.

    Parameters
    ----------
    n_users : int
        Number of known users.
    n_items : int
        Number of known items.

    Attributes
    ----------
    global_mean : Tensor of shape ()
        The prediction for an unknown user and an unknown item.
    scale : Tensor of shape ()
        Always 1.
    user_biases : Tensor of shape (n_users + 1,)
        The biases of users.
    item_biases : Tensor of shape (n_items + 1,)
        The biases of items.
    user_weights : Tensor of shape (n_users + 1,)
        The sums of the weights of the users' ratings.
    item_weights : Tensor of shape (n_items + 1,)
        The sums of the weights of the items' ratings.
    user_penalty : Tensor of shape ()
        Weight of the prior of a user's bias.
    item_penalty : Tensor of shape ()
        Weight of the prior of an item's bias.
    noise_variance : Tensor of shape ()
        Variance of a rating around its true mean.
    unknown_user_variance : Tensor of shape ()
        Variance of the bias of an unknown user.
    unknown_item_variance : Tensor of shape ()
        Variance of the bias of an unknown item.

    Examples
    --------
    >>> import torch
    >>> from sklrec.modules import BiasModel
    >>> module = BiasModel(n_users=3, n_items=4)
    >>> module(torch.tensor([1, 3, 0]), torch.tensor([4, 1, 0]))
    tensor([0., 0., 0.], dtype=torch.float64)
    """

    user_biases: Tensor
    item_biases: Tensor
    user_weights: Tensor
    item_weights: Tensor
    user_penalty: Tensor
    item_penalty: Tensor
    noise_variance: Tensor
    unknown_user_variance: Tensor
    unknown_item_variance: Tensor

    def __init__(self, n_users: int, n_items: int):
        super().__init__()
        for name in PENALTIES + VARIANCES:
            value = float(name in PENALTIES)
            self.register_buffer(name, torch.tensor(value, dtype=torch.float64))
        for name in TABLES:
            n_rows = 1 + (n_users if name.startswith("user") else n_items)
            self.register_buffer(name, torch.zeros(n_rows, dtype=torch.float64))

    @property
    def n_users(self) -> int:
        """Number of known users."""
        return len(self.user_biases) - 1

    @property
    def n_items(self) -> int:
        """Number of known items."""
        return len(self.item_biases) - 1

    @property
    def width(self) -> int:
        """Largest number of values that one row takes in a tensor."""
        return 1

    def forward(self, users: Tensor, items: Tensor) -> Tensor:
        """Predict one rating for each pair of codes.

        Parameters
        ----------
        users : Tensor of shape (n,)
            User codes, 0 for unknown.
        items : Tensor of shape (n,)
            Item codes, 0 for unknown.

        Returns
        -------
        Tensor of shape (n,)
            Ratings as float64, not clipped.
        """
        return self.global_mean + self.user_biases[users] + self.item_biases[items]

    def moments(self, users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        """Predict the means and standard deviations of ratings.

        Parameters
        ----------
        users : Tensor of shape (n,)
            User codes, 0 for unknown.
        items : Tensor of shape (n,)
            Item codes, 0 for unknown.

        Returns
        -------
        means : Tensor of shape (n,)
            Ratings as float64, not clipped.
        std : Tensor of shape (n,)
            Their standard deviations.
        """
        variance = self.noise_variance
        for side, codes in (("user", users), ("item", items)):
            weights = getattr(self, f"{side}_weights")[codes] + getattr(self, f"{side}_penalty")
            of_unknown = getattr(self, f"unknown_{side}_variance")
            of_known = self.noise_variance / weights
            variance = variance + torch.where(codes == 0, of_unknown, of_known)
        return self(users, items), variance.sqrt()

    def all_pairs(self, users: Tensor, items: Tensor) -> Tensor:
        """Predict the ratings of all pairs of a user and an item.

        Parameters
        ----------
        users : Tensor of shape (n_users,)
            User codes, 0 for unknown.
        items : Tensor of shape (n_items,)
            Item codes, 0 for unknown.

        Returns
        -------
        Tensor of shape (n_users, n_items)
            Ratings as float64, not clipped.
        """
        return self._to_ratings(self._pair_scores(users, items))

    def _pair_scores(self, users: Tensor, items: Tensor) -> Tensor:
        """Compute the ratings of all pairs, without the mean."""
        return self.user_biases[users].unsqueeze(1) + self.item_biases[items]

    def penalty(self, users: Tensor, items: Tensor) -> Tensor:  # type: ignore[override]
        """Return the squared biases of each pair.

        Parameters
        ----------
        users : Tensor of shape (n,)
            User codes.
        items : Tensor of shape (n,)
            Item codes.

        Returns
        -------
        Tensor of shape (n,)
            The sums of the two squares.
        """
        return self.user_biases[users].square() + self.item_biases[items].square()

    def grow(self, n_users: int, n_items: int) -> "BiasModel":
        """Append rows of new users and items to the tables.

        Parameters
        ----------
        n_users : int
            New number of users, at least the current one.
        n_items : int
            New number of items, at least the current one.

        Returns
        -------
        BiasModel
            This module; its existing rows are unchanged.
        """
        for name in TABLES:
            table = getattr(self, name)
            n_rows = 1 + (n_users if name.startswith("user") else n_items)
            setattr(self, name, torch.cat([table, table.new_zeros(n_rows - len(table))]))
        return self
