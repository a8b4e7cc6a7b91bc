"""The serving example under a crowd, on a loopback address; prints latencies and memory."""
# SPDX-License-Identifier: BSD-3-Clause

# python tests/abuse/served_crowd.py 10000
#
# First 24 new users come at once. Then 24 clients send requests, of which 5 % are hostile, while
# two further ones ask for large lists again and again. No answer may be a 5xx other than a 503 at
# the limit, all answers equal the predictions of the model, hostile requests are refused, and the
# memory does not grow.
# Then two forked workers answer while SIGHUP makes them read another file.

import argparse
import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Barrier, Event, local

import numpy as np

import sklrec
from sklrec.datasets import make_ratings

APP = Path(__file__).parent.parent.parent / "docs" / "serving"
PATIENCE = 60  # seconds for an answer
N_CLIENTS, N_LARGE_CLIENTS = 24, 2
HOSTILE_SHARE, LARGE_SHARE = 0.05, 0.01
# uvicorn waits so many seconds until a new worker answers, and else keeps the old ones.
TWO_WORKERS = "--workers", "2", "--timeout-worker-healthcheck", str(PATIENCE)
MAX_GROWTH = 1.1  # of the memory, from the middle to the end
COLUMNS = ["user", "item"]
JSON = {"Content-Type": "application/json"}
BAD_BODIES = [
    *(b"[" * 100_000, b" " * 300_000, b"", b"\x00", b"null", b"NaN", b"7", b'"a"', b"[]", b"{}"),
    *(b'{"users": 1', b'{"users": [1e999]}', b'{"users": [NaN]}', b'{"users": ["\xff"]}'),
    *(b'{"users": {"a": 1}}', b'{"users": "abc"}', b'{"users": [[]]}', b'{"users": [null]}'),
    *(b'{"users": [1], "n_items": 1e9}', b'{"users": [1], "candidates": ["x"]}'),
    *(b'{"rows": [{"user": 1}]}', b'{"rows": [{"user": 1, "item": -Infinity}]}'),
    *(b'{"rows": [{"user": 1, "item": 1}], "ratings": [1e308, 2]}', b'{"rows": "a"}'),
    b'{"users": [' + b"9" * 5_000 + b"]}",
    b'{"users": [' + b"1," * 100_000 + b"1]}",
    b'{"a":' * 40_000 + b"1" + b"}" * 40_000,
]
# Whole requests that break the protocol; after some, the client waits for an answer.
BAD_REQUESTS = [
    b"POST /recommend HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n{",
    b'POST /recommend HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{"users": [1]}',
    b"POST /recommend HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\n{}",
    b"POST /recommend HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n{}",
    b"POST /recommend HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n",
    b"GET /" + b"a" * 100_000,
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
]


@contextmanager
def served(path, *options):
    """Run the example in a process of its own; give its port and the process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "uvicorn", "--app-dir", APP, "--factory"]
    command += ["app:from_environment", "--port", str(port), "--log-level", "critical", *options]
    process = subprocess.Popen(command, env={**os.environ, "MODEL": str(path)})
    try:
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end and process.poll() is None:
            try:
                Client(port).ask("GET", "/health")
                break
            except OSError:
                time.sleep(0.1)
        yield port, process
    finally:
        process.terminate()
        process.wait(PATIENCE)


class Client:
    """A connection, which is opened again after an error."""

    def __init__(self, port):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)

    def ask(self, method, path, body=None):
        """Send a request; give the status and the document of the answer."""
        content = body if body is None or isinstance(body, bytes) else json.dumps(body)
        try:
            self.connection.request(method, path, content, JSON)
            answer = self.connection.getresponse()
            return answer.status, json.loads(answer.read())
        except (OSError, http.client.HTTPException):
            self.connection.close()
            raise


def send_bad_request(port, content, wait):
    """Send bytes, and read the status of the answer if there is one; 0 if there is none."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
        try:
            connection.sendall(content)
            answer = connection.recv(100) if wait else b""
        except ConnectionError:
            return 0
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP") else 0


