"""Networks in a model file, rebuilt from the shapes of their own tables."""
# SPDX-License-Identifier: BSD-3-Clause

import re
from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any

import numpy as np
import torch
from torch import nn

from sklrec._data.histories import Histories
from sklrec._persistence.bounds import (
    LARGEST_RATING,
    SMALLEST_SCALE,
    check_covariances,
    check_size,
    largest,
)
from sklrec._persistence.parts import ANY, PartReader, PartWriter
from sklrec._utils.devices import this_or_cpu
from sklrec.modules import (
    BayesianFactorizationMachine,
    DenseNet,
    LSTMRating,
    MatrixFactorization,
)
from sklrec.modules._bayesian import BayesianMatrixFactorization
from sklrec.modules._rating_module import RatingModule

DEVICE = re.compile(r"cpu|mps|(cuda|xpu)(:\d{1,3})?")
SIDES = ("user", "item", "context")


def write_module(part: PartWriter, module: RatingModule) -> None:
    """Write a network.

    Parameters
    ----------
    part : PartWriter
        Where to.
    module : RatingModule
        The network.
    """
    part.put("device", str(module.global_mean.device))
    part.put("training", module.training)
    for name in ATTRIBUTES[type(module)]:
        part.put(name, _plain(getattr(module, name)))
    if isinstance(module, DenseNet):
        part.put("n_hidden_layers", len(module.hidden_layer_sizes))
    if isinstance(module, DenseNet | LSTMRating):
        part.put("dropout", float(module.dropout.p))
    for name, values in _tensors(module).items():
        part.array(name, values.detach().cpu().numpy())


class ModuleReader:
    """Reads a network of a known class, whose sizes other parts of the file say.

    Parameters
    ----------
    part : PartReader
        Where from.
    """

    def __init__(self, part: PartReader):
        self.part = part
        self.state: dict[str, np.ndarray] = {}
        self.device = part.value("device", str)
        if not DEVICE.fullmatch(self.device):
            part.refuse("device", f"should be a device of torch, got {self.device[:50]!r}")
        self.training = part.value("training", bool)
        self.global_mean = self._constant("global_mean")
        self.scale = self._constant("scale")
        if self.scale < SMALLEST_SCALE:
            part.refuse("scale", f"should be at least {SMALLEST_SCALE:g}")

    def _constant(self, name: str) -> float:
        return float(self.take(name))

    def take(self, name: str, *shape: int | None, dtype: str = "float32") -> np.ndarray:
        """Read a tensor of finite numbers.

        Parameters
        ----------
        name : str
            Its name in the module.
        *shape : int or ANY
            Its shape.
        dtype : str, default="float32"
            Its dtype.

        Returns
        -------
        ndarray
            Its values.
        """
        values = self.part.array(name, dtype, shape)
        check_size(self.part, name, values)
        self.state[name] = values
        return values

    def tables(self, sides: Mapping[str, int], biased: bool) -> int:
        """Read factors and biases.

        Parameters
        ----------
        sides : dict of str to int
            For each side the number of its codes, 0 included.
        biased : bool
            Whether there are biases.

        Returns
        -------
        int
            The number of factors.
        """
        n_factors: int | None = ANY
        for side, n_rows in sides.items():
            n_factors = self.take(f"{side}_factors.weight", n_rows, n_factors).shape[1]
            if biased:
                self.take(f"{side}_biases", n_rows)
        if not n_factors:
            self.part.refuse("", "has no factors")
        return n_factors

    def size(self, *names: str) -> float:
        """Find the largest absolute value of some tensors.

        Parameters
        ----------
        *names : str
            Those of them that are there count.

        Returns
        -------
        float
            The largest.
        """
        return max(largest(self.state.get(name)) for name in names)

    def refuse_overflow(self, size: float) -> None:
        """Raise if ratings might be infinite.

        Parameters
        ----------
        size : float
            What the largest rating may come to, in units of the scale.
        """
        if not size * self.scale + abs(self.global_mean) <= LARGEST_RATING:
            self.part.refuse("", f"has numbers that make ratings of more than {LARGEST_RATING:g}")

    def finish(self, module: RatingModule) -> Any:
        """Put the tensors that were read into a module.

        Parameters
        ----------
        module : RatingModule
            A module of the right sizes, but for the numbers of users, items and draws.

        Returns
        -------
        RatingModule
            The same.
        """
        for name, values in self.state.items():
            _replace(module, name, torch.from_numpy(values))
        module.train(self.training)
        return module.to(this_or_cpu(self.device))


