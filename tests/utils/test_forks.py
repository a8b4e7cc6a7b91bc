"""Forked processes predict, whatever the threads of their parent did when it forked."""
# SPDX-License-Identifier: BSD-3-Clause

import os
import signal
import subprocess
import sys
import warnings
from contextlib import contextmanager
from threading import Event, Thread

import pytest

from sklrec._utils import forks

N = 100 if "SKLREC_FUZZ" in os.environ else 20  # forks, or requests to forked servers
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
SECONDS = 5


def status_of_child(function):
    """Fork, call a function in the child, and return its status; a child that waits is ended."""
    with warnings.catch_warnings(action="ignore"):  # about forks of processes with threads
        child = os.fork()
    if child == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(SECONDS)
        try:
            function()
        finally:
            os._exit(1)
    return os.waitpid(child, 0)[1]


@contextmanager
def thread_that_waits(function):
    """Run a function, which gets two events, in a thread that waits inside it for the second."""
    started, done = Event(), Event()
    thread = Thread(target=function, args=(started, done))
    thread.start()
    started.wait(SECONDS)
    try:
        yield
    finally:
        done.set()
        thread.join()


def test_a_child_can_take_a_lock_that_a_thread_held(monkeypatch):
    monkeypatch.setattr(forks, "SECONDS", 0.01)
    renewed = []
    lock = forks.ForkLock(lambda: renewed.append(1))

    def hold(started, done):
        with lock.lock:
            started.set()
            done.wait(SECONDS)

    def take():
        with lock.lock:
            os._exit(0 if renewed == [1] else 2)

    with thread_that_waits(hold):
        assert status_of_child(take) == 0
    with lock.lock:
        assert not renewed  # in the parent


def test_a_child_can_read_a_property_that_a_thread_was_computing():
    class Slow:
        started = done = None

        @forks.cached_property
        def value(self):
            if self.started is not None:
                self.started.set()
                self.done.wait(SECONDS)
            return 3

    def compute(started, done):
        slow = Slow()
        slow.started, slow.done = started, done
        assert slow.value == 3

    with thread_that_waits(compute):
        assert status_of_child(lambda: os._exit(0 if Slow().value == 3 else 2)) == 0


FIT = """
import os, random, signal, sys, threading, time
import torch
import sklrec
from sklrec.datasets import make_ratings

X, y = make_ratings(100, 50, 2000, random_state=0)
torch.set_num_threads({n_threads})
mf = sklrec.MFRegressor(n_factors=8, max_epochs=2, random_state=0).fit(X, y)
wanted = mf.predict(X[:50])
"""
FORKS = """
torch.set_num_threads(2)
torch.set_default_dtype(torch.float64)  # predictions change both, and restore them
is_done = False

def predict():
    while not is_done:
        mf.predict(X[:50])

threads = [threading.Thread(target=predict) for _ in range(4)]
for thread in threads:
    thread.start()
rng, statuses = random.Random(0), []
for _ in range(int(sys.argv[1])):
    time.sleep(0.01 * rng.random())
    child = os.fork()
    if child == 0:
        signal.alarm(5)
        is_right = (mf.predict(X[:50]) == wanted).all()
        os._exit(0 if is_right and torch.get_default_dtype() == torch.float64 else 1)
    statuses.append(os.waitpid(child, 0)[1])
is_done = True
print(statuses.count(0), len(statuses))
"""
# As servers such as gunicorn do: the parent fits or loads, and the workers share its socket.
SERVER = """
import json, http.client, http.server

server = http.server.HTTPServer(("127.0.0.1", 0), None)

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        content = json.dumps([os.getpid(), mf.predict(X[:50]).tolist()]).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass

server.RequestHandlerClass = Handler
workers = []
for _ in range(2):
    worker = os.fork()
    if worker == 0:
        signal.alarm(20)
        torch.set_num_threads(1)
        server.serve_forever()
    workers.append(worker)
found = []
for _ in range(int(sys.argv[1])):
    connection = http.client.HTTPConnection(*server.server_address, timeout=5)
    connection.request("GET", "/")
    found.append(json.loads(connection.getresponse().read()))
for worker in workers:
    os.kill(worker, signal.SIGTERM)
    os.waitpid(worker, 0)
assert {pid for pid, _ in found} <= set(workers)
print(sum(ratings == wanted.tolist() for _, ratings in found), len(found))
"""


@pytest.mark.parametrize(("script", "n_threads"), [(FORKS, 1), (SERVER, 2)])
def test_forks_of_a_process_with_a_model_predict(script, n_threads):
    code = FIT.format(n_threads=n_threads) + script
    command = [sys.executable, "-W", "ignore", "-c", code, str(N)]
    found = subprocess.run(command, capture_output=True, text=True, timeout=60 + 2 * N)
    assert (found.stdout.strip(), found.returncode) == (f"{N} {N}", 0), found.stderr
