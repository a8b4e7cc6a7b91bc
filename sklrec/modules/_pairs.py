"""Pairs of a batch: the rows that they look up, their products, and sums over pairs."""
# SPDX-License-Identifier: BSD-3-Clause

import warnings
from functools import cache, lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

# With fewer pairs than this, grouping costs more than it saves.
GROUPED_FROM = 256


class Side:
    """One side of the pairs of a batch; looks up one row for each pair."""

    has_distinct_rows = False

    def __init__(self, codes: Tensor, sample_weight: Tensor | None):
        self.rows = codes  # (n_rows,)
        # Weight of the pairs of each row, of shape (n_rows,) or (1,).
        self.weights = (
            torch.ones(1, device=codes.device) if sample_weight is None else sample_weight
        )
        self._is_unknown = codes == 0

    def spread(self, of_rows: Tensor) -> Tensor:  # (n_rows,) to (n,)
        """Return the value of each pair's row."""
        return of_rows

    def arrange(self, of_pairs: Tensor) -> Tensor:
        """Reorder values of pairs for `totals` and `sums`: pairs of a row side by side."""
        return of_pairs

    def totals(self, arranged: Tensor) -> Tensor:  # (n,) to (n_rows,)
        """Sum the arranged values of the pairs of each row."""
        return arranged

    def sums(self, arranged: Tensor, table: Tensor) -> Tensor:
        """Sum the partners' rows of each row, weighted by arranged values of pairs."""
        return table * arranged.unsqueeze(1)  # (n_rows, n_factors)

    def without_unknown(self, of_rows: Tensor) -> Tensor:
        """Set the values of the row of unknown codes to 0, possibly in place."""
        mask = self._is_unknown if of_rows.ndim == 1 else self._is_unknown.unsqueeze(1)
        return of_rows.masked_fill(mask, 0)


class GroupedSide(Side):
    """One side of the pairs of a batch; looks up each distinct row once."""

    has_distinct_rows = True

    def __init__(self, codes: Tensor, sample_weight: Tensor | None, order: Tensor | None = None):
        if order is None:
            order, codes_in_order = sorted_by_code(codes)
        else:
            codes_in_order = codes.index_select(0, order)
        rows, place, counts = torch.unique_consecutive(
            codes_in_order, return_inverse=True, return_counts=True
        )
        self.rows = rows.int()  # (n_rows,)
        self._order = None if torch.equal(order, _positions(len(order))) else order.int()
        self.place = torch.empty_like(place).index_copy_(0, order, place).int()
        self.bounds = F.pad(counts.cumsum(0), (1, 0)).int()
        self.weights = (
            counts.float() if sample_weight is None else self.totals(self.arrange(sample_weight))
        )
        self._has_unknown = self.rows[0].item() == 0
        self._partners = self.place  # until `link`

    def link(self, partners: "GroupedSide") -> None:
        """Store the partners of the pairs."""
        self._partners = self.arrange(partners.place)

    def spread(self, of_rows: Tensor) -> Tensor:
        return of_rows.index_select(0, self.place)

    def arrange(self, of_pairs: Tensor) -> Tensor:
        return of_pairs if self._order is None else of_pairs.index_select(0, self._order)

    def totals(self, arranged: Tensor) -> Tensor:
        return torch.segment_reduce(arranged, "sum", offsets=self.bounds, unsafe=True)

    def sums(self, arranged: Tensor, table: Tensor) -> Tensor:
        # torch.nn.functional.embedding_bag(mode="sum") calls this after checks that take as long.
        mode, frequencies, sparse, with_last = 0, False, False, True
        return torch.embedding_bag(
            table, self._partners, self.bounds, frequencies, mode, sparse, arranged, with_last
        )[0]

    def without_unknown(self, of_rows: Tensor) -> Tensor:
        if self._has_unknown:
            of_rows[0] = 0
        return of_rows


class Pairs:
    """The pairs of a batch, grouped by their rows on the CPU if there are enough of them."""

    user: Side
    item: Side

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
        if can_group(users):
            user = GroupedSide(users, sample_weight, orders[0])
            item = GroupedSide(items, sample_weight, orders[1])
            user.link(item)
            item.link(user)
            self.user, self.item = user, item
        else:
            self.user, self.item = (Side(codes, sample_weight) for codes in (users, items))

    def products(self, p: Tensor, q: Tensor) -> Tensor:
        """Compute the dot product of the two rows of each pair."""
        user, item = self.user, self.item
        if not isinstance(user, GroupedSide) or not isinstance(item, GroupedSide):
            return (p * q).sum(1)
        columns = user._partners
        # len() of a tensor takes as long as some of the products.
        n_pairs, n_users, n_items = columns.shape[0], p.shape[0], q.shape[0]
        if n_pairs > n_users * n_items:  # repeated pairs
            return (p @ q.T).flatten().index_select(0, user.place * n_items + item.place)
        _silence_beta_warning()
        pattern = torch.sparse_csr_tensor(
            user.bounds, columns, p.new_zeros(n_pairs), (n_users, n_items), check_invariants=False
        )
        products = torch.sparse.sampled_addmm(pattern, p, q.T, beta=0.0).values()
        if user._order is None:
            return products
        return torch.empty_like(products).index_copy_(0, user._order.long(), products)


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
def _silence_beta_warning() -> None:
    """Trigger torch's only warning that sparse CSR tensors are in beta, and ignore it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        torch.sparse_csr_tensor([0, 1], [0], [0.0], (1, 1), check_invariants=False)
