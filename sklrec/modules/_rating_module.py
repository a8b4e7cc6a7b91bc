"""Bases of the networks, and gradients in closed form over the pairs of a batch."""
# SPDX-License-Identifier: BSD-3-Clause

import warnings
from abc import abstractmethod
from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from typing import Any, Self, TypeAlias, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sklrec._utils.runtime import is_plain, to_widest
from sklrec._utils.state.kinds import Fields
from sklrec._utils.versions import is_exporting
from sklrec.modules._losses import SQUARED_ERROR, Loss, SquaredError

Layer = TypeVar("Layer", bound=nn.Module)
# Factor of the penalty on all rows, or on each row of each table, once for each of its ratings.
Penalty: TypeAlias = float | dict[str, Tensor]

# Standard deviations of new factors, as shares of `init_std`, by the first word of a table's name.
STARTS = {"rated": 0.5, "seen": 0.0}
# Owner of a table's rows, and inputs that hold their codes, by the first word of its name.
INPUTS_OF_TABLES = {
    "user": ("user", ("users",)),
    "item": ("item", ("items",)),
    "rated": ("item", ("items",)),
    "seen": ("item", ("items",)),
    "value": ("value", ("categorical", "multi_valued")),
}
# With fewer pairs than this, grouping costs more than it saves.
GROUPED_FROM = 256


