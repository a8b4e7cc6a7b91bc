"""Vocabularies in a model file: arrays of IDs, which keep their dtype."""
# SPDX-License-Identifier: BSD-3-Clause

import json
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from sklrec._data.vocabulary import Vocabulary
from sklrec._persistence.parts import ANY, PartReader, PartWriter
from sklrec._persistence.plain import pack_plain, pack_zone, unpack_plain, unpack_zone

NUMBERS = (
    *(f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)),
    *("float16", "float32", "float64", "bool"),
)
TIME_DTYPE = re.compile(r"(datetime|timedelta)64\[(Y|M|W|D|h|m|s|ms|us|ns)\]")
# dtype of one character in fixed-width strings of NumPy.
CELLS: dict[str, np.dtype] = {"U": np.dtype(np.uint32), "S": np.dtype(np.uint8)}
MAX_CODE_POINT = 0x10FFFF
LONE_SURROGATES = "surrogatepass"  # strings of Python can hold them, UTF-8 cannot


def write_vocabulary(part: PartWriter, vocabulary: Vocabulary) -> None:
    """Write the IDs of a column."""
    ids, rare = vocabulary._ids, vocabulary.rare
    try:
        _write_ids(part.part("ids"), ids)
        if len(rare) or rare.dtype != ids.dtype:
            _write_ids(part.part("rare"), rare)
    except TypeError as error:
        raise TypeError(
            f"IDs of column {vocabulary.name!r} cannot be stored in a model file: {error}. It "
            "holds numbers, strings, bytes, datetimes, time differences, categories, and tuples "
            "and mixtures of these. Convert the column, for example with .astype(str), and fit "
            "again, or use joblib.dump."
        ) from error


def read_vocabulary(part: PartReader, name: int | str) -> Vocabulary:
    """Read the IDs of a column."""
    ids = _read_ids(part.part("ids"))
    return Vocabulary(ids, name, _read_ids(part.part("rare")) if part.has("rare") else None)


def _write_ids(part: PartWriter, ids: Any) -> None:
    dtype, is_numpy = ids.dtype, isinstance(ids, np.ndarray)
    write: Callable[[PartWriter, Any], None]
    if isinstance(dtype, pd.CategoricalDtype):
        kind, write = "categories", _write_categories
    elif isinstance(dtype, pd.StringDtype):
        kind, write = "strings of pandas", _write_pandas_strings
    elif isinstance(dtype, pd.DatetimeTZDtype):
        kind, write = "times", _write_times
    elif not is_numpy:
        kind, write = "numbers of pandas", _write_pandas_numbers
    elif dtype.kind in "US":
        kind, write = "strings of one width", _write_cells
    elif dtype.kind in "mM":
        kind, write = "times", _write_times
    elif dtype.kind != "O":
        kind, write = "numbers", _write_numbers
    elif all(type(v) is str for v in ids):
        kind, write = "strings", _write_strings
    else:
        kind, write = "objects", _write_objects
    part.put("kind", kind)
    write(part, ids)


def _read_ids(part: PartReader) -> Any:
    return _READERS[part.choice("kind", *_READERS)](part)


def _write_numbers(part: PartWriter, ids: np.ndarray) -> None:
    if ids.dtype.name not in NUMBERS:
        raise TypeError(f"an array of dtype {ids.dtype}")
    part.array("ids", ids)


def _read_numbers(part: PartReader) -> np.ndarray:
    return part.array("ids", NUMBERS, (ANY,))


def _write_pandas_numbers(part: PartWriter, ids: Any) -> None:
    dtype = getattr(ids.dtype, "numpy_dtype", np.dtype(object))
    if str(ids.dtype) != _pandas_name(dtype.name):
        raise TypeError(f"an array of dtype {ids.dtype}")
    _write_numbers(part, ids.to_numpy(dtype=dtype))


def _read_pandas_numbers(part: PartReader) -> Any:
    values = _read_numbers(part)
    return pd.array(values, dtype=_pandas_name(values.dtype.name))


def _pandas_name(name: str) -> str:
    """Name of the nullable dtype of pandas for a dtype of NumPy."""
    return name.capitalize().replace("Uint", "UInt") if name != "bool" else "boolean"


def _write_strings(part: PartWriter, ids: Any) -> None:
    encoded = [string.encode("utf-8", LONE_SURROGATES) for string in ids]
    part.array("utf8", np.frombuffer(b"".join(encoded), np.uint8))
    part.array("n_bytes", np.fromiter(map(len, encoded), np.int64, len(encoded)))


