"""Arrays of IDs of every dtype, as arrays of numbers."""
# SPDX-License-Identifier: BSD-3-Clause

import json
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from sklrec._utils.state.kinds import BOOL, Array, Choice, Fields, Kind, Plain, unpack_fields
from sklrec._utils.state.plain import ID_CODECS, pack_plain, pack_zone, unpack_plain, unpack_zone

NUMBERS = (
    *(f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)),
    *("float16", "float32", "float64", "bool"),
)
TIME = re.compile(r"(datetime|timedelta)64\[(Y|M|W|D|h|m|s|ms|us|ns)\]")
# dtype of one character in fixed-width strings of NumPy.
CELLS: dict[str, np.dtype] = {"U": np.dtype(np.uint32), "S": np.dtype(np.uint8)}
N_CODE_POINTS = 0x110000
LONE_SURROGATES = "surrogatepass"  # strings of Python can hold them, UTF-8 cannot
WANTED = (
    "IDs in a model file are numbers, strings, bytes, datetimes, time differences, categories, "
    "and tuples and mixtures of these. Convert the column, for example with .astype(str), and fit "
    "again, or use joblib.dump."
)


class IDs(Kind):
    """An array of IDs of NumPy or pandas, whose dtype is kept."""

    def pack(self, value, raw):
        try:
            return _pack(value)
        except TypeError as error:
            if raw:
                return value
            raise TypeError(f"{error}. {WANTED}") from error

    def unpack(self, packed, place):
        if place.raw and not isinstance(packed, dict):
            return packed
        if type(packed) is not dict:
            place.refuse("should be a JSON object")
        rest = dict(packed)
        kind = Choice(*_READERS).unpack(rest.pop("kind", None), place.to("kind"))
        fields, read = _READERS[kind]
        return read(**unpack_fields(fields, rest, place))


def _pack(ids: Any) -> dict[str, Any]:
    dtype, is_numpy = ids.dtype, isinstance(ids, np.ndarray)
    if isinstance(dtype, pd.CategoricalDtype):
        return {"kind": "categories", **_pack_categories(ids)}
    if isinstance(dtype, pd.StringDtype):
        missing = "NA" if dtype.na_value is pd.NA else "nan"
        of_pandas = {"kind": "strings of pandas", "storage": dtype.storage, "missing": missing}
        return of_pandas | _pack_strings(ids.to_numpy(dtype=object))
    if isinstance(dtype, pd.DatetimeTZDtype):
        times = ids.tz_convert("UTC").tz_localize(None).to_numpy()
        return {"kind": "times in a zone", "zone": pack_zone(dtype.tz), **_pack_array(times)}
    if not is_numpy:
        numbers = getattr(dtype, "numpy_dtype", np.dtype(object))
        if str(dtype) != _pandas_name(numbers.name):
            raise TypeError(f"an array of dtype {dtype}")
        return {"kind": "numbers of pandas", **_pack_array(ids.to_numpy(dtype=numbers))}
    if dtype.kind in CELLS:
        return {"kind": "strings of one width", **_pack_cells(ids)}
    if dtype.kind != "O":
        return {"kind": "array", **_pack_array(ids)}
    if all(type(v) is str for v in ids):
        return {"kind": "strings", **_pack_strings(ids)}
    return {"kind": "objects", **_pack_objects(ids)}


def _pack_array(ids: np.ndarray) -> dict[str, Any]:
    """Write an array of NumPy as numbers, and the name of its dtype."""
    name = ids.dtype.name
    ids = ids.astype(ids.dtype.newbyteorder("="))
    if TIME.fullmatch(name):
        return {"dtype": name, "ids": ids.view(np.int64)}
    if name not in NUMBERS:
        raise TypeError(f"an array of dtype {name}")
    return {"dtype": name, "ids": ids}


def _read_array(dtype: str, ids: np.ndarray) -> np.ndarray:
    if TIME.fullmatch(dtype) and ids.dtype == np.int64:
        return ids.view(dtype)
    if dtype != ids.dtype.name:
        raise ValueError(f"IDs should be of {ids.dtype.name}, or of times with a unit")
    return ids


def _pack_cells(ids: np.ndarray) -> dict[str, Any]:
    cell = CELLS[ids.dtype.kind]
    width = ids.dtype.itemsize // cell.itemsize
    native = np.ascontiguousarray(ids, dtype=f"{ids.dtype.kind}{width}")
    cells = np.frombuffer(native.tobytes(), cell).reshape(len(ids), width)
    return {"dtype": ids.dtype.kind, "cells": cells}