class Crowd:
    """Clients of a service, their latencies, and what went wrong."""

    def __init__(self, model, X, port, seed=0):
        self.model, self.X, self.port = model, X, port
        self.rng, self.threads = random.Random(seed), local()
        self.counts, self.failures, self.took = Counter(), [], []
        self.users, self.items = (X[side].unique().tolist() for side in COLUMNS)

    def client(self):
        if not hasattr(self.threads, "client"):
            self.threads.client = Client(self.port)
        return self.threads.client

    def new_user(self, rng):
        user = 10**6 + rng.randrange(1_000)
        items = rng.sample(self.items, rng.randint(1, 10))
        ratings = [rng.randint(1, 5) for _ in items]
        return {"rows": [{"user": user, "item": item} for item in items], "ratings": ratings}

    def large(self, rng):
        return {"users": rng.sample(self.users, 1_000), "n_items": 10}

    def usual(self, seed):
        """Send a small or a large request, and check the answer."""
        rng = random.Random(seed)
        if rng.random() < LARGE_SHARE:
            return self.send("large", "/recommend", self.large(rng))
        kind = rng.choice(["/recommend", "/predict", "/recommend_for"])
        if kind == "/recommend":
            body = {"users": rng.sample(self.users, rng.randint(1, 3))}
        elif kind == "/predict":
            body = {
                "rows": [
                    {"user": rng.choice(self.users), "item": rng.choice(self.items)}
                    for _ in range(rng.randint(1, 20))
                ]
            }
        else:
            body = self.new_user(rng)
        found = self.send("small", kind, body)
        if found is None:
            return
        if kind == "/predict":
            rows = self.X[:0].reindex(range(len(body["rows"])))
            for column in COLUMNS:
                rows[column] = [row[column] for row in body["rows"]]
            is_right = np.array_equal(found, self.model.predict(rows))
        else:
            n_users = len(body.get("users", [0]))
            is_right = [row["rank"] for row in found] == [*range(1, 11)] * n_users
        if not is_right:
            self.failures.append(f"{kind}: another answer for {body}")

    def send(self, size, path, body):
        """Send a request that has to be answered; give its result, or None at the limit."""
        start = time.perf_counter()
        try:
            status, document = self.client().ask("POST", path, body)
        except ConnectionError:  # a service closes a connection that was not used for seconds
            self.counts["connections opened again"] += 1
            status, document = self.client().ask("POST", path, body)
        if status == 200:
            self.took.append((size, time.perf_counter() - start))
        self.counts[f"{size}: {status}"] += 1
        if status not in (200, 503):
            self.failures.append(f"{path}: {status} {document}")
        return document["result"] if status == 200 else None

    def hostile(self, seed):
        """Send a bad request, which has to be refused."""
        rng = random.Random(seed)
        if rng.random() < 0.2:
            status = send_bad_request(self.port, rng.choice(BAD_REQUESTS), rng.random() < 0.1)
            is_right = status == 0 or 400 <= status < 500
        else:
            path = rng.choice(["/recommend", "/predict", "/recommend_for", "/nothing"])
            method = rng.choice(["POST"] * 9 + ["GET"])
            try:
                status = self.client().ask(method, path, rng.choice(BAD_BODIES))[0]
            except ConnectionError:  # the service closed it before the whole body was sent
                status = 0
            is_right = status == 0 or 400 <= status < 500
        self.counts[f"hostile: {status or 'closed'}"] += 1
        if not is_right:
            self.failures.append(f"hostile request {seed}: {status}")

    def new_users_at_once(self):
        barrier = Barrier(N_CLIENTS, timeout=PATIENCE)

        def come(seed):
            barrier.wait()
            self.send("new users at once", "/recommend_for", self.new_user(random.Random(seed)))

        with ThreadPoolExecutor(N_CLIENTS) as pool:
            list(pool.map(come, range(N_CLIENTS)))

    def requests(self, n_requests):
        """Send requests from all clients, beside large ones without end."""
        done = Event()

        def ask_for_much(seed):
            rng = random.Random(seed)
            while not done.is_set():
                self.send("large without end", "/recommend", self.large(rng))

        def ask(seed):
            (self.hostile if seed < HOSTILE_SHARE else self.usual)(seed)

        with ThreadPoolExecutor(N_CLIENTS + N_LARGE_CLIENTS) as pool:
            endless = [pool.submit(ask_for_much, k) for k in range(N_LARGE_CLIENTS)]
            try:
                for future in [pool.submit(ask, self.rng.random()) for _ in range(n_requests)]:
                    future.result()
            finally:
                done.set()
            for future in endless:
                future.result()

    def latencies(self):
        """Give lines of the latencies of each size of requests."""
        for size in dict.fromkeys(size for size, _ in self.took):
            p50, p99, most = np.percentile(
                [1e3 * took for other, took in self.took if other == size], [50, 99, 100]
            )
            yield f"{size}: p50 {p50:.0f} ms, p99 {p99:.0f} ms, at most {most:.0f} ms"


