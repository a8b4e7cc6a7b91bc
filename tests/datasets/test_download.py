"""Tests of sklrec/datasets/_download.py, against a real web server and a real pip."""
# SPDX-License-Identifier: BSD-3-Clause

import errno
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from sklrec.datasets import _download
from sklrec.datasets._download import (
    DownloadError,
    InterruptedDownloadError,
    download,
    has_checksum,
    pip_download,
)

BODY = bytes(range(256)) * 1000  # 256,000 bytes: some pieces

# What a second process does: the module alone, without the package, so that it starts fast. It
# heeds Ctrl-C even where the shell that started it all does not pass it on.
DOWNLOAD = (
    "import pathlib, runpy, signal, sys; path, url, to, sha256 = sys.argv[1:];"
    "signal.signal(signal.SIGINT, signal.default_int_handler);"
    "runpy.run_path(path)['download'](url, pathlib.Path(to), sha256)"
)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    waits = []
    monkeypatch.setattr(time, "sleep", waits.append)
    return waits


@pytest.fixture
def wanted(sha256):
    return sha256(BODY)


def start_download(url, path, wanted):
    command = [sys.executable, "-c", DOWNLOAD, _download.__file__, url, str(path), wanted]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def test_file_arrives(server, answer, cache, wanted, capsys):
    path = cache / "data.zip"
    download(server.serve("data.zip", answer(BODY)), path, wanted)
    assert path.read_bytes() == BODY
    assert has_checksum(path, wanted)
    assert os.listdir(cache) == ["data.zip"]
    assert capsys.readouterr() == ("", "")  # no bar where there is no terminal


def test_file_replaces_another(server, answer, cache, wanted):
    path = cache / "data.zip"
    path.write_bytes(b"damaged")
    assert not has_checksum(path, wanted)
    download(server.serve("data.zip", answer(BODY)), path, wanted)
    assert path.read_bytes() == BODY


def test_others_can_read_the_file(server, answer, cache, wanted):
    path, other = cache / "data.zip", cache / "other"
    other.write_bytes(b"")
    download(server.serve("data.zip", answer(BODY)), path, wanted)
    assert path.stat().st_mode == other.stat().st_mode


def test_progress_on_a_terminal(server, answer, cache, wanted, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    download(server.serve("data.zip", answer(BODY)), cache / "data.zip", wanted)
    assert "data.zip: 100%" in capsys.readouterr().err


def test_missing_file_is_asked_for_once(server, cache, wanted):
    url = server.serve("other.zip")
    server.answers.clear()
    with pytest.raises(DownloadError, match=r"The server answered 404 \(Not Found\)\."):
        download(url, cache / "other.zip", wanted)
    assert server.n_requests == 1
    assert os.listdir(cache) == []


def test_retry_that_succeeds(server, answer, cache, wanted, no_waiting):
    url = server.serve("data.zip", answer(status=503), answer(BODY[:10], length=20), answer(BODY))
    with (
        pytest.warns(UserWarning, match=r"answered 503 .* Trying again in 0\.5 s\."),
        pytest.warns(UserWarning, match=r"10 of 20 bytes came\. Trying again in 0\.5 s\."),
    ):
        download(url, cache / "data.zip", wanted, n_retries=2, delay=0.5)
    assert server.n_requests == 3
    assert no_waiting == [0.5, 0.5]
    assert os.listdir(cache) == ["data.zip"]


def test_cut_short(server, answer, cache, wanted):
    url = server.serve("data.zip", answer(BODY[:1000], length=len(BODY)))
    with (
        pytest.warns(UserWarning, match="cut short"),
        pytest.raises(InterruptedDownloadError, match=r"cut short: 1,000 of 256,000 bytes came\."),
    ):
        download(url, cache / "data.zip", wanted, n_retries=1)
    assert server.n_requests == 2
    assert os.listdir(cache) == []


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "The server did not answer: TimeoutError"),
        (BODY[:100_000], "The download broke off after 65,536 bytes: TimeoutError"),
    ],
    ids=["before the answer", "within the answer"],
)
def test_silent_server(server, answer, cache, wanted, monkeypatch, body, message):
    monkeypatch.setattr(_download, "SOCKET_TIMEOUT_S", 0.1)
    url = server.serve("data.zip", answer(body, length=len(BODY), stall=True))
    with pytest.raises(InterruptedDownloadError, match=message):
        download(url, cache / "data.zip", wanted, n_retries=0)
    assert os.listdir(cache) == []


def test_unreachable_server_is_asked_once(cache, wanted, no_waiting):
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    with pytest.raises(DownloadError, match=r"cannot be reached: .*Connection refused\."):
        download(f"http://127.0.0.1:{port}/data.zip", cache / "data.zip", wanted)
    assert no_waiting == []
    assert os.listdir(cache) == []