def _read_cells(dtype: str, cells: np.ndarray) -> np.ndarray:
    if cells.dtype != CELLS[dtype]:
        raise ValueError(f"the cells of {dtype} should be of {CELLS[dtype]}")
    return np.frombuffer(cells.tobytes(), f"{dtype}{cells.shape[1]}", len(cells))


def _read_zoned(zone: Any, dtype: str, ids: np.ndarray) -> Any:
    times = pd.DatetimeIndex(_read_array(dtype, ids), tz="UTC")
    return times.tz_convert(unpack_zone(zone)).array


def _read_numbers(dtype: str, ids: np.ndarray) -> Any:
    return pd.array(_read_array(dtype, ids), dtype=_pandas_name(dtype))


def _pandas_name(name: str) -> str:
    """Name of the nullable dtype of pandas for a dtype of NumPy."""
    return name.capitalize().replace("Uint", "UInt") if name != "bool" else "boolean"


def _pack_strings(ids: Any) -> dict[str, Any]:
    encoded = [string.encode("utf-8", LONE_SURROGATES) for string in ids]
    n_bytes = np.fromiter(map(len, encoded), np.int64, len(encoded))
    return {"utf8": np.frombuffer(b"".join(encoded), np.uint8), "n_bytes": n_bytes}


def _read_strings(utf8: np.ndarray, n_bytes: np.ndarray) -> np.ndarray:
    content = utf8.tobytes()
    if not 0 <= n_bytes.min(initial=0) <= n_bytes.max(initial=0) <= len(content):
        raise ValueError(f"n_bytes should hold integers from 0 to {len(content)}")
    if n_bytes.sum() != len(content):
        raise ValueError(f"n_bytes should add up to {len(content)}")
    strings, start = np.empty(len(n_bytes), dtype=object), 0
    for k, n in enumerate(n_bytes.tolist()):
        strings[k] = content[start : start + n].decode("utf-8", LONE_SURROGATES)
        start += n
    return strings


def _read_pandas_strings(storage: str, missing: str, **strings: np.ndarray) -> Any:
    na_value = pd.NA if missing == "NA" else np.nan
    try:
        dtype = pd.StringDtype(storage, na_value=na_value)
    except ImportError:  # pyarrow is not installed here
        dtype = pd.StringDtype("python", na_value=na_value)
    return pd.array(_read_strings(**strings), dtype=dtype)


def _pack_categories(ids: Any) -> dict[str, Any]:
    categories = ids.categories
    is_numpy = isinstance(categories.dtype, np.dtype)
    packed = _pack(categories.to_numpy() if is_numpy else categories.array)
    codes = ids.codes.astype(np.int64)
    return {"categories": packed, "ordered": bool(ids.ordered), "codes": codes}


def _read_categories(categories: Any, ordered: bool, codes: np.ndarray) -> Any:
    categories = pd.Index(categories, dtype=categories.dtype, tupleize_cols=False)
    dtype = pd.CategoricalDtype(categories, ordered=ordered)
    return pd.Categorical.from_codes(codes, dtype=dtype)


def _pack_objects(ids: np.ndarray) -> dict[str, Any]:
    # The document has a limited length, so the objects are an array.
    text = json.dumps(pack_plain(list(ids), ID_CODECS), allow_nan=False, separators=(",", ":"))
    return {"json_text": np.frombuffer(text.encode("ascii"), np.uint8)}


def _read_objects(json_text: np.ndarray) -> np.ndarray:
    values = unpack_plain(json.loads(json_text.tobytes().decode("ascii")), ID_CODECS)
    return np.fromiter(values, object, len(values))


_TEXT, _BYTES = Plain(str), Array("uint8", (None,))
_NUMBERS = {"dtype": _TEXT, "ids": Array(NUMBERS, (None,))}
_CELLS = Array(("uint32", "uint8"), (None, None), N_CODE_POINTS)
_STRINGS = {"utf8": _BYTES, "n_bytes": Array("int64", (None,))}
_PANDAS = {"storage": Choice("python", "pyarrow"), "missing": Choice("NA", "nan")}
_CODES = Array("int64", (None,))
_READERS: dict[str, tuple[Fields, Callable[..., Any]]] = {
    "array": (_NUMBERS, _read_array),
    "numbers of pandas": (_NUMBERS, _read_numbers),
    "times in a zone": ({"zone": Plain(str, float), **_NUMBERS}, _read_zoned),
    "strings": (_STRINGS, _read_strings),
    "strings of pandas": ({**_PANDAS, **_STRINGS}, _read_pandas_strings),
    "strings of one width": ({"dtype": Choice(*CELLS), "cells": _CELLS}, _read_cells),
    "categories": ({"categories": IDs(), "ordered": BOOL, "codes": _CODES}, _read_categories),
    "objects": ({"json_text": _BYTES}, _read_objects),
}
