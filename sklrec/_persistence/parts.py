"""The parts of a model file: what stands where, written once and read with distrust."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np

# Of a shape: any number.
ANY = None


class PartWriter:
    """A part of a document under way, and the arrays that belong to it.

    Parameters
    ----------
    place : str, default=""
        Where the part is, with which the names of its arrays start.
    arrays : dict of str to ndarray, default=None
        The arrays of the whole file.
    """

    def __init__(self, place: str = "", arrays: dict[str, np.ndarray] | None = None):
        self.place = place
        self.document: dict[str, Any] = {}
        self.arrays = {} if arrays is None else arrays

    def put(self, name: str, value: Any) -> None:
        """Write what JSON can hold.

        Parameters
        ----------
        name : str
            What it is called.
        value : object
            The value.
        """
        self.document[name] = value

    def array(self, name: str, values: np.ndarray) -> None:
        """Write an array of numbers or booleans.

        Parameters
        ----------
        name : str
            What it is called.
        values : ndarray
            The array.
        """
        self.arrays[self.place + name] = values.astype(values.dtype.newbyteorder("="), copy=False)

    def part(self, name: str) -> "PartWriter":
        """Start a part of this one.

        Parameters
        ----------
        name : str
            What it is called.

        Returns
        -------
        PartWriter
            The part.
        """
        part = PartWriter(f"{self.place}{name}.", self.arrays)
        self.document[name] = part.document
        return part


class PartReader:
    """A part of a document that came from anywhere, and the arrays that belong to it.

    Parameters
    ----------
    document : object
        The part of the document.
    arrays : dict of str to ndarray
        The arrays of the whole file. Those that are read are taken out.
    place : str, default=""
        Where the part is.
    """

    def __init__(self, document: Any, arrays: dict[str, np.ndarray], place: str = ""):
        self.place = place
        self._arrays = arrays
        if type(document) is not dict:
            self.refuse("", "should be a JSON object")
        self._left = dict(document)
        self._parts: list[PartReader] = []

    def refuse(self, name: str, reason: str) -> NoReturn:
        """Raise, saying where something does not fit.

        Parameters
        ----------
        name : str
            What is wrong.
        reason : str
            Why.
        """
        raise ValueError(f"{(self.place + name).strip('.') or 'its document'} {reason}")

    def has(self, name: str) -> bool:
        """Tell whether there is a value or a part of that name.

        Parameters
        ----------
        name : str
            The name.

        Returns
        -------
        bool
            Whether it is there.
        """
        return name in self._left

    def has_array(self, name: str) -> bool:
        """Tell whether there is an array of that name.

        Parameters
        ----------
        name : str
            The name.

        Returns
        -------
        bool
            Whether it is there.
        """
        return self.place + name in self._arrays

    def is_null(self, name: str) -> bool:
        """Tell whether a value is there and is null.

        Parameters
        ----------
        name : str
            The name.

        Returns
        -------
        bool
            Whether it is.
        """
        return name in self._left and self._left[name] is None

    def any(self, name: str) -> Any:
        """Read a value of whatever type.

        Parameters
        ----------
        name : str
            The name.

        Returns
        -------
        object
            The value.
        """
        if name not in self._left:
            self.refuse(name, "is missing")
        return self._left.pop(name)

    def value(self, name: str, *types: type | None) -> Any:
        """Read a value of one of some types.

        Parameters
        ----------
        name : str
            The name.
        *types : type or None
            The types; True is no integer.

        Returns
        -------
        object
            The value.
        """
        value = self.any(name)
        kinds = [type(None) if kind is None else kind for kind in types]
        if type(value) not in kinds:
            names = " or ".join(kind.__name__ for kind in kinds)
            self.refuse(name, f"should be of type {names}, got {type(value).__name__}")
        return value

    def count(self, name: str, least: int = 0) -> int:
        """Read an integer.

        Parameters
        ----------
        name : str
            The name.
        least : int, default=0
            The least that it may be.

        Returns
        -------
        int
            The integer, below 2**53.
        """
        value = self.value(name, int)
        if not least <= value < 2**53:
            self.refuse(name, f"should be at least {least} and no more than 2**53")
        return value

    def number(self, name: str, low: float, high: float) -> Any:
        """Read a number.

        Parameters
        ----------
        name : str
            The name.
        low : float
            The least that it may be.
        high : float
            The most that it may be.

        Returns
        -------
        int or float
            The number.
        """
        value = self.value(name, int, float)
        if not low <= value <= high:
            self.refuse(name, f"should be a number from {low:g} to {high:g}")
        return value

    def choice(self, name: str, *choices: Any) -> Any:
        """Read one of some values.

        Parameters
        ----------
        name : str
            The name.
        *choices : object
            The values.

        Returns
        -------
        object
            The one.
        """
        value = self.any(name)
        if not any(type(value) is type(choice) and value == choice for choice in choices):
            self.refuse(name, f"should be one of {', '.join(map(repr, choices))}")
        return value

    def array(
        self, name: str, dtype: str | Sequence[str], shape: tuple[int | None, ...]
    ) -> np.ndarray:
        """Read an array.

        Parameters
        ----------
        name : str
            The name.
        dtype : str or sequence of str
            What its dtype may be.
        shape : tuple of int or ANY
            Its shape.

        Returns
        -------
        ndarray
            The array, its memory its own.
        """
        dtypes = [dtype] if isinstance(dtype, str) else dtype
        values = self._arrays.pop(self.place + name, None)
        if values is None:
            self.refuse(name, "is missing among the arrays")
        if values.dtype.name not in dtypes:
            self.refuse(name, f"should be of {' or '.join(dtypes)}, got {values.dtype.name}")
        fits = [wanted in (ANY, n) for wanted, n in zip(shape, values.shape, strict=False)]
        if len(values.shape) != len(shape) or not all(fits):
            wanted = ", ".join("any" if n is ANY else str(n) for n in shape)
            self.refuse(name, f"should have the shape ({wanted}), got {values.shape}")
        return values

    def codes(self, name: str, shape: tuple[int | None, ...], limit: int) -> np.ndarray:
        """Read an array of integers that look up something.

        Parameters
        ----------
        name : str
            The name.
        shape : tuple of int or ANY
            Its shape.
        limit : int
            What all of them are below; none is negative.

        Returns
        -------
        ndarray of int64
            The array.
        """
        codes = self.array(name, "int64", shape)
        if codes.size and not (codes.min() >= 0 and codes.max() < limit):
            self.refuse(name, f"should hold integers from 0 to {limit - 1}")
        return codes

    def part(self, name: str) -> "PartReader":
        """Read a part.

        Parameters
        ----------
        name : str
            The name.

        Returns
        -------
        PartReader
            The part.
        """
        part = PartReader(self.any(name), self._arrays, f"{self.place}{name}.")
        self._parts.append(part)
        return part

    def finish(self) -> None:
        """Raise if anything of the document has not been asked for."""
        for name in self._left:
            self.refuse(name[:100], "is not known")
        for part in self._parts:
            part.finish()
