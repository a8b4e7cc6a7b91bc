"""Matrix factorisation: the dot product of the factors of a user and an item."""
# SPDX-License-Identifier: BSD-3-Clause

import math

import torch
from torch import Tensor

from sklrec.modules._losses import SQUARED_ERROR, Loss, SquaredError
from sklrec.modules._pairs import PairModule, Pairs, Side
from sklrec.modules._rating_module import FactorModule, Penalty, grow_tables

OTHER_SIDE = {"user": "item", "item": "user"}
# Numbers of a table that a prediction on the CPU gathers at once: half a megabyte.
NUMBERS_AT_ONCE = 2**17


class MatrixFactorization(PairModule, FactorModule):
    r"""Predict a rating from the dot product of a user's and an item's factors.

    .. math:: \hat r_{ui} = \mu + \sigma (b_u + b_i + \langle p_u, q_i \rangle)

    Codes run from 1 to ``n_users`` and from 1 to ``n_items``. Code 0 stands for an
    unknown user or item. Its factors and its bias are zero and stay zero: the prediction
    uses only the other side. Without biases, it is the global mean.

    Parameters
    ----------
    n_users : int
        Number of known users.
    n_items : int
        Number of known items.
    n_factors : int, default=100
        Number of columns of both factor tables.
    biased : bool, default=True
        Whether the global mean and user and item biases are added. Without them the
        rating is the dot product of the factors alone, times the scale.
    global_mean : float, default=0.0
        The constant :math:`\mu`, in units of the ratings. It is not trained. With
        ``biased=False``, it is only the prediction for unknown users and items, which are those
        with zero factors.
    scale : float, default=1.0
        The constant :math:`\sigma`, in units of the ratings. It is not trained. If it is
        the standard deviation of the ratings, learning rate and penalty have the same effect
        on any rating scale.
    init_std : float, default=0.01
        Standard deviation of the normal distribution of the initial factors. Biases start
        at zero.
    sparse : bool, default=False
        Whether :meth:`backward_loss` makes sparse gradients, which hold only the rows
        of the batch.
    generator : torch.Generator, default=None
        Source of the random start; ``None`` is torch's global one.

    See Also
    --------
    sklrec.MFRegressor : The scikit-learn estimator around this module.

    References
    ----------
    Koren, Bell, Volinsky (2009), "Matrix Factorization Techniques for Recommender
    Systems", :doi:`10.1109/MC.2009.263`.

    Examples
    --------
    >>> import torch
    >>> from sklrec.modules import MatrixFactorization
    >>> module = MatrixFactorization(n_users=3, n_items=4, n_factors=2, global_mean=3.5)
    >>> users, items = torch.tensor([1, 3, 0]), torch.tensor([4, 1, 0])
    >>> module(users, items).shape
    torch.Size([3])

    The rating of an unknown item by an unknown user is the global mean:

    >>> module(users, items)[2].item()
    3.5
    """

    def __init__(
        self,
        n_users: int,
        n_items: int,
        n_factors: int = 100,
        *,
        biased: bool = True,
        global_mean: float = 0.0,
        scale: float = 1.0,
        init_std: float = 0.01,
        sparse: bool = False,
        generator: torch.Generator | None = None,
    ):
        super().__init__(global_mean, scale)
        self.n_factors = n_factors
        self.biased = biased
        self.init_std = init_std
        self.sparse = sparse
        self._add_tables(n_users, n_items, generator)

    @property
    def zero(self) -> Tensor:
        """The rating of the score 0: the global mean, or 0 without biases."""
        return self.global_mean if self.biased else torch.zeros_like(self.global_mean)

    @property
    def width(self) -> int:
        """Largest number of values that one row takes in a tensor."""
        return self.n_factors

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
        return self._to_ratings(self._scores(users, items))

    def _scores(self, users: Tensor, items: Tensor) -> Tensor:
        """Compute ratings without mean and scale."""
        has_gradients = torch.is_grad_enabled()

        def products(users: Tensor, items: Tensor) -> Tensor:  # without biases
            p, q = self.user_factors(users), self.item_factors(items)  # (n, n_factors)
            if not self.biased:
                return self._with_mean((p * q).sum(1), is_zero(p) | is_zero(q))
            return (p * q if has_gradients else p.mul_(q)).sum(1)

        if has_gradients or users.device.type != "cpu":
            scores = products(users, items)
        else:
            # Parts that stay in the processor's cache are up to three times as fast.
            n_rows = max(1, NUMBERS_AT_ONCE // self.n_factors)
            parts = zip(users.split(n_rows), items.split(n_rows), strict=True)
            scores = torch.cat([products(*part) for part in parts])
        if not self.biased:
            return scores
        of_users, of_items = self._biases(users, items)
        return scores + of_users + of_items

    def _with_mean(self, scores: Tensor, is_unknown: Tensor) -> Tensor:
        """Replace the scores of unknown users and items by that of the global mean."""
        return torch.where(is_unknown, (self.global_mean / self.scale).to(scores), scores)

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

    @torch.no_grad()
    def _squared_norms(self) -> dict[str, Tensor]:
        """Squared norms of the factors of all rows, by side."""
        sides = {"user": self.user_factors, "item": self.item_factors}
        return {side: factors.weight.square().sum(1) for side, factors in sides.items()}

    def _pair_scores(self, users: Tensor, items: Tensor) -> Tensor:
        """Compute the ratings of all pairs, without mean and scale."""
        p, q = self.user_factors(users), self.item_factors(items)
        if not self.biased:
            return self._with_mean(p @ q.T, is_zero(p).unsqueeze(1) | is_zero(q))
        # Biases are two more columns: further passes would cost more than the product.
        of_users, of_items = (b.unsqueeze(1) for b in self._biases(users, items))
        p = torch.cat([p, of_users, p.new_ones(len(p), 1)], 1)
        q = torch.cat([q, q.new_ones(len(q), 1), of_items], 1)
        return p @ q.T

    def penalty(self, users: Tensor, items: Tensor) -> Tensor:  # type: ignore[override]
        """Return the squared norms of the factors and biases of each pair.

        Parameters
        ----------
        users : Tensor of shape (n,)
            User codes.
        items : Tensor of shape (n,)
            Item codes.

        Returns
        -------
        Tensor of shape (n,)
            The sums of the squares.
        """
        rows = [self.user_factors(users), self.item_factors(items)]
        if self.biased:
            rows += [biases.unsqueeze(1) for biases in self._biases(users, items)]
        return torch.cat(rows, 1).square().sum(1)

    @torch.no_grad()
    def backward_of_pairs(
        self,
        pairs: Pairs,
        ratings: Tensor,
        sample_weight: Tensor | None = None,
        *,
        loss: Loss | None = None,
        alpha: Penalty = 0.0,
        reduction: str = "mean",
        added: dict[str, Tensor] | None = None,
        sums: dict[str, Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        r"""Add the gradient of pairs that are grouped already; see `backward_loss`.

        With the squared error, the error of a rating is

        .. math:: (r - \hat r)^2 / \sigma^2
                  + \alpha (\|p_u\|^2 + \|q_i\|^2 + b_u^2 + b_i^2).

        Its gradient in closed form takes half the time of autograd through ``forward``.

        Parameters
        ----------
        pairs : Pairs
            The pairs of the batch.
        ratings : Tensor of shape (n,)
            The ratings.
        sample_weight : Tensor of shape (n,), default=None
            Weight of each rating, 1 if ``None``.
        loss : Loss, default=None
            The loss of a prediction, the squared error if ``None``.
        alpha : float or dict of str to Tensor, default=0.0
            Factor of the penalty, or that of each row by the names of the tables.
        reduction : {'mean', 'sum'}, default='mean'
            Whether to use the gradient of the weighted mean, or of half the weighted sum.
        added : dict of str to Tensor, default=None
            Numbers that training adds to the tables, such as SVD++ terms, by the names of the
            tables.
        sums : dict of str to Tensor, default=None
            Tensors that the gradients of the errors are added to, by the names of the tables.

        Returns
        -------
        mean : Tensor of shape ()
            The weighted mean of the losses, in units of the ratings.
        predictions : Tensor of shape (n,)
            The predictions of ``forward`` for the batch.
        """
        loss = SQUARED_ERROR if loss is None else loss
        sides = {"user": pairs.user, "item": pairs.item}
        tables = self._tables()
        rows_of = {name: sides[name.partition("_")[0]].rows for name in tables}
        own = {name: table.index_select(0, rows_of[name]) for name, table in tables.items()}
        rows = own
        if added is not None:
            more = {name: added[name].index_select(0, rows_of[name]) for name in tables}
            rows = {name: values.add_(own[name]) for name, values in more.items()}
        error = pairs.products(rows["user_factors"], rows["item_factors"])  # (n,)
        error -= self._from_ratings(ratings, error)
        if self.biased:
            for name, side in sides.items():
                error += side.spread(rows[f"{name}_biases"])
        slope = loss.half_slopes(error, ratings, self.scale)
        weighted = slope if sample_weight is None else slope * sample_weight
        total = error.shape[0] if sample_weight is None else sample_weight.sum()
        predictions = self._to_ratings(error, ratings)
        if isinstance(loss, SquaredError):  # faster, and as precise in ratings far from 0
            mean = weighted.dot(error) / total * self.scale.square()
        else:
            mean = loss.mean(predictions, ratings, sample_weight)
        factor = 1 if reduction == "sum" else 2 / total
        slope = weighted if reduction == "sum" else weighted * factor
        for word, other in OTHER_SIDE.items():
            side, at = sides[word], sides[word].rows
            slopes, weights = side.arrange(slope), side.weights
            gradients = {f"{word}_factors": side.sums(slopes, rows[f"{other}_factors"])}
            if self.biased:
                gradients[f"{word}_biases"] = side.totals(slopes)
            for name, gradient in gradients.items():
                # The unknown row is zero, and so is the gradient of its penalty, but not that
                # of its error.
                gradient = side.without_unknown(gradient)
                if sums is not None:
                    sums[name].index_add_(0, at, gradient)
                penalty = alpha[name].index_select(0, at) if isinstance(alpha, dict) else alpha
                decays = weights * penalty * factor
                gradient.addcmul_(own[name], decays if gradient.ndim == 1 else decays[:, None])
                self._add_gradient(tables[name], side, gradient)
        return mean, predictions

    def _tables(self) -> dict[str, Tensor]:
        """Give the tables by their names."""
        user, item = self.user_factors.weight, self.item_factors.weight
        tables: dict[str, Tensor] = {"user_factors": user, "item_factors": item}
        if self.biased:
            tables |= {"user_biases": self.user_biases, "item_biases": self.item_biases}
        return tables

    def _add_gradient(self, table: Tensor, side: Side, gradient: Tensor) -> None:
        """Add the gradients of some rows to a table's ``grad``."""
        if self.sparse:
            gradient = torch.sparse_coo_tensor(
                side.rows.long().unsqueeze(0),
                gradient,
                table.shape,
                check_invariants=False,
                is_coalesced=side.has_distinct_rows,
            )
        else:
            gradient = torch.zeros_like(table).index_add_(0, side.rows, gradient)
        table.grad = gradient if table.grad is None else table.grad + gradient

    @torch.no_grad()
    def _multiply_scores(self, ratio: float) -> None:
        """Multiply the scores by a number, through the parameters."""
        for name, table in self.named_parameters():
            table.mul_(ratio if name.endswith("biases") else ratio**0.5)

    @torch.no_grad()
    def start_at(self, rating: Tensor) -> None:
        """Let the first factors of known users and items give a rating.

        Without biases, the bounded slopes of some losses do not lead from 0 to the ratings.

        Parameters
        ----------
        rating : Tensor of shape ()
            The rating.
        """
        score = (rating / self.scale).item()
        of_users = abs(score) ** 0.5
        firsts = of_users, math.copysign(of_users, score)
        for table, first in zip((self.user_factors, self.item_factors), firsts, strict=True):
            known = ~is_zero(table.weight)
            table.weight[known, 0] = first

    def grow(
        self, n_users: int, n_items: int, generator: torch.Generator | None = None
    ) -> "MatrixFactorization":
        """Append rows of new users and items to the tables.

        Parameters
        ----------
        n_users : int
            New number of users, at least the current one.
        n_items : int
            New number of items, at least the current one.
        generator : torch.Generator, default=None
            Source of the new factors; ``None`` is torch's global one.

        Returns
        -------
        MatrixFactorization
            This module; its existing rows are unchanged.
        """
        grow_tables(self, {"user": n_users, "item": n_items}, generator)
        return self


def is_zero(rows: Tensor) -> Tensor:  # (n, n_factors) to (n,)
    """Whether all factors of a row are 0, as those of unknown users and items."""
    return (rows == 0).all(1)
