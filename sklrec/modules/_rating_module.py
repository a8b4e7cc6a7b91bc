"""What the networks share: ratings of unit scale inside, and the gradient of their error."""
# SPDX-License-Identifier: BSD-3-Clause

from abc import abstractmethod
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sklrec._utils.devices import is_plain

Layer = TypeVar("Layer", bound=nn.Module)


class RatingModule(nn.Module):
    r"""Base of the networks, which predict :math:`\hat r = \mu + \sigma \hat z`.

    Parameters
    ----------
    global_mean : float, default=0.0
        The constant :math:`\mu`, in units of the ratings. It is not trained.
    scale : float, default=1.0
        The constant :math:`\sigma`, in units of the ratings. It is not trained. With the
        ratings' standard deviation here, learning rate and penalty mean the same on any
        rating scale.
    """

    global_mean: Tensor
    scale: Tensor

    def __init__(self, global_mean: float = 0.0, scale: float = 1.0):
        super().__init__()
        self.register_buffer("global_mean", torch.tensor(global_mean, dtype=torch.float32))
        self.register_buffer("scale", torch.tensor(scale, dtype=torch.float32))

    @property
    @abstractmethod
    def width(self) -> int:
        """How many numbers a row is made of where it is widest."""

    @abstractmethod
    def penalty(self, **inputs: Tensor) -> Tensor:
        """Give the squared norms that each row is penalised by, of shape (n,) or ()."""

    def _predict_and_penalise(self, **inputs: Tensor) -> tuple[Tensor, Tensor]:
        """What ``forward`` and `penalty` give; to be overridden where they share some work."""
        return self(**inputs), self.penalty(**inputs)

    def backward_squared_error(
        self,
        ratings: Tensor,
        sample_weight: Tensor | None = None,
        *,
        alpha: float = 0.0,
        reduction: str = "mean",
        **inputs: Tensor,
    ) -> tuple[Tensor, Tensor]:
        r"""Add the gradient of a batch's penalised squared error to the parameters' ``grad``.

        The gradient is that of the weighted mean, or of half the weighted sum, of
        :math:`(r - \hat r)^2 / \sigma^2` and `alpha` times the `penalty`.

        Parameters
        ----------
        ratings : Tensor of shape (n,)
            Ratings to be predicted.
        sample_weight : Tensor of shape (n,), default=None
            Weight of each rating, 1 if ``None``.
        alpha : float, default=0.0
            What the penalty is multiplied by.
        reduction : {'mean', 'sum'}, default='mean'
            Whether the gradient is that of the mean or that of half the sum.
        **inputs : dict of str to Tensor
            What ``forward`` takes.

        Returns
        -------
        loss : Tensor of shape ()
            The weighted mean of the squared errors, in units of the ratings. As with torch's
            ``weight_decay``, the penalty is not in it.
        predictions : Tensor of shape (n,)
            What ``forward`` returns for the batch.
        """
        weight = torch.ones_like(ratings) if sample_weight is None else sample_weight
        predictions, penalty = self._predict_and_penalise(**inputs)
        errors = ((predictions - ratings) / self.scale).square()
        terms = errors + alpha * penalty
        total = weight.sum()
        (weight.dot(terms) / (2 if reduction == "sum" else total)).backward()
        loss = weight.dot(errors.detach()) * self.scale.square() / total
        return loss, predictions.detach()


def wide(values: Tensor) -> Tensor:
    """Give float64, for products of matrices when nothing is trained.

    In which order such a product adds up depends on where in the matrix a row stands. In float64
    that changes nothing that is left when the result is float32 again: a prediction is then a
    function of its row alone.

    Parameters
    ----------
    values : Tensor
        Numbers.

    Returns
    -------
    Tensor
        The numbers as float64; as they are on Apple's devices, which have no float64, and in an
        exported graph, since few runtimes have all its operators in float64.
    """
    is_float32 = is_plain(values.device) or torch.compiler.is_exporting()
    return values if is_float32 else values.double()


def linear(layer: nn.Linear, values: Tensor) -> Tensor:
    """Apply a layer, in float64 when it is not trained.

    Parameters
    ----------
    layer : nn.Linear
        The layer.
    values : Tensor of shape (n, n_inputs)
        What it is applied to.

    Returns
    -------
    Tensor of shape (n, n_outputs)
        In the dtype of `values`.
    """
    if layer.training:
        return layer(values)
    return F.linear(wide(values), wide(layer.weight), wide(layer.bias)).to(values.dtype)


