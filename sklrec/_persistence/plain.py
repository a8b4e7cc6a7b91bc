"""Plain values, such as parameters and IDs of mixed types, as JSON, and back."""
# SPDX-License-Identifier: BSD-3-Clause

import base64
import math
import re
from collections.abc import Callable
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import numpy as np
import pandas as pd

from sklrec._persistence.time_zones import pack_zone, unpack_zone

MAX_DEPTH = 16
# Larger integers take long to be read, and Python refuses them by itself somewhat later.
MAX_BITS = 4096
NUMPY_DTYPE = re.compile(
    r"bool|u?int(8|16|32|64)|float(16|32|64)|(datetime|timedelta)64\[(Y|M|W|D|h|m|s|ms|us|ns)\]"
)
UNITS = ("s", "ms", "us", "ns")


def pack_plain(value: Any, depth: int = 0) -> Any:
    """Take a plain value apart into what JSON can hold.

    Parameters
    ----------
    value : object
        The value.
    depth : int, default=0
        How deep inside others it is.

    Returns
    -------
    object
        Numbers, strings, booleans, None and lists as they are; all else as an object of one
        key, which says what it is.

    Raises
    ------
    TypeError
        If it is of no type that is known here.
    """
    kind = type(value)
    if depth > MAX_DEPTH:
        raise TypeError(f"values nested more than {MAX_DEPTH} times")
    if value is None or kind is bool or kind is str:
        return value
    if kind is int and value.bit_length() <= MAX_BITS:
        return value
    if kind is float:
        return value if math.isfinite(value) else {"float": str(value)}
    if kind is list:
        return [pack_plain(element, depth + 1) for element in value]
    if kind is tuple or kind is frozenset:
        return {kind.__name__: [pack_plain(element, depth + 1) for element in value]}
    if kind is dict:
        pairs = [[pack_plain(element, depth + 2) for element in item] for item in value.items()]
        return {"dict": pairs}
    if kind is np.ndarray and value.ndim == 1:
        return {"array": _pack_array(value, depth)}
    if isinstance(value, np.generic) and kind is value.dtype.type:
        return {"numpy": _pack_scalar(value)}
    if kind in _PACKERS:
        name, pack = _PACKERS[kind]
        return {name: pack(value)}
    raise TypeError(f"{value!r} of type {kind.__name__}")


def unpack_plain(packed: Any, depth: int = 0) -> Any:
    """Make the plain value that was taken apart.

    Parameters
    ----------
    packed : object
        What `pack_plain` gave.
    depth : int, default=0
        How deep inside others it is.

    Returns
    -------
    object
        The value.

    Raises
    ------
    ValueError
        If it is none such.
    """
    if depth > MAX_DEPTH:
        raise ValueError(f"values are nested more than {MAX_DEPTH} times")
    if packed is None or isinstance(packed, bool | str):
        return packed
    if isinstance(packed, int):
        if packed.bit_length() > MAX_BITS:
            raise ValueError(f"an integer has more than {MAX_BITS} bits")
        return packed
    if isinstance(packed, float):
        if not math.isfinite(packed):  # such as 1e999
            raise ValueError("a number is too large")
        return packed
    if isinstance(packed, list):
        return [unpack_plain(element, depth + 1) for element in packed]
    if not isinstance(packed, dict) or len(packed) != 1:
        raise ValueError("a value is described in an unknown way")
    (name, content), *_ = packed.items()
    if name in ("tuple", "frozenset"):
        elements = [unpack_plain(element, depth + 1) for element in _list(content)]
        return tuple(elements) if name == "tuple" else frozenset(elements)
    if name == "dict":
        pairs = [_list(pair, 2) for pair in _list(content)]
        return {unpack_plain(k, depth + 2): unpack_plain(v, depth + 2) for k, v in pairs}
    if name == "array":
        return _unpack_array(content, depth)
    if name == "numpy":
        return _unpack_scalar(content)
    if name in _UNPACKERS:
        return _UNPACKERS[name](content)
    raise ValueError(f"a value is of the unknown kind {name[:50]!r}")


def _pack_array(array: np.ndarray, depth: int) -> list[Any]:
    if array.dtype.kind in "US":
        return [array.dtype.kind, [pack_plain(v, depth + 2) for v in array.tolist()]]
    if array.dtype.kind == "O":
        return ["O", [pack_plain(v, depth + 2) for v in array]]
    if not NUMPY_DTYPE.fullmatch(array.dtype.name):
        raise TypeError(f"an array of dtype {array.dtype}")
    return [array.dtype.name, [_pack_scalar(v)[1] for v in array]]


