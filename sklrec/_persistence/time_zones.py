"""Time zones by name or by offset."""
# SPDX-License-Identifier: BSD-3-Clause

import re
from datetime import UTC, timedelta, timezone, tzinfo
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

ZONE_NAME = re.compile(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+){0,2}")


def pack_zone(zone: tzinfo | None) -> Any:
    """Describe a time zone.

    Parameters
    ----------
    zone : tzinfo or None
        The time zone; ``None`` is none.

    Returns
    -------
    object
        What JSON can hold.

    Raises
    ------
    TypeError
        If it is neither one of the time zone database nor a fixed offset.
    """
    if zone is None:
        return None
    if type(zone) is ZoneInfo and zone.key is not None:
        return zone.key
    if type(zone) is timezone:
        offset = zone.utcoffset(None)
        if zone == timezone(offset) and repr(zone) == repr(timezone(offset)):
            return [offset.days, offset.seconds, offset.microseconds]
    raise TypeError(f"the time zone {zone!r} of type {type(zone).__name__}")


def unpack_zone(packed: Any) -> tzinfo | None:
    """Make the time zone that was described.

    Parameters
    ----------
    packed : object
        What `pack_zone` gave.

    Returns
    -------
    tzinfo or None
        The time zone.

    Raises
    ------
    ValueError
        If there is none such.
    """
    if packed is None:
        return None
    if isinstance(packed, str):
        # A name is a path: only those that are there are asked for.
        if ZONE_NAME.fullmatch(packed) and packed in available_timezones():
            return ZoneInfo(packed)
        raise ValueError(f"the time zone {packed[:50]!r} is not known on this machine")
    if isinstance(packed, list) and [type(n) for n in packed] == [int] * 3:
        offset = timedelta(*packed)
        return UTC if not offset else timezone(offset)
    raise ValueError("a time zone is described in an unknown way")