def uniform_start(layer: Layer, bound: float, generator: torch.Generator | None) -> Layer:
    """Start a layer uniformly, as torch does, but from a generator of our own.

    Parameters
    ----------
    layer : nn.Module
        A layer on the device "meta", lest torch has drawn a start for it.
    bound : float
        Its weights start between minus this and this.
    generator : torch.Generator or None
        Source of the start.

    Returns
    -------
    nn.Module
        The layer, on the CPU.
    """
    layer = layer.to_empty(device="cpu").float()
    with torch.no_grad():
        for values in layer.parameters():
            values.uniform_(-bound, bound, generator=generator)
    return layer


def new_linear(n_inputs: int, n_outputs: int, generator: torch.Generator | None) -> nn.Linear:
    """Make a linear layer that starts as torch's do, but from a generator of our own.

    Parameters
    ----------
    n_inputs : int
        Number of inputs.
    n_outputs : int
        Number of outputs.
    generator : torch.Generator or None
        Source of the start.

    Returns
    -------
    nn.Linear
        The layer.
    """
    layer = nn.Linear(n_inputs, n_outputs, device="meta")
    return uniform_start(layer, n_inputs**-0.5, generator)


def embedding(
    n_rows: int, n_columns: int, std: float, generator: torch.Generator | None
) -> nn.Embedding:
    """Draw a table from N(0, std**2); row 0, the unknown, is zero and stays zero.

    ``nn.Embedding`` by itself would draw from torch's global generator.

    Parameters
    ----------
    n_rows : int
        Number of codes but 0.
    n_columns : int
        Number of columns.
    std : float
        Standard deviation of the start.
    generator : torch.Generator or None
        Source of the start.

    Returns
    -------
    nn.Embedding
        A table of ``n_rows + 1`` rows.
    """
    table = torch.randn(n_rows + 1, n_columns, generator=generator, dtype=torch.float32).mul_(std)
    table[0] = 0
    return _as_embedding(table)


@torch.no_grad()
def grown_embedding(
    before: nn.Embedding, n_rows: int, std: float, generator: torch.Generator | None
) -> nn.Embedding:
    """Give a table with further rows at its end, drawn from N(0, std**2).

    Parameters
    ----------
    before : nn.Embedding
        The table; it stays as it is.
    n_rows : int
        Number of codes but 0 after growing.
    std : float
        Standard deviation of the new rows.
    generator : torch.Generator or None
        Source of the new rows.

    Returns
    -------
    nn.Embedding
        The same table if nothing is new.
    """
    n_more = n_rows + 1 - before.num_embeddings
    if n_more == 0:
        return before
    more = torch.randn(n_more, before.embedding_dim, generator=generator) * std
    return _as_embedding(torch.cat([before.weight, more.to(before.weight)]))


@torch.no_grad()
def grown_biases(before: nn.Parameter, n_rows: int) -> nn.Parameter:
    """Give biases with further zeros at their end.

    Parameters
    ----------
    before : Parameter of shape (n,)
        The biases; they stay as they are.
    n_rows : int
        Number of codes but 0 after growing.

    Returns
    -------
    Parameter of shape (n_rows + 1,)
        The same parameter if nothing is new.
    """
    n_more = n_rows + 1 - len(before)
    return before if n_more == 0 else nn.Parameter(torch.cat([before, before.new_zeros(n_more)]))


def rows_of(table: nn.Embedding, codes: Tensor, *, sparse: bool = False) -> Tensor:
    """Look up rows; that of code 0 gets no gradient.

    Parameters
    ----------
    table : nn.Embedding
        The table.
    codes : Tensor of any shape
        The codes.
    sparse : bool, default=False
        Whether the table gets a sparse gradient, which holds only the rows that were looked up.

    Returns
    -------
    Tensor of shape (..., n_columns)
        The rows.
    """
    return F.embedding(codes, table.weight, padding_idx=0, sparse=sparse)


def biases_of(table: Tensor, codes: Tensor, *, sparse: bool = False) -> Tensor:
    """Look up biases; that of code 0 gets no gradient.

    Parameters
    ----------
    table : Tensor of shape (n_rows,)
        The biases.
    codes : Tensor of any shape
        The codes.
    sparse : bool, default=False
        Whether the table gets a sparse gradient, which holds only the biases that were looked up.

    Returns
    -------
    Tensor of the shape of `codes`
        The biases.
    """
    if sparse:
        return _SparseBiases.apply(table, codes)
    if not torch.is_grad_enabled():
        # In less than half the time that rows of one number take.
        return table.index_select(0, codes.reshape(-1)).view(codes.shape)
    return F.embedding(codes, table.unsqueeze(1), padding_idx=0).squeeze(-1)


class _SparseBiases(torch.autograd.Function):
    """Biases with a sparse gradient, which torch has for tables of rows alone."""

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
