"""A local web server and a local folder of wheels, for the tests of downloads."""
# SPDX-License-Identifier: BSD-3-Clause

import threading
import zipfile
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


@dataclass
class Answer:
    """Response of the server."""

    body: bytes = b""
    status: int = 200
    length: int | None = None  # in the header
    stall: bool = False  # whether the connection stays open without further data
    barrier: threading.Barrier | None = None  # at which it waits for another request


class FileServer:
    """A web server with a list of answers; it repeats the last one."""

    def __init__(self):
        self.answers: dict[str, list[Answer]] = {}
        self.n_requests = 0
        self._closing = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                outer._answer(self)

            def log_message(self, *args):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def serve(self, name, *answers):
        """Set the answers for `name`, and return its URL."""
        self.answers[f"/{name}"] = list(answers)
        return f"http://127.0.0.1:{self._server.server_port}/{name}"

    def close(self):
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _answer(self, request):
        self.n_requests += 1
        answers = self.answers.get(request.path, [Answer(status=404)])
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if answer.barrier is not None:
            answer.barrier.wait(timeout=20)
        if answer.stall and not answer.body:
            self._closing.wait(20)
            return
        request.send_response(answer.status)
        length = len(answer.body) if answer.length is None else answer.length
        request.send_header("Content-Length", str(length))
        request.end_headers()
        request.wfile.write(answer.body)
        if answer.stall:
            self._closing.wait(20)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = FileServer()
    yield server
    server.close()


@pytest.fixture
def answer():
    return Answer


@pytest.fixture
def cache(tmp_path):
    """An empty folder for the downloaded file."""
    folder = tmp_path / "cache"
    folder.mkdir()
    return folder


@pytest.fixture
def make_wheel(tmp_path, monkeypatch):
    """Make a wheel that pip downloads from a local folder."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))

    def make(name, version, members=()):
        path = folder / f"{name}-{version}-py3-none-any.whl"
        info = f"{name}-{version}.dist-info"
        with zipfile.ZipFile(path, "w") as wheel:
            for member, content in dict(members).items():
                wheel.writestr(member, content)
            wheel.writestr(
                f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
            )
            wheel.writestr(
                f"{info}/WHEEL",
                "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            )
            wheel.writestr(f"{info}/RECORD", "")
        return path

    return make
