"""Gradients in closed form over the pairs of a batch."""
# SPDX-License-Identifier: BSD-3-Clause

import warnings
from collections.abc import Callable
from functools import cache, lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from sklrec.modules._losses import Loss
from sklrec.modules._rating_module import Penalty, RatingModule

# With fewer pairs than this, grouping costs more than it saves.
GROUPED_FROM = 256


class Side:
    """One side of the pairs of a batch, with one row for each pair, or one for each code."""

    # Of distinct rows; else each pair has a row of its own:
    place: Tensor  # (n,), row of each pair
    bounds: Tensor  # (n_rows + 1,), of the pairs of each row in their order by row
    partner_place: Tensor  # (n,), row of each pair's partner
    order: Tensor | None = None  # (n,), None if the pairs have that order already

    def __init__(
        self,
        codes: Tensor,
        sample_weight: Tensor | None,
        *,
        is_grouped: bool,
        order: Tensor | None = None,  # of the codes, if known
    ):
        self.has_distinct_rows = is_grouped
        if not is_grouped:
            self.rows, self._is_unknown = codes, codes == 0  # (n_rows,)
            one = torch.ones(1, device=codes.device)
            self._weights: Tensor | None = one if sample_weight is None else sample_weight
            return
        if order is None:
            order, codes_in_order = sorted_by_code(codes)
        else:
            codes_in_order = codes.index_select(0, order)
        rows, place, counts = torch.unique_consecutive(
            codes_in_order, return_inverse=True, return_counts=True
        )
        self.rows = rows.int()
        self.order = None if torch.equal(order, _positions(len(order))) else order.int()
        self.place = torch.empty_like(place).index_copy_(0, order, place).int()
        self.bounds = F.pad(counts.cumsum(0), (1, 0)).int()
        self._weights = None if sample_weight is None else self.totals(self.arrange(sample_weight))
        self._has_unknown = self.rows[0].item() == 0

    # Two tensors that are quickly made again, so that the batches of all epochs take less memory.

    @property
    def weights(self) -> Tensor:
        """Weight of the pairs of each row, of shape (n_rows,) or (1,)."""
        return self.bounds.diff().float() if self._weights is None else self._weights

    @property
    def partners(self) -> Tensor:  # (n,)
        """Rows of the partners in the order of the pairs by row."""
        return self.arrange(self.partner_place)

    def spread(self, of_rows: Tensor) -> Tensor:  # (n_rows,) to (n,)
        """Return the value of each pair's row."""
        return of_rows.index_select(0, self.place) if self.has_distinct_rows else of_rows

    def arrange(self, of_pairs: Tensor) -> Tensor:
        """Reorder values of pairs for `totals` and `sums`: pairs of a row side by side."""
        return of_pairs if self.order is None else of_pairs.index_select(0, self.order)

    def totals(self, arranged: Tensor) -> Tensor:  # (n,) to (n_rows,)
        """Sum the arranged values of the pairs of each row."""
        if not self.has_distinct_rows:
            return arranged
        return torch.segment_reduce(arranged, "sum", offsets=self.bounds, unsafe=True)

    def sums(self, arranged: Tensor, table: Tensor) -> Tensor:
        """Sum the partners' rows of each row, weighted by arranged values of pairs."""
        if not self.has_distinct_rows:
            return table * arranged.unsqueeze(1)  # (n_rows, n_factors)
        # torch.nn.functional.embedding_bag(mode="sum") calls this after checks that take as long.
        mode, frequencies, sparse, with_last = 0, False, False, True
        return torch.embedding_bag(
            table, self.partners, self.bounds, frequencies, mode, sparse, arranged, with_last
        )[0]

    def without_unknown(self, of_rows: Tensor) -> Tensor:
        """Set the values of the row of unknown codes to 0, possibly in place."""
        if not self.has_distinct_rows:
            mask = self._is_unknown if of_rows.ndim == 1 else self._is_unknown.unsqueeze(1)
            return of_rows.masked_fill(mask, 0)
        if self._has_unknown:
            of_rows[0] = 0
        return of_rows


