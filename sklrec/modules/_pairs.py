"""The rows that a batch of pairs looks up, their products, and sums over the pairs of a row."""
# SPDX-License-Identifier: BSD-3-Clause

import warnings
from functools import cache, lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

# With fewer pairs than this, looking up each row once saves less than it costs.
GROUPED_FROM = 256


class Side:
    """One side of pairs, each of which looks up a row for itself.

    Parameters
    ----------
    codes : Tensor of shape (n,)
        The row of each pair.
    sample_weight : Tensor of shape (n,) or None
        Weight of each pair, 1 if ``None``.

    Attributes
    ----------
    rows : Tensor of shape (n_rows,)
        The rows that are looked up.
    weights : Tensor of shape (n_rows,) or (1,)
        The weight of the pairs of each.
    has_distinct_rows : bool
        Whether no row is looked up twice.
    """

    has_distinct_rows = False

    def __init__(self, codes: Tensor, sample_weight: Tensor | None):
        self.rows = codes
        self.weights = (
            torch.ones(1, device=codes.device) if sample_weight is None else sample_weight
        )
        self._is_unknown = codes == 0

    def spread(self, of_rows: Tensor) -> Tensor:
        """Give each pair what its row has.

        Parameters
        ----------
        of_rows : Tensor of shape (n_rows,)
            Something of each row.

        Returns
        -------
        Tensor of shape (n,)
            The same by pairs.
        """
        return of_rows

    def arrange(self, of_pairs: Tensor) -> Tensor:
        """Bring what pairs have into the order in which `totals` and `sums` take it.

        Parameters
        ----------
        of_pairs : Tensor of shape (n,)
            Something of each pair.

        Returns
        -------
        Tensor of shape (n,)
            The same, pairs of a row side by side.
        """
        return of_pairs

    def totals(self, arranged: Tensor) -> Tensor:
        """Sum over the pairs of each row.

        Parameters
        ----------
        arranged : Tensor of shape (n,)
            What `arrange` gave.

        Returns
        -------
        Tensor of shape (n_rows,)
            The sums.
        """
        return arranged

    def sums(self, arranged: Tensor, table: Tensor) -> Tensor:
        """Sum the partners' rows of each row, weighted.

        Parameters
        ----------
        arranged : Tensor of shape (n,)
            The weights, as `arrange` gave them.
        table : Tensor of shape (n_partner_rows, n_factors)
            What was looked up for the partners.

        Returns
        -------
        Tensor of shape (n_rows, n_factors)
            The sums.
        """
        return table * arranged.unsqueeze(1)

    def without_unknown(self, of_rows: Tensor) -> Tensor:
        """Set to 0 what the row of unknown codes has.

        Parameters
        ----------
        of_rows : Tensor of shape (n_rows, ...)
            Something that `totals` or `sums` gave. It may change.

        Returns
        -------
        Tensor of the shape of `of_rows`
            A tensor of its own.
        """
        mask = self._is_unknown if of_rows.ndim == 1 else self._is_unknown.unsqueeze(1)
        return of_rows.masked_fill(mask, 0)


class GroupedSide(Side):
    """One side of pairs, each of whose rows is looked up once.

    Parameters
    ----------
    codes : Tensor of shape (n,)
        The row of each pair.
    sample_weight : Tensor of shape (n,) or None
        Weight of each pair, 1 if ``None``.
    order : Tensor of shape (n,), default=None
        Positions in the order of the codes, if that is known.
    """

    has_distinct_rows = True

    def __init__(self, codes: Tensor, sample_weight: Tensor | None, order: Tensor | None = None):
        if order is None:
            order, codes_in_order = sorted_by_code(codes)
        else:
            codes_in_order = codes.index_select(0, order)
        rows, place, counts = torch.unique_consecutive(
            codes_in_order, return_inverse=True, return_counts=True
        )
        self.rows = rows.int()
        self._order = None if torch.equal(order, _positions(len(order))) else order.int()
        self.place = torch.empty_like(place).index_copy_(0, order, place).int()
        self.bounds = F.pad(counts.cumsum(0), (1, 0)).int()
        self.weights = (
            counts.float() if sample_weight is None else self.totals(self.arrange(sample_weight))
        )
        self._has_unknown = self.rows[0].item() == 0
        self._partners = self.place  # until they are known

    def meet(self, partners: "GroupedSide") -> None:
        """Learn whom the pairs are with.

        Parameters
        ----------
        partners : GroupedSide
            The other side.
        """
        self._partners = self.arrange(partners.place)

    def spread(self, of_rows: Tensor) -> Tensor:
        return of_rows.index_select(0, self.place)

    def arrange(self, of_pairs: Tensor) -> Tensor:
        return of_pairs if self._order is None else of_pairs.index_select(0, self._order)

    def totals(self, arranged: Tensor) -> Tensor:
        return torch.segment_reduce(arranged, "sum", offsets=self.bounds, unsafe=True)

    def sums(self, arranged: Tensor, table: Tensor) -> Tensor:
        # What torch.nn.functional.embedding_bag(mode="sum") calls, after checks that take as long.
        mode, frequencies, sparse, with_last = 0, False, False, True
        return torch.embedding_bag(
            table, self._partners, self.bounds, frequencies, mode, sparse, arranged, with_last
        )[0]

    def without_unknown(self, of_rows: Tensor) -> Tensor:
        if self._has_unknown:
            of_rows[0] = 0
        return of_rows


