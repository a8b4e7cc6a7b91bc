"""Fit to Parquet files that are read in chunks, beside the same fit in memory."""
# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Iterator
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd

from benchmarks._data import made
from benchmarks._peers import exchange
from benchmarks._results import bar, table

IN_MEMORY, IN_CHUNKS = "in memory", "in chunks"
HELD_OUT = 0.1


def run(
    *, log: pd.DataFrame | None = None, title: str = "", quick: bool = False
) -> dict[str, Any]:
    """Fit to 10^6 and 10^7 made ratings, or to a log, each time in a new process."""
    rows, bars = [], []
    logs = made_logs(quick) if log is None else [(title, log)]
    for name, log in logs:
        with TemporaryDirectory() as folder:
            test = log.sample(frac=HELD_OUT, random_state=0)
            train = log.drop(test.index).sample(frac=1, random_state=0)
            for part, rows_of_part in {"test": test, "train": train}.items():
                rows_of_part.to_parquet(f"{folder}/{part}.parquet", index=False)
            del log, test, train, rows_of_part
            found = {}
            for way in (IN_MEMORY, IN_CHUNKS):
                request = {"folder": folder, "in_chunks": way == IN_CHUNKS}
                found[way], _ = exchange("sklrec", "sklrec_files", request, {})
        rows += [[name, way, *answer.values()] for way, answer in found.items()]
        one, other = found.values()
        beside = [answer["peak_mb"] - answer["model_mb"] for answer in (one, other)]
        if quick:
            continue  # the figures of so few ratings mean nothing
        bars.append(bar(f"{name}: memory besides the model", beside[1] / beside[0], 0.2, ".2f"))
        apart = abs(one["rmse"] - other["rmse"])
        bars.append(bar(f"{name}: difference of RMSE", apart, 0.003, ".4f"))
        if "10,000,000" in name:
            bars.append(bar(f"{name}: memory, GB", other["peak_mb"] / 1e3, 1.0, ".2f"))
    forms = {"Peak memory, MB": ".0f", "Of it the model, MB": ".0f", "Read and fit, s": ".1f"}
    return {
        "title": f"Data larger than memory{title and f', {title}'}",
        "notes": [
            "MFRegressor() on nine tenths of a log from a Parquet file: read with "
            "pandas.read_parquet and fitted, or fitted to ParquetRatings. Each fit has a new "
            "process. Memory is the peak above the memory after the imports and a first fit to "
            "ten ratings from a file. The model is its tables and seen_, alike in both ways."
        ],
        "bars": bars,
        "tables": [
            table("Read and fit", {"Ratings": "", "Way": "", **forms, "RMSE": ".4f"}, rows)
        ],
    }


def made_logs(quick: bool) -> Iterator[tuple[str, pd.DataFrame]]:
    for n_ratings in (100_000,) if quick else (1_000_000, 10_000_000):
        yield f"{n_ratings:,} made", made(n_ratings // 50, n_ratings // 200, n_ratings)
