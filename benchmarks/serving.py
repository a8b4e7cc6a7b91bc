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
from pathlib import Path
from typing import Any

import joblib
import numpy as np

from benchmarks._data import movielens
from benchmarks._measure import seconds
from benchmarks._peers import ROOT
from sklrec import MFRegressor

N_FACTORS, N_MANY, N_RATINGS = 64, 100, 20
PATIENCE = 60  # seconds until the service has to answer


def run(*, quick: bool = False) -> dict[str, Any]:
    """Ask one service over one connection that is kept."""
    import httpx2

    log = movielens()
    model = MFRegressor(n_factors=N_FACTORS, random_state=0)
    model.fit(log[["user", "item"]], log["rating"])
    rng = np.random.default_rng(0)
    users, items = (np.unique(log[side]) for side in ("user", "item"))
    repeats = 50 if quick else 1_000

    def ratings() -> list[dict[str, float]]:
        rated = rng.choice(items, N_RATINGS, replace=False).tolist()
        return [{"item": item, "rating": float(rng.integers(1, 6))} for item in rated]

    bodies = {
        "10 items for one user": ("/recommend", lambda: {"users": [int(rng.choice(users))]}),
        f"10 items for each of {N_MANY} users": (
            "/recommend",
            lambda: {"users": rng.choice(users, N_MANY).tolist()},
        ),
        f"10 items for a newcomer with {N_RATINGS} ratings": (
            "/newcomer",
            lambda: {"ratings": ratings()},
        ),
        "the rating of a pair": (
            "/predict",
            lambda: {"pairs": [{"user": int(rng.choice(users)), "item": int(rng.choice(items))}]},
        ),
    }
    rows = []
    with service(model) as address, httpx2.Client(base_url=address, timeout=PATIENCE) as client:
        for name, (path, body) in bodies.items():
            asked = [body() for _ in range(repeats + 10)]
            for first in asked[:10]:
                client.post(path, json=first).raise_for_status()
            took = [
                seconds(lambda one=one, path=path: client.post(path, json=one).raise_for_status())
                for one in asked[10:]
            ]
            p50, p99 = np.percentile(took, [50, 99]) * 1e3
            rows.append([name, float(p50), float(p99), repeats / sum(took)])
            print(f"{name}: {p50:.2f} ms", flush=True)
    return {
        "title": "The serving example on a loopback address",
        "notes": [
            f"MFRegressor with {N_FACTORS} factors on MovieLens 100K behind FastAPI and uvicorn, "
            f"one process; {repeats:,} requests of each kind, one after the other over one "
            "connection, from another process on the same machine."
        ],
        "bars": [],
        "tables": [
            {
                "title": "Latency",
                "columns": {
                    "Request": "",
                    "p50, ms": ".2f",
                    "p99, ms": ".2f",
                    "Requests/s": ",.0f",
                },
                "rows": rows,
            }
        ],
        "left_out": [],
    }


@contextmanager
def service(model: MFRegressor) -> Iterator[str]:
    """Run the example in a process of its own; give its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.joblib"
        joblib.dump(model, path)
        command = [sys.executable, "-m", "uvicorn", "--app-dir", ROOT / "docs" / "serving"]
        command += ["--factory", "app:from_environment", "--port", str(port)]
        command += ["--log-level", "warning"]
        process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "MODEL": str(path)})
        try:
            wait_for(port, process)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise


def wait_for(port: int, process: subprocess.Popen) -> None:
    """Wait until somebody listens."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(f"The service ended with code {process.returncode}; see above.")
        with socket.socket() as connection:
            if connection.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise RuntimeError(f"The service did not listen on port {port} within {PATIENCE} seconds.")
