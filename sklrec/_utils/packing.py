"""Nested values as a document and arrays, and back."""
# SPDX-License-Identifier: BSD-3-Clause

import math
from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch import Tensor

Arrays = dict[str, np.ndarray]


def pack(value: Any) -> tuple[Any, Arrays]:
    """Take a value apart into what JSON can hold, and arrays.

    Parameters
    ----------
    value : object
        Numbers, strings, None, tensors, arrays, and lists, tuples and dictionaries of them.

    Returns
    -------
    document : object
        The value, with names in place of arrays.
    arrays : dict of str to ndarray
        The arrays.

    Raises
    ------
    TypeError
        If it holds something else.
    """
    arrays: Arrays = {}
    return _packed(value, arrays), arrays


def unpack(document: Any, arrays: Arrays) -> Any:
    """Put a value together again.

    Parameters
    ----------
    document : object
        What `pack` gave.
    arrays : dict of str to ndarray
        What `pack` gave.

    Returns
    -------
    object
        The value. Numbers of numpy have become those of Python, and named tuples plain ones.
    """
    if isinstance(document, list):
        return [unpack(entry, arrays) for entry in document]
    if not isinstance(document, dict):
        return document
    ((kind, content),) = document.items()
    if kind == "float":
        return float(content)
    if kind == "tuple":
        return tuple(unpack(entry, arrays) for entry in content)
    if kind == "dict":
        return {unpack(k, arrays): unpack(v, arrays) for k, v in content}
    if kind == "list":
        return [entry for part in content for entry in unpack(part, arrays)]
    if kind == "records":
        names, array = content
        return [dict(zip(names, row, strict=True)) for row in arrays[array].tolist()]
    if kind == "array":
        return arrays[content].copy()
    name, device = content
    # torch's own memory is aligned, on which the last bit of a sum may depend.
    return torch.from_numpy(arrays[name]).clone().to(device)


def _packed(value: Any, arrays: Arrays) -> Any:
    """What stands for a value in the document."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"float": repr(value)}
    if isinstance(value, list):
        return _packed_list(value, arrays)
    if isinstance(value, tuple):
        return {"tuple": [_packed(entry, arrays) for entry in value]}
    if isinstance(value, dict):
        return {"dict": [[_packed(k, arrays), _packed(v, arrays)] for k, v in value.items()]}
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        return {"array": _add(value, arrays)}
    if isinstance(value, Tensor) and value.layout == torch.strided:
        return {"tensor": [_add(value.detach().cpu().numpy(), arrays), str(value.device)]}
    raise TypeError(f"a {type(value).__name__} cannot be written to a file: {value!r:.100}")


def _packed_list(values: list[Any], arrays: Arrays) -> Any:
    # The history of a training has dictionaries of numbers by the hundred thousand.
    parts: list[Any] = []
    for names, group in groupby(values, _names_of_numbers):
        if names is None:
            parts.append([_packed(value, arrays) for value in group])
        else:
            numbers = np.array([list(record.values()) for record in group], dtype=np.float64)
            parts.append({"records": [names, _add(numbers, arrays)]})
    if all(isinstance(part, list) for part in parts):
        return parts[0] if parts else []
    return {"list": parts}


def _names_of_numbers(value: Any) -> list[str] | None:
    """The names in a dictionary of nothing but floats."""
    if not isinstance(value, dict) or not value:
        return None
    if not all(type(k) is str and type(v) is float for k, v in value.items()):
        return None
    return list(value)


def _add(array: np.ndarray, arrays: Arrays) -> str:
    """Give an array a name."""
    name = str(len(arrays))
    arrays[name] = array
    return name
