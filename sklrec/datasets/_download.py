"""Downloads of files into the cache, complete and with the right checksum, or not at all."""
# SPDX-License-Identifier: BSD-3-Clause

import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterable, Iterator
from functools import partial
from http.client import HTTPException, HTTPResponse
from pathlib import Path

from tqdm import tqdm

from sklrec._utils.checksum import CHUNK_BYTES, file_sha256
from sklrec._utils.warnings import warn

MAX_BYTES = 1 << 30  # the largest archive, of MovieLens 32M, has a quarter of it
SOCKET_TIMEOUT_S = 10.0  # for the connection, and between two parts of the response
PIP_TIMEOUT_S = 300.0  # pip has timeouts of its own; this one ends a pip that hangs


class DownloadError(OSError):
    """A source did not deliver the file."""


class InterruptedDownloadError(DownloadError):
    """The source answered, but failed in a way that may be temporary."""


def download(url: str, path: Path, sha256: str, *, n_retries: int = 3, delay: float = 1.0) -> None:
    """Download `url` to `path`, and try again after temporary errors."""
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
    """Download the wheel of `requirement` by pip to `path`, which has the name of the wheel."""
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
            # The last line is the error; the lines before it may be warnings.
            error_line = (pip.stderr.strip().splitlines() or ["no message"])[-1]
            raise DownloadError(f"pip failed: {error_line}")
        wheel = Path(folder, path.name)
        if not wheel.is_file():
            raise DownloadError(
                f"pip downloaded {', '.join(sorted(os.listdir(folder))) or 'nothing'}, not "
                f"{path.name}."
            )
        with open(wheel, "rb") as file:
            _store(iter(partial(file.read, CHUNK_BYTES), b""), path, sha256)


def _store(chunks: Iterable[bytes], path: Path, sha256: str) -> None:
    """Write `chunks` to a file that appears at `path` only if it is complete and right."""
    # The temporary name is unique, so that two processes do not write to the same file.
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        with open(part, "xb") as file:
            for chunk in chunks:
                file.write(chunk)
                if file.tell() > MAX_BYTES:
                    raise DownloadError(
                        f"The source sent another file: it has more than {MAX_BYTES:,} bytes."
                    )
            file.flush()
            os.fsync(file.fileno())
        if (found := file_sha256(part)) != sha256:
            raise DownloadError(
                f"The source sent another file: {part.stat().st_size:,} bytes with sha256 "
                f"{found}, wanted {sha256}."
            )
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _open_url(url: str) -> HTTPResponse:
    """Send the request, and distinguish temporary errors from lasting ones."""
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
    """Yield the parts of a response up to its announced length, with a progress bar."""
    received = 0
    # disable=None shows the bar only if standard error is a terminal.
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
    # `length` is the number of announced bytes that have not come.
    if response.length:
        raise InterruptedDownloadError(
            f"The download is incomplete: {received:,} of {received + response.length:,} bytes "
            "came."
        )
