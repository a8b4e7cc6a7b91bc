"""Fit to Parquet files that are read in chunks, beside the same fit in memory."""
# SPDX-License-Identifier: BSD-3-Clause

import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd

from benchmarks._data import made, read_log, rmse
from benchmarks._measure import peak_bytes, reset_peak, resident_bytes, seconds
from benchmarks._results import bar

MB = 1e6
IN_MEMORY, IN_CHUNKS = "in memory", "in chunks"
HELD_OUT = 0.1


def run(
    *, path: Path | None = None, columns: tuple[str, str, str] | None = None, quick: bool = False
) -> dict[str, Any]:
    """Fit to 10^6 and 10^7 made ratings, or to a log, each time in a fresh process."""
    rows, bars = [], []
    for title, log in logs(path, columns, quick):
        with TemporaryDirectory() as folder:
            test = log.sample(frac=HELD_OUT, random_state=0)
            test.to_parquet(f"{folder}/test.parquet", index=False)
            log.drop(test.index).sample(frac=1, random_state=0).to_parquet(
                f"{folder}/train.parquet", index=False
            )
            del log, test
            found = {way: fresh_process(way, folder) for way in (IN_MEMORY, IN_CHUNKS)}
        for way, answer in found.items():
            rows.append([title, way, *answer.values()])
        one, other = (found[way] for way in (IN_MEMORY, IN_CHUNKS))
        beside = [answer["peak_mb"] - answer["model_mb"] for answer in (one, other)]
        if quick:
            continue  # too little for the figures to mean anything
        bars.append(bar(f"{title}: memory besides the model", beside[1] / beside[0], 0.2, ".2f"))
        bars.append(bar(f"{title}: RMSE apart", abs(one["rmse"] - other["rmse"]), 0.003, ".4f"))
        if "10,000,000" in title:
            bars.append(bar(f"{title}: memory, GB", other["peak_mb"] / 1e3, 1.0, ".2f"))
    return {
        "title": "Data larger than memory",
        "notes": [
            "MFRegressor() on nine tenths of a log from a Parquet file: read with "
            "pandas.read_parquet and fitted, or fitted to ParquetRatings. Each fit has a fresh "
            "process. Memory is the peak above what the process holds after its imports and a "
            "first fit to ten ratings from a file, by which all code that it runs is loaded. The "
            "model is its tables and seen_, which both have alike."
        ],
        "bars": bars,
        "tables": [
            {
                "title": "Read and fit",
                "columns": {
                    "Ratings": "",
                    "Way": "",
                    "Peak memory, MB": ".0f",
                    "Of it the model, MB": ".0f",
                    "Read and fit, s": ".1f",
                    "RMSE": ".4f",
                },
                "rows": rows,
            }
        ],
        "measurements": rows,
    }


def logs(path: Path | None, columns: tuple[str, str, str] | None, quick: bool):
    """The logs by their titles, one at a time."""
    if path is not None and columns is not None:
        yield path.name.split(".")[0], read_log(path, *columns)
        return
    for n_ratings in (100_000,) if quick else (1_000_000, 10_000_000):
        n_users, n_items = n_ratings // 50, n_ratings // 200
        yield f"{n_ratings:,} made", made(n_users, n_items, n_ratings)


def fresh_process(way: str, folder: str) -> dict[str, float]:
    """What one fit takes."""
    command = [sys.executable, "-m", "benchmarks.out_of_core", way, folder]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


def measure(way: str, folder: str) -> dict[str, float]:
    """Read and fit in this process, which did nothing before."""
    from sklrec import MFRegressor
    from sklrec.datasets import ParquetRatings

    train, few = f"{folder}/train.parquet", f"{folder}/few.parquet"
    mf = MFRegressor(random_state=0)

    def fit(file: str) -> None:
        if way == IN_CHUNKS:
            mf.fit(ParquetRatings(file, rating="rating"))
        else:
            log = pd.read_parquet(file)
            mf.fit(log[["user", "item"]], log["rating"])

    pd.DataFrame({"user": range(10), "item": 1, "rating": range(10)}).to_parquet(few)
    fit(few)
    before = resident_bytes()
    reset_peak()
    taken = seconds(lambda: fit(train))
    peak = peak_bytes() - before
    tables = sum(table.nbytes for table in mf.module_.parameters())
    seen = mf.seen_.data.nbytes + mf.seen_.indices.nbytes + mf.seen_.indptr.nbytes
    test = pd.read_parquet(f"{folder}/test.parquet")
    error = rmse(test["rating"].to_numpy(), mf.predict(test[["user", "item"]]))
    return {
        "peak_mb": peak / MB,
        "model_mb": (tables + seen) / MB,
        "seconds": taken,
        "rmse": error,
    }


if __name__ == "__main__":
    print(json.dumps(measure(*sys.argv[1:])))
