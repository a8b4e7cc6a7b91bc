"""Signatures of networks that users write: what they are constructed with, and what they read."""
# SPDX-License-Identifier: BSD-3-Clause

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from sklrec._utils.versions import is_exporting

IDS = ("users", "items")
FEATURES = ("numeric", "categorical", "multi_valued")
PAST = ("past_items", "past_ratings", "past_gaps", "lengths")
TARGETS = ("sequences", "before", "after")
# Arguments of `forward`, by the part of X that they need.
ARGUMENTS = {
    "pairs": IDS,
    "features": ("features", *FEATURES),
    "histories": ("histories", *PAST, *TARGETS),
}
SIZES = ("n_users", "n_items")
GIVEN = (*SIZES, "max_len", "side_features", "n_values", *(f"n_{name}" for name in FEATURES))
# Argument of a function that makes a network, by the part of X that the network needs.
MARKS = {"side_features": "features", "max_len": "histories"}
WANTED = (
    "forward(self, users, items), also with features or with histories as a third argument, "
    "which takes codes of shape (n,) and returns a tensor of shape (n,) or (n, 1)"
)
PARAMETER = "The 'module' parameter of ModuleRecRegressor must be"
WANTED_MODULE = (
    "an nn.Module subclass, or a function that returns an nn.Module, such as MyNetwork with "
    "__init__(self, n_users, n_items, ...)"
)


def check_module(module: Any, parameters: dict[str, Any]) -> None:
    """Raise if `module` cannot be called with sizes and these parameters."""
    made = _without_partial(module)
    if isinstance(made, nn.Module):
        name = type(_without_compiler(made)).__name__
        raise ValueError(
            f"{PARAMETER} {WANTED_MODULE}, got an object of {name}. Pass the class: "
            f"module={name}, with its arguments as module__name=value. "
            "The estimator makes a network for the users and items that it finds."
        )
    is_class = isinstance(module, type)
    if not callable(module) or (is_class and not issubclass(module, nn.Module)):
        raise ValueError(f"{PARAMETER} {WANTED_MODULE}, got {module!r}.")
    taken = _parameters(module)
    if not any(_takes(taken, name) for name in SIZES):
        raise ValueError(
            "module must take n_users and n_items, the numbers of known users and items, got "
            f"{signature_of(module)}. Give its tables n_users + 1 and n_items + 1 rows."
        )
    for name in parameters:
        if name in GIVEN:
            raise ValueError(
                f"module__{name} cannot be set, because the estimator gives the module its {name}."
                f" Drop it{', or set max_len of the estimator' if name == 'max_len' else ''}."
            )
        if not _takes(taken, name):
            raise ValueError(
                f"module__{name} was set, but the module takes no argument {name}, got "
                f"{signature_of(module)}."
            )


def make_network(
    module: Callable[..., nn.Module], sizes: dict[str, Any], parameters: dict[str, Any]
) -> nn.Module:
    """Make the network from those sizes that its signature names, and from the parameters."""
    taken = _parameters(module)
    arguments = {n: v for n, v in sizes.items() if n in taken or (n in SIZES and "**" in taken)}
    arguments |= parameters
    missing = [
        name
        for name, found in taken.items()
        if name not in arguments and name != "**" and found.default is found.empty
    ]
    if missing:
        raise ValueError(
            f"The module needs a value for {', '.join(missing)}, got {signature_of(module)}. Set "
            f"{', '.join(f'module__{name}' for name in missing)}, or give defaults."
        )
    try:
        network = module(**arguments)
    except MemoryError:
        raise
    except Exception as error:
        raise ValueError(
            f"The module could not be made: {signature_of(module)} failed with "
            f"{_text(error)} It was called with {', '.join(arguments)}, of which n_users="
            f"{sizes['n_users']} and n_items={sizes['n_items']}."
        ) from error
    if not isinstance(network, nn.Module):
        raise ValueError(
            f"{PARAMETER} {WANTED_MODULE}, but {signature_of(module)} returned "
            f"{type(network).__name__}. Return the network."
        )
    return network


def part_read_by(module: Any) -> str:
    """Part of X that the networks of a module need: 'pairs', 'features' or 'histories'."""
    made = _without_partial(module)
    if not isinstance(made, type):
        try:
            made = inspect.get_annotations(made, eval_str=True).get("return")
        except Exception:  # an annotation that only a type checker can read, or none at all
            made = None
    if isinstance(made, type) and issubclass(made, nn.Module) and made is not nn.Module:
        return _part_of(forward_arguments(made.forward, made.__name__), signature_of(made.forward))
    marks = [part for name, part in MARKS.items() if name in _parameters(module)]
    return marks[0] if marks else "pairs"


def check_forward(network: nn.Module, part: str, module: Any) -> tuple[str, ...]:
    """Return the names of the arguments of `forward` that are known, or raise."""
    signature, own = signature_of_forward(network), _without_compiler(network)
    names = forward_arguments(own.forward, type(own).__name__)
    found = _part_of(names, signature)
    if found not in ("pairs", part):
        mark = {part: name for name, part in MARKS.items()}[found]
        raise ValueError(
            f"forward reads {found}, got {signature}, but the function "
            f"{signature_of(module)} does not say so. Give it the argument {mark}, or the return "
            f"annotation -> {type(network).__name__}."
        )
    return names


