"""Checksums of bytes and of files."""
# SPDX-License-Identifier: BSD-3-Clause

import hashlib
import os
from collections.abc import Iterable
from functools import partial

CHUNK_BYTES = 1 << 16


def sha256(parts: Iterable[bytes | memoryview]) -> str:
    """SHA-256 of the concatenated parts, in hexadecimal digits."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def file_sha256(path: str | os.PathLike[str]) -> str:
    """SHA-256 of the content of a file."""
    with open(path, "rb") as file:
        return sha256(iter(partial(file.read, CHUNK_BYTES), b""))
