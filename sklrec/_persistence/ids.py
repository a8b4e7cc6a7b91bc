"""IDs of all kinds as arrays, and back in the same dtype."""
# SPDX-License-Identifier: BSD-3-Clause

import json
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from sklrec._persistence.parts import ANY, PartReader, PartWriter
from sklrec._persistence.plain import pack_plain, unpack_plain
from sklrec._persistence.strings import read_strings, write_strings
from sklrec._persistence.time_zones import pack_zone, unpack_zone

NUMBERS = (
    *(f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)),
    *("float16", "float32", "float64", "bool"),
)
TIME_DTYPE = re.compile(r"(datetime|timedelta)64\[(Y|M|W|D|h|m|s|ms|us|ns)\]")
ZONED_UNITS = ("s", "ms", "us", "ns")
# What holds a character of a string of numpy, or a byte.
CELLS: dict[str, np.dtype] = {"U": np.dtype(np.uint32), "S": np.dtype(np.uint8)}
MAX_CODE_POINT = 0x10FFFF


def write_ids(part: PartWriter, ids: Any, column: int | str) -> None:
    """Write the IDs of a column.

    Parameters
    ----------
    part : PartWriter
        Where to.
    ids : ndarray or ExtensionArray of shape (n_ids,)
        The IDs.
    column : int or str
        The column's name, for messages.

    Raises
    ------
    TypeError
        If an ID, or the array, is of a type that cannot be stored.
    """
    kind, write = _writer_of(ids)
    part.put("kind", kind)
    try:
        write(part, ids)
    except TypeError as error:
        raise TypeError(
            f"IDs of column {column!r} cannot be stored in a model file: {error}. It holds "
            "numbers, strings, bytes, datetimes, time differences, categories, and tuples and "
            "mixtures of these; convert the column, for example with .astype(str), and fit anew, "
            "or use joblib.dump."
        ) from error


def read_ids(part: PartReader) -> Any:
    """Read what `write_ids` wrote.

    Parameters
    ----------
    part : PartReader
        Where from.

    Returns
    -------
    ndarray or ExtensionArray of shape (n_ids,)
        The IDs, none of them missing or infinite.
    """
    ids = _READERS[part.choice("kind", *_READERS)](part)
    missing = pd.isna(ids)
    if np.any(missing):
        part.refuse("", f"holds IDs of which {np.count_nonzero(missing)} are missing")
    if ids.dtype.kind == "f":
        infinite = np.isinf(np.asarray(ids))
    elif ids.dtype.kind == "O" and isinstance(ids, np.ndarray):
        infinite = np.fromiter((v in (np.inf, -np.inf) for v in ids), bool, len(ids))
    else:
        infinite = np.zeros(1, bool)
    if infinite.any():
        part.refuse("", "holds infinite IDs")
    return ids


def _writer_of(ids: Any) -> tuple[str, Callable[[PartWriter, Any], None]]:
    dtype = ids.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        return "categories", _write_categories
    if isinstance(dtype, pd.StringDtype):
        return "strings of pandas", _write_pandas_strings
    if isinstance(dtype, pd.DatetimeTZDtype):
        return "datetimes with a time zone", _write_zoned
    if isinstance(ids, np.ndarray):
        if dtype.kind in "US":
            return "strings of one width", _write_cells
        if dtype.kind in "mM":
            return "times", _write_times
        if dtype.kind == "O":
            if all(type(v) is str for v in ids):
                return "strings", lambda part, ids: write_strings(part, ids)
            return "objects", _write_objects
        return "numbers", _write_numbers
    return "numbers of pandas", _write_pandas_numbers


def _write_numbers(part: PartWriter, ids: np.ndarray) -> None:
    if ids.dtype.name not in NUMBERS:
        raise TypeError(f"an array of dtype {ids.dtype}")
    part.array("ids", ids)


def _read_numbers(part: PartReader) -> np.ndarray:
    return part.array("ids", NUMBERS, (ANY,))


def _write_pandas_numbers(part: PartWriter, ids: Any) -> None:
    numpy_dtype = getattr(ids.dtype, "numpy_dtype", None)
    name = getattr(numpy_dtype, "name", "")
    if name not in NUMBERS or str(ids.dtype) != _pandas_name(name):
        raise TypeError(f"an array of dtype {ids.dtype}")
    part.array("ids", ids.to_numpy(dtype=numpy_dtype))


def _read_pandas_numbers(part: PartReader) -> Any:
    values = _read_numbers(part)
    if values.dtype == np.float16:
        part.refuse("ids", "should be of a dtype that pandas has")
    return pd.array(values, dtype=_pandas_name(values.dtype.name))


def _pandas_name(name: str) -> str:
    """What pandas calls its own dtype of such numbers."""
    return name.capitalize().replace("Uint", "UInt") if name != "bool" else "boolean"


def _write_pandas_strings(part: PartWriter, ids: Any) -> None:
    part.put("storage", ids.dtype.storage)
    part.put("missing", "NA" if ids.dtype.na_value is pd.NA else "nan")
    write_strings(part, ids.to_numpy(dtype=object))


