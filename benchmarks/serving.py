"""Latency of the serving example on a loopback address."""
# SPDX-License-Identifier: BSD-3-Clause

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._data import movielens
from benchmarks._measure import seconds
from benchmarks._peers import ROOT
from benchmarks._results import table
from sklrec import MFRegressor, save

N_FACTORS, N_MANY = 64, 100
PATIENCE = 60  # seconds until the service has to answer


def run(*, quick: bool = False) -> dict[str, Any]:
    import httpx2

    log = movielens()
    model = MFRegressor(n_factors=N_FACTORS, random_state=0)
    model.fit(log[["user", "item"]], log["rating"])
    rng = np.random.default_rng(0)
    users, items = (np.unique(log[side]) for side in ("user", "item"))
    repeats = 50 if quick else 1_000

    def some(n: int) -> dict[str, Any]:
        return {"users": rng.choice(users, n).tolist()}

    def pair() -> dict[str, Any]:
        return {"rows": [{"user": int(rng.choice(users)), "item": int(rng.choice(items))}]}

    bodies = {
        "10 items for one user": ("/recommend", partial(some, 1)),
        f"10 items for each of {N_MANY} users": ("/recommend", partial(some, N_MANY)),
        "the rating of a pair": ("/predict", pair),
    }
    rows = []
    with service(model) as address, httpx2.Client(base_url=address, timeout=PATIENCE) as client:
        for name, (path, body) in bodies.items():
            asked = [body() for _ in range(repeats + 10)]
            took = [seconds(partial(ask, client, path, one)) for one in asked]
            took = took[10:]  # the first requests warm up
            p50, p99 = np.percentile(took, [50, 99]) * 1e3
            rows.append([name, float(p50), float(p99), repeats / sum(took)])
            print(f"{name}: {p50:.2f} ms", flush=True)
    forms = {"p50, ms": ".2f", "p99, ms": ".2f", "Requests/s": ",.0f"}
    return {
        "title": "The serving example on a loopback address",
        "notes": [
            f"MFRegressor with {N_FACTORS} factors on MovieLens 100K behind FastAPI and uvicorn, "
            f"one process; {repeats:,} requests of each kind, one after the other over one "
            "connection, from another process on the same machine."
        ],
        "tables": [table("Latency", {"Request": "", **forms}, rows)],
    }


@contextmanager
def service(model: MFRegressor) -> Iterator[str]:
    """Run the example in its own process; give its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.sklrec"
        save(model, path)
        command = [sys.executable, "-m", "uvicorn", "--app-dir", ROOT / "docs" / "serving"]
        command += ["--factory", "app:from_environment", "--port", str(port)]
        command += ["--log-level", "warning"]
        process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "MODEL": str(path)})
        try:
            wait_for(port, process)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(PATIENCE)


def ask(client: Any, path: str, body: dict[str, Any]) -> None:
    client.post(path, json=body).raise_for_status()


def wait_for(port: int, process: subprocess.Popen) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and process.poll() is None:
        with socket.socket() as connection:
            if connection.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise RuntimeError(f"The service does not listen on port {port}; its messages are above.")
