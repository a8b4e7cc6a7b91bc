"""Conversion of plain values, such as parameters and IDs of mixed types, to JSON and back."""
# SPDX-License-Identifier: BSD-3-Clause

import base64
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from functools import cache
from types import FunctionType
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo, available_timezones

import numpy as np
import pandas as pd
import torch

N_KEYS = 624  # length of the state of the Mersenne Twister


class Codec(NamedTuple):
    """How values of one type are described by JSON."""

    type: type
    pack: Callable[[Any], Any]
    unpack: Callable[[Any], Any]
    subclasses: bool = False  # whether values of subclasses are described alike


def pack_plain(value: Any, codecs: Mapping[str, Codec]) -> Any:
    """Convert a value to JSON; arrays become lists, scalars of NumPy become those of Python."""
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "biufUSO":
        value = value.tolist()
    kind = type(value)
    if value is None or kind in (bool, int, str) or _is_finite_float(value):
        return value
    if kind is list:
        return [pack_plain(element, codecs) for element in value]
    if kind is tuple:
        return {"tuple": pack_plain(list(value), codecs)}
    if kind is dict:
        return {"dict": [pack_plain(list(pair), codecs) for pair in value.items()]}
    for name, codec in codecs.items():
        if kind is codec.type or (codec.subclasses and isinstance(value, codec.type)):
            return {name: codec.pack(value)}
    raise TypeError(f"{value!r:.200} of type {kind.__name__}")


def unpack_plain(packed: Any, codecs: Mapping[str, Codec]) -> Any:
    """Convert the JSON of `pack_plain` back to the value."""
    if isinstance(packed, list):
        return [unpack_plain(element, codecs) for element in packed]
    if not isinstance(packed, dict):
        return packed
    if len(packed) != 1:
        raise ValueError("a value is described in an unknown way")
    ((name, content),) = packed.items()
    if name == "tuple":
        return tuple(unpack_plain(element, codecs) for element in content)
    if name == "dict":
        return {unpack_plain(k, codecs): unpack_plain(v, codecs) for k, v in content}
    if name not in codecs:
        raise ValueError(f"a value is of the unknown kind {name[:50]!r}")
    return codecs[name].unpack(content)


def _is_finite_float(value: Any) -> bool:
    """Whether a value is a float that is neither infinite nor NaN."""
    return type(value) is float and math.isfinite(value)


def pack_zone(zone: tzinfo | None) -> Any:
    """Convert a time zone to its name, or to its offset in seconds."""
    if zone is None or (type(zone) is ZoneInfo and zone.key is not None):
        return zone and zone.key
    if type(zone) is timezone:
        return zone.utcoffset(None).total_seconds()
    if isinstance(name := getattr(zone, "zone", None), str):  # of pytz, which pandas 2 uses
        return name
    raise TypeError(f"the time zone {zone!r} of type {type(zone).__name__}")


def unpack_zone(packed: Any) -> tzinfo | None:
    """Convert a name or an offset to a time zone."""
    if packed is None:
        return None
    if isinstance(packed, float):
        return timezone(timedelta(seconds=packed)) if packed else UTC
    if packed not in _zone_names():  # a name is a path of a file, so only known ones are opened
        raise ValueError(f"the time zone {packed!r:.50} is not known on this machine")
    return ZoneInfo(packed)


# Cached, because it reads many folders.
_zone_names = cache(available_timezones)


def _pack_datetime(value: datetime) -> Any:
    return [value.replace(tzinfo=None).isoformat(), value.fold, pack_zone(value.tzinfo)]


def _unpack_datetime(content: Any) -> datetime:
    text, fold, zone = content
    return datetime.fromisoformat(text).replace(fold=fold, tzinfo=unpack_zone(zone))


def _pack_time(value: pd.Timestamp | pd.Timedelta) -> Any:
    return [value.asm8.view(np.int64).item(), value.unit, pack_zone(getattr(value, "tz", None))]


def _unpack_time(kind: str, content: Any) -> Any:
    number, unit, zone = content
    if unit not in ("s", "ms", "us", "ns"):
        raise ValueError(f"a time has the unknown unit {unit!r:.20}")
    scalar = np.int64(number).view(f"{kind}[{unit}]")
    if kind == "timedelta64":
        return pd.Timedelta(scalar)
    naive, zone = pd.Timestamp(scalar), unpack_zone(zone)
    return naive if zone is None else naive.tz_localize("UTC").tz_convert(zone)


