"""Networks in a model file: arguments of their classes, and tensors of checked shapes."""
# SPDX-License-Identifier: BSD-3-Clause

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from sklrec._persistence.parts import ANY, PartReader, PartWriter, Shape
from sklrec._utils.runtime import on_cpu, this_or_cpu
from sklrec.estimators.bayesian import MAX_FACTORS
from sklrec.modules import (
    BiasModel,
    DenseNet,
    GaussianMatrixFactorization,
    LSTMRating,
    MatrixFactorization,
    ResidualLSTMRating,
)
from sklrec.modules._rating_module import RatingModule

DEVICE = re.compile(r"cpu|mps|(cuda|xpu)(:\d{1,3})?")
# Stored arguments of each class. Its sizes are those of its tensors.
ARGUMENTS: dict[type, dict[str, type]] = {
    MatrixFactorization: {"init_std": float, "biased": bool, "sparse": bool},
    GaussianMatrixFactorization: {"svdpp": bool},
    BiasModel: {},
    DenseNet: {
        **{"init_std": float, "biased": bool, "products": bool, "sparse": bool},
        "dropout": float,
    },
    LSTMRating: {
        **{"init_std": float, "items_only": bool, "bidirectional": bool, "sparse": bool},
        **{"n_ratings": int, "dropout": float},
    },
    ResidualLSTMRating: {"bidirectional": bool, "dropout": float},
}
LSTM_TENSORS = {"weight_ih": 1, "weight_hh": 2, "bias_ih": 0, "bias_hh": 0}


def write_module(part: PartWriter, module: RatingModule) -> None:
    """Write a network."""
    part.put("device", str(module.global_mean.device))
    for name, kind in ARGUMENTS[type(module)].items():
        value = getattr(module, name)
        part.put(name, kind(value.p if isinstance(value, nn.Dropout) else value))
    for name, values in _tensors(on_cpu(module).cpu()).items():
        if values is not None:
            part.array(name, values.detach().numpy())


def read_matrix_factorization(part: PartReader, n_users: int, n_items: int) -> MatrixFactorization:
    """Read a matrix factorisation."""
    arguments = _arguments(part, MatrixFactorization)
    n_factors = part.size("item_factors.weight", 1)
    shapes = _pair_shapes(n_users, n_items, n_factors)
    return _with_tensors(part, MatrixFactorization(0, 0, n_factors, **arguments), shapes)


def read_gaussian(
    part: PartReader,
    n_users: int,
    n_items: int,
    sizes: Mapping[str, Sequence[int]],  # numbers of values of the columns, by side
) -> GaussianMatrixFactorization:
    """Read a matrix factorisation of Gaussian rows."""
    svdpp = part.value("svdpp", bool)
    n_factors = part.size("item_factors.weight", 1)
    if n_factors > MAX_FACTORS:  # the covariances have about its square as numbers
        part.refuse("item_factors.weight", f"should have at most {MAX_FACTORS} columns")
    stars = torch.zeros(part.size("stars", 0)) if part.has_array("stars") else None
    of_values: dict[str, Any] = {f"n_{side}_values": values for side, values in sizes.items()}
    module = GaussianMatrixFactorization(0, 0, n_factors, svdpp=svdpp, stars=stars, **of_values)
    # The shapes of other tensors do not depend on the numbers of users and items.
    shapes: dict[str, Shape] = {
        name: tuple(tensor.shape)
        for name, tensor in _tensors(module).items()
        if tensor is not None
    }
    shapes |= _pair_shapes(n_users, n_items, n_factors) | {"user_noise": (n_users,)}
    limits = {}
    n_packed = (n_factors + 1) * (n_factors + 2) // 2
    for side, n_rows, n_partners in (("user", n_users, n_items), ("item", n_items, n_users)):
        shapes[f"{side}_covariances"] = (n_rows, n_packed)
        shapes[f"{side}_terms"] = (n_partners * svdpp, n_factors + 1)
        limits[f"{side}_values"] = sum(sizes[side])
        n_columns = part.size(f"{side}_values", 1)
        shapes[f"{side}_values"] = shapes[f"{side}_weights"] = (n_rows, n_columns)
    return _with_tensors(part, module, shapes, limits)


def read_biases(part: PartReader, n_users: int, n_items: int) -> BiasModel:
    """Read a mean and biases."""
    sizes = {"user": n_users, "item": n_items}
    shapes: dict[str, Shape] = {
        f"{side}_{table}": (n_rows,)
        for side, n_rows in sizes.items()
        for table in ("biases", "weights")
    }
    return _with_tensors(part, BiasModel(0, 0), shapes)


def read_dense_net(
    part: PartReader,
    n_users: int,
    n_items: int,
    n_columns: Mapping[str, int],  # by group: numeric, categorical, multi_valued
    n_values: int,
) -> DenseNet:
    """Read a dense net."""
    arguments = _arguments(part, DenseNet)
    n_factors = n_inputs = part.size("item_factors.weight", 1)
    shapes: dict[str, Shape] = _pair_shapes(n_users, n_items, n_factors)
    shapes["value_factors.weight"] = (n_values + 1, n_factors)
    if n_numeric := n_columns["numeric"]:
        arguments["n_bins"] = part.size("bin_factors", 1) - 1
        shapes["bin_factors"] = (n_numeric, ANY, n_factors)
    n_inputs *= 2 + sum(n_columns.values())
    hidden_layer_sizes: list[int] = []
    while part.has_array(name := f"layers.{2 * len(hidden_layer_sizes)}.weight"):
        hidden_layer_sizes.append(part.size(name, 0))
        shapes[name] = (ANY, n_inputs)
        shapes[name.replace("weight", "bias")] = (hidden_layer_sizes[-1],)
        n_inputs = hidden_layer_sizes[-1]
    if hidden_layer_sizes[-1:] != [1]:
        part.refuse("layers", "should end in a layer of one unit")
    arguments |= {f"n_{group}": n for group, n in n_columns.items()}
    module = DenseNet(0, 0, n_factors, hidden_layer_sizes[:-1], **arguments)
    return _with_tensors(part, module, shapes)


