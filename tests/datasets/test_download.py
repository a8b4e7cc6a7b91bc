"""Downloads, tested with a local web server and the real pip."""
# SPDX-License-Identifier: BSD-3-Clause

import os
import signal
import socket
import sys
import threading
import time
from hashlib import sha256

import pytest

from sklrec._utils.checksum import file_sha256
from sklrec.datasets import _download
from sklrec.datasets._download import (
    DownloadError,
    InterruptedDownloadError,
    download,
    pip_download,
)

BODY = bytes(range(256)) * 1000  # 256,000 bytes, several parts


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    waits = []
    monkeypatch.setattr(time, "sleep", waits.append)
    return waits


@pytest.fixture
def wanted():
    return sha256(BODY).hexdigest()


def test_a_file_replaces_a_damaged_one(server, answer, cache, wanted, capsys, monkeypatch):
    path, other = cache / "data.zip", cache / "other"
    path.write_bytes(b"damaged")
    other.write_bytes(b"")
    assert file_sha256(path) != wanted
    download(server.serve("data.zip", answer(BODY)), path, wanted)
    assert path.read_bytes() == BODY
    assert file_sha256(path) == wanted
    assert sorted(os.listdir(cache)) == ["data.zip", "other"]
    assert path.stat().st_mode == other.stat().st_mode  # other users can read it
    assert capsys.readouterr() == ("", "")  # no bar without a terminal
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    download(server.serve("data.zip", answer(BODY)), path, wanted)
    assert "data.zip: 100%" in capsys.readouterr().err


LOGIN = b"a login page"


@pytest.mark.parametrize(
    ("answered", "max_bytes", "message"),
    [
        ({"status": 404}, 10**9, r"The server answered 404 \(Not Found\)\."),
        ({"body": LOGIN}, 10**9, f"12 bytes with sha256 {sha256(LOGIN).hexdigest()}, wanted "),
        ({"body": BODY}, 100_000, "it has more than 100,000 bytes"),
    ],
    ids=["missing", "another file", "too large"],
)
def test_another_answer_is_refused_at_once_and_changes_no_file(
    server, answer, cache, wanted, monkeypatch, answered, max_bytes, message
):
    monkeypatch.setattr(_download, "MAX_BYTES", max_bytes)
    path = cache / "data.zip"
    path.write_bytes(b"as it was")
    with pytest.raises(DownloadError, match=message):
        download(server.serve("data.zip", answer(**answered)), path, wanted)
    assert server.n_requests == 1
    assert os.listdir(cache) == ["data.zip"]
    assert path.read_bytes() == b"as it was"


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


@pytest.mark.parametrize(
    ("body", "stall", "message"),
    [
        (b"", True, "The server did not answer: TimeoutError"),
        (BODY[:100_000], True, "The download broke off after 65,536 bytes: TimeoutError"),
        (BODY[:1000], False, r"The download is incomplete: 1,000 of 256,000 bytes came\."),
    ],
    ids=["no response", "no further data", "end too early"],
)
def test_incomplete_downloads_fail(
    server, answer, cache, wanted, monkeypatch, body, stall, message
):
    monkeypatch.setattr(_download, "SOCKET_TIMEOUT_S", 0.1)
    url = server.serve("data.zip", answer(body, length=len(BODY), stall=stall))
    with pytest.raises(InterruptedDownloadError, match=message):
        download(url, cache / "data.zip", wanted, n_retries=0)
    assert os.listdir(cache) == []


def test_an_unreachable_server_is_tried_once(cache, wanted, no_waiting):
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    with pytest.raises(DownloadError, match=r"cannot be reached: .*Connection refused\."):
        download(f"http://127.0.0.1:{port}/data.zip", cache / "data.zip", wanted)
    assert no_waiting == []
    assert os.listdir(cache) == []


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT to send to a thread")
def test_ctrl_c_leaves_no_file(server, answer, cache, wanted):
    url = server.serve("data.zip", answer(BODY[:1000], length=len(BODY), stall=True))
    main, ended, found = threading.get_ident(), threading.Event(), []

    def press():
        while not os.listdir(cache) and not ended.wait(0.01):
            pass
        found.extend(os.listdir(cache))
        signal.pthread_kill(main, signal.SIGINT)

    # the shell may have made the process ignore SIGINT
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    thread = threading.Thread(target=press)
    try:
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            try:
                download(url, cache / "data.zip", wanted)
            finally:
                ended.set()
                thread.join()
    finally:
        signal.signal(signal.SIGINT, before)
    assert [name.endswith(".part") for name in found] == [True]
    assert os.listdir(cache) == []


def test_pip_downloads_the_wheel(make_wheel, cache):
    wheel = make_wheel("shelf", "1.0", {"shelf/data.txt": "some data"})
    make_wheel("shelf", "1.1")
    content = wheel.read_bytes()
    pip_download("shelf==1.0", cache / wheel.name, sha256(content).hexdigest())
    assert os.listdir(cache) == [wheel.name]
    assert (cache / wheel.name).read_bytes() == content


@pytest.mark.parametrize(
    ("requirement", "filename", "message"),
    [
        ("shelf", "shelf-1.0-py3-none-any.whl", "The source sent another file"),
        (
            "shelf",
            "shelf-0.9.whl",
            r"pip downloaded shelf-1\.0-py3-none-any\.whl, not shelf-0\.9\.whl",
        ),
        ("shelf==2.0", "shelf.whl", r"pip failed: ERROR: No matching .* found for shelf==2\.0"),
    ],
)
def test_pip_finds_another_file_or_none(make_wheel, cache, wanted, requirement, filename, message):
    make_wheel("shelf", "1.0")
    with pytest.raises(DownloadError, match=message):
        pip_download(requirement, cache / filename, wanted)
    assert os.listdir(cache) == []


@pytest.mark.parametrize(
    ("target", "name", "value", "message"),
    [
        (_download, "PIP_TIMEOUT_S", 0.01, r"pip did not finish within 0\.01 s\."),
        (sys, "executable", "/no-python", r"pip could not be started: .*no-python"),
    ],
    ids=["slow", "no Python"],
)
def test_pip_does_not_run(make_wheel, cache, wanted, monkeypatch, target, name, value, message):
    monkeypatch.setattr(target, name, value)
    with pytest.raises(DownloadError, match=message):
        pip_download("shelf", cache / "shelf.whl", wanted)
    assert os.listdir(cache) == []
