"""Matrix factorisation whose rows have Gaussian distributions."""
# SPDX-License-Identifier: BSD-3-Clause

import torch
from torch import Tensor

from sklrec.modules._matrix_factorization import NUMBERS_AT_ONCE, MatrixFactorization

SIDES = ("user", "item")


class GaussianMatrixFactorization(MatrixFactorization):
    r"""Predict a rating from Gaussian distributions of a user's and an item's factors.

    .. math:: \hat r_{ui} = \mu + \sigma (b_u + b_i + \langle p_u, q_i \rangle)

    The bias and the factors of a user have a mean and a joint covariance matrix, and so do those
    of an item. The prediction is the mean of the product. Its variance contains the covariances
    and the noise of the ratings. Code 0 is an unknown user or item, whose row has the
    distribution that the model learned for all rows of its side. The parameters are the means;
    they are not trained by gradients. Means are in float64, covariances in float32.

    A covariance matrix is stored as its upper triangle, row by row. The bias comes first.

    Parameters
    ----------
    n_users : int
        Number of known users.
    n_items : int
        Number of known items.
    n_factors : int, default=16
        Number of columns of both factor tables.
    svdpp : bool, default=False
        Whether there are tables of SVD++ terms. They are part of the means already;
        ``BayesianMFRegressor.fold_in`` reads the tables.
    global_mean : float, default=0.0
        The constant :math:`\mu`, in units of the ratings.
    scale : float, default=1.0
        The constant :math:`\sigma`, in units of the ratings.

    See Also
    --------
    sklrec.BayesianMFRegressor : The scikit-learn estimator around this module.

    References
    ----------
    Lim, Teh (2007), "Variational Bayesian Approach to Movie Rating Prediction", KDD Cup and
    Workshop.

    Examples
    --------
    >>> import torch
    >>> from sklrec.modules import GaussianMatrixFactorization
    >>> module = GaussianMatrixFactorization(n_users=3, n_items=4, n_factors=2, global_mean=3.5)
    >>> means, std = module.moments(torch.tensor([1, 0]), torch.tensor([4, 0]))
    >>> means
    tensor([3.5000, 3.5000], dtype=torch.float64)
    """

    def __init__(
        self,
        n_users: int,
        n_items: int,
        n_factors: int = 16,
        *,
        svdpp: bool = False,
        global_mean: float = 0.0,
        scale: float = 1.0,
    ):
        generator = torch.Generator()  # the tables start at zero
        super().__init__(n_users, n_items, n_factors, init_std=0.0, generator=generator)
        self.double()
        self.svdpp = svdpp
        self.global_mean.fill_(global_mean)
        self.scale.fill_(scale)
        for parameter in self.parameters():
            parameter.requires_grad_(False)
        width = n_factors + 1
        n_packed = width * (width + 1) // 2
        self.noise_variance: Tensor
        self.residual_variance: Tensor
        self.user_noise: Tensor
        self.user_covariances: Tensor
        self.user_terms: Tensor
        self.item_terms: Tensor
        # Variance of predictions, and the one of the fit, in which many rows may be unsure.
        self.register_buffer("noise_variance", torch.ones((), dtype=torch.float64))
        self.register_buffer("residual_variance", torch.ones((), dtype=torch.float64))
        self.register_buffer("user_noise", torch.ones(n_users + 1))
        for side, n_rows, n_partners in (
            ("user", n_users + 1, n_items + 1),
            ("item", n_items + 1, n_users + 1),
        ):
            self.register_buffer(f"{side}_covariances", torch.zeros(n_rows, n_packed))
            # Of the own parts of rows; row 0 of the tables adds the SVD++ terms.
            for name, size in (("mean", width), ("covariance", n_packed)):
                prior = torch.zeros(size, dtype=torch.float64)
                self.register_buffer(f"{side}_prior_{name}", prior)
            self.register_buffer(f"{side}_terms", torch.zeros(n_partners * svdpp, width))
            self.register_buffer(f"{side}_term_covariance", torch.zeros(n_packed * svdpp))

    def means(self, side: str) -> Tensor:  # (n_rows + 1, n_factors + 1)
        """Return the means of all rows, with the bias first.

        Parameters
        ----------
        side : {'user', 'item'}
            The side.

        Returns
        -------
        Tensor of shape (n_rows + 1, n_factors + 1)
            The means. Row 0 is that of an unknown ID.
        """
        biases = getattr(self, f"{side}_biases").unsqueeze(1)
        return torch.cat([biases, getattr(self, f"{side}_factors").weight], 1)

    def set_means(self, side: str, means: Tensor) -> None:
        """Set the means of all rows.

        Parameters
        ----------
        side : {'user', 'item'}
            The side.
        means : Tensor of shape (n_rows + 1, n_factors + 1)
            The means, with the bias first.
        """
        getattr(self, f"{side}_biases").copy_(means[:, 0])
        getattr(self, f"{side}_factors").weight.copy_(means[:, 1:])

    @torch.no_grad()
    def moments(self, users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        r"""Predict means and standard deviations of ratings.

        With means :math:`p` and :math:`q` of the factors, :math:`x = (1, q)`, :math:`y = (1, p)`
        and covariances S and T of the user and the item, the variance is

        .. math:: \sigma^2 (x^\top S x + y^\top T y + \sum_{jk} S_{jk} T_{jk} + \text{noise})

        where the sum is over factors only.

        Parameters
        ----------
        users : Tensor of shape (n,)
            User codes, 0 for unknown.
        items : Tensor of shape (n,)
            Item codes, 0 for unknown.

        Returns
        -------
        means : Tensor of shape (n,)
            Ratings, not clipped.
        std : Tensor of shape (n,)
            Standard deviations of ratings around their means.
        """
        n_rows = max(1, NUMBERS_AT_ONCE // self.user_covariances.shape[1])
        parts = zip(users.split(n_rows), items.split(n_rows), strict=True)
        variance = torch.cat([self._variances(*part) for part in parts])
        return self(users, items), self.scale * variance.clamp(min=0).sqrt()

    def _variances(self, users: Tensor, items: Tensor) -> Tensor:
        width = self.n_factors + 1
        rows, columns = torch.triu_indices(width, width, device=users.device)
        times = torch.where(rows == columns, 1.0, 2.0).double()  # the lower triangle
        S, T = (
            getattr(self, f"{side}_covariances")[codes].double()
            for side, codes in (("user", users), ("item", items))
        )
        x, y = self.item_factors(items), self.user_factors(users)
        x, y = (torch.cat([v.new_ones(len(v), 1), v], 1) for v in (x, y))
        variance = (S * x[:, rows] * x[:, columns] + T * y[:, rows] * y[:, columns]) @ times
        variance += (S * T) @ (times * (rows > 0))
        return variance + self.noise_variance * self.user_noise[users]

    @torch.no_grad()
    def grow(
        self, n_users: int, n_items: int, generator: torch.Generator | None = None
    ) -> "GaussianMatrixFactorization":
        """Append rows of new users and items, with the distribution of an unknown row.

        Parameters
        ----------
        n_users : int
            New number of users, at least the current one.
        n_items : int
            New number of items, at least the current one.
        generator : torch.Generator, default=None
            Not used.

        Returns
        -------
        GaussianMatrixFactorization
            This module; its existing rows are unchanged.
        """
        before = {side: self.means(side) for side in SIDES}
        super().grow(n_users, n_items, generator or torch.Generator())
        for side, n_rows in (("user", n_users + 1), ("item", n_items + 1)):
            self.set_means(side, _longer(before[side], n_rows))
            name = f"{side}_covariances"
            setattr(self, name, _longer(getattr(self, name), n_rows))
        self.user_noise = _longer(self.user_noise, n_users + 1)
        if self.svdpp:
            # Row 0 of the terms is their prior mean.
            self.user_terms = _longer(self.user_terms, n_items + 1)
            self.item_terms = _longer(self.item_terms, n_users + 1)
        return self


def _longer(table: Tensor, n_rows: int) -> Tensor:
    """Append copies of row 0."""
    more = table[:1].expand(n_rows - len(table), *table.shape[1:])
    return torch.cat([table, more])
