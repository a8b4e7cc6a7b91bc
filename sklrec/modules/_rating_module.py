"""Base of the networks, and their common layers and tables."""
# SPDX-License-Identifier: BSD-3-Clause

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, Self, TypeAlias, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sklrec._utils.devices import is_plain, to_widest

Layer = TypeVar("Layer", bound=nn.Module)
# Factor of the penalty on all rows, or on each row of each table, once for each of its ratings.
Penalty: TypeAlias = float | dict[str, Tensor]

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
    def has_rows_of_users(self) -> bool:
        """Whether there is a table with a row for each user."""
        return hasattr(self, "user_factors")

    @property
    @abstractmethod
    def width(self) -> int:
        """Largest number of values that one row takes in a tensor."""

    @abstractmethod
    def penalty(self, **inputs: Tensor) -> Tensor:
        """Return the squared norms that the penalty multiplies, of shape (n,) or ()."""

    def _multiply_scores(self, ratio: float) -> None:
        """Multiply the scores by a number, through the parameters."""
        raise NotImplementedError

    def _to_ratings(self, z: Tensor, zero: Tensor | None = None) -> Tensor:
        """Convert values in units of the scale, above the mean or other ratings, to ratings."""
        zero = self.zero if zero is None else zero
        return torch.addcmul(zero, self.scale, z.to(self.scale.dtype))

    def _from_ratings(self, ratings: Tensor, like: Tensor) -> Tensor:
        """Convert ratings to values in units of the scale, with the dtype of another tensor."""
        return (ratings.to(self.scale.dtype) - self.zero).to(like.dtype).div_(self.scale)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        # `to`, `half` and the like move and convert a module here. Mean and scale only move.
        exact = {id(self.global_mean), id(self.scale)}

        def apply(values: Tensor) -> Tensor:
            if id(values) not in exact or values.is_meta:
                return fn(values)
            return to_widest(values, fn(values.float()).device)

        return super()._apply(apply, recurse)

    def _predict_and_penalise(self, alpha: Any, **inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return `forward`, and `alpha` times `penalty`; subclasses override it to share work."""
        return self(**inputs), alpha * self.penalty(**inputs)

    def backward_squared_error(
        self,
        ratings: Tensor,
        sample_weight: Tensor | None = None,
        *,
        alpha: Penalty = 0.0,
        reduction: str = "mean",
        **inputs: Tensor,
    ) -> tuple[Tensor, Tensor]:
        r"""Add the gradient of a batch's penalised squared error to the parameters' ``grad``.

        The error of a rating is :math:`(r - \hat r)^2 / \sigma^2`, plus `alpha` times the
        `penalty`.

        Parameters
        ----------
        ratings : Tensor of shape (n,)
            The ratings.
        sample_weight : Tensor of shape (n,), default=None
            Weight of each rating, 1 if ``None``.
        alpha : float or dict of str to Tensor, default=0.0
            Factor of the penalty. `DenseNet` also takes a factor for each row, by the names of
            the tables.
        reduction : {'mean', 'sum'}, default='mean'
            Whether to use the gradient of the weighted mean, or of half the weighted sum.
        **inputs : dict of str to Tensor
            The arguments of ``forward``.

        Returns
        -------
        loss : Tensor of shape ()
            The weighted mean of the squared errors, in units of the ratings. It does not contain
            the penalty, as with torch's ``weight_decay``.
        predictions : Tensor of shape (n,)
            The predictions of ``forward`` for the batch.
        """
        predictions, penalty = self._predict_and_penalise(alpha, **inputs)
        errors = ((predictions - ratings) / self.scale).to(penalty).square()
        weight = torch.ones_like(errors) if sample_weight is None else sample_weight
        terms = errors + penalty
        total = weight.sum()
        (weight.dot(terms) / (2 if reduction == "sum" else total)).backward()
        loss = weight.dot(errors.detach()) * self.scale.square() / total
        return loss, predictions.detach()


def wide(values: Tensor) -> Tensor:
    """Convert to float64 outside training, except on devices and in exported graphs without it."""
    # The order in which a product of matrices adds up depends on the position of a row. In float64
    # this does not change the result in float32: a prediction is a function of its row alone.
    is_float32 = is_plain(values.device) or torch.compiler.is_exporting()
    return values if is_float32 else values.double()


def linear(layer: nn.Linear, values: Tensor) -> Tensor:
    """Apply a linear layer, in float64 outside training."""
    if layer.training:
        return layer(values)
    return F.linear(wide(values), wide(layer.weight), wide(layer.bias)).to(values.dtype)


def uniform_start(layer: Layer, bound: float, generator: torch.Generator | None) -> Layer:
    """Initialise a layer on the device "meta" uniformly, from a generator."""
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
    n_rows: int, n_columns: int, std: float, generator: torch.Generator | None
) -> nn.Embedding:
    """Make a table of ``n_rows + 1`` rows from N(0, std**2); row 0, the unknown, is zero."""
    table = torch.randn(n_rows + 1, n_columns, generator=generator, dtype=torch.float32).mul_(std)
    table[0] = 0
    return _as_embedding(table)


@torch.no_grad()
def grown_embedding(
    before: nn.Embedding, n_rows: int, std: float, generator: torch.Generator | None
) -> nn.Embedding:
    """Append rows from N(0, std**2) to a table; return the same table if none is new."""
    n_more = n_rows + 1 - before.num_embeddings
    if n_more == 0:
        return before
    more = torch.randn(n_more, before.embedding_dim, generator=generator) * std
    return _as_embedding(torch.cat([before.weight, more.to(before.weight)]))


@torch.no_grad()
def grown_biases(before: nn.Parameter, n_rows: int) -> nn.Parameter:
    """Append zeros to biases; return the same parameter if none is new."""
    n_more = n_rows + 1 - len(before)
    return before if n_more == 0 else nn.Parameter(torch.cat([before, before.new_zeros(n_more)]))


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


def _as_embedding(table: Tensor) -> nn.Embedding:
    return nn.Embedding.from_pretrained(table, freeze=False, padding_idx=0)
