"""Matrix factorisation whose rows are also described by whom they met, for its training."""
# SPDX-License-Identifier: BSD-3-Clause

import warnings

import torch
from torch import Tensor, nn

from sklrec._utils.devices import is_plain
from sklrec.modules._matrix_factorization import MatrixFactorization, weigh
from sklrec.modules._pair_module import PairModule
from sklrec.modules._pairs import Pairs
from sklrec.modules._rating_module import biases_of

# The penalty on a term against that on an own row, both once for each of their ratings. Chosen on
# held-out parts of training data of several logs.
TERM_PENALTY = 5.0
OTHER = {"user": "item", "item": "user"}


class SVDPlusPlus(PairModule):
    r"""Train a matrix factorisation together with what each row gains from whom it met.

    A user's row gains :math:`|R(u)|^{-1/2} \sum_{i \in R(u)} y_i` and an item's
    :math:`|R(i)|^{-1/2} \sum_{u \in R(i)} x_u`, where R are the interactions, whatever the
    ratings. A bias is a further column of a row.

    These sums cost as much as a pass over all interactions. They are therefore renewed, and the
    terms y and x get their gradient, only once in several batches: that of all these batches.

    Parameters
    ----------
    own : MatrixFactorization
        What the rows have of their own. Its tables are trained in place.
    users : Tensor of shape (n,)
        The users' codes of the interactions, which are not 0.
    items : Tensor of shape (n,)
        The items' codes.
    sample_weight : Tensor of shape (n,), default=None
        Weight of each interaction's rating, 1 if ``None``.
    n_between : int, default=1
        Number of batches after which the terms get their gradient.

    References
    ----------
    Koren (2008), "Factorization Meets the Neighborhood", :doi:`10.1145/1401890.1401944`.
    """

    user_terms: nn.Parameter
    item_terms: nn.Parameter

    def __init__(
        self,
        own: MatrixFactorization,
        users: Tensor,
        items: Tensor,
        sample_weight: Tensor | None = None,
        *,
        n_between: int = 1,
    ):
        super().__init__()
        self.global_mean, self.scale = own.global_mean, own.scale
        self.own = own
        self.n_between = n_between
        codes = {"user": users, "item": items}
        n_rows = {"user": own.n_users + 1, "item": own.n_items + 1}
        self._weight = {
            side: torch.bincount(codes[side], sample_weight, n_rows[side]).to(self.scale)
            for side in OTHER
        }
        self._spread, self._gather = {}, {}
        for side, other in OTHER.items():
            counts = torch.bincount(codes[side], minlength=n_rows[side])
            share = counts.to(self.scale).rsqrt().index_select(0, codes[side])
            size = n_rows[side], n_rows[other]
            self._spread[side] = _sparse(codes[side], codes[other], share, size)
            self._gather[side] = _sparse(codes[other], codes[side], share, size[::-1])
            terms = self.scale.new_zeros(n_rows[other], own.n_factors + own.biased)
            self.register_parameter(f"{side}_terms", nn.Parameter(terms))
        self._sums: dict[str, tuple[int, Tensor, Tensor]] = {}
        self._forget_batches()

    @property
    def width(self) -> int:
        """How many numbers a row is made of where it is widest."""
        return self.own.width

    def loads(self) -> dict[str, Tensor]:
        """Give how fast the terms' gradients over all ratings change at most.

        Returns
        -------
        dict of str to Tensor of shape (n_terms,)
            By side, for a squared error whose gradient changes by 1 as a row's sum moves by 1: if
            all terms move by at most the inverse of these, no sum overshoots.
        """
        # By Gershgorin: sums over the rows of the products' entries, none of which is negative.
        return {
            side: self._gather[side]
            @ (self._weight[side] * (self._spread[side] @ torch.ones_like(self._weight[other])))
            for side, other in OTHER.items()
        }

    @torch.no_grad()
    def forward(self, users: Tensor, items: Tensor) -> Tensor:
        """Predict one rating for each pair of codes; gradients do not come from here.

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
        (p_sums, b_u_sums), (q_sums, b_i_sums) = self._expanded("user"), self._expanded("item")
        p, q = p_sums[users], q_sums[items]
        ratings = ((self.own.user_factors(users) + p) * (self.own.item_factors(items) + q)).sum(1)
        if self.own.biased:
            ratings += biases_of(self.own.user_biases, users) + b_u_sums[users]
            ratings += biases_of(self.own.item_biases, items) + b_i_sums[items]
        return self.global_mean + self.scale * ratings

    def penalty(self, users: Tensor, items: Tensor) -> Tensor:  # type: ignore[override]
        """Give the squared norms of the own rows, and of the terms, that each pair pays for.

        Parameters
        ----------
        users : Tensor of shape (n,)
            User codes.
        items : Tensor of shape (n,)
            Item codes.

        Returns
        -------
        Tensor of shape (n,)
            The sums of their squares, those of the terms times `TERM_PENALTY`.
        """
        terms = torch.cat([self.user_terms[items], self.item_terms[users]], 1)
        return self.own.penalty(users, items) + TERM_PENALTY * terms.square().sum(1)

    @torch.no_grad()
    def backward_of_pairs(
        self,
        pairs: Pairs,
        ratings: Tensor,
        sample_weight: Tensor | None = None,
        *,
        alpha: float = 0.0,
        reduction: str = "mean",
    ) -> tuple[Tensor, Tensor]:
        """Do what `backward_squared_error` does for pairs that were grouped before.

        After each `n_between` batches the terms get their gradient: the mean, or the sum, of what
        these batches gave.

        Parameters
        ----------
        pairs : Pairs
            The batch's pairs.
        ratings : Tensor of shape (n,)
            Ratings to be predicted.
        sample_weight : Tensor of shape (n,), default=None
            Weight of each rating, 1 if ``None``.
        alpha : float, default=0.0
            What the penalty is multiplied by.
        reduction : {'mean', 'sum'}, default='mean'
            Whether the gradient is that of the mean or that of half the sum.

        Returns
        -------
        loss : Tensor of shape ()
            The weighted mean of the squared errors, in units of the ratings.
        predictions : Tensor of shape (n,)
            What ``forward`` returns for the batch.
        """
        own = self.own
        user, item = pairs.user, pairs.item
        p_own = own.user_factors.weight.index_select(0, user.rows)  # (n_user_rows, n_factors)
        q_own = own.item_factors.weight.index_select(0, item.rows)  # (n_item_rows, n_factors)
        (p_sums, b_u_sums), (q_sums, b_i_sums) = self._expanded("user"), self._expanded("item")
        p = p_sums.index_select(0, user.rows).add_(p_own)
        q = q_sums.index_select(0, item.rows).add_(q_own)
        error = pairs.products(p, q).sub_((ratings - self.global_mean) / self.scale)  # (n,)
        if own.biased:
            b_u = own.user_biases.index_select(0, user.rows)
            b_i = own.item_biases.index_select(0, item.rows)
            error += user.spread(b_u.add(b_u_sums.index_select(0, user.rows)))
            error += item.spread(b_i.add(b_i_sums.index_select(0, item.rows)))
        loss, slope, decay = weigh(error, sample_weight, alpha, reduction)
        of_rows = {"user": p_own, "item": q_own}
        partners = {"user": q, "item": p}
        of_biases = {"user": b_u, "item": b_i} if own.biased else {}
        for name, side in (("user", user), ("item", item)):
            slopes = side.arrange(slope)
            gradient = side.without_unknown(side.sums(slopes, partners[name]))
            self._gradients[name][0].index_add_(0, side.rows, gradient)
            table = getattr(own, f"{name}_factors").weight
            own._add_gradient(table, side, gradient, of_rows[name], decay)
            if own.biased:
                gradient = side.without_unknown(side.totals(slopes))
                self._gradients[name][1].index_add_(0, side.rows, gradient)
                table = getattr(own, f"{name}_biases")
                own._add_gradient(table, side, gradient, of_biases[name], decay)
        if reduction == "mean":
            self._decay += 2 * alpha
        else:
            self._decay += alpha * (len(ratings) if sample_weight is None else sample_weight.sum())
        self._n_batches += 1
        if self._n_batches == self.n_between:
            self._add_term_gradients(self.n_between if reduction == "mean" else 1)
        return loss * self.scale.square(), torch.addcmul(ratings, error, self.scale)

    @torch.no_grad()
    def collapse(self, own: MatrixFactorization | None = None) -> MatrixFactorization:
        """Add to the own rows what they gain, for good.

        Parameters
        ----------
        own : MatrixFactorization, default=None
            A copy of `own` to be changed in its place.

        Returns
        -------
        MatrixFactorization
            The module `own`, which predicts as this one did.
        """
        own = self.own if own is None else own
        for side in OTHER:
            factors, biases = self._expanded(side)
            getattr(own, f"{side}_factors").weight.add_(factors)
            if own.biased:
                getattr(own, f"{side}_biases").add_(biases)
        return own

    def _expanded(self, side: str) -> tuple[Tensor, Tensor]:
        """What all rows gain, in their factors and in their biases."""
        terms = getattr(self, f"{side}_terms")
        version = terms._version  # torch counts the changes of a tensor
        if side not in self._sums or self._sums[side][0] != version:
            sums = self._spread[side] @ terms.detach()
            k = self.own.n_factors
            self._sums[side] = version, sums[:, :k].contiguous(), sums[:, k:].flatten()
        return self._sums[side][1:]

    def _add_term_gradients(self, divisor: int) -> None:
        for side, other in OTHER.items():
            of_rows = self._gradients[side]
            terms = getattr(self, f"{side}_terms")
            if self.own.biased:
                met = torch.cat([of_rows[0], of_rows[1].unsqueeze(1)], 1)
            else:
                met = of_rows[0]
            share = self._weight[other] / self._weight[other].sum()
            gradient = self._gather[side] @ met
            gradient.addcmul_(terms, (TERM_PENALTY * self._decay * share).unsqueeze(1))
            gradient /= divisor
            terms.grad = gradient if terms.grad is None else terms.grad + gradient
        self._forget_batches()

    def _forget_batches(self) -> None:
        tables = {"user": self.own.user_factors.weight, "item": self.own.item_factors.weight}
        # What the rows' sums got as gradients since the terms got theirs.
        self._gradients = {
            side: (torch.zeros_like(table.detach()), torch.zeros_like(table.detach()[:, 0]))
            for side, table in tables.items()
        }
        self._decay: float | Tensor = 0.0
        self._n_batches = 0


def _sparse(rows: Tensor, columns: Tensor, values: Tensor, size: tuple[int, int]) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that such tensors are in beta
        entries = torch.sparse_coo_tensor(
            torch.stack([rows, columns]), values, size, check_invariants=False
        )
        return entries.coalesce() if is_plain(rows.device) else entries.to_sparse_csr()
