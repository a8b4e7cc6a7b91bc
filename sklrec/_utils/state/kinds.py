"""Kinds of attributes: how each is written to a state, and read from an untrusted one."""
# SPDX-License-Identifier: BSD-3-Clause

# A state holds plain values, lists, dicts and NumPy arrays. A class declares in `_state` what it
# keeps: a dict of kinds by name. Lengths may have names, such as "n_users": the first one that is
# read sets it, and the others must agree. "n_users+1" is one more.

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import isfinite
from typing import Any, NoReturn, TypeAlias

import numpy as np

# A length: a number, several numbers, or a name; None is any.
Size: TypeAlias = int | range | str | None
Fields: TypeAlias = Mapping[str, "Kind"]

_MISSING = object()


class Place:
    """A place in a state that is read: its path, for messages, and the sizes read so far."""

    def __init__(self, path: str = "", sizes: dict[str, Any] | None = None, raw: bool = False):
        # raw: in a pickle, which is trusted and may hold objects
        self.path, self.raw = path, raw
        self.sizes: dict[str, Any] = {} if sizes is None else sizes

    def to(self, name: Any) -> "Place":
        """Return a place inside this one."""
        return Place(f"{self.path}.{name}".strip("."), self.sizes, self.raw)

    def checked(self, packed: Any) -> dict[str, Any]:
        """Return a dict of this place, or raise a ValueError."""
        return packed if type(packed) is dict else self.refuse("should be a JSON object")

    def refuse(self, problem: str) -> NoReturn:
        """Raise a ValueError that says what is wrong here."""
        raise ValueError(f"{self.path[-200:] or 'its document'} {problem}")

    def size(self, of: Size) -> Any:
        """Return a length, or None if it is not known yet."""
        if not isinstance(of, str):
            return of
        name, _, more = of.partition("+")
        known = self.sizes.get(name)
        return known + int(more) if more and known is not None else known

    def agree(self, of: Size, found: Any) -> bool:
        """Whether a length, or a tuple of lengths, is the wanted one."""
        if isinstance(of, str) and self.size(of) is None:
            name, _, more = of.partition("+")
            self.sizes[name] = found - int(more) if more else found
            return self.raw or not more or self.sizes[name] >= 0
        if self.raw or of is None:
            return True
        return found in of if isinstance(of, range) else self.size(of) == found


class Kind:
    """The values that an attribute may have; this class allows all of them."""

    def pack(self, value: Any, raw: bool) -> Any:
        """Write a value, or raise a TypeError; a raw state may hold objects."""
        return value

    def unpack(self, packed: Any, place: Place) -> Any:
        """Read and check what `pack` wrote, or raise a ValueError."""
        return packed


class Plain(Kind):
    """A number, a string or a boolean; numbers have bounds, and integers may be sizes."""

    def __init__(self, *types: type, low: Any = None, below: Size = None, size: Size = None):
        self.types, self.low, self.below, self.size = types, low, below, size

    def pack(self, value, raw):
        value = value.item() if isinstance(value, np.generic) else value
        value = float(value) if type(value) is int and self.types == (float,) else value
        if type(value) not in self.types:
            raise TypeError(f"{value!r:.100} of type {type(value).__name__}")
        return value

    def unpack(self, packed, place):
        if place.raw:
            place.agree(self.size, packed)
            return packed
        if type(packed) not in self.types:
            names = " or ".join(each.__name__ for each in self.types)
            place.refuse(f"should be of type {names}, got {type(packed).__name__}")
        if isinstance(packed, int | float):
            low, high = self.low, place.size(self.below)
            is_low = not isfinite(packed) or (low is not None and packed < low)
            if is_low or (high is not None and packed >= high):
                bounds = "" if low is None else f", at least {low}"
                bounds += "" if high is None else f" and below {high}"
                place.refuse(f"should be finite{bounds}")
            if not place.agree(self.size, packed):
                place.refuse(f"should be {place.size(self.size)}, got {packed}")
        return packed


def Int(low: int = 0, below: Size = 2**63, size: Size = None) -> Plain:
    """Make the kind of an integer; True and False are none."""
    return Plain(int, low=low, below=below, size=size)


NUMBER, BOOL, NAME = Plain(float), Plain(bool), Plain(int, str)


class Choice(Kind):
    """One of some plain values, with its type."""

    def __init__(self, *choices: Any):
        self.choices = choices

    def unpack(self, packed, place):
        if not any(type(packed) is type(c) and packed == c for c in self.choices):
            place.refuse(f"should be one of {', '.join(map(repr, self.choices))}")
        return packed


class Array(Kind):
    """An array of one of some dtypes and of a shape; codes are at least 0 and below a bound."""

    def __init__(self, dtypes: str | tuple[str, ...], shape: Sequence[Size], below: Size = None):
        self.dtypes = (dtypes,) if isinstance(dtypes, str) else dtypes
        self.shape, self.below = tuple(shape), below

    def pack(self, value, raw):
        if not isinstance(value, np.ndarray) or value.dtype.name not in self.dtypes:
            raise TypeError(f"a {type(value).__name__} that is no array of {self.dtypes}")
        return value.astype(value.dtype.newbyteorder("="), copy=False)

    def unpack(self, packed, place):
        if place.raw:
            for pair in zip(self.shape, packed.shape, strict=False):
                place.agree(*pair)
            return packed
        found = packed.dtype.name if isinstance(packed, np.ndarray) else "no array"
        if found not in self.dtypes:
            place.refuse(f"should be of {' or '.join(self.dtypes)}, got {found}")
        pairs = zip(self.shape, packed.shape, strict=False)
        if packed.ndim != len(self.shape) or not all(place.agree(*pair) for pair in pairs):
            wanted = ", ".join(str(place.size(size)) for size in self.shape)
            place.refuse(f"should have the shape ({wanted}), got {packed.shape}")
        if self.below is not None and packed.size:
            below = place.size(self.below)
            below = sum(below) if isinstance(below, tuple) else below  # groups in one table
            if packed.min() < 0 or (below is not None and packed.max() >= below):
                place.refuse(f"should hold integers from 0 to {below and below - 1}")
        return packed


