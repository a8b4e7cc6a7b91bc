"""One file of arrays and a document, written whole or not at all, read without running code."""
# SPDX-License-Identifier: BSD-3-Clause

import contextlib
import hashlib
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

# The number of the format goes up when what is written can no longer be read by who knows the
# format before; a reader reads all formats up to its own.
FORMAT = 1
MAX_HEADER_BYTES = 16 * 2**20
_LENGTH_BYTES = 8  # in which safetensors says how long the header is


def write_tensor_file(
    path: str | os.PathLike[str],
    kind: str,
    document: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray],
) -> None:
    """Write a safetensors file whose metadata hold a JSON document.

    The file appears under its name once it is complete and on the disk; until then, and if
    anything goes wrong, what was there before stays.

    Parameters
    ----------
    path : str or PathLike
        The file; one that is there already is replaced.
    kind : str
        What the file is, such as ``'model'``.
    document : dict of str to object
        What can be written as JSON, without NaN and infinity.
    arrays : dict of str to ndarray
        Arrays of numbers or booleans.

    Raises
    ------
    TypeError
        If the path is no path.
    OSError
        If the file cannot be written.
    ValueError
        If the document is larger than a reader takes.
    """
    text = json.dumps(document, allow_nan=False, separators=(",", ":"))
    arrays = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    metadata = {
        "format": f"sklrec {kind}",
        "version": str(FORMAT),
        "document": text,
        "sha256": _digest(kind, text, arrays),
    }
    content = save(arrays, metadata)
    if _header_bytes(content[:_LENGTH_BYTES]) > MAX_HEADER_BYTES:
        raise ValueError(
            f"This {kind} has a description of {len(text):,} characters, more than the "
            f"{MAX_HEADER_BYTES:,} bytes that a file may have beside its arrays. Look for a "
            "parameter that holds data, and set it to something shorter."
        )
    write_whole(path, content)


def read_tensor_file(
    path: str | os.PathLike[str], kind: str
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read what `write_tensor_file` wrote.

    Parameters
    ----------
    path : str or PathLike
        The file.
    kind : str
        What it has to be, such as ``'model'``.

    Returns
    -------
    document : dict of str to object
        The document.
    arrays : dict of str to ndarray
        The arrays.

    Raises
    ------
    TypeError
        If the path is no path.
    OSError
        If the file cannot be read.
    ValueError
        If it is no such file, of a newer format, truncated or altered.
    """
    path = _check_path(path)
    _check_header_bytes(path, kind)
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            _check_format(path, kind, metadata)
            arrays = {name: file.get_tensor(name) for name in file.keys()}
    # Whatever the library makes of a hostile header, it is one and the same to the user.
    except (SafetensorError, KeyError, TypeError, OverflowError, MemoryError) as error:
        refuse(path, kind, f"its header and its length do not fit together ({error})")
    if metadata.get("sha256") != _digest(kind, metadata.get("document", ""), arrays):
        refuse(path, kind, "its content does not have the checksum that was written with it")
    try:
        document = json.loads(metadata["document"], parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        refuse(path, kind, f"its document is not JSON as sklrec writes it ({error})")
    if not isinstance(document, dict):
        refuse(path, kind, "its document is not a JSON object")
    return document, arrays


def _check_path(path: Any) -> str:
    """The path as a string; raise if it is none."""
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"path must be a str or a PathLike, got {path!r:.100}.")
    return os.fsdecode(path)


def _check_header_bytes(path: str, kind: str) -> None:
    """Refuse a header that is longer than the file, or than any that sklrec writes."""
    if not stat.S_ISREG(os.stat(path).st_mode) and not os.path.isdir(path):
        refuse(path, kind, "it is not a regular file")  # and might never come to an end
    with open(path, "rb") as file:
        length = file.read(_LENGTH_BYTES)
        n_left = os.fstat(file.fileno()).st_size - _LENGTH_BYTES
    if n_left < 0:
        refuse(path, kind, f"it is {len(length)} bytes long")
    n_header = _header_bytes(length)
    if n_header > min(n_left, MAX_HEADER_BYTES):
        refuse(
            path,
            kind,
            f"it announces a header of {n_header:,} bytes, where {n_left:,} bytes follow and at "
            f"most {MAX_HEADER_BYTES:,} are read",
        )


def _check_format(path: str, kind: str, metadata: Mapping[str, str]) -> None:
    """Refuse what is not of this kind or of a newer format."""
    found = metadata.get("format", "")
    if not found.startswith("sklrec "):
        raise ValueError(
            f"{path!r} is a safetensors file, but its metadata do not say that sklrec wrote it. "
            f"Give a file that sklrec wrote as a {kind}."
        )
    if found != f"sklrec {kind}":
        raise ValueError(
            f"{path!r} should be a {kind}, but is a {found.removeprefix('sklrec ')} of sklrec. "
            f"Give a file that was written as a {kind}."
        )
    version = metadata.get("version", "")
    if not re.fullmatch("[1-9][0-9]{0,4}", version):
        refuse(path, kind, f"it has version {version[:20]!r} of the format, where 1 is the first")
    if int(version) > FORMAT:
        raise ValueError(
            f"{path!r} has version {version} of the format, and this sklrec reads versions up to "
            f"{FORMAT}. Update sklrec."
        )


def refuse(path: str, kind: str, reason: str) -> NoReturn:
    """Raise, saying why a file cannot be read and what to do.

    Parameters
    ----------
    path : str
        The file.
    kind : str
        What it had to be, such as ``'model'``.
    reason : str
        What does not fit.
    """
    # Nobody can write the checkpoint of a fit that died a second time.
    advice = (
        "Copy it again from where it is whole, or give another path."
        if kind == "checkpoint"
        else "Write it again, or copy it again from where it is whole."
    )
    raise ValueError(
        f"{path!r} cannot be read as a {kind}: {reason}. It is no such file, or was truncated or "
        f"altered. {advice}"
    )


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"it holds {name}")


def _header_bytes(length: bytes) -> int:
    return int.from_bytes(length, "little")


def _digest(kind: str, text: str, arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256 of all that a file says."""
    digest = hashlib.sha256(f"{kind}\n{len(text)}\n{text}\n".encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{len(name)} {name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def write_whole(path: str | os.PathLike[str], content: bytes) -> None:
    """Let a file appear complete, in place of the one before, once the disk has it.

    Parameters
    ----------
    path : str or PathLike
        The file; where it is a link, what it points to.
    content : bytes
        What is to be in it.

    Raises
    ------
    TypeError
        If the path is no path.
    OSError
        If the file cannot be written; what was there before stays.
    """
    path = Path(os.path.realpath(_check_path(path)))
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        descriptor, is_named = _open_new(temporary)
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
            if not is_named:
                # With no folder given, Python would link the entry in /proc and not the file.
                os.link(f"/proc/self/fd/{descriptor}", temporary, src_dir_fd=descriptor)
        temporary.replace(path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError):  # the name that the caller knows
            error.filename = str(path)
            del error.filename2  # None would be shown
        raise
    _sync_folder(path.parent)


def _open_new(path: Path) -> tuple[int, bool]:
    """Open a new file; where the system can, without a name, so that a kill leaves nothing."""
    if hasattr(os, "O_TMPFILE") and os.path.exists("/proc/self/fd"):
        try:
            return os.open(path.parent, os.O_TMPFILE | os.O_WRONLY, 0o666), False
        except OSError:
            pass  # a file system that has no nameless files
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    return os.open(path, flags, 0o666), True


def _sync_folder(folder: Path) -> None:
    """Wait until the disk has the new name, where folders can be opened."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
