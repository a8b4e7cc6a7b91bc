"""Arrays of IDs of every dtype, as arrays of numbers."""
# SPDX-License-Identifier: BSD-3-Clause

import json
from typing import Any

import numpy as np
import pandas as pd

from sklrec._utils.state.kinds import BOOL, Array, Choice, Kind, Plain, Record
from sklrec._utils.state.plain import ID_CODECS, pack_plain, pack_zone, unpack_plain, unpack_zone
from sklrec._utils.versions import string_dtype

NUMBERS = tuple(np.dtype(code).name for code in "?bhiqBHIQefd")
UNITS = ("Y", "M", "W", "D", "h", "m", "s", "ms", "us", "ns")
TIMES = tuple(f"{kind}64[{unit}]" for kind in ("datetime", "timedelta") for unit in UNITS)
# dtype of one character in fixed-width strings of NumPy.
CELLS: dict[str, np.dtype] = {"U": np.dtype(np.uint32), "S": np.dtype(np.uint8)}
N_CODE_POINTS = 0x110000
LONE_SURROGATES = "surrogatepass"  # strings of Python can hold them, UTF-8 cannot


class IDs(Kind):
    """An array of IDs of NumPy or pandas, whose dtype is kept."""

    def pack(self, value, raw):
        try:
            return _pack(value)
        except TypeError:
            if raw:
                return value
            raise

    def unpack(self, packed, place):
        if place.raw and not isinstance(packed, dict):
            return packed
        rest = dict(place.checked(packed))
        kind = Choice(*_READERS).unpack(rest.pop("kind", None), place.to("kind"))
        return _READERS[kind].unpack(rest, place)


def _pack(ids: Any) -> dict[str, Any]:
    dtype = ids.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        index, codes = ids.categories, {"codes": ids.codes.astype(np.int64)}
        values = index.to_numpy() if isinstance(index.dtype, np.dtype) else index.array
        about = {"kind": "categories", "ordered": bool(ids.ordered)}
        return {**about, **codes, "values": _pack(values)}
    if isinstance(dtype, pd.StringDtype):
        values, missing = _pack(ids.to_numpy(dtype=object)), repr(dtype.na_value).strip("<>")
        storage = {"storage": dtype.storage, "missing": missing}
        return {"kind": "strings of pandas", "values": values, **storage}
    if isinstance(dtype, pd.DatetimeTZDtype):
        values = _pack(ids.tz_convert("UTC").tz_localize(None).to_numpy())
        return {"kind": "times in a zone", "values": values, "zone": pack_zone(dtype.tz)}
    if not isinstance(ids, np.ndarray):
        numbers = getattr(dtype, "numpy_dtype", np.dtype(object))
        if str(dtype) != _pandas_name(numbers.name):
            raise TypeError(f"an array of dtype {dtype}")
        return {"kind": "numbers of pandas", "values": _pack(ids.to_numpy(dtype=numbers))}
    if dtype.kind in CELLS:
        cells = np.frombuffer(ids.astype(dtype.newbyteorder("=")).tobytes(), CELLS[dtype.kind])
        cells = cells.reshape(len(ids), dtype.itemsize // cells.itemsize)
        return {"kind": "strings of one width", "type": dtype.kind, "cells": cells}
    if dtype.kind != "O":
        if dtype.name not in NUMBERS + TIMES:
            raise TypeError(f"an array of dtype {dtype.name}")
        ids, time = ids.astype(dtype.newbyteorder("=")), dtype.name if dtype.kind in "mM" else None
        return {"kind": "numbers", "time": time, "ids": ids.view(np.int64) if time else ids}
    if all(type(v) is str for v in ids):
        encoded = [string.encode("utf-8", LONE_SURROGATES) for string in ids]
        n_bytes = np.fromiter(map(len, encoded), np.int64, len(encoded))
        utf8 = np.frombuffer(b"".join(encoded), np.uint8)
        return {"kind": "strings", "utf8": utf8, "n_bytes": n_bytes}
    # The document has a limited length, so the objects are an array.
    text = json.dumps(pack_plain(list(ids), ID_CODECS), allow_nan=False, separators=(",", ":"))
    return {"kind": "objects", "json_text": np.frombuffer(text.encode("ascii"), np.uint8)}


def _pandas_name(name: str) -> str:
    """Name of the nullable dtype of pandas for a dtype of NumPy."""
    return name.capitalize().replace("Uint", "UInt") if name != "bool" else "boolean"


def _read_categories(values: Any, ordered: bool, codes: np.ndarray) -> Any:
    categories = pd.Index(values, dtype=values.dtype, tupleize_cols=False)
    return pd.Categorical.from_codes(codes, dtype=pd.CategoricalDtype(categories, ordered=ordered))


def _read_pandas_strings(values: Any, storage: str, missing: str) -> Any:
    na_value = pd.NA if missing == "NA" else np.nan
    try:
        return pd.array(values, dtype=string_dtype(storage, na_value))
    except ImportError:  # pyarrow is not installed here
        return pd.array(values, dtype=string_dtype("python", na_value))


def _read_pandas_numbers(values: Any) -> Any:
    return pd.array(values, dtype=_pandas_name(values.dtype.name))


def _read_zoned(values: Any, zone: Any) -> Any:
    return pd.DatetimeIndex(values, tz="UTC").tz_convert(unpack_zone(zone)).array


def _read_strings(utf8: np.ndarray, n_bytes: np.ndarray) -> np.ndarray:
    content = utf8.tobytes()
    n = len(content)
    if not 0 <= n_bytes.min(initial=0) <= n_bytes.max(initial=0) <= n or n_bytes.sum() != n:
        raise ValueError(f"n_bytes should be from 0 to {n} and add up to {n}")
    strings, start = np.empty(len(n_bytes), dtype=object), 0
    for k, n in enumerate(n_bytes.tolist()):
        strings[k] = content[start : start + n].decode("utf-8", LONE_SURROGATES)
        start += n
    return strings


def _read_objects(json_text: np.ndarray) -> np.ndarray:
    values = unpack_plain(json.loads(json_text.tobytes().decode("ascii")), ID_CODECS)
    return np.fromiter(values, object, len(values))


def _read_cells(type: str, cells: np.ndarray) -> np.ndarray:
    content = cells.astype(CELLS[type]).tobytes()
    return np.frombuffer(content, f"{type}{cells.shape[1]}", len(cells))


_BYTES, _INT64 = Array("uint8", (None,)), Array("int64", (None,))
_STORAGE = {"storage": Choice("python", "pyarrow"), "missing": Choice("NA", "nan")}
_CELLS = Array(("uint32", "uint8"), (None, None), N_CODE_POINTS)
_TIMES = {"time": Choice(None, *TIMES), "ids": Array(NUMBERS, (None,))}
_VALUES = {"values": IDs()}
_READERS = {
    "categories": Record({**_VALUES, "ordered": BOOL, "codes": _INT64}, _read_categories),
    "strings of pandas": Record({**_VALUES, **_STORAGE}, _read_pandas_strings),
    "times in a zone": Record({**_VALUES, "zone": Plain(str, float)}, _read_zoned),
    "numbers of pandas": Record(_VALUES, _read_pandas_numbers),
    "strings of one width": Record({"type": Choice(*CELLS), "cells": _CELLS}, _read_cells),
    "numbers": Record(_TIMES, lambda time, ids: ids if time is None else ids.view(time)),
    "strings": Record({"utf8": _BYTES, "n_bytes": _INT64}, _read_strings),
    "objects": Record({"json_text": _BYTES}, _read_objects),
}
