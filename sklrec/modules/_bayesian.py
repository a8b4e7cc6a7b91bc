"""Matrix factorisation as draws from the posterior distribution of its tables."""
# SPDX-License-Identifier: BSD-3-Clause

import torch
from torch import Tensor

from sklrec.modules._matrix_factorization import MatrixFactorization

_OF_A_DRAW = ("user_draws", "item_draws", "noise", "user_covariances", "item_covariances")


class BayesianMatrixFactorization(MatrixFactorization):
    r"""Predict a rating from many draws of the factors and biases of a matrix factorisation.

    Each draw predicts as `MatrixFactorization` does; the prediction is the mean over the draws.
    Its standard deviation is made of three parts: how far the draws disagree, what an unknown
    user or item might be by the prior distribution, and the noise of the ratings.

    The parameters are the means of the draws; nothing here is trained by gradients.

    Parameters
    ----------
    n_users : int
        Number of known users.
    n_items : int
        Number of known items.
    n_factors : int, default=16
        Number of columns of both factor tables.
    biased : bool, default=True
        Whether there are a global mean and user and item biases.
    global_mean : float, default=0.0
        The mean of the ratings.
    scale : float, default=1.0
        The standard deviation of the ratings.
    init_std : float, default=0.1
        Standard deviation of the factors' random start.
    generator : torch.Generator, default=None
        Source of the random start; ``None`` is torch's global one.

    See Also
    --------
    sklrec.BayesianMFRegressor : The scikit-learn estimator around this module.

    References
    ----------
    Salakhutdinov, Mnih (2008), "Bayesian Probabilistic Matrix Factorization using Markov Chain
    Monte Carlo", :doi:`10.1145/1390156.1390267`.

    Examples
    --------
    >>> import torch
    >>> from sklrec.modules._bayesian import BayesianMatrixFactorization
    >>> module = BayesianMatrixFactorization(n_users=3, n_items=4, n_factors=2)
    >>> generator = torch.Generator().manual_seed(0)
    >>> tables = [torch.randn(8, n + 1, 3, generator=generator) for n in (3, 4)]
    >>> covariances = torch.eye(3).expand(8, 3, 3)
    >>> module = module.set_draws(*tables, torch.ones(8), covariances, covariances)
    >>> module(torch.tensor([1, 3]), torch.tensor([4, 0])).shape
    torch.Size([2])
    """

    def __init__(
        self,
        n_users: int,
        n_items: int,
        n_factors: int = 16,
        *,
        biased: bool = True,
        global_mean: float = 0.0,
        scale: float = 1.0,
        init_std: float = 0.1,
        generator: torch.Generator | None = None,
    ):
        super().__init__(
            n_users,
            n_items,
            n_factors,
            biased=biased,
            global_mean=global_mean,
            scale=scale,
            init_std=init_std,
            generator=generator,
        )
        width = n_factors + biased
        self.user_draws: Tensor
        self.item_draws: Tensor
        self.noise: Tensor
        self.user_noise: Tensor | None
        self.user_covariances: Tensor
        self.item_covariances: Tensor
        self.register_buffer("user_draws", torch.zeros(0, n_users + 1, width))
        self.register_buffer("item_draws", torch.zeros(0, n_items + 1, width))
        self.register_buffer("noise", torch.zeros(0))
        self.register_buffer("user_noise", None)
        self.register_buffer("user_covariances", torch.zeros(0, width, width))
        self.register_buffer("item_covariances", torch.zeros(0, width, width))
        for parameter in self.parameters():
            parameter.requires_grad_(False)

    @property
    def n_draws(self) -> int:
        """Number of draws."""
        return len(self.noise)

    @torch.no_grad()
    def set_draws(
        self,
        users: Tensor,
        items: Tensor,
        noise: Tensor,
        user_covariances: Tensor,
        item_covariances: Tensor,
        user_noise: Tensor | None = None,
    ) -> "BayesianMatrixFactorization":
        """Replace the draws, and set the parameters to their means.

        Parameters
        ----------
        users : Tensor of shape (n_draws, n_users + 1, n_factors + 1)
            The users' factors and, in the last column unless ``biased=False``, biases; those
            that are expected of an unknown user in row 0.
        items : Tensor of shape (n_draws, n_items + 1, n_factors + 1)
            The same of the items.
        noise : Tensor of shape (n_draws,)
            Variance of the ratings around what the tables predict, in units of `scale` squared.
        user_covariances : Tensor of shape (n_draws, n_factors + 1, n_factors + 1)
            Covariances of an unknown user's factors and bias.
        item_covariances : Tensor of shape (n_draws, n_factors + 1, n_factors + 1)
            Covariances of an unknown item's factors and bias.
        user_noise : Tensor of shape (n_draws, n_users + 1), default=None
            What `noise` is multiplied by for each user; 1 if ``None``.

        Returns
        -------
        BayesianMatrixFactorization
            This module.
        """
        self.user_noise = None if user_noise is None else user_noise.to(self.scale)
        draws = users, items, noise, user_covariances, item_covariances
        for name, values in zip(_OF_A_DRAW, draws, strict=True):
            setattr(self, name, values.to(getattr(self, name)))
        for side in ("user", "item"):
            mean = getattr(self, f"{side}_draws").mean(0)
            getattr(self, f"{side}_factors").weight.copy_(mean[:, : self.n_factors])
            if self.biased:
                getattr(self, f"{side}_biases").copy_(mean[:, -1])
        return self

    def forward(self, users: Tensor, items: Tensor) -> Tensor:
        """Predict one rating for each pair of codes: the mean over the draws.

        Parameters
        ----------
        users : Tensor of shape (n,)
            User codes, 0 for unknown.
        items : Tensor of shape (n,)
            Item codes, 0 for unknown.

        Returns
        -------
        Tensor of shape (n,)
            Ratings, not clipped.
        """
        return self.moments(users, items)[0]

    def moments(self, users: Tensor, items: Tensor, **features: Tensor) -> tuple[Tensor, Tensor]:
        """Predict ratings and how much they may differ from that.

        Parameters
        ----------
        users : Tensor of shape (n,)
            User codes, 0 for unknown.
        items : Tensor of shape (n,)
            Item codes, 0 for unknown.
        **features : Tensor
            What else a subclass's draws predict by.

        Returns
        -------
        means : Tensor of shape (n,)
            Ratings, not clipped.
        stds : Tensor of shape (n,)
            Standard deviations of ratings around them, noise included.
        """
        total, squares = torch.zeros(2, len(users), dtype=torch.float64, device=users.device)
        extra = torch.zeros(len(users), dtype=torch.float64, device=users.device)
        for k in range(self.n_draws):
            found, variance = self._draw(k, users, items, **features)
            total += found
            squares += found.square()
            extra += self._noise(k, users) + variance
        mean = total / self.n_draws
        variance = squares / self.n_draws - mean.square() + extra / self.n_draws
        scale = self.scale.double()
        means = self.global_mean + scale * mean
        return means.float(), (scale * variance.clamp(min=0).sqrt()).float()

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
            Ratings, not clipped.
        """
        ratings = torch.zeros(len(users), len(items), device=users.device)
        for k in range(self.n_draws):
            p, q = self.user_draws[k, users], self.item_draws[k, items]
            ratings.addmm_(p[:, : self.n_factors], q[:, : self.n_factors].T)
            if self.biased:
                ratings += p[:, -1:]
                ratings += q[:, -1]
        return self.global_mean + self.scale * ratings / self.n_draws

    def _draw(
        self, k: int, users: Tensor, items: Tensor, **features: Tensor
    ) -> tuple[Tensor, Tensor]:
        """What one draw predicts, and the variances that come of unknown users and items."""
        p, q = self.user_draws[k, users], self.item_draws[k, items]
        return self._ratings(p, q).double(), self._of_unknown(k, users, items, p, q)

    def _noise(self, k: int, users: Tensor) -> Tensor:
        """Variances of ratings around what one draw predicts."""
        return (
            self.noise[k] if self.user_noise is None else self.noise[k] * self.user_noise[k, users]
        )

    def _of_unknown(self, k: int, users: Tensor, items: Tensor, p: Tensor, q: Tensor) -> Tensor:
        """Variances that come of users or items being unknown, by one draw's priors."""
        extra = p.new_zeros(len(users))
        for codes, partner, covariances in (
            (users, q, self.user_covariances),
            (items, p, self.item_covariances),
        ):
            unknown = codes == 0
            if unknown.any():
                feature = partner[unknown].clone()
                if self.biased:
                    feature[:, -1] = 1  # what multiplies the bias
                extra[unknown] += ((feature @ covariances[k].to(feature)) * feature).sum(1)
        both = (users == 0) & (items == 0)
        if both.any():
            factors = slice(self.n_factors), slice(self.n_factors)
            products = self.user_covariances[k][factors] * self.item_covariances[k][factors].T
            extra[both] += products.sum().to(extra)
        return extra

    def _ratings(self, p: Tensor, q: Tensor) -> Tensor:
        """Dot products of factors, and biases, without mean and scale."""
        if not self.biased:
            return (p * q).sum(1)
        return (p[:, :-1] * q[:, :-1]).sum(1) + p[:, -1] + q[:, -1]
