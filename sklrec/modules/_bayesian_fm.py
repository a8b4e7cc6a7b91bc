"""Factorisation machine over users, items and side features, as draws from its posterior."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor

from sklrec.modules._bayesian import FactorDraws

SIDES = ("user", "item", "context")


class BayesianFactorizationMachine(FactorDraws):
    r"""Predict a rating from many posterior draws of a factorisation machine.

    The row of a user is the sum of an own row and of the rows of the user's side features. The
    row of an item is made in the same way. The context of a rating, such as its month, has only
    rows of side features. A draw predicts the sum of the products of the factors of each two of
    these three rows, and of their biases. A factorisation machine also has products inside a row;
    here they are part of the biases.

    The prediction is the mean over the draws. Its variance has three parts: the variance between
    the draws, the prior variance of unknown users and items, and the noise of the ratings. The
    parameters are the means of the draws; they are not trained by gradients.

    With `stars`, the draws predict the mean of a latent Gaussian of variance 1. The thresholds
    between which it lies determine the star.

    Parameters
    ----------
    n_users : int
        Number of known users.
    n_items : int
        Number of known items.
    n_factors : int, default=16
        Number of columns of all tables, without the bias.
    n_user_values : sequence of int, default=()
        Number of values of each side feature of users, the missing value included.
    n_item_values : sequence of int, default=()
        Number of values of each side feature of items, the missing value included.
    n_context_values : sequence of int, default=()
        Number of values of each side feature of ratings, the missing value included.
    stars : Tensor of shape (n_stars,), default=None
        The possible ratings, in increasing order. ``None`` means real ratings with Gaussian noise.
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
    Rendle (2010), "Factorization Machines", :doi:`10.1109/ICDM.2010.127`; Freudenthaler,
    Schmidt-Thieme, Rendle (2011), "Bayesian Factorization Machines", NeurIPS workshop on sparse
    representation and low-rank approximation; Salakhutdinov, Mnih (2008), "Bayesian Probabilistic
    Matrix Factorization using Markov Chain Monte Carlo", :doi:`10.1145/1390156.1390267`.

    Examples
    --------
    >>> import torch
    >>> from sklrec.modules import BayesianFactorizationMachine
    >>> module = BayesianFactorizationMachine(3, 4, n_factors=2, n_user_values=[3])
    >>> generator = torch.Generator().manual_seed(0)
    >>> module = module.set_draws(
    ...     users=torch.randn(8, 4, 3, generator=generator),
    ...     items=torch.randn(8, 5, 3, generator=generator),
    ...     noise=torch.ones(8),
    ...     user_covariances=torch.eye(3).expand(8, 3, 3),
    ...     item_covariances=torch.eye(3).expand(8, 3, 3),
    ...     user_values=torch.randn(8, 3, 3, generator=generator),
    ... )
    >>> module(torch.tensor([1, 3]), torch.tensor([4, 0])).shape
    torch.Size([2])
    """

    def __init__(
        self,
        n_users: int,
        n_items: int,
        n_factors: int = 16,
        *,
        n_user_values: Sequence[int] = (),
        n_item_values: Sequence[int] = (),
        n_context_values: Sequence[int] = (),
        stars: Tensor | None = None,
        global_mean: float = 0.0,
        scale: float = 1.0,
        init_std: float = 0.1,
        generator: torch.Generator | None = None,
    ):
        super().__init__(
            n_users,
            n_items,
            n_factors,
            global_mean=global_mean,
            scale=scale,
            init_std=init_std,
            generator=generator,
        )
        self.groups = {
            side: list(pairwise(accumulate(sizes, initial=0)))
            for side, sizes in zip(
                SIDES, (n_user_values, n_item_values, n_context_values), strict=True
            )
        }
        width = n_factors + 1
        for side, n_rows in (("user", n_users + 1), ("item", n_items + 1), ("context", 1)):
            groups = self.groups[side]
            n_values = groups[-1][1] if groups else 0
            self.register_buffer(f"{side}_value_draws", torch.zeros(0, n_values, width))
            # The first value of each feature is the missing one, with which all rows start.
            missing = torch.tensor([first for first, _ in groups], dtype=torch.int64)
            self.register_buffer(f"{side}_values", missing.repeat(n_rows, 1))
            self.register_buffer(f"{side}_weights", torch.ones(n_rows, len(groups)))
        self.stars: Tensor | None
        self.threshold_draws: Tensor
        self.register_buffer("stars", stars)
        n_thresholds = 0 if stars is None else len(stars) - 1
        self.register_buffer("threshold_draws", torch.zeros(0, n_thresholds, dtype=torch.float64))

    @torch.no_grad()
    def set_features(self, side: str, values: Tensor, weights: Tensor) -> None:
        """Set the side features of all users, or of all items.

        If there are draws, the parameters become the means of the rows with these features.

        Parameters
        ----------
        side : {'user', 'item'}
            The side.
        values : Tensor of shape (n_rows, n)
            Positions in the table of values, for each code. Row 0 is the unknown ID.
        weights : Tensor of shape (n_rows, n)
            Weights of the values, 0 for padding.
        """
        setattr(self, f"{side}_values", values)
        setattr(self, f"{side}_weights", weights)
        self._set_means(side)

    @torch.no_grad()
    def set_draws(
        self,
        *draws: Any,
        user_values: Tensor | None = None,
        item_values: Tensor | None = None,
        context_values: Tensor | None = None,
        thresholds: Tensor | None = None,
        **further: Any,
    ) -> "BayesianFactorizationMachine":
        """Replace the draws, and set the parameters to the means of the rows.

        These rows contain the side features of `set_features`.

        Parameters
        ----------
        *draws : Tensor
            In this order, or by name: `users` and `items`, the own rows of shape (n_draws,
            n_users + 1, n_factors + 1) and (n_draws, n_items + 1, n_factors + 1), with the bias
            in the last column and the unknown ID in row 0; `noise` of shape (n_draws,), the
            variance of the noise in units of the squared scale; `user_covariances` and
            `item_covariances` of shape (n_draws, n_factors + 1, n_factors + 1), the covariances
            of the row of an unknown ID; `user_noise` of shape (n_draws, n_users + 1), by which
            the noise of a user is multiplied, if it is not 1.
        user_values : Tensor of shape (n_draws, n_values, n_factors + 1), default=None
            Factors and biases of the values of users' side features.
        item_values : Tensor of shape (n_draws, n_values, n_factors + 1), default=None
            Factors and biases of the values of items' side features.
        context_values : Tensor of shape (n_draws, n_values, n_factors + 1), default=None
            Factors and biases of the values of ratings' side features.
        thresholds : Tensor of shape (n_draws, n_stars - 1), default=None
            Thresholds between the stars.
        **further : Tensor
            The tensors of `draws`, by name.

        Returns
        -------
        BayesianFactorizationMachine
            This module.
        """
        super().set_draws(*draws, **further)
        none = self.user_draws[:, :0]
        of_values = user_values, item_values, context_values
        for side, values in zip(SIDES, of_values, strict=True):
            name = f"{side}_value_draws"
            setattr(self, name, (none if values is None else values).to(getattr(self, name)))
        if thresholds is not None:
            self.threshold_draws = thresholds.to(self.threshold_draws)
        for side in ("user", "item"):
            self._set_means(side)
        return self

    def _set_means(self, side: str) -> None:
        """Set a side's parameters to the means of its rows, for comparisons of users and of
        items."""
        if not self.groups[side] or not self.n_draws:
            return
        codes = torch.arange(len(getattr(self, f"{side}_values")), device=self.noise.device)
        rows = self._rows(0, side, codes, {})
        for k in range(1, self.n_draws):
            rows += self._rows(k, side, codes, {})
        rows /= self.n_draws
        getattr(self, f"{side}_factors").weight.copy_(rows[:, :-1])
        getattr(self, f"{side}_biases").copy_(rows[:, -1])

    def forward(self, users: Tensor, items: Tensor, **features: Tensor) -> Tensor:
        """Predict one rating for each pair of codes: the mean over the draws.

        Parameters
        ----------
        users : Tensor of shape (n,)
            User codes, 0 for unknown.
        items : Tensor of shape (n,)
            Item codes, 0 for unknown.
        **features : Tensor of shape (n, n_values)
            ``user_values`` and ``user_weights``: positions in the table of values, and their
            weights; the same with ``item`` and ``context``. Users and items without them have
            the side features of `set_features`; a context without them is unknown.

        Returns
        -------
        Tensor of shape (n,)
            Ratings as float64, not clipped.
        """
        return self.moments(users, items, **features)[0]

    def moments(self, users: Tensor, items: Tensor, **features: Tensor) -> tuple[Tensor, Tensor]:
        """Predict means and standard deviations of ratings.

        Parameters
        ----------
        users : Tensor of shape (n,)
            User codes, 0 for unknown.
        items : Tensor of shape (n,)
            Item codes, 0 for unknown.
        **features : Tensor of shape (n, n_values)
            As in ``forward``.

        Returns
        -------
        means : Tensor of shape (n,)
            Ratings as float64, not clipped.
        stds : Tensor of shape (n,)
            Standard deviations of the ratings around the means, noise included.
        """
        if self.stars is not None:
            chances = self.star_probabilities(users, items, **features)
            stars = self._from_ratings(self.stars, self.scale)
            mean = chances @ stars
            variance = chances @ stars.square() - mean.square()
            return self._to_ratings(mean), self.scale * variance.clamp(min=0).sqrt()
        return super().moments(users, items, **features)

    def star_probabilities(self, users: Tensor, items: Tensor, **features: Tensor) -> Tensor:
        """Predict the probability of each star.

        Parameters
        ----------
        users : Tensor of shape (n,)
            User codes, 0 for unknown.
        items : Tensor of shape (n,)
            Item codes, 0 for unknown.
        **features : Tensor of shape (n, n_values)
            As in ``forward``.

        Returns
        -------
        Tensor of shape (n, n_stars)
            The probabilities as float64; each row sums to 1.
        """
        n_thresholds = self.threshold_draws.shape[1]
        below = torch.zeros(n_thresholds, len(users), dtype=torch.float64, device=users.device)
        for k in range(self.n_draws):
            centre, variance = self._draw(k, users, items, **features)
            spread = (1 + variance).sqrt()
            for number, threshold in enumerate(self.threshold_draws[k]):
                below[number] += torch.special.ndtr((threshold - centre) / spread)
        ends = below.new_zeros(1, len(users)), below.new_ones(1, len(users))
        return torch.cat([ends[0], below / self.n_draws, ends[1]]).diff(dim=0).T.clamp(min=0)

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
            Ratings of unknown contexts, not clipped.
        """
        return self._to_ratings(self._pair_scores(users, items))

    def _pair_scores(self, users: Tensor, items: Tensor) -> Tensor:
        scores = torch.zeros(len(users), len(items), device=users.device)
        stars = None if self.stars is None else self._from_ratings(self.stars, scores)
        for k in range(self.n_draws):
            p, q = self._rows(k, "user", users, {}), self._rows(k, "item", items, {})
            context = self._rows(k, "context", users[:1] * 0, {})
            p, q = p + context, q.clone()
            # (p + t)·(q + t) - t·t = p·q + p·t + t·q; the bias of t is part of p already.
            q[:, :-1] += context[:, :-1]
            centres = p[:, :-1] @ q[:, :-1].T
            centres += p[:, -1:] - context[:, :-1].square().sum()
            centres += q[:, -1]
            centres = centres.float()
            if stars is None:
                scores += centres
                continue
            scores += stars[-1]
            spread = (1 + self._of_unknown_pairs(k, users, items, p, q)).sqrt()
            for number, threshold in enumerate(self.threshold_draws[k].to(centres)):
                step = stars[number + 1] - stars[number]
                scores -= step * torch.special.ndtr((threshold - centres) / spread)
        return scores / self.n_draws

    def _draw(
        self, k: int, users: Tensor, items: Tensor, **features: Tensor
    ) -> tuple[Tensor, Tensor]:
        p, q = self._rows(k, "user", users, features), self._rows(k, "item", items, features)
        centres = self._ratings(p, q)
        if self.groups["context"]:
            context = self._rows(k, "context", users * 0, features)
            centres = centres + ((p + q)[:, :-1] * context[:, :-1]).sum(1) + context[:, -1]
            p, q = p + context, q + context
        return centres, self._of_unknown(k, users, items, p, q)

    def _rows(self, k: int, side: str, codes: Tensor, features: dict[str, Tensor]) -> Tensor:
        """Return one draw's rows of a side, with the terms of its side features."""
        # A sum in this order does not depend on the number of padded columns.
        values, weights = (
            features[name] if name in features else getattr(self, name)[codes]
            for name in (f"{side}_values", f"{side}_weights")
        )
        table = getattr(self, f"{side}_value_draws")[k].double()
        rows = table.new_zeros(len(codes), self.n_factors + 1)
        for value, weight in zip(values.T, weights.T, strict=True):
            rows += table[value] * weight.unsqueeze(1)
        return rows if side == "context" else rows + getattr(self, f"{side}_draws")[k, codes]

    def _of_unknown_pairs(
        self, k: int, users: Tensor, items: Tensor, p: Tensor, q: Tensor
    ) -> Tensor:
        """Compute `_of_unknown` for all pairs of users and items."""
        extra = p.new_zeros(len(users), len(items))
        for codes, partner, covariances, axis in (
            (users, q, self.user_covariances, 0),
            (items, p, self.item_covariances, 1),
        ):
            feature = partner.clone()
            feature[:, -1] = 1  # factor of the bias
            variances = ((feature @ covariances[k].to(feature)) * feature).sum(1)
            unknown = (codes == 0).to(p)
            extra += variances.unsqueeze(axis) * unknown.unsqueeze(1 - axis)
        factors = slice(self.n_factors), slice(self.n_factors)
        both = (self.user_covariances[k][factors] * self.item_covariances[k][factors].T).sum()
        return extra + both * torch.outer((users == 0).to(p), (items == 0).to(p))