def read_lstm(part: PartReader, n_items: int) -> LSTMRating:
    """Read an LSTM."""
    arguments = _arguments(part, LSTMRating)
    n_factors = part.size("item_factors.weight", 1)
    hidden_size = part.size("lstm.weight_hh_l0", 1)
    n_inputs = n_factors + (0 if arguments["items_only"] else 2)
    n_outputs = 1 if arguments["items_only"] else n_factors + 1
    shapes: dict[str, Shape] = {
        **dict.fromkeys(("item_biases", "n_lookups"), (n_items,)),
        **{f"{name}_factors.weight": (n_items, n_factors) for name in ("item", "rated", "seen")},
        "log_shrinkage": (),
        "output.weight": (n_outputs, hidden_size * (1 + arguments["bidirectional"])),
        "output.bias": (n_outputs,),
    }
    shapes |= _lstm_shapes(n_inputs, hidden_size)
    return _with_tensors(part, LSTMRating(0, n_factors, hidden_size, **arguments), shapes)


def read_residual_lstm(part: PartReader, n_items: int) -> ResidualLSTMRating:
    """Read an LSTM with a static part."""
    arguments = _arguments(part, ResidualLSTMRating)
    width = part.size("users.item_rows", 1)
    if not 2 <= width <= MAX_FACTORS + 1:  # the covariances have about its square as numbers
        part.refuse("users.item_rows", f"should have 2 to {MAX_FACTORS + 1} columns")
    hidden_size = part.size("lstm.weight_hh_l0", 1)
    module = ResidualLSTMRating(0, width - 1, hidden_size, **arguments)
    shapes: dict[str, Shape] = {
        name: tuple(tensor.shape)
        for name, tensor in _tensors(module).items()
        if tensor is not None
    }
    for name in ("item_rows", "item_covariances", "item_terms"):
        shapes[f"users.{name}"] = (n_items, shapes[f"users.{name}"][1])
    return _with_tensors(part, module, shapes)


def has_static_part(part: PartReader) -> bool:
    """Whether a part holds an LSTM with a static part."""
    return part.has_array("users.item_rows")


def _lstm_shapes(n_inputs: int, hidden_size: int) -> dict[str, Shape]:
    n_columns = [(), (n_inputs,), (hidden_size,)]
    return {
        f"{lstm}.{name}_l0": (4 * hidden_size, *n_columns[which])
        for lstm in ("lstm", "backward_lstm")
        for name, which in LSTM_TENSORS.items()
    }


def _arguments(part: PartReader, kind: type) -> dict[str, Any]:
    arguments = {name: part.value(name, type_) for name, type_ in ARGUMENTS[kind].items()}
    return {**arguments, "generator": torch.Generator()}  # so the global one does not change


def _pair_shapes(n_users: int, n_items: int, n_factors: int) -> dict[str, Shape]:
    return {
        "user_factors.weight": (n_users, n_factors),
        "item_factors.weight": (n_items, n_factors),
        "user_biases": (n_users,),
        "item_biases": (n_items,),
    }


def _with_tensors(
    part: PartReader,
    module: Any,
    shapes: Mapping[str, Shape],
    limits: Mapping[str, int] | None = None,  # of tensors that hold codes
) -> Any:
    """Replace the tensors of a module by those of the file, and move it to its device."""
    for name, tensor in _tensors(module).items():
        if tensor is None and not part.has_array(name):
            continue
        dtype = "float32" if tensor is None else str(tensor.dtype).removeprefix("torch.")
        shape = shapes.get(name, ())
        if limits and name in limits:
            values = part.codes(name, shape, limits[name], dtype)
        else:
            values = part.array(name, dtype, shape)
        _replace(module, name, torch.from_numpy(values))
    device = part.value("device", str)
    if not DEVICE.fullmatch(device):
        part.refuse("device", f"should be a device of torch, got {device[:50]!r}")
    return module.eval().to(this_or_cpu(device))


def _tensors(module: nn.Module) -> dict[str, torch.Tensor | None]:
    """All parameters and buffers, also those that are None or not in the state_dict."""
    return {
        f"{path}.{name}".strip("."): tensor
        for path, owner in module.named_modules()
        for name, tensor in (owner._parameters | owner._buffers).items()
    }


def _replace(module: nn.Module, name: str, values: torch.Tensor) -> None:
    path, _, last = name.rpartition(".")
    owner = module.get_submodule(path)
    before = getattr(owner, last)
    if isinstance(before, nn.Parameter):
        values = nn.Parameter(values, before.requires_grad)
    setattr(owner, last, values)
    if isinstance(owner, nn.Embedding):
        owner.num_embeddings = len(values)