def read_matrix_factorization(part: PartReader, n_users: int, n_items: int) -> MatrixFactorization:
    """Read a matrix factorisation.

    Parameters
    ----------
    part : PartReader
        Where from.
    n_users : int
        Number of users' codes, 0 included.
    n_items : int
        Number of items' codes, 0 included.

    Returns
    -------
    MatrixFactorization
        The module.
    """
    reader = ModuleReader(part)
    biased = part.value("biased", bool)
    sides = {"user": n_users, "item": n_items}
    n_factors = reader.tables(sides, biased)
    for name, n_rows in (("user_terms", n_items), ("item_terms", n_users)):
        if part.has_array(name):
            reader.take(name, n_rows, n_factors + biased)
    factors = reader.size("user_factors.weight") * reader.size("item_factors.weight")
    reader.refuse_overflow(n_factors * factors + 2 * reader.size("user_biases", "item_biases"))
    sparse = part.value("sparse", bool)
    module = MatrixFactorization(0, 0, n_factors, biased=biased, sparse=sparse, **_start(part))
    return reader.finish(module)


def read_bayesian(part: PartReader, n_users: int, n_items: int) -> BayesianMatrixFactorization:
    """Read the draws of a matrix factorisation.

    Parameters
    ----------
    part : PartReader
        Where from.
    n_users : int
        Number of users' codes, 0 included.
    n_items : int
        Number of items' codes, 0 included.

    Returns
    -------
    BayesianMatrixFactorization
        The module.
    """
    reader = ModuleReader(part)
    biased = part.value("biased", bool)
    n_factors, _ = _take_draws(reader, n_users, n_items, biased)
    _refuse_overflow_of_draws(reader, reader.size("user_draws", "item_draws"))
    module = BayesianMatrixFactorization(0, 0, n_factors, biased=biased, **_start(part))
    return reader.finish(module)


def _take_draws(reader: ModuleReader, n_users: int, n_items: int, biased: bool) -> tuple[int, int]:
    part = reader.part
    n_factors = reader.tables({"user": n_users, "item": n_items}, biased)
    width = n_factors + biased
    noise = reader.take("noise", ANY)
    n_draws = len(noise)
    if n_draws == 0:
        part.refuse("noise", "should be that of at least one draw")
    if noise.min() < 0:
        part.refuse("noise", "should not be negative")
    for side, n_rows, n_others in (("user", n_users, n_items), ("item", n_items, n_users)):
        reader.take(f"{side}_draws", n_draws, n_rows, width)
        covariances = reader.take(f"{side}_covariances", n_draws, width, width)
        check_covariances(part, f"{side}_covariances", covariances)
        if part.has_array(f"{side}_terms"):
            reader.take(f"{side}_terms", n_draws, n_others, width)
        if part.has_array(f"{side}_priors"):
            reader.take(f"{side}_priors", n_draws, width + 1, width)
    if part.has_array("user_noise") and reader.take("user_noise", n_draws, n_users).min() < 0:
        part.refuse("user_noise", "should not be negative")
    return n_factors, n_draws


def _refuse_overflow_of_draws(reader: ModuleReader, row: float) -> None:
    """Raise if products of rows up to a size, or their variances, might be infinite."""
    width = reader.state["user_draws"].shape[2]
    covariance = reader.size("user_covariances", "item_covariances")
    reader.refuse_overflow(width**2 * (row**2 + 1) * (covariance + 3) + covariance**2)


def read_factorization_machine(
    part: PartReader, n_users: int, n_items: int, sizes: Mapping[str, Sequence[int]]
) -> BayesianFactorizationMachine:
    """Read the draws of a factorisation machine.

    Parameters
    ----------
    part : PartReader
        Where from.
    n_users : int
        Number of users' codes, 0 included.
    n_items : int
        Number of items' codes, 0 included.
    sizes : dict of str to sequence of int
        For users, items and context how many rows of the table of values each column has.

    Returns
    -------
    BayesianFactorizationMachine
        The module.
    """
    reader = ModuleReader(part)
    n_factors, n_draws = _take_draws(reader, n_users, n_items, biased=True)
    row = reader.size("user_draws", "item_draws")
    for side, n_rows in zip(SIDES, (n_users, n_items, 1), strict=True):
        n_values = sum(sizes[side])
        reader.take(f"{side}_value_draws", n_draws, n_values, n_factors + 1)
        values = part.codes(f"{side}_values", (n_rows, ANY), n_values)
        reader.state[f"{side}_values"] = values
        weights = largest(reader.take(f"{side}_weights", *values.shape))
        # `predict` gives cells weights of its own, of at most 1.
        n_cells = max(values.shape[1], n_values)
        row += n_cells * max(1.0, weights) * reader.size(f"{side}_value_draws")
    _refuse_overflow_of_draws(reader, row)
    stars = None
    n_thresholds, n_rows = 0, 0
    if part.has_array("stars"):
        found = reader.take("stars", ANY)
        if len(found) == 0 or not (found[1:] > found[:-1]).all():
            part.refuse("stars", "should rise")
        stars = torch.from_numpy(found)
        n_thresholds, n_rows = len(found) - 1, n_draws
    thresholds = reader.take("threshold_draws", n_rows, n_thresholds, dtype="float64")
    if (thresholds[:, 1:] < thresholds[:, :-1]).any():
        part.refuse("threshold_draws", "should rise")
    module = BayesianFactorizationMachine(
        0,
        0,
        n_factors,
        n_user_values=sizes["user"],
        n_item_values=sizes["item"],
        n_context_values=sizes["context"],
        stars=stars,
        **_start(part),
    )
    return reader.finish(module)