class Floats(Array):
    """A list or a tuple of floats, as an array."""

    def __init__(self, size: Size = None, into: type = list):
        super().__init__("float64", (size,))
        self.into = into

    def pack(self, value, raw):
        if np.ndim(value) != 1:
            raise TypeError(f"{value!r:.100} in place of a list of numbers")
        return np.array(value, dtype=np.float64)

    def unpack(self, packed, place):
        return self.into(super().unpack(packed, place).tolist())


class Many(Kind):
    """A list of values of one kind, or what `into` makes of it."""

    def __init__(self, kind: Kind, size: Size = None, into: Callable[[list[Any]], Any] = list):
        self.kind, self.size, self.into = kind, size, into

    def pack(self, value, raw):
        return [self.kind.pack(element, raw) for element in value]

    def unpack(self, packed, place):
        if type(packed) is not list or not place.agree(self.size, len(packed)):
            place.refuse(f"should be a list of length {place.size(self.size)}")
        return self.into([self.kind.unpack(each, place.to(k)) for k, each in enumerate(packed)])


def Strings(size: Size = None) -> Many:
    """Make the kind of an array of strings, such as names of columns."""
    return Many(Plain(str), size, partial(np.array, dtype=object))


class Maybe(Kind):
    """An attribute that may be absent."""

    def __init__(self, kind: Kind):
        self.kind = kind

    def pack(self, value, raw):
        return self.kind.pack(value, raw)

    def unpack(self, packed, place):
        return self.kind.unpack(packed, place)


class Optional(Maybe):
    """A value or None."""

    def pack(self, value, raw):
        return None if value is None else super().pack(value, raw)

    def unpack(self, packed, place):
        return None if packed is None else super().unpack(packed, place)


class Only(Maybe):
    """An attribute that is there if and only if a parameter has a value."""

    def __init__(self, kind: Kind, parameter: str, value: Any):
        super().__init__(kind)
        self.parameter, self.value = parameter, value


class Record(Kind):
    """Attributes of an object, or values of a dict; `into` makes the object."""

    def __init__(self, fields: Fields, into: Callable[..., Any] = dict):
        self.fields, self.into = fields, into

    def pack(self, value, raw):
        get = value.get if isinstance(value, Mapping) else partial(getattr, value)
        packed = {}
        for name, kind in self.fields.items():
            found = get(name, _MISSING)
            if found is _MISSING and type(kind) is Maybe:
                continue
            if found is _MISSING:
                raise ValueError(
                    f"{type(value).__name__} has no {name}, which it keeps with its present "
                    "parameters. Set them back to those of fit, or fit again"
                )
            try:
                packed[name] = kind.pack(found, raw)
            except TypeError as error:
                owner = repr(value).partition("(")[0][:90]
                raise TypeError(f"{name} of {owner}: {error}") from error
        return packed

    def unpack(self, packed, place):
        if unknown := [name for name in place.checked(packed) if name not in self.fields]:
            place.to(unknown[0][:100]).refuse("is not known")
        found = {}
        for name, kind in self.fields.items():
            if name in packed:
                found[name] = kind.unpack(packed[name], place.to(name))
            elif type(kind) is not Maybe:
                place.to(name).refuse("is missing")
        return self.into(**found)


class Part(Kind):
    """An object of a class, or of one of several by their names in a state.

    The classes declare what they keep. They know the sizes that were read before. `binds` makes
    further ones from the object.
    """

    def __init__(self, classes: Any, binds: Callable[[Any], Mapping[str, Any]] = lambda _: {}):
        self.classes = classes if isinstance(classes, Mapping) else {"": classes}
        self.binds = binds

    def pack(self, value, raw):
        names = [name for name, each in self.classes.items() if type(value) is each]
        if not names:
            raise TypeError(f"{value!r:.100} of type {type(value).__name__}")
        packed = self.pack_object(value, raw)
        return packed | {"class": names[0]} if names[0] else packed

    def unpack(self, packed, place):
        found = packed
        if not place.raw or isinstance(packed, dict):
            rest = dict(place.checked(packed))
            name = "" if "" in self.classes else rest.pop("class", None)
            cls = self.classes[Choice(*self.classes).unpack(name, place.to("class"))]
            found = self.unpack_object(cls, rest, Place(place.path, dict(place.sizes), place.raw))
        if type(found) not in self.classes.values():
            place.refuse(f"should be of another class than {type(found).__name__}")
        for name, size in self.binds(found).items():
            if not place.agree(name, size):
                place.refuse(f"should have {name} {place.size(name)}, got {size}")
        return found

    def pack_object(self, value: Any, raw: bool) -> dict[str, Any]:
        """Write an object."""
        return Record(type(value)._state).pack(value, raw)

    def unpack_object(self, cls: Any, packed: dict[str, Any], place: Place) -> Any:
        """Read an object of a class."""
        return restore(cls, Record(cls._state).unpack(packed, place))


def restore(cls: Any, fields: Mapping[str, Any]) -> Any:
    """Make an object from its attributes, by its constructor unless it has `_from_state`."""
    make = getattr(cls, "_from_state", cls)
    return make(**{name.removeprefix("_"): value for name, value in fields.items()})


class Declared:
    """Base of objects that are pickled by the attributes that they declare."""

    _state: Fields = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return restore, (type(self), {name: getattr(self, name) for name in self._state})