class Pairs:
    """The pairs of a batch, grouped by their rows on the CPU if there are enough of them."""

    def __init__(
        self,
        users: Tensor,
        items: Tensor,
        sample_weight: Tensor | None = None,
        orders: tuple[Tensor | None, Tensor | None] = (None, None),  # of the codes, if known
    ):
        # Without a row of factors for each pair, the work stays in the processor's cache. Other
        # devices handle so many rows easily, but would have to wait for the number of distinct
        # rows.
        user, item = (
            Side(codes, sample_weight, is_grouped=can_group(users), order=order)
            for codes, order in zip((users, items), orders, strict=True)
        )
        self.user, self.item = user, item
        if user.has_distinct_rows:
            user.partner_place, item.partner_place = item.place, user.place

    def products(self, p: Tensor, q: Tensor) -> Tensor:
        """Compute the dot product of the two rows of each pair."""
        user, item = self.user, self.item
        if not user.has_distinct_rows:
            return (p * q).sum(1)
        columns = user.partners
        # len() of a tensor takes as long as some of the products.
        n_pairs, n_users, n_items = columns.shape[0], p.shape[0], q.shape[0]
        if n_pairs > n_users * n_items:  # repeated pairs
            return (p @ q.T).flatten().index_select(0, user.place * n_items + item.place)
        silence_beta_warning()
        pattern = torch.sparse_csr_tensor(
            user.bounds, columns, p.new_zeros(n_pairs), (n_users, n_items), check_invariants=False
        )
        products = torch.sparse.sampled_addmm(pattern, p, q.T, beta=0.0).values()
        if user.order is None:
            return products
        return torch.empty_like(products).index_copy_(0, user.order.long(), products)


def can_group(codes: Tensor) -> bool:
    """Return whether pairs of these codes are grouped."""
    return codes.device.type == "cpu" and len(codes) >= GROUPED_FROM


def sorted_by_code(codes: Tensor) -> tuple[Tensor, Tensor]:
    """Sort codes on the CPU, and return their order and the sorted codes."""
    n_bits = (len(codes) - 1).bit_length()
    # Sorting integers that hold code and position takes a third of the time of a stable argsort.
    keys = codes.long() << n_bits
    keys |= _positions(len(codes))
    keys = keys.sort().values
    return keys & ((1 << n_bits) - 1), keys >> n_bits


@lru_cache(maxsize=16)
def _positions(n: int) -> Tensor:
    return torch.arange(n)


@cache
def silence_beta_warning() -> None:
    """Trigger torch's only warning that sparse CSR tensors are in beta, and ignore it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        torch.sparse_csr_tensor([0, 1], [0], [0.0], (1, 1), check_invariants=False)


class PairModule(RatingModule):
    """Base of the modules that read users and items and have a gradient in closed form."""

    # Adds the gradient of pairs that are grouped already; see `backward_loss`.
    backward_of_pairs: Callable[..., tuple[Tensor, Tensor]]

    @torch.no_grad()
    def backward_loss(  # type: ignore[override]
        self,
        users: Tensor,
        items: Tensor,
        ratings: Tensor,
        sample_weight: Tensor | None = None,
        *,
        loss: Loss | None = None,
        alpha: Penalty = 0.0,
        reduction: str = "mean",
    ) -> tuple[Tensor, Tensor]:
        """Add the gradient of the penalised loss of a batch to the tables' ``grad``.

        Parameters
        ----------
        users : Tensor of shape (n,)
            User codes.
        items : Tensor of shape (n,)
            Item codes.
        ratings : Tensor of shape (n,)
            The ratings.
        sample_weight : Tensor of shape (n,), default=None
            Weight of each rating, 1 if ``None``.
        loss : Loss, default=None
            The loss of a prediction, the squared error if ``None``.
        alpha : float or dict of str to Tensor, default=0.0
            Factor of the penalty on the rows of each rating, or that of each row by the names of
            the tables.
        reduction : {'mean', 'sum'}, default='mean'
            Whether to use the gradient of the weighted mean, or of half the weighted sum.

        Returns
        -------
        mean : Tensor of shape ()
            The weighted mean of the losses, in units of the ratings. It does not contain
            the penalty, as with torch's ``weight_decay``.
        predictions : Tensor of shape (n,)
            The predictions of ``forward`` for the batch.
        """
        pairs = Pairs(users, items, sample_weight)
        return self.backward_of_pairs(
            pairs, ratings, sample_weight, loss=loss, alpha=alpha, reduction=reduction
        )