def read_dense_net(
    part: PartReader, n_users: int, n_items: int, n_columns: Mapping[str, int], n_values: int
) -> DenseNet:
    """Read a dense net.

    Parameters
    ----------
    part : PartReader
        Where from.
    n_users : int
        Number of users' codes, 0 included.
    n_items : int
        Number of items' codes, 0 included.
    n_columns : dict of str to int
        Number of numeric, categorical and multi-valued columns.
    n_values : int
        Number of values of all categorical and multi-valued columns.

    Returns
    -------
    DenseNet
        The module.
    """
    reader = ModuleReader(part)
    _refuse_training(reader)
    biased, products = part.value("biased", bool), part.value("products", bool)
    n_factors = reader.tables({"user": n_users, "item": n_items}, biased)
    if n_columns["categorical"] + n_columns["multi_valued"]:
        reader.take("value_factors.weight", n_values + 1, n_factors)
    n_bins = part.count("n_bins", 1)
    if n_columns["numeric"]:
        reader.take("bin_factors", n_columns["numeric"], n_bins + 1, n_factors)
    n_inputs = (2 + sum(n_columns.values())) * n_factors
    n_hidden = part.count("n_hidden_layers")
    hidden_layer_sizes = []
    for number in range(n_hidden + 1):
        n_units = ANY if number < n_hidden else 1
        name = f"layers.{2 * number}"
        n_units = len(reader.take(f"{name}.weight", n_units, n_inputs))
        if n_units == 0:
            part.refuse(name, "should have at least one unit")
        reader.take(f"{name}.bias", n_units)
        hidden_layer_sizes.append(n_units)
        n_inputs = n_units
    _refuse_overflow_of_net(reader, hidden_layer_sizes, products)
    module = DenseNet(
        0,
        0,
        n_factors,
        hidden_layer_sizes[:-1],
        products=products,
        biased=biased,
        dropout=part.number("dropout", 0, 1),
        n_numeric=n_columns["numeric"],
        n_categorical=n_columns["categorical"],
        n_multi_valued=n_columns["multi_valued"],
        n_bins=n_bins,
        sparse=part.value("sparse", bool),
        **_start(part),
    )
    return reader.finish(module)


def _refuse_overflow_of_net(
    reader: ModuleReader, layer_sizes: Sequence[int], products: bool
) -> None:
    names = ("user_factors", "item_factors", "value_factors")
    read = reader.size(*(f"{name}.weight" for name in names), "bin_factors")
    n_inputs = reader.state["layers.0.weight"].shape[1]
    others = 2 * reader.size("user_biases", "item_biases")
    others += n_inputs * read * read * products * 2
    for number, n_units in enumerate(layer_sizes):
        name = f"layers.{2 * number}"
        read = n_inputs * read * reader.size(f"{name}.weight") + reader.size(f"{name}.bias")
        reader.refuse_overflow(read + others)
        n_inputs = n_units


