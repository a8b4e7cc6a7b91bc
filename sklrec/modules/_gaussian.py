"""Matrix factorisation whose rows have Gaussian distributions."""
# SPDX-License-Identifier: BSD-3-Clause

import re
from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise

import torch
from torch import Tensor

from sklrec._utils.packed import GATHERED_AT_ONCE, n_packed, occurrences, outer
from sklrec._utils.state.kinds import Array
from sklrec.modules._matrix_factorization import MatrixFactorization

SIDES = ("user", "item")


class GaussianMatrixFactorization(MatrixFactorization):
    r"""Predict a rating from Gaussian distributions of a user's and an item's factors.

    .. math:: \hat r_{uic} = \mu + \sigma (b_u + b_i + b_c + \langle p_u, q_i \rangle)

    The bias and the factors of a user have a mean and a joint covariance matrix, and so do those
    of an item. A row is the sum of an own part and of the terms of its side features. The context
    c of a rating has only a bias, which is the sum of the biases of its side features. The
    prediction is the mean of the sum. Its variance contains the covariances and the noise of the
    ratings. Code 0 is an unknown user or item, whose row has the distribution that the model
    learned for all rows of its side. The parameters are the means of the rows; they are not
    trained by gradients. Means are in float64, covariances in float32.

    With `stars`, the sum is a latent value. The star is the interval between two thresholds that
    the latent value plus its noise falls into. The prediction is the mean star.

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
    n_user_values : sequence of int, default=()
        Number of values of each side feature of users. The first is the missing value.
    n_item_values : sequence of int, default=()
        Number of values of each side feature of items.
    n_context_values : sequence of int, default=()
        Number of values of each side feature of ratings.
    stars : Tensor of shape (n_stars,), default=None
        The possible ratings, in increasing order. ``None`` means real ratings with Gaussian noise.
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

    _tensors = {
        "user_values": Array("int64", ("n_users+1", "user_width"), "n_user_values"),
        "user_weights": Array("float32", ("n_users+1", "user_width")),
        "item_values": Array("int64", ("n_items+1", "item_width"), "n_item_values"),
        "item_weights": Array("float32", ("n_items+1", "item_width")),
    }

    def __init__(
        self,
        n_users: int,
        n_items: int,
        n_factors: int = 16,
        *,
        svdpp: bool = False,
        n_user_values: Sequence[int] = (),
        n_item_values: Sequence[int] = (),
        n_context_values: Sequence[int] = (),
        stars: Tensor | None = None,
        global_mean: float = 0.0,
        scale: float = 1.0,
    ):
        generator = torch.Generator()  # the tables start at zero
        super().__init__(
            n_users,
            n_items,
            n_factors,
            global_mean=global_mean,
            scale=scale,
            init_std=0.0,
            generator=generator,
        )
        self.double()
        self.svdpp = svdpp
        for parameter in self.parameters():
            parameter.requires_grad_(False)
        width = n_factors + 1
        n = n_packed(width)
        self.noise_variance: Tensor
        self.residual_variance: Tensor
        self.user_noise: Tensor
        self.user_values: Tensor
        self.user_weights: Tensor
        self.item_values: Tensor
        self.item_weights: Tensor
        self.user_covariances: Tensor
        self.item_covariances: Tensor
        self.user_prior_mean: Tensor
        self.user_prior_covariance: Tensor
        self.user_terms: Tensor
        self.item_terms: Tensor
        self.context_biases: Tensor
        self.context_variances: Tensor
        self.stars: Tensor | None
        self.thresholds: Tensor

        def buffer(name: str, *shape: int, dtype: torch.dtype = torch.float64) -> None:
            self.register_buffer(name, torch.zeros(shape, dtype=dtype))

        # Variance of predictions, and the one of the fit, in which many rows may be unsure.
        self.register_buffer("noise_variance", torch.ones((), dtype=torch.float64))
        self.register_buffer("residual_variance", torch.ones((), dtype=torch.float64))
        self.register_buffer("user_noise", torch.ones(n_users + 1))
        self.groups: dict[str, list[slice]] = {}  # values of each side feature
        for side, n_rows, n_partners, sizes in (
            ("user", n_users + 1, n_items + 1, n_user_values),
            ("item", n_items + 1, n_users + 1, n_item_values),
        ):
            groups = self.groups[side] = groups_of(sizes)
            buffer(f"{side}_covariances", n_rows, n, dtype=torch.float32)
            # Of the own parts of rows. The mean is quadratic in the logarithm of the number of
            # ratings. Row 0 of the tables adds the terms.
            buffer(f"{side}_prior_mean", 3, width)
            buffer(f"{side}_prior_covariance", n)
            buffer(f"{side}_terms", n_partners * svdpp, width, dtype=torch.float32)
            buffer(f"{side}_term_covariance", n * svdpp, dtype=torch.float32)
            buffer(f"{side}_value_terms", sum(sizes), width)
            buffer(f"{side}_value_covariances", sum(sizes), n, dtype=torch.float32)
            # All rows start with the missing value of each side feature.
            missing = torch.tensor([group.start for group in groups], dtype=torch.int64)
            self.register_buffer(f"{side}_values", missing.repeat(n_rows, 1))
            self.register_buffer(f"{side}_weights", torch.ones(n_rows, len(groups)))
        self.groups["context"] = groups_of(n_context_values)
        buffer("context_biases", sum(n_context_values))
        buffer("context_variances", sum(n_context_values))
        self.register_buffer("stars", None if stars is None else stars.double())
        buffer("thresholds", 0 if stars is None else len(stars) - 1)

        self.n_user_values, self.n_item_values = tuple(n_user_values), tuple(n_item_values)
        self.n_context_values = tuple(n_context_values)

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
    def set_rows(self, side: str, codes: Tensor, means: Tensor, covariances: Tensor) -> None:
        """Set the distributions of some rows.

        Parameters
        ----------
        side : {'user', 'item'}
            The side.
        codes : Tensor of shape (n_rows,)
            Codes of users, or of items.
        means : Tensor of shape (n_rows, n_factors + 1)
            The means, with the bias first.
        covariances : Tensor of shape (n_rows, (n_factors + 1) * (n_factors + 2) / 2)
            The packed covariance matrices.
        """
        getattr(self, f"{side}_biases")[codes] = means[:, 0]
        getattr(self, f"{side}_factors").weight[codes] = means[:, 1:]
        getattr(self, f"{side}_covariances")[codes] = covariances.float()

    def set_features(self, side: str, codes: Tensor, values: Tensor, weights: Tensor) -> None:
        """Set the side features of users, or of items.

        Parameters
        ----------
        side : {'user', 'item'}
            The side.
        codes : Tensor of shape (n_rows,)
            Codes of users, or of items.
        values : Tensor of shape (n_rows, n)
            Values of their side features.
        weights : Tensor of shape (n_rows, n)
            Weights of the values, 0 for padding.
        """
        for name, rows in (("values", values), ("weights", weights)):
            table = getattr(self, f"{side}_{name}")
            wide = table.new_zeros(len(table), max(table.shape[1], rows.shape[1]))
            wide[:, : table.shape[1]] = table
            wide[codes] = 0
            wide[codes, : rows.shape[1]] = rows.to(wide)
            setattr(self, f"{side}_{name}", wide)

    def forward(self, users: Tensor, items: Tensor, **features: Tensor) -> Tensor:
        """Predict one rating for each pair of codes.

        Parameters
        ----------
        users : Tensor of shape (n,)
            User codes, 0 for unknown.
        items : Tensor of shape (n,)
            Item codes, 0 for unknown.
        **features : Tensor of shape (n, n_values)
            ``user_values`` and ``user_weights``: values of the side features of users, and their
            weights, 0 for padding; the same with ``item`` and ``context``. If those of users or
            items are not given, they are those of `set_features`. If those of a context are not
            given, they are missing.

        Returns
        -------
        Tensor of shape (n,)
            Ratings, not clipped.
        """
        if self.stars is not None:
            return (self.star_probabilities(users, items, **features) * self.stars).sum(1)
        if not features:
            return super().forward(users, items)
        return self._to_ratings(self._by_parts(self._latent, users, items, features))

    @torch.no_grad()
    def moments(self, users: Tensor, items: Tensor, **features: Tensor) -> tuple[Tensor, Tensor]:
        r"""Predict means and standard deviations of ratings.

        With means :math:`p` and :math:`q` of the factors, :math:`x = (1, q)`, :math:`y = (1, p)`
        and covariances S and T of the user and the item, the variance is

        .. math:: \sigma^2 (x^\top S x + y^\top T y + \sum_{jk} S_{jk} T_{jk} + v_c + \text{noise})

        where the sum is over factors only and :math:`v_c` is the variance of the context's bias.
        With `stars` it is the variance of the star.

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
        std : Tensor of shape (n,)
            Standard deviations of ratings around their means.
        """
        if self.stars is not None:
            chances = self.star_probabilities(users, items, **features)
            mean = (chances * self.stars).sum(1)
            off = self.stars - mean.unsqueeze(1)
            return mean, (chances * off.square()).sum(1).sqrt()
        variance = self._by_parts(self._variances, users, items, features)
        variance += self.noise_variance * self.user_noise[users]
        return self(users, items, **features), self.scale * variance.clamp(min=0).sqrt()

    @torch.no_grad()
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
            The probabilities; each row sums to 1.
        """
        latent = self._by_parts(self._latent, users, items, features)
        variance = self._by_parts(self._variances, users, items, features)
        spread = spread_of(variance, self.noise_variance * self.user_noise[users])
        ends = torch.zeros_like(latent), torch.ones_like(latent)
        below = [torch.special.ndtr((cut - latent) / spread) for cut in self.thresholds]
        return torch.stack([ends[0], *below, ends[1]], -1).diff(dim=-1)

    @torch.no_grad()
    def _pair_scores(
        self, users: Tensor, items: Tensor, n_std: float = 0.0, **features: Tensor
    ) -> Tensor:
        """Compute ratings of all pairs, without mean and scale, from values of the model that are
        lowered by standard deviations of the posterior."""
        if n_std == 0 and not features and self.stars is None:
            scores = super()._pair_scores(users, items)
            return scores + self._of_context(self.context_biases, {})
        rows, covariances = (
            find("user", users, {}) for find in (self._rows, self._row_covariances)
        )
        return self._scores_of_rows(
            rows, covariances, self.user_noise[users], items, n_std, **features
        )

    @torch.no_grad()
    def _scores_of_rows(
        self,
        users: Tensor,  # (n_users, d), means of rows with the bias first
        covariances: Tensor,  # (n_users, d(d+1)/2)
        noise: Tensor,  # (n_users,), as `user_noise`
        items: Tensor,
        n_std: float = 0.0,
        **features: Tensor,  # of the items, as in `forward`
    ) -> Tensor:
        """Compute the scores of `_pair_scores` for given distributions of users."""
        # Some items at a time: the several packed matrices of each are far larger than its scores.
        arguments = {"items": items, **features}
        n_rows = max(1, GATHERED_AT_ONCE // (8 * self.user_covariances.shape[1]))
        # One table for all: a small result that stays after the far larger matrices of its part
        # keeps the allocator from using their memory again.
        found = users.new_empty(len(users), len(items))
        parts = zip(*(values.split(n_rows) for values in arguments.values()), strict=True)
        for of_found, (some, *of_items) in zip(found.split(n_rows, dim=1), parts, strict=True):
            given = dict(zip(features, of_items, strict=True))
            rows = self._rows("item", some, given)
            scores = torch.addmm(rows[:, 0], users[:, 1:], rows[:, 1:].T) + users[:, :1]
            scores += self._of_context(self.context_biases, {})
            if n_std != 0 or self.stars is not None:
                T = self._row_covariances("item", some, given)
                variance = self._variances_of_rows(users, covariances, rows, T)
                scores -= n_std * variance.clamp(min=0).sqrt()
            if self.stars is not None:
                spread = spread_of(variance, self.noise_variance * noise.unsqueeze(1))
                stars = mean_stars(scores, spread, self.stars, self.thresholds)
                scores = self._from_ratings(stars, scores)
            of_found.copy_(scores)
        return found

    def _variances_of_rows(self, p: Tensor, S: Tensor, q: Tensor, T: Tensor) -> Tensor:
        """Compute the variances of all pairs of rows with packed covariances."""
        times, of_factors = occurrences_of_parts(self.n_factors, self.scale.double())
        variance = S @ outer(with_one(q)).mul_(times).addcmul_(T, of_factors).T
        variance += (outer(with_one(p)) * times) @ T.T
        return variance + self._of_context(self.context_variances, {}, 2)

    def _by_parts(
        self,
        compute: Callable[..., Tensor],
        users: Tensor,
        items: Tensor,
        features: dict[str, Tensor],
    ) -> Tensor:
        """Compute values for some pairs at a time, which fit into the processor's cache."""
        n_rows = max(1, GATHERED_AT_ONCE // self.user_covariances.shape[1])
        arguments = {"users": users, "items": items, **features}
        parts = zip(*(values.split(n_rows) for values in arguments.values()), strict=True)
        found = [compute(**dict(zip(arguments, part, strict=True))) for part in parts]
        return torch.cat(found)

    def _scores(self, users: Tensor, items: Tensor) -> Tensor:
        return super()._scores(users, items) + self._of_context(self.context_biases, {})

    def _latent(self, users: Tensor, items: Tensor, **features: Tensor) -> Tensor:
        """Compute the sum of biases and products, in units of the scale."""
        p, q = self._rows("user", users, features), self._rows("item", items, features)
        found = (p[:, 1:] * q[:, 1:]).sum(1) + p[:, 0] + q[:, 0]
        return found + self._of_context(self.context_biases, features)

    def _variances(self, users: Tensor, items: Tensor, **features: Tensor) -> Tensor:
        """Compute the variance of `_latent`."""
        S, T = (
            self._row_covariances(side, codes, features)
            for side, codes in (("user", users), ("item", items))
        )
        y, x = (
            outer(with_one(self._rows(side, codes, features)))
            for side, codes in (("user", users), ("item", items))
        )
        times, of_factors = occurrences_of_parts(self.n_factors, self.scale.double())
        # Products of a matrix with a vector would depend on the position of a row.
        variance = ((S * x + T * y) * times).sum(1) + (S * T * of_factors).sum(1)
        return variance + self._of_context(self.context_variances, features, 2)

    def _of_context(self, table: Tensor, features: dict[str, Tensor], power: int = 1) -> Tensor:
        """Sum the values of a table, times a power of the weights, for each context."""
        if "context_values" in features:
            weights = features["context_weights"]
            return _sum(table, features["context_values"], weights**power)
        # The first value of each side feature is the missing one.
        return sum((table[group.start] for group in self.groups["context"]), table.new_zeros(()))

    def _rows(self, side: str, codes: Tensor, features: dict[str, Tensor]) -> Tensor:
        """Return the means of rows with given side features, with the bias first."""
        biases = getattr(self, f"{side}_biases")[codes].unsqueeze(1)
        rows = torch.cat([biases, getattr(self, f"{side}_factors")(codes)], 1)
        if f"{side}_values" in features:
            terms = getattr(self, f"{side}_value_terms")
            given = self._features(side, codes, features)
            rows += _sum(terms, *given) - _sum(terms, *self._features(side, codes, {}))
        return rows

    def _row_covariances(self, side: str, codes: Tensor, features: dict[str, Tensor]) -> Tensor:
        """Return the packed covariances of rows; unknown rows have that of their features too."""
        found = getattr(self, f"{side}_covariances")[codes].double()
        table = getattr(self, f"{side}_value_covariances")
        unknown = codes == 0
        if len(table) and unknown.any():
            values, weights = (v[unknown] for v in self._features(side, codes, features))
            found[unknown] += _sum(table, values, weights.square())
        return found

    def _features(self, side: str, codes: Tensor, given: dict[str, Tensor]) -> tuple[Tensor, ...]:
        """Return given values of side features and their weights, or else those of the rows."""
        names = f"{side}_values", f"{side}_weights"
        if names[0] in given:
            return given[names[0]], given[names[1]]
        return getattr(self, names[0])[codes], getattr(self, names[1])[codes]

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
            self.set_means(side, longer(before[side], n_rows))
            for name in ("covariances", "values", "weights"):
                table = longer(getattr(self, f"{side}_{name}"), n_rows)
                setattr(self, f"{side}_{name}", table)
        self.user_noise = longer(self.user_noise, n_users + 1)
        if self.svdpp:
            # Row 0 of the terms is their prior mean.
            self.user_terms = longer(self.user_terms, n_items + 1)
            self.item_terms = longer(self.item_terms, n_users + 1)
        return self

    def continue_from(self, other: "GaussianMatrixFactorization") -> "GaussianMatrixFactorization":
        """Copy all that another module knows, without its side features and stars.

        Parameters
        ----------
        other : GaussianMatrixFactorization
            A module with the same numbers of users, items and factors.

        Returns
        -------
        GaussianMatrixFactorization
            This module.
        """
        own = r"(user|item)_value|(user|item)_weights|context_|stars|thresholds"
        state = {k: v for k, v in other.state_dict().items() if not re.match(own, k)}
        self.load_state_dict(state, strict=False)
        return self


def groups_of(sizes: Sequence[int]) -> list[slice]:
    """Give each side feature a range of rows, one row for each value."""
    ends = pairwise(accumulate(sizes, initial=0))
    return [slice(first, last) for first, last in ends]


def spread_of(variance: Tensor, noise: Tensor) -> Tensor:
    """Compute the standard deviation of latent values with their noise."""
    return (noise + variance.clamp(min=0)).sqrt()


def mean_stars(latent: Tensor, spread: Tensor, stars: Tensor, thresholds: Tensor) -> Tensor:
    """Compute the mean stars of latent values with a standard deviation."""
    mean = torch.full_like(latent, stars[-1].item())
    for cut, step in zip(thresholds, stars.diff(), strict=True):
        mean -= step * torch.special.ndtr((cut - latent) / spread)
    return mean


def occurrences_of_parts(n_factors: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Return how often a whole matrix holds each packed number, and the same of factors."""
    times = occurrences(n_factors + 1, like)
    of_factors = times.clone()
    of_factors[: n_factors + 1] = 0  # the numbers of the bias come first
    return times, of_factors


def with_one(rows: Tensor) -> Tensor:
    """Replace the biases, which come first, by 1."""
    return torch.cat([torch.ones_like(rows[..., :1]), rows[..., 1:]], -1)


def _sum(table: Tensor, values: Tensor, weights: Tensor) -> Tensor:
    """Sum the weighted rows of a table, in an order that does not depend on the padding."""
    total = table.new_zeros(len(values), *table.shape[1:], dtype=torch.float64)
    for value, weight in zip(values.T, weights.double().T, strict=True):
        rows = table[value].double()
        total += rows * weight.reshape(-1, *[1] * (rows.ndim - 1))
    return total


def longer(table: Tensor, n_rows: int) -> Tensor:
    """Append copies of row 0."""
    more = table[:1].expand(n_rows - len(table), *table.shape[1:])
    return torch.cat([table, more])