class Pairs:
    """The pairs of a batch.

    On the CPU, and if there are enough of them, they are grouped: each row is looked up once
    however often it occurs, and nothing has a row of factors for each pair, so that what is at
    work stays in the processor's cache. On other devices that many rows are no burden, but how
    many of them differ would have to be waited for.

    Parameters
    ----------
    users : Tensor of shape (n,)
        User codes, at least one.
    items : Tensor of shape (n,)
        Item codes.
    sample_weight : Tensor of shape (n,), default=None
        Weight of each pair, 1 if ``None``.
    orders : tuple of (Tensor or None, Tensor or None), default=(None, None)
        Positions in the order of the users' codes, and in that of the items', if known.

    Attributes
    ----------
    user : Side
        The users' side.
    item : Side
        The items' side.
    """

    user: Side
    item: Side

    def __init__(
        self,
        users: Tensor,
        items: Tensor,
        sample_weight: Tensor | None = None,
        orders: tuple[Tensor | None, Tensor | None] = (None, None),
    ):
        if can_group(users):
            user = GroupedSide(users, sample_weight, orders[0])
            item = GroupedSide(items, sample_weight, orders[1])
            user.meet(item)
            item.meet(user)
            self.user, self.item = user, item
        else:
            self.user, self.item = (Side(codes, sample_weight) for codes in (users, items))

    def products(self, p: Tensor, q: Tensor) -> Tensor:
        """Multiply the two rows of each pair.

        Parameters
        ----------
        p : Tensor of shape (n_user_rows, n_factors)
            What was looked up for ``user.rows``.
        q : Tensor of shape (n_item_rows, n_factors)
            What was looked up for ``item.rows``.

        Returns
        -------
        Tensor of shape (n,)
            The dot products.
        """
        user, item = self.user, self.item
        if not isinstance(user, GroupedSide) or not isinstance(item, GroupedSide):
            return (p * q).sum(1)
        columns = user._partners
        # A tensor's len() would take as long as some of the products.
        n_pairs, n_users, n_items = columns.shape[0], p.shape[0], q.shape[0]
        if n_pairs > n_users * n_items:  # the same pairs again and again
            return (p @ q.T).flatten().index_select(0, user.place * n_items + item.place)
        _silence_beta_warning()
        wanted = torch.sparse_csr_tensor(
            user.bounds, columns, p.new_zeros(n_pairs), (n_users, n_items), check_invariants=False
        )
        found = torch.sparse.sampled_addmm(wanted, p, q.T, beta=0.0).values()
        if user._order is None:
            return found
        return torch.empty_like(found).index_copy_(0, user._order.long(), found)


def can_group(codes: Tensor) -> bool:
    """Tell whether pairs are grouped.

    Parameters
    ----------
    codes : Tensor of shape (n,)
        The codes of either side.

    Returns
    -------
    bool
        Whether they are on the CPU and enough.
    """
    return codes.device.type == "cpu" and len(codes) >= GROUPED_FROM


def sorted_by_code(codes: Tensor) -> tuple[Tensor, Tensor]:
    """Sort codes on the CPU.

    Parameters
    ----------
    codes : Tensor of shape (n,)
        Codes.

    Returns
    -------
    order : Tensor of shape (n,)
        Their positions, in the order of the codes.
    codes : Tensor of shape (n,)
        The codes in that order.
    """
    n_bits = (len(codes) - 1).bit_length()
    # Sorting single numbers that hold code and position takes a third of a stable argsort's time.
    keys = codes.long() << n_bits
    keys |= _positions(len(codes))
    keys = keys.sort().values
    return keys & ((1 << n_bits) - 1), keys >> n_bits


@lru_cache(maxsize=16)
def _positions(n: int) -> Tensor:
    return torch.arange(n)


@cache
def _silence_beta_warning() -> None:
    """Let torch say once, unheard, that its sparse rows are in beta."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        torch.sparse_csr_tensor([0, 1], [0], [0.0], (1, 1), check_invariants=False)