def read_lstm(part: PartReader, n_items: int, histories: Histories | None) -> LSTMRating:
    """Read an LSTM.

    Parameters
    ----------
    part : PartReader
        Where from.
    n_items : int
        Number of items' codes, 0 included.
    histories : Histories or None
        What it reads, if the file has it.

    Returns
    -------
    LSTMRating
        The module.
    """
    reader = ModuleReader(part)
    _refuse_training(reader)
    items_only = part.value("items_only", bool)
    bidirectional = part.value("bidirectional", bool)
    n_factors = reader.tables({"item": n_items}, not items_only)
    n_inputs = n_factors + (0 if items_only else 2)
    if not items_only:
        reader.take("rated_factors.weight", n_items, n_factors)
        reader.take("seen_factors.weight", n_items, n_factors)
        if abs(reader.take("log_shrinkage")) > 50:
            part.refuse("log_shrinkage", "should be from -50 to 50")
    n_outputs = 1 if items_only else n_factors + 1
    hidden_size = _take_lstm(reader, "lstm", n_inputs)
    if bidirectional and _take_lstm(reader, "backward_lstm", n_inputs) != hidden_size:
        part.refuse("backward_lstm", f"should have {hidden_size} hidden units")
    reader.take("output.weight", n_outputs, hidden_size * (1 + bidirectional))
    reader.take("output.bias", n_outputs)
    if part.has_array("n_lookups") and reader.take("n_lookups", n_items).min() < 0:
        part.refuse("n_lookups", "should not be negative")
    ratings = np.zeros(0) if histories is None else histories.ratings
    ratings = ratings[~np.isnan(ratings)]
    deviation = (largest(ratings) + abs(reader.global_mean)) / reader.scale
    deviation += reader.size("item_biases")
    tables = ("item_factors", "rated_factors", "seen_factors")
    factors = reader.size(*(f"{name}.weight" for name in tables))
    # Hidden units are at most 1.
    user = hidden_size * 2 * reader.size("output.weight") + reader.size("output.bias")
    # Gates are numbers of float64, but what they read is not.
    inputs = (deviation + 1) * (len(ratings) + 1) * (factors + 1)
    user += 3 * inputs
    reader.refuse_overflow((n_factors + 1) * user * (factors + 1))
    module = LSTMRating(
        0,
        n_factors,
        hidden_size,
        items_only=items_only,
        bidirectional=bidirectional,
        dropout=part.number("dropout", 0, 1),
        n_ratings=part.count("n_ratings", 1),
        sparse=part.value("sparse", bool),
        **_start(part),
    )
    return reader.finish(module)


def _take_lstm(reader: ModuleReader, name: str, n_inputs: int) -> int:
    n_gates = len(reader.take(f"{name}.weight_ih_l0", ANY, n_inputs))
    hidden_size, rest = divmod(n_gates, 4)
    if rest or hidden_size == 0:
        reader.part.refuse(name, "should have four gates for each hidden unit")
    reader.take(f"{name}.weight_hh_l0", n_gates, hidden_size)
    for kind in ("ih", "hh"):
        reader.take(f"{name}.bias_{kind}_l0", n_gates)
    return hidden_size


def _refuse_training(reader: ModuleReader) -> None:
    if reader.training:
        reader.part.refuse("training", "should be false")


def _start(part: PartReader) -> dict[str, Any]:
    """What all modules take alike; the generator is there lest torch's global one moves."""
    return {"init_std": part.number("init_std", 1e-30, 1e30), "generator": torch.Generator()}


def _plain(value: Any) -> Any:
    """A number or a boolean as Python's own."""
    if isinstance(value, bool | np.bool_):
        return bool(value)
    return int(value) if isinstance(value, Integral) else float(value)


def _tensors(module: nn.Module) -> dict[str, torch.Tensor]:
    """All parameters and buffers, those too that torch keeps out of a module's state."""
    tensors = dict(module.named_parameters(remove_duplicate=False))
    return tensors | dict(module.named_buffers(remove_duplicate=False))


def _replace(module: nn.Module, name: str, values: torch.Tensor) -> None:
    """Put another tensor, perhaps of another size, in a tensor's place."""
    *path, last = name.split(".")
    parents: list[Any] = [module]
    for step in path:
        parents.append(getattr(parents[-1], step))
    owner = parents[-1]
    before = getattr(owner, last)
    if isinstance(owner, nn.Embedding):
        freeze = not before.requires_grad
        table = nn.Embedding.from_pretrained(values, freeze=freeze, padding_idx=0)
        setattr(parents[-2], path[-1], table)
    elif isinstance(before, nn.Parameter):
        setattr(owner, last, nn.Parameter(values, before.requires_grad))
    else:
        setattr(owner, last, values)


# What is written of each class beside its tensors.
_COMMON = ("init_std",)
ATTRIBUTES: dict[type, Sequence[str]] = {
    MatrixFactorization: (*_COMMON, "biased", "sparse"),
    BayesianMatrixFactorization: (*_COMMON, "biased"),
    BayesianFactorizationMachine: _COMMON,
    DenseNet: (*_COMMON, "biased", "products", "n_bins", "sparse"),
    LSTMRating: (*_COMMON, "items_only", "bidirectional", "n_ratings", "sparse"),
}