def _unpack_array(content: Any, depth: int) -> np.ndarray:
    kind, packed = _list(content, 2)
    if isinstance(kind, str) and NUMPY_DTYPE.fullmatch(kind):
        return np.array([_unpack_scalar([kind, v]) for v in _list(packed)], dtype=kind)
    elements = [unpack_plain(element, depth + 2) for element in _list(packed)]
    if kind == "O":
        return np.fromiter(elements, object, len(elements))
    if kind == "U" and all(isinstance(v, str) for v in elements):
        return np.array(elements, dtype=str)
    if kind == "S" and all(isinstance(v, bytes) for v in elements):
        return np.array(elements, dtype=bytes)
    raise ValueError("an array is described in an unknown way")


def _pack_scalar(scalar: np.generic) -> list[Any]:
    kind, name = scalar.dtype.kind, scalar.dtype.name
    if kind in "US":
        return [kind, pack_plain(scalar.item())]
    if not NUMPY_DTYPE.fullmatch(name):
        raise TypeError(f"{scalar!r} of dtype {name}")
    return [name, pack_plain(scalar.view(np.int64).item() if kind in "mM" else scalar.item())]


def _unpack_scalar(content: Any) -> Any:
    name, packed = _list(content, 2)
    value = unpack_plain(packed)
    if name == "U" and isinstance(value, str):
        return np.str_(value)
    if name == "S" and isinstance(value, bytes):
        return np.bytes_(value)
    if not isinstance(name, str) or not NUMPY_DTYPE.fullmatch(name):
        raise ValueError("a number of numpy is described in an unknown way")
    dtype = np.dtype(name)
    wanted = {"b": bool, "f": float}.get(dtype.kind, int)
    if type(value) is not wanted:
        raise ValueError(f"a number of dtype {name} is {packed!r}")
    if dtype.kind in "mM":
        return np.int64(value).view(dtype)
    return dtype.type(value)


def _list(content: Any, length: int | None = None) -> list[Any]:
    if not isinstance(content, list) or length not in (None, len(content)):
        raise ValueError("a value is described in an unknown way")
    return content


def _pack_datetime(value: datetime) -> Any:
    return [value.replace(tzinfo=None).isoformat(), value.fold, pack_zone(value.tzinfo)]


def _unpack_datetime(content: Any) -> datetime:
    text, fold, zone = _list(content, 3)
    return datetime.fromisoformat(text).replace(fold=fold, tzinfo=unpack_zone(zone))


def _pack_timestamp(value: pd.Timestamp) -> Any:
    return [value.asm8.view(np.int64).item(), value.unit, pack_zone(value.tzinfo)]


def _unpack_timestamp(content: Any) -> pd.Timestamp:
    number, unit, zone = _list(content, 3)
    if type(number) is not int or unit not in UNITS:
        raise ValueError("a timestamp is described in an unknown way")
    naive = pd.Timestamp(np.int64(number).view(f"datetime64[{unit}]"))
    zone = unpack_zone(zone)
    return naive if zone is None else naive.tz_localize("UTC").tz_convert(zone)


def _unpack_pandas_timedelta(content: Any) -> pd.Timedelta:
    number, unit = _list(content, 2)
    if type(number) is not int or unit not in UNITS:
        raise ValueError("a time difference is described in an unknown way")
    return pd.Timedelta(np.int64(number).view(f"timedelta64[{unit}]"))


def _unpack_decimal(content: Any) -> Decimal:
    value = Decimal(content)
    if value.is_finite() and abs(value.adjusted()) > MAX_BITS:
        raise ValueError("a decimal number has too large an exponent")
    return value


# The name of each type in a file, and what is written of a value.
_PACKERS: dict[type, tuple[str, Callable[[Any], Any]]] = {
    bytes: ("bytes", lambda value: base64.b64encode(value).decode("ascii")),
    datetime: ("datetime", _pack_datetime),
    date: ("date", date.isoformat),
    timedelta: ("timedelta", lambda value: [value.days, value.seconds, value.microseconds]),
    pd.Timestamp: ("timestamp", _pack_timestamp),
    pd.Timedelta: ("pandas timedelta", lambda v: [v.asm8.view(np.int64).item(), v.unit]),
    Decimal: ("decimal", str),
    UUID: ("uuid", str),
}
_UNPACKERS: dict[str, Callable[[Any], Any]] = {
    "float": lambda content: {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}[content],
    "bytes": lambda content: base64.b64decode(content, validate=True),
    "datetime": _unpack_datetime,
    "date": date.fromisoformat,
    "timedelta": lambda content: timedelta(*_list(content, 3)),
    "timestamp": _unpack_timestamp,
    "pandas timedelta": _unpack_pandas_timedelta,
    "decimal": _unpack_decimal,
    "uuid": UUID,
}