def memory(pid):
    """Resident memory of a process in MiB, or NaN on systems without /proc."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return float("nan")
    return int(text.split("VmRSS:")[1].split()[0]) / 1024


def replaced(port, process, model, path):
    """Save another model, send SIGHUP, and ask until all workers have it; give what happened."""
    client = Client(port)
    old = client.ask("GET", "/health")[1]["version"]
    sklrec.save(model, path)
    process.send_signal(signal.SIGHUP)
    start, n_new, n_lost, longest = time.monotonic(), 0, 0, 0.0
    while n_new < 50 and time.monotonic() < start + 2 * PATIENCE:
        asked = time.monotonic()
        try:
            version = Client(port).ask("GET", "/health")[1]["version"]
            n_new = n_new + 1 if version != old else 0
        except (OSError, http.client.HTTPException):
            n_lost += 1
        longest = max(longest, time.monotonic() - asked)
    took = time.monotonic() - start
    return n_new == 50, f"{took:.1f} s, {n_lost} requests lost, longest wait {longest:.1f} s"


def run(n_requests, n_users=2_000, n_items=1_000):
    """Print figures; return error reports."""
    X, y = make_ratings(n_users, n_items, n_ratings=20 * n_users, random_state=0)
    X, y = X[COLUMNS], y.clip(1, 5)
    model = sklrec.BayesianMFRegressor(n_factors=16, n_iter=3, rating_scale=(1, 5)).fit(X, y)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.sklrec"
        sklrec.save(model, path)
        with served(path) as (port, process):
            crowd = Crowd(model, X, port)
            crowd.new_users_at_once()
            crowd.requests(n_requests // 10)  # caches, and the allocator, fill up
            used = [memory(process.pid)]
            for _ in range(2):
                crowd.requests((n_requests - n_requests // 10) // 2)
                used.append(memory(process.pid))
        print("memory of the service after a tenth, in the middle and at the end, MiB:", end=" ")
        print(", ".join(f"{mib:.0f}" for mib in used))
        if used[2] > MAX_GROWTH * used[1]:
            crowd.failures.append("The memory of the service has grown.")
        with served(path, *TWO_WORKERS) as (port, process):
            forked = Crowd(model, X, port)
            forked.requests(n_requests // 10)
            other = sklrec.BiasRegressor().fit(X, y)
            is_new, what = replaced(port, process, other, path)
        print(f"two workers: {sum(forked.counts.values())} answers; new file by SIGHUP: {what}")
        if not is_new:
            forked.failures.append("The workers did not read the new file.")
    print(*crowd.latencies(), sep="\n")
    for what, n in sorted((crowd.counts + forked.counts).items()):
        print(f"{n:>7,} {what}")
    return crowd.failures + forked.failures


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("n_requests", type=int, nargs="?", default=10_000)
    failures = run(parser.parse_args().n_requests)
    print(*failures[:20], sep="\n")
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main())