# Of the types of IDs.
ID_CODECS = {
    "float": Codec(float, str, float),  # infinite or NaN
    "bytes": Codec(bytes, lambda v: base64.b64encode(v).decode("ascii"), base64.b64decode),
    "datetime": Codec(datetime, _pack_datetime, _unpack_datetime),
    "date": Codec(date, date.isoformat, date.fromisoformat),
    "timedelta": Codec(
        timedelta, lambda v: [v.days, v.seconds, v.microseconds], lambda v: timedelta(*v)
    ),
    "timestamp": Codec(pd.Timestamp, _pack_time, lambda v: _unpack_time("datetime64", v)),
    "pandas timedelta": Codec(pd.Timedelta, _pack_time, lambda v: _unpack_time("timedelta64", v)),
}


# Classes, functions and objects that a file names, by their names.
_named: ContextVar[dict[str, Any] | None] = ContextVar("objects that files name", default=None)


@contextmanager
def named_objects(objects: dict[str, Any]) -> Iterator[None]:
    """Let parameters in files name these classes, functions and objects; packing adds to them."""
    token = _named.set(objects)
    try:
        yield
    finally:
        _named.reset(token)


def _pack_name(value: Any) -> str:
    name = getattr(value, "__qualname__", type(value).__qualname__)
    if (named := _named.get()) is not None:
        named[name] = value
    return name


def _unpack_name(name: Any) -> Any:
    named = _named.get() or {}
    if name not in named:
        raise ValueError(
            f"A parameter is {name!r:.100}, which is code, and model files hold no code. Pass it: "
            f"load(path, custom_objects={{{name!r:.100}: ...}})"
        )
    return named[name]


def _pack_class(value: type) -> Any:
    is_known = _OPTIMIZERS.get(value.__name__) is value
    return f"{OPTIM}{value.__name__}" if is_known else _pack_name(value)


def _unpack_class(name: Any) -> Any:
    known = _OPTIMIZERS.get(name.removeprefix(OPTIM)) if name.startswith(OPTIM) else None
    return _unpack_name(name) if known is None else known


def _pack_random_state(value: np.random.RandomState) -> list[Any]:
    if value.get_state(legacy=False)["bit_generator"] != "MT19937":
        raise TypeError(f"{value!r}, which is no random state of the Mersenne Twister")
    _, keys, *others = value.get_state(legacy=True)
    return [list(map(int, keys)), *others]


def _unpack_random_state(content: Any) -> np.random.RandomState:
    # NumPy does not check these numbers, and reads other memory at a position that is too high.
    keys, position, has_gauss, gauss = content
    if not (
        isinstance(keys, list)
        and len(keys) == N_KEYS
        and all(type(key) is int and 0 <= key < 2**32 for key in keys)
        and type(position) is int
        and 0 <= position <= N_KEYS
    ):
        raise ValueError(f"a random state has {N_KEYS} keys and the position of one of them")
    # Of the first key, only the first bit counts. From zeros alone come only zeros, and the loop
    # that makes normal numbers of them never ends.
    if keys[0] < 2**31 and not any(keys[1:]):
        raise ValueError("the keys of a random state are all 0")
    if type(has_gauss) is not int or has_gauss not in (0, 1) or not _is_finite_float(gauss):
        raise ValueError("a random state has 0 or 1 normal number in stock")
    state = np.random.RandomState(0)
    state.set_state(("MT19937", np.array(keys, np.uint32), position, has_gauss, gauss))
    return state


OPTIM = "torch.optim."
_OPTIMIZERS = {name: found for name, found in vars(torch.optim).items() if type(found) is type}
PARAMETER_CODECS = {
    **ID_CODECS,
    "class": Codec(type, _pack_class, _unpack_class),
    "function": Codec(FunctionType, _pack_name, _unpack_name),
    "network": Codec(torch.nn.Module, _pack_name, _unpack_name, subclasses=True),
    "device": Codec(torch.device, str, torch.device),
    "random state": Codec(np.random.RandomState, _pack_random_state, _unpack_random_state),
}
