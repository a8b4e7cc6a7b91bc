"""Matrix factorisation with SVD++ terms, for training."""
# SPDX-License-Identifier: BSD-3-Clause

import warnings

import torch
from torch import Tensor, nn

from sklrec._utils.runtime import is_plain
from sklrec.modules._matrix_factorization import (
    MatrixFactorization,
    is_zero,
    penalty_of,
    weigh,
)
from sklrec.modules._rating_module import PairModule, Pairs, Penalty, biases_of

# Factor on `alpha` for the penalty on the terms. Chosen on held-out parts of the training data of
# several logs.
TERM_PENALTY = 5.0
OTHER_SIDE = {"user": "item", "item": "user"}


class SVDPlusPlus(PairModule):
    """Matrix factorisation with SVD++ terms, for training (Koren 2008,
    doi:10.1145/1401890.1401944)."""

    # The row of a user is p_u + |R(u)|^-1/2 * sum of y_i over the interactions R(u), whatever the
    # ratings. Here p_u is called the own row, and y_i are the terms of users. The row of an item
    # is made in the same way. A bias is a further column of a row.
    # The sums cost as much as a pass over all interactions. So they are computed, and the terms
    # get their gradient, only once in `batches_per_step` batches.
    user_terms: nn.Parameter  # (n_items + 1, n_factors + biased), y_i
    item_terms: nn.Parameter  # (n_users + 1, n_factors + biased)

    def __init__(
        self,
        own: MatrixFactorization,  # trained in place
        users: Tensor,  # (n,), codes of the interactions, not 0
        items: Tensor,  # (n,)
        sample_weight: Tensor | None = None,  # (n,)
        *,
        batches_per_step: int = 1,  # a step moves the terms
    ):
        super().__init__()
        self.global_mean, self.scale = own.global_mean, own.scale
        self.own = own
        self.batches_per_step = batches_per_step
        codes = {"user": users, "item": items}
        n_rows = {"user": own.n_users + 1, "item": own.n_items + 1}
        # Sum of the weights of the interactions of each user or item.
        table = own.user_factors.weight.detach()
        self._weight = {
            side: torch.bincount(codes[side], sample_weight, n_rows[side]).to(table)
            for side in OTHER_SIDE
        }
        # Matrices with |R|^-1/2 for each interaction. Their product with the terms is the sum in
        # each row. The transpose turns gradients of the rows into gradients of the terms.
        self._spread, self._spread_transposed = {}, {}
        for side, other in OTHER_SIDE.items():
            counts = torch.bincount(codes[side], minlength=n_rows[side])
            share = counts.to(table).rsqrt().index_select(0, codes[side])
            size = n_rows[side], n_rows[other]
            self._spread[side] = _sparse(codes[side], codes[other], share, size)
            self._spread_transposed[side] = _sparse(codes[other], codes[side], share, size[::-1])
            terms = table.new_zeros(n_rows[other], own.n_factors + own.biased)
            self.register_parameter(f"{side}_terms", nn.Parameter(terms))
        # Results of `_term_sums`, with the version of the terms.
        self._sums: dict[str, tuple[int, Tensor, Tensor]] = {}
        self._reset_row_gradients()

    @property
    def zero(self) -> Tensor:
        """The rating of the score 0."""
        return self.own.zero

    @property
    def width(self) -> int:
        """Largest number of values that one row takes in a tensor."""
        return self.own.width

    def term_loads(self, row_loads: dict[str, Tensor]) -> dict[str, Tensor]:
        """Bound the second derivative of the loss by each term, from those by each row."""
        # Row sums of the matrix of second derivatives, which has no negative entries. If each term
        # moves by at most its gradient divided by its row sum, no sum overshoots (Gershgorin).
        return {
            side: self._spread_transposed[side]
            @ (row_loads[side] * (self._spread[side] @ torch.ones_like(row_loads[other])))
            for side, other in OTHER_SIDE.items()
        }

    @torch.no_grad()
    def _squared_norms(self) -> dict[str, Tensor]:
        """Squared norms of the factors of all rows, with the sums of their terms."""
        return {
            side: getattr(self.own, f"{side}_factors")
            .weight.add(self._term_sums(side)[0])
            .square()
            .sum(1)
            for side in OTHER_SIDE
        }

    @torch.no_grad()
    def forward(self, users: Tensor, items: Tensor) -> Tensor:
        """Predict one rating for each pair of codes, without gradients."""
        (p_sums, b_u_sums), (q_sums, b_i_sums) = self._term_sums("user"), self._term_sums("item")
        p = self.own.user_factors(users) + p_sums[users]
        q = self.own.item_factors(items) + q_sums[items]
        scores = (p * q).sum(1)
        if self.own.biased:
            scores += biases_of(self.own.user_biases, users) + b_u_sums[users]
            scores += biases_of(self.own.item_biases, items) + b_i_sums[items]
        else:
            scores = self.own._with_mean(scores, is_zero(p) | is_zero(q))
        return self._to_ratings(scores)

    def penalty(self, users: Tensor, items: Tensor) -> Tensor:  # type: ignore[override]
        """Return the penalty of each pair, on its own rows and its terms."""
        terms = torch.cat([self.user_terms[items], self.item_terms[users]], 1)
        return self.own.penalty(users, items) + TERM_PENALTY * terms.square().sum(1)

    @torch.no_grad()
    def backward_of_pairs(
        self,
        pairs: Pairs,
        ratings: Tensor,
        sample_weight: Tensor | None = None,
        *,
        alpha: Penalty = 0.0,
        reduction: str = "mean",
    ) -> tuple[Tensor, Tensor]:
        """Add the gradient of own rows, and once in `batches_per_step` calls that of the terms."""
        own = self.own
        user, item = pairs.user, pairs.item
        p_own = own.user_factors.weight.index_select(0, user.rows)  # (n_user_rows, n_factors)
        q_own = own.item_factors.weight.index_select(0, item.rows)  # (n_item_rows, n_factors)
        (p_sums, b_u_sums), (q_sums, b_i_sums) = self._term_sums("user"), self._term_sums("item")
        p = p_sums.index_select(0, user.rows).add_(p_own)
        q = q_sums.index_select(0, item.rows).add_(q_own)
        error = pairs.products(p, q)  # (n,)
        error -= self._from_ratings(ratings, error)
        if own.biased:
            b_u = own.user_biases.index_select(0, user.rows)
            b_i = own.item_biases.index_select(0, item.rows)
            error += user.spread(b_u.add(b_u_sums.index_select(0, user.rows)))
            error += item.spread(b_i.add(b_i_sums.index_select(0, item.rows)))
        loss, slope, factor = weigh(error, sample_weight, reduction)
        own_rows = {"user": p_own, "item": q_own}
        partners = {"user": q, "item": p}
        own_biases = {"user": b_u, "item": b_i} if own.biased else {}
        for name, side in (("user", user), ("item", item)):
            slopes = side.arrange(slope)
            gradient = side.without_unknown(side.sums(slopes, partners[name]))
            self._row_gradients[name][0].index_add_(0, side.rows, gradient)
            table = f"{name}_factors"
            penalty = penalty_of(alpha, table, side)
            own._add_gradient(table, side, gradient, own_rows[name], penalty, factor)
            if own.biased:
                gradient = side.without_unknown(side.totals(slopes))
                self._row_gradients[name][1].index_add_(0, side.rows, gradient)
                table = f"{name}_biases"
                penalty = penalty_of(alpha, table, side)
                own._add_gradient(table, side, gradient, own_biases[name], penalty, factor)
        total = len(ratings) if sample_weight is None else sample_weight.sum()
        self._n_ratings += factor * total
        self._n_batches += 1
        if self._n_batches == self.batches_per_step:
            self._add_term_gradients(alpha, self.batches_per_step if reduction == "mean" else 1)
            self._reset_row_gradients()
        return loss * self.scale.square(), self._to_ratings(error, ratings)

    @torch.no_grad()
    def merge_terms(self, own: MatrixFactorization | None = None) -> MatrixFactorization:
        """Add the sums of the terms to the own rows, or to those of a copy, and return them."""
        own = self.own if own is None else own
        for side in OTHER_SIDE:
            factors, biases = self._term_sums(side)
            getattr(own, f"{side}_factors").weight.add_(factors)
            if own.biased:
                getattr(own, f"{side}_biases").add_(biases)
        return own

    def _term_sums(self, side: str) -> tuple[Tensor, Tensor]:
        """Return the sum of the terms in each row: of the factors, and of the biases."""
        terms = getattr(self, f"{side}_terms")
        version = terms._version  # torch's count of in-place changes
        if side not in self._sums or self._sums[side][0] != version:
            sums = self._spread[side] @ terms.detach()
            k = self.own.n_factors
            self._sums[side] = version, sums[:, :k].contiguous(), sums[:, k:].flatten()
        return self._sums[side][1:]

    def _add_term_gradients(self, alpha: Penalty, divisor: int) -> None:
        """Add the gradients that the batches since the last step give to the terms."""
        for side, other in OTHER_SIDE.items():
            of_factors, of_biases = self._row_gradients[side]
            terms = getattr(self, f"{side}_terms")
            if self.own.biased:
                of_rows = torch.cat([of_factors, of_biases.unsqueeze(1)], 1)
            else:
                of_rows = of_factors
            n_ratings = self._n_ratings * self._weight[other] / self._weight[other].sum()
            gradient = self._spread_transposed[side] @ of_rows
            k = self.own.n_factors
            parts = {f"{side}_terms": slice(k), f"{side}_bias_terms": slice(k, None)}
            for name, columns in parts.items():
                penalty = alpha[name] if isinstance(alpha, dict) else TERM_PENALTY * alpha
                decay = (n_ratings * penalty).unsqueeze(1)
                gradient[:, columns].addcmul_(terms[:, columns], decay)
            gradient /= divisor
            terms.grad = gradient if terms.grad is None else terms.grad + gradient

    def _reset_row_gradients(self) -> None:
        """Set the sums over the batches since the last step of the terms to zero."""
        tables = {"user": self.own.user_factors.weight, "item": self.own.item_factors.weight}
        # Sums over the batches since the last step of the terms.
        self._row_gradients = {
            side: (torch.zeros_like(table.detach()), torch.zeros_like(table.detach()[:, 0]))
            for side, table in tables.items()
        }
        self._n_ratings: float | Tensor = 0.0  # sum of weights times factors in the gradient
        self._n_batches = 0


def _sparse(rows: Tensor, columns: Tensor, values: Tensor, size: tuple[int, int]) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # sparse CSR tensors are in beta
        entries = torch.sparse_coo_tensor(
            torch.stack([rows, columns]), values, size, check_invariants=False
        )
        return entries.coalesce() if is_plain(rows.device) else entries.to_sparse_csr()