def forward_arguments(forward: Any, name_of_class: str) -> tuple[str, ...]:
    """Return the names of the arguments of `forward` that the estimator passes, or raise."""
    signature = signature_of(forward)
    if getattr(forward, "__func__", forward) is nn.Module.forward:
        raise ValueError(f"{name_of_class} has no forward. Write {WANTED}.")
    known = [name for names in ARGUMENTS.values() for name in names]
    found = []
    for name, parameter in _parameters(forward).items():
        if name in ("self", "**"):
            continue
        if name in known and parameter.kind is not parameter.POSITIONAL_ONLY:
            found.append(name)
        elif parameter.default is parameter.empty:
            kind = "positional-only" if name in known else "not known"
            raise ValueError(
                f"forward has the argument {name}, which is {kind}, got {signature}. Arguments "
                f"are passed by name. Write {WANTED}."
            )
    if not set(found) & set(IDS):
        raise ValueError(f"forward must read users and items, got {signature}. Write {WANTED}.")
    return tuple(found)


def call_network(
    network: nn.Module, given: dict[str, Any], n_rows: int, sizes: dict[str, int]
) -> Tensor:  # (n_rows,) or (n_rows, 1)
    """Call a network, and return its outputs, or raise."""
    if is_exporting():  # comparisons would fix the number of rows
        return network(**given)
    try:
        outputs = network(**given)
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        shapes = ", ".join(f"{name} {_shape(values)}" for name, values in given.items())
        taken = _parameters(_without_compiler(network).forward)
        lacking = [name for name in FEATURES if name in taken and name not in given]
        if given.get("features") == {}:
            lacking = ["side"]
        raise ValueError(
            f"forward must work for the codes 0 to {sizes['n_users']} of users and 0 to "
            f"{sizes['n_items']} of items, got {signature_of_forward(network)}, which failed with "
            f"{_text(error)} It was called with {shapes}. "
            + (f"X has no {lacking[0]} features: add columns to X. " if lacking else "")
            + ("The batch has one row: set another batch_size. " if n_rows == 1 else "")
            + "Tables need n_users + 1 and n_items + 1 rows, because code 0 stands for unknown "
            "IDs."
        ) from error
    if not isinstance(outputs, Tensor):
        raise ValueError(
            f"forward must return a tensor, got {type(outputs).__name__} from "
            f"{signature_of_forward(network)}. Write {WANTED}."
        )
    shape = tuple(outputs.shape)
    if shape not in ((n_rows,), (n_rows, 1)) and not (n_rows == 1 and outputs.numel() == 1):
        raise ValueError(
            f"forward must return one number for each row, got the shape {shape} for {n_rows} "
            f"rows from {signature_of_forward(network)}. Write {WANTED}."
        )
    if not outputs.is_floating_point():
        raise ValueError(
            f"forward must return floats, got {outputs.dtype} from "
            f"{signature_of_forward(network)}."
        )
    return outputs


def check_finite(outputs: Tensor, network: nn.Module, when: str = "") -> None:
    """Raise if a number is not finite."""
    is_finite = outputs.isfinite()
    if not bool(is_finite.all()):
        odd = outputs[~is_finite]
        raise ValueError(
            f"forward must return finite numbers, got {odd[0].item()} in {len(odd)} of "
            f"{outputs.numel()} rows{when} from {signature_of_forward(network)}. Look for a "
            "division by 0, and for log or sqrt of numbers that are not positive."
        )


def signature_of_forward(network: nn.Module) -> str:
    """Write the signature of a network's `forward` for a message."""
    return signature_of(type(_without_compiler(network)).forward)


def signature_of(function: Any) -> str:
    """Write the signature of a function or class for a message."""
    function = _without_partial(function)
    name = getattr(function, "__qualname__", type(function).__name__)
    try:
        return f"{name.rpartition('<locals>.')[2]}{inspect.signature(function)}"
    except (TypeError, ValueError):
        return name


def _parameters(module: Any) -> dict[str, inspect.Parameter]:
    """Parameters of a module by name; '**' stands for any further ones."""
    if getattr(module, "__init__", None) is nn.Module.__init__:
        return {}
    try:
        found = inspect.signature(module).parameters
    except (TypeError, ValueError) as error:
        raise ValueError(f"{PARAMETER} {WANTED_MODULE}, got {module!r}.") from error
    return {
        "**" if p.kind is p.VAR_KEYWORD else name: p
        for name, p in found.items()
        if p.kind is not p.VAR_POSITIONAL
    }


def _without_partial(function: Any) -> Any:
    while isinstance(function, partial):
        function = function.func
    return function


def _without_compiler(network: Any) -> Any:
    """Return the network that torch.compile wrapped, or the network itself."""
    return getattr(network, "_orig_mod", network)


def _shape(values: Any) -> str:
    """Write the shape of an argument of `forward` for a message."""
    if isinstance(values, Tensor):
        return str(tuple(values.shape))
    named = values if isinstance(values, dict) else values._asdict()
    return "{" + ", ".join(f"{name}: {_shape(part)}" for name, part in named.items()) + "}"


def _text(error: Exception) -> str:
    """Write an error as the end of a sentence."""
    return f"{type(error).__name__}: {str(error).strip().removesuffix('.')}."


def _takes(taken: dict[str, Any], name: str) -> bool:
    return name in taken or "**" in taken


def _part_of(names: tuple[str, ...], signature: str) -> str:
    found = [part for part in ("features", "histories") if set(names) & set(ARGUMENTS[part])]
    if len(found) > 1:
        raise ValueError(
            f"forward can read features or histories, but not both, got {signature}. Drop one."
        )
    return found[0] if found else "pairs"
