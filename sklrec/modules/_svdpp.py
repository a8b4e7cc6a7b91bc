"""Matrix factorisation with SVD++ terms, for training."""
# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import torch
from torch import Tensor, nn

from sklrec._utils.runtime import is_plain
from sklrec.modules._losses import Loss
from sklrec.modules._matrix_factorization import OTHER_SIDE, MatrixFactorization, is_zero
from sklrec.modules._pairs import PairModule, Pairs, silence_beta_warning
from sklrec.modules._rating_module import Penalty

# Factor on `alpha` for the penalty on the terms. Chosen on held-out parts of the training data of
# several logs.
TERM_PENALTY = 5.0


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
        # Numbers of interactions of each pair, and |R|^-1/2 of each row.
        self._counts, self._shares = {}, {}
        for side, other in OTHER_SIDE.items():
            size = n_rows[side], n_rows[other]
            self._counts[side] = _counts_of_pairs(codes[side], codes[other], size, table)
            counts = torch.bincount(codes[side], minlength=n_rows[side]).to(table)
            self._shares[side] = torch.where(counts > 0, counts.rsqrt(), 0).unsqueeze(1)
            terms = table.new_zeros(n_rows[other], own.n_factors + own.biased)
            self.register_parameter(f"{side}_terms", nn.Parameter(terms))
        # Results of `_term_sums`, and the versions of the terms that they belong to.
        self._sums: dict[str, Tensor] = {}
        self._versions: dict[str, int] = {}
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
            side: self._of_terms(
                side,
                row_loads[side].unsqueeze(1)
                * self._of_rows(side, torch.ones_like(row_loads[other]).unsqueeze(1)),
            ).squeeze(1)
            for side, other in OTHER_SIDE.items()
        }

    def _of_rows(self, side: str, terms: Tensor) -> Tensor:
        """Sum the terms in each row."""
        return (self._counts[side] @ terms).mul_(self._shares[side])

    def _of_terms(self, side: str, of_rows: Tensor) -> Tensor:
        """Turn gradients of the rows into gradients of the terms."""
        return self._counts[OTHER_SIDE[side]] @ (self._shares[side] * of_rows)

    @torch.no_grad()
    def _squared_norms(self) -> dict[str, Tensor]:
        """Squared norms of the factors of all rows, with the sums of their terms."""
        tables, sums = self.own._tables(), self._term_sums()
        names = {side: f"{side}_factors" for side in OTHER_SIDE}
        return {k: tables[name].add(sums[name]).square().sum(1) for k, name in names.items()}

    @torch.no_grad()
    def forward(self, users: Tensor, items: Tensor) -> Tensor:
        """Predict one rating for each pair of codes, without gradients."""
        own, sums = self.own, self._term_sums()
        p = own.user_factors(users) + sums["user_factors"][users]
        q = own.item_factors(items) + sums["item_factors"][items]
        scores = (p * q).sum(1)
        if own.biased:
            scores += own.user_biases[users] + sums["user_biases"][users]
            scores += own.item_biases[items] + sums["item_biases"][items]
        else:
            scores = own._with_mean(scores, is_zero(p) | is_zero(q))
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
        loss: Loss | None = None,
        alpha: Penalty = 0.0,
        reduction: str = "mean",
    ) -> tuple[Tensor, Tensor]:
        """Add the gradient of own rows, and once in `batches_per_step` calls that of the terms."""
        result = self.own.backward_of_pairs(
            pairs,
            ratings,
            sample_weight,
            loss=loss,
            alpha=alpha,
            reduction=reduction,
            added=self._term_sums(),
            sums=self._row_gradients,
        )
        total = len(ratings) if sample_weight is None else sample_weight.sum()
        self._n_ratings += total if reduction == "sum" else 2 / total * total
        self._n_batches += 1
        if self._n_batches == self.batches_per_step:
            self._add_term_gradients(alpha, self.batches_per_step if reduction == "mean" else 1)
            self._reset_row_gradients()
        return result

    @torch.no_grad()
    def merge_terms(self, own: MatrixFactorization | None = None) -> MatrixFactorization:
        """Add the sums of the terms to the own rows, or to those of a copy, and return them."""
        own = self.own if own is None else own
        sums = self._term_sums()
        for name, table in own._tables().items():
            table.add_(sums[name])
        return own

    def _term_sums(self) -> dict[str, Tensor]:
        """Return the sums of the terms in the rows of each table."""
        for side in OTHER_SIDE:
            terms = getattr(self, f"{side}_terms")
            version = terms._version  # torch's count of in-place changes
            if self._versions.get(side) != version:
                sums, k = self._of_rows(side, terms.detach()), self.own.n_factors
                self._sums[f"{side}_factors"] = sums[:, :k].contiguous()
                self._sums[f"{side}_biases"] = sums[:, k:].flatten()
                self._versions[side] = version
        return self._sums

    def _add_term_gradients(self, alpha: Penalty, divisor: int) -> None:
        """Add the gradients that the batches since the last step give to the terms."""
        for side, other in OTHER_SIDE.items():
            terms = getattr(self, f"{side}_terms")
            of_rows = self._row_gradients[f"{side}_factors"]
            if self.own.biased:
                of_biases = self._row_gradients[f"{side}_biases"].unsqueeze(1)
                of_rows = torch.cat([of_rows, of_biases], 1)
            n_ratings = self._n_ratings * self._weight[other] / self._weight[other].sum()
            gradient = self._of_terms(side, of_rows)
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
        tables = self.own._tables()
        self._row_gradients = {k: torch.zeros_like(v.detach()) for k, v in tables.items()}
        self._n_ratings: float | Tensor = 0.0  # sum of weights times factors in the gradient
        self._n_batches = 0


def _counts_of_pairs(
    rows: Tensor, columns: Tensor, size: tuple[int, int], like: Tensor
) -> Tensor:  # (n_rows, n_columns)
    """Count the interactions of each pair."""
    keys = rows.cpu().numpy() * size[1]
    keys += columns.cpu().numpy()
    keys.sort()
    counts = torch.ones(len(keys), dtype=like.dtype)
    if (keys[1:] == keys[:-1]).any():
        keys, n_each = np.unique(keys, return_counts=True)
        counts = torch.from_numpy(n_each).to(like.dtype)
    index = np.int32 if len(keys) < 2**31 else np.int64
    starts = np.searchsorted(keys, np.arange(size[0] + 1) * size[1])
    keys %= size[1]
    silence_beta_warning()
    first, places = (torch.from_numpy(codes.astype(index)) for codes in (starts, keys))
    found = torch.sparse_csr_tensor(first, places, counts, size, check_invariants=False)
    return (found.to_sparse_coo() if is_plain(like.device) else found).to(like.device)
