"""Files with arrays and a JSON document, written completely or not at all."""
# SPDX-License-Identifier: BSD-3-Clause

import codecs
import json
import math
import os
import re
import stat
from collections.abc import Container, Mapping
from typing import Any, BinaryIO, NoReturn

import numpy as np
from safetensors.numpy import save

from sklrec._utils.checksum import sha256
from sklrec._utils.whole_files import write_whole

# Version of the format; only files of this version are read. Increase it when older versions of
# sklrec cannot read new files.
FORMAT = "2"
MAX_HEADER_BYTES = 16 * 2**20
_WRITER = "the function that matches the one that wrote it, if you trust its source"
_READ_TABLE = "pandas, and fit an estimator to the table"
_PICKLE = "a pickle, such as pickle.dump or joblib.dump write it", _WRITER
_COMPRESSED = "a compressed file, such as joblib.dump(compress=) or gzip write it", _WRITER
# Kinds of other files that are taken for models, by the bytes that they start with, and what
# opens them.
_OTHER_FORMATS = {
    **{bytes([0x80, version]): _PICKLE for version in range(2, 6)},
    b"PK\x03\x04": ("a zip archive, such as torch.save or numpy.savez write it", _WRITER),
    **dict.fromkeys([b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"]\0\0"], _COMPRESSED),
    **dict.fromkeys([b"x\x01", b"x\x5e", b"x\x9c", b"x\xda"], _COMPRESSED),  # zlib
    b"\x93NUMPY": ("an array that numpy.save wrote", "numpy.load"),
    b"PAR1": ("a Parquet file", _READ_TABLE),
}
# The same for texts, by patterns. The last one is any other text.
_TEXTS = {
    r"version https://git-lfs": ("a pointer of Git LFS", "git lfs pull, and load it again"),
    r"\s*[{[]": ("a JSON file", "json.load or pandas.read_json"),
    r"\s*<": ("a page in HTML or XML, such as a failed download leaves it", "a browser"),
    r"[^\n]*[,;\t]": ("a table as text, such as a CSV file", _READ_TABLE),
    r"": ("a text file", "a text editor"),
}
_LENGTH_BYTES = 8  # the first bytes of a safetensors file hold the length of the header
_BYTES_SHOWN = 512  # of a file whose kind is searched
# dtypes of NumPy by their names in safetensors files. The order of bytes is the little-endian one.
_DTYPES = {
    "BOOL": "?",
    **{f"{kind.upper()}{8 * n}": f"<{kind}{n}" for kind in "iuf" for n in (1, 2, 4, 8)},
    "C64": "<c8",
}
del _DTYPES["F8"]  # NumPy has no floats of one byte
_ABOUT = "dtype", "shape", "data_offsets"  # what the header says about an array
_MAX_AXES = 32  # those of NumPy 1
# An array without elements takes no bytes, but a row of a large shape may be needed later.
_MAX_EMPTY_BYTES = 2**20


def write_tensor_file(
    path: str | os.PathLike[str], document: Mapping[str, Any], arrays: Mapping[str, np.ndarray]
) -> None:
    """Write a safetensors file with a JSON document in its metadata."""
    text = json.dumps(document, allow_nan=False, separators=(",", ":"))
    arrays = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    metadata = {"format": "sklrec model", "version": FORMAT, "document": text}
    content = save(arrays, {**metadata, "sha256": _digest(text, arrays)})
    if _header_bytes(content) > MAX_HEADER_BYTES:
        raise ValueError(
            f"A model file holds at most {MAX_HEADER_BYTES:,} bytes besides its arrays, got a "
            f"description of {len(text):,} characters. Set the parameter that holds much data to "
            "a shorter value."
        )
    write_whole(path, content)


