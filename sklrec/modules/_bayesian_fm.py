"""A factorisation machine over users, items and side features, as draws from its posterior."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor

from sklrec.modules._bayesian import BayesianMatrixFactorization

SIDES = ("user", "item", "context")


class BayesianFactorizationMachine(BayesianMatrixFactorization):
    r"""Predict a rating from many draws of a factorisation machine.

    A user's row is the sum of its own and of those of its side features' values, and so is an
    item's; a rating's context has a row of its features alone. A draw predicts the sum of the
    products of each two of the three rows' factors and of their biases. That is a factorisation
    machine, but for products inside a row, which only move a bias.

    With `stars` the draws predict the centre of a latent Gaussian of variance 1, whose place
    among thresholds says which star it is.

    Parameters
    ----------
    n_users : int
        Number of known users.
    n_items : int
        Number of known items.
    n_factors : int, default=16
        Number of columns of all tables but for the bias.
    n_user_values : sequence of int, default=()
        For each side feature of users, how many values it has, the missing one included.
    n_item_values : sequence of int, default=()
        The same of items.
    n_context_values : sequence of int, default=()
        The same of what belongs to ratings.
    stars : Tensor of shape (n_stars,), default=None
        The values that ratings have, in increasing order; ``None`` if noise is added to what the
        draws predict.
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
    representation and low-rank approximation.

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
            # At first nothing is known of any row: each feature's first value is the missing one.
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
        """Say what all users, or all items, are described by.

        With draws, their parameters become the means of the rows that they have by that.

        Parameters
        ----------
        side : {'user', 'item'}
            Which side.
        values : Tensor of shape (n_rows, n)
            Rows of the table of values, for each code; those of an unknown ID in row 0.
        weights : Tensor of shape (n_rows, n)
            What they are multiplied by, 0 for padding.
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
        """Replace the draws, and set the parameters to the means of whole rows.

        Whole are rows with those of the side features that `set_features` named.

        Parameters
        ----------
        *draws : Tensor
            What `BayesianMatrixFactorization.set_draws` takes; rows are without those of side
            features.
        user_values : Tensor of shape (n_draws, n_values, n_factors + 1), default=None
            Factors and biases of the values of users' side features.
        item_values : Tensor of shape (n_draws, n_values, n_factors + 1), default=None
            The same of items.
        context_values : Tensor of shape (n_draws, n_values, n_factors + 1), default=None
            The same of what belongs to ratings.
        thresholds : Tensor of shape (n_draws, n_stars - 1), default=None
            Thresholds between the stars.
        **further : Tensor
            As `draws`, by name.

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
        """Set a side's parameters to the means of its whole rows, so that those compare."""
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
            ``user_values``, ``user_weights`` and the same of ``item`` and ``context``: rows of
            the tables of values and what they are multiplied by. Where they are left out, what
            `set_features` said of users and items; nothing is known of a context.

        Returns
        -------
        Tensor of shape (n,)
            Ratings, not clipped.
        """
        return self.moments(users, items, **features)[0]

    def moments(self, users: Tensor, items: Tensor, **features: Tensor) -> tuple[Tensor, Tensor]:
        """Predict ratings and how much they may differ from that.

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
            Ratings, not clipped.
        stds : Tensor of shape (n,)
            Standard deviations of ratings around them, noise included.
        """
        if self.stars is not None:
            chances = self.star_probabilities(users, items, **features)
            stars = self.stars.double()
            mean = chances @ stars
            variance = chances @ stars.square() - mean.square()
            return mean.float(), variance.clamp(min=0).sqrt().float()
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
            found, variance = self._draw(k, users, items, **features)
            spread = (1 + variance).sqrt()
            for number, threshold in enumerate(self.threshold_draws[k]):
                below[number] += torch.special.ndtr((threshold - found) / spread)
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
            Ratings, not clipped, of contexts of which nothing is known.
        """
        ratings = torch.zeros(len(users), len(items), device=users.device)
        stars = self.stars
        for k in range(self.n_draws):
            p, q = self._rows(k, "user", users, {}), self._rows(k, "item", items, {})
            context = self._rows(k, "context", users[:1] * 0, {})
            p, q = p + context, q.clone()
            # (p + t)·(q + t) - t·t = p·q + p·t + t·q; the bias of t has come with p already
            q[:, :-1] += context[:, :-1]
            found = p[:, :-1] @ q[:, :-1].T
            found += p[:, -1:] - context[:, :-1].square().sum()
            found += q[:, -1]
            found = found.float()
            if stars is None:
                ratings += self.global_mean + self.scale * found
                continue
            ratings += stars[-1]
            spread = (1 + self._of_unknown_pairs(k, users, items, p, q)).sqrt()
            for number, threshold in enumerate(self.threshold_draws[k].to(found)):
                step = stars[number + 1] - stars[number]
                ratings -= step * torch.special.ndtr((threshold - found) / spread)
        return ratings / self.n_draws

    def _draw(
        self, k: int, users: Tensor, items: Tensor, **features: Tensor
    ) -> tuple[Tensor, Tensor]:
        p, q = self._rows(k, "user", users, features), self._rows(k, "item", items, features)
        found = self._ratings(p, q)
        if self.groups["context"]:
            context = self._rows(k, "context", users * 0, features)
            found = found + ((p + q)[:, :-1] * context[:, :-1]).sum(1) + context[:, -1]
            p, q = p + context, q + context
        return found, self._of_unknown(k, users, items, p, q)

    def _rows(self, k: int, side: str, codes: Tensor, features: dict[str, Tensor]) -> Tensor:
        """One draw's rows of a side, those of side features included.

        Added one after the other, so that any number of paddings changes nothing.
        """
        values, weights = (
            features[name] if name in features else getattr(self, name)[codes]
            for name in (f"{side}_values", f"{side}_weights")
        )
        table = getattr(self, f"{side}_value_draws")[k].double()
        found = table.new_zeros(len(codes), self.n_factors + 1)
        for value, weight in zip(values.T, weights.T, strict=True):
            found += table[value] * weight.unsqueeze(1)
        return found if side == "context" else found + getattr(self, f"{side}_draws")[k, codes]

    def _of_unknown_pairs(
        self, k: int, users: Tensor, items: Tensor, p: Tensor, q: Tensor
    ) -> Tensor:
        """As `_of_unknown`, for all pairs of users and items."""
        extra = p.new_zeros(len(users), len(items))
        for codes, partner, covariances, axis in (
            (users, q, self.user_covariances, 0),
            (items, p, self.item_covariances, 1),
        ):
            feature = partner.clone()
            feature[:, -1] = 1  # what multiplies the bias
            variances = ((feature @ covariances[k].to(feature)) * feature).sum(1)
            unknown = (codes == 0).to(p)
            extra += variances.unsqueeze(axis) * unknown.unsqueeze(1 - axis)
        factors = slice(self.n_factors), slice(self.n_factors)
        both = (self.user_covariances[k][factors] * self.item_covariances[k][factors].T).sum()
        return extra + both * torch.outer((users == 0).to(p), (items == 0).to(p))