def test_wrong_checksum(server, answer, cache, wanted, sha256):
    path = cache / "data.zip"
    path.write_bytes(b"as it was")
    url = server.serve("data.zip", answer(b"a login page"))
    message = f"12 bytes with sha256 {sha256(b'a login page')}, wanted {wanted}"
    with pytest.raises(DownloadError, match=message):
        download(url, path, wanted)
    assert server.n_requests == 1
    assert os.listdir(cache) == ["data.zip"]
    assert path.read_bytes() == b"as it was"


def test_answer_without_an_end(server, answer, cache, wanted, monkeypatch):
    monkeypatch.setattr(_download, "MAX_BYTES", 100_000)
    url = server.serve("data.zip", answer(BODY))
    with pytest.raises(DownloadError, match="it does not end after 100,000 bytes"):
        download(url, cache / "data.zip", wanted)
    assert server.n_requests == 1
    assert os.listdir(cache) == []


def test_full_disk(server, answer, cache, wanted, monkeypatch):
    def fsync(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync)
    url = server.serve("data.zip", answer(BODY))
    with pytest.raises(OSError, match="No space left on device") as caught:
        download(url, cache / "data.zip", wanted)
    # Not the source's fault, so it is not for another source to mend.
    assert not isinstance(caught.value, DownloadError)
    assert os.listdir(cache) == []


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT to send to one process")
def test_ctrl_c_leaves_nothing(server, answer, cache, wanted):
    url = server.serve("data.zip", answer(BODY[:1000], length=len(BODY), stall=True))
    process = start_download(url, cache / "data.zip", wanted)
    part = threading.Event()
    while process.poll() is None and not os.listdir(cache):
        part.wait(0.01)
    assert [name.endswith(".part") for name in os.listdir(cache)] == [True]
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert "KeyboardInterrupt" in errors
    assert os.listdir(cache) == []


def test_two_processes_at_once(server, answer, cache, wanted):
    # The server answers neither before both have asked.
    url = server.serve("data.zip", answer(BODY, barrier=threading.Barrier(2)))
    processes = [start_download(url, cache / "data.zip", wanted) for _ in range(2)]
    for process in processes:
        _, errors = process.communicate(timeout=20)
        assert process.returncode == 0, errors
    assert server.n_requests == 2
    assert os.listdir(cache) == ["data.zip"]
    assert has_checksum(cache / "data.zip", wanted)


def test_pip_brings_the_wheel(make_wheel, cache, sha256):
    wheel = make_wheel("shelf", "1.0", {"shelf/data.txt": "some data"})
    make_wheel("shelf", "1.1")
    content = wheel.read_bytes()
    pip_download("shelf==1.0", cache / wheel.name, sha256(content))
    assert os.listdir(cache) == [wheel.name]
    assert (cache / wheel.name).read_bytes() == content


def test_pip_brings_another_file(make_wheel, cache, wanted):
    wheel = make_wheel("shelf", "1.0")
    with pytest.raises(DownloadError, match="What came is not the file that was wanted"):
        pip_download("shelf", cache / wheel.name, wanted)
    with pytest.raises(
        DownloadError, match=r"pip brought shelf-1\.0-py3-none-any\.whl, not shelf-0\.9\.whl"
    ):
        pip_download("shelf", cache / "shelf-0.9.whl", wanted)
    assert os.listdir(cache) == []


def test_pip_finds_nothing(make_wheel, cache, wanted):
    with pytest.raises(
        DownloadError, match=r"pip failed: ERROR: No matching distribution found for shelf==1\.0"
    ):
        pip_download("shelf==1.0", cache / "shelf.whl", wanted)
    assert os.listdir(cache) == []


def test_pip_hangs(make_wheel, cache, wanted, monkeypatch):
    monkeypatch.setattr(_download, "PIP_TIMEOUT_S", 0.01)
    with pytest.raises(DownloadError, match=r"pip did not finish within 0\.01 s\."):
        pip_download("shelf", cache / "shelf.whl", wanted)
    assert os.listdir(cache) == []


def test_pip_is_missing(cache, wanted, monkeypatch):
    monkeypatch.setattr(_download.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DownloadError, match=r"pip is not installed for .*ensurepip"):
        pip_download("shelf", cache / "shelf.whl", wanted)


def test_python_is_missing(cache, wanted, monkeypatch):
    monkeypatch.setattr(sys, "executable", str(cache / "no-python"))
    with pytest.raises(DownloadError, match=r"pip could not be started: .*no-python"):
        pip_download("shelf", cache / "shelf.whl", wanted)
    assert os.listdir(cache) == []
