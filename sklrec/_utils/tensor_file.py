"""Files with arrays and a JSON document, written completely or not at all."""
# SPDX-License-Identifier: BSD-3-Clause

import codecs
import contextlib
import json
import os
import re
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from sklrec._utils.checksum import sha256

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
    path = os.fsdecode(path)
    _check_header_bytes(path)
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            _check_format(path, metadata)
            arrays = {name: file.get_tensor(name) for name in file.keys()}
    # A header that does not fit the file causes all of these.
    except (SafetensorError, KeyError, TypeError, OverflowError, MemoryError) as error:
        refuse(path, f"its header and its length do not fit together ({error})")
    if metadata.get("sha256") != _digest(text := metadata.get("document", ""), arrays):
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


def write_whole(path: str | os.PathLike[str], content: bytes) -> None:
    """Replace a file when the new one is complete; on failure the old file stays."""
    path = Path(os.path.realpath(os.fsdecode(path)))
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:  # Ctrl-C included
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError):  # name the file of the caller, not the temporary one
            error.filename = str(path)
            del error.filename2  # else the message shows it
        raise
    if os.name == "posix":  # write the new name to the disk, too
        descriptor = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _check_header_bytes(path: str) -> None:
    """Raise a ValueError if the header is longer than the file or than the limit."""
    if not stat.S_ISREG(os.stat(path).st_mode) and not os.path.isdir(path):
        refuse(path, "it is not a regular file")  # reading a pipe may never end
    with open(path, "rb") as file:
        start = file.read(_BYTES_SHOWN)
        n_left = os.fstat(file.fileno()).st_size - _LENGTH_BYTES
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


def _check_format(path: str, metadata: Mapping[str, str]) -> None:
    if metadata.get("format") != "sklrec model":
        refuse(path, "its metadata do not say that sklrec wrote it")
    if (version := metadata.get("version", "")) != FORMAT:
        raise ValueError(
            f"{path!r} has version {version[:20]!r} of the format, and this sklrec reads version "
            f"{FORMAT!r}. Update sklrec, or save the model again with this version of sklrec."
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
