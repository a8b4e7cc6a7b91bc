"""How a file gets into the cache: whole and with the wanted checksum, or not at all."""
# SPDX-License-Identifier: BSD-3-Clause

import hashlib
import importlib.util
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterable, Iterator
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import BinaryIO

from tqdm import tqdm

from sklrec._utils.warnings import warn

CHUNK_BYTES = 1 << 16
MAX_BYTES = 1 << 30  # the largest archive there is, that of MovieLens 32M, has a quarter of it
SOCKET_TIMEOUT_S = 10.0  # to connect, and between two pieces of the answer
PIP_TIMEOUT_S = 300.0  # pip has timeouts of its own; this one only ends what hangs


class DownloadError(OSError):
    """A source did not deliver the file that was asked of it; the message says why."""


class InterruptedDownloadError(DownloadError):
    """The source answered, but failed in a way that may not last: worth another try."""


def has_checksum(path: Path, sha256: str) -> bool:
    """Tell whether the file at `path` has this checksum."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == sha256


def download(url: str, path: Path, sha256: str, *, n_retries: int = 3, delay: float = 1.0) -> None:
    """Download `url` to `path`, and again up to `n_retries` times if the server stumbles.

    A server that cannot be reached at all, or says that there is no such file, is not asked
    again: that rarely changes within seconds.
    """
    for n_left in reversed(range(n_retries + 1)):
        try:
            with _open_url(url) as response:
                _store(_read_response(response, label=path.name), path, sha256)
            return
        except InterruptedDownloadError as error:
            if n_left == 0:
                raise
            warn(f"{url}: {error} Trying again in {delay:g} s.")
            time.sleep(delay)


def pip_download(requirement: str, path: Path, sha256: str, *, n_retries: int = 3) -> None:
    """Have pip bring the wheel of `requirement`, and store it at `path`, under its own name.

    The wheel is not installed, and nothing in it is run.
    """
    if importlib.util.find_spec("pip") is None:
        raise DownloadError(
            f"pip is not installed for {sys.executable}; `python -m ensurepip` installs it."
        )
    with tempfile.TemporaryDirectory(prefix=".pip-", dir=path.parent) as folder:
        options = ["--no-deps", "--only-binary=:all:", "--no-input", "--quiet"]
        options += ["--disable-pip-version-check", f"--retries={n_retries}", f"--dest={folder}"]
        try:
            pip = subprocess.run(
                [sys.executable, "-m", "pip", "download", *options, requirement],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=PIP_TIMEOUT_S,
            )
        except subprocess.TimeoutExpired as error:
            raise DownloadError(f"pip did not finish within {PIP_TIMEOUT_S:g} s.") from error
        except OSError as error:
            raise DownloadError(f"pip could not be started: {error}.") from error
        if pip.returncode != 0:
            # pip ends with the upshot; what comes before it may be a page of warnings.
            upshot = (pip.stderr.strip().splitlines() or ["it said nothing"])[-1]
            raise DownloadError(f"pip failed: {upshot}")
        wheel = Path(folder, path.name)
        if not wheel.is_file():
            raise DownloadError(
                f"pip brought {', '.join(sorted(os.listdir(folder))) or 'nothing'}, "
                f"not {path.name}."
            )
        with open(wheel, "rb") as file:
            _store(_read_file(file), path, sha256)


def _store(chunks: Iterable[bytes], path: Path, sha256: str) -> None:
    """Write `chunks` to a file that appears at `path` only when all of it is there and right.

    The name in the meantime is this call's own, so that two processes do not meet, and the
    file is gone again if anything goes wrong, a Ctrl-C or a full disk too.
    """
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    digest = hashlib.sha256()
    try:
        with open(part, "xb") as file:
            for chunk in chunks:
                digest.update(chunk)
                file.write(chunk)
                if file.tell() > MAX_BYTES:
                    raise DownloadError(
                        f"What came is not the file that was wanted: it does not end after "
                        f"{MAX_BYTES:,} bytes."
                    )
            if digest.hexdigest() != sha256:
                raise DownloadError(
                    f"What came is not the file that was wanted: {file.tell():,} bytes with "
                    f"sha256 {digest.hexdigest()}, wanted {sha256}."
                )
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _open_url(url: str) -> HTTPResponse:
    """Send the request and tell apart what may pass from what will not."""
    request = urllib.request.Request(url, headers={"User-Agent": "sklrec"})
    try:
        return urllib.request.urlopen(request, timeout=SOCKET_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        with error:
            message = f"The server answered {error.code} ({error.reason})."
        if error.code >= 500 or error.code in (408, 429):
            raise InterruptedDownloadError(message) from error
        raise DownloadError(message) from error
    except urllib.error.URLError as error:
        raise DownloadError(f"The server cannot be reached: {error.reason}.") from error
    except (OSError, HTTPException) as error:
        raise InterruptedDownloadError(
            f"The server did not answer: {type(error).__name__}: {error}."
        ) from error


def _read_response(response: HTTPResponse, label: str) -> Iterator[bytes]:
    """Read an answer piece by piece, to its announced end; on a terminal, with a bar."""
    received = 0
    # disable=None is tqdm's way to say: only where standard error is a terminal.
    with tqdm(
        desc=label, total=response.length, unit="B", unit_scale=True, disable=None
    ) as progress:
        try:
            while chunk := response.read(CHUNK_BYTES):
                received += len(chunk)
                progress.update(len(chunk))
                yield chunk
        except (OSError, HTTPException) as error:
            raise InterruptedDownloadError(
                f"The download broke off after {received:,} bytes: "
                f"{type(error).__name__}: {error}."
            ) from error
    # `length` is what of the announced length is still to come.
    if response.length:
        raise InterruptedDownloadError(
            f"The download was cut short: {received:,} of "
            f"{received + response.length:,} bytes came."
        )


def _read_file(file: BinaryIO) -> Iterator[bytes]:
    while chunk := file.read(CHUNK_BYTES):
        yield chunk