class RatingModule(nn.Module):
    r"""Base of the networks, which predict :math:`\hat r = \mu + \sigma \hat z`."""

    # The networks compute z in float32. Mean, scale and ratings are float64, because ratings far
    # from 0, such as 1e8 + 1 and 1e8 + 2, are equal in float32.
    global_mean: Tensor
    scale: Tensor

    _tensors: Fields = {}  # tensors that hold codes or have a free length
    learns_penalties = False  # whether penalties can be learned for its tables
    has_fixed_biases = False  # whether no gradient trains the biases
    reads_users = False  # whether a module of histories reads users too
    has_static_part = False
    history_dropout = 0.0  # share of the targets that read a part of their history in training
    _exact: tuple[str, ...] = ("global_mean", "scale")

    def __init__(self, global_mean: float = 0.0, scale: float = 1.0):
        super().__init__()
        self.register_buffer("global_mean", torch.tensor(global_mean, dtype=torch.float64))
        self.register_buffer("scale", torch.tensor(scale, dtype=torch.float64))

    @property
    def zero(self) -> Tensor:
        """The rating of the score 0."""
        return self.global_mean

    @property
    def constant(self) -> Tensor:
        """The part of the predictions that a loss sets without training."""
        return self.global_mean

    @property
    def has_biases(self) -> bool:
        """Whether there are a bias of each user and a bias of each item."""
        return hasattr(self, "user_biases")

    @property
    @abstractmethod
    def width(self) -> int:
        """Largest number of values that one row takes in a tensor."""

    @abstractmethod
    def penalty(self, **inputs: Tensor) -> Tensor:
        """Return the squared norms that the penalty multiplies, of shape (n,) or ()."""

    def tables_of_codes(self) -> dict[str, tuple[str, tuple[str, ...]]]:
        """Owner of the rows of each table, and the inputs that hold their codes, by table."""
        words = {name: name.partition("_")[0] for name, _ in self.named_parameters()}
        return {name: INPUTS_OF_TABLES[w] for name, w in words.items() if w in INPUTS_OF_TABLES}

    @torch.no_grad()
    def clear_rows(self, name: str, rows: Tensor) -> None:
        """Set rows of a table, which no training row reads, to the row of unknown codes."""
        self.get_parameter(name)[rows] = 0

    def vectors(self, side: str) -> Tensor:  # (n_rows, n_factors)
        """Vectors by which users or items are compared: row k has the code k."""
        return getattr(self, f"{side}_factors").weight.detach().cpu()

    def _to_ratings(self, z: Tensor, zero: Tensor | None = None) -> Tensor:
        """Convert values in units of the scale, above the mean or other ratings, to ratings."""
        zero = self.zero if zero is None else zero
        return torch.addcmul(zero, self.scale, z.to(self.scale.dtype))

    def _from_ratings(self, ratings: Tensor, like: Tensor) -> Tensor:
        """Convert ratings to values in units of the scale, with the dtype of another tensor."""
        return (ratings.to(self.scale.dtype) - self.zero).to(like.dtype).div_(self.scale)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        # `to`, `half` and the like move and convert a module here. Mean and scale only move.
        exact = {id(getattr(self, name)) for name in self._exact}

        def apply(values: Tensor) -> Tensor:
            if id(values) not in exact or values.is_meta:
                return fn(values)
            return to_widest(values, fn(values.float()).device)

        return super()._apply(apply, recurse)

    def _predict_and_penalise(self, alpha: Any, **inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return `forward`, and `alpha` times `penalty`; subclasses override it to share work."""
        return self(**inputs), alpha * self.penalty(**inputs)

    def backward_loss(
        self,
        ratings: Tensor,
        sample_weight: Tensor | None = None,
        *,
        loss: Loss = SQUARED_ERROR,
        alpha: Penalty = 0.0,
        reduction: str = "mean",
        **inputs: Tensor,
    ) -> tuple[Tensor, Tensor]:
        r"""Add the gradient of a batch's penalised loss to the parameters' ``grad``.

        The error of a rating is :math:`(r - \hat r)^2 / \sigma^2`, or that of another `loss`,
        plus `alpha` times the `penalty`.

        Parameters
        ----------
        ratings : Tensor of shape (n,)
            The ratings.
        sample_weight : Tensor of shape (n,), default=None
            Weight of each rating, 1 if ``None``.
        loss : Loss, default=SQUARED_ERROR
            The loss of a prediction.
        alpha : float or dict of str to Tensor, default=0.0
            Factor of the penalty. `DenseNet` also takes a factor for each row, by the names of
            the tables.
        reduction : {'mean', 'sum'}, default='mean'
            Whether to use the gradient of the weighted mean, or of half the weighted sum.
        **inputs : dict of str to Tensor
            The arguments of ``forward``.

        Returns
        -------
        mean : Tensor of shape ()
            The weighted mean of the losses, in units of the ratings. It does not contain the
            penalty, as with torch's ``weight_decay``.
        predictions : Tensor of shape (n,)
            The predictions of ``forward`` for the batch.
        """
        predictions, penalty = self._predict_and_penalise(alpha, **inputs)
        losses = loss.objective(predictions, ratings, self.scale, penalty.dtype)
        weight = torch.ones_like(losses) if sample_weight is None else sample_weight
        terms = losses + penalty
        total = weight.sum()
        (weight.dot(terms) / (2 if reduction == "sum" else total)).backward()
        predictions = predictions.detach()
        if isinstance(loss, SquaredError):  # computed already
            return weight.dot(losses.detach()) * self.scale.square() / total, predictions
        return loss.mean(predictions, ratings, sample_weight), predictions


class FactorModule(RatingModule):
    """Base of the modules with factors, and perhaps biases, of users and items."""

    learns_penalties = True
    n_factors: int
    biased: bool
    init_std: float

    def _add_tables(self, n_users: int, n_items: int, generator: torch.Generator | None) -> None:
        self.user_factors = embedding(self, "user", n_users, generator)
        self.item_factors = embedding(self, "item", n_items, generator)
        if self.biased:
            self.user_biases, self.item_biases = zero_biases(n_users), zero_biases(n_items)

    def _biases(self, users: Tensor, items: Tensor, *, sparse: bool = False) -> list[Tensor]:
        tables = (self.user_biases, users), (self.item_biases, items)
        return [biases_of(table, codes, sparse=sparse) for table, codes in tables]

    @property
    def n_users(self) -> int:
        """Number of known users."""
        return self.user_factors.num_embeddings - 1

    @property
    def n_items(self) -> int:
        """Number of known items."""
        return self.item_factors.num_embeddings - 1


def wide(values: Tensor) -> Tensor:
    """Convert to float64 outside training, except on devices and in exported graphs without it."""
    # The order in which a product of matrices adds up depends on the position of a row. In float64
    # this does not change the result in float32: a prediction is a function of its row alone.
    is_float32 = is_plain(values.device) or is_exporting()
    return values if is_float32 else values.double()


def linear(layer: nn.Linear, values: Tensor) -> Tensor:
    """Apply a linear layer, in float64 outside training."""
    if layer.training:
        return layer(values)
    return F.linear(wide(values), wide(layer.weight), wide(layer.bias)).to(values.dtype)


def uniform_start(layer: Layer, bound: float, generator: torch.Generator | None) -> Layer:
    """Initialise a layer on the device "meta" uniformly, from a generator."""
    if is_meta():
        return layer.float()
    layer = layer.to_empty(device="cpu").float()
    with torch.no_grad():
        for values in layer.parameters():
            values.uniform_(-bound, bound, generator=generator)
    return layer


def new_linear(n_inputs: int, n_outputs: int, generator: torch.Generator | None) -> nn.Linear:
    """Make a linear layer with torch's initialisation, from a generator."""
    layer = nn.Linear(n_inputs, n_outputs, device="meta")
    return uniform_start(layer, n_inputs**-0.5, generator)


def embedding(
    module: Any, owner: str, n_rows: int, generator: torch.Generator | None
) -> nn.Embedding:
    """Make a table of ``n_rows + 1`` normal rows; row 0, the unknown, is zero."""
    std = module.init_std * STARTS.get(owner, 1.0)
    return _as_embedding(normal((n_rows + 1, module.n_factors), std, generator, zeros=0))


def normal(
    shape: Sequence[int],
    std: float,
    generator: torch.Generator | None,
    *,
    zeros: Any,  # index of what is zero
) -> Tensor:
    """Draw from N(0, std**2) in float32, or make an empty tensor on the device "meta"."""
    if is_meta():
        return torch.empty(tuple(shape), dtype=torch.float32)
    values = torch.randn(shape, generator=generator, dtype=torch.float32).mul_(std)
    values[zeros] = 0
    return values


def is_meta() -> bool:
    """Whether new tensors are made on the device "meta", without values."""
    return torch.get_default_device().type == "meta"


def zero_biases(n_rows: int) -> nn.Parameter:
    """Make ``n_rows + 1`` biases."""
    return nn.Parameter(torch.zeros(n_rows + 1, dtype=torch.float32))


@torch.no_grad()
def grow_tables(module: Any, sizes: dict[str, int], generator: torch.Generator | None) -> None:
    """Append new rows of users, items or values to the tables; the others stay the same."""
    for name, table in list(module.named_parameters()):
        word = name.partition("_")[0]
        owner, _ = INPUTS_OF_TABLES.get(word, ("", ()))
        n_more = sizes.get(owner, 0) + 1 - len(table) if owner in sizes else 0
        if n_more == 0:
            continue
        if table.ndim == 1:
            grown: nn.Module | Tensor = nn.Parameter(torch.cat([table, table.new_zeros(n_more)]))
        else:
            std = module.init_std * STARTS.get(word, 1.0)
            more = torch.randn(n_more, table.shape[1], generator=generator) * std
            grown = _as_embedding(torch.cat([table, more.to(table)]))
        setattr(module, name.removesuffix(".weight"), grown)


def rows_of(table: nn.Embedding, codes: Tensor, *, sparse: bool = False) -> Tensor:
    """Look up rows; the row of code 0 gets no gradient."""
    return F.embedding(codes, table.weight, padding_idx=0, sparse=sparse)


def biases_of(table: Tensor, codes: Tensor, *, sparse: bool = False) -> Tensor:
    """Look up biases; the bias of code 0 gets no gradient."""
    if sparse:
        return _SparseBiases.apply(table, codes)
    if not torch.is_grad_enabled():
        # Less than half the time of a lookup of rows with one column.
        return table.index_select(0, codes.reshape(-1)).view(codes.shape)
    return F.embedding(codes, table.unsqueeze(1), padding_idx=0).squeeze(-1)


def _as_embedding(table: Tensor) -> nn.Embedding:
    return nn.Embedding.from_pretrained(table, freeze=False, padding_idx=0)


class _SparseBiases(torch.autograd.Function):
    """Lookup of biases with a sparse gradient, which torch has only for tables."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, codes: Tensor) -> Tensor:
        ctx.save_for_backward(codes)
        ctx.shape = table.shape
        return table[codes]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (codes,) = ctx.saved_tensors
        known = gradient.masked_fill(codes == 0, 0).flatten()
        return torch.sparse_coo_tensor(
            codes.view(1, -1), known, ctx.shape, check_invariants=False
        ), None


class Side:
    """One side of the pairs of a batch, with one row for each pair, or one for each code."""

    # Of distinct rows; else each pair has a row of its own:
    place: Tensor  # (n,), row of each pair
    bounds: Tensor  # (n_rows + 1,), of the pairs of each row in their order by row
    partners: Tensor  # (n,), rows of the partners in that order
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
            # Weight of the pairs of each row, of shape (n_rows,) or (1,).
            one = torch.ones(1, device=codes.device)
            self.weights = one if sample_weight is None else sample_weight
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
        self.weights = (
            counts.float() if sample_weight is None else self.totals(self.arrange(sample_weight))
        )
        self._has_unknown = self.rows[0].item() == 0

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
            user.partners, item.partners = user.arrange(item.place), item.arrange(user.place)

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
        loss: Loss = SQUARED_ERROR,
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
        loss : Loss, default=SQUARED_ERROR
            The loss of a prediction.
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
