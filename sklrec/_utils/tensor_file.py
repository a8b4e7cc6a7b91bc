"""Files with arrays and a JSON document, written completely or not at all."""
# SPDX-License-Identifier: BSD-3-Clause

import contextlib
import json
import os
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
# First bytes of other files that are taken for models. As the length of a header, they would be
# far too much.
_OTHER_FORMATS = {
    **{
        bytes([0x80, version]): "a pickle, such as pickle.dump or joblib.dump write it"
        for version in range(2, 6)
    },
    b"PK\x03\x04": "a zip archive, such as torch.save or numpy.savez write it",
}
_LENGTH_BYTES = 8  # the first bytes of a safetensors file hold the length of the header


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
        length = file.read(_LENGTH_BYTES)
        n_left = os.fstat(file.fileno()).st_size - _LENGTH_BYTES
    for start, kind in _OTHER_FORMATS.items():
        if length.startswith(start):
            raise ValueError(
                f"{path!r} is {kind}, and not a model file. sklrec.load reads the files of "
                "sklrec.save. Open the file with the function that matches the one that wrote "
                "it, if you trust its source."
            )
    if n_left < 0:
        refuse(path, f"it is {len(length)} bytes long")
    if (n_header := _header_bytes(length)) > min(n_left, MAX_HEADER_BYTES):
        refuse(
            path,
            f"it declares a header of {n_header:,} bytes, but {n_left:,} bytes follow and at most "
            f"{MAX_HEADER_BYTES:,} are allowed",
        )


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
