"""Bases of the networks, and their tables and layers."""
# SPDX-License-Identifier: BSD-3-Clause

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Self, TypeAlias, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sklrec._utils.runtime import default_device_type, is_plain, to_widest
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


class RatingModule(nn.Module):
    r"""Base of the networks, which predict :math:`\hat r = \mu + \sigma \hat z`."""

    # The networks compute z in float32. Mean, scale and ratings are float64, because ratings far
    # from 0, such as 1e8 + 1 and 1e8 + 2, are equal in float32.
    global_mean: Tensor
    scale: Tensor

    _tensors: Fields = {}  # tensors that hold codes or have a free length
    constant = "global_mean"  # buffer that a loss sets without training
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

    def _tables_of_codes(self) -> dict[str, tuple[str, tuple[str, ...]]]:
        """Owner of the rows of each table, and the inputs that hold their codes, by table."""
        words = {name: name.partition("_")[0] for name, _ in self.named_parameters()}
        return {name: INPUTS_OF_TABLES[w] for name, w in words.items() if w in INPUTS_OF_TABLES}

    @torch.no_grad()
    def _clear_rows(self, name: str, rows: Tensor) -> None:
        """Set rows of a table, which no training row reads, to the row of unknown codes."""
        self.get_parameter(name)[rows] = 0

    def _vectors(self, side: str) -> Tensor:  # (n_rows, n_factors)
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
        loss: Loss | None = None,
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
        loss : Loss, default=None
            The loss of a prediction, the squared error if ``None``.
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
        loss = SQUARED_ERROR if loss is None else loss
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
    return default_device_type() == "meta"


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
