"""Conversion of plain values, such as parameters and IDs of mixed types, to JSON and back."""
# SPDX-License-Identifier: BSD-3-Clause

import base64
import math
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from functools import cache
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo, available_timezones

import numpy as np
import pandas as pd


def pack_plain(value: Any) -> Any:
    """Convert a value to JSON; arrays become lists, scalars of NumPy become those of Python."""
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "biufUSO":
        value = value.tolist()
    kind = type(value)
    if value is None or kind in (bool, int, str) or (kind is float and math.isfinite(value)):
        return value
    if kind is list:
        return [pack_plain(element) for element in value]
    if kind is tuple:
        return {"tuple": [pack_plain(element) for element in value]}
    if kind is dict:
        return {"dict": [[pack_plain(k), pack_plain(v)] for k, v in value.items()]}
    for name, (type_, pack, _) in _KINDS.items():
        if kind is type_:
            return {name: pack(value)}
    raise TypeError(f"{value!r} of type {kind.__name__}")


def unpack_plain(packed: Any) -> Any:
    """Convert the JSON of `pack_plain` back to the value."""
    if isinstance(packed, list):
        return [unpack_plain(element) for element in packed]
    if not isinstance(packed, dict):
        return packed
    if len(packed) != 1:
        raise ValueError("a value is described in an unknown way")
    ((name, content),) = packed.items()
    if name == "tuple":
        return tuple(unpack_plain(element) for element in content)
    if name == "dict":
        return {unpack_plain(k): unpack_plain(v) for k, v in content}
    if name not in _KINDS:
        raise ValueError(f"a value is of the unknown kind {name[:50]!r}")
    return _KINDS[name].unpack(content)


def pack_zone(zone: tzinfo | None) -> Any:
    """Convert a time zone to its name, or to its offset in seconds."""
    if zone is None or (type(zone) is ZoneInfo and zone.key is not None):
        return zone and zone.key
    if type(zone) is timezone:
        return zone.utcoffset(None).total_seconds()
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


def _pack_timestamp(value: pd.Timestamp) -> Any:
    return [value.asm8.view(np.int64).item(), value.unit, pack_zone(value.tzinfo)]


def _unpack_timestamp(content: Any) -> pd.Timestamp:
    number, unit, zone = content
    naive = pd.Timestamp(np.int64(number).view(f"datetime64[{_unit(unit)}]"))
    zone = unpack_zone(zone)
    return naive if zone is None else naive.tz_localize("UTC").tz_convert(zone)


def _unpack_timedelta(content: Any) -> pd.Timedelta:
    number, unit = content
    return pd.Timedelta(np.int64(number).view(f"timedelta64[{_unit(unit)}]"))


def _unit(unit: Any) -> str:
    if unit not in ("s", "ms", "us", "ns"):
        raise ValueError(f"a time has the unknown unit {unit!r:.20}")
    return unit


class _Kind(NamedTuple):
    type: type
    pack: Callable[[Any], Any]
    unpack: Callable[[Any], Any]


_KINDS = {
    "float": _Kind(float, str, float),  # infinite or NaN
    "bytes": _Kind(bytes, lambda v: base64.b64encode(v).decode("ascii"), base64.b64decode),
    "datetime": _Kind(datetime, _pack_datetime, _unpack_datetime),
    "date": _Kind(date, date.isoformat, date.fromisoformat),
    "timedelta": _Kind(
        timedelta, lambda v: [v.days, v.seconds, v.microseconds], lambda v: timedelta(*v)
    ),
    "timestamp": _Kind(pd.Timestamp, _pack_timestamp, _unpack_timestamp),
    "pandas timedelta": _Kind(
        pd.Timedelta, lambda v: [v.asm8.view(np.int64).item(), v.unit], _unpack_timedelta
    ),
}