def _read_pandas_strings(part: PartReader) -> Any:
    storage = part.choice("storage", "python", "pyarrow")
    missing = pd.NA if part.choice("missing", "NA", "nan") == "NA" else np.nan
    strings = np.array([*read_strings(part), None], dtype=object)[:-1]
    try:
        dtype = pd.StringDtype(storage, na_value=missing)
    except ImportError:  # the same strings, where there is no pyarrow
        dtype = pd.StringDtype("python", na_value=missing)
    return pd.array(strings, dtype=dtype)


def _read_strings(part: PartReader) -> np.ndarray:
    return np.array([*read_strings(part), None], dtype=object)[:-1]


def _write_cells(part: PartWriter, ids: np.ndarray) -> None:
    cell = CELLS[ids.dtype.kind]
    width = ids.dtype.itemsize // cell.itemsize
    native = np.ascontiguousarray(ids, dtype=f"{ids.dtype.kind}{width}")
    part.put("type", ids.dtype.kind)
    part.array("cells", np.frombuffer(native.tobytes(), cell).reshape(len(ids), width))


def _read_cells(part: PartReader) -> np.ndarray:
    kind = part.choice("type", *CELLS)
    cells = part.array("cells", CELLS[kind].name, (ANY, ANY))
    n_ids, width = cells.shape
    if kind == "U" and cells.max(initial=0) > MAX_CODE_POINT:
        part.refuse("cells", f"should hold code points up to {MAX_CODE_POINT:#x}")
    if width == 0:
        part.refuse("cells", "should have at least one column")
    return np.frombuffer(cells.tobytes(), f"{kind}{width}", n_ids)


def _write_times(part: PartWriter, ids: np.ndarray) -> None:
    name = ids.dtype.name
    if not TIME_DTYPE.fullmatch(name):
        raise TypeError(f"an array of dtype {name}")
    part.put("dtype", name)
    part.array("ids", ids.astype(ids.dtype.newbyteorder("=")).view(np.int64))


def _read_times(part: PartReader) -> np.ndarray:
    name = part.value("dtype", str)
    if not TIME_DTYPE.fullmatch(name):
        part.refuse("dtype", f"should be datetime64 or timedelta64 with a unit, got {name[:50]!r}")
    return part.array("ids", "int64", (ANY,)).view(name)


def _write_zoned(part: PartWriter, ids: Any) -> None:
    part.put("unit", ids.dtype.unit)
    part.put("zone", pack_zone(ids.dtype.tz))
    part.array("ids", ids.asi8)


def _read_zoned(part: PartReader) -> Any:
    unit = part.choice("unit", *ZONED_UNITS)
    zone = unpack_zone(part.value("zone", str, list))
    times = part.array("ids", "int64", (ANY,)).view(f"datetime64[{unit}]")
    return pd.DatetimeIndex(times).tz_localize("UTC").tz_convert(zone).array


def _write_categories(part: PartWriter, ids: Any) -> None:
    categories = ids.categories
    is_numpy = isinstance(categories.dtype, np.dtype)
    values = categories.to_numpy() if is_numpy else categories.array
    kind, write = _writer_of(values)
    inner = part.part("categories")
    inner.put("kind", kind)
    write(inner, values)
    part.put("ordered", bool(ids.ordered))
    part.array("codes", ids.codes.astype(np.int64))


def _read_categories(part: PartReader) -> Any:
    inner = part.part("categories")
    kinds = [kind for kind in _READERS if kind != "categories"]
    categories = _READERS[inner.choice("kind", *kinds)](inner)
    categories = pd.Index(categories, dtype=categories.dtype, tupleize_cols=False)
    codes = part.codes("codes", (ANY,), len(categories))
    dtype = pd.CategoricalDtype(categories, ordered=part.value("ordered", bool))
    return pd.Categorical.from_codes(codes, dtype=dtype)


def _write_objects(part: PartWriter, ids: np.ndarray) -> None:
    # Not in the document, whose length is limited.
    text = json.dumps([pack_plain(v) for v in ids], allow_nan=False, separators=(",", ":"))
    part.array("json", np.frombuffer(text.encode("ascii"), np.uint8))


def _read_objects(part: PartReader) -> np.ndarray:
    text = part.array("json", "uint8", (ANY,)).tobytes().decode("ascii")
    packed = json.loads(text)  # which of bytes would guess the encoding
    if type(packed) is not list:
        part.refuse("json", "should be a JSON array")
    values = [unpack_plain(v) for v in packed]
    for value in values:
        hash(value)  # of very few, pandas would not ask
    return np.fromiter(values, object, len(values))


_READERS: dict[str, Callable[[PartReader], Any]] = {
    "numbers": _read_numbers,
    "numbers of pandas": _read_pandas_numbers,
    "strings": _read_strings,
    "strings of pandas": _read_pandas_strings,
    "strings of one width": _read_cells,
    "times": _read_times,
    "datetimes with a time zone": _read_zoned,
    "categories": _read_categories,
    "objects": _read_objects,
}