def read_tensor_file(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read the document and the arrays of a file."""
    # The file is read and not mapped. A process ends if another one shortens a file that it maps.
    path = os.fsdecode(path)
    with open(path, "rb", opener=_open_without_waiting) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            refuse(path, "it is not a regular file")
        header = _read_header(path, file, status.st_size)
        metadata = header.pop("__metadata__", {})
        _check_format(path, metadata if isinstance(metadata, dict) else {})
        n_left = status.st_size - file.tell()
        places = _places(path, header, n_left)
        arrays = {name: np.empty(shape, dtype) for name, (dtype, shape) in places.items()}
        for array in arrays.values():
            content = array.reshape(-1).view(np.uint8).data
            if file.readinto(content) != array.nbytes:
                refuse(path, "it became shorter while it was read")
    text = metadata.get("document")
    if not isinstance(text, str) or metadata.get("sha256") != _digest(text, arrays):
        refuse(path, "its content does not have the checksum that is stored in it")
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        refuse(path, f"its document is not valid JSON ({error})")
    return document, arrays


def refuse(path: str, reason: str) -> NoReturn:
    """Raise a ValueError that says why a file is not a valid model file."""
    raise ValueError(
        f"{path!r} cannot be read as a model: {reason}. It is not a model file, or it was "
        "truncated or altered. Save the model again, or copy the file again from an intact one."
    )


def _open_without_waiting(path: str, flags: int) -> int:
    """Open a file; a pipe does not wait for a program that writes into it."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _places(
    path: str, header: dict[str, dict[str, Any]], n_bytes: int
) -> dict[str, tuple[str, Any]]:
    """Read the dtypes and shapes of all arrays, in the order of the file, or refuse it."""
    found: list[tuple[int, int, str, tuple[str, Any]]] = []
    for name, about in header.items():
        described: Any = about if isinstance(about, dict) else {}
        dtype, shape, offsets = map(described.get, _ABOUT)
        if not isinstance(dtype, str) or dtype not in _DTYPES:
            refuse(path, f"the array {name[:100]!r} has the unknown dtype {str(dtype)[:20]!r}")
        if not (_are_counts(shape, range(_MAX_AXES + 1)) and _are_counts(offsets, [2])):
            refuse(path, f"the array {name[:100]!r} has a shape or a place that is not valid")
        # In the integers of Python, which are as long as needed.
        n_array = math.prod(shape) * np.dtype(_DTYPES[dtype]).itemsize
        n_row = math.prod(filter(None, shape)) * np.dtype(_DTYPES[dtype]).itemsize
        if offsets[1] - offsets[0] != n_array or (n_array == 0 and n_row > _MAX_EMPTY_BYTES):
            refuse(path, f"the array {name[:100]!r} has another size than its place in the file")
        found.append((offsets[0], offsets[1], name, (_DTYPES[dtype], shape)))
    start = 0
    for first, end, name, _ in sorted(found):
        if first != start:
            refuse(path, f"the place of the array {name[:100]!r} does not follow the one before")
        start = end
    if start != n_bytes:
        refuse(path, f"its arrays take {start:,} bytes, but {n_bytes:,} bytes are left for them")
    return {name: about for _, _, name, about in sorted(found)}


def _are_counts(values: Any, lengths: Container[int]) -> bool:
    """Whether a value of JSON is a list of integers from 0, of one of some lengths."""
    return (
        isinstance(values, list)
        and len(values) in lengths
        and all(type(value) is int and value >= 0 for value in values)
    )


def _read_header(path: str, file: BinaryIO, n_bytes: int) -> dict[str, Any]:
    """Read the header of a file, or raise a ValueError if it is not one of a model file."""
    start = file.read(_BYTES_SHOWN)
    n_left = n_bytes - _LENGTH_BYTES
    n_header = _header_bytes(start)
    # The length of a valid header may be the first bytes of another kind of file.
    is_header = n_header <= MAX_HEADER_BYTES and start[_LENGTH_BYTES:].startswith(b"{")
    if not is_header and (found := _other_format(start)):
        kind, opener = found
        raise ValueError(
            f"{path!r} seems to be {kind}, and not a model file. sklrec.load reads the files of "
            f"sklrec.save. Open this one with {opener}."
        )
    if n_left < 0:
        refuse(path, f"it is {len(start)} bytes long")
    if n_header > min(n_left, MAX_HEADER_BYTES):
        refuse(
            path,
            f"it declares a header of {n_header:,} bytes, but {n_left:,} bytes follow and at most "
            f"{MAX_HEADER_BYTES:,} are allowed",
        )
    file.seek(_LENGTH_BYTES)
    try:
        header = json.loads(file.read(n_header).decode())  # bytes may be of any Unicode encoding
    except (ValueError, RecursionError) as error:
        refuse(path, f"its header is not valid JSON ({error})")
    return header if isinstance(header, dict) else refuse(path, "its header is no JSON object")


def _other_format(start: bytes) -> tuple[str, str] | None:
    """Kind of a file that is no model, and what opens it, or None if it is not known."""
    for magic, found in _OTHER_FORMATS.items():
        if start.startswith(magic):
            return found
    try:
        # The last bytes may be a part of a character.
        text = codecs.getincrementaldecoder("utf-8-sig")().decode(start)
    except UnicodeDecodeError:
        return None
    if not text or not all(character.isprintable() or character.isspace() for character in text):
        return None
    return next(found for pattern, found in _TEXTS.items() if re.match(pattern, text))


def _check_format(path: str, metadata: Mapping[str, Any]) -> None:
    if metadata.get("format") != "sklrec model":
        refuse(path, "its metadata do not say that sklrec wrote it")
    if (version := metadata.get("version", "")) != FORMAT:
        raise ValueError(
            f"{path!r} has version {str(version)[:20]!r} of the format, and this sklrec reads "
            f"version {FORMAT!r}. Update sklrec, or save the model again with this version of "
            "sklrec."
        )


def _header_bytes(content: bytes) -> int:
    return int.from_bytes(content[:_LENGTH_BYTES], "little")


def _digest(text: str, arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256 of the document and the arrays."""
    parts: list[bytes | memoryview] = [f"{len(text)}\n{text}\n".encode()]
    for name in sorted(arrays):
        array = arrays[name]
        parts.append(f"{len(name)} {name} {array.dtype.str} {array.shape}\n".encode())
        parts.append(array.reshape(-1).view(np.uint8).data)
    return sha256(parts)
