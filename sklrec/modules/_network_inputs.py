"""Signatures of networks that users write: what they are constructed with, and what they read."""
# SPDX-License-Identifier: BSD-3-Clause

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn

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
# Argument of a function that makes a network, by the part of X that the network needs.
MARKS = {"side_features": "features", "max_len": "histories"}
WANTED = (
    "forward(self, users, items), also with features or with histories as a third argument, "
    "which takes codes of shape (n,) and returns a tensor of shape (n,) or (n, 1)"
)
WANTED_MODULE = (
    "an nn.Module subclass, or a function that returns an nn.Module, such as MyNetwork with "
    "__init__(self, n_users, n_items, ...)"
)


def check_module(module: Any, parameters: dict[str, Any]) -> None:
    """Raise if `module` cannot be called with sizes and these parameters."""
    if isinstance(module, nn.Module):
        raise TypeError(
            f"module must be {WANTED_MODULE}, got an object of {type(module).__name__}. Pass the "
            f"class: module={type(module).__name__}, with its arguments as module__name=value. "
            "The estimator makes a network for the users and items that it finds."
        )
    is_class = isinstance(module, type)
    if not callable(module) or (is_class and not issubclass(module, nn.Module)):
        raise TypeError(f"module must be {WANTED_MODULE}, got {module!r}.")
    taken = _parameters(module)
    if not any(_takes(taken, name) for name in SIZES):
        raise ValueError(
            "module must take n_users and n_items, the numbers of known users and items, got "
            f"{signature_of(module)}. Give its tables n_users + 1 and n_items + 1 rows."
        )
    for name in parameters:
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
    network = module(**arguments)
    if not isinstance(network, nn.Module):
        raise TypeError(
            f"module must be {WANTED_MODULE}, but {signature_of(module)} returned "
            f"{type(network).__name__}. Return the network."
        )
    return network


def part_read_by(module: Any) -> str:
    """Part of X that the networks of a module need: 'pairs', 'features' or 'histories'."""
    made = module.func if isinstance(module, partial) else module
    if not isinstance(made, type):
        made = inspect.get_annotations(made, eval_str=True).get("return")
    if isinstance(made, type) and issubclass(made, nn.Module):
        return _part_of(forward_arguments(made), signature_of(made.forward))
    marks = [part for name, part in MARKS.items() if name in _parameters(module)]
    return marks[0] if marks else "pairs"


def check_forward(network: nn.Module, part: str, module: Any) -> tuple[str, ...]:
    """Return the names of the arguments of `forward` that are known, or raise."""
    names = forward_arguments(type(network))
    found = _part_of(names, signature_of(type(network).forward))
    if found not in ("pairs", part):
        mark = {part: name for name, part in MARKS.items()}[found]
        raise ValueError(
            f"forward reads {found}, got {signature_of(type(network).forward)}, but the function "
            f"{signature_of(module)} does not say so. Give it the argument {mark}, or the return "
            f"annotation -> {type(network).__name__}."
        )
    return names


def forward_arguments(cls: type[nn.Module]) -> tuple[str, ...]:
    """Return the names of the arguments of `forward` that the estimator passes, or raise."""
    if cls.forward is nn.Module.forward:
        raise ValueError(f"{cls.__name__} has no forward. Write {WANTED}.")
    known = [name for names in ARGUMENTS.values() for name in names]
    found = []
    for name, parameter in list(inspect.signature(cls.forward).parameters.items())[1:]:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        if name in known and parameter.kind is not parameter.POSITIONAL_ONLY:
            found.append(name)
        elif parameter.default is parameter.empty:
            raise ValueError(
                f"forward has the argument {name}, which is not known, got "
                f"{signature_of(cls.forward)}. Arguments are passed by name. Write {WANTED}."
            )
    if not set(found) & set(IDS):
        raise ValueError(
            f"forward must read users and items, got {signature_of(cls.forward)}. Write {WANTED}."
        )
    return tuple(found)


def signature_of(function: Any) -> str:
    """Write the signature of a function or class for a message."""
    while isinstance(function, partial):
        function = function.func
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
        raise TypeError(f"module must be {WANTED_MODULE}, got {module!r}.") from error
    return {
        "**" if p.kind is p.VAR_KEYWORD else name: p
        for name, p in found.items()
        if p.kind is not p.VAR_POSITIONAL
    }


def _takes(taken: dict[str, Any], name: str) -> bool:
    return name in taken or "**" in taken


def _part_of(names: tuple[str, ...], signature: str) -> str:
    found = [part for part in ("features", "histories") if set(names) & set(ARGUMENTS[part])]
    if len(found) > 1:
        raise ValueError(
            f"forward can read features or histories, but not both, got {signature}. Drop one."
        )
    return found[0] if found else "pairs"