def _read_strings(part: PartReader) -> np.ndarray:
    content = part.array("utf8", "uint8", (ANY,)).tobytes()
    lengths = part.codes("n_bytes", (ANY,), len(content) + 1).tolist()
    if sum(lengths) != len(content):
        part.refuse("n_bytes", f"should add up to {len(content)}")
    strings, start = np.empty(len(lengths), dtype=object), 0
    for k, n in enumerate(lengths):
        strings[k] = content[start : start + n].decode("utf-8", LONE_SURROGATES)
        start += n
    return strings


def _write_pandas_strings(part: PartWriter, ids: Any) -> None:
    part.put("storage", ids.dtype.storage)
    part.put("missing", "NA" if ids.dtype.na_value is pd.NA else "nan")
    _write_strings(part, ids.to_numpy(dtype=object))


def _read_pandas_strings(part: PartReader) -> Any:
    storage = part.choice("storage", "python", "pyarrow")
    missing = pd.NA if part.choice("missing", "NA", "nan") == "NA" else np.nan
    try:
        dtype = pd.StringDtype(storage, na_value=missing)
    except ImportError:  # pyarrow is not installed here
        dtype = pd.StringDtype("python", na_value=missing)
    return pd.array(_read_strings(part), dtype=dtype)


def _write_cells(part: PartWriter, ids: np.ndarray) -> None:
    cell = CELLS[ids.dtype.kind]
    width = ids.dtype.itemsize // cell.itemsize
    native = np.ascontiguousarray(ids, dtype=f"{ids.dtype.kind}{width}")
    part.put("type", ids.dtype.kind)
    part.array("cells", np.frombuffer(native.tobytes(), cell).reshape(len(ids), width))


def _read_cells(part: PartReader) -> np.ndarray:
    kind = part.choice("type", *CELLS)
    cells = part.codes("cells", (ANY, ANY), MAX_CODE_POINT + 1, CELLS[kind].name)
    n_ids, width = cells.shape
    return np.frombuffer(cells.tobytes(), f"{kind}{width}", n_ids)


def _write_times(part: PartWriter, ids: Any) -> None:
    zone = getattr(ids.dtype, "tz", None)
    if zone is not None:
        ids, zone = ids.tz_convert("UTC").tz_localize(None).to_numpy(), pack_zone(zone)
    if not TIME_DTYPE.fullmatch(ids.dtype.name):
        raise TypeError(f"an array of dtype {ids.dtype.name}")
    part.put("dtype", ids.dtype.name)
    part.put("zone", zone)
    part.array("ids", ids.astype(ids.dtype.newbyteorder("=")).view(np.int64))


def _read_times(part: PartReader) -> Any:
    name = part.value("dtype", str)
    if not TIME_DTYPE.fullmatch(name):
        part.refuse("dtype", f"should be datetime64 or timedelta64 with a unit, got {name[:50]!r}")
    ids = part.array("ids", "int64", (ANY,)).view(name)
    zone = unpack_zone(part.value("zone", str, float, None))
    return ids if zone is None else pd.DatetimeIndex(ids, tz="UTC").tz_convert(zone).array


def _write_categories(part: PartWriter, ids: Any) -> None:
    categories = ids.categories
    is_numpy = isinstance(categories.dtype, np.dtype)
    _write_ids(part.part("categories"), categories.to_numpy() if is_numpy else categories.array)
    part.put("ordered", bool(ids.ordered))
    part.array("codes", ids.codes.astype(np.int64))


def _read_categories(part: PartReader) -> Any:
    categories = _read_ids(part.part("categories"))
    categories = pd.Index(categories, dtype=categories.dtype, tupleize_cols=False)
    codes = part.codes("codes", (ANY,), len(categories))
    dtype = pd.CategoricalDtype(categories, ordered=part.value("ordered", bool))
    return pd.Categorical.from_codes(codes, dtype=dtype)


def _write_objects(part: PartWriter, ids: np.ndarray) -> None:
    # The document has a limited length, so the IDs are an array.
    text = json.dumps([pack_plain(v) for v in ids], allow_nan=False, separators=(",", ":"))
    part.array("json", np.frombuffer(text.encode("ascii"), np.uint8))


def _read_objects(part: PartReader) -> np.ndarray:
    text = part.array("json", "uint8", (ANY,)).tobytes().decode("ascii")
    values = unpack_plain(json.loads(text))
    return np.fromiter(values, object, len(values))


_READERS: dict[str, Callable[[PartReader], Any]] = {
    "numbers": _read_numbers,
    "numbers of pandas": _read_pandas_numbers,
    "strings": _read_strings,
    "strings of pandas": _read_pandas_strings,
    "strings of one width": _read_cells,
    "times": _read_times,
    "categories": _read_categories,
    "objects": _read_objects,
}
