"""Parts of the JSON document of a model file, which are checked when they are read."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np

Shape = tuple[int | None, ...]
ANY = None  # any length, in a shape


class PartWriter:
    """Writes a part of a document, and the arrays that belong to it."""

    def __init__(self, prefix: str = "", arrays: dict[str, np.ndarray] | None = None):
        self._prefix = prefix  # of the names in the whole file
        self.document: dict[str, Any] = {}
        self.arrays = {} if arrays is None else arrays  # of the whole file

    def put(self, name: str, value: Any) -> None:
        """Write a value that JSON can hold."""
        self.document[name] = value

    def array(self, name: str, values: np.ndarray) -> None:
        """Write an array of numbers or booleans."""
        self.arrays[self._prefix + name] = values.astype(
            values.dtype.newbyteorder("="), copy=False
        )

    def part(self, name: str) -> "PartWriter":
        """Return the writer of a new part of this part."""
        part = PartWriter(f"{self._prefix}{name}.", self.arrays)
        self.document[name] = part.document
        return part


class PartReader:
    """Reads and checks a part of an untrusted document, and the arrays that belong to it."""

    def __init__(self, document: Any, arrays: dict[str, np.ndarray], prefix: str = ""):
        self._prefix = prefix  # of the names in the whole file
        self._arrays = arrays  # of the whole file
        if type(document) is not dict:
            self.refuse("", "should be a JSON object")
        self._unread = dict(document)  # without the values that were read
        self._parts: list[PartReader] = []

    def refuse(self, name: str, reason: str) -> NoReturn:
        """Raise a ValueError that says what is wrong with a value or an array."""
        raise ValueError(f"{(self._prefix + name).strip('.') or 'its document'} {reason}")

    def has(self, name: str) -> bool:
        """Whether there is an unread value or part of that name."""
        return name in self._unread

    def has_array(self, name: str) -> bool:
        """Whether there is an unread array of that name."""
        return self._prefix + name in self._arrays

    def any(self, name: str) -> Any:
        """Read a value of any type."""
        if name not in self._unread:
            self.refuse(name, "is missing")
        return self._unread.pop(name)

    def value(self, name: str, *types: type | None) -> Any:
        """Read a value whose type is one of `types`; True and False are not integers."""
        value = self.any(name)
        kinds = [type(None) if kind is None else kind for kind in types]
        if type(value) not in kinds:
            names = " or ".join(kind.__name__ for kind in kinds)
            self.refuse(name, f"should be of type {names}, got {type(value).__name__}")
        return value

    def values(self, name: str, kind: type, *others: None, n: int | None = None) -> Any:
        """Read a list of `n` values of one type, or null if a further argument is None."""
        values = self.value(name, list, *others)
        if not all(type(value) is kind for value in values or ()):
            self.refuse(name, f"should be a list of {kind.__name__}")
        if n not in (None, len(values or ())):
            self.refuse(name, f"should have {n} values")
        return values

    def count(self, name: str, maximum: int) -> int:
        """Read an integer from 0 to a maximum."""
        value = self.value(name, int)
        if not 0 <= value <= maximum:
            self.refuse(name, f"should be from 0 to {maximum}")
        return value

    def choice(self, name: str, *choices: Any) -> Any:
        """Read a value that is one of `choices`, with the same type."""
        value = self.any(name)
        if not any(type(value) is type(choice) and value == choice for choice in choices):
            self.refuse(name, f"should be one of {', '.join(map(repr, choices))}")
        return value

    def size(self, name: str, axis: int) -> int:
        """Return the length of an axis of an unread array."""
        shape = np.shape(self._arrays.get(self._prefix + name, 0))
        if len(shape) <= axis:
            self.refuse(name, f"is missing among the arrays, or has fewer than {axis + 1} axes")
        return shape[axis]

    def array(self, name: str, dtype: str | Sequence[str], shape: Shape) -> np.ndarray:
        """Read an array of a given shape, whose dtype is `dtype` or one of several."""
        dtypes = [dtype] if isinstance(dtype, str) else dtype
        values = self._arrays.pop(self._prefix + name, None)
        if values is None:
            self.refuse(name, "is missing among the arrays")
        if values.dtype.name not in dtypes:
            self.refuse(name, f"should be of {' or '.join(dtypes)}, got {values.dtype.name}")
        fits = [wanted in (ANY, n) for wanted, n in zip(shape, values.shape, strict=False)]
        if len(values.shape) != len(shape) or not all(fits):
            wanted = ", ".join("any" if n is ANY else str(n) for n in shape)
            self.refuse(name, f"should have the shape ({wanted}), got {values.shape}")
        return values

    def codes(
        self, name: str, shape: Shape, limit: int, dtype: str | Sequence[str] = "int64"
    ) -> np.ndarray:
        """Read an array of integers from 0 to `limit` - 1."""
        codes = self.array(name, dtype, shape)
        if codes.size and not (codes.min() >= 0 and codes.max() < limit):
            self.refuse(name, f"should hold integers from 0 to {limit - 1}")
        return codes

    def part(self, name: str) -> "PartReader":
        """Return the reader of a part of this part."""
        part = PartReader(self.any(name), self._arrays, f"{self._prefix}{name}.")
        self._parts.append(part)
        return part

    def finish(self) -> None:
        """Raise if the document has values that were not read, which are unknown."""
        for name in self._unread:
            self.refuse(name[:100], "is not known")
        for part in self._parts:
            part.finish()
